// Clients of Socket.IO, as many as are asked for: orders come as lines of JSON, and what happens goes out the same way.
// Bytes are {"$bytes": BASE64}.
import { createInterface } from "node:readline";
import { createRequire } from "node:module";
import { io as io4 } from "socket.io-client";
import { Socket as EngineSocket } from "engine.io-client";

const require = createRequire(import.meta.url);
const libraries = { 2: () => require("socket.io-client-2"), 3: () => require("socket.io-client-3").io, 4: () => io4 };
const sockets = new Map();

const say = (line) => process.stdout.write(JSON.stringify(line, outgoing) + "\n");

function outgoing(key, value) {
  const held = this[key]; // before Buffer.toJSON had its way
  if (Buffer.isBuffer(held) || held instanceof Uint8Array || held instanceof ArrayBuffer) {
    return { $bytes: Buffer.from(held).toString("base64") };
  }
  return value;
}

const incoming = (_, value) =>
  value && typeof value === "object" && typeof value.$bytes === "string" ? Buffer.from(value.$bytes, "base64") : value;

const orders = {
  open({ name, url, options = {}, library = 4 }) {
    const socket = libraries[library]()(url, { forceNew: true, ...options });
    sockets.set(name, socket);
    socket.on("connect", () =>
      say({ name, is: "connect", id: socket.id, recovered: socket.recovered ?? false, transport: socket.io.engine.transport.name }),
    );
    socket.on("disconnect", (reason) => say({ name, is: "disconnect", reason }));
    socket.on("connect_error", (error) => say({ name, is: "connect_error", message: error.message, data: error.data ?? null, details: String(error.description ?? "") , context: error.context?.responseText ?? null }));
    socket.io.on("upgrade", () => say({ name, is: "upgrade" }));
    socket.io.engine?.on?.("upgrade", (transport) => say({ name, is: "upgrade", to: transport.name }));
    if (socket.onAny) {
      socket.onAny((event, ...args) => {
        const answer = typeof args.at(-1) === "function" ? args.pop() : null;
        say({ name, is: "event", event, args });
        if (answer) answer(...(event === "echo" ? args : ["seen", event]));
      });
    }
  },
  emit({ name, event, args = [], ack, timeout }) {
    const socket = sockets.get(name);
    if (ack === undefined) socket.emit(event, ...args);
    else if (timeout) socket.timeout(timeout).emit(event, ...args, (error, ...answer) => say({ name, is: "ack", ack, error: error ? String(error) : null, args: answer }));
    else socket.emit(event, ...args, (...answer) => say({ name, is: "ack", ack, error: null, args: answer }));
  },
  cut({ name }) {
    sockets.get(name).io.engine.close();
  },
  connect({ name }) {
    sockets.get(name).connect();
  },
  leave({ name }) {
    sockets.get(name).disconnect();
  },
  transport({ name }) {
    say({ name, is: "transport", transport: sockets.get(name).io.engine.transport.name });
  },
  engine({ name, url, options = {} }) {
    const socket = new EngineSocket(url, options);
    socket.binaryType = "nodebuffer";
    sockets.set(name, socket);
    socket.on("open", () => say({ name, is: "open", id: socket.id }));
    socket.on("message", (data) => say({ name, is: "message", data }));
    socket.on("upgrade", () => say({ name, is: "upgrade" }));
    socket.on("close", (reason) => say({ name, is: "close", reason }));
  },
  send({ name, data }) {
    sockets.get(name).send(data);
  },
};

say({ is: "ready" });
for await (const line of createInterface({ input: process.stdin })) {
  const order = JSON.parse(line, incoming);
  orders[order.do](order);
}
process.exit(0);
