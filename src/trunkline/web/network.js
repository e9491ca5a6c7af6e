// A network with switches, for one page: what its client is given in place of the platform's WebSocket and fetch.
// `tunnel` is a train in a tunnel, `noWebSocket` a proxy that knows none, `holdsStreams` one that buffers.

export class Network {
  constructor() {
    this.tunnel = false;
    this.noWebSocket = false;
    this.holdsStreams = false;
    /** @type {Set<() => void>} */
    this.connections = new Set();
    const network = this;

    /** As much of a WebSocket as the client uses. */
    this.WebSocket = /** @type {typeof WebSocket} */ (/** @type {unknown} */ (class {
      /** @param {string | URL} url @param {string} [protocol] */
      constructor(url, protocol) {
        this.readyState = 0;
        /** @type {((event: any) => void) | undefined} */
        this.onopen = this.onmessage = this.onerror = this.onclose = undefined;
        if (network.tunnel || network.noWebSocket) {
          setTimeout(() => this.ended(1006, ""), 30);
          return;
        }
        const socket = (this.socket = new WebSocket(url, protocol));
        const cut = () => {
          socket.onclose = socket.onmessage = null;
          socket.close();
          this.ended(1006, "");
        };
        network.connections.add(cut);
        socket.onopen = (event) => { this.readyState = 1; this.onopen?.(event); };
        socket.onmessage = (event) => this.onmessage?.(event);
        socket.onclose = ({ code, reason }) => { network.connections.delete(cut); this.ended(code, reason); };
      }

      /** @param {number} code @param {string} reason */
      ended(code, reason) {
        if (this.readyState === 3) return;
        this.readyState = 3;
        this.onclose?.({ code, reason });
      }

      /** @param {string} data */
      send(data) {
        this.socket?.send(data);
      }

      close() {
        this.socket?.close();
      }
    }));
  }

  /** @param {"tunnel" | "noWebSocket" | "holdsStreams"} what @param {boolean} on */
  set(what, on) {
    this[what] = on;
    if (on) for (const cut of [...this.connections]) cut();
    if (on) this.connections.clear();
  }

  /** @param {RequestInfo | URL} input @param {RequestInit} [init] */
  fetch = async (input, init = {}) => {
    const ending = new AbortController();
    const cut = () => ending.abort();
    init.signal?.addEventListener("abort", cut);
    this.connections.add(cut);
    try {
      if (this.tunnel) throw new TypeError("in a tunnel");
      const stream = new Headers(init.headers).get("accept") === "text/event-stream";
      if (stream && this.holdsStreams) await new Promise((_, refuse) => ending.signal.addEventListener("abort", () => refuse(new TypeError("held back, then cut"))));
      const response = await fetch(input, { ...init, signal: ending.signal });
      if (!stream) this.connections.delete(cut);
      return response;
    } catch (error) {
      this.connections.delete(cut);
      throw error;
    }
  };
}
