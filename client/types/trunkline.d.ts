// The public types of the client. client/test/types.ts checks that the code is what they say.

/** The trace that a message is part of: the fields of W3C Trace Context. */
export interface TraceFields {
  traceparent?: string;
  tracestate?: string;
}

/** One message of a room. `data` is whatever JSON value was published: name its type by `client.room<Chat>("general")`. */
export interface Message<T = any> extends TraceFields {
  room: string;
  /** 1, 2, 3 … without holes within one epoch. */
  offset: number;
  id: string;
  /** The user who published it, or null. */
  from: string | null;
  /** When it was published, in ms since 1970 UTC. */
  at: number;
  /** Null if the message was redacted. */
  data: T;
  /** Its data was taken away. */
  redacted?: true;
}

/** Messages that cannot be had any more: the offsets `from` to `to`, both inclusive. */
/** Messages have lost their data: remove them. */
export interface Redacted {
  room: string;
  /** The redaction's own. */
  offset: number;
  at: number;
  /** The offsets of the messages. */
  redacts: number[];
  /** Their senders are gone, too. */
  erased?: true;
}

export interface Gap {
  room: string;
  epoch: string;
  from: number;
  to: number;
  reason: "trimmed" | "slow" | "epoch" | "future" | "deleted";
  /** The position after the gap, where reading goes on. */
  next: string;
}

/** Reading has begun, at the offset `head`. */
export interface Joined {
  room: string;
  epoch: string;
  head: number;
}

/** Something that is not logged, such as that a member is typing. */
export interface Signal {
  room: string;
  name: string;
  from: string | null;
  member: string;
  at: number;
  data: any;
}

/** A member of a room, and the JSON object that it is shown with. */
export interface Member {
  member: string;
  at: number;
  data: any;
}

/** The members of a room (`members`), or how they have changed (`joined`, `left`). */
export interface Presence {
  room: string;
  count: number;
  members?: Member[];
  joined?: Member[];
  left?: string[];
}

/** Read marks that have moved. */
export interface Seen {
  room: string;
  marks: { member: string; offset: number; at: number }[];
}

/** How much of a room was not seen. */
export interface Unread {
  room: string;
  head: number;
  seen: number;
  unread: number;
}

/** What the log says of a message that it has. */
export interface Receipt {
  room: string;
  epoch: string;
  offset: number;
  id: string;
  at: number;
  duplicate: boolean;
}

/** Why something was refused. `code` is one of PROTOCOL.md; `about` is the command. */
export interface Refusal {
  code: string;
  message: string;
  id?: string;
  room?: string;
  retry_after_ms?: number;
  about?: string;
}

export type Transport = "websocket" | "sse" | "longpoll" | "shortpoll";
export type State = "idle" | "connecting" | "online" | "waiting" | "closed";

/** A change of the connection's state, and its reason. */
export interface Change {
  state: State;
  reason: string;
  text: string;
  transport: Transport;
  /** After how many ms the next attempt follows. */
  retryMs?: number;
}

/** A message that waits for its ack. */
export interface Draft extends TraceFields {
  id: string;
  room: string;
  data: any;
}

export interface JoinOptions {
  /** Where to begin: `"start"`, `"now"`, an offset, or a position such as `"k3f9x2.42"`. */
  since?: string | number;
  /** Instead of `since`: begin with so many of the newest messages; 50 if both are left out. */
  last?: number;
  /** True, or an object that members are shown of this client; `"watch"` to be told of them only. */
  presence?: boolean | "watch" | Record<string, any>;
}

export interface Options {
  /** Called before each connection and before a token ends. What it throws is tried again, unless its `status` is 401 or
   * 403. */
  getToken?: () => string | null | Promise<string | null>;
  /** The transports to use, the best first. By default all four. */
  transports?: Transport[];
  /** Keep messages that were not acked over a reload of the page (in `sessionStorage`). */
  persist?: boolean;
  /** Begin with the transport that worked last time (in `localStorage`). By default true. */
  remember?: boolean;
  /** Let the tabs of a browser share one connection where it is no WebSocket. By default true. */
  share?: boolean;
  /** How many messages may wait for their acks. By default 1000. */
  outboxMax?: number;
  /** Milliseconds between two short polls. By default 2000. */
  pollMs?: number;
  /** The longest pause before the next attempt to connect, in ms. By default 5000, or what the server has said that it
   * needs for all its clients to come back. */
  retryMaxMs?: number;
  /** 8 to 64 of `A-Z a-z 0-9 _ -`, random by default: on servers without authentication, a client that comes back with
   * it is the same member. One connection may have it at a time. */
  clientId?: string;
  /** Called with every change of state. */
  debug?: (change: Change) => void;
  /** The class to use where the platform has no WebSocket: the one of `ws`. */
  WebSocket?: typeof globalThis.WebSocket;
  /** The function to use instead of the platform's. */
  fetch?: typeof globalThis.fetch;
  /** Sent with each request; with a WebSocket in Node and React Native, but not in browsers. */
  headers?: Record<string, string>;
  /** Of `fetch`: `include` sends cookies to a server of another origin, too. */
  credentials?: RequestCredentials;
}

export interface CallOptions {
  /** After how many ms the call is rejected with `timeout`, counted from the call, over all connections. By default 10000. */
  timeoutMs?: number;
  /** 1 to 128 printable ASCII characters, random by default: with the same id it is carried out once within a minute. */
  id?: string;
  /** Rejects the call with `aborted`; the server may carry it out nevertheless. */
  signal?: AbortSignal;
}

/** The events of a room, by kind. */
export interface RoomEvents<T = any> {
  message: Message<T>;
  /** Messages have lost their data: remove them. */
  redacted: Redacted;
  /** Messages that cannot be had any more. */
  gap: Gap;
  joined: Joined;
  signal: Signal;
  /** Called after each change of `members`. */
  presence: Presence;
  seen: Seen;
  /** Called at once, and again with each message. */
  unread: Unread;
  /** The room may not be read, or something else was refused. */
  error: Refusal;
}

/** The events of a client, by kind. */
export interface ClientEvents {
  state: Change;
  /** How many messages wait for their acks. */
  outbox: number;
  /** A message was refused for good, also one that was kept over a reload. */
  refused: Refusal;
  stored: Receipt;
}

/** A message was not stored or a call has no result, or it is not known whether it was carried out: `code` says why. */
export class ClientError extends Error {
  constructor(error: { code: string; message: string });
  code: string;
}

/** @deprecated The name of ClientError until 0.2. */
export const TrunklineError: typeof ClientError;
/** @deprecated */
export type TrunklineError = ClientError;

/** The names that a room may have. */
export const ROOM_NAME: RegExp;

/** One room. `T` is the type of its messages' data. */
export class Room<T = any> {
  protected constructor();
  readonly name: string;
  /** The members, by name, if `presence` was asked for. */
  readonly members: Map<string, Member>;
  /** The newest messages, as many as `keep` said. */
  readonly history: Message<T>[];
  /** Up to which offset each member has seen the room. */
  readonly marks: Map<string, number>;
  /** Call `listener` at each event of this kind; returns a function that ends that. */
  on<K extends keyof RoomEvents<T>>(kind: K, listener: (event: RoomEvents<T>[K]) => void): () => void;
  /** Publish a JSON value. The promise resolves with the offset once the log has it, whatever happens to the connection;
   * it rejects with a ClientError if the message was refused, or the client was closed before the ack.
   * @param options with the same `id` it is stored once, however often it is sent; `traceparent` and `tracestate` name the
   * trace that it is part of, and are left out if they are not valid */
  publish(data: T, options?: { id?: string } & TraceFields): Promise<number>;
  /** Tell the readers that are connected something that matters only now; of each name only the newest counts. */
  signal(name: string, data?: any): void;
  /** Note that everything up to this offset was seen. */
  seen(offset: number): void;
  /** Change what members are shown of this client. Throws a ClientError if it is too large (1 KiB), or no object. */
  present(presence: JoinOptions["presence"]): void;
  /** Load messages before an offset, oldest first: 50, or `count` (at most 1000). */
  before(offset: number, count?: number): Promise<Message<T>[]>;
  /** Read the room no longer. */
  close(): void;
}

/** A connection for any number of rooms. */
export class Client {
  constructor(url: string | URL, options?: Options);
  readonly clientId: string;
  /** The user that the server takes this client for, or null. */
  readonly user: string | null;
  /** This client's name in `members` and `marks`. */
  readonly member: string;
  readonly state: State;
  readonly transport: Transport;
  /** How many messages wait for their acks. */
  readonly waiting: number;
  /** The messages that wait for their acks, in order. */
  readonly drafts: Draft[];
  /** Call `listener` at each event of this kind; returns a function that ends that. */
  on<K extends keyof ClientEvents>(kind: K, listener: (event: ClientEvents[K]) => void): () => void;
  /** Read a room; asking again for one that is read returns the same. Throws a ClientError: `bad_room`,
   * `too_many_rooms`, `bad_position`, or what is wrong with `presence`.
   * @param options `keep`: how many messages stay in `history` */
  room<T = any>(name: string, options?: JoinOptions & { keep?: number }): Room<T>;
  /** Call a handler of the application. The server carries the call out once, whatever happens to the connection; the
   * promise resolves with its result. It rejects with a ClientError: with the code that the application has refused it
   * with, or with `timeout`, `outcome_unknown`, `outbox_full`, `aborted` or `closed`. */
  call<T = any>(name: string, data?: any, options?: CallOptions): Promise<T>;
  /** Count how much of these rooms was not seen; they need not be read. */
  unread(rooms: string[]): Promise<Unread[]>;
  /** Find out at once whether the connection is still good, and connect at once if there is none.
   * @param stale it cannot be good any more: the network has changed */
  wake(reason?: string, stale?: boolean): void;
  /** Close the connection. Messages that were not acked and calls that were not answered are rejected with `closed`. */
  close(): void;
}

/** Connect to a server, and stay connected. */
export function connect(url: string | URL, options?: Options): Client;
