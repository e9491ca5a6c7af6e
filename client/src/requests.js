// Event streams and polls: rooms with positions, and a request for each thing that is said. Loaded when a WebSocket does
// not get through.

/** @import { Down, Join, JoinOptions, Refusal, ServerEvent, Transport } from "./types.js" */
/** @import { Driver, Wire } from "./websocket.js" */
import { address } from "./address.js";
import { POSITION } from "./session.js";

/**
 * @typedef {Join & {position: string}} Joined
 * @typedef {{query?: [string, unknown][], method?: string, body?: unknown, accept?: string, timeoutMs?: number,
 *   turn?: boolean, farewell?: boolean}} Asked `turn`: to be given up when the rooms change; `farewell`: not even then
 */

const TIMEOUT_MS = 10_000;
const POLL_WAIT_S = 25;
export const IDLE_MS = 20_000;
const AWAY_MS = 1000; // between two questions to a server whose log does not answer
const PAGE = 1000;
const JOINS_AT_ONCE = 4; // a browser has six connections to a server, and this is not all it does
const ADDRESS_MAX = 12_000; // characters of what is asked for: heads of requests are limited, ours and proxies'

// Refusals of a request for many rooms that one of them has earned.
const OF_ONE_ROOM = new Set(["forbidden", "bad_room", "bad_position", "bad_json", "bad_command", "not_found", "too_deep", "too_large", "too_many_members"]);

/** What event streams and polls have in common: rooms with positions, and requests. */
class Requests {
  /** @param {Wire} wire @param {Join[]} joins @param {number} waitS of a long poll */
  constructor(wire, joins, waitS = 0) {
    this.wire = wire;
    this.waitS = waitS;
    this.token = wire.token;
    /** What is read. Who leaves and joins again has another one. @type {Map<string, Joined>} */
    this.rooms = new Map();
    /** What is to be joined. @type {Map<string, Join>} */
    this.joins = new Map(joins.map((join) => [join.room, join]));
    /** What is being joined. @type {Map<string, Join>} */
    this.joining = new Map();
    /** Where others saw us and shall not any more. @type {Set<string>} */
    this.goodbyes = new Set();
    this.over = false;
    /** What was said before it was certain that this transport works. @type {[ServerEvent, Joined | undefined][] | null} */
    this.held = [];
    /** @type {Set<AbortController>} */
    this.open = new Set();
    /** @type {AbortController | undefined} */
    this.turn = undefined;
    this.turned = false;
    /** @type {Promise<void>} */
    this.posts = Promise.resolve();
    this.failures = 0;
    this.live = "";
    this.session = "";
    this.terms = ""; // until when the token was said to be good
    Promise.resolve().then(() => this.run()).catch((error) => this.fail(error));
  }

  /** @param {string} path @param {Asked} asked @returns {Promise<Response>} whose body is still to be read */
  async request(path, { query = [], method, body, accept, timeoutMs = TIMEOUT_MS, turn, farewell } = {}) {
    /** @type {Record<string, string>} */
    const headers = {};
    if (this.token) headers.Authorization = `Bearer ${this.token}`;
    if (accept) headers.Accept = accept;
    if (body) headers["Content-Type"] = "application/json";
    const ending = new AbortController();
    if (!farewell) this.open.add(ending);
    if (turn) this.turn = ending;
    let streaming = false;
    const timer = timeoutMs ? setTimeout(() => ending.abort(), timeoutMs) : undefined;
    const init = { method: method ?? (body ? "POST" : "GET"), headers, cache: /** @type {const} */ ("no-store"), keepalive: farewell, signal: ending.signal, ...(body ? { body: JSON.stringify(body) } : {}) };
    try {
      const response = await this.wire.fetch(address(this.wire.url, path, [["client", this.wire.clientId], ...query]), init).catch((error) => {
        throw { reason: "network", text: String(error), unreachable: !ending.signal.aborted };
      });
      streaming = Boolean(accept && response.ok);
      if (streaming) return response;
      const text = await response.text();
      if (response.ok) return new Response(text || "null");
      throw refusal(response, text);
    } finally {
      clearTimeout(timer);
      if (!streaming) this.open.delete(ending);
    }
  }

  /** @param {string} path @param {Asked} [asked] */
  async ask(path, asked) {
    return (await this.request(path, asked)).json();
  }

  /** @param {any} error */
  fail(error) {
    if (this.over) return;
    this.close();
    this.wire.down("reason" in Object(error) ? error : { reason: "network", text: String(error) });
  }

  /** This transport works. */
  welcome() {
    const held = this.held;
    if (!held) return;
    this.held = null;
    this.event({ type: "welcome" });
    for (const [event, of] of held) this.event(event, of);
  }

  /** @param {ServerEvent} event @param {Joined} [of] what it was joined as: who has left that since is not told */
  event(event, of) {
    if (this.over || (of && this.rooms.get(of.room) !== of)) return;
    if (this.held) this.held.push([event, of]);
    else this.wire.event(event);
  }

  /** @param {any[]} gaps @param {any[]} messages @param {Map<string, Joined>} reading when they were asked for */
  tell(gaps, messages, reading) {
    for (const gap of gaps) this.event({ type: "gap", ...gap }, reading.get(gap.room));
    for (const message of messages) this.event({ type: "message", ...message }, reading.get(message.room));
  }

  /** Join what is to be joined, a few at a time. */
  async begin() {
    await Promise.all(Array.from({ length: JOINS_AT_ONCE }, async () => {
      for (let [join] = this.joins.values(); join; [join] = this.joins.values()) await this.join(join);
    }));
  }

  /** A page of a room says where it stands, unless we know. @param {Join} join */
  async join(join) {
    const { room, start } = join;
    this.joins.delete(room);
    if (POSITION.test(String(start.since))) {
      this.rooms.set(room, { ...join, position: String(start.since) });
      return;
    }
    this.joining.set(room, join);
    try {
      const page = await this.ask(`rooms/${room}`, { query: [["since", start.since], ["last", start.last], ["limit", PAGE]] });
      this.wire.heard();
      if (this.joining.get(room) !== join) return; // it was left meanwhile
      const joined = { ...join, position: page.next };
      this.rooms.set(room, joined);
      this.event({ type: "joined", room, epoch: page.epoch, head: page.head }, joined);
      this.tell(page.gap ? [page.gap] : [], page.messages, new Map([[room, joined]]));
    } catch (error) {
      if (this.joining.get(room) === join) this.lose(room, error);
    } finally {
      if (this.joining.get(room) === join) this.joining.delete(room);
    }
  }

  /** One room that may not be read is no reason to lose the others. @param {string} room @param {any} error */
  lose(room, error) {
    if (!OF_ONE_ROOM.has(error.reason) && error.reason !== "too_many_rooms") throw error;
    this.rooms.delete(room);
    this.event({ type: "error", about: "join", room, code: error.reason, message: error.text });
  }

  /** A room may be read, but who is there is not for us, or we not for them. @param {Joined} joined @param {any} error */
  hide(joined, { reason, text }) {
    joined.presence = false;
    this.event({ type: "error", about: "presence", room: joined.room, code: reason, message: text }, joined);
  }

  /** Listen to all rooms again and again, from where they stand. @param {() => Promise<void>} listen */
  async listen(listen) {
    while (!this.over) {
      this.turned = false;
      await this.begin();
      if (this.turned || this.over) continue;
      this.part();
      try {
        if (this.rooms.size) await listen();
        else {
          const who = await this.ask("whoami");
          this.welcome();
          this.event({ ...who, type: "authenticated" });
          await this.sleep(IDLE_MS);
        }
      } catch (error) {
        const { reason, retryAfterMs } = /** @type {Down} */ (error);
        const last = [...this.rooms.keys()].pop();
        if (OF_ONE_ROOM.has(reason)) await this.check(error);
        // The server is there, its log is not: we stay, as everybody does who has a stream.
        else if (reason === "store_unavailable" && !this.held) await this.sleep((retryAfterMs || AWAY_MS) * (0.5 + Math.random()));
        else if (reason === "too_many_rooms" && last) this.lose(last, error);
        else if (!this.turned) throw error;
      }
      this.wire.heard();
    }
  }

  /** Say goodbye where others still see us: after a stream has ended they would for a while. */
  part() {
    for (const room of this.goodbyes) {
      if (!visible(this.rooms.get(room)?.presence)) this.ask(`rooms/${room}/presence`, { method: "DELETE", farewell: true }).catch(() => {});
    }
    this.goodbyes.clear();
  }

  /** Something of what was asked for together cannot be had: find out what, and go on without it. @param {any} error */
  async check(error) {
    let found = false;
    for (const joined of [...this.rooms.values()]) {
      /** @param {[string, unknown][]} query */
      const why = (...query) => this.ask(`rooms/${joined.room}`, { query: [["limit", 1], ...query] }).then(() => undefined, (refused) => refused);
      const refused = await why(["since", joined.position]);
      const hidden = !refused && joined.presence ? await why(["presence", said(joined.presence)]) : undefined;
      if (refused) this.lose(joined.room, refused);
      else if (hidden && OF_ONE_ROOM.has(hidden.reason)) this.hide(joined, hidden);
      else if (hidden) throw hidden;
      found ||= Boolean(refused ?? hidden);
    }
    if (!found) throw { reason: "network", text: error.text ?? error.reason }; // it has passed, or comes from elsewhere
  }

  /** What is asked for: every room from where it stands, and what others are to be told of us there.
   * @returns {[string, unknown][]} */
  query() {
    let left = ADDRESS_MAX;
    /** @type {Map<string, string[]>} */
    const presences = new Map();
    for (const joined of this.rooms.values()) {
      const { room, position, presence } = joined;
      left -= room.length + position.length + 2;
      if (left < 0) {
        this.lose(room, { reason: "too_many_rooms", text: "the names of all rooms together are too long" });
        continue;
      }
      if (!presence) continue;
      const what = said(presence);
      const length = room.length + 1 + (presences.has(what) ? 0 : encodeURIComponent(what).length + 20);
      if (length > left) this.hide(joined, { reason: "too_large", text: "what is told of us in all rooms together is too long" });
      else {
        left -= length;
        presences.set(what, [...(presences.get(what) ?? []), room]);
      }
    }
    return [
      ["since", [...this.rooms.values()].map(({ room, position }) => `${room}=${position}`).join(",")],
      ...[...presences].flatMap(([what, rooms]) => /** @type {[string, string][]} */ ([["presence", what], ["in", rooms.join(",")]])),
    ];
  }

  /** @param {string} positions `a=k3f9x2.42,b=p0q8.7` @param {Map<string, Joined>} reading */
  move(positions, reading) {
    for (const part of positions.split(",")) {
      const at = part.lastIndexOf("=");
      const joined = reading.get(part.slice(0, at));
      if (!joined) continue;
      const [position, before] = [part.slice(at + 1), joined.position];
      joined.position = position;
      const [epoch = "", offset] = position.split(".");
      // The log goes on under another epoch: on a WebSocket, the server says so itself.
      if (before.includes(".") && !before.startsWith(`${epoch}.`)) this.event({ type: "joined", room: joined.room, epoch, head: Number(offset) }, joined);
    }
  }

  /** Something else is to be listened to. */
  turnOver() {
    this.turned = true;
    this.live = ""; // of a room that is new to us we want to know everything
    this.turn?.abort();
  }

  /** @param {number} ms */
  sleep(ms) {
    if (this.turned || this.over) return Promise.resolve();
    const ending = (this.turn = new AbortController());
    this.open.add(ending);
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, ms);
      ending.signal.onabort = () => resolve(clearTimeout(timer));
    }).then(() => void this.open.delete(ending));
  }

  async run() {}

  /** @param {Record<string, any>} command */
  send({ type, ...body }) {
    const { room, presence, since, last } = body;
    if (type === "join") {
      const known = this.rooms.get(room) ?? this.joins.get(room) ?? this.joining.get(room);
      if (since !== undefined || last !== undefined) this.joins.set(room, { room, start: { since, last }, presence });
      else if (known) {
        if (visible(known.presence)) this.goodbyes.add(room);
        known.presence = presence;
      }
      this.turnOver();
    } else if (type === "leave") {
      if (visible(this.rooms.get(room)?.presence)) this.goodbyes.add(room);
      for (const rooms of [this.rooms, this.joins, this.joining]) rooms.delete(room);
      this.event({ type: "left", room });
      this.turnOver();
    } else if (type === "message") {
      // One at a time, for two requests of one client may overtake each other; and none behind one that failed.
      const { failures } = this;
      this.posts = this.posts.then(() => (failures === this.failures ? this.publish(body) : undefined));
    } else if (type === "signal" || type === "seen") {
      const path = `rooms/${room}/${type === "seen" ? type : "signals"}`;
      this.ask(path, { body, farewell: type === "seen" }).then(
        (count) => count && this.event({ type: "unread", rooms: [count] }),
        (error) => this.refused(error, { about: type, room }),
      );
    } else if (type === "unread") {
      const rooms = /** @type {string[]} */ (body.rooms);
      this.ask("unread", { query: rooms.map((one) => ["room", one]) }).then(
        (counts) => this.event({ type: "unread", ...counts }),
        (error) => this.refused(error, { about: "unread", room: String(rooms[0]) }),
      );
    }
  }

  /** @param {Record<string, any>} draft */
  async publish({ room, id, data }) {
    try {
      this.event({ type: "ack", ...(await this.ask(`rooms/${room}`, { body: { id, data } })) });
    } catch (error) {
      this.refused(error, { about: "message", id, room });
    }
  }

  /** @param {any} error @param {{about: string, room: string, id?: string}} what */
  refused(error, what) {
    if (error.status === 401) this.fail(error); // nothing will come through before there is another token
    else {
      const reason = reasonOf(error);
      if (what.id && reason.code === "network") this.failures++;
      this.event({ type: "error", ...what, ...reason });
    }
  }

  /** @param {string} token */
  auth(token) {
    this.token = token;
    this.terms = ""; // are to be told anew
    if (!this.session) this.turnOver(); // the next question brings it
    else {
      this.ask(`sessions/${this.session}/auth`, { method: "POST" }).then(
        (answer) => this.event({ type: "authenticated", ...answer }),
        (error) => (error.status === 401 ? this.fail(error) : this.turnOver()), // there may be another stream by now
      );
    }
  }

  close() {
    this.over = true;
    this.part();
    for (const ending of this.open) ending.abort();
  }
}

class EventStream extends Requests {
  run() {
    return this.listen(async () => {
      /** @type {[string, unknown][]} */
      const query = [["attempt", this.wire.attempt()], ...this.query()];
      const response = await this.request("connect", { query, accept: "text/event-stream", timeoutMs: 0, turn: true });
      const ending = /** @type {AbortController} */ (this.turn);
      const reading = new Map(this.rooms);
      if (!response.body) throw { reason: "no streams", text: "fetch gives no streams here" };
      const reader = response.body.getReader();
      const decoder = new TextDecoder();
      let rest = "";
      try {
        for (let piece = await reader.read(); !piece.done; piece = await reader.read()) {
          this.welcome();
          this.wire.heard();
          const blocks = (rest + decoder.decode(piece.value, { stream: true })).split("\n\n");
          rest = /** @type {string} */ (blocks.pop());
          for (const block of blocks) this.block(block, reading);
        }
      } finally {
        this.open.delete(ending);
      }
      throw { reason: "ended", text: "the stream has ended" };
    });
  }

  /** @param {string} block one event (HTML Living Standard, section 9.2.6) @param {Map<string, Joined>} reading */
  block(block, reading) {
    /** @type {Record<string, string>} */
    const fields = {};
    for (const line of block.split("\n")) {
      const colon = line.indexOf(":");
      if (colon > 0) fields[line.slice(0, colon)] = line.slice(colon + 1).trimStart();
    }
    if (fields.id) this.move(fields.id, reading);
    if (!fields.data || this.over) return;
    const body = JSON.parse(fields.data);
    if (fields.event === "closed" && OF_ONE_ROOM.has(body.code)) throw { reason: body.code, text: body.message };
    if (fields.event === "closed") this.fail({ code: CLOSED[/** @type {string} */ (body.code)] ?? 4000, reason: body.code, text: body.message, retryAfterMs: body.retry_after_ms });
    else if (fields.event === "welcome") {
      this.session = body.session;
      this.event({ ...body, type: "authenticated" });
    } else this.event({ type: fields.event ?? "message", ...body }, reading.get(body.room));
  }
}

export class Poll extends Requests {
  member = "";

  run() {
    return this.listen(async () => {
      const wait = this.live ? this.waitS : 0;
      /** @type {[string, unknown][]} */
      const query = [...this.query(), ["wait", wait], ["limit", PAGE], ["live", this.live || 0]];
      const reading = new Map(this.rooms);
      const { next, gaps, messages, live } = await this.ask("connect", { query, turn: true, timeoutMs: wait * 1000 + TIMEOUT_MS });
      this.welcome();
      if (this.turned || this.over) return;
      this.move(next, reading);
      this.live = live.next;
      this.member = live.member;
      if (this.terms !== String(live.expires_at)) {
        this.terms = String(live.expires_at);
        this.event({ type: "authenticated", user: live.user, member: live.member, expires_in_ms: live.expires_in_ms, retry_max_ms: live.retry_max_ms });
      }
      this.tell(gaps, messages, reading);
      for (const one of live.signals) if (one.member !== live.member) this.event({ type: "signal", ...one }, reading.get(one.room));
      for (const one of live.presence) this.event({ type: "presence", ...one }, reading.get(one.room));
      for (const one of live.seen) this.event({ type: "seen", ...one }, reading.get(one.room));
      if (messages.length < PAGE) await this.rest();
    });
  }

  /** Before the next poll. @returns {Promise<unknown>} */
  rest() {
    return this.waitS ? Promise.resolve() : this.sleep(this.wire.pollMs);
  }
}

/** As addresses have it. @param {JoinOptions["presence"]} presence */
function said(presence) {
  return typeof presence === "object" ? JSON.stringify(presence) : String(presence);
}

/** Whether others see us by this. @param {JoinOptions["presence"]} presence */
function visible(presence) {
  return Boolean(presence) && presence !== "watch";
}

/** Why a request came to nothing. @param {Down} error @returns {{code: string, message: string, retry_after_ms?: number}} */
function reasonOf({ status = 0, reason, text, retryAfterMs }) {
  const passing = !status || status >= 500 || status === 429;
  return { code: passing ? "network" : reason, message: text ?? reason, ...(retryAfterMs ? { retry_after_ms: retryAfterMs } : {}) };
}

// What an event stream says at its end, as a WebSocket's close code says it.
/** @type {Record<string, number>} */
const CLOSED = { replaced: 4201, disconnected: 4200, unauthorized: 4100, token_expired: 4101, revoked: 4102, store_unavailable: 1013 };

/** @param {Response} response @param {string} text @returns {Down} */
function refusal(response, text) {
  const { status } = response;
  let error;
  try {
    ({ error } = JSON.parse(text));
  } catch {} // not from our server, then
  return {
    status, reason: error?.code ?? `http ${status}`, text: error?.message,
    retryAfterMs: error?.retry_after_ms ?? 1000 * (Number(response.headers.get("retry-after")) || 0),
  };
}

/** @type {Record<Exclude<Transport, "websocket">, (wire: Wire, joins: Join[]) => Driver>} */
export const DRIVERS = {
  sse: (wire, joins) => new EventStream(wire, joins),
  longpoll: (wire, joins) => new Poll(wire, joins, POLL_WAIT_S),
  shortpoll: (wire, joins) => new Poll(wire, joins),
};
