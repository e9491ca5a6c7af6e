// The clients of one run, in a process of their own: they connect, read, and are cut off at random.
//   node clients.mjs KIND URL COUNT SECONDS DROPS FIRST   (says "ready", begins when told, prints its results as JSON)
import { io } from "socket.io-client";
import { WebSocket } from "ws";
import { connect } from "../../client/src/trunkline.js";

const [kind, url, count, seconds, drops] = process.argv.slice(2).map((word, n) => (n > 1 ? Number(word) : word));

/** Each client: when it was cut and back, and what it has seen. */
class Reader {
  constructor() {
    this.seen = new Map(); // message number → when it came
    this.duplicates = 0;
    this.down = []; // [from, to]
    this.online = false;
  }

  saw(number) {
    if (this.seen.has(number)) this.duplicates++;
    else this.seen.set(number, Date.now());
  }

  up() {
    this.online = true;
    const last = this.down.at(-1);
    if (last && last[1] === Infinity) last[1] = Date.now();
  }

  wentDown() {
    if (this.online) this.down.push([Date.now(), Infinity]);
    this.online = false;
  }
}

function trunkline() {
  const reader = new Reader();
  let socket;
  class Cuttable extends WebSocket {
    constructor(...given) {
      super(...given);
      socket = this;
    }
  }
  const client = connect(url, { WebSocket: Cuttable, transports: ["websocket"] });
  client.on("state", ({ state }) => (state === "online" ? reader.up() : reader.wentDown()));
  client.room("jitter", { since: "now" }).on("message", ({ data }) => reader.saw(data.n));
  reader.cut = () => socket?.terminate();
  reader.close = () => client.close();
  return reader;
}

function socketio() {
  const reader = new Reader();
  const socket = io(url, { transports: ["websocket"], forceNew: true });
  socket.on("connect", () => { reader.up(); if (reader.down.length && !socket.recovered) reader.unrecovered = (reader.unrecovered ?? 0) + 1; });
  socket.on("disconnect", () => reader.wentDown());
  socket.on("message", ({ n }) => reader.saw(n));
  reader.cut = () => socket.io.engine?.transport?.ws?.terminate?.();
  reader.close = () => socket.close();
  return reader;
}

const readers = [];
for (let n = 0; n < count; n++) {
  readers.push({ trunkline, socketio }[kind]());
  if (n % 20 === 19) await new Promise((resolve) => setTimeout(resolve, 20));
}
while (!readers.every((reader) => reader.online)) await new Promise((resolve) => setTimeout(resolve, 50));
await new Promise((resolve) => setTimeout(resolve, 1000));
console.log("ready");

let cuts = 0;
process.stdin.once("data", () => {
  const end = Date.now() + seconds * 1000;
  for (const reader of readers) {
    const next = () => {
      const wait = (-Math.log(1 - Math.random()) * seconds * 1000) / drops;
      if (Date.now() + wait > end - 3000) return;
      setTimeout(() => {
        if (reader.online) { cuts++; reader.cut(); }
        next();
      }, wait);
    };
    next();
  }
});

process.stdin.on("data", (text) => {
  if (!String(text).startsWith("{")) return;
  const { sent } = JSON.parse(String(text)); // message number → when it was published
  const result = { cuts, expected: 0, delivered: 0, duplicates: 0, unrecovered: 0, replays: [], delays: [] };
  for (const reader of readers) {
    result.duplicates += reader.duplicates;
    result.unrecovered += reader.unrecovered ?? 0;
    for (const [n, at] of sent.entries()) {
      result.expected++;
      const came = reader.seen.get(n);
      if (came === undefined) continue;
      result.delivered++;
      if (reader.down.some(([from, to]) => at >= from - 5 && at <= to)) result.replays.push(came - at);
      else if (Math.random() < 0.02) result.delays.push(came - at);
    }
    reader.close();
  }
  process.stdout.write(`${JSON.stringify(result)}\n`, () => process.exit());
});
