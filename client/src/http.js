// Event streams and polls: carries out what `http_driver.js` decides, by fetch and timers. Loaded when a WebSocket does not
// get through.

/** @import { Down, Join, Transport } from "./types.js" */
/** @import { Driver, Wire } from "./websocket.js" */
/** @import { HttpEffect, HttpInput, HttpRequest } from "./http_driver.js" */
import { address } from "./address.js";
import { EventStreamDriver, PollDriver } from "./http_driver.js";

const POLL_WAIT_S = 25;

/** @typedef {EventStreamDriver | PollDriver} HttpDriver */

/** Carries out the effects of one driver. */
export class HttpLink {
  /** @param {Wire} wire @param {HttpDriver} driver */
  constructor(wire, driver) {
    this.wire = wire;
    this.driver = driver;
    /** @type {Map<number, AbortController>} */
    this.open = new Map();
    /** @type {ReturnType<typeof setTimeout> | undefined} */
    this.timer = undefined;
    /** @type {HttpInput[]} */
    this.inputs = [];
    this.isStepping = false;
    this.over = false;
  }

  /** @param {HttpInput} input */
  step(input) {
    this.inputs.push(input); // an effect may lead to the next input before the effects behind it are carried out
    if (this.isStepping) return;
    this.isStepping = true;
    try {
      for (let next = this.inputs.shift(); next; next = this.inputs.shift()) {
        for (const effect of this.driver.step(next)) this.carryOut(effect);
      }
    } catch (error) {
      this.inputs.length = 0;
      for (const effect of this.driver.step({ type: "close" })) this.carryOut(effect);
      this.carryOut({ do: "down", down: { reason: "internal", text: String(error) } });
    } finally {
      this.isStepping = false;
    }
  }

  /** @param {HttpEffect} effect */
  carryOut(effect) {
    if (effect.do === "request") this.send(effect);
    else if (effect.do === "abort") this.open.get(effect.id)?.abort();
    else if (effect.do === "timer") this.timer = setTimeout(() => this.step({ type: "timer" }), effect.ms);
    else if (effect.do === "cancel") clearTimeout(this.timer);
    else if (effect.do === "heard") this.wire.heard();
    else if (effect.do === "event") this.over || this.wire.event(effect.event);
    else if (effect.do === "down" && !this.over) {
      this.over = true;
      this.wire.down(effect.down);
    }
  }

  /** @param {HttpRequest} request */
  async send({ id, method, path, query, token, body, stream, timeoutMs, farewell }) {
    /** @type {Record<string, string>} */
    const headers = { ...this.wire.headers };
    if (token) headers.Authorization = `Bearer ${token}`;
    if (stream) headers.Accept = "text/event-stream";
    if (body) headers["Content-Type"] = "application/json";
    const ending = new AbortController();
    this.open.set(id, ending);
    const timer = timeoutMs ? setTimeout(() => ending.abort(), timeoutMs) : undefined;
    const init = { method, headers, cache: /** @type {const} */ ("no-store"), credentials: this.wire.credentials, keepalive: farewell, signal: ending.signal, ...(body ? { body: JSON.stringify(body) } : {}) };
    let unreachable = true;
    try {
      const response = await this.wire.fetch(address(this.wire.url, path, [["client", this.wire.clientId], ...query]), init);
      unreachable = false;
      if (!response.ok) this.step({ type: "refused", id, down: refusal(response, await response.text()) });
      else if (stream) await this.read(id, response);
      else this.step({ type: "answer", id, body: JSON.parse((await response.text()) || "null") });
    } catch (error) {
      this.step({ type: "refused", id, down: { reason: "network", text: String(error), unreachable: unreachable && !ending.signal.aborted } });
    } finally {
      clearTimeout(timer);
      this.open.delete(id);
    }
  }

  /** @param {number} id @param {Response} response */
  async read(id, response) {
    if (!response.body) {
      this.step({ type: "refused", id, down: { reason: "no streams", text: "fetch gives no streams here" } });
      return;
    }
    const reader = response.body.getReader();
    const decoder = new TextDecoder();
    for (let piece = await reader.read(); !piece.done; piece = await reader.read()) {
      this.step({ type: "text", id, text: decoder.decode(piece.value, { stream: true }) });
    }
    this.step({ type: "ended", id });
  }

  /** @param {Record<string, any>} command */
  say(command) {
    this.step({ type: "send", command });
  }

  /** @param {string} token */
  auth(token) {
    this.step({ type: "auth", token });
  }

  close() {
    this.over = true;
    this.step({ type: "close" });
  }
}

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

/** @param {HttpLink} link @returns {Driver} */
export function started(link) {
  queueMicrotask(() => link.over || link.step({ type: "start" }));
  return { send: (command) => link.say(command), auth: (token) => link.auth(token), close: () => link.close() };
}

/** @param {Wire} wire @param {Join[]} joins @param {number} [waitS] */
export function options(wire, joins, waitS = 0) {
  return { token: wire.token, joins, waitS, pollMs: wire.pollMs, attempt: wire.attempt };
}

/** @type {Record<Exclude<Transport, "websocket">, (wire: Wire, joins: Join[]) => Driver>} */
export const DRIVERS = {
  sse: (wire, joins) => started(new HttpLink(wire, new EventStreamDriver(options(wire, joins)))),
  longpoll: (wire, joins) => started(new HttpLink(wire, new PollDriver(options(wire, joins, POLL_WAIT_S)))),
  shortpoll: (wire, joins) => started(new HttpLink(wire, new PollDriver(options(wire, joins)))),
};
