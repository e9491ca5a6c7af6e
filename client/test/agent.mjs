// A client as a process, for tests: reads a room from its start, publishes, and says what it sees, one JSON line each.
//   node agent.mjs URL ROOM NAME TRANSPORTS COUNT   (ends when its standard input does)
// With SPEED=10 its clock goes ten times as fast; between two messages it waits PACE_MS.
import { connect } from "../src/trunkline.js";
import { WebSocket } from "ws";

const speed = Number(process.env.SPEED ?? 1);
const pace = Number(process.env.PACE_MS ?? 10);
if (speed !== 1) {
  const [{ setTimeout: later, Date: { now } }, began] = [globalThis, Date.now()];
  globalThis.setTimeout = /** @type {any} */ ((/** @type {any} */ call, ms = 0) => later(call, ms / speed));
  Date.now = () => began + (now() - began) * speed;
}

const [url = "", room = "", name = "", transports = "", count = "0"] = process.argv.slice(2);
const say = (/** @type {object} */ what) => process.stdout.write(`${JSON.stringify(what)}\n`);
const client = connect(url, {
  WebSocket: /** @type {any} */ (WebSocket), pollMs: 50, transports: /** @type {any} */ (transports.split(",")),
});
client.on("state", ({ state, reason, text, transport }) => say({ state, reason, text, transport }));
const reading = client.room(room, { since: "start", presence: name !== "quiet" });
reading.on("message", ({ offset, data, at }) => say({ offset, data, at, seen: Date.now() }));
reading.on("joined", (joined) => say({ joined }));
reading.on("gap", (gap) => say({ gap }));
reading.on("error", (error) => say({ error }));
reading.on("presence", () => say({ members: reading.members.size }));
for (let n = 1; n <= Number(count); n++) {
  reading.publish([name, n]).then((offset) => say({ stored: n, offset }), (error) => say({ refused: n, code: error.code }));
  await new Promise((resolve) => setTimeout(resolve, pace));
}
for await (const _ of process.stdin);
client.close();
