/** What a client does after a close code; also for codes that do not exist yet. @param {number} code */
export function afterClose(code: number): "retry" | "refresh" | "give up";
/** Ids belong to rooms. @param {{room?: string, id?: string}} of */
export function keyOf({ room, id }: {
    room?: string;
    id?: string;
}): string;
/** @import { Change, Down, Draft, Effect, Input, Join, JoinOptions, Refusal, ServerEvent, State, TimerName, Transport } from "./types.js" */
/** Each state's ways out. What is not here cannot happen. @type {Record<State, Record<string, State>>} */
export const TRANSITIONS: Record<State, Record<string, State>>;
export const POSITION: RegExp;
export class Session {
    /**
     * @param {{transports: Transport[], first?: Transport, hasToken: boolean, outbox?: Draft[], outboxMax?: number,
     *   retryMaxMs?: number, random: () => number}} options `first`: the transport that worked last time
     */
    constructor({ transports, first, hasToken, outbox, outboxMax, retryMaxMs, random }: {
        transports: Transport[];
        first?: Transport;
        hasToken: boolean;
        outbox?: Draft[];
        outboxMax?: number;
        retryMaxMs?: number;
        random: () => number;
    });
    /** @type {State} */
    state: State;
    /** @type {Map<string, Reading>} */
    rooms: Map<string, Reading>;
    /** Without an ack, in order. @type {Map<string, Draft & {sent: boolean}>} */
    outbox: Map<string, Draft & {
        sent: boolean;
    }>;
    outboxMax: number;
    /** @type {Map<string, {room: string, name: string, data: any}>} */
    signals: Map<string, {
        room: string;
        name: string;
        data: any;
    }>;
    /** What was seen and is not noted yet, by room; one of each is on its way. @type {Map<string, {offset: number, sent: number}>} */
    marks: Map<string, {
        offset: number;
        sent: number;
    }>;
    transports: Transport[];
    index: number;
    home: number;
    known: boolean;
    random: () => number;
    hasToken: boolean;
    refusedTokens: number;
    refusedSince: number;
    retryMaxMs: number | undefined;
    spreadMs: number;
    wantsToken: boolean;
    failures: number;
    shortLives: number;
    retryAfterMs: number;
    away: boolean;
    silenceMs: number;
    endsAt: number;
    opening: boolean;
    paused: boolean;
    credit: number;
    creditAt: number;
    now: number;
    upAt: number;
    heardAt: number;
    pingedAt: number;
    pongDue: number;
    /** What the connection was told to read. @type {Map<string, Reading>} */
    there: Map<string, Reading>;
    /** Answers to `leave` that are still to come: what arrives before them is of an earlier joining. @type {Map<string, number>} */
    owedLefts: Map<string, number>;
    /** @type {Effect[]} */
    effects: Effect[];
    get transport(): Transport;
    /** Take one input at a time (ms on any clock that goes on while we sleep); carry the effects out in order.
     * @param {Input} input @param {number} now @returns {Effect[]} */
    step(input: Input, now: number): Effect[];
    /** @param {Effect} effect */
    do(effect: Effect): void;
    /** @param {TimerName} name @param {number} ms */
    after(ms: number, name: TimerName): void;
    /** @param {TimerName[]} names */
    cancel(...names: TimerName[]): void;
    /** @param {string} why a key of TRANSITIONS @param {string} text @param {Partial<Change>} [more] */
    go(why: string, text: string, more?: Partial<Change>): void;
    /** @param {string} why @param {string} text */
    connect(why: string, text: string): void;
    open(): void;
    patience(): void;
    /** @param {string} room @returns {Join} */
    joinOf(room: string): Join;
    /** @param {string} token */
    token(token: string): void;
    /** @param {{final: boolean, text: string}} failure */
    noToken({ final, text }: {
        final: boolean;
        text: string;
    }): void;
    up(): void;
    /** On a new connection: whatever the one before may not have brought there. */
    resend(): void;
    /** What the server says of its end of the connection. Times are left, for clocks differ.
     * @param {{expires_in_ms?: number | null, retry_max_ms?: number, heartbeat?: {interval_s: number}}} terms */
    terms({ expires_in_ms: left, retry_max_ms: spread, heartbeat }: {
        expires_in_ms?: number | null;
        retry_max_ms?: number;
        heartbeat?: {
            interval_s: number;
        };
    }): void;
    /** @param {Down} down */
    down({ code, status, reason, text, retryAfterMs, unreachable }: Down): void;
    /** Whether the token was refused for a moment only: clocks differ, and keys take their time.
     * @param {number} retryAfterMs */
    mayPass(retryAfterMs: number): boolean;
    /** Full jitter, from the first retry on: 10,000 clients of a server that died must not come back as one. */
    delay(): number;
    /** @param {string} why @param {string} text */
    wait(why: string, text: string): void;
    /** @param {string} why @param {string} text @param {string} [reason] */
    close(why: string, text: string, reason?: string): void;
    /** @param {string} room @param {JoinOptions} options */
    join(room: string, options: JoinOptions): void;
    /** @param {string} room */
    leave(room: string): void;
    /** Bring the connection to read what the application wants to read now, however it came to that. */
    settle(): void;
    /** @param {string} room */
    left(room: string): void;
    /** @param {string} room @param {number} offset */
    seen(room: string, offset: number): void;
    /** From now on the application wants to know how much of a room was not seen. @param {string} room */
    count(room: string): void;
    /** What was on its way has arrived. @param {string} room */
    noted(room: string): void;
    /** @param {Draft} draft */
    publish(draft: Draft): void;
    /** Send what may be sent now, in order and no faster than servers like it. */
    flush(): void;
    /** One more command, if a server would like it now. */
    spend(): boolean;
    /** @param {Refusal} error */
    pause({ retry_after_ms }: Refusal): void;
    keep(): void;
    /** @param {Refusal} error */
    refused(error: Refusal): void;
    /** @param {ServerEvent} event */
    event(event: ServerEvent): void;
    /** @param {string} room @param {ServerEvent & Refusal} error */
    refusedRoom(room: string, error: ServerEvent & Refusal): void;
    /** @param {string} room @param {ServerEvent} event */
    tell(room: string, event: ServerEvent): void;
    /** @param {TimerName} name */
    timer(name: TimerName): void;
    /** @param {number} patienceMs */
    ping(patienceMs: number): void;
    /** The page, the network or the machine has come back: find out at once what is left of the connection.
     * @param {string} reason */
    wake(reason: string): void;
}
import type { State } from "./types.js";
/** A room that somebody reads. */
declare class Reading {
    /** @param {JoinOptions} options */
    constructor(options: JoinOptions);
    options: JoinOptions;
    epoch: string;
    joinedEpoch: string;
    offset: number;
    seen: number;
    joined: boolean;
    counts: boolean;
    counted: boolean;
    seenTo: number;
    told: boolean;
    refused: boolean;
    /** Where to go on. */
    get start(): {
        last: number;
        since?: undefined;
    } | {
        since: string | number;
        last?: undefined;
    };
}
import type { Draft } from "./types.js";
import type { Transport } from "./types.js";
import type { Effect } from "./types.js";
import type { Input } from "./types.js";
import type { TimerName } from "./types.js";
import type { Change } from "./types.js";
import type { Join } from "./types.js";
import type { Down } from "./types.js";
import type { JoinOptions } from "./types.js";
import type { Refusal } from "./types.js";
import type { ServerEvent } from "./types.js";
export {};
