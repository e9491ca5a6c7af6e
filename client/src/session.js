// What a client does, as a pure function: inputs in, effects out. No sockets, clocks, timers or randomness in here.
//
//   idle ──start──► connecting ──up──► online
//                    ▲   │  ▲            │
//               retry│   │  └─fallback   │ lost, closing
//                wake│   ▼ fail          ▼
//                    └─ waiting ◄────────┘         any ──close, refused──► closed
//
// Reading: a room knows its position; whatever is not behind it is dropped, so nothing is told twice. Writing: a draft
// keeps its id and its place in the outbox until it is acked or refused for good; every new connection sends what is
// left, in order, and the id keeps it from being stored twice.

/** @import { Change, Down, Draft, Effect, Input, Join, JoinOptions, Refusal, ServerEvent, State, TimerName, Transport } from "./types.js" */

/** Each state's ways out. What is not here cannot happen. @type {Record<State, Record<string, State>>} */
export const TRANSITIONS = {
  idle: { start: "connecting", close: "closed" },
  connecting: { up: "online", fallback: "connecting", fail: "waiting", refused: "closed", close: "closed" },
  online: { lost: "waiting", closing: "waiting", refused: "closed", close: "closed" },
  waiting: { retry: "connecting", wake: "connecting", refused: "closed", close: "closed" },
  closed: {},
};

const FIRST_DELAY_MS = 500; // the ceiling of the first retry; full jitter below it
const LONGEST_DELAY_MS = 5000; // unless the server says that it has more clients than can come back in that time
const SPREAD_MAX_MS = 60_000;
const AWAY_DELAY_MS = 3000; // the longest, while somebody answers, and says that it is a matter of time
const NEW_TRANSPORT_MS = 3000; // for a transport that has never worked here, so that the next one is tried in time
const KNOWN_TRANSPORT_MS = 6000;
const PATIENCE = 3; // failures in a row before a transport that has worked is doubted
const SETTLED_MS = 250; // after so long a loss is a new one, and the back-off begins anew
const STABLE_MS = 15_000; // whoever lives so long was no failure
const SHORT_LIVES_MAX = 3; // then something on the way does not like this transport
const PING_MS = 20_000; // proxies are kept awake from both sides
const PONG_MS = 10_000;
const PROBE_MS = 2500; // for an answer when we have reason to doubt
const SILENCE_MS = 45_000; // of a stream on which the server speaks every 30 s
const RESEND_MS = 1000;
const PACE_MS = 25; // servers take 50 commands a second and 200 at once: we stay under both
const BURST = 100;
const REFRESH_MARGIN_MS = 30_000;
const REFUSED_TOKENS_MAX = 2;
const MOMENT_MS = 60_000; // for a token that is refused for a moment: longer than servers keep what they know of keys
export const POSITION = /^(\w+)\.(\d+)$/;
const FATAL_STATUS = new Set([400, 403, 404, 405, 409, 421, 426]);
const TEMPORARY = new Set(["store_unavailable", "overloaded", "shutting_down", "rate_limited", "internal", "network"]);

/** What a client does after a close code; also for codes that do not exist yet. @param {number} code */
export function afterClose(code) {
  if ([1002, 1003, 1007, 1009, 1010].includes(code) || (code >= 4200 && code < 5000)) return "give up";
  return code >= 4100 && code < 4200 ? "refresh" : "retry";
}

/** Whether the same may be taken later. @param {Refusal} error */
function passes(error) {
  return TEMPORARY.has(error.code) || Boolean(error.retry_after_ms);
}

/** Ids belong to rooms. @param {{room?: string, id?: string}} of */
export function keyOf({ room, id }) {
  return `${room} ${id}`;
}

/** A room that somebody reads. */
class Reading {
  /** @param {JoinOptions} options */
  constructor(options) {
    this.options = options;
    const [, epoch = "", offset = -1] = POSITION.exec(String(options.since)) ?? [];
    this.epoch = epoch;
    this.joinedEpoch = epoch;
    this.offset = Number(offset);
    this.seen = -1;
    this.joined = false; // on this connection
    this.counts = false; // the application wants to know how much was not seen
    this.counted = false; // and has asked for it on this connection
    this.seenTo = -1; // as the server has it
    this.told = true; // the connection knows what others are to be shown of us
    this.refused = false; // the room, or who is there; asked for again with a new token, or when what we say is new
  }

  /** Where to go on. */
  get start() {
    if (this.epoch) return { since: `${this.epoch}.${this.offset}` };
    const { since, last } = this.options;
    return since === undefined ? { last: last ?? 50 } : { since };
  }
}

export class Session {
  /**
   * @param {{transports: Transport[], first?: Transport, hasToken: boolean, outbox?: Draft[], outboxMax?: number,
   *   retryMaxMs?: number, random: () => number}} options `first`: the transport that worked last time
   */
  constructor({ transports, first, hasToken, outbox = [], outboxMax = 1000, retryMaxMs, random }) {
    /** @type {State} */
    this.state = "idle";
    /** @type {Map<string, Reading>} */
    this.rooms = new Map();
    /** Without an ack, in order. @type {Map<string, Draft & {sent: boolean}>} */
    this.outbox = new Map(outbox.map((draft) => [keyOf(draft), { ...draft, sent: false }]));
    this.outboxMax = outboxMax;
    /** @type {Map<string, {room: string, name: string, data: any}>} */
    this.signals = new Map();
    /** What was seen and is not noted yet, by room; one of each is on its way. @type {Map<string, {offset: number, sent: number}>} */
    this.marks = new Map();
    this.transports = transports;
    this.index = Math.max(0, first ? transports.indexOf(first) : 0);
    this.home = this.index; // where to begin again
    this.known = Boolean(first); // home has worked
    this.random = random;
    this.hasToken = hasToken;
    this.refusedTokens = 0;
    this.refusedSince = 0; // a token, for a moment
    this.retryMaxMs = retryMaxMs; // as the application wants it, or
    this.spreadMs = LONGEST_DELAY_MS; // as the server does
    this.wantsToken = false;
    this.failures = 0;
    this.shortLives = 0;
    this.retryAfterMs = 0;
    this.away = false;
    this.silenceMs = SILENCE_MS;
    this.endsAt = 0; // the token
    this.opening = false; // a connection is, and nothing may be said to it yet
    this.paused = false;
    this.credit = BURST;
    this.creditAt = 0;
    this.now = 0;
    this.upAt = 0;
    this.heardAt = 0;
    this.pingedAt = 0;
    this.pongDue = 0;
    /** What the connection was told to read. @type {Map<string, Reading>} */
    this.there = new Map();
    /** Answers to `leave` that are still to come: what arrives before them is of an earlier joining. @type {Map<string, number>} */
    this.owedLefts = new Map();
    /** @type {Effect[]} */
    this.effects = [];
  }

  get transport() {
    return /** @type {Transport} */ (this.transports[this.index]);
  }

  /** Take one input at a time (ms on any clock that goes on while we sleep); carry the effects out in order.
   * @param {Input} input @param {number} now @returns {Effect[]} */
  step(input, now) {
    this.now = now;
    this.effects = [];
    switch (input.type) {
      case "start": if (this.state === "idle") this.connect("start", "starting"); break;
      case "close": this.close("close", "closed by the application"); break;
      case "heard":
        this.heardAt = now;
        if (this.opening) this.patience(); // it is slow, and gets on
        break;
      case "join": this.join(input.room, input.options); break;
      case "leave": this.leave(input.room); break;
      case "publish": this.publish(input.draft); break;
      case "signal":
        if (this.state === "online") {
          this.signals.set(`${input.room} ${input.name}`, { room: input.room, name: input.name, data: input.data });
          this.flush();
        }
        break;
      case "seen": this.seen(input.room, input.offset); break;
      case "count": this.count(input.room); break;
      case "event": this.heardAt = now; this.event(input.event); break;
      case "down": this.down(input.down); break;
      case "token": this.token(input.token); break;
      case "no-token": this.noToken(input); break;
      case "timer": this.timer(input.name); break;
      case "wake": this.wake(input.reason); break;
    }
    return this.effects;
  }

  /** @param {Effect} effect */
  do(effect) {
    this.effects.push(effect);
  }

  /** @param {TimerName} name @param {number} ms */
  after(ms, name) {
    this.do({ do: "timer", name, ms });
  }

  /** @param {TimerName[]} names */
  cancel(...names) {
    for (const name of names) this.do({ do: "cancel", name });
  }

  /** @param {string} why a key of TRANSITIONS @param {string} text @param {Partial<Change>} [more] */
  go(why, text, more) {
    const state = TRANSITIONS[this.state][why];
    if (!state) throw new Error(`no way ${why} out of ${this.state}`);
    this.state = state;
    this.do({ do: "change", change: { state, reason: why, text, transport: this.transport, ...more } });
  }

  // Connecting.

  /** @param {string} why @param {string} text */
  connect(why, text) {
    this.go(why, text);
    this.cancel("retry");
    this.do({ do: "shut" });
    if (this.hasToken) {
      this.after(KNOWN_TRANSPORT_MS, "connect");
      this.wantsToken = true;
      this.do({ do: "token" });
    } else this.open();
  }

  open() {
    this.patience();
    this.opening = true;
    this.owedLefts.clear();
    this.there = new Map(this.rooms);
    for (const reading of this.rooms.values()) {
      reading.joined = reading.refused = reading.counted = false;
      reading.told = true;
    }
    this.do({ do: "open", transport: this.transport, joins: [...this.rooms.keys()].map((room) => this.joinOf(room)) });
  }

  patience() {
    this.after(this.known && this.index === this.home ? KNOWN_TRANSPORT_MS : NEW_TRANSPORT_MS, "connect");
  }

  /** @param {string} room @returns {Join} */
  joinOf(room) {
    const reading = /** @type {Reading} */ (this.rooms.get(room));
    return { room, start: reading.start, presence: reading.options.presence ?? false };
  }

  /** @param {string} token */
  token(token) {
    if (!this.wantsToken) return;
    this.wantsToken = false;
    if (this.state === "connecting") {
      this.do({ do: "auth", token });
      this.open();
    } else if (this.state === "online") this.do({ do: "auth", token });
  }

  /** @param {{final: boolean, text: string}} failure */
  noToken({ final, text }) {
    if (!this.wantsToken) return;
    this.wantsToken = false;
    if (final) this.close("refused", text, "unauthorized");
    else if (this.state === "connecting") this.wait("fail", text);
    else if (this.state === "online") this.after(this.delay(), "refresh");
  }

  up() {
    this.home = this.index;
    this.known = true;
    this.refusedTokens = this.refusedSince = 0;
    this.upAt = this.now;
    this.go("up", `connected by ${this.transport}`);
    this.after(STABLE_MS, "stable");
    this.after(PING_MS, "ping");
    this.credit = Math.max(0, BURST - this.there.size); // joins are commands, too
    this.creditAt = this.now;
  }

  /** On a new connection: whatever the one before may not have brought there. */
  resend() {
    this.cancel("connect");
    this.opening = false;
    this.paused = false;
    for (const draft of this.outbox.values()) draft.sent = false;
    for (const mark of this.marks.values()) mark.sent = -1;
    this.flush();
  }

  /** What the server says of its end of the connection. Times are left, for clocks differ.
   * @param {{expires_in_ms?: number | null, retry_max_ms?: number, heartbeat?: {interval_s: number}}} terms */
  terms({ expires_in_ms: left, retry_max_ms: spread, heartbeat }) {
    if (spread) this.spreadMs = Math.min(SPREAD_MAX_MS, Math.max(LONGEST_DELAY_MS, spread));
    if (heartbeat) this.silenceMs = Math.max(SILENCE_MS, 1500 * heartbeat.interval_s);
    // A stream that is opened anew has the same token: who opens often would never come to renew it.
    if (this.hasToken && left != null && this.now + left > this.endsAt + 1000) {
      this.endsAt = this.now + left;
      for (const reading of this.rooms.values()) reading.told &&= !reading.refused;
      this.flush();
      this.after(Math.min(2 ** 31 - 1, Math.max(1000, left - Math.min(REFRESH_MARGIN_MS, left / 2))), "refresh");
    }
  }

  // Losing the connection.

  /** @param {Down} down */
  down({ code = 1006, status = 0, reason, text = reason, retryAfterMs = 0, unreachable = false }) {
    if (this.state !== "connecting" && this.state !== "online") return;
    const then = status ? (status === 401 ? "refresh" : FATAL_STATUS.has(status) ? "give up" : "retry") : afterClose(code);
    this.retryAfterMs = Math.max(this.retryAfterMs, retryAfterMs);
    this.away = status === 503 || code === 1013;
    if (then === "give up" || (then === "refresh" && !this.mayPass(retryAfterMs) && (!this.hasToken || ++this.refusedTokens > REFUSED_TOKENS_MAX))) {
      this.close("refused", text, then === "refresh" ? "unauthorized" : reason);
      return;
    }
    if (this.state === "online") {
      if (this.now - this.upAt >= SETTLED_MS) this.failures = 0;
      const clean = code === 1001 || code === 1012 || code === 1013 || code >= 4000;
      if (!clean && !unreachable && ++this.shortLives >= SHORT_LIVES_MAX && this.index + 1 < this.transports.length) {
        this.shortLives = 0;
        this.home = ++this.index;
        this.known = false;
      }
      this.wait("lost", text);
      return;
    }
    // Would another transport come further? Not if nothing can, nor if the server itself said no, nor at the first
    // failures of one that has worked here: servers restart more often than networks change.
    const hopeless = unreachable || status === 429 || status === 503 || then === "refresh";
    const patient = this.known && this.index === this.home && this.failures < PATIENCE && reason !== "timeout";
    if (!hopeless && !patient && this.index + 1 < this.transports.length) {
      this.index++;
      this.connect("fallback", text);
      return;
    }
    if (!hopeless && !patient) {
      this.home = 0;
      this.known = false;
    }
    this.index = this.home;
    this.wait("fail", text);
  }

  /** Whether the token was refused for a moment only: clocks differ, and keys take their time.
   * @param {number} retryAfterMs */
  mayPass(retryAfterMs) {
    if (!retryAfterMs || !this.hasToken) return false;
    this.refusedSince ||= this.now;
    return this.now - this.refusedSince < MOMENT_MS;
  }

  /** Full jitter, from the first retry on: 10,000 clients of a server that died must not come back as one. */
  delay() {
    const longest = this.retryMaxMs ?? (this.away ? AWAY_DELAY_MS : this.spreadMs);
    const ceiling = Math.min(longest, FIRST_DELAY_MS * 2 ** Math.min(this.failures++, 10));
    this.away = false;
    const ms = this.retryAfterMs + this.random() * ceiling;
    this.retryAfterMs = 0;
    return Math.round(ms);
  }

  /** @param {string} why @param {string} text */
  wait(why, text) {
    this.cancel("connect", "stable", "ping", "pong", "refresh", "flush", "resend");
    this.do({ do: "shut" });
    this.opening = false;
    this.endsAt = 0;
    this.signals.clear();
    const ms = this.delay();
    this.go(why, text, { retryMs: ms });
    this.after(ms, "retry");
  }

  /** @param {string} why @param {string} text @param {string} [reason] */
  close(why, text, reason = why) {
    if (this.state === "closed") return;
    this.cancel("connect", "retry", "stable", "ping", "pong", "refresh", "flush", "resend");
    if (this.state === "online") {
      for (const [room, { offset }] of this.marks) this.do({ do: "send", command: { type: "seen", room, offset } });
      // So that others are told at once, and not after the grace for those who may come back.
      for (const room of this.there.keys()) this.do({ do: "send", command: { type: "leave", room } });
    }
    this.do({ do: "shut" });
    this.opening = false;
    this.go(why, text, { reason });
    for (const { id, room } of this.outbox.values()) {
      this.do({ do: "refused", error: { id, room, code: "closed", message: `not known to be stored: ${text}` } });
    }
    this.outbox.clear();
    this.keep();
  }

  // Rooms.

  /** @param {string} room @param {JoinOptions} options */
  join(room, options) {
    const before = this.rooms.get(room);
    if (before) {
      before.options = { ...before.options, ...options }; // its place stays; what it tells of itself may be new
      before.told = false;
    } else this.rooms.set(room, new Reading(options));
    this.flush();
  }

  /** @param {string} room */
  leave(room) {
    if (this.rooms.delete(room)) this.flush();
  }

  /** Bring the connection to read what the application wants to read now, however it came to that. */
  settle() {
    for (const [room, reading] of this.there) {
      if (this.rooms.get(room) === reading) continue;
      if (!this.spend()) return;
      this.there.delete(room);
      this.owedLefts.set(room, (this.owedLefts.get(room) ?? 0) + 1);
      this.do({ do: "send", command: { type: "leave", room } });
    }
    for (const [room, reading] of this.rooms) {
      const stays = this.there.has(room);
      if (reading.told && (stays || reading.refused)) continue;
      if (!this.spend()) return;
      this.there.set(room, reading);
      reading.told = true;
      reading.refused = false;
      const { start, presence } = this.joinOf(room);
      this.do({ do: "send", command: { type: "join", room, ...(stays ? {} : start), presence } });
    }
  }

  /** @param {string} room */
  left(room) {
    const owed = this.owedLefts.get(room) ?? 0;
    if (owed > 1) this.owedLefts.set(room, owed - 1);
    else this.owedLefts.delete(room);
  }

  /** @param {string} room @param {number} offset */
  seen(room, offset) {
    const reading = this.rooms.get(room);
    if (!reading || !(offset > reading.seen)) return;
    reading.seen = offset;
    this.marks.set(room, { offset, sent: this.marks.get(room)?.sent ?? -1 });
    this.flush();
  }

  /** From now on the application wants to know how much of a room was not seen. @param {string} room */
  count(room) {
    const reading = this.rooms.get(room);
    if (!reading || reading.counts) return;
    reading.counts = true;
    this.flush();
  }

  /** What was on its way has arrived. @param {string} room */
  noted(room) {
    const mark = this.marks.get(room);
    if (!mark || mark.sent < 0) return;
    if (mark.sent === mark.offset) this.marks.delete(room);
    else {
      mark.sent = -1;
      this.flush();
    }
  }

  // Writing.

  /** @param {Draft} draft */
  publish(draft) {
    if (this.outbox.has(keyOf(draft))) return; // the same again, on its way already
    if (this.state === "closed" || this.outbox.size >= this.outboxMax) {
      const message = this.state === "closed" ? "the client is closed" : `${this.outboxMax} messages wait already`;
      this.do({ do: "refused", error: { id: draft.id, room: draft.room, code: this.state === "closed" ? "closed" : "outbox_full", message } });
      return;
    }
    this.outbox.set(keyOf(draft), { ...draft, sent: false });
    this.keep();
    this.flush();
  }

  /** Send what may be sent now, in order and no faster than servers like it. */
  flush() {
    if (this.state !== "online" || this.opening) return;
    this.credit = Math.min(BURST, this.credit + (this.now - this.creditAt) / PACE_MS);
    this.creditAt = this.now;
    this.settle();
    for (const [key, signal] of this.signals) {
      if (!this.spend()) break;
      this.signals.delete(key);
      this.do({ do: "send", command: { type: "signal", ...signal } });
    }
    for (const [room, reading] of this.rooms) {
      if (!reading.counts || reading.counted || !this.there.has(room)) continue;
      if (!this.spend()) break;
      reading.counted = true;
      this.do({ do: "send", command: { type: "unread", rooms: [room] } });
    }
    if (!this.paused) {
      for (const draft of this.outbox.values()) {
        if (draft.sent) continue;
        if (!this.spend()) break;
        draft.sent = true;
        this.do({ do: "send", command: { type: "message", room: draft.room, id: draft.id, data: draft.data } });
      }
      for (const [room, mark] of this.marks) {
        if (mark.sent >= 0) continue;
        if (!this.spend()) break;
        mark.sent = mark.offset;
        this.do({ do: "send", command: { type: "seen", room, offset: mark.offset } });
      }
    }
    if (this.credit < 1) this.after(PACE_MS, "flush");
  }

  /** One more command, if a server would like it now. */
  spend() {
    if (this.credit < 1) return false;
    this.credit--;
    return true;
  }

  /** @param {Refusal} error */
  pause({ retry_after_ms = RESEND_MS }) {
    this.paused = true;
    this.after(Math.round(retry_after_ms * (1 + this.random())), "resend");
  }

  keep() {
    this.do({ do: "outbox", waiting: this.outbox.size });
  }

  /** @param {Refusal} error */
  refused(error) {
    const draft = this.outbox.get(keyOf(error));
    if (!draft) return;
    if (passes(error)) {
      // What was written after it waits with it, so that it does not overtake.
      let found = false;
      for (const later of this.outbox.values()) {
        found ||= later === draft;
        if (found) later.sent = false;
      }
      this.pause(error);
      return;
    }
    this.outbox.delete(keyOf(draft));
    this.keep();
    this.do({ do: "refused", error });
  }

  // What the server says.

  /** @param {ServerEvent} event */
  event(event) {
    if (this.state === "connecting" && event.type === "welcome") this.up();
    if (this.state === "connecting" && event.type === "error" && !event.room) {
      const code = ["unauthorized", "token_expired", "revoked"].includes(event.code) ? 4100 : 1011;
      this.down({ code, reason: event.code, text: event.message, retryAfterMs: event.retry_after_ms });
      return;
    }
    if (this.state !== "online") return;
    switch (event.type) {
      case "welcome": this.resend(); // and on
      case "authenticated": this.terms(event); break;
      case "closing":
        this.retryAfterMs = event.retry_after_ms;
        this.wait("closing", "the server is about to stop");
        break;
      case "ack":
        if (this.outbox.delete(keyOf(event))) {
          this.keep();
          this.do({ do: "stored", receipt: event });
        }
        break;
      case "error":
        if (event.id !== undefined) this.refused(event);
        else if (event.room !== undefined) this.refusedRoom(event.room, event);
        break;
      case "left": this.left(event.room); break;
      case "unread":
        for (const count of event.rooms) {
          const reading = this.rooms.get(count.room);
          if (reading) reading.seenTo = Math.max(reading.seenTo, count.seen);
          this.noted(count.room);
          this.tell(count.room, event);
        }
        break;
      case "pong": break;
      default: this.tell(event.room, event);
    }
  }

  /** @param {string} room @param {ServerEvent & Refusal} error */
  refusedRoom(room, error) {
    const { about } = error;
    const mark = this.marks.get(room);
    const reading = this.there.get(room);
    const current = reading && this.rooms.get(room) === reading && !this.owedLefts.has(room);
    if (current && !passes(error) && (!about || about === "join" || about === "presence")) {
      reading.refused = true;
      if (about !== "presence") this.there.delete(room); // we are not in there: coming again, we say from where
    }
    if (about === "leave" && !passes(error)) this.left(room); // it was refused before we left it
    else if (about === "seen" && passes(error) && mark) {
      mark.sent = -1;
      this.pause(error);
    } else if (passes(error) && (about === "leave" || about === "join" || (!about && reading?.joined === false))) {
      this.away = error.code === "store_unavailable";
      this.wait("lost", error.message); // we would be deaf there, or ghosts: begin again
    } else {
      if (about === "seen") this.marks.delete(room);
      const known = current || (this.rooms.has(room) && (about === "signal" || about === "seen")); // not of an earlier joining
      if (known && (about === "presence" || !passes(error))) this.do({ do: "tell", room, event: error });
    }
  }

  /** @param {string} room @param {ServerEvent} event */
  tell(room, event) {
    const reading = this.rooms.get(room);
    // Not what a room is told that was left and joined anew, as long as the connection does not know of that.
    if (!reading || this.owedLefts.has(room) || this.there.get(room) !== reading) return;
    // From here on we can say where we were, although nothing has come yet: "the last 50" is another place later.
    if (event.type === "joined" && !reading.epoch) {
      const { since, last = 50 } = reading.options;
      if (since === undefined || since === "now" || !event.head) {
        reading.epoch = event.epoch;
        reading.offset = since === undefined ? Math.max(0, event.head - last) : event.head;
      }
    }
    if (event.type === "joined") {
      reading.joinedEpoch = event.epoch;
      reading.joined = true;
    }
    if (event.type === "message") {
      if (event.offset <= reading.offset) return; // told already
      reading.epoch = reading.joinedEpoch;
      reading.offset = event.offset;
    }
    if (event.type === "gap") {
      const [epoch, offset] = event.next.split(".");
      reading.epoch = reading.joinedEpoch = epoch ?? "";
      reading.offset = Number(offset);
    }
    this.do({ do: "tell", room, event });
    if (event.type === "message" && reading.seenTo >= 0) {
      const { offset: head } = event;
      const unread = Math.max(0, head - reading.seenTo);
      this.do({ do: "tell", room, event: { type: "unread", rooms: [{ room, head, seen: reading.seenTo, unread }] } });
    }
  }

  // Time.

  /** @param {TimerName} name */
  timer(name) {
    switch (name) {
      case "connect":
        if (this.wantsToken) {
          this.wantsToken = false;
          this.wait("fail", "getToken did not answer in time");
        } else this.down({ reason: "timeout", text: `no answer by ${this.transport}` });
        break;
      case "retry": if (this.state === "waiting") this.connect("retry", "trying again"); break;
      case "stable":
        this.shortLives = 0;
        this.do({ do: "remember", transport: this.transport });
        break;
      case "ping": this.ping(PONG_MS); break;
      case "pong":
        if (this.heardAt >= this.pingedAt) break;
        // If this timer itself is late, we have slept, and not the server.
        if (this.now - this.pongDue > 5000) this.ping(PROBE_MS);
        else this.down({ reason: "silence", text: "nothing was heard from the server" });
        break;
      case "refresh":
        this.endsAt = 0; // the application may say that the token is still good
        if (this.state === "online" && !this.wantsToken) {
          this.wantsToken = true;
          this.do({ do: "token" });
        }
        break;
      case "flush": this.flush(); break;
      case "resend": this.paused = false; this.flush(); break;
    }
  }

  /** @param {number} patienceMs */
  ping(patienceMs) {
    if (this.state !== "online") return;
    this.after(PING_MS, "ping");
    if (this.transport === "websocket") {
      this.pingedAt = this.now;
      this.pongDue = this.now + patienceMs;
      this.do({ do: "send", command: { type: "ping" } });
      this.after(patienceMs, "pong");
    } else if (this.now - this.heardAt > this.silenceMs) this.down({ reason: "silence", text: "nothing was heard from the server" });
  }

  /** The page, the network or the machine has come back: find out at once what is left of the connection.
   * @param {string} reason */
  wake(reason) {
    if (this.state === "waiting") {
      this.failures = 0;
      this.connect("wake", reason);
    } else if (this.state === "online") {
      if (this.transport === "websocket") this.ping(PROBE_MS);
      else if (this.now - this.heardAt > 3000) {
        // A stream cannot be asked, but a new one costs one request and says where it stands.
        this.open();
        this.heardAt = this.now;
      }
    }
  }
}
