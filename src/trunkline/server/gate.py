"""The gate: what all connections of one server share, and which requests become streams.

Only a complete and plain head is taken (wire/request_head.py); everything unusual is left to uvicorn's parser. What is
left to it reaches the same rooms through ASGI, so a stream that is not recognised here is slower, never wrong.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Sequence
from typing import Protocol

from trunkline.access.policy import Access
from trunkline.core.address_limits import Admission, Counted
from trunkline.core.grant import Grant
from trunkline.core.limits import Limits
from trunkline.engine.clock import Clock
from trunkline.errors import RequestError, TrunklineError
from trunkline.transports import refusals
from trunkline.transports.admission import admit_reading
from trunkline.transports.context import Context
from trunkline.transports.echo import EchoConnection
from trunkline.transports.handover import admit_handed
from trunkline.transports.sse import SseConnection
from trunkline.transports.websocket import WebSocketConnection
from trunkline.wire import websocket as ws
from trunkline.wire.credentials import Credentials
from trunkline.wire.deflate import agree
from trunkline.wire.origin import cors_headers
from trunkline.wire.query import Kind, ReadQuery
from trunkline.wire.request_head import RequestHead, parse_request

ROOMS = "/rooms/"
CONNECT = "/connect"
GENERATIONS = 10


class Expiring(Protocol):
    """A connection whose client owes a request."""

    def expire(self) -> None:
        """Note that the time is over."""


class Stalling(Protocol):
    """A connection whose client does not take its answer."""

    def cut_if_stalled(self, now: float, patience_s: float) -> None:
        """End it, if it has taken nothing for so long."""


class Front(Protocol):
    """What holds for all connections of a server, whatever they ask for."""

    limits: Limits
    access: Access

    @property
    def clock(self) -> Clock:
        """The clock."""


class Gate:
    """What all connections of one server share.

    Args:
        front: What holds for all connections; None if that is what holds for the rooms.
        rooms: The rooms whose requests are answered here; None if all belongs to an application.
        path: Under which path the rooms are.
        echo: A path that echoes.
        deflate: Whether WebSocket messages may be compressed.
        hands_over: Whether streams of an application may take their sockets over.
    """

    def __init__(
        self,
        rooms: Context | None,
        front: Front | None = None,
        *,
        path: str = "",
        echo: str | None = None,
        deflate: bool = False,
        hands_over: bool = False,
    ) -> None:
        self._front = front
        self.rooms: Context | None = None
        self._path = path
        self._echo = echo
        self.deflates = deflate
        self.hands_over = hands_over
        self._ours: tuple[bytes, ...] = ()
        if rooms is not None:
            self.answer_for(rooms)
        # Connections that owe us a whole request, by the tenth of the handshake time in which it began.
        self._young: deque[set[Expiring]] = deque([set()], maxlen=GENERATIONS + 1)
        self.stalled: set[Stalling] = set()
        self._looked_at: tuple[bytes, tuple[str, RequestHead] | None] = (b"", None)
        self._lines: tuple[list[tuple[bytes, bytes]], bytes] = ([], b"")

    @property
    def front(self) -> Front:
        """What holds for all connections."""
        front = self._front or self.rooms
        assert front is not None
        return front

    def answer_for(self, rooms: Context) -> None:
        """Answer requests for rooms here from now on, if that was not done from the beginning."""
        self.rooms = rooms
        ours = (f"{self._path}{ROOMS}", f"{self._path}{CONNECT}", self._echo)
        self._ours = tuple(b"GET " + begin.encode() for begin in ours if begin)

    @property
    def has_application(self) -> bool:
        """Whether there is an application that is not ours: how long its requests take is for it to say."""
        return self._front is not None

    async def expire_for_ever(self) -> None:
        """Cut connections whose clients do not finish a request in time, or do not take their answers."""
        while True:
            patience_s = self.front.limits.handshake_s
            await asyncio.sleep(patience_s / GENERATIONS)
            now = time.monotonic()
            for connection in list(self.stalled):
                connection.cut_if_stalled(now, patience_s)
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
        """Return whether these first bytes can be the beginning of a stream's request."""
        return any(data.startswith(ours[: len(data)]) for ours in self._ours)

    def parse(self, head: bytes) -> tuple[str, RequestHead] | None:
        """Return the method and the head of a request, without its final empty line; None if it is not a plain one.

        Its path is the one below the rooms' own. The last one is remembered, because a request that is no stream is
        looked at again.
        """
        if self._looked_at[0] != head:
            parsed = parse_request(head)
            if parsed is not None and self._path:
                method, found = parsed
                below = found.path.removeprefix(self._path)
                parsed = (method, found._replace(path=below)) if below != found.path else None
            self._looked_at = (head, parsed)
        return self._looked_at[1]

    def lines_of(self, headers: list[tuple[bytes, bytes]]) -> bytes:
        """Return header fields as lines. The server makes a new list of those that all answers have once a second."""
        if self._lines[0] is not headers:
            self._lines = (headers, b"".join(b"%b: %b\r\n" % field for field in headers))
        return self._lines[1]

    def key_of(self, rooms: Context, transport: asyncio.Transport, head: RequestHead, counted: Counted) -> str | None:
        """Return the key under which a request is counted: of the client that a proxy of ours names, if it does."""
        forwarded = head.headers.get(b"x-forwarded-for")
        if self._front is None and (counted.key is not None or forwarded is None):
            return counted.key
        return rooms.access.addresses.key(peer_of(transport), (forwarded or b"").decode("latin-1"))

    def take(self, transport: asyncio.Transport, data: bytes, admission: Admission) -> asyncio.BaseProtocol | None:
        """Return the protocol that takes a connection over, having answered; None if the request is not for us.

        A WebSocket has also been given the bytes behind the head in *data*.
        """
        # A path may be written with % where it need not be; whatever it is called, it is the same room.
        if not (data.startswith(self._ours) or (data.startswith(b"GET /") and b"%" in data[: data.find(b"\r\n")])):
            return None
        end = data.find(b"\r\n\r\n")
        rooms = self.rooms
        if rooms is None or end < 0 or end > self.front.limits.head_bytes_max:
            return None
        parsed = self.parse(data[:end])
        if parsed is None or parsed[0] != "GET" or parsed[1].has_body:
            return None
        head = parsed[1]
        is_echo = head.path == self._echo
        if not (is_echo or head.path == CONNECT or head.path.startswith(ROOMS)):
            return None
        kind: Kind = "websocket" if head.is_websocket else "sse"
        if kind == "sse" and (is_echo or not head.is_sse):
            return None
        counted: Counted = admission
        try:
            counted = self._count_client(rooms, transport, head, admission)
            key = counted.key
            if key is not None:
                rooms.access.check_request_rate(key)
            room = None if is_echo else _room_of(head.path)
            query = admit_reading(rooms, head, key, room, kind, is_counted=True)
            if kind == "sse":
                return self._begin_sse(rooms, transport, head, query, counted)
            return self._begin_websocket(rooms, transport, head, query, counted, data[end + 4 :])
        except RequestError as error:
            return Refused(self, transport, counted, error, cors_headers(rooms.access.origins, head))

    def _count_client(
        self, rooms: Context, transport: asyncio.Transport, head: RequestHead, admission: Admission
    ) -> Counted:
        """Count a stream under its client's address, if a proxy of ours says which that is."""
        key, now = self.key_of(rooms, transport, head, admission), rooms.clock.monotonic()
        if self._front is None:
            admission.move(key, now)
            return admission
        return admit_handed(rooms, key, admission)

    def _begin_websocket(
        self,
        rooms: Context,
        transport: asyncio.Transport,
        head: RequestHead,
        query: ReadQuery,
        admission: Counted,
        rest: bytes,
    ) -> asyncio.BaseProtocol:
        agreement = agree(head.headers.get(b"sec-websocket-extensions", b"")) if self.deflates else None
        try:
            response = ws.accept(head, agreement)
        except ws.BadHandshake as error:
            raise _NoHandshake(str(error), error.status, error.headers) from None
        connection: WebSocketConnection
        if head.path == self._echo:
            connection = echo = EchoConnection(rooms, transport, admission, agreement)
            transport.set_protocol(echo)
            echo.begin_echo(response, agreement)
        else:
            connection = WebSocketConnection(rooms, transport, admission, agreement)
            transport.set_protocol(connection)
            connection.begin(response, rooms.access.credentials(head, admission.key), query)
        if rest:
            connection.data_received(rest)
        return connection

    def _begin_sse(
        self, rooms: Context, transport: asyncio.Transport, head: RequestHead, query: ReadQuery, admission: Counted
    ) -> asyncio.BaseProtocol:
        access, engine = rooms.access, rooms.engine
        brought = access.credentials(head, admission.key)
        grant = access.grant_now(brought)
        headers = cors_headers(access.origins, head)
        stream = SseConnection(rooms, transport, admission, chunked=head.version != "1.0")
        stream.presence = query.presence
        opened = [room for name in query.rooms if (room := engine.rooms.get_current(name)) is not None]
        if grant is not None and len(opened) == len(query.joins) and access.permits_all_now(grant, query.needs()):
            stream.admit(grant)
            transport.set_protocol(stream)
            stream.respond(headers)
            stream.begin(query, opened)
        else:
            transport.set_protocol(stream)
            engine.tasks.spawn(_begin_when_permitted(stream, grant, brought, query, headers))
        return stream


class _NoHandshake(RequestError):
    """A request that wants to be a WebSocket, and has no valid handshake."""

    def __init__(self, message: str, status: int, header_lines: bytes) -> None:
        super().__init__("bad_command", message)
        self.status = status
        self.header_lines = header_lines


async def _begin_when_permitted(
    stream: SseConnection,
    grant: Grant | None,
    brought: Credentials,
    query: ReadQuery,
    headers: list[tuple[str, str]],
) -> None:
    access = stream.context.access
    try:
        if grant is None:
            grant = await access.authenticate(brought)
        for action, room in query.needs():
            await access.check(grant, action, room)
        if stream.is_closing():
            return
        stream.admit(grant)
        stream.respond(headers)
    except TrunklineError as error:
        stream.refuse(refusals.as_response(access, error, headers, who=stream.who))
    else:
        await stream.begin_when_open(query)


def _room_of(path: str) -> str | None:
    """Return the room that the path of a stream names; None on `/connect`.

    Raises:
        RequestError: `not_found`.
    """
    if path == CONNECT:
        return None
    room = path.removeprefix(ROOMS)
    if "/" in room:
        raise RequestError("not_found", "there is nothing at that path")
    return room


class Refused(asyncio.Protocol):
    """Answers a request with an error, and waits for the end of its connection."""

    def __init__(
        self,
        gate: Gate,
        transport: asyncio.Transport,
        admission: Counted,
        error: RequestError,
        headers: Sequence[tuple[str, str]] = (),
    ) -> None:
        self._admission = admission
        more_lines = error.header_lines if isinstance(error, _NoHandshake) else b""
        transport.set_protocol(self)
        transport.write(refusals.as_response(gate.front.access, error, headers, more_lines, admission.address))
        transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self._admission.release()


def peer_of(transport: asyncio.BaseTransport) -> str:
    """Return the address at the other end of a connection."""
    peer = transport.get_extra_info("peername")
    return peer[0] if isinstance(peer, tuple) else ""
