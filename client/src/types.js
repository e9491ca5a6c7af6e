// The shapes that the modules share. Nothing here is loaded at run time.

/**
 * @typedef {{traceparent?: string, tracestate?: string}} TraceFields of W3C Trace Context
 * @typedef {{room: string, offset: number, id: string, from: string | null, at: number, data: any, redacted?: true} & TraceFields} Message
 *   with `redacted`, its data was taken away: it is null
 * @typedef {{room: string, offset: number, at: number, redacts: number[], erased?: true}} Redacted the messages with the
 *   offsets in `redacts` have lost their data; with `erased`, their senders, too
 * @typedef {{room: string, epoch: string, from: number, to: number, reason: "trimmed" | "slow" | "epoch" | "future" | "deleted", next: string}} Gap
 * @typedef {{room: string, name: string, from: string | null, member: string, at: number, data: any}} Signal
 * @typedef {{member: string, at: number, data: any}} Member
 * @typedef {{room: string, count: number, members?: Member[], joined?: Member[], left?: string[]}} Presence
 * @typedef {{room: string, marks: {member: string, offset: number, at: number}[]}} Seen
 * @typedef {{room: string, head: number, seen: number, unread: number}} Unread
 * @typedef {{room: string, epoch: string, offset: number, id: string, at: number, duplicate: boolean}} Receipt
 * @typedef {{code: string, message: string, id?: string, room?: string, retry_after_ms?: number, about?: string}} Refusal
 *
 * @typedef {"websocket" | "sse" | "longpoll" | "shortpoll"} Transport
 * @typedef {"idle" | "connecting" | "online" | "waiting" | "closed"} State
 * @typedef {{state: State, reason: string, text: string, transport: Transport, retryMs?: number}} Change
 *
 * @typedef {{message_bytes: number, rooms: number, json_depth: number}} Limits
 * @typedef {{expires_in_ms?: number | null, retry_max_ms?: number, heartbeat?: {interval_s: number}}} Terms how long a
 *   token is good yet, and over how long clients are to come back if the server dies
 *
 * What a server says, whatever transport says it.
 * @typedef {({type: "welcome", user?: string | null, member?: string, limits?: Limits, session?: string} & Terms
 *   | {type: "authenticated", user?: string | null, member?: string, limits?: Limits} & Terms
 *   | {type: "joined", room: string, epoch: string, head: number}
 *   | {type: "left", room: string}
 *   | {type: "message"} & Message
 *   | {type: "redacted"} & Redacted
 *   | {type: "gap"} & Gap
 *   | {type: "ack"} & Receipt
 *   | {type: "result", id: string, data: any}
 *   | {type: "error"} & Refusal
 *   | {type: "closing", retry_after_ms: number}
 *   | {type: "unread", rooms: Unread[]}
 *   | {type: "signal"} & Signal
 *   | {type: "presence"} & Presence
 *   | {type: "seen"} & Seen
 *   | {type: "pong"})} ServerEvent
 *
 * How a connection ended, or why it never began. `code` is a WebSocket's close code, `status` an HTTP answer's;
 * `unreachable` means that no other transport would have come further.
 * @typedef {{code?: number, status?: number, reason: string, text?: string, retryAfterMs?: number, unreachable?: boolean}} Down
 *
 * What a client wants of a room. `presence`: be seen (true, or an object that others are shown), or only be told.
 * @typedef {{since?: string | number, last?: number, presence?: boolean | "watch" | Record<string, any>}} JoinOptions
 * @typedef {{room: string, start: {since?: string | number, last?: number}, presence: JoinOptions["presence"]}} Join
 *
 * @typedef {{id: string, room: string, data: any} & TraceFields} Draft
 * @typedef {{id: string, name: string, data: any, timeoutMs: number}} Call
 *
 * @typedef {({type: "start"} | {type: "close"} | {type: "heard"}
 *   | {type: "join", room: string, options: JoinOptions} | {type: "leave", room: string}
 *   | {type: "publish", draft: Draft} | {type: "signal", room: string, name: string, data: any}
 *   | {type: "seen", room: string, offset: number} | {type: "count", room: string}
 *   | {type: "call", call: Call} | {type: "abort", id: string}
 *   | {type: "event", event: ServerEvent} | {type: "down", down: Down}
 *   | {type: "token", token: string} | {type: "no-token", final: boolean, text: string}
 *   | {type: "timer", name: TimerName} | {type: "wake", reason: string, stale?: boolean})} Input
 *
 * @typedef {"connect" | "retry" | "stable" | "ping" | "pong" | "refresh" | "flush" | "resend" | "calls"} TimerName
 *
 * @typedef {({do: "open", transport: Transport, joins: Join[]} | {do: "shut"} | {do: "token"} | {do: "auth", token: string}
 *   | {do: "send", command: Record<string, any>}
 *   | {do: "timer", name: TimerName, ms: number} | {do: "cancel", name: TimerName}
 *   | {do: "change", change: Change} | {do: "tell", room: string, event: ServerEvent}
 *   | {do: "stored", receipt: Receipt} | {do: "refused", error: Refusal} | {do: "outbox", waiting: number}
 *   | {do: "result", id: string, data: any} | {do: "rejected", error: Refusal}
 *   | {do: "remember", transport: Transport})} Effect
 */

export {};
