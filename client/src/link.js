// The connection: which transport, when to connect again, tokens, and whether the server is still there.
//
//   idle ──start──► connecting ──up──► online
//                    ▲   │  ▲            │
//               retry│   │  └─fallback   │ lost, closing
//                wake│   ▼ fail          ▼
//                    └─ waiting ◄────────┘         any ──close, refused──► closed

/** @import { Change, Down, Effect, Join, State, Terms, TimerName, Transport } from "./types.js" */

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
const AWAY_DELAY_MS = 3000; // the longest, while the server answers, and says that it is a matter of time
const NEW_TRANSPORT_MS = 3000; // for a transport that has never worked here, so that the next one is tried in time
const KNOWN_TRANSPORT_MS = 6000;
const PATIENCE = 3; // failures in a row before a transport that has worked is doubted
const SETTLED_MS = 250; // after so long a loss is a new one, and the back-off begins anew
const STABLE_MS = 15_000; // a connection that lasts so long was no failure
const SHORT_LIVES_MAX = 3; // then something on the way does not let this transport through
const PING_MS = 20_000; // proxies are kept awake from both sides
const PONG_MS = 10_000;
const PROBE_MS = 2500; // for an answer when there is reason to doubt
const SILENCE_MS = 45_000; // of a stream on which the server speaks every 30 s
const REFRESH_MARGIN_MS = 30_000;
const REFUSED_TOKENS_MAX = 2;
const MOMENT_MS = 60_000; // for a token that is refused for a moment: longer than servers keep what they know of keys
const FATAL_STATUS = new Set([400, 403, 404, 405, 409, 421, 426]);

/** What a client does after a close code; also for codes that do not exist yet. @param {number} code */
export function afterClose(code) {
  if ([1002, 1003, 1007, 1009, 1010].includes(code) || (code >= 4200 && code < 5000)) return "give up";
  return code >= 4100 && code < 4200 ? "refresh" : "retry";
}

export class Link {
  /**
   * @param {{transports: Transport[], first?: Transport, hasToken: boolean, retryMaxMs?: number, random: () => number}} options
   * @param {(effect: Effect) => void} emit
   * @param {{open: () => Join[], lost: () => void, farewell: () => void, closed: (text: string) => void}} hooks called
   *   when a connection is opened, and when it was lost; before it is closed for good, and after that
   */
  constructor({ transports, first, hasToken, retryMaxMs, random }, emit, hooks) {
    /** @type {State} */
    this.state = "idle";
    this.transports = transports;
    this.index = Math.max(0, first ? transports.indexOf(first) : 0);
    this.home = this.index; // where to begin again
    this.known = Boolean(first); // home has worked
    this.random = random;
    this.emit = emit;
    this.hooks = hooks;
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
    this.opening = false; // a connection is, and nothing may be sent on it yet
    this.now = 0;
    this.upAt = 0;
    this.heardAt = 0;
    this.pingedAt = 0;
    this.pongDue = 0;
  }

  get transport() {
    return /** @type {Transport} */ (this.transports[this.index]);
  }

  /** @param {TimerName} name @param {number} ms */
  after(ms, name) {
    this.emit({ do: "timer", name, ms });
  }

  /** @param {TimerName[]} names */
  cancel(...names) {
    for (const name of names) this.emit({ do: "cancel", name });
  }

  /** @param {string} why a key of TRANSITIONS @param {string} text @param {Partial<Change>} [more] */
  go(why, text, more) {
    const state = TRANSITIONS[this.state][why];
    if (!state) throw new Error(`no way ${why} out of ${this.state}`);
    this.state = state;
    this.emit({ do: "change", change: { state, reason: why, text, transport: this.transport, ...more } });
  }

  // Connecting.

  start() {
    if (this.state === "idle") this.connect("start", "starting");
  }

  /** @param {string} why @param {string} text */
  connect(why, text) {
    this.go(why, text);
    this.cancel("retry");
    this.emit({ do: "shut" });
    if (this.hasToken) {
      this.after(KNOWN_TRANSPORT_MS, "connect");
      this.wantsToken = true;
      this.emit({ do: "token" });
    } else this.open();
  }

  open() {
    this.patience();
    this.opening = true;
    this.emit({ do: "open", transport: this.transport, joins: this.hooks.open() });
  }

  patience() {
    this.after(this.known && this.index === this.home ? KNOWN_TRANSPORT_MS : NEW_TRANSPORT_MS, "connect");
  }

  /** Something has arrived, if only a byte. */
  heard() {
    this.heardAt = this.now;
    if (this.opening) this.patience(); // it is slow, and gets on
  }

  /** @param {string} token */
  token(token) {
    if (!this.wantsToken) return;
    this.wantsToken = false;
    if (this.state === "connecting") {
      this.emit({ do: "auth", token });
      this.open();
    } else if (this.state === "online") this.emit({ do: "auth", token });
  }

  /** @param {{final: boolean, text: string}} failure */
  noToken({ final, text }) {
    if (!this.wantsToken) return;
    this.wantsToken = false;
    if (final) this.close("refused", text, "unauthorized");
    else if (this.state === "connecting") this.wait("fail", text);
    else if (this.state === "online") this.after(this.delay(), "refresh");
  }

  /** A newer token was refused, on a connection that the one before still holds open.
   * @param {number} retryAfterMs if it was for a moment */
  tokenRefused(retryAfterMs) {
    if (this.mayPass(retryAfterMs)) this.after(retryAfterMs, "refresh");
  }

  /** The server has let this client in. */
  up() {
    this.home = this.index;
    this.known = true;
    this.refusedTokens = this.refusedSince = 0;
    this.upAt = this.now;
    this.go("up", `connected by ${this.transport}`);
    this.after(STABLE_MS, "stable");
    this.after(PING_MS, "ping");
  }

  /** Everything may be sent now. */
  opened() {
    this.cancel("connect");
    this.opening = false;
  }

  /** What the server says of its end of the connection. Times are left, for clocks differ. @param {Terms} terms
   * @returns {number | undefined} after how many ms the token is to be renewed, if that is new */
  terms({ expires_in_ms: left, retry_max_ms: spread, heartbeat }) {
    this.refusedSince = 0;
    if (spread) this.spreadMs = Math.min(SPREAD_MAX_MS, Math.max(LONGEST_DELAY_MS, spread));
    if (heartbeat) this.silenceMs = Math.max(SILENCE_MS, 1500 * heartbeat.interval_s);
    // A stream that is opened anew has the same token: a client that opens often would never come to renew it.
    if (!this.hasToken || left == null || this.now + left <= this.endsAt + 1000) return undefined;
    this.endsAt = this.now + left;
    return Math.min(2 ** 31 - 1, Math.max(1000, left - Math.min(REFRESH_MARGIN_MS, left / 2)));
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

  /** The back-off: full jitter, from the first retry on, so that 10,000 clients of a server that died do not come back at
   * one moment. */
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
    this.emit({ do: "shut" });
    this.opening = false;
    this.endsAt = 0;
    this.hooks.lost();
    const ms = this.delay();
    this.go(why, text, { retryMs: ms });
    this.after(ms, "retry");
  }

  /** @param {string} why @param {string} text @param {string} [reason] */
  close(why, text, reason = why) {
    if (this.state === "closed") return;
    this.cancel("connect", "retry", "stable", "ping", "pong", "refresh", "flush", "resend");
    if (this.state === "online") this.hooks.farewell();
    this.emit({ do: "shut" });
    this.opening = false;
    this.go(why, text, { reason });
    this.hooks.closed(text);
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
        this.emit({ do: "remember", transport: this.transport });
        break;
      case "ping": this.ping(PONG_MS); break;
      case "pong":
        if (this.heardAt >= this.pingedAt) break;
        // If this timer itself is late, this machine has slept, and not the server.
        if (this.now - this.pongDue > 5000) this.ping(PROBE_MS);
        else this.down({ reason: "silence", text: "nothing was heard from the server" });
        break;
      case "refresh":
        this.endsAt = 0; // the application may say that the token is still good
        if (this.state === "online" && !this.wantsToken) {
          this.wantsToken = true;
          this.emit({ do: "token" });
        }
        break;
    }
  }

  /** @param {number} patienceMs */
  ping(patienceMs) {
    if (this.state !== "online") return;
    this.after(PING_MS, "ping");
    if (this.transport === "websocket") {
      this.pingedAt = this.now;
      this.pongDue = this.now + patienceMs;
      this.emit({ do: "send", command: { type: "ping" } });
      this.after(patienceMs, "pong");
    } else if (this.now - this.heardAt > this.silenceMs) this.down({ reason: "silence", text: "nothing was heard from the server" });
  }

  /** The page, the network or the machine has come back: find out at once what is left of the connection.
   * @param {string} reason @param {boolean} [stale] nothing is left of it */
  wake(reason, stale = false) {
    if (stale && this.state === "online") this.wait("lost", reason);
    else if (stale && this.state === "connecting") this.wait("fail", reason); // on the network of before
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
