// A client as a process, for tests: makes the calls that its standard input names, and says what comes of each, one JSON
// line each.
//   node caller.mjs URL TRANSPORT   (ends when its standard input does)
import { createInterface } from "node:readline";
import { WebSocket } from "ws";
import { connect } from "../src/trunkline.js";

const [url = "", transport = ""] = process.argv.slice(2);
const say = (/** @type {object} */ what) => process.stdout.write(`${JSON.stringify(what)}\n`);
const client = connect(url, {
  WebSocket: /** @type {any} */ (WebSocket), pollMs: 50, transports: /** @type {any} */ ([transport]),
});
for await (const line of createInterface({ input: process.stdin })) {
  const { n, name, data, options } = JSON.parse(line);
  client.call(name, data, options).then((result) => say({ n, result }), ({ code, message }) => say({ n, code, message }));
}
client.close();
