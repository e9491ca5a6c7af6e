// A WebSocket to a server: commands out, events in. Like every transport it is opened with rooms to join, says what the
// server says in the server's words, and ends once.

/** @import { Down, Join, ServerEvent } from "./types.js" */
import { address } from "./address.js";

/**
 * @typedef {{url: string, clientId: string, attempt: () => string, token: string, fetch: typeof fetch, WebSocket: typeof WebSocket | undefined,
 *   headers?: Record<string, string>, credentials?: RequestCredentials,
 *   pollMs: number, event: (event: ServerEvent) => void, down: (down: Down) => void, heard: () => void}} Wire
 * @typedef {{send: (command: Record<string, any>) => void, auth: (token: string) => void, close: () => void}} Driver
 */

/** @param {Wire} wire @param {Join[]} joins @returns {Driver} */
export function openWebSocket(wire, joins) {
  const url = address(wire.url, "connect", [["client", wire.clientId], ["attempt", wire.attempt()]]).replace("http", "ws");
  if (!wire.WebSocket) throw new Error("there is no WebSocket here");
  const socket = create(wire.WebSocket, url, wire.headers);
  let over = false;
  /** @param {Record<string, any>} command */
  const send = (command) => {
    if (socket.readyState === 1) socket.send(JSON.stringify(command));
  };
  /** @param {string} token */
  const auth = (token) => send({ type: "auth", token });
  socket.onopen = () => {
    // The token goes into the first message, never into an address: addresses end up in logs.
    if (wire.token) auth(wire.token);
    for (const { room, start, presence } of joins) send({ type: "join", room, ...start, presence });
  };
  socket.onmessage = ({ data }) => over || wire.event(JSON.parse(data));
  socket.onerror = () => {}; // the close that follows says it
  socket.onclose = ({ code, reason }) => {
    if (!over) wire.down({ code, reason: reason || `closed with ${code}` });
    over = true;
  };
  return {
    send,
    auth,
    close() {
      over = true;
      socket.close();
    },
  };
}

/** Browsers send no headers with a WebSocket; Node's own takes them in the place of the protocols, `ws` and React Native
 * behind these. @param {any} WebSocket @param {string} url @param {Record<string, string>} [headers] @returns {WebSocket} */
function create(WebSocket, url, headers) {
  if (!headers || globalThis.document) return new WebSocket(url, "trunkline.v1");
  const isOfNode = WebSocket === globalThis.WebSocket && globalThis.navigator?.product !== "ReactNative";
  return isOfNode ? new WebSocket(url, { protocols: ["trunkline.v1"], headers }) : new WebSocket(url, "trunkline.v1", { headers });
}
