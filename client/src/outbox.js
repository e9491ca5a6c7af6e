// What is on its way to the server. A draft keeps its id and its place until it is acked or refused for good; every new
// connection sends what is left, in order, and the id keeps it from being stored twice. Everything is paced together, calls
// too.

/** @import { Draft, Effect, Refusal, ServerEvent, TraceFields } from "./types.js" */
/** @import { Calls } from "./calls.js" */
/** @import { Readings } from "./readings.js" */
import { passes, pauseMs } from "./refusals.js";

const PACE_MS = 25; // servers take 50 commands a second and 200 at once: a client stays under both
const BURST = 100;
const INTERNAL_MAX = 5; // refusals of a draft with `internal`: then the draft itself is the reason

/** Ids belong to rooms. @param {{room?: string, id?: string}} of */
export function keyOf({ room, id }) {
  return `${room} ${id}`;
}

/** The trace that a message is part of, as far as servers take one. @param {TraceFields} of @returns {TraceFields} */
export function traceOf({ traceparent, tracestate }) {
  if (!isField(traceparent)) return {};
  return isField(tracestate) ? { traceparent, tracestate } : { traceparent };
}

/** @param {unknown} text @returns {text is string} */
function isField(text) {
  return typeof text === "string" && /^[ -~]{1,512}$/.test(text);
}

export class Outbox {
  /** @param {Draft[]} drafts @param {number} draftsMax @param {() => number} random @param {(effect: Effect) => void} emit */
  constructor(drafts, draftsMax, random, emit) {
    /** Without an ack, in order. `failures`: refusals with `internal`. @type {Map<string, Draft & {sent: boolean, failures: number}>} */
    this.drafts = new Map(drafts.map((draft) => [keyOf(draft), { ...draft, sent: false, failures: 0 }]));
    this.draftsMax = draftsMax;
    this.random = random;
    this.emit = emit;
    /** @type {Map<string, {room: string, name: string, data: any}>} */
    this.signals = new Map();
    /** Offsets that were seen and are not noted yet, by room; one of each is on its way. @type {Map<string, {offset: number, sent: number}>} */
    this.marks = new Map();
    this.paused = false;
    this.credit = BURST;
    this.creditAt = 0;
  }

  /** There is a new connection. @param {number} joins that were sent with it: they are commands, too @param {number} now */
  begin(joins, now) {
    this.credit = Math.max(0, BURST - joins);
    this.creditAt = now;
  }

  /** Send everything again that the connection before may not have brought to the server. */
  resend() {
    this.paused = false;
    for (const draft of this.drafts.values()) draft.sent = false;
    for (const mark of this.marks.values()) mark.sent = -1;
  }

  /** Send what may be sent now, in order and no faster than servers permit. @param {Readings} readings @param {Calls} calls
   * @param {number} now */
  flush(readings, calls, now) {
    this.credit = Math.min(BURST, this.credit + (now - this.creditAt) / PACE_MS);
    this.creditAt = now;
    readings.settle(() => this.spend());
    for (const [key, signal] of this.signals) {
      if (!this.spend()) break;
      this.signals.delete(key);
      this.emit({ do: "send", command: { type: "signal", ...signal } });
    }
    for (const [room, reading] of readings.rooms) {
      if (!reading.counts || reading.counted || !readings.there.has(room)) continue;
      if (!this.spend()) break;
      reading.counted = true;
      this.emit({ do: "send", command: { type: "unread", rooms: [room] } });
    }
    calls.flush(() => this.spend(), now); // before the drafts: these have no time-out
    if (!this.paused) {
      for (const draft of this.drafts.values()) {
        if (draft.sent) continue;
        if (!this.spend()) break;
        draft.sent = true;
        this.emit({ do: "send", command: { type: "message", room: draft.room, id: draft.id, data: draft.data, ...traceOf(draft) } });
      }
      for (const [room, mark] of this.marks) {
        if (mark.sent >= 0) continue;
        if (!this.spend()) break;
        mark.sent = mark.offset;
        this.emit({ do: "send", command: { type: "seen", room, offset: mark.offset } });
      }
    }
    if (this.credit < 1) this.emit({ do: "timer", name: "flush", ms: PACE_MS });
  }

  /** Whether one more command may be sent; then it counts. */
  spend() {
    if (this.credit < 1) return false;
    this.credit--;
    return true;
  }

  // Drafts.

  /** @param {Draft} draft @param {boolean} closed @returns {boolean} whether it is new */
  publish(draft, closed) {
    if (this.drafts.has(keyOf(draft))) return false; // it is on its way already
    if (closed || this.drafts.size >= this.draftsMax) {
      const message = closed ? "the client is closed" : `${this.draftsMax} messages wait already`;
      this.emit({ do: "refused", error: { id: draft.id, room: draft.room, code: closed ? "closed" : "outbox_full", message } });
      return false;
    }
    this.drafts.set(keyOf(draft), { ...draft, sent: false, failures: 0 });
    this.keep();
    return true;
  }

  /** @param {ServerEvent & {type: "ack"}} ack */
  acked(ack) {
    if (!this.drafts.delete(keyOf(ack))) return;
    this.keep();
    this.emit({ do: "stored", receipt: ack });
  }

  /** @param {Refusal} error */
  refused(error) {
    const draft = this.drafts.get(keyOf(error));
    if (!draft) return;
    if (passes(error)) {
      // Drafts that were written after it wait with it, so that they do not overtake it; or go on without it, if it is
      // refused for good.
      let found = false;
      for (const later of this.drafts.values()) {
        found ||= later === draft;
        if (found) later.sent = false;
      }
      this.pause(error);
      if (error.code === "internal") draft.failures++;
      if (draft.failures < INTERNAL_MAX) return;
    }
    this.drafts.delete(keyOf(draft));
    this.keep();
    this.emit({ do: "refused", error });
  }

  /** Refuse all drafts: the client is closed. @param {string} text */
  refuseAll(text) {
    for (const { id, room } of this.drafts.values()) {
      this.emit({ do: "refused", error: { id, room, code: "closed", message: `not known to be stored: ${text}` } });
    }
    this.drafts.clear();
    this.keep();
  }

  /** @param {Refusal} error */
  pause(error) {
    this.paused = true;
    this.emit({ do: "timer", name: "resend", ms: pauseMs(error, this.random) });
  }

  keep() {
    this.emit({ do: "outbox", waiting: this.drafts.size });
  }

  // Read marks.

  /** @param {string} room @param {number} offset */
  seen(room, offset) {
    this.marks.set(room, { offset, sent: this.marks.get(room)?.sent ?? -1 });
  }

  /** The mark that was on its way has arrived; returns whether a newer one is to be sent. @param {string} room */
  noted(room) {
    const mark = this.marks.get(room);
    if (!mark || mark.sent < 0) return false;
    if (mark.sent === mark.offset) {
      this.marks.delete(room);
      return false;
    }
    mark.sent = -1;
    return true;
  }

  /** The mark could not be stored now. @param {string} room @param {Refusal} error @returns {boolean} whether there is one */
  markAgain(room, error) {
    const mark = this.marks.get(room);
    if (!mark) return false;
    mark.sent = -1;
    this.pause(error);
    return true;
  }
}
