/** Connect to a server, and stay connected. @param {string | URL} url @param {Options} [options] */
export function connect(url: string | URL, options?: Options): Client;
/** What a room may be called. */
export const ROOM_NAME: RegExp;
/**
 * @typedef {object} Options
 * @property {() => string | null | Promise<string | null>} [getToken] Asked before each connection and before a token
 *   ends. What it throws is tried again, unless its `status` is 401 or 403.
 * @property {Transport[]} [transports] Which to use, the best first. By default all four.
 * @property {boolean} [persist] Keep what was not sent over a reload of the page (in `sessionStorage`).
 * @property {boolean} [remember] Begin with the transport that worked last time (in `localStorage`). By default yes.
 * @property {boolean} [share] Let the tabs of a browser share one connection where it is no WebSocket. By default yes.
 * @property {number} [outboxMax] How many messages may wait, 1000 by default.
 * @property {number} [pollMs] Between two short polls, 2000 by default.
 * @property {number} [retryMaxMs] The longest pause before the next attempt to connect. By default 5000, or what the
 *   server has said that it needs for all its clients to come back.
 * @property {string} [clientId] 8 to 64 of A-Z a-z 0-9 _ -: on servers that ask nobody who they are, whoever comes back
 *   with it is the same member. One connection may have it at a time. By default random.
 * @property {(change: Change) => void} [debug] Told of every change of state, with its reason.
 * @property {typeof globalThis.WebSocket} [WebSocket] Where there is none of the platform: the one of `ws`.
 * @property {typeof globalThis.fetch} [fetch]
 */
/** A message was not stored, or it cannot be known: `code` says why. */
export class TrunklineError extends Error {
    /** @param {{code: string, message: string}} error */
    constructor({ code, message }: {
        code: string;
        message: string;
    });
    code: string;
}
/** @typedef {{message: Message, gap: Gap, joined: {room: string, epoch: string, head: number}, signal: Signal,
 *   presence: Presence, seen: Seen, unread: Unread, error: Refusal}} RoomEvents */
/**
 * One room. Events: `message`, `gap` (messages that cannot be had any more), `joined`, `presence` (after each change of
 * `members`), `signal`, `seen`, `unread` (how much was not seen), `error` (it may not be read).
 * @extends {Emitter<RoomEvents>}
 */
export class Room extends Emitter<RoomEvents> {
    /** @param {Client} client @param {string} name */
    constructor(client: Client, name: string);
    client: Client;
    name: string;
    /** Who is there, by member, if `presence` was asked for. @type {Map<string, Member>} */
    members: Map<string, Member>;
    /** The newest messages, as many as `keep` said. @type {Message[]} */
    history: Message[];
    keep: number;
    /** Up to where each member has seen the room. @type {Map<string, number>} */
    marks: Map<string, number>;
    /** Publish any JSON value; resolves with its offset once the log has it, whatever happens to the connection.
     * @param {any} data @param {{id?: string}} [options] with the same `id` it is stored once, however often it is sent
     * @returns {Promise<number>} @throws {TrunklineError} it was refused, or the client was closed before it was acked */
    publish(data: any, { id }?: {
        id?: string;
    }): Promise<number>;
    /** Tell whoever is connected something that matters only now; nothing if we are not.
     * @param {string} name of each only the newest counts @param {any} [data] */
    signal(name: string, data?: any): void;
    /** Everything up to this offset was seen. @param {number} offset */
    seen(offset: number): void;
    /** Say something else of ourselves, or nothing more.
     * @param {JoinOptions["presence"]} presence @throws {TrunklineError} `bad_command`, `too_large`, `too_deep` or `bad_json` */
    present(presence: JoinOptions["presence"]): void;
    /** What came before an offset, for whoever scrolls back.
     * @param {number} offset @param {number} [count] at most 1000 @returns {Promise<Message[]>} oldest first; none if there are none */
    before(offset: number, count?: number): Promise<Message[]>;
    /** Read it no longer. */
    close(): void;
    /** @param {ServerEvent} event */
    receive(event: ServerEvent): void;
}
/**
 * A connection for any number of rooms. Events: `state` (see `Change`), `outbox` (how many messages wait), `refused`
 * (a message of an outbox that was kept over a reload).
 * @extends {Emitter<{state: Change, outbox: number, refused: Refusal, stored: Receipt}>}
 */
export class Client extends Emitter<{
    state: Change;
    outbox: number;
    refused: Refusal;
    stored: Receipt;
}> {
    /** @param {string | URL} url where the server is; its path may be that of a mount @param {Options} options */
    constructor(url: string | URL, options?: Options);
    url: string;
    options: Options;
    clientId: string;
    life: string;
    attempts: number;
    WebSocket: {
        new (url: string | URL, protocols?: string | string[]): WebSocket;
        prototype: WebSocket;
        readonly CONNECTING: 0;
        readonly OPEN: 1;
        readonly CLOSING: 2;
        readonly CLOSED: 3;
    };
    /** @type {Map<string, Room>} */
    rooms: Map<string, Room>;
    /** @type {Map<string, {resolve: (offset: number) => void, reject: (error: Error) => void}>} */
    promises: Map<string, {
        resolve: (offset: number) => void;
        reject: (error: Error) => void;
    }>;
    /** @type {Map<TimerName, ReturnType<typeof setTimeout>>} */
    timers: Map<TimerName, ReturnType<typeof setTimeout>>;
    /** @type {Driver | undefined} */
    driver: Driver | undefined;
    /** @type {Promise<void> | undefined} */
    asking: Promise<void> | undefined;
    token: string;
    /** @type {Effect[]} */
    effects: Effect[];
    acting: boolean;
    /** @type {Limits} */
    limits: Limits;
    /** Who the server says we are. @type {string | null} */
    user: string | null;
    /** Our name in `members` and `marks`. */
    member: string;
    session: Session;
    stopWatching: () => void;
    /** @returns {State} */
    get state(): State;
    /** By which transport. @returns {Transport} */
    get transport(): Transport;
    /** How many messages wait for their ack. */
    get waiting(): number;
    /** What waits, in order. @returns {Draft[]} */
    get drafts(): Draft[];
    /** Read a room; asking again for one that is read gives the same. Options: `since` (`"start"`, `"now"`, an offset or a
     * position) or `last` (how many of the newest; 50), and `presence` (true, an object that others see, or `"watch"`).
     * `keep`: so many messages stay in `history`.
     * @param {string} name @param {JoinOptions & {keep?: number}} [options]
     * @throws {TrunklineError} `bad_room`: no room can have that name; `too_many_rooms`: one of the others is to be closed;
     *   `bad_position`: it cannot begin there; or what is said of us is too large (1 KiB), or no object */
    room(name: string, { keep, ...options }?: JoinOptions & {
        keep?: number;
    }): Room;
    /** How much of these rooms was not seen; they need not be read. @param {string[]} rooms @returns {Promise<Unread[]>} */
    unread(rooms: string[]): Promise<Unread[]>;
    /** @param {string} path @param {[string, unknown][]} query @returns {Promise<any>} */
    get(path: string, query: [string, unknown][]): Promise<any>;
    /** The application knows that something has changed: a phone's app came to the front. @param {string} [reason] */
    wake(reason?: string): void;
    /** End it. What was not acked is refused with `closed`. */
    close(): void;
    get fetch(): typeof fetch;
    /** What a listener does comes after what it was told of: its effects wait for those before.
     * @param {Input} input */
    step(input: Input): void;
    /** @param {Effect} effect */
    carryOut(effect: Effect): void;
    /** @param {Effect & {do: "open"}} effect */
    open({ transport, joins }: Effect & {
        do: "open";
    }): void;
    /** One question at a time, however often it is asked. */
    ask(): void;
    /** Whatever says that the network or we ourselves were away. */
    watch(): () => void;
    /** What worked the last time, in this hour. @returns {Transport | undefined} */
    remembered(): Transport | undefined;
    /** @param {string} what @param {"localStorage" | "sessionStorage"} [where] @returns {any} */
    load(what: string, where?: "localStorage" | "sessionStorage"): any;
    /** @param {string} what @param {unknown} value @param {"localStorage" | "sessionStorage"} [where] */
    save(what: string, value: unknown, where?: "localStorage" | "sessionStorage"): void;
}
export type Options = {
    /**
     * Asked before each connection and before a token
     * ends. What it throws is tried again, unless its `status` is 401 or 403.
     */
    getToken?: (() => string | null | Promise<string | null>) | undefined;
    /**
     * Which to use, the best first. By default all four.
     */
    transports?: Transport[] | undefined;
    /**
     * Keep what was not sent over a reload of the page (in `sessionStorage`).
     */
    persist?: boolean | undefined;
    /**
     * Begin with the transport that worked last time (in `localStorage`). By default yes.
     */
    remember?: boolean | undefined;
    /**
     * Let the tabs of a browser share one connection where it is no WebSocket. By default yes.
     */
    share?: boolean | undefined;
    /**
     * How many messages may wait, 1000 by default.
     */
    outboxMax?: number | undefined;
    /**
     * Between two short polls, 2000 by default.
     */
    pollMs?: number | undefined;
    /**
     * The longest pause before the next attempt to connect. By default 5000, or what the
     * server has said that it needs for all its clients to come back.
     */
    retryMaxMs?: number | undefined;
    /**
     * 8 to 64 of A-Z a-z 0-9 _ -: on servers that ask nobody who they are, whoever comes back
     * with it is the same member. One connection may have it at a time. By default random.
     */
    clientId?: string | undefined;
    /**
     * Told of every change of state, with its reason.
     */
    debug?: ((change: Change) => void) | undefined;
    /**
     * Where there is none of the platform: the one of `ws`.
     */
    WebSocket?: {
        new (url: string | URL, protocols?: string | string[]): WebSocket;
        prototype: WebSocket;
        readonly CONNECTING: 0;
        readonly OPEN: 1;
        readonly CLOSING: 2;
        readonly CLOSED: 3;
    } | undefined;
    fetch?: typeof fetch | undefined;
};
export type RoomEvents = {
    message: Message;
    gap: Gap;
    joined: {
        room: string;
        epoch: string;
        head: number;
    };
    signal: Signal;
    presence: Presence;
    seen: Seen;
    unread: Unread;
    error: Refusal;
};
/** Listeners by kind. @template {Record<string, any>} Events */
declare class Emitter<Events extends Record<string, any>> {
    /** @type {Map<keyof Events, Set<(event: any) => void>>} */
    listeners: Map<keyof Events, Set<(event: any) => void>>;
    /** Call `listener` at each event of this kind; returns how to stop that.
     * @template {keyof Events} K @param {K} kind @param {(event: Events[K]) => void} listener */
    on<K extends keyof Events>(kind: K, listener: (event: Events[K]) => void): () => undefined;
    /** @template {keyof Events} K @param {K} kind @param {Events[K]} event */
    emit<K extends keyof Events>(kind: K, event: Events[K]): void;
}
import type { Member } from "./types.js";
import type { Message } from "./types.js";
import type { JoinOptions } from "./types.js";
import type { ServerEvent } from "./types.js";
import type { Change } from "./types.js";
import type { Refusal } from "./types.js";
import type { Receipt } from "./types.js";
import type { TimerName } from "./types.js";
import type { Driver } from "./websocket.js";
import type { Effect } from "./types.js";
import type { Limits } from "./types.js";
import { Session } from "./session.js";
import type { State } from "./types.js";
import type { Transport } from "./types.js";
import type { Draft } from "./types.js";
import type { Unread } from "./types.js";
import type { Input } from "./types.js";
import type { Gap } from "./types.js";
import type { Signal } from "./types.js";
import type { Presence } from "./types.js";
import type { Seen } from "./types.js";
export {};
