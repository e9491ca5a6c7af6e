"""The edge: what uvicorn is given in place of its HTTP protocol, so that streams need not pass through ASGI.

    first bytes ─► Edge ─► a WebSocket or event stream on one of our paths? ─► WebSocketConnection, SseConnection
                     │
                     └───► anything else ─► HttpProtocol: uvicorn's own, with the bytes replayed
                                               ├─► the same question again at each further request of the connection
                                               └─► a WebSocket of another path ─► uvicorn's WebSocket class

Only a complete and plain head is taken over (wire/request.py); everything unusual is uvicorn's to judge. What is
handed on reaches the same rooms through ASGI, so a stream that the edge did not recognise is slower, never wrong.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from functools import cache
from http import HTTPStatus
from typing import Any, NamedTuple, Protocol

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from trunkline.core.attendance import NONE, Attendance, parse_attendance
from trunkline.core.door import Door
from trunkline.core.grant import Grant
from trunkline.core.message import check_room
from trunkline.core.position import NOW, Start, parse_joins, parse_start
from trunkline.errors import RequestError, TrunklineError, error_headers
from trunkline.hub import Hub
from trunkline.transports.echo import EchoConnection
from trunkline.transports.sse import SseConnection
from trunkline.transports.websocket import WebSocketConnection
from trunkline.wire import envelope
from trunkline.wire import websocket as ws
from trunkline.wire.credentials import Credentials
from trunkline.wire.deflate import agree
from trunkline.wire.origin import cors_headers
from trunkline.wire.request import RequestHead, parse_head

ROOMS = "/rooms/"
CONNECT = "/connect"
GENERATIONS = 10


class Expiring(Protocol):
    def expire(self) -> None:
        """The time is over."""


class Gate:
    """What all connections of one server share."""

    def __init__(self, hub: Hub, *, echo: str | None = None, deflate: bool = False) -> None:
        self.hub = hub
        self._echo = echo
        self._deflate = deflate
        self._ours = tuple(b"GET " + path.encode() for path in (ROOMS, CONNECT, echo) if path)
        # Connections that owe us a whole request, by the tenth of the handshake time in which it began.
        self._young: deque[set[Expiring]] = deque([set()], maxlen=GENERATIONS + 1)

    async def expire_for_ever(self) -> None:
        """Cut those who do not finish a request in time."""
        while True:
            await asyncio.sleep(self.hub.limits.handshake_s / GENERATIONS)
            if len(self._young) == GENERATIONS + 1:
                for edge in list(self._young[0]):
                    edge.expire()
            self._young.append(set())

    def admit(self, connection: Expiring) -> set[Expiring]:
        """Watch a connection; returns the set to leave once its request is there."""
        youngest = self._young[-1]
        youngest.add(connection)
        return youngest

    def close_young(self) -> None:
        """Cut all that have not asked for anything yet."""
        for generation in self._young:
            for edge in list(generation):
                edge.expire()

    def may_become_ours(self, data: bytes) -> bool:
        """Whether these first bytes can be the beginning of a stream's request."""
        return any(data.startswith(ours[: len(data)]) for ours in self._ours)

    def take(self, transport: asyncio.Transport, data: bytes, peer: str | None) -> asyncio.BaseProtocol | None:
        """The protocol that takes this connection over, having answered; None if it is not for us.

        Args:
            peer: Under which name the connection was counted when it came.
        """
        # A path may be written with % where it need not be; whatever it is called, it is the same room.
        if not (data.startswith(self._ours) or (data.startswith(b"GET /") and b"%" in data[: data.find(b"\r\n")])):
            return None
        end = data.find(b"\r\n\r\n")
        if end < 0 or end > self.hub.limits.head_bytes_max:
            return None
        head = parse_head(data[:end])
        if head is None or head.has_body:
            return None
        if not (head.path in (CONNECT, self._echo) or head.path.startswith(ROOMS)):
            return None
        if not (head.is_websocket or (head.is_sse and head.path != self._echo)):
            return None
        access = self.hub.access
        client = peer
        try:
            client = self._recount(transport, head, peer)
            access.knock(client)
            access.origins.check(head)
            take = _Take(transport, head, client)
            return self._take_websocket(take, data[end + 4 :]) if head.is_websocket else self._take_sse(take)
        except RequestError as error:
            access.refusals[error.code] += 1
            return _Refused(transport, access.door, client, refusal(error, cors_headers(access.origins, head)))

    def _recount(self, transport: asyncio.Transport, head: RequestHead, peer: str | None) -> str | None:
        """Count a stream under its client's address, if a proxy of ours says which that is."""
        forwarded = head.headers.get(b"x-forwarded-for")
        if peer is not None or forwarded is None:
            return peer
        door = self.hub.access.door
        client = door.client(peer_of(transport), forwarded.decode("latin-1"))
        if client is not None:
            door.leave(peer)
            refused = door.arrive(client, time.monotonic())
            if refused is not None:
                door.leave(client)
                door.arrive(peer, time.monotonic())
                raise refused
        return client

    def _take_websocket(self, take: _Take, rest: bytes) -> asyncio.BaseProtocol:
        hub, head = self.hub, take.head
        agreement = agree(head.headers.get(b"sec-websocket-extensions", b"")) if self._deflate else None
        joins = [] if head.path == self._echo else starts_of(head, hub)
        attendance = attendance_of(head)
        try:
            response = ws.accept(head, agreement)
        except ws.BadHandshake as error:
            raise _NoHandshake(str(error), error.status, error.headers) from None
        connection: WebSocketConnection
        if head.path == self._echo:
            connection = echo = EchoConnection(hub, take.transport, take.client, agreement)
            take.transport.set_protocol(echo)
            echo.begin_echo(response, agreement)
        else:
            connection = WebSocketConnection(hub, take.transport, take.client, agreement)
            take.transport.set_protocol(connection)
            connection.begin(response, hub.access.credentials(head, take.client), joins, attendance)
        if rest:
            connection.data_received(rest)
        return connection

    def _take_sse(self, take: _Take) -> asyncio.BaseProtocol:
        hub, access = self.hub, self.hub.access
        joins = starts_of(take.head, hub)
        if not joins:
            raise RequestError("room_required", "name the rooms: /connect?room=a&room=b")
        brought = access.credentials(take.head, take.client)
        grant = access.grant_now(brought)
        stream = SseConnection(hub, take.transport, take.client)
        stream.attendance = attendance_of(take.head)
        many = take.head.path == CONNECT
        rooms = [hub.room(name) for name, _ in joins]
        if grant is not None and all(room is not None and stream.may_read_now(grant, room.name) for room in rooms):
            stream.admit(grant)
            take.transport.set_protocol(stream)
            stream.respond(cors_headers(access.origins, take.head))
            begun = zip(rooms, joins, strict=True)
            stream.begin([(room, start) for room, (_, start) in begun if room is not None], many=many)
        else:
            take.transport.set_protocol(stream)
            headers = cors_headers(access.origins, take.head)
            hub.spawn(_begin_when_known(stream, grant, brought, joins, headers, many))
        return stream


class _Take(NamedTuple):
    """A request that wants to become a stream."""

    transport: asyncio.Transport
    head: RequestHead
    client: str | None


class _NoHandshake(RequestError):
    def __init__(self, message: str, status: int, headers: bytes) -> None:
        super().__init__("bad_command", message)
        self.status = status
        self.headers = headers


async def _begin_when_known(
    stream: SseConnection,
    grant: Grant | None,
    brought: Credentials,
    joins: list[tuple[str, Start]],
    headers: list[tuple[str, str]],
    many: bool,
) -> None:
    access = stream.hub.access
    try:
        if grant is None:
            grant = await access.grant(brought)
        for name, _ in joins:
            await stream.check_one(grant, name)
        if stream.is_closing():
            return
        stream.admit(grant)
        stream.respond(headers)
    except TrunklineError as error:
        access.refusals[error.code] += 1
        stream.refuse(refusal(error, headers))
    else:
        await stream.begin_when_open(joins, many=many)


def attendance_of(head: RequestHead) -> Attendance:
    """How a stream's URL says that it takes part.

    Raises:
        RequestError: `bad_command`.
    """
    return parse_attendance(head.query) if head.query else NONE


def starts_of(head: RequestHead, hub: Hub) -> list[tuple[str, Start]]:
    """The rooms that a stream's URL names, and where it wants to begin in each.

    Raises:
        RequestError: A room or a position is not valid, or there are too many rooms.
    """
    last_event_id = head.headers.get(b"last-event-id", b"").decode("latin-1") if head.is_sse else ""
    since = last_event_id or head.first("since")
    last = None if last_event_id else head.first("last")
    if head.path != CONNECT:
        return [(check_room(head.path.removeprefix(ROOMS)), parse_start(since, last, NOW))]
    named = [value for key, value in head.query if key == "room"]
    return parse_joins(named, since, last, hub.limits.rooms_per_connection_max, NOW)


# Under which name a connection is counted, and whether it is one too many.
Counted = tuple[str | None, RequestError | None]


class Edge(asyncio.Protocol):
    """A connection of which nothing is known yet.

    Args:
        counted: It was counted before its TLS handshake.
        arguments: What uvicorn wants its own protocol to be made with.
    """

    __slots__ = (
        "_arguments",
        "_buffer",
        "_client",
        "_counted",
        "_gate",
        "_generation",
        "_refused",
        "_transport",
    )

    def __init__(self, gate: Gate, counted: Counted | None = None, **arguments: Any) -> None:
        self._gate = gate
        self._counted = counted
        if counted is not None:
            self._client, self._refused = counted
        self._arguments = arguments  # what uvicorn wants its own protocol to be made with
        self._buffer = b""
        self._transport: asyncio.Transport
        self._generation: set[Expiring]

    @property
    def made(self) -> bool:
        """Whether there is a connection, or was one."""
        return hasattr(self, "_transport")

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]
        self._generation = self._gate.admit(self)
        door = self._gate.hub.access.door
        if self._counted is None:
            self._client = door.client(peer_of(self._transport))
            self._refused = door.arrive(self._client, time.monotonic())
        if self._refused is not None and door.overrun(self._client):
            self._transport.abort()
        tls = None if self._counted is None else transport.get_extra_info("ssl_object")
        if tls is not None and tls.selected_alpn_protocol() == "h2":
            if self._refused is not None:
                self._transport.abort()
            else:
                self._hand_on(_http2_class()(self._gate, self._client, **self._arguments))

    def _hand_on(self, protocol: asyncio.Protocol) -> None:
        self._generation.discard(self)
        self._transport.set_protocol(protocol)
        protocol.connection_made(self._transport)

    def data_received(self, data: bytes) -> None:
        if not self._buffer:
            data = data.lstrip(b"\r\n")  # RFC 9112 section 2.2: empty lines before a request are nothing
            if not data:
                return
        if self._refused is not None:
            # Only now: an answer to a question that was not asked yet is one that many clients do not read.
            self._gate.hub.access.refusals[self._refused.code] += 1
            self._generation.discard(self)
            _Refused(self._transport, self._gate.hub.access.door, self._client, refusal(self._refused))
            return
        if self._buffer:
            data = self._buffer + data
        # Only a head of ours is worth waiting for: the parser of uvicorn waits for its own.
        if (
            b"\r\n\r\n" not in data
            and self._gate.may_become_ours(data)
            and len(data) <= self._gate.hub.limits.head_bytes_max
        ):
            self._buffer = data
            return
        self._generation.discard(self)
        if self._gate.take(self._transport, data, self._client) is None:
            http = HttpProtocol(self._gate, self._client, **self._arguments)
            self._hand_on(http)
            http.data_received(data)

    def eof_received(self) -> None:
        self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self._generation.discard(self)
        self._gate.hub.access.door.leave(self._client)

    def expire(self) -> None:
        """The head did not come in time."""
        self._transport.abort()


class HttpProtocol(HttpToolsProtocol):
    """uvicorn's HTTP, which lets go of the connection when a stream is asked for on it."""

    def __init__(self, gate: Gate, client: str | None, **arguments: Any) -> None:
        super().__init__(**arguments)
        self._gate = gate
        self._client = client
        self._counted = True
        self._between_requests = True
        self._in_head = False
        self._in_body = False
        self._head_bytes = 0
        self._bytes_since_body = 0
        self._rest = b""
        self._generation: set[Expiring] | None = None

    def data_received(self, data: bytes) -> None:
        if self._between_requests:
            data = data.lstrip(b"\r\n")  # RFC 9112 section 2.2; they keep nothing alive
            if not data:
                return
        if self._between_requests and (self.cycle is None or self.cycle.response_complete) and not self.pipeline:
            self._unset_keepalive_if_required()
            if self._gate.take(self.transport, data, self._client) is not None:
                self.leave()
                return
        self._unset_keepalive_if_required()
        self._bytes_since_body += len(data)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._rest = data[upgrade.args[0] :]
            self.handle_websocket_upgrade()
        except httptools.HttpParserError:
            self.send_400_response("Invalid HTTP request received.")
        else:
            most = self._gate.hub.limits.head_bytes_max
            if self._in_head:
                self._head_bytes += len(data)
                if self._head_bytes > most:
                    self._end(b"431 Request Header Fields Too Large")
            elif self._in_body and self._bytes_since_body > most:
                # Neither a chunk's head nor a trailer is so long; the parser would gather either until it ends.
                self.transport.abort()

    def handle_websocket_upgrade(self) -> None:
        """A handshake whose head came in pieces, or not first on its connection."""
        answered = self.cycle is None or self.cycle.response_complete
        plain = self.parser.get_http_version() == "1.1" and self.scope["method"] == "GET" and answered
        if not (plain and self._should_upgrade()):
            # An answer that is still under way would be written into the WebSocket, and ours before it.
            if answered:
                self._end(b"400 Bad Request")
            else:
                self._forget()
                self.transport.close()
            return
        lines = [name + b": " + value for name, value in self.scope["headers"]]
        head = b"\r\n".join([b"GET %b HTTP/1.1" % self.url, *lines, b"", b""])
        if self._gate.take(self.transport, head + self._rest, self._client) is not None:
            self.leave()
        else:
            self._forget()
            self._counted = False  # CountedWebSocket goes on counting
            super().handle_websocket_upgrade()

    def leave(self) -> None:
        """The connection is somebody else's from now on."""
        self.connections.discard(self)
        self._forget()
        self._counted = False

    def expire(self) -> None:
        """A request did not come whole in time."""
        self.transport.abort()

    def _forget(self) -> None:
        if self._generation is not None:
            self._generation.discard(self)
            self._generation = None

    def _end(self, status: bytes) -> None:
        self._forget()
        self.transport.write(b"HTTP/1.1 %b\r\nContent-Length: 0\r\nConnection: close\r\n\r\n" % status)
        self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self._forget()
        self._uncount()
        super().connection_lost(exc)

    def _uncount(self) -> None:
        if self._counted:
            self._counted = False
            self._gate.hub.access.door.leave(self._client)

    def on_message_begin(self) -> None:
        self._between_requests = False
        self._in_head, self._head_bytes = True, 0
        self._forget()
        self._generation = self._gate.admit(self)
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        # What comes behind a body is no header (RFC 9110 section 6.5.1): uvicorn would add it to those that were read
        # already, one as long as the other, and a proxy's word could be overwritten by its client.
        if self._in_head:
            super().on_header(name, value)

    def on_body(self, body: bytes) -> None:
        self._bytes_since_body = 0
        super().on_body(body)

    def on_headers_complete(self) -> None:
        self._in_head = False
        self._in_body, self._bytes_since_body = True, 0
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._between_requests = True
        self._in_body = False
        self._forget()
        super().on_message_complete()


@cache
def _http2_class() -> Callable[..., asyncio.Protocol]:
    """uvicorn's HTTP/2, counted like the rest. Rooms are served through it as through any ASGI server."""
    from uvicorn.protocols.http.zttp_h2_impl import ZttpH2Protocol  # noqa: PLC0415 - an extra, for those who want it

    class Http2Protocol(ZttpH2Protocol):
        def __init__(self, gate: Gate, client: str | None, **arguments: Any) -> None:
            super().__init__(**arguments)
            self._gate = gate
            self._client = client
            self._asked = False
            self._unfinished: set[int] = set()

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            self._generation = self._gate.admit(self)
            super().connection_made(transport)

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            self._asked = self._asked or bool(self.cycles)

        def expire(self) -> None:
            # It owes us a first request, and then the rest of each that it begins; uvicorn ends those that idle.
            unfinished = {stream for stream, cycle in self.cycles.items() if cycle.more_body}
            if not self._asked or unfinished & self._unfinished:
                self.transport.abort()
            else:
                self._unfinished = unfinished
                self._generation.discard(self)
                self._generation = self._gate.admit(self)

        def connection_lost(self, exc: Exception | None) -> None:
            self._generation.discard(self)
            self._gate.hub.access.door.leave(self._client)
            super().connection_lost(exc)

    return Http2Protocol


def counted_websocket(gate: Gate) -> type[asyncio.Protocol]:
    """uvicorn's WebSocket class, for heads that the edge did not understand: counted as the connection that it was."""

    class CountedWebSocket(WebSocketsSansIOProtocol):
        def connection_lost(self, exc: Exception | None) -> None:
            door = gate.hub.access.door
            door.leave(door.client(peer_of(self.transport)))
            super().connection_lost(exc)

    return CountedWebSocket


class _Refused(asyncio.Protocol):
    """Has answered a request that cannot become a stream, and waits for the end of its connection."""

    def __init__(self, transport: asyncio.Transport, door: Door, client: str | None, response: bytes) -> None:
        self._door = door
        self._client = client
        transport.set_protocol(self)
        transport.write(response)
        transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self._door.leave(self._client)


def refusal(error: TrunklineError, headers: Sequence[tuple[str, str]] = ()) -> bytes:
    """An error as a whole HTTP response that ends its connection."""
    body = envelope.problem(error)
    lines = [f"{name}: {value}\r\n".encode("latin-1") for name, value in (*error_headers(error), *headers)]
    if isinstance(error, _NoHandshake):
        lines.append(error.headers)
    return (
        b"HTTP/1.1 %d %b\r\nContent-Type: application/json\r\nContent-Length: %d\r\nCache-Control: no-store\r\n"
        b"%bConnection: close\r\n\r\n%b"
        % (error.status, HTTPStatus(error.status).phrase.encode(), len(body), b"".join(lines), body)
    )


def peer_of(transport: asyncio.BaseTransport) -> str:
    """The address at the other end of a connection."""
    peer = transport.get_extra_info("peername")
    return peer[0] if isinstance(peer, tuple) else ""
