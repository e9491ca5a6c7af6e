// A client without sockets, clocks, timers or randomness: inputs in, effects out. It has four parts: the connection
// (link.js), the rooms that are read (readings.js), what is on its way to the server (outbox.js), and calls (calls.js).

/** @import { Draft, Effect, Input, Refusal, ServerEvent, Transport } from "./types.js" */
import { Calls } from "./calls.js";
import { Link } from "./link.js";
import { Outbox } from "./outbox.js";
import { Readings } from "./readings.js";
import { passes } from "./refusals.js";

export class Session {
  /**
   * @param {{transports: Transport[], first?: Transport, hasToken: boolean, outbox?: Draft[], outboxMax?: number,
   *   retryMaxMs?: number, random: () => number}} options `first`: the transport that worked last time
   */
  constructor(options) {
    /** @type {Effect[]} */
    this.effects = [];
    const emit = (/** @type {Effect} */ effect) => void this.effects.push(effect);
    this.readings = new Readings(emit);
    this.out = new Outbox(options.outbox ?? [], options.outboxMax ?? 1000, options.random, emit);
    this.calls = new Calls(options.random, emit);
    this.link = new Link(options, emit, {
      open: () => {
        this.calls.open(this.transport, this.link.now); // also when a stream that may be good still is opened anew
        return this.readings.open();
      },
      lost: () => {
        this.out.signals.clear();
        this.calls.lost(this.link.now);
      },
      farewell: () => {
        for (const [room, { offset }] of this.out.marks) emit({ do: "send", command: { type: "seen", room, offset } });
        // So that members are told at once, and not after the grace time for clients that may come back.
        for (const room of this.readings.there.keys()) emit({ do: "send", command: { type: "leave", room } });
      },
      closed: (text) => {
        this.out.refuseAll(text);
        this.calls.rejectAll(text);
      },
    });
  }

  get state() {
    return this.link.state;
  }

  get transport() {
    return this.link.transport;
  }

  /** The messages without an ack, in order. */
  get outbox() {
    return this.out.drafts;
  }

  get rooms() {
    return this.readings.rooms;
  }

  /** Take one input at a time (ms on any clock that goes on while the machine sleeps); carry the effects out in order.
   * @param {Input} input @param {number} now @returns {Effect[]} */
  step(input, now) {
    this.effects = [];
    this.link.now = now;
    const { link, readings, out, calls } = this;
    switch (input.type) {
      case "start": link.start(); break;
      case "close": link.close("close", "closed by the application"); break;
      case "heard": link.heard(); break;
      case "join": readings.join(input.room, input.options); this.flush(); break;
      case "leave": if (readings.leave(input.room)) this.flush(); break;
      case "publish": if (out.publish(input.draft, this.state === "closed")) this.flush(); break;
      case "call":
        calls.add(input.call, this.state === "closed", now);
        this.flush();
        break;
      case "abort":
        calls.abort(input.id);
        this.flush();
        break;
      case "signal":
        if (this.state === "online") {
          out.signals.set(`${input.room} ${input.name}`, { room: input.room, name: input.name, data: input.data });
          this.flush();
        }
        break;
      case "seen": this.seen(input.room, input.offset); break;
      case "count": this.count(input.room); break;
      case "event": link.heardAt = now; this.event(input.event); break;
      case "down": link.down(input.down); break;
      case "token": link.token(input.token); break;
      case "no-token": link.noToken(input); break;
      case "timer":
        if (input.name === "resend") out.paused = false;
        if (input.name === "calls") calls.timer(now);
        if (["resend", "flush", "calls"].includes(input.name)) this.flush();
        else link.timer(input.name);
        break;
      case "wake": link.wake(input.reason, input.stale); break;
    }
    return this.effects;
  }

  flush() {
    if (this.state === "online" && !this.link.opening) this.out.flush(this.readings, this.calls, this.link.now);
  }

  /** @param {string} room @param {number} offset */
  seen(room, offset) {
    const reading = this.rooms.get(room);
    if (!reading || !(offset > reading.seen)) return;
    reading.seen = offset;
    this.out.seen(room, offset);
    this.flush();
  }

  /** From now on the application wants to know how much of a room was not seen. @param {string} room */
  count(room) {
    const reading = this.rooms.get(room);
    if (!reading || reading.counts) return;
    reading.counts = true;
    this.flush();
  }

  // What the server says.

  /** @param {ServerEvent} event */
  event(event) {
    const { link, readings, out, calls } = this;
    if (this.state === "connecting" && event.type === "welcome") {
      link.up();
      out.begin(readings.there.size, link.now);
    }
    if (this.state === "connecting" && event.type === "error" && !event.room) {
      const code = ["unauthorized", "token_expired", "revoked"].includes(event.code) ? 4100 : 1011;
      link.down({ code, reason: event.code, text: event.message, retryAfterMs: event.retry_after_ms });
      return;
    }
    if (this.state !== "online") return;
    switch (event.type) {
      case "welcome":
        link.opened();
        out.resend();
        this.flush(); // and on
      case "authenticated": {
        const renewMs = link.terms(event);
        if (renewMs !== undefined) {
          readings.askAgain();
          this.flush();
          link.after(renewMs, "refresh");
        }
        break;
      }
      case "closing":
        link.retryAfterMs = event.retry_after_ms;
        link.wait("closing", "the server is about to stop");
        break;
      case "ack": out.acked(event); break;
      case "result":
        calls.answered(event);
        this.flush();
        break;
      case "error":
        if (event.about === "call") {
          calls.refused(event, link.now);
          this.flush();
        } else if (event.about === "auth") link.tokenRefused(event.retry_after_ms ?? 0);
        else if (event.id !== undefined) out.refused(event);
        else if (event.room !== undefined) this.refused(event.room, event);
        break;
      case "left": readings.left(event.room); break;
      case "unread":
        for (const count of event.rooms) {
          const reading = this.rooms.get(count.room);
          if (reading) reading.seenTo = Math.max(reading.seenTo, count.seen);
          if (out.noted(count.room)) this.flush();
          readings.tell(count.room, event);
        }
        break;
      case "pong": break;
      default: readings.tell(event.room, event);
    }
  }

  /** A command about a room was refused. @param {string} room @param {ServerEvent & Refusal} error */
  refused(room, error) {
    const { link, readings, out } = this;
    const { about } = error;
    const later = passes(error);
    const reading = readings.there.get(room);
    const current = readings.isCurrent(room);
    if (current && !later && (!about || about === "join" || about === "presence")) readings.refuse(room, about);
    if (about === "leave" && !later) readings.left(room); // it was refused before this client left it
    else if (about === "seen" && later && out.markAgain(room, error)) return;
    else if (later && (about === "leave" || about === "join" || (!about && reading?.joined === false))) {
      link.away = error.code === "store_unavailable";
      link.wait("lost", error.message); // else the room would be read no more, or still be read: begin again
    } else {
      if (about === "seen") out.marks.delete(room);
      const known = current || (this.rooms.has(room) && (about === "signal" || about === "seen")); // not of an earlier joining
      if (known && (about === "presence" || !later)) this.emitTell(room, error);
    }
  }

  /** @param {string} room @param {ServerEvent} event */
  emitTell(room, event) {
    this.effects.push({ do: "tell", room, event });
  }
}
