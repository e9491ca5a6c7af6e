// Calls of the application's handlers. A call is sent, and after each break sent again with the same id, until it is
// answered or its time is over; the server recognises the id, and carries the call out once.

/** @import { Call, Effect, Refusal, Transport } from "./types.js" */
import { TEMPORARY, pauseMs } from "./refusals.js";

const CALLS_MAX = 1000;
const SENT_MAX = 8; // servers take 16 of one user at the same time
const REQUESTS_MAX = 4; // a browser has six connections to a server, and these are not its only requests
const REPEAT_MS = 50_000; // servers recognise an id for 60 s: later, a repeat could be carried out as another call

/**
 * `sentAt`: when it was sent first, Infinity if the server has certainly not carried it out; `isSent`: on this connection,
 * and not answered; `isRepeat`: an answer was lost.
 * @typedef {Call & {endsAt: number, sentAt: number, retryAt: number, isSent: boolean, isRepeat: boolean}} Waiting
 */

export class Calls {
  /** @param {() => number} random @param {(effect: Effect) => void} emit */
  constructor(random, emit) {
    this.random = random;
    this.emit = emit;
    /** Without an answer, in order. @type {Map<string, Waiting>} */
    this.waiting = new Map();
    this.timerAt = Infinity;
    this.sentMax = SENT_MAX;
  }

  /** A connection is opened: what was sent on the one before is to be sent again. @param {Transport} transport
   * @param {number} now */
  open(transport, now) {
    this.sentMax = transport === "websocket" ? SENT_MAX : REQUESTS_MAX;
    this.lost(now);
  }

  /** @param {Call} call @param {boolean} closed @param {number} now */
  add(call, closed, now) {
    if (this.waiting.has(call.id)) return; // it is on its way already
    const waiting = { ...call, endsAt: now + call.timeoutMs, sentAt: Infinity, retryAt: 0, isSent: false, isRepeat: false };
    if (closed) this.reject(waiting, "closed", "the client is closed");
    else if (this.waiting.size >= CALLS_MAX) this.reject(waiting, "outbox_full", `${CALLS_MAX} calls wait already`);
    else {
      this.waiting.set(call.id, waiting);
      this.schedule(now);
    }
  }

  /** Send what may be sent now, in order. @param {() => boolean} spend whether one more command may be sent
   * @param {number} now */
  flush(spend, now) {
    let left = this.sentMax;
    for (const { isSent } of this.waiting.values()) if (isSent) left--;
    for (const call of this.waiting.values()) {
      if (call.isSent || call.retryAt > now || this.isOver(call, now)) continue;
      if (left-- <= 0 || !spend()) break;
      call.isSent = true;
      call.sentAt = Math.min(call.sentAt, now);
      this.emit({ do: "send", command: { type: "call", id: call.id, name: call.name, data: call.data } });
    }
  }

  /** The connection has ended, and the answers to what was sent on it are lost. @param {number} now */
  lost(now) {
    for (const call of this.waiting.values()) {
      call.isRepeat ||= call.isSent;
      call.isSent = false;
    }
    this.schedule(now);
  }

  /** @param {{id: string, data: any}} result */
  answered({ id, data }) {
    if (this.waiting.delete(id)) this.emit({ do: "result", id, data });
  }

  /** @param {Refusal} error @param {number} now */
  refused(error, now) {
    const call = this.waiting.get(error.id ?? "");
    if (!call) return; // its time is over
    const { code, message } = error;
    if (!TEMPORARY.has(code)) {
      this.waiting.delete(call.id);
      this.emit({ do: "rejected", error: { id: call.id, code, message } });
      return;
    }
    if (code === "network") call.isRepeat = true;
    else if (!call.isRepeat) call.sentAt = Infinity; // the server says that it has done nothing
    call.isSent = false;
    call.retryAt = now + pauseMs(error, this.random);
    this.schedule(now);
  }

  /** The application does not wait for it any more. @param {string} id */
  abort(id) {
    const call = this.waiting.get(id);
    if (call) this.reject(call, "aborted", "the call was given up");
  }

  /** Reject all: the client is closed. @param {string} text */
  rejectAll(text) {
    for (const call of this.waiting.values()) this.reject(call, "closed", text);
    if (this.timerAt < Infinity) this.emit({ do: "cancel", name: "calls" });
  }

  /** @param {Waiting} call @param {string} code @param {string} why */
  reject({ id, sentAt }, code, why) {
    this.waiting.delete(id);
    const message = `${why}: it ${sentAt < Infinity ? "may have been" : "was not"} carried out`;
    this.emit({ do: "rejected", error: { id, code, message } });
  }

  // Time.

  /** @param {number} now */
  timer(now) {
    this.timerAt = Infinity;
    for (const call of this.waiting.values()) this.isOver(call, now);
    this.schedule(now);
  }

  /** Whether the time of a call is over; then it is rejected. @param {Waiting} call @param {number} now */
  isOver(call, now) {
    if (now >= call.endsAt) this.reject(call, "timeout", `no result within ${call.timeoutMs / 1000} s`);
    else if (!call.isSent && now >= call.sentAt + REPEAT_MS) this.reject(call, "outcome_unknown", "the answer was lost, and it is too late to call again");
    else return false;
    return true;
  }

  /** Set the timer for what is due next. @param {number} now */
  schedule(now) {
    let next = this.timerAt;
    for (const { endsAt, isSent, sentAt, retryAt } of this.waiting.values()) {
      const at = isSent ? endsAt : Math.min(endsAt, sentAt + REPEAT_MS, retryAt > now ? retryAt : Infinity);
      if (at < next) next = at;
    }
    if (next === this.timerAt) return;
    this.timerAt = next;
    this.emit({ do: "timer", name: "calls", ms: Math.min(2 ** 31 - 1, Math.ceil(next - now)) });
  }
}
