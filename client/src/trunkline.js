// The client for browsers and Node. What a WebSocket makes unnecessary is loaded when it is needed.

/** @import { Platform } from "./client.js" */
import { Client as AnyClient } from "./client.js";

export { ClientError, ROOM_NAME, Room, TrunklineError } from "./client.js";

/** @typedef {import("./client.js").Options} Options */

/** @type {Platform} */
const platform = {
  load: (transport, share) => share && globalThis.document
    ? import("./tabs.js").then(({ shared }) => shared(transport))
    : import("./http.js").then(({ DRIVERS }) => DRIVERS[transport]),
};

export class Client extends AnyClient {
  /** @param {string | URL} url @param {Options} [options] */
  constructor(url, options = {}) {
    super(url, options, platform);
  }
}

/** Connect to a server, and stay connected. @param {string | URL} url @param {Options} [options] */
export function connect(url, options) {
  return new Client(url, options);
}
