// The rooms that the application reads, and what the connection was told to read: `settle` sends the difference. A room
// knows its position, and an event that is not behind it is dropped, so nothing is told twice.

/** @import { Effect, Join, JoinOptions, Refusal, ServerEvent } from "./types.js" */

export const POSITION = /^(\w+)\.(\d+)$/;

/** A room that the application reads. */
export class Reading {
  /** @param {JoinOptions} options */
  constructor(options) {
    this.options = options;
    const [, epoch = "", offset = -1] = POSITION.exec(String(options.since)) ?? [];
    this.epoch = epoch;
    this.joinedEpoch = epoch;
    this.offset = Number(offset);
    this.seen = -1; // as the application says
    this.joined = false; // on this connection
    this.counts = false; // the application wants to know how much was not seen
    this.counted = false; // and has asked for it on this connection
    this.seenTo = -1; // as the server has it
    this.told = true; // the connection knows what members are to be shown of this client
    this.refused = false; // the room, or its presence; asked for again with a new token, or other options
  }

  /** Where to go on. */
  get start() {
    if (this.epoch) return { since: `${this.epoch}.${this.offset}` };
    const { since, last } = this.options;
    return since === undefined ? { last: last ?? 50 } : { since };
  }
}

export class Readings {
  /** @param {(effect: Effect) => void} emit */
  constructor(emit) {
    this.emit = emit;
    /** @type {Map<string, Reading>} */
    this.rooms = new Map();
    /** What the connection was told to read. @type {Map<string, Reading>} */
    this.there = new Map();
    /** Answers to `leave` that are still to come: what arrives before them is of an earlier joining. @type {Map<string, number>} */
    this.owedLefts = new Map();
  }

  /** A connection is opened with all rooms; returns how each is joined. @returns {Join[]} */
  open() {
    this.owedLefts.clear();
    this.there = new Map(this.rooms);
    for (const reading of this.rooms.values()) {
      reading.joined = reading.refused = reading.counted = false;
      reading.told = true;
    }
    return [...this.rooms].map(([room, reading]) => joinOf(room, reading));
  }

  /** There is a newer token: what was refused may be permitted now. */
  askAgain() {
    for (const reading of this.rooms.values()) reading.told &&= !reading.refused;
  }

  /** @param {string} room @param {JoinOptions} options */
  join(room, options) {
    const before = this.rooms.get(room);
    if (before) {
      before.options = { ...before.options, ...options }; // its place stays; its presence may be new
      before.told = false;
    } else this.rooms.set(room, new Reading(options));
  }

  /** @param {string} room */
  leave(room) {
    return this.rooms.delete(room);
  }

  /** Bring the connection to read what the application wants to read now, however it came to that.
   * @param {() => boolean} spend whether one more command may be sent */
  settle(spend) {
    for (const [room, reading] of this.there) {
      if (this.rooms.get(room) === reading) continue;
      if (!spend()) return;
      this.there.delete(room);
      this.owedLefts.set(room, (this.owedLefts.get(room) ?? 0) + 1);
      this.emit({ do: "send", command: { type: "leave", room } });
    }
    for (const [room, reading] of this.rooms) {
      const stays = this.there.has(room);
      if (reading.told && (stays || reading.refused)) continue;
      if (!spend()) return;
      this.there.set(room, reading);
      reading.told = true;
      reading.refused = false;
      const { start, presence } = joinOf(room, reading);
      this.emit({ do: "send", command: { type: "join", room, ...(stays ? {} : start), presence } });
    }
  }

  /** The server has answered a `leave`. @param {string} room */
  left(room) {
    const owed = this.owedLefts.get(room) ?? 0;
    if (owed > 1) this.owedLefts.set(room, owed - 1);
    else this.owedLefts.delete(room);
  }

  /** Whether an event about a room is of its present joining. @param {string} room */
  isCurrent(room) {
    const reading = this.there.get(room);
    return reading !== undefined && this.rooms.get(room) === reading && !this.owedLefts.has(room);
  }

  /** The server has refused to let a room be read, or its presence. @param {string} room @param {Refusal["about"]} about */
  refuse(room, about) {
    const reading = this.there.get(room);
    if (!reading) return;
    reading.refused = true;
    if (about !== "presence") this.there.delete(room); // it is not joined: the next join says from where
  }

  /** @param {string} room @param {ServerEvent} event */
  tell(room, event) {
    const reading = this.rooms.get(room);
    if (!reading || !this.isCurrent(room)) return;
    // From here on the position is known, although nothing has come yet: "the last 50" is another place later.
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
    if (event.type === "message" || event.type === "redacted") {
      if (event.offset <= reading.offset) return; // told already
      reading.epoch = reading.joinedEpoch;
      reading.offset = event.offset;
    }
    if (event.type === "gap") {
      const [epoch, offset] = event.next.split(".");
      reading.epoch = reading.joinedEpoch = epoch ?? "";
      reading.offset = Number(offset);
    }
    this.emit({ do: "tell", room, event });
    if ((event.type === "message" || event.type === "redacted") && reading.seenTo >= 0) {
      const { offset: head } = event;
      const unread = Math.max(0, head - reading.seenTo);
      this.emit({ do: "tell", room, event: { type: "unread", rooms: [{ room, head, seen: reading.seenTo, unread }] } });
    }
  }
}

/** @param {string} room @param {Reading} reading @returns {Join} */
function joinOf(room, reading) {
  return { room, start: reading.start, presence: reading.options.presence ?? false };
}
