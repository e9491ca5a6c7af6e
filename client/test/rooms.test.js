// What an application may do to its rooms, at any moment, on every transport. Needs a server: `URL` in the environment.
import assert from "node:assert/strict";
import { test } from "node:test";
import { WebSocket } from "ws";
import { connect } from "../src/trunkline.js";
import { until } from "./until.js";

/** @import { Client } from "../src/trunkline.js" */
/** @import { Message, Transport } from "../src/types.js" */

const url = String(process.env.URL);
const ALL = /** @type {Transport[]} */ (["websocket", "sse", "longpoll", "shortpoll"]);

/** @param {Transport} transport @param {object} [options] */
function open(transport, options) {
  return connect(url, { transports: [transport], WebSocket: /** @type {any} */ (WebSocket), pollMs: 50, ...options });
}

/** @param {string} path @returns {Promise<any>} */
const get = async (path) => (await fetch(url + path)).json();
/** @param {string} room @param {number} count */
async function publish(room, count) {
  const messages = Array.from({ length: count }, (_, n) => ({ room, data: n + 1 }));
  assert.equal((await fetch(`${url}/publish`, { method: "POST", body: JSON.stringify(messages) })).status, 201);
}
/** @param {string} [start] */
const name = (start = "r") => start + Math.random().toString(36).slice(2);
/** @param {number} count */
const upTo = (count) => Array.from({ length: count }, (_, n) => n + 1);

/** The same on every transport. @param {string} says @param {(transport: Transport) => Promise<void>} run
 * @param {Transport[]} [transports] */
function onEach(says, run, transports = ALL) {
  for (const transport of transports) test(`${says} (${transport})`, () => run(transport));
}

/** @param {Transport} transport @param {(client: Client) => Promise<void>} use @param {object} [options] */
async function online(transport, use, options) {
  const client = open(transport, options);
  try {
    client.room(name());
    await until(() => client.state === "online", () => client.state);
    await use(client);
    assert.equal(client.state, "online");
  } finally {
    client.close();
  }
}

onEach("a room that is left and joined again in a handler begins where it says", (transport) => online(transport, async (client) => {
  const room = name();
  /** @type {number[]} */
  const got = [];
  await publish(room, 20);
  let reading = client.room(room, { since: "start" });
  const stop = reading.on("message", ({ offset }) => {
    if (offset !== 10) return;
    stop();
    reading.close();
    reading = client.room(room, { since: "start" });
    reading.on("message", (message) => got.push(message.offset));
  });
  await until(() => got.length >= 20, () => got);
  await publish(room, 2);
  await until(() => got.length >= 22, () => got);
  assert.deepEqual(got, upTo(22));
}));

onEach("a room that is left and joined again while connecting begins where it says last", async (transport) => {
  const room = name();
  await publish(room, 5);
  const client = open(transport);
  /** @type {number[]} */
  const got = [];
  const first = client.room(room, { since: "now" });
  await Promise.resolve();
  first.close();
  client.room(room, { since: "start" }).on("message", ({ offset }) => got.push(offset));
  await until(() => got.length >= 5, () => got);
  await publish(room, 1);
  await until(() => got.length >= 6, () => got);
  assert.deepEqual(got, upTo(6));
  client.close();
});

onEach("rooms that are joined and left as the client wakes up are neither lost nor kept", (transport) => online(transport, async (client) => {
  const [left, late] = [name(), name()];
  await publish(late, 3);
  const going = client.room(left, { presence: true });
  await until(() => going.members.size === 1);
  client.session.heardAt = 0; // for long nothing was heard
  client.wake();
  going.close();
  /** @type {number[]} */
  const got = [];
  client.room(late, { since: "start" }).on("message", ({ offset }) => got.push(offset));
  await until(() => got.length >= 3, () => got);
  await publish(late, 1);
  await until(() => got.length >= 4, () => got);
  assert.deepEqual(got, upTo(4));
  await until(async () => (await get(`/rooms/${left}/presence`)).count === 0);
  client.room(left, { since: "start" }).on("message", ({ offset }) => got.push(offset));
  await publish(left, 1);
  await until(() => got.length >= 5, () => got);
}));

onEach("a room that is joined while another one's page is told is joined", (transport) => online(transport, async (client) => {
  const [first, second] = [name(), name()];
  await publish(first, 1);
  await publish(second, 3);
  /** @type {number[]} */
  const got = [];
  client.room(first).on("message", async () => {
    await null;
    client.room(second).on("message", ({ offset }) => got.push(offset));
  });
  await until(() => got.length >= 3, () => got);
  assert.deepEqual(got, upTo(3));
}));

onEach("what others see of us is said of each room, and ends with it", (transport) => online(transport, async (client) => {
  const [ana, watched, bo, ghost] = [name("ana"), name("watched"), name("bo"), name("ghost")];
  const reading = client.room(ana, { presence: { name: "Ana" } });
  client.room(watched, { presence: "watch" });
  client.room(bo, { presence: { name: "Bo" } });
  client.room(ghost, { presence: { name: "nobody" } }).close();
  const shown = async (/** @type {string} */ room) => (await get(`/rooms/${room}/presence`)).members.map((/** @type {any} */ one) => one.data.name);
  await until(async () => (await shown(ana))[0] === "Ana" && (await shown(bo))[0] === "Bo");
  assert.deepEqual(await shown(watched), []);
  assert.deepEqual(await shown(ghost), []);
  await until(() => reading.members.has(client.member), () => [client.member, ...reading.members.keys()]);
  reading.present({ name: "Anna" });
  await until(async () => (await shown(ana))[0] === "Anna");
  reading.present("watch");
  await until(async () => (await shown(ana)).length === 0);
}));

onEach("a room that is closed and opened again while much is to be sent is not told what the old one is", (transport) => online(transport, async (client) => {
  const room = name();
  await publish(room, 30);
  const reading = client.room(room, { since: "now" });
  await until(() => client.session.rooms.get(room)?.joined, () => client.state);
  let going = true;
  const others = (async () => { while (going) await publish(room, 1); })();
  for (let n = 0; n < 140; n++) client.room("elsewhere").publish(n).catch(() => {});
  /** @type {number[]} */
  const got = [];
  reading.close();
  client.room(room, { since: "start" }).on("message", ({ offset }) => got.push(offset));
  try {
    await until(() => got.length > 40, () => got);
  } finally {
    going = false;
    await others;
  }
  assert.deepEqual(got, upTo(got.length));
}), ["websocket", "sse"]);

onEach("what one room cannot have is no trouble for the others", (transport) => online(transport, async (client) => {
  const refused = (/** @type {string} */ code) => (/** @type {any} */ error) => error.code === code;
  assert.throws(() => client.room("a", { since: "foo.bar" }), refused("bad_position"));
  assert.throws(() => client.room("a", { last: -1 }), refused("bad_position"));
  assert.throws(() => client.room("a", { presence: /** @type {any} */ ("hello") }), refused("bad_command"));
  assert.throws(() => client.room("a", { presence: { text: "x".repeat(1100) } }), refused("too_large"));
  assert.throws(() => client.room("a", { presence: { deep: [[[[[[[[[]]]]]]]]] } }), refused("too_deep"));
  assert.throws(() => client.room("a").present(/** @type {any} */ (1)), refused("bad_command"));
  /** @type {Set<string>} */
  const told = new Set();
  for (let n = 0; n < 40; n++) {
    const room = client.room(`wordy-${n}`, { since: "start", presence: { text: String.fromCodePoint(0x4e00 + n).repeat(300) } });
    room.on("message", () => told.add(room.name));
  }
  for (let n = 0; n < 40; n++) await publish(`wordy-${n}`, 1);
  await until(() => told.size === 40, () => [...told]);
}));

onEach("presence that is changed before the connection is up does not change where a room begins", async (transport) => {
  const room = name();
  await publish(room, 120);
  const client = open(transport);
  let count = 0;
  const reading = client.room(room, { since: "start" });
  reading.on("message", () => count++);
  reading.present({ name: "Ana" });
  await until(() => count >= 120, () => count);
  client.close();
});

onEach("what was seen arrives, although it is said at each message and the client is closed at the last", async (transport) => {
  const room = name();
  await publish(room, 300);
  const client = open(transport);
  const reading = client.room(room, { since: "start" });
  await new Promise((resolve) => reading.on("message", ({ offset }) => {
    reading.seen(offset);
    if (offset === 300) resolve(client.close());
  }));
  await until(async () => (await get(`/unread?room=${room}&client=${client.clientId}`)).rooms[0].seen === 300);
});

onEach("a client with many rooms on a slow network gets online", async (transport) => {
  const client = open(transport, { fetch: async (/** @type {any[]} */ ...asked) => {
    await new Promise((resolve) => setTimeout(resolve, 200));
    return fetch(...(/** @type {[any]} */ (asked)));
  } });
  for (let n = 0; n < 60; n++) client.room(`many-${n}`, { last: 1 });
  await until(() => client.state === "online", () => client.state);
  client.close();
}, ["sse", "longpoll"]);

test("a handler's publish follows those that waited, and a close in one closes", async () => {
  const room = name();
  const client = open("websocket");
  /** @type {string[]} */
  const got = [];
  const reading = client.room(room, { since: "start" });
  reading.on("message", ({ data }) => got.push(data));
  client.on("state", ({ state }) => state === "online" && reading.publish("third"));
  reading.publish("first");
  reading.publish("second");
  await until(() => got.length === 3, () => got);
  assert.deepEqual(got, ["first", "second", "third"]);
  client.close();

  const other = open("websocket");
  other.on("state", ({ state }) => state === "connecting" && other.close());
  await until(() => other.state === "closed");
  assert.equal(other.driver, undefined);
});

test("what no server takes is refused at once", async () => {
  const client = open("websocket");
  const room = client.room(name());
  let deep = /** @type {any} */ ("[]}{");
  for (let n = 0; n < 600; n++) deep = [deep];
  const refused = (/** @type {string} */ code) => (/** @type {any} */ error) => error.code === code;
  await assert.rejects(room.publish("\ud800"), refused("bad_json"));
  await assert.rejects(room.publish(undefined), refused("bad_json"));
  await assert.rejects(room.publish(deep), refused("too_deep"));
  await assert.rejects(room.publish("x".repeat(70_000)), refused("too_large"));
  assert.equal(await room.publish(["a \\ud800 that is only written", "😀", "\\"]), 1);
  for (const bad of ["", "a/b", "..", ".", "x y", "ä", "x".repeat(256)]) assert.throws(() => client.room(bad), refused("bad_room"));
  for (let n = 1; n < 100; n++) client.room(`r${n}`);
  assert.throws(() => client.room("one-more"), refused("too_many_rooms"));
  client.close();
});

test("a client has one connection at most, through 10,000 changes of the network and of its rooms", () => {
  /** @type {Set<Socket>} */
  const alive = new Set();
  let made = 0;
  class Socket {
    readyState = 1;
    onopen = () => {};
    onmessage = (/** @type {{data: string}} */ _) => {};
    onclose = (/** @type {{code: number, reason: string}} */ _) => {};
    constructor() { made++; alive.add(this); }
    send() {}
    close() { alive.delete(this); }
  }
  const client = connect(url, { transports: ["websocket"], WebSocket: /** @type {any} */ (Socket), remember: false });
  client.step({ type: "start" });
  for (let n = 0; n < 10_000; n++) {
    const [socket] = alive;
    const say = (/** @type {object} */ event) => socket?.onmessage({ data: JSON.stringify(event) });
    const happens = [
      () => { socket?.onopen(); say({ type: "welcome" }); },
      () => say({ type: "closing", retry_after_ms: 0 }),
      () => { if (socket) { alive.delete(socket); socket.onclose({ code: 1006, reason: "" }); } },
      () => client.wake("online"),
      () => client.wake("offline"),
      () => client.step({ type: "timer", name: "connect" }),
      () => client.step({ type: "timer", name: "pong" }),
      () => client.step({ type: "timer", name: "retry" }),
      () => client.room("a", { presence: true }),
      () => client.room("a").close(), // as StrictMode does
    ];
    /** @type {() => void} */ (happens[Math.floor(Math.random() * happens.length)])();
    assert(alive.size <= 1, `${alive.size} connections after ${n} changes`);
  }
  assert(made > 500);
  client.close();
  assert.equal(alive.size, 0);
});

test("the same message twice is one, however full the outbox is", async () => {
  const client = open("websocket", { outboxMax: 1 });
  const room = client.room(name());
  assert.deepEqual(await Promise.all([room.publish(1, { id: "same-id" }), room.publish(1, { id: "same-id" })]), [1, 1]);
  client.close();
});

test("a history of one holds one", async () => {
  const room = name();
  await publish(room, 5);
  const client = open("websocket");
  const reading = client.room(room, { since: "start", keep: 1 });
  await until(() => reading.history[0]?.offset === 5, () => reading.history);
  assert.equal(reading.history.length, 1);
  client.close();
});

test("whoever scrolls back gets what came before", async () => {
  const room = name();
  await publish(room, 70);
  const client = open("websocket");
  const reading = client.room(room, { last: 5 });
  await until(() => client.state === "online");
  const offsets = async (/** @type {number} */ offset, /** @type {number} */ count) => (await reading.before(offset, count)).map((message) => message.offset);
  assert.deepEqual(await offsets(66, 50), upTo(65).slice(15));
  assert.deepEqual(await offsets(16, 50), upTo(15));
  assert.deepEqual(await offsets(1, 50), []);
  client.close();
});

test("a platform whose URL cannot be changed, and that has no crypto, will do", async () => {
  const { URL } = globalThis;
  const descriptor = /** @type {PropertyDescriptor} */ (Object.getOwnPropertyDescriptor(globalThis, "crypto"));
  try {
    globalThis.URL = /** @type {any} */ (class { constructor() { throw new Error("no URL here"); } });
    Object.defineProperty(globalThis, "crypto", { value: undefined, configurable: true });
    /** @type {unknown[]} */
    const asked = [];
    class Socket { /** @param {unknown} address */ constructor(address) { asked.push(address); } close() {} }
    const client = connect("https://chat.example.com/rt?x#y", { transports: ["websocket"], WebSocket: /** @type {any} */ (Socket) });
    await until(() => asked.length);
    client.close();
    assert.deepEqual(asked, [`wss://chat.example.com/rt/connect?client=${client.clientId}&attempt=${client.life}.1`]);
  } finally {
    globalThis.URL = URL;
    Object.defineProperty(globalThis, "crypto", descriptor);
  }
});

onEach("a message has the trace that it was published in", (transport) => online(transport, async (client) => {
  const room = client.room(name(), { since: "start" });
  /** @type {Message[]} */
  const got = [];
  room.on("message", (message) => void got.push(message));
  const traceparent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
  await room.publish(1, { traceparent, tracestate: "a=1" });
  await room.publish(2, { traceparent, tracestate: "x".repeat(100_000) });
  await room.publish(3, { traceparent: "\u{1F600}" });
  await room.publish(4, { traceparent: "00-nonsense" });
  await until(() => got.length === 4, () => got);
  assert.deepEqual(got.map(({ traceparent, tracestate }) => [traceparent, tracestate]), [
    [traceparent, "a=1"], [traceparent, undefined], [undefined, undefined], [undefined, undefined],
  ]);
}));

onEach("a call that is given up is rejected, and no server is asked for what none takes", (transport) => online(transport, async (client) => {
  const code = (/** @type {Promise<any>} */ call) => call.then(() => "none", (error) => error.code);
  const ending = new AbortController();
  const options = { id: "one", signal: ending.signal };
  const first = client.call("there.is.none", 1, options);
  assert.equal(await code(client.call("another", 1, options)), "bad_id");
  ending.abort();
  assert.equal(await code(first), "aborted");
  assert.equal(await code(client.call("there.is.none", 1, options)), "aborted");
  assert.equal(await code(client.call("there.is.none")), "unknown_call");
  assert.equal(await code(client.call("..")), "bad_command");
  assert.equal(await code(client.call("x".repeat(65))), "bad_command");
  assert.equal(await code(client.call("there.is.none", "x".repeat(70_000))), "too_large");
  assert.equal(client.promises.size, 0);
}));
