// Event streams and polls: rooms with positions, and a request for each thing that is said. Loaded when a WebSocket does
// not get through.

/** @import { Down, Join, ServerEvent, Transport } from "./types.js" */
/** @import { Driver, Wire } from "./websocket.js" */

/**
 * @typedef {{query?: Record<string, any>, method?: string, body?: unknown, accept?: string, timeoutMs?: number,
 *   turn?: boolean, farewell?: boolean}} Asked `turn`: to be given up when the rooms change
 */

const TIMEOUT_MS = 10_000;
const POLL_WAIT_S = 25;
export const IDLE_MS = 20_000;
const PAGE = 1000;

/** What event streams and polls have in common: rooms with positions, and requests. */
class Requests {
  /** @param {Wire} wire @param {Join[]} joins @param {number} waitS of a long poll */
  constructor(wire, joins, waitS = 0) {
    this.wire = wire;
    this.waitS = waitS;
    this.token = wire.token;
    /** @type {Map<string, Join & {position: string}>} */
    this.rooms = new Map();
    this.joins = [...joins];
    this.over = false;
    /** What was said before it was certain that this transport works. @type {ServerEvent[] | null} */
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
    Promise.resolve().then(() => this.run()).catch((error) => this.fail(error));
  }

  /** @param {string} path @param {Asked} asked @returns {Promise<Response>} whose body is still to be read */
  async request(path, { query, method, body, accept, timeoutMs = TIMEOUT_MS, turn, farewell } = {}) {
    const url = new URL(path, this.wire.url);
    for (const [name, value] of Object.entries({ client: this.wire.clientId, ...query })) {
      for (const one of [value].flat()) if (one !== undefined) url.searchParams.append(name, String(one));
    }
    /** @type {Record<string, string>} */
    const headers = {};
    if (this.token) headers.Authorization = `Bearer ${this.token}`;
    if (accept) headers.Accept = accept;
    if (body) headers["Content-Type"] = "application/json";
    const ending = new AbortController();
    if (!farewell) this.open.add(ending);
    if (turn) this.turn = ending;
    const timer = timeoutMs ? setTimeout(() => ending.abort(), timeoutMs) : undefined;
    const init = { method, headers, cache: /** @type {const} */ ("no-store"), keepalive: farewell, signal: ending.signal, ...(body ? { body: JSON.stringify(body) } : {}) };
    try {
      const response = await this.wire.fetch(url, init).catch((error) => {
        throw { reason: "network", text: String(error), unreachable: !ending.signal.aborted };
      });
      if (accept && response.ok) return response;
      const text = await response.text();
      if (response.ok) return new Response(text || "null");
      throw refusal(response, text);
    } finally {
      clearTimeout(timer);
      if (!accept) this.open.delete(ending);
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
    for (const event of held) this.event(event);
  }

  /** @param {ServerEvent} event */
  event(event) {
    if (this.over) return;
    if (this.held) this.held.push(event);
    else this.wire.event(event);
  }

  /** @param {any[]} gaps @param {any[]} messages */
  tell(gaps, messages) {
    for (const gap of gaps) this.event({ type: "gap", ...gap });
    for (const message of messages) this.event({ type: "message", ...message });
  }

  /** Join what is to be joined. A page of a room says where it stands, unless we know. */
  async begin() {
    for (let join; (join = this.joins.shift()); ) {
      const { room, start } = join;
      if (String(start.since).includes(".")) {
        this.rooms.set(room, { ...join, position: String(start.since) });
        continue;
      }
      try {
        const page = await this.ask(`rooms/${room}`, { query: { since: start.since, last: start.last, limit: PAGE } });
        this.rooms.set(room, { ...join, position: page.next });
        this.event({ type: "joined", room, epoch: page.epoch, head: page.head });
        this.tell(page.gap ? [page.gap] : [], page.messages);
      } catch (error) {
        this.lose(room, error);
      }
    }
  }

  /** One room that may not be read is no reason to lose the others. @param {string} room @param {any} error */
  lose(room, error) {
    if (!["forbidden", "bad_room", "bad_position"].includes(error.reason)) throw error;
    this.rooms.delete(room);
    this.event({ type: "error", room, code: error.reason, message: error.text });
  }

  /** Listen to all rooms again and again, from where they stand. @param {() => Promise<void>} listen */
  async listen(listen) {
    while (!this.over) {
      await this.begin();
      this.turned = false;
      try {
        if (this.rooms.size) await listen();
        else {
          await this.ask("healthz");
          this.welcome();
          await this.sleep(IDLE_MS);
        }
      } catch (error) {
        if (/** @type {Down} */ (error).reason === "forbidden") await this.check();
        else if (!this.turned) throw error;
      }
      this.wire.heard();
    }
  }

  /** Something may not be had any more: find out what, and go on without it. */
  async check() {
    for (const joined of [...this.rooms.values()]) {
      const path = `rooms/${joined.room}`;
      /** @param {Record<string, any>} query */
      const may = (query) => this.ask(path, { query: { limit: 1, ...query } }).catch((error) => error);
      if (joined.presence && (await may({ presence: "watch" })).reason === "forbidden") joined.presence = false;
      const refused = await may({});
      if (refused.reason) this.lose(joined.room, refused);
    }
  }

  /** What is asked for: every room, from where it stands. */
  query() {
    const rooms = [...this.rooms.values()];
    const present = rooms.filter((room) => room.presence);
    const presence = present[0]?.presence;
    return {
      room: rooms.map(({ room }) => room),
      since: rooms.map(({ room, position }) => `${room}=${position}`).join(","),
      presence: typeof presence === "object" ? JSON.stringify(presence) : presence || undefined,
      in: present.map(({ room }) => room),
    };
  }

  /** @param {string} positions `a=k3f9x2.42,b=p0q8.7` */
  move(positions) {
    for (const part of positions.split(",")) {
      const at = part.lastIndexOf("=");
      const room = this.rooms.get(part.slice(0, at));
      if (room) room.position = part.slice(at + 1);
    }
  }

  /** Something else is to be listened to. */
  turnOver() {
    this.turned = true;
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
    const known = this.rooms.get(room);
    const in_room = `rooms/${room}/`;
    if (type === "join") {
      if (known && since === undefined && last === undefined) known.presence = presence;
      else this.joins.push({ room, start: { since, last }, presence });
      this.turnOver();
    } else if (type === "leave") {
      this.rooms.delete(room);
      this.event({ type: "left", room });
      this.turnOver();
      if (known?.presence) this.ask(`${in_room}presence`, { method: "DELETE", farewell: true }).catch(() => {});
    } else if (type === "message") {
      // One at a time, for two requests of one client may overtake each other; and none behind one that failed.
      const { failures } = this;
      this.posts = this.posts.then(() => (failures === this.failures ? this.publish(body) : undefined));
    } else if (type === "signal") this.ask(`${in_room}signals`, { method: "POST", body }).catch(() => {});
    else if (type === "seen") {
      this.ask(`${in_room}seen`, { method: "POST", body }).then((count) => this.event({ type: "unread", rooms: [count] })).catch(() => {});
    }
  }

  /** @param {Record<string, any>} draft */
  async publish({ room, id, data }) {
    try {
      this.event({ type: "ack", ...(await this.ask(`rooms/${room}`, { method: "POST", body: { id, data } })) });
    } catch (error) {
      const { status, reason, text, retryAfterMs } = /** @type {Down} */ (error);
      const passing = !status || status >= 500 || status === 429 || status === 401;
      if (passing) this.failures++;
      this.event({ type: "error", id, room, code: passing ? "network" : reason, message: text ?? reason, ...(retryAfterMs ? { retry_after_ms: retryAfterMs } : {}) });
    }
  }

  /** @param {string} token */
  auth(token) {
    this.token = token;
    if (!this.session) this.turnOver(); // the next question brings it
    else {
      this.ask(`sessions/${this.session}/auth`, { method: "POST" })
        .then((answer) => this.event({ type: "authenticated", ...answer })).catch((error) => this.fail(error));
    }
  }

  close() {
    this.over = true;
    for (const ending of this.open) ending.abort();
  }
}

class EventStream extends Requests {
  run() {
    return this.listen(async () => {
      const response = await this.request("connect", { query: this.query(), accept: "text/event-stream", timeoutMs: 0, turn: true });
      if (!response.body) throw { reason: "no streams", text: "fetch gives no streams here" };
      const reader = response.body.getReader();
      const decoder = new TextDecoder();
      let rest = "";
      for (let piece = await reader.read(); !piece.done; piece = await reader.read()) {
        this.welcome();
        this.wire.heard();
        const blocks = (rest + decoder.decode(piece.value, { stream: true })).split("\n\n");
        rest = /** @type {string} */ (blocks.pop());
        for (const block of blocks) this.block(block);
      }
      throw { reason: "ended", text: "the stream has ended" };
    });
  }

  /** @param {string} block one event (HTML Living Standard, section 9.2.6) */
  block(block) {
    /** @type {Record<string, string>} */
    const fields = {};
    for (const line of block.split("\n")) {
      const colon = line.indexOf(":");
      if (colon > 0) fields[line.slice(0, colon)] = line.slice(colon + 1).trimStart();
    }
    if (fields.id) this.move(fields.id);
    if (!fields.data || this.over) return;
    const body = JSON.parse(fields.data);
    if (fields.event === "closed") this.fail({ code: CLOSED[/** @type {string} */ (body.code)] ?? 4000, reason: body.code, text: body.message, retryAfterMs: body.retry_after_ms });
    else if (fields.event === "welcome") {
      this.session = body.session;
      this.event({ type: "authenticated", ...body });
    } else this.event({ type: fields.event ?? "message", ...body });
  }
}

export class Poll extends Requests {
  /** @type {number | null} */
  expiresAt = null;

  run() {
    return this.listen(async () => {
      const wait = this.live ? this.waitS : 0;
      const query = { ...this.query(), wait, limit: PAGE, live: this.live || 0 };
      const { next, gaps, messages, live } = await this.ask("connect", { query, turn: true, timeoutMs: wait * 1000 + TIMEOUT_MS });
      this.welcome();
      if (this.turned || this.over) return;
      this.move(next);
      this.live = live.next;
      if (live.expires_at !== this.expiresAt) this.event({ type: "authenticated", expires_at: (this.expiresAt = live.expires_at) });
      this.tell(gaps, messages);
      for (const one of live.signals) if (one.member !== live.member) this.event({ type: "signal", ...one });
      for (const one of live.presence) this.event({ type: "presence", ...one });
      for (const one of live.seen) this.event({ type: "seen", ...one });
      if (messages.length < PAGE) await this.rest();
    });
  }

  /** Before the next poll. @returns {Promise<unknown>} */
  rest() {
    return this.waitS ? Promise.resolve() : this.sleep(this.wire.pollMs);
  }
}

// What an event stream says at its end, as a WebSocket's close code says it.
/** @type {Record<string, number>} */
const CLOSED = { replaced: 4201, disconnected: 4200, unauthorized: 4100, token_expired: 4101, revoked: 4102 };

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
