// One connection for all tabs of a browser, where it is no WebSocket: over HTTP/1.1 a browser opens six connections to a
// server, and the seventh tab with an event stream of its own would load nothing at all.
//
// Every tab asks for news every 20 s, in its own name: so it holds its presence, and misses nothing for long. One tab,
// whoever has the lock, also listens, and tells the others what it hears. What is told has an offset: a tab that finds
// a hole before it asks at once, and so do all when the tab that listens finds that the server is gone. So it does not
// matter which tab listens, when another takes over, or what got lost.

/** @import { Join, ServerEvent } from "./types.js" */
/** @import { Driver, Wire } from "./websocket.js" */
import { DRIVERS, IDLE_MS, Poll } from "./requests.js";

const WELCOME_MS = 3000;
const AGAIN_MS = 1000;

/** @typedef {keyof typeof DRIVERS} Kind */

/** @param {Kind} transport @returns {(wire: Wire, joins: Join[]) => Driver} */
export function shared(transport) {
  if (!globalThis.navigator?.locks || !globalThis.BroadcastChannel || !globalThis.document) return DRIVERS[transport];
  return (wire, joins) => new Tab(wire, joins, transport);
}

class Tab extends Poll {
  /** @param {Wire} wire @param {Join[]} joins @param {Kind} transport of the tab that listens */
  constructor(wire, joins, transport) {
    super(wire, joins);
    this.transport = transport;
    const name = `trunkline ${wire.url} ${subject(wire.token)}`;
    this.channel = new BroadcastChannel(name);
    this.channel.onmessage = ({ data }) => this.told(data);
    /** What the others want, and how long they are believed to. @type {Map<string, {since: string, until: number}>} */
    this.wanted = new Map();
    /** @type {Driver | undefined} */
    this.ears = undefined;
    /** @type {Set<string>} */
    this.heard = new Set();
    this.unlock = () => {};
    const ending = new AbortController();
    this.open.add(ending);
    navigator.locks.request(name, { signal: ending.signal }, () => new Promise((resolve) => {
      this.unlock = () => resolve(undefined);
      if (this.over) this.unlock();
      else {
        this.channel.postMessage({ ask: true });
        this.listenForAll(this.transport);
      }
    })).catch(() => {}); // closed while it waited
  }

  rest() {
    this.want();
    return this.sleep(IDLE_MS);
  }

  /** Tell whoever listens what for. */
  want() {
    const rooms = [...this.rooms.values()].map(({ room, position }) => [room, position]);
    this.channel.postMessage({ want: rooms });
    this.wants(rooms);
  }

  /** @param {string[][]} rooms */
  wants(rooms) {
    for (const [room = "", since = ""] of rooms) this.wanted.set(room, { since, until: Date.now() + 3 * IDLE_MS });
    if (!this.ears) return;
    for (const [room, { since, until }] of this.wanted) {
      if (until < Date.now()) {
        this.wanted.delete(room);
        if (this.heard.delete(room)) this.ears.send({ type: "leave", room });
      } else if (!this.heard.has(room)) {
        this.heard.add(room);
        this.ears.send({ type: "join", room, since, presence: "watch" });
      }
    }
  }

  /** @param {{ask?: boolean, lost?: boolean, want?: string[][], event?: ServerEvent}} what */
  told({ ask, lost, want, event }) {
    if (this.over) return;
    if (lost) this.turnOver();
    if (ask) this.want();
    if (want) this.wants(want);
    if (event) this.hear(event);
  }

  /** @param {Kind} transport */
  listenForAll(transport) {
    if (this.over) return;
    let works = false;
    this.heard = new Set(this.wanted.keys());
    const joins = [...this.wanted].map(([room, { since }]) => ({ room, start: { since }, presence: /** @type {const} */ ("watch") }));
    const next = /** @param {Kind} transport @param {number} ms */ (transport, ms) => {
      clearTimeout(timer);
      this.ears?.close();
      this.ears = undefined;
      setTimeout(() => this.listenForAll(transport), ms);
    };
    // What holds streams back on their way lets polls through.
    const timer = setTimeout(() => next("longpoll", 0), WELCOME_MS);
    this.ears = DRIVERS[transport]({
      ...this.wire,
      token: this.token,
      heard: () => {},
      event: (event) => {
        if (event.type === "welcome") {
          works = true;
          clearTimeout(timer);
        } else if ("room" in event && event.room && ["message", "gap", "signal", "presence", "seen"].includes(event.type)) {
          const wanted = this.wanted.get(event.room);
          if (wanted && event.type === "message") wanted.since = String(event.offset);
          if (wanted && event.type === "gap") wanted.since = event.next;
          this.channel.postMessage({ event });
          this.hear(event);
        }
      },
      down: (down) => {
        if (down.unreachable) {
          this.channel.postMessage({ lost: true });
          this.turnOver(); // ask for ourselves, at once: that fails too, if there is no server
        }
        if (down.status === 401 || (down.code ?? 0) >= 4000) this.fail(down);
        else next(works || down.unreachable ? transport : "longpoll", AGAIN_MS * (1 + Math.random()));
      },
    }, joins);
  }

  /** @param {ServerEvent} event */
  hear(event) {
    const room = "room" in event && event.room ? this.rooms.get(event.room) : undefined;
    if (!room || this.held) return;
    if (event.type === "message") {
      const [epoch, offset] = room.position.split(".");
      if (event.offset === Number(offset) + 1) {
        room.position = `${epoch}.${event.offset}`;
        this.event(event, room);
      } else if (event.offset > Number(offset)) this.turnOver();
    } else if (event.type === "gap") this.turnOver();
    else if (event.type === "signal" ? event.member !== this.member : room.presence) this.event(event, room);
  }

  /** @param {string} token */
  auth(token) {
    super.auth(token);
    this.ears?.auth(token);
  }

  close() {
    super.close();
    this.ears?.close();
    this.unlock();
    this.channel.close();
  }
}

/** Whose token it is: tabs of different users must not hear each other. Not verified, only compared.
 * @param {string} token */
function subject(token) {
  try {
    return JSON.parse(atob((token.split(".")[1] ?? "").replace(/-/g, "+").replace(/_/g, "/"))).sub ?? token;
  } catch {
    return token;
  }
}
