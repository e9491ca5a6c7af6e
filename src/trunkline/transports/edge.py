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
from collections import deque
from typing import Any, Protocol

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from trunkline.core.message import check_room
from trunkline.core.position import NOW, Start, parse_positions, parse_start
from trunkline.errors import RequestError, TrunklineError
from trunkline.hub import Hub
from trunkline.transports.sse import SseConnection
from trunkline.transports.websocket import WebSocketConnection
from trunkline.wire import envelope
from trunkline.wire import websocket as ws
from trunkline.wire.request import RequestHead, parse_head

ROOMS = "/rooms/"
CONNECT = "/connect"
_OURS = (b"GET /rooms/", b"GET /connect")
GENERATIONS = 10


class Expiring(Protocol):
    def expire(self) -> None:
        """The time is over."""


class Gate:
    """What all connections of one server share."""

    def __init__(self, hub: Hub) -> None:
        self.hub = hub
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

    def take(self, transport: asyncio.Transport, data: bytes) -> asyncio.BaseProtocol | None:
        """The protocol that takes this connection over, having answered; None if it is not for us."""
        if not data.startswith(_OURS):
            return None
        end = data.find(b"\r\n\r\n")
        if end < 0 or end > self.hub.limits.head_bytes_max:
            return None
        head = parse_head(data[:end])
        if head is None or head.has_body:
            return None
        if not (head.path == CONNECT or head.path.startswith(ROOMS)):
            return None
        if head.is_websocket:
            return self._take_websocket(transport, head, data[end + 4 :])
        if head.is_sse:
            return self._take_sse(transport, head)
        return None

    def _take_websocket(self, transport: asyncio.Transport, head: RequestHead, rest: bytes) -> asyncio.BaseProtocol:
        try:
            joins = starts_of(head, self.hub)
            response = ws.accept(head)
        except RequestError as error:
            return _Refused(transport, error.status, envelope.problem(error))
        except ws.BadHandshake as error:
            body = envelope.problem(RequestError("bad_command", str(error)))
            return _Refused(transport, error.status, body, error.headers)
        connection = WebSocketConnection(self.hub, transport)
        transport.set_protocol(connection)
        connection.begin(response, joins)
        if rest:
            connection.data_received(rest)
        return connection

    def _take_sse(self, transport: asyncio.Transport, head: RequestHead) -> asyncio.BaseProtocol:
        hub = self.hub
        try:
            joins = starts_of(head, hub)
            if not joins:
                raise RequestError("room_required", "name the rooms: /connect?room=a&room=b")
        except RequestError as error:
            return _Refused(transport, error.status, envelope.problem(error))
        stream = SseConnection(hub, transport)
        transport.set_protocol(stream)
        stream.respond()
        many = head.path == CONNECT
        rooms = [(hub.room(name), start) for name, start in joins]
        if all(room is not None for room, _ in rooms):
            stream.begin([(room, start) for room, start in rooms if room is not None], many=many)
        else:
            hub.spawn(_begin_when_open(stream, joins, many))
        return stream


async def _begin_when_open(stream: SseConnection, joins: list[tuple[str, Start]], many: bool) -> None:
    try:
        async with stream.hub.opened([name for name, _ in joins]) as rooms:
            if not stream.is_closing():
                starts = [start for _, start in joins]
                stream.begin(list(zip(rooms, starts, strict=True)), many=many)
    except TrunklineError:
        stream.abort()  # the response has begun: an end without a last chunk is how it fails; EventSource retries


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
    names = list(dict.fromkeys(check_room(value) for key, value in head.query if key == "room"))
    if len(names) > hub.limits.rooms_per_connection_max:
        most = hub.limits.rooms_per_connection_max
        raise RequestError("too_many_rooms", f"a connection joins at most {most} rooms")
    if since is not None and "=" in since:
        if last is not None:
            raise RequestError("bad_position", "give since or last, not both")
        starts = parse_positions(since)
        return [(name, starts.get(name, NOW)) for name in names]
    start = parse_start(since, last, NOW)
    return [(name, start) for name in names]


class Edge(asyncio.Protocol):
    """A connection of which nothing is known yet."""

    __slots__ = ("_arguments", "_buffer", "_gate", "_generation", "_transport")

    def __init__(self, gate: Gate, **arguments: Any) -> None:
        self._gate = gate
        self._arguments = arguments  # what uvicorn wants its own protocol to be made with
        self._buffer = b""
        self._transport: asyncio.Transport
        self._generation: set[Expiring]

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]
        self._generation = self._gate.admit(self)

    def data_received(self, data: bytes) -> None:
        if self._buffer:
            data = self._buffer + data
        # Only a head of ours is worth waiting for: the parser of uvicorn waits for its own.
        if b"\r\n\r\n" not in data and _may_become_ours(data) and len(data) <= self._gate.hub.limits.head_bytes_max:
            self._buffer = data
            return
        self._generation.discard(self)
        if self._gate.take(self._transport, data) is None:
            http = HttpProtocol(self._gate, **self._arguments)
            http.connection_made(self._transport)
            self._transport.set_protocol(http)
            http.data_received(data)

    def eof_received(self) -> None:
        self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self._generation.discard(self)

    def expire(self) -> None:
        """The head did not come in time."""
        self._transport.abort()


def _may_become_ours(data: bytes) -> bool:
    return any(data.startswith(ours[: len(data)]) for ours in _OURS)


class HttpProtocol(HttpToolsProtocol):
    """uvicorn's HTTP, which lets go of the connection when a stream is asked for on it."""

    def __init__(self, gate: Gate, **arguments: Any) -> None:
        super().__init__(**arguments)
        self._gate = gate
        self._between_requests = True
        self._in_head = False
        self._head_bytes = 0
        self._rest = b""
        self._generation: set[Expiring] | None = None

    def data_received(self, data: bytes) -> None:
        if self._between_requests and (self.cycle is None or self.cycle.response_complete) and not self.pipeline:
            self._unset_keepalive_if_required()
            if self._gate.take(self.transport, data) is not None:
                self.leave()
                return
        self._unset_keepalive_if_required()
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._rest = data[upgrade.args[0] :]
            self.handle_websocket_upgrade()
        except httptools.HttpParserError:
            self.send_400_response("Invalid HTTP request received.")
        else:
            if self._in_head:
                self._head_bytes += len(data)
                if self._head_bytes > self._gate.hub.limits.head_bytes_max:
                    self._end(b"431 Request Header Fields Too Large")

    def handle_websocket_upgrade(self) -> None:
        """A handshake whose head came in pieces, or not first on its connection."""
        answered = self.cycle is None or self.cycle.response_complete
        plain = self.parser.get_http_version() == "1.1" and self.scope["method"] == "GET" and answered
        if not (plain and self._should_upgrade()):
            # An answer that is still under way would be written into the WebSocket.
            self._end(b"400 Bad Request")
            return
        lines = [name + b": " + value for name, value in self.scope["headers"]]
        head = b"\r\n".join([b"GET %b HTTP/1.1" % self.url, *lines, b"", b""])
        if self._gate.take(self.transport, head + self._rest) is not None:
            self.leave()
        else:
            self._forget()
            super().handle_websocket_upgrade()

    def leave(self) -> None:
        """The connection is somebody else's from now on."""
        self.connections.discard(self)
        self._forget()

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
        super().connection_lost(exc)

    def on_message_begin(self) -> None:
        self._between_requests = False
        self._in_head, self._head_bytes = True, 0
        self._forget()
        self._generation = self._gate.admit(self)
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._in_head = False
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._between_requests = True
        self._forget()
        super().on_message_complete()


class _Refused(asyncio.Protocol):
    """Answers a request that cannot become a stream, and closes."""

    def __init__(self, transport: asyncio.Transport, status: int, body: bytes, headers: bytes = b"") -> None:
        transport.set_protocol(self)
        reason = {400: "Bad Request", 426: "Upgrade Required"}.get(status, "Error")
        transport.write(
            b"HTTP/1.1 %d %b\r\nContent-Type: application/json\r\nContent-Length: %d\r\n%bConnection: close\r\n\r\n%b"
            % (status, reason.encode(), len(body), headers, body)
        )
        transport.close()
