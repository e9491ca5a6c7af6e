// One connection for all tabs of a browser, where it is no WebSocket: over HTTP/1.1 a browser opens six connections to a
// server, and the seventh tab with an event stream of its own would load nothing at all.
//
// Every tab polls every 20 s, in its own name: so it holds its presence, and misses nothing for long. One tab, the one
// that has the lock, also listens, and tells the others what it hears. A message has an offset: a tab that finds a hole
// before it polls at once, and so do all when the tab that listens finds that the server is gone. So it does not matter
// which tab listens, when another takes over, or what got lost.

/** @import { Join, ServerEvent } from "./types.js" */
/** @import { Driver, Wire } from "./websocket.js" */
/** @import { HttpEffect } from "./http_driver.js" */
import { DRIVERS, HttpLink, options, started } from "./http.js";
import { IDLE_MS, PollDriver } from "./http_driver.js";

const WELCOME_MS = 3000;
const AGAIN_MS = 1000;

/** @typedef {keyof typeof DRIVERS} Kind */

/** @param {Kind} transport @returns {(wire: Wire, joins: Join[]) => Driver} */
export function shared(transport) {
  if (!globalThis.navigator?.locks || !globalThis.BroadcastChannel || !globalThis.document) return DRIVERS[transport];
  return (wire, joins) => started(new Tab(wire, joins, transport));
}

class Tab extends HttpLink {
  /** @param {Wire} wire @param {Join[]} joins @param {Kind} transport of the tab that listens */
  constructor(wire, joins, transport) {
    super(wire, new PollDriver({ ...options(wire, joins), pollMs: IDLE_MS }));
    this.transport = transport;
    this.token = wire.token;
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
    this.ending = new AbortController();
    navigator.locks.request(name, { signal: this.ending.signal }, () => new Promise((resolve) => {
      this.unlock = () => resolve(undefined);
      if (this.over) this.unlock();
      else {
        this.channel.postMessage({ ask: true });
        this.listenForAll(this.transport);
      }
    })).catch(() => {}); // closed while it waited
  }

  /** @param {HttpEffect} effect */
  carryOut(effect) {
    if (effect.do === "resting") this.want(effect.rooms);
    else if (effect.do === "down" && !this.over) {
      this.close();
      this.wire.down(effect.down);
    } else super.carryOut(effect);
  }

  /** Tell the tab that listens what for. @param {string[][]} rooms */
  want(rooms) {
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
    if (lost) this.step({ type: "turn" });
    if (ask) this.want(/** @type {PollDriver} */ (this.driver).places());
    if (want) this.wants(want);
    if (event) this.step({ type: "overheard", event });
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
        } else if ("room" in event && event.room && ["message", "redacted", "gap", "signal", "presence", "seen"].includes(event.type)) {
          const wanted = this.wanted.get(event.room);
          if (wanted && (event.type === "message" || event.type === "redacted")) wanted.since = String(event.offset);
          if (wanted && event.type === "gap") wanted.since = event.next;
          this.channel.postMessage({ event });
          this.step({ type: "overheard", event });
        }
      },
      down: (down) => {
        if (down.unreachable) {
          this.channel.postMessage({ lost: true });
          this.step({ type: "turn" }); // poll at once: that fails too, if there is no server
        }
        if (down.status === 401 || (down.code ?? 0) >= 4000) {
          this.close();
          this.wire.down(down);
        } else next(works || down.unreachable ? transport : "longpoll", AGAIN_MS * (1 + Math.random()));
      },
    }, joins);
  }

  /** @param {string} token */
  auth(token) {
    this.token = token;
    super.auth(token);
    this.ears?.auth(token);
  }

  close() {
    super.close();
    this.ending.abort();
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
