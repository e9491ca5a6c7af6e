// Trunkline's client: rooms that lose nothing, whatever the network does. One file, although it is long: `Client`
// and `Room` are one machine's rim, and know each other. `connect` is in `trunkline.js`, for browsers and Node, and in
// `react-native.js`.
//
//   const client = connect("https://chat.example.com");
//   const room = client.room("general", { last: 50, presence: { name: "Ana" } });
//   room.on("message", ({ offset, from, data }) => …);
//   await room.publish({ text: "Hello!" });            // resolves with the offset, when it is stored

/** @import { Change, Draft, Effect, Gap, Input, Join, JoinOptions, Limits, Member, Message, Presence, Receipt, Redacted, Refusal, Seen, ServerEvent, Signal, State, TimerName, TraceFields, Transport, Unread } from "./types.js" */
/** @import { Driver, Wire } from "./websocket.js" */
import { address } from "./address.js";
import { randomId } from "./id.js";
import { keyOf, traceOf } from "./outbox.js";
import { redact, redactedOf } from "./redaction.js";
import { Session } from "./session.js";
import { openWebSocket } from "./websocket.js";

const WATCH_MS = 5000;
const JUMP_MS = 10_000;
/** @type {Limits} */
const PRESENCE_LIMITS = { message_bytes: 1024, json_depth: 8, rooms: 0 }; // of every server
const REMEMBER_MS = 3_600_000;
/** What a room may be called. */
export const ROOM_NAME = /^(?!\.{1,2}$)[\w.:~-]{1,255}$/;
const UNPAIRED = /(?:^|[^\\])(?:\\\\)*\\ud[89a-f]/; // a surrogate in JSON text: UTF-8 has none

/**
 * @typedef {object} Options
 * @property {() => string | null | Promise<string | null>} [getToken] Asked before each connection and before a token
 *   ends. What it throws is tried again, unless its `status` is 401 or 403.
 * @property {Transport[]} [transports] Which to use, the best first. By default all four.
 * @property {boolean} [persist] Keep what was not sent over a reload of the page (in `sessionStorage`).
 * @property {boolean} [remember] Begin with the transport that worked last time (in `localStorage`). By default yes.
 * @property {boolean} [share] Let the tabs of a browser share one connection where it is no WebSocket. By default yes.
 * @property {number} [outboxMax] How many messages may wait, 1000 by default.
 * @property {number} [pollMs] Between two short polls, 2000 by default.
 * @property {number} [retryMaxMs] The longest pause before the next attempt to connect. By default 5000, or what the
 *   server has said that it needs for all its clients to come back.
 * @property {string} [clientId] 8 to 64 of A-Z a-z 0-9 _ -: on servers without authentication, a client that comes back
 *   with it is the same member. One connection may have it at a time. By default random.
 * @property {(change: Change) => void} [debug] Told of every change of state, with its reason.
 * @property {typeof globalThis.WebSocket} [WebSocket] Where there is none of the platform: the one of `ws`.
 * @property {typeof globalThis.fetch} [fetch]
 * @property {Record<string, string>} [headers] Sent with each request; with a WebSocket where the platform lets that be
 *   (Node, React Native): browsers do not.
 * @property {RequestCredentials} [credentials] Of `fetch`: `include` sends cookies to a server of another origin, too. A
 *   browser's WebSocket always brings them, as far as their `SameSite` lets it.
 */

/**
 * What is not the same on all platforms.
 * @typedef {object} Platform
 * @property {(transport: Exclude<Transport, "websocket">, share: boolean) => Promise<(wire: Wire, joins: Join[]) => Driver>} load
 *   Gives what opens event streams and polls.
 * @property {(wake: (reason: string, stale?: boolean) => void) => () => void} [watch] Calls `wake` when the network or we
 *   ourselves were away; returns how to stop that.
 */

/** A message was not stored or a call has no result, or it cannot be known: `code` says why. */
export class ClientError extends Error {
  /** @param {{code: string, message: string}} error */
  constructor({ code, message }) {
    super(message);
    this.name = "ClientError";
    this.code = code;
  }
}

/** The name that it had in 0.1. @deprecated */
export const TrunklineError = ClientError;

/** Listeners by kind. @template {Record<string, any>} Events */
class Emitter {
  constructor() {
    /** @type {Map<keyof Events, Set<(event: any) => void>>} */
    this.listeners = new Map();
  }

  /** Call `listener` at each event of this kind; returns how to stop that.
   * @template {keyof Events} K @param {K} kind @param {(event: Events[K]) => void} listener */
  on(kind, listener) {
    const of = this.listeners.get(kind) ?? new Set();
    this.listeners.set(kind, of.add(listener));
    return () => void of.delete(listener);
  }

  /** @template {keyof Events} K @param {K} kind @param {Events[K]} event */
  emit(kind, event) {
    for (const listener of [...(this.listeners.get(kind) ?? [])]) {
      try {
        listener(event);
      } catch (error) {
        setTimeout(() => { throw error; }); // the application's trouble, not ours
      }
    }
  }
}

/** @typedef {{message: Message, redacted: Redacted, gap: Gap, joined: {room: string, epoch: string, head: number}, signal: Signal,
 *   presence: Presence, seen: Seen, unread: Unread, error: Refusal}} RoomEvents */

/**
 * One room. Events: `message`, `redacted` (messages have lost their data: remove them), `gap` (messages that cannot be had any more), `joined`, `presence` (after each change of
 * `members`), `signal`, `seen`, `unread` (how much was not seen), `error` (it may not be read).
 * @extends {Emitter<RoomEvents>}
 */
export class Room extends Emitter {
  /** @param {Client} client @param {string} name */
  constructor(client, name) {
    super();
    this.client = client;
    this.name = name;
    /** Who is there, by member, if `presence` was asked for. @type {Map<string, Member>} */
    this.members = new Map();
    /** The newest messages, as many as `keep` said. @type {Message[]} */
    this.history = [];
    this.keep = 0;
    /** Up to where each member has seen the room. @type {Map<string, number>} */
    this.marks = new Map();
  }

  /** Call `listener` at each event of this kind; returns how to stop that. A listener of `unread` is told at once how
   * much was not seen, and again with each message.
   * @template {keyof RoomEvents} K @param {K} kind @param {(event: RoomEvents[K]) => void} listener */
  on(kind, listener) {
    if (kind === "unread") this.client.step({ type: "count", room: this.name });
    return super.on(kind, listener);
  }

  /** Publish any JSON value; resolves with its offset once the log has it, whatever happens to the connection.
   * @param {any} data @param {{id?: string} & TraceFields} [options] with the same `id` it is stored once, however often
   *   it is sent; `traceparent` and `tracestate` name the trace that it is part of
   * @returns {Promise<number>} @throws {ClientError} it was refused, or the client was closed before it was acked */
  async publish(data, { id = randomId(), ...more } = {}) {
    check(data, this.client.limits);
    const stored = this.client.promise(keyOf({ room: this.name, id }));
    this.client.step({ type: "publish", draft: { id, room: this.name, data, ...traceOf(more) } });
    return stored;
  }

  /** Send a signal: something that matters only now. Nothing is sent without a connection.
   * @param {string} name of each only the newest counts @param {any} [data] */
  signal(name, data = null) {
    this.client.step({ type: "signal", room: this.name, name, data });
  }

  /** Everything up to this offset was seen. @param {number} offset */
  seen(offset) {
    this.client.step({ type: "seen", room: this.name, offset });
  }

  /** Say something else of ourselves, or nothing more.
   * @param {JoinOptions["presence"]} presence @throws {ClientError} `bad_command`, `too_large`, `too_deep` or `bad_json` */
  present(presence) {
    checkOptions({ presence });
    this.client.step({ type: "join", room: this.name, options: { presence } });
  }

  /** What came before an offset, for scrolling back.
   * @param {number} offset @param {number} [count] at most 1000 @returns {Promise<Message[]>} oldest first; none if there are none */
  async before(offset, count = 50) {
    const since = Math.max(0, offset - 1 - count);
    const { messages } = await this.client.get(`rooms/${this.name}`, [["since", since], ["limit", count]]);
    return messages.filter((/** @type {Message} */ message) => message.offset < offset);
  }

  /** Read it no longer. */
  close() {
    if (this.client.rooms.get(this.name) !== this) return;
    this.client.rooms.delete(this.name);
    this.client.step({ type: "leave", room: this.name });
  }

  /** @param {ServerEvent} event */
  receive(event) {
    switch (event.type) {
      case "presence":
        if (event.members) this.members.clear();
        for (const member of [...(event.members ?? []), ...(event.joined ?? [])]) this.members.set(member.member, member);
        for (const member of event.left ?? []) this.members.delete(member);
        break;
      case "seen":
        for (const { member, offset } of event.marks) this.marks.set(member, Math.max(offset, this.marks.get(member) ?? 0));
        break;
      case "unread":
        for (const count of event.rooms) if (count.room === this.name) this.emit("unread", count);
        return;
      case "message":
        if (this.keep) this.history = [...this.history, event].slice(-this.keep);
        break;
      case "redacted":
        this.history = redact(this.history, event);
        this.emit("redacted", redactedOf(event));
        return;
      case "gap": case "joined": case "signal": case "error": break;
      default: return;
    }
    const { type, ...body } = event;
    this.emit(type, /** @type {any} */ (body));
  }
}

/**
 * A connection for any number of rooms. Events: `state` (see `Change`), `outbox` (how many messages wait), `refused`
 * (a message of an outbox that was kept over a reload).
 * @extends {Emitter<{state: Change, outbox: number, refused: Refusal, stored: Receipt}>}
 */
export class Client extends Emitter {
  /** @param {string | URL} url where the server is; its path may be that of a mount @param {Options} options
   * @param {Platform} platform */
  constructor(url, options, platform) {
    super();
    this.platform = platform;
    const { href } = globalThis.document ? new URL(url, document.baseURI) : { href: String(url) };
    this.url = href.replace(/[?#].*$/s, "").replace(/^ws/, "http").replace(/\/*$/, "/");
    if (!/^https?:\/\/./.test(this.url)) throw new TypeError(`${url} is no http:// or https:// address`);
    this.options = options;
    this.clientId = options.clientId ?? randomId();
    this.life = randomId();
    this.attempts = 0;
    this.WebSocket = options.WebSocket ?? globalThis.WebSocket;
    /** @type {Map<string, Room>} */
    this.rooms = new Map();
    /** Of drafts and calls. @type {Map<string, {resolve: (value: any) => void, reject: (error: Error) => void}>} */
    this.promises = new Map();
    /** @type {Map<TimerName, ReturnType<typeof setTimeout>>} */
    this.timers = new Map();
    /** @type {Driver | undefined} */
    this.driver = undefined;
    /** @type {Promise<void> | undefined} */
    this.asking = undefined;
    this.token = "";
    /** @type {Effect[]} */
    this.effects = [];
    this.acting = false;
    /** @type {Limits} */
    this.limits = { message_bytes: 65_536, rooms: 100, json_depth: 500 }; // until the server says its own
    /** Who the server says we are. @type {string | null} */
    this.user = null;
    /** Our name in `members` and `marks`. */
    this.member = "";
    const wanted = options.transports ?? ["websocket", "sse", "longpoll", "shortpoll"];
    this.session = new Session({
      transports: wanted.filter((transport) => transport !== "websocket" || this.WebSocket),
      first: this.remembered(),
      hasToken: Boolean(options.getToken),
      outbox: /** @type {Draft[]} */ (options.persist ? this.load("outbox", "sessionStorage") ?? [] : []),
      outboxMax: options.outboxMax,
      retryMaxMs: options.retryMaxMs,
      random: Math.random,
    });
    this.stopWatching = this.watch();
    queueMicrotask(() => this.step({ type: "start" })); // with the rooms that are asked for in the same breath
  }

  /** @returns {State} */
  get state() {
    return this.session.state;
  }

  /** By which transport. @returns {Transport} */
  get transport() {
    return this.session.transport;
  }

  /** How many messages wait for their ack. */
  get waiting() {
    return this.session.outbox.size;
  }

  /** What waits, in order. @returns {Draft[]} */
  get drafts() {
    return [...this.session.outbox.values()];
  }

  /** Read a room; asking again for one that is read gives the same. Options: `since` (`"start"`, `"now"`, an offset or a
   * position) or `last` (how many of the newest; 50), and `presence` (true, an object that others see, or `"watch"`).
   * `keep`: so many messages stay in `history`.
   * @param {string} name @param {JoinOptions & {keep?: number}} [options]
   * @throws {ClientError} `bad_room`: no room can have that name; `too_many_rooms`: one of the others is to be closed;
   *   `bad_position`: it cannot begin there; or what is said of us is too large (1 KiB), or no object */
  room(name, { keep = 0, ...options } = {}) {
    let room = this.rooms.get(name);
    if (!room) {
      if (!ROOM_NAME.test(name.replace(/^\$/, ""))) refuse("bad_room", `${JSON.stringify(name)} is no room: 1 to 255 of A-Z a-z 0-9 _ . : ~ -`);
      checkOptions(options);
      if (this.rooms.size >= this.limits.rooms) refuse("too_many_rooms", `at most ${this.limits.rooms} rooms at once`);
      room = new Room(this, name);
      this.rooms.set(name, room);
      this.step({ type: "join", room: name, options });
    }
    room.keep = Math.max(room.keep, keep);
    return room;
  }

  /** Call a handler of the application, which carries it out once, whatever happens to the connection; resolves with its
   * result. @param {string} name @param {any} [data] @param {{timeoutMs?: number, id?: string, signal?: AbortSignal}} [options]
   *   `timeoutMs` counts from now, over all connections; with the same `id` it is carried out once within a minute
   * @returns {Promise<any>} @throws {ClientError} it was refused, or `timeout`, `outcome_unknown`, `aborted`, `closed`: the
   *   message says whether it may have been carried out */
  async call(name, data = null, { timeoutMs = 10_000, id = randomId(), signal } = {}) {
    check(data, this.limits);
    const before = this.session.calls.waiting.get(id);
    if (!ROOM_NAME.test(name) || name.length > 64) refuse("bad_command", "a call has a name: 1 to 64 of A-Z a-z 0-9 _ . : ~ -");
    if (before && before.name !== name) refuse("bad_id", `${id} is the id of a call of ${before.name} that waits`);
    if (signal?.aborted) refuse("aborted", "the call was given up: it was not carried out");
    const abort = () => this.step({ type: "abort", id });
    signal?.addEventListener("abort", abort);
    const result = this.promise(`/${id}`); // no room has such a name
    try {
      this.step({ type: "call", call: { id, name, data, timeoutMs } });
      return await result;
    } finally {
      signal?.removeEventListener("abort", abort);
    }
  }

  /** What will come of a draft or a call. Of the same again, both are told. @param {string} key @returns {Promise<any>} */
  promise(key) {
    const before = this.promises.get(key);
    return new Promise((resolve, reject) => {
      this.promises.set(key, {
        resolve: (value) => { before?.resolve(value); resolve(value); },
        reject: (error) => { before?.reject(error); reject(error); },
      });
    });
  }

  /** How much of these rooms was not seen; they need not be read. @param {string[]} rooms @returns {Promise<Unread[]>} */
  async unread(rooms) {
    return (await this.get("unread", rooms.map((room) => ["room", room]))).rooms;
  }

  /** @param {string} path @param {[string, unknown][]} query @returns {Promise<any>} */
  async get(path, query) {
    const url = address(this.url, path, [["client", this.clientId], ...query]);
    const { headers, credentials } = this.options;
    const init = { headers: { ...headers, ...(this.token ? { Authorization: `Bearer ${this.token}` } : {}) }, credentials };
    const response = await this.fetch(url, init);
    const answer = await response.json();
    if (!response.ok) throw new ClientError(answer.error);
    return answer;
  }

  /** The application knows that something has changed: find out what is left of the connection.
   * @param {string} [reason] @param {boolean} [stale] nothing can be left: open another one */
  wake(reason = "woken by the application", stale = false) {
    this.step({ type: "wake", reason, stale });
  }

  /** End it. What was not acked or answered is refused with `closed`. */
  close() {
    this.stopWatching();
    this.step({ type: "close" });
  }

  // Between the session, which decides, and the world.

  get fetch() {
    return this.options.fetch ?? globalThis.fetch.bind(globalThis);
  }

  /** What a listener does comes after what it was told of: its effects wait for those before.
   * @param {Input} input */
  step(input) {
    this.effects.push(...this.session.step(input, Date.now()));
    if (this.acting) return;
    this.acting = true;
    try {
      for (let effect; (effect = this.effects.shift()); ) this.carryOut(effect);
    } finally {
      this.acting = false;
    }
  }

  /** @param {Effect} effect */
  carryOut(effect) {
    switch (effect.do) {
      case "open": this.open(effect); break;
      case "shut":
        this.driver?.close();
        this.driver = undefined;
        break;
      case "send": this.driver?.send(effect.command); break;
      case "token": this.ask(); break;
      case "auth":
        this.token = effect.token;
        this.driver?.auth(effect.token);
        break;
      case "timer":
        clearTimeout(this.timers.get(effect.name));
        this.timers.set(effect.name, setTimeout(() => this.step({ type: "timer", name: effect.name }), effect.ms));
        break;
      case "cancel": clearTimeout(this.timers.get(effect.name)); break;
      case "change":
        this.options.debug?.(effect.change);
        this.emit("state", effect.change);
        break;
      case "tell": this.rooms.get(effect.room)?.receive(effect.event); break;
      case "stored":
        this.taken(keyOf(effect.receipt))?.resolve(effect.receipt.offset);
        this.emit("stored", effect.receipt);
        break;
      case "refused":
        this.taken(keyOf(effect.error))?.reject(new ClientError(effect.error));
        this.emit("refused", effect.error);
        break;
      case "result": this.taken(`/${effect.id}`)?.resolve(effect.data); break;
      case "rejected": this.taken(`/${effect.error.id}`)?.reject(new ClientError(effect.error)); break;
      case "outbox":
        if (this.options.persist) this.save("outbox", [...this.session.outbox.values()], "sessionStorage");
        this.emit("outbox", effect.waiting);
        break;
      case "remember": this.save("transport", { transport: effect.transport, at: Date.now() }); break;
    }
  }

  /** The promise that is to be settled now. @param {string} key */
  taken(key) {
    const promise = this.promises.get(key);
    this.promises.delete(key);
    return promise;
  }

  /** @param {Effect & {do: "open"}} effect */
  open({ transport, joins }) {
    this.driver?.close();
    /** @type {Driver} */
    let driver = { send() {}, auth() {}, close() {} };
    this.driver = driver;
    /** @param {Input} input */
    const step = (input) => this.driver === driver && this.step(input);
    /** @type {Wire} */
    const wire = {
      url: this.url, clientId: this.clientId, attempt: () => `${this.life}.${++this.attempts}`, token: this.token,
      fetch: this.fetch, WebSocket: this.WebSocket, headers: this.options.headers, credentials: this.options.credentials,
      pollMs: this.options.pollMs ?? 2000,
      event: (event) => {
        if (event.type === "welcome" || event.type === "authenticated") {
          if (event.member) [this.user, this.member] = [event.user ?? null, event.member];
          if (event.limits) this.limits = event.limits;
        }
        step({ type: "event", event });
      },
      down: (down) => step({ type: "down", down }),
      heard: () => step({ type: "heard" }),
    };
    if (transport === "websocket") {
      try {
        this.driver = driver = openWebSocket(wire, joins);
      } catch (error) { // the page may not open one
        queueMicrotask(() => wire.down({ reason: "refused", text: String(error) }));
      }
      return;
    }
    this.platform.load(transport, this.options.share !== false).then(
      (start) => { if (this.driver === driver) this.driver = driver = start({ ...wire, token: this.token }, joins); },
      (error) => wire.down({ reason: "network", text: String(error), unreachable: true }),
    );
  }

  /** One question at a time, however often it is asked. */
  ask() {
    this.asking ??= Promise.resolve().then(() => this.options.getToken?.())
      .finally(() => { this.asking = undefined; }) // before it is acted on: that may come to asking again
      .then(
        (token) => this.step(token ? { type: "token", token } : { type: "no-token", final: true, text: "there is no token" }),
        (error) => this.step({ type: "no-token", final: error?.status === 401 || error?.status === 403, text: String(error?.message ?? error) }),
      );
  }

  /** Whatever says that the network or we ourselves were away. */
  watch() {
    /** @type {[any, string, () => string | false][]} */
    const signs = [
      [globalThis.document, "visibilitychange", () => document.visibilityState === "visible" && "the page is visible again"],
      [globalThis, "pageshow", () => "the page is back"],
      [globalThis, "online", () => "the network is back"],
      [globalThis, "offline", () => this.state === "online" && "the network is gone"],
    ];
    /** @type {(() => void)[]} */
    const stops = [];
    for (const [target, kind, why] of signs) {
      if (!target?.addEventListener) continue;
      const listener = () => { const reason = why(); if (reason) this.wake(reason); };
      target.addEventListener(kind, listener);
      stops.push(() => target.removeEventListener(kind, listener));
    }
    const stop = this.platform.watch?.((reason, stale) => this.wake(reason, stale));
    if (stop) stops.push(stop);
    let before = Date.now();
    const timer = setInterval(() => {
      const now = Date.now();
      if (Math.abs(now - before - WATCH_MS) > JUMP_MS) this.wake("the clock has jumped");
      before = now;
    }, WATCH_MS);
    /** @type {any} */ (timer).unref?.(); // a script that has nothing else to do may end
    return () => { clearInterval(timer); stops.forEach((stop) => stop()); };
  }

  /** What worked the last time, in this hour. @returns {Transport | undefined} */
  remembered() {
    const found = this.options.remember !== false && this.load("transport");
    return found && Date.now() - found.at < REMEMBER_MS && (this.options.transports ?? [found.transport]).includes(found.transport) ? found.transport : undefined;
  }

  /** @param {string} what @param {"localStorage" | "sessionStorage"} [where] @returns {any} */
  load(what, where = "localStorage") {
    try {
      return JSON.parse(globalThis[where].getItem(`trunkline.${what} ${this.url}`) ?? "null");
    } catch {
      return null; // no storage, or none for us
    }
  }

  /** @param {string} what @param {unknown} value @param {"localStorage" | "sessionStorage"} [where] */
  save(what, value, where = "localStorage") {
    try {
      globalThis[where].setItem(`trunkline.${what} ${this.url}`, JSON.stringify(value));
    } catch {} // full, or forbidden: then it is not kept
  }
}

/** @param {string} code @param {string} message @returns {never} */
function refuse(code, message) {
  throw new ClientError({ code, message });
}

/** What no server takes is said at once: it would wait in the outbox for an answer that cannot come.
 * @param {any} data @param {Limits} limits @throws {ClientError} */
function check(data, limits) {
  const text = JSON.stringify(data);
  if (text === undefined || UNPAIRED.test(text)) refuse("bad_json", text ? "half a surrogate pair cannot be sent" : "data is a JSON value");
  const bytes = new TextEncoder().encode(text).length;
  if (bytes > limits.message_bytes) refuse("too_large", `data of ${bytes} bytes, at most ${limits.message_bytes} allowed`);
  let depth = 0;
  for (const [bracket] of text.replace(/"(?:[^"\\]|\\.)*"/g, "").matchAll(/[[\]{}]/g)) {
    depth += bracket === "[" || bracket === "{" ? 1 : -1;
    if (depth > limits.json_depth) refuse("too_deep", `data is nested deeper than ${limits.json_depth} levels`);
  }
}

/** What of one room no server takes: on streams and polls it would be refused together with all others.
 * @param {JoinOptions} options @throws {ClientError} */
function checkOptions({ since = "now", last = 0, presence }) {
  if (!/^(start|now|([a-z0-9]{1,16}\.)?(0|[1-9]\d{0,15}))$/.test(String(since)) || !(Number.isSafeInteger(last) && last >= 0)) {
    refuse("bad_position", `one begins at start, now, an offset or a position, or with the last so many; not ${JSON.stringify({ since, last })}`);
  }
  if (typeof presence === "object" && presence && !Array.isArray(presence)) check(presence, PRESENCE_LIMITS);
  else if (![undefined, null, true, false, "watch"].includes(/** @type {any} */ (presence))) {
    refuse("bad_command", 'presence is true, "watch", or an object that others are shown');
  }
}
