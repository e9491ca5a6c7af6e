// Jitter: many clients, each cut off about eight times, while messages go on being published. Who gets everything, who
// gets something twice, and how long does it take to get what was missed?
//   npm install && node run.mjs [--clients 1000] [--seconds 60] [--rate 5] [--drops 8]
import { spawn } from "node:child_process";
import { once } from "node:events";
import { createConnection } from "node:net";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { parseArgs } from "node:util";
import { io } from "socket.io-client";

const { values } = parseArgs({ options: {
  clients: { type: "string", default: "1000" }, seconds: { type: "string", default: "60" },
  rate: { type: "string", default: "5" }, drops: { type: "string", default: "8" }, only: { type: "string" },
} });
const [clients, seconds, rate, drops] = [values.clients, values.seconds, values.rate, values.drops].map(Number);
const here = new URL(".", import.meta.url).pathname;
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

const SERVERS = {
  trunkline: (port, folder) => [process.env.TRUNKLINE ?? "trunkline", ["serve", "--port", String(port), "--store", `sqlite:///${folder}/log.db`]],
  socketio: (port) => ["node", [join(here, "socketio-server.mjs"), String(port)]],
};

async function publisher(kind, url) {
  if (kind === "socketio") {
    const socket = io(url, { transports: ["websocket"] });
    await once(socket, "connect");
    return { publish: (data) => socket.emitWithAck("publish", data), close: () => socket.close() };
  }
  return {
    publish: (data) => fetch(`${url}/rooms/jitter`, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ data }) }),
    close() {},
  };
}

async function run(kind, port) {
  const folder = mkdtempSync(join(tmpdir(), "jitter-"));
  const [command, words] = SERVERS[kind](port, folder);
  const server = spawn(command, words, { stdio: ["ignore", "ignore", "inherit"] });
  const url = `http://127.0.0.1:${port}`;
  for (let n = 0; ; n++) {
    if (n > 100) throw new Error(`${kind} did not start`);
    const socket = createConnection(port, "127.0.0.1");
    const there = await once(socket, "connect").then(() => true, () => false);
    socket.destroy();
    if (there) break;
    await pause(100);
  }
  const child = spawn("node", [join(here, "clients.mjs"), kind, url, clients, seconds, drops].map(String), { stdio: ["pipe", "pipe", "inherit"] });
  const lines = createInterface(child.stdout)[Symbol.asyncIterator]();
  await lines.next();
  child.stdin.write("go\n");
  const { publish, close } = await publisher(kind, url);
  const sent = [];
  const end = Date.now() + seconds * 1000;
  while (Date.now() < end) {
    const due = Date.now() + 1000 / rate;
    sent.push(Date.now());
    await publish({ n: sent.length - 1, text: "x".repeat(100) });
    await pause(Math.max(0, due - Date.now()));
  }
  await pause(12_000); // for the last of those who were cut
  child.stdin.write(`${JSON.stringify({ sent })}\n`);
  const result = JSON.parse((await lines.next()).value);
  close();
  server.kill("SIGTERM");
  await once(server, "exit");
  rmSync(folder, { recursive: true });
  return { ...result, published: sent.length };
}

function quantile(values, q) {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted.length ? `${sorted[Math.min(sorted.length - 1, Math.floor(q * sorted.length))]} ms` : "–";
}

console.log(`${clients} clients, ${seconds} s, ${rate} messages a second, each client cut about ${drops} times\n`);
console.log("| | cuts | delivered | lost | twice | replay p50 | p99 | max | live p50 | p99 |\n| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |");
let port = 18_400 + Math.floor(Math.random() * 1000);
for (const kind of values.only ? [values.only] : Object.keys(SERVERS)) {
  const r = await run(kind, port++);
  const share = ((100 * r.delivered) / r.expected).toFixed(r.delivered === r.expected ? 0 : 4);
  console.log(`| ${kind} | ${r.cuts} | ${share} % of ${r.expected} | ${r.expected - r.delivered} | ${r.duplicates} | ${quantile(r.replays, 0.5)} | ${quantile(r.replays, 0.99)} | ${quantile(r.replays, 1)} | ${quantile(r.delays, 0.5)} | ${quantile(r.delays, 0.99)} |`);
  if (r.unrecovered) console.log(`  ${kind}: ${r.unrecovered} connections came back without recovery`);
}
process.exit();
