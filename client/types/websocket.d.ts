/**
 * @typedef {{url: string, clientId: string, attempt: () => string, token: string, fetch: typeof fetch, WebSocket: typeof WebSocket | undefined,
 *   pollMs: number, event: (event: ServerEvent) => void, down: (down: Down) => void, heard: () => void}} Wire
 * @typedef {{send: (command: Record<string, any>) => void, auth: (token: string) => void, close: () => void}} Driver
 */
/** @param {Wire} wire @param {Join[]} joins @returns {Driver} */
export function openWebSocket(wire: Wire, joins: Join[]): Driver;
export type Wire = {
    url: string;
    clientId: string;
    attempt: () => string;
    token: string;
    fetch: typeof fetch;
    WebSocket: typeof WebSocket | undefined;
    pollMs: number;
    event: (event: ServerEvent) => void;
    down: (down: Down) => void;
    heard: () => void;
};
export type Driver = {
    send: (command: Record<string, any>) => void;
    auth: (token: string) => void;
    close: () => void;
};
import type { Join } from "./types.js";
import type { ServerEvent } from "./types.js";
import type { Down } from "./types.js";
