export const IDLE_MS: 20000;
export class Poll extends Requests {
    member: string;
    /** Before the next poll. @returns {Promise<unknown>} */
    rest(): Promise<unknown>;
}
/** @type {Record<Exclude<Transport, "websocket">, (wire: Wire, joins: Join[]) => Driver>} */
export const DRIVERS: Record<Exclude<Transport, "websocket">, (wire: Wire, joins: Join[]) => Driver>;
export type Joined = Join & {
    position: string;
};
/**
 * `turn`: to be given up when the rooms change; `farewell`: not even then
 */
export type Asked = {
    query?: [string, unknown][];
    method?: string;
    body?: unknown;
    accept?: string;
    timeoutMs?: number;
    turn?: boolean;
    farewell?: boolean;
};
/** What event streams and polls have in common: rooms with positions, and requests. */
declare class Requests {
    /** @param {Wire} wire @param {Join[]} joins @param {number} waitS of a long poll */
    constructor(wire: Wire, joins: Join[], waitS?: number);
    wire: Wire;
    waitS: number;
    token: string;
    /** What is read. Who leaves and joins again has another one. @type {Map<string, Joined>} */
    rooms: Map<string, Joined>;
    /** What is to be joined. @type {Map<string, Join>} */
    joins: Map<string, Join>;
    /** What is being joined. @type {Map<string, Join>} */
    joining: Map<string, Join>;
    /** Where others saw us and shall not any more. @type {Set<string>} */
    goodbyes: Set<string>;
    over: boolean;
    /** What was said before it was certain that this transport works. @type {[ServerEvent, Joined | undefined][] | null} */
    held: [ServerEvent, Joined | undefined][] | null;
    /** @type {Set<AbortController>} */
    open: Set<AbortController>;
    /** @type {AbortController | undefined} */
    turn: AbortController | undefined;
    turned: boolean;
    /** @type {Promise<void>} */
    posts: Promise<void>;
    failures: number;
    live: string;
    session: string;
    terms: string;
    /** @param {string} path @param {Asked} asked @returns {Promise<Response>} whose body is still to be read */
    request(path: string, { query, method, body, accept, timeoutMs, turn, farewell }?: Asked): Promise<Response>;
    /** @param {string} path @param {Asked} [asked] */
    ask(path: string, asked?: Asked): Promise<any>;
    /** @param {any} error */
    fail(error: any): void;
    /** This transport works. */
    welcome(): void;
    /** @param {ServerEvent} event @param {Joined} [of] what it was joined as: who has left that since is not told */
    event(event: ServerEvent, of?: Joined): void;
    /** @param {any[]} gaps @param {any[]} messages @param {Map<string, Joined>} reading when they were asked for */
    tell(gaps: any[], messages: any[], reading: Map<string, Joined>): void;
    /** Join what is to be joined, a few at a time. */
    begin(): Promise<void>;
    /** A page of a room says where it stands, unless we know. @param {Join} join */
    join(join: Join): Promise<void>;
    /** One room that may not be read is no reason to lose the others. @param {string} room @param {any} error */
    lose(room: string, error: any): void;
    /** A room may be read, but who is there is not for us, or we not for them. @param {Joined} joined @param {any} error */
    hide(joined: Joined, { reason, text }: any): void;
    /** Listen to all rooms again and again, from where they stand. @param {() => Promise<void>} listen */
    listen(listen: () => Promise<void>): Promise<void>;
    /** Say goodbye where others still see us: after a stream has ended they would for a while. */
    part(): void;
    /** Something of what was asked for together cannot be had: find out what, and go on without it. @param {any} error */
    check(error: any): Promise<void>;
    /** What is asked for: every room from where it stands, and what others are to be told of us there.
     * @returns {[string, unknown][]} */
    query(): [string, unknown][];
    /** @param {string} positions `a=k3f9x2.42,b=p0q8.7` @param {Map<string, Joined>} reading */
    move(positions: string, reading: Map<string, Joined>): void;
    /** Something else is to be listened to. */
    turnOver(): void;
    /** @param {number} ms */
    sleep(ms: number): Promise<void>;
    run(): Promise<void>;
    /** @param {Record<string, any>} command */
    send({ type, ...body }: Record<string, any>): void;
    /** @param {Record<string, any>} draft */
    publish({ room, id, data }: Record<string, any>): Promise<void>;
    /** @param {any} error @param {{about: string, room: string, id?: string}} what */
    refused(error: any, what: {
        about: string;
        room: string;
        id?: string;
    }): void;
    /** @param {string} token */
    auth(token: string): void;
    close(): void;
}
import type { Transport } from "./types.js";
import type { Wire } from "./websocket.js";
import type { Join } from "./types.js";
import type { Driver } from "./websocket.js";
import type { ServerEvent } from "./types.js";
export {};
