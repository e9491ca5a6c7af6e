"""Every limit, with where its number comes from and what breaks when it is raised."""

from __future__ import annotations

import msgspec

RENAMED = ("connects_per_address_s", "requests_per_address_s", "commands_per_connection_s", "publishes_per_user_s")


def current_name(name: str) -> str:
    """Return the present name of a limit that was renamed; any other name as it is."""
    return name.removesuffix("_s") + "_per_s" if name in RENAMED else name


class Limits(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What one client may ask of the server. Sizes are bytes, times are seconds; PROTOCOL.md says what each one is."""

    # The largest `data` of one message, as JSON. Ably's free plan and Centrifugo's client queue start at 64 KiB
    # too; Redis' default pub/sub output buffer (32 MB) holds 500 of them. Larger things belong behind a URL.
    message_bytes_max: int = 64 * 1024
    # A publish is its data and an envelope: type, room (255), id (128), and the JSON around them.
    envelope_bytes_max: int = 4 * 1024
    # What `max_nesting` defaults of web frameworks sit around; also far from Python's recursion limit.
    json_depth_max: int = 32
    # A UUID has 36; 128 leaves room for "user:device:counter" schemes.
    id_bytes_max: int = 128
    # One connection for all rooms of a page; a page that follows more than 100 wants a room of its own.
    rooms_per_connection_max: int = 100
    # From accept to the end of the request head: a client that needs longer is holding the socket, not using it.
    handshake_s: float = 10.0
    # 16 KiB of headers: Node allows 16, nginx 32, Apache 8 per line.
    head_bytes_max: int = 16 * 1024
    # One poll's answer. 1,000 messages of the maximal size would be 64 MiB, so the bytes bound it first.
    poll_messages_max: int = 1000
    poll_bytes_max: int = 1024 * 1024
    # Answers to polls that clients have not taken yet, of all of them. The nearer it is, the smaller is a page: `next`
    # goes on exactly, so nothing is lost by it.
    unsent_bytes_max: int = 64 * 1024 * 1024
    poll_wait_s_max: float = 60.0
    # POST /publish: what one commit carries comfortably.
    publish_list_max: int = 1000
    # Publishes of one connection that wait for the log; beyond it we stop reading from that socket (no error).
    in_flight_per_connection_max: int = 256
    # Publishes of all connections that wait for the log; beyond it the answer is `overloaded`.
    in_flight_max: int = 20_000
    in_flight_bytes_max: int = 64 * 1024 * 1024
    # A hook of the application that looks at each message: longer than that, and its senders think that it is lost.
    hook_s: float = 5.0
    # A call of a handler: as long as proxies let a request wait.
    call_s: float = 30.0
    # A page has a few calls on their way; a client that has more wants something else.
    calls_in_flight_per_user_max: int = 16
    calls_in_flight_max: int = 1000
    calls_per_user_per_s: float = 20.0
    calls_per_user_burst: int = 100
    # A WebSocket that brought no token says who it is within this time. A page fetches a token in well under it.
    auth_s: float = 10.0
    # How long an author may redact a message of their own. A day is what most chats allow; moderators have no limit.
    redact_own_s: float = 86_400.0
    # All connections; also never more than the process may have open files. 2 KB each on our side, 8 in the kernel.
    connections_max: int = 100_000
    # A school or an office behind one address has hundreds of people; a hundred sockets of one person are a mistake.
    connections_per_address_max: int = 1000
    connections_per_user_max: int = 100
    # A page opens one connection and a few polls; a reconnect storm of an office is a few hundred at once.
    connects_per_address_per_s: float = 50.0
    connects_per_address_burst: int = 500
    requests_per_address_per_s: float = 100.0
    requests_per_address_burst: int = 1000
    # No person types 50 messages a second; a dragged pointer makes 60 signals, which a client thins out.
    commands_per_connection_per_s: float = 50.0
    commands_per_connection_burst: int = 200
    publishes_per_user_per_s: float = 100.0
    publishes_per_user_burst: int = 500
    # The names of 0.1 for `…_per_s`, until 0.2.
    connects_per_address_s: float | None = None
    requests_per_address_s: float | None = None
    commands_per_connection_s: float | None = None
    publishes_per_user_s: float | None = None

    def __post_init__(self) -> None:
        for name in RENAMED:
            value = getattr(self, name)
            if value is not None:
                msgspec.structs.force_setattr(self, current_name(name), value)
                msgspec.structs.force_setattr(self, name, None)


class Tuning(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the server spends on keeping things quick. Sizes are bytes; docs/configuration.md says what each one is."""

    # The newest messages of a room, kept in memory for readers that are a little behind.
    tail_messages_max: int = 1024
    tail_bytes_max: int = 1024 * 1024
    # All tails together; over it every tail is halved.
    tails_bytes_max: int = 64 * 1024 * 1024
    # What one catch-up step or one write to a cohort carries; a reader that never reads costs at most this
    # beside its socket buffers.
    piece_messages_max: int = 512
    piece_bytes_max: int = 128 * 1024
    # Readers that are written to in one step. 64 writes take about 0.5 ms, the longest that another room waits, or a
    # message on its way to the log.
    cohort_max: int = 64
    # How long steps may run before the event loop gets its turn.
    slice_s: float = 0.0005
    # Hooks and handlers of the application that are no coroutines, and run on threads, at the same time.
    hook_threads_max: int = 16
    # Rooms without readers that are kept open for the next one.
    idle_rooms_max: int = 1000
