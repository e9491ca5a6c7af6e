// Event streams and polls, without a socket or a clock: what happened goes in, what is to be done comes out. The twin of
// `http_driver.py`; both replay the exchanges of `conformance/http`. One file, although it is long: streams and polls share
// one machine, and differ in fifty lines each.
//
//   joining ──► listening ──► joining …     a page of each room that is new, then one request for all of them
//      │            ├──► checking ──►       something of it was refused: find out what, and go on without it
//      └──► over    └──► resting ──►        until a timer; a command that changes the rooms ends the wait

/** @import { Down, Join, JoinOptions, ServerEvent } from "./types.js" */
import { POSITION } from "./readings.js";
import { passes } from "./refusals.js";

/**
 * @typedef {Join & {position: string}} Joined
 * @typedef {[string, unknown][]} Query
 * @typedef {{do: "request", id: number, method: string, path: string, query: Query, token: string, body?: unknown,
 *   stream: boolean, timeoutMs: number, farewell: boolean}} HttpRequest `farewell`: it is sent although the page closes
 * @typedef {HttpRequest | {do: "abort", id: number} | {do: "timer", ms: number} | {do: "cancel"}
 *   | {do: "event", event: ServerEvent} | {do: "heard"} | {do: "down", down: Down}
 *   | {do: "resting", rooms: [string, string][]}} HttpEffect
 * @typedef {{type: "start"} | {type: "send", command: Record<string, any>} | {type: "auth", token: string}
 *   | {type: "close"} | {type: "turn"} | {type: "overheard", event: ServerEvent} | {type: "timer"}
 *   | {type: "answer", id: number, body: any} | {type: "refused", id: number, down: Down}
 *   | {type: "text", id: number, text: string} | {type: "ended", id: number}} HttpInput
 * @typedef {{answer?: (body: any) => void, refused: (down: Down) => void, text?: (text: string) => void, farewell?: boolean}} Handler
 * @typedef {{token?: string, joins?: Join[], waitS?: number, pollMs?: number, attempt?: () => string,
 *   random?: () => number}} HttpOptions
 */

const TIMEOUT_MS = 10_000;
export const IDLE_MS = 20_000;
const AWAY_MS = 1000; // between two requests to a server whose log does not answer
const PAGE = 1000;
const JOINS_AT_ONCE = 4; // a browser has six connections to a server, and these are not its only requests
const ADDRESS_MAX = 12_000; // characters of rooms and positions: heads of requests are limited, ours and proxies'

// Refusals of a request for many rooms that one of them has earned.
const OF_ONE_ROOM = new Set(["forbidden", "bad_room", "bad_position", "bad_json", "bad_command", "not_found", "too_deep", "too_large", "too_many_members"]);

// The last event of an event stream, as a WebSocket's close code says it.
/** @type {Record<string, number>} */
const CLOSED = { replaced: 4201, disconnected: 4200, unauthorized: 4100, token_expired: 4101, revoked: 4102, store_unavailable: 1013 };

// Answers to requests that have brought no token that is good. An application may refuse with a status of 401, too.
const NO_TOKEN = new Set(["unauthorized", "token_expired", "revoked", "http 401"]);

/** What event streams and polls have in common: rooms with positions, and requests. */
class HttpDriver {
  /** @param {HttpOptions} options `waitS` of a long poll; `pollMs` between short polls */
  constructor({ token = "", joins = [], waitS = 0, pollMs = 2000, attempt = () => "", random = Math.random }) {
    this.token = token;
    this.waitS = waitS;
    this.pollMs = pollMs;
    this.attempt = attempt;
    this.random = random;
    /** @type {"idle" | "joining" | "listening" | "checking" | "resting" | "over"} */
    this.state = "idle";
    /** The rooms that are read. A room that is left and joined again is another object. @type {Map<string, Joined>} */
    this.rooms = new Map();
    /** The rooms that are to be joined. @type {Map<string, Join>} */
    this.joins = new Map(joins.map((join) => [join.room, join]));
    /** The rooms that are being joined. @type {Map<string, Join>} */
    this.joining = new Map();
    /** The rooms in which members were shown this client, and shall not be any more. @type {Set<string>} */
    this.goodbyes = new Set();
    /** Events of before it was certain that this transport works. @type {[ServerEvent, Joined | undefined][] | null} */
    this.held = [];
    /** @type {Map<number, Handler>} */
    this.requests = new Map();
    this.lastId = 0;
    /** The request that a change of the rooms ends. @type {number | undefined} */
    this.listening = undefined;
    this.turned = false; // the rooms have changed since they were last asked for
    /** @type {[number, Record<string, any>][]} */
    this.posts = [];
    this.isPosting = false;
    this.failures = 0;
    this.session = "";
    this.live = "";
    this.terms = ""; // until when the token was said to be good
    /** @type {HttpEffect[]} */
    this.effects = [];
  }

  /** Take one input at a time; carry the effects out in order. @param {HttpInput} input @returns {HttpEffect[]} */
  step(input) {
    this.effects = [];
    if (this.state === "over") return [];
    try {
      this.take(input);
    } catch (error) {
      this.fail(error);
    }
    return this.effects;
  }

  /** @param {HttpInput} input */
  take(input) {
    if (input.type === "start") this.begin();
    else if (input.type === "send") this.send(input.command);
    else if (input.type === "auth") this.auth(input.token);
    else if (input.type === "close") this.close();
    else if (input.type === "turn") this.turn();
    else if (input.type === "overheard") this.overhear(input.event);
    else if (input.type === "timer") {
      if (this.state === "resting") this.goOn();
    } else {
      const handler = this.requests.get(input.id);
      if (!handler) return; // it was aborted
      if (input.type === "text") handler.text?.(input.text);
      else {
        this.requests.delete(input.id);
        if (this.listening === input.id) this.listening = undefined;
        if (input.type === "answer") handler.answer?.(input.body);
        else handler.refused(input.type === "refused" ? input.down : { reason: "ended", text: "the stream has ended" });
      }
    }
  }

  /** @param {HttpEffect} effect */
  do(effect) {
    this.effects.push(effect);
  }

  /** @param {string} path @param {Handler} handler
   * @param {{query?: Query, method?: string, body?: unknown, stream?: boolean, timeoutMs?: number, farewell?: boolean}} [more] */
  request(path, handler, { query = [], method, body, stream = false, timeoutMs = TIMEOUT_MS, farewell = false } = {}) {
    const id = ++this.lastId;
    this.requests.set(id, { ...handler, farewell });
    const verb = method ?? (body ? "POST" : "GET");
    this.do({ do: "request", id, method: verb, path, query, token: this.token, ...(body ? { body } : {}), stream, timeoutMs, farewell });
    return id;
  }

  /** @param {any} error */
  fail(error) {
    this.close();
    this.do({ do: "down", down: "reason" in Object(error) ? error : { reason: "internal", text: String(error) } });
  }

  close() {
    if (this.state === "over") return;
    this.state = "over";
    this.part();
    this.do({ do: "cancel" });
    for (const [id, { farewell }] of this.requests) if (!farewell) this.do({ do: "abort", id });
    this.requests.clear();
  }

  // Events.

  /** This transport works. */
  welcome() {
    const held = this.held;
    if (!held) return;
    this.held = null;
    this.event({ type: "welcome" });
    for (const [event, of] of held) this.event(event, of);
  }

  /** @param {ServerEvent} event @param {Joined} [of] as which its room was joined: one that was left since is not told */
  event(event, of) {
    if (this.state === "over" || (of && this.rooms.get(of.room) !== of)) return;
    if (this.held) this.held.push([event, of]);
    else this.do({ do: "event", event });
  }

  /** @param {any[]} gaps @param {any[]} messages @param {any[]} redactions @param {Map<string, Joined>} reading when they
   * were asked for */
  tell(gaps, messages, redactions, reading) {
    for (const gap of gaps) this.event({ type: "gap", ...gap }, reading.get(gap.room));
    const entries = redactions.length ? [...messages, ...redactions].sort((one, other) => one.offset - other.offset) : messages;
    for (const entry of entries) this.event({ type: entry.redacts ? "redacted" : "message", ...entry }, reading.get(entry.room));
  }

  // Joining.

  /** Join the rooms that are to be joined, a few at a time; then listen. */
  begin() {
    this.state = "joining";
    this.turned = false;
    this.joinMore();
  }

  joinMore() {
    if (this.state !== "joining") return;
    for (let [join] = this.joins.values(); join && this.joining.size < JOINS_AT_ONCE; [join] = this.joins.values()) this.join(join);
    if (this.joining.size) return;
    if (this.turned) this.begin();
    else {
      this.part();
      if (this.rooms.size) this.listen();
      else this.ask();
    }
  }

  /** A page of a room says where it stands, unless that is known. @param {Join} join */
  join(join) {
    const { room, start } = join;
    this.joins.delete(room);
    if (POSITION.test(String(start.since))) {
      this.rooms.set(room, { ...join, position: String(start.since) });
      return;
    }
    this.joining.set(room, join);
    const isCurrent = () => this.joining.get(room) === join && this.joining.delete(room);
    this.request(`rooms/${room}`, {
      answer: (page) => {
        this.do({ do: "heard" });
        if (isCurrent()) {
          const joined = { ...join, position: page.next };
          this.rooms.set(room, joined);
          this.event({ type: "joined", room, epoch: page.epoch, head: page.head }, joined);
          this.tell(page.gap ? [page.gap] : [], page.messages, page.redactions ?? [], new Map([[room, joined]]));
        }
        this.joinMore();
      },
      refused: (down) => {
        if (isCurrent()) this.lose(room, down);
        this.joinMore();
      },
    }, { query: given([["since", start.since], ["last", start.last], ["limit", PAGE]]) });
  }

  /** One room that may not be read is no reason to lose the others. @param {string} room @param {Down} down */
  lose(room, down) {
    if (!OF_ONE_ROOM.has(down.reason) && down.reason !== "too_many_rooms") throw down;
    this.rooms.delete(room);
    this.event({ type: "error", about: "join", room, code: down.reason, message: down.text ?? down.reason });
  }

  /** A room may be read, but not watched, or its members cannot be shown this client. @param {Joined} joined @param {Down} down */
  hide(joined, { reason, text }) {
    joined.presence = false;
    this.event({ type: "error", about: "presence", room: joined.room, code: reason, message: text ?? reason }, joined);
  }

  // Listening.

  /** Send the request that listens to all rooms. */
  listen() {}

  /** There is no room to listen to: find out whether the server is there. */
  ask() {
    this.state = "listening";
    this.request("whoami", {
      answer: (who) => {
        this.welcome();
        this.event({ ...who, type: "authenticated" });
        this.rest(IDLE_MS);
      },
      refused: (down) => this.refusedListening(down),
    });
  }

  /** @param {Down} down */
  refusedListening(down) {
    const { reason, retryAfterMs } = down;
    const last = [...this.rooms.keys()].pop();
    if (OF_ONE_ROOM.has(reason)) this.check(down, [...this.rooms.values()], false);
    // The server is there, its log is not: this client stays, as all do that have a stream.
    else if (reason === "store_unavailable" && !this.held) this.rest((retryAfterMs || AWAY_MS) * (0.5 + this.random()));
    else if (reason === "too_many_rooms" && last) {
      this.lose(last, down);
      this.goOn();
    } else if (this.turned) this.goOn();
    else throw down;
  }

  /** Wait, unless the rooms have changed meanwhile. @param {number} ms */
  rest(ms) {
    if (this.turned) {
      this.goOn();
      return;
    }
    this.state = "resting";
    this.do({ do: "timer", ms });
  }

  /** Ask again, from where the rooms stand. */
  goOn() {
    this.do({ do: "heard" });
    this.begin();
  }

  /** The rooms have changed: ask for the new ones. */
  turn() {
    this.turned = true;
    this.live = ""; // of a room that is new here everything is to be told
    if (this.state === "resting") {
      this.do({ do: "cancel" });
      this.goOn();
    } else if (this.listening !== undefined) {
      this.requests.delete(this.listening);
      this.do({ do: "abort", id: this.listening });
      this.listening = undefined;
      this.goOn();
    }
  }

  /** Leave the rooms in which this client is still shown: after a stream has ended it would be for a while. */
  part() {
    for (const room of this.goodbyes) {
      if (!isShown(this.rooms.get(room)?.presence)) this.request(`rooms/${room}/presence`, { refused: () => {} }, { method: "DELETE", farewell: true });
    }
    this.goodbyes.clear();
  }

  /** Something that was asked for together cannot be had: find out what, room by room, and go on without it.
   * @param {Down} down @param {Joined[]} rooms that are still to be checked @param {boolean} found whether something was */
  check(down, rooms, found) {
    this.state = "checking";
    const [joined, ...others] = rooms;
    if (!joined) {
      if (!found) throw { reason: "network", text: down.text ?? down.reason }; // it has passed, or comes from elsewhere
      this.goOn();
      return;
    }
    const next = /** @param {boolean} more */ (more) => this.check(down, others, found || more);
    /** @param {Query} query @param {Handler} handler */
    const ask = (query, handler) => this.request(`rooms/${joined.room}`, handler, { query: [["limit", 1], ...query] });
    ask([["since", joined.position]], {
      answer: () => {
        if (!joined.presence) next(false);
        else {
          ask([["presence", encoded(joined.presence)]], {
            answer: () => next(false),
            refused: (hidden) => {
              if (!OF_ONE_ROOM.has(hidden.reason)) throw hidden;
              this.hide(joined, hidden);
              next(true);
            },
          });
        }
      },
      refused: (refused) => {
        this.lose(joined.room, refused);
        next(true);
      },
    });
  }

  /** Every room from where it stands, and what its members are to be shown of this client. @returns {Query} */
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
      const what = encoded(presence);
      const length = room.length + 1 + (presences.has(what) ? 0 : encodeURIComponent(what).length + 20);
      if (length > left) this.hide(joined, { reason: "too_large", text: "what is shown of this client in all rooms together is too long" });
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

  // Commands.

  /** @param {Record<string, any>} command */
  send({ type, ...body }) {
    const { room, presence, since, last } = body;
    if (type === "join") {
      const known = this.rooms.get(room) ?? this.joins.get(room) ?? this.joining.get(room);
      if (since !== undefined || last !== undefined) this.joins.set(room, { room, start: { since, last }, presence });
      else if (known) {
        if (isShown(known.presence)) this.goodbyes.add(room);
        known.presence = presence;
      }
      this.turn();
    } else if (type === "leave") {
      if (isShown(this.rooms.get(room)?.presence)) this.goodbyes.add(room);
      for (const rooms of [this.rooms, this.joins, this.joining]) rooms.delete(room);
      this.event({ type: "left", room });
      this.turn();
    } else if (type === "message") {
      // One at a time, for two requests of one client may overtake each other; and none behind one that failed.
      this.posts.push([this.failures, body]);
      this.post();
    } else if (type === "signal" || type === "seen") {
      const path = `rooms/${room}/${type === "seen" ? type : "signals"}`;
      const { room: _, ...fields } = body;
      this.request(path, {
        answer: (count) => count && this.event({ type: "unread", rooms: [count] }),
        refused: (down) => this.refusedCommand(down, { about: type, room }),
      }, { body: fields, farewell: type === "seen" });
    } else if (type === "call") {
      const { name, ...fields } = body;
      this.request(`calls/${name}`, {
        answer: ({ data }) => this.event({ type: "result", id: body.id, data }),
        refused: (down) => this.refusedCommand(down, { about: type, id: body.id }),
      }, { body: fields });
    } else if (type === "unread") {
      const rooms = /** @type {string[]} */ (body.rooms);
      this.request("unread", {
        answer: (counts) => this.event({ type: "unread", ...counts }),
        refused: (down) => this.refusedCommand(down, { about: "unread", room: String(rooms[0]) }),
      }, { query: rooms.map((one) => ["room", one]) });
    }
  }

  post() {
    const [next] = this.posts;
    if (this.isPosting || !next) return;
    const [failures, { room, ...body }] = next;
    this.posts.shift();
    if (failures !== this.failures) {
      this.post();
      return;
    }
    this.isPosting = true;
    const done = () => {
      this.isPosting = false;
      this.post();
    };
    this.request(`rooms/${room}`, {
      answer: (receipt) => {
        this.event({ type: "ack", ...receipt });
        done();
      },
      refused: (down) => {
        this.refusedCommand(down, { about: "message", id: body.id, room });
        done();
      },
    }, { body });
  }

  /** @param {Down} down @param {{about: string, room?: string, id?: string}} what */
  refusedCommand(down, what) {
    if (NO_TOKEN.has(down.reason)) throw down; // nothing will come through before there is another token
    const reason = reasonOf(down);
    if (what.about === "message" && passes(reason)) this.failures++;
    this.event({ type: "error", ...what, ...reason });
  }

  /** @param {string} token */
  auth(token) {
    const before = this.token;
    this.token = token;
    this.terms = ""; // are to be told anew
    if (!this.session) this.turn(); // the next request brings it
    else {
      this.request(`sessions/${this.session}/auth`, {
        answer: (answer) => this.event({ type: "authenticated", ...answer }),
        refused: (down) => {
          if (down.status === 401 && !down.retryAfterMs) throw down;
          if (down.status === 401) {
            this.token = before; // which holds the stream open until it ends
            this.event({ type: "error", about: "auth", ...reasonOf(down) });
          } else this.turn(); // there may be another stream by now
        },
      }, { method: "POST" });
    }
  }

  /** @param {ServerEvent} _ */
  overhear(_) {}
}

/** An event stream for all rooms. */
export class EventStreamDriver extends HttpDriver {
  listen() {
    this.state = "listening";
    const reading = new Map(this.rooms);
    let rest = "";
    const id = this.request("connect", {
      text: (text) => {
        this.welcome();
        this.do({ do: "heard" });
        const blocks = (rest + text).split("\n\n");
        rest = /** @type {string} */ (blocks.pop());
        for (const block of blocks) {
          const down = this.requests.has(id) ? this.block(block, reading) : undefined;
          if (!down) continue;
          this.requests.delete(id);
          this.listening = undefined;
          this.do({ do: "abort", id });
          this.refusedListening(down);
        }
      },
      refused: (down) => this.refusedListening(down),
    }, { query: [["attempt", this.attempt()], ...this.query()], stream: true, timeoutMs: 0 });
    this.listening = id;
  }

  /** @param {string} block one event (HTML Living Standard, section 9.2.6) @param {Map<string, Joined>} reading
   * @returns {Down | undefined} why the stream is of no use any more */
  block(block, reading) {
    /** @type {Record<string, string>} */
    const fields = {};
    for (const line of block.split("\n")) {
      const colon = line.indexOf(":");
      if (colon > 0) fields[line.slice(0, colon)] = line.slice(colon + 1).trimStart();
    }
    if (fields.id) this.move(fields.id, reading);
    if (!fields.data) return undefined;
    const body = JSON.parse(fields.data);
    if (fields.event === "closed" && OF_ONE_ROOM.has(body.code)) return { reason: body.code, text: body.message };
    if (fields.event === "closed") throw { code: CLOSED[/** @type {string} */ (body.code)] ?? 4000, reason: body.code, text: body.message, retryAfterMs: body.retry_after_ms ?? 0 };
    if (fields.event === "welcome") {
      this.session = body.session;
      this.event({ ...body, type: "authenticated" });
    } else this.event({ type: fields.event ?? "message", ...body }, reading.get(body.room));
    return undefined;
  }
}

/** Polls for all rooms, long if `waitS` is given. */
export class PollDriver extends HttpDriver {
  member = "";

  listen() {
    this.state = "listening";
    const waitS = this.live ? this.waitS : 0;
    const reading = new Map(this.rooms);
    const query = /** @type {Query} */ ([...this.query(), ["wait", waitS], ["limit", PAGE], ["live", this.live || 0]]);
    this.listening = this.request("connect", {
      answer: (answer) => this.page(answer, reading),
      refused: (down) => this.refusedListening(down),
    }, { query, timeoutMs: waitS * 1000 + TIMEOUT_MS });
  }

  /** @param {any} answer @param {Map<string, Joined>} reading */
  page({ next, gaps, messages, redactions = [], live }, reading) {
    this.welcome();
    this.move(next, reading);
    this.live = live.next;
    this.member = live.member;
    if (this.terms !== String(live.expires_at)) {
      this.terms = String(live.expires_at);
      this.event({ type: "authenticated", user: live.user, member: live.member, expires_in_ms: live.expires_in_ms, retry_max_ms: live.retry_max_ms });
    }
    this.tell(gaps, messages, redactions, reading);
    for (const one of live.signals) if (one.member !== live.member) this.event({ type: "signal", ...one }, reading.get(one.room));
    for (const one of live.presence) this.event({ type: "presence", ...one }, reading.get(one.room));
    for (const one of live.seen) this.event({ type: "seen", ...one }, reading.get(one.room));
    if (this.waitS || messages.length + redactions.length >= PAGE) this.goOn();
    else {
      this.do({ do: "resting", rooms: this.places() });
      this.rest(this.pollMs);
    }
  }

  /** Every room and where it stands. @returns {[string, string][]} */
  places() {
    return [...this.rooms.values()].map(({ room, position }) => [room, position]);
  }

  /** Another connection of the same user has heard this, in a room that is read here, too. @param {ServerEvent} event */
  overhear(event) {
    const room = "room" in event && event.room ? this.rooms.get(event.room) : undefined;
    if (!room || this.held) return;
    if (event.type === "message" || event.type === "redacted") {
      const [epoch, offset] = room.position.split(".");
      if (event.offset === Number(offset) + 1) {
        room.position = `${epoch}.${event.offset}`;
        this.event(event, room);
      } else if (event.offset > Number(offset)) this.turn();
    } else if (event.type === "gap") this.turn();
    else if (event.type === "signal" ? event.member !== this.member : room.presence) this.event(event, room);
  }
}

/** @param {Query} query */
function given(query) {
  return query.filter(([, value]) => value !== undefined && value !== null);
}

/** As URLs have it. @param {JoinOptions["presence"]} presence */
function encoded(presence) {
  return typeof presence === "object" ? JSON.stringify(presence) : String(presence);
}

/** Whether members are shown this client. @param {JoinOptions["presence"]} presence */
function isShown(presence) {
  return Boolean(presence) && presence !== "watch";
}

/** Why a request came to nothing, as the session is told. @param {Down} down @returns {{code: string, message: string, retry_after_ms?: number}} */
function reasonOf({ status = 0, reason, text, retryAfterMs }) {
  // What is not of our server comes from something on the way, or there was no answer.
  const isOurs = status && !reason.startsWith("http ");
  const isLost = !isOurs && (!status || status >= 500 || status === 429);
  return { code: isLost ? "network" : reason, message: text ?? reason, ...(retryAfterMs ? { retry_after_ms: retryAfterMs } : {}) };
}
