/**
 * Follow a room for as long as the component is mounted. Mounting twice at once, as StrictMode does, joins once.
 * @param {Client} client made once, outside of components @param {string} name
 * @param {JoinOptions & {max?: number}} [options] `max`: messages that are kept, 1000 by default
 * @returns {{messages: Message[], members: Member[], state: Change["state"], error: string | null,
 *   publish: (data: any) => Promise<number>, signal: (name: string, data?: any) => void, seen: (offset: number) => void}}
 */
export function useRoom(client: Client, name: string, options?: JoinOptions & {
    max?: number;
}): {
    messages: Message[];
    members: Member[];
    state: Change["state"];
    error: string | null;
    publish: (data: any) => Promise<number>;
    signal: (name: string, data?: any) => void;
    seen: (offset: number) => void;
};
import type { Client } from "./trunkline.js";
import type { JoinOptions } from "./types.js";
import type { Message } from "./types.js";
import type { Member } from "./types.js";
import type { Change } from "./types.js";
