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

from trunkline.core.address_limits import Admission
from trunkline.core.grant import Grant
from trunkline.errors import RequestError, TrunklineError
from trunkline.transports import refusals
from trunkline.transports.admission import admit_reading
from trunkline.transports.context import Context
from trunkline.transports.echo import EchoConnection
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


class Gate:
    """What all connections of one server share."""

    def __init__(self, context: Context, *, echo: str | None = None, deflate: bool = False) -> None:
        self.context = context
        self._echo = echo
        self._deflate = deflate
        self._ours = tuple(b"GET " + path.encode() for path in (ROOMS, CONNECT, echo) if path)
        # Connections that owe us a whole request, by the tenth of the handshake time in which it began.
        self._young: deque[set[Expiring]] = deque([set()], maxlen=GENERATIONS + 1)
        self.stalled: set[Stalling] = set()
        self._looked_at: tuple[bytes, tuple[str, RequestHead] | None] = (b"", None)
        self._lines: tuple[list[tuple[bytes, bytes]], bytes] = ([], b"")

    async def expire_for_ever(self) -> None:
        """Cut connections whose clients do not finish a request in time, or do not take their answers."""
        while True:
            patience_s = self.context.limits.handshake_s
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

        The last one is remembered, because a request that is no stream is looked at again.
        """
        if self._looked_at[0] != head:
            self._looked_at = (head, parse_request(head))
        return self._looked_at[1]

    def lines_of(self, headers: list[tuple[bytes, bytes]]) -> bytes:
        """Return header fields as lines. The server makes a new list of those that all answers have once a second."""
        if self._lines[0] is not headers:
            self._lines = (headers, b"".join(b"%b: %b\r\n" % field for field in headers))
        return self._lines[1]

    def key_of(self, transport: asyncio.Transport, head: RequestHead, admission: Admission) -> str | None:
        """Return the key under which a request is counted: of the client that a proxy of ours names, if it does."""
        forwarded = head.headers.get(b"x-forwarded-for")
        if admission.key is not None or forwarded is None:
            return admission.key
        return self.context.access.addresses.key(peer_of(transport), forwarded.decode("latin-1"))

    def take(self, transport: asyncio.Transport, data: bytes, admission: Admission) -> asyncio.BaseProtocol | None:
        """Return the protocol that takes a connection over, having answered; None if the request is not for us.

        A WebSocket has also been given the bytes behind the head in *data*.
        """
        # A path may be written with % where it need not be; whatever it is called, it is the same room.
        if not (data.startswith(self._ours) or (data.startswith(b"GET /") and b"%" in data[: data.find(b"\r\n")])):
            return None
        end = data.find(b"\r\n\r\n")
        if end < 0 or end > self.context.limits.head_bytes_max:
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
        try:
            self._count_client(transport, head, admission)
            if admission.key is not None:
                self.context.access.check_request_rate(admission.key)
            room = None if is_echo else _room_of(head.path)
            query = admit_reading(self.context, head, admission.key, room, kind, is_counted=True)
            if kind == "sse":
                return self._begin_sse(transport, head, query, admission)
            return self._begin_websocket(transport, head, query, admission, data[end + 4 :])
        except RequestError as error:
            headers = cors_headers(self.context.access.origins, head)
            return Refused(self, transport, admission, error, headers)

    def _count_client(self, transport: asyncio.Transport, head: RequestHead, admission: Admission) -> None:
        """Count a stream under its client's address, if a proxy of ours says which that is."""
        admission.move(self.key_of(transport, head, admission), self.context.engine.clock.monotonic())

    def _begin_websocket(
        self, transport: asyncio.Transport, head: RequestHead, query: ReadQuery, admission: Admission, rest: bytes
    ) -> asyncio.BaseProtocol:
        agreement = agree(head.headers.get(b"sec-websocket-extensions", b"")) if self._deflate else None
        try:
            response = ws.accept(head, agreement)
        except ws.BadHandshake as error:
            raise _NoHandshake(str(error), error.status, error.headers) from None
        connection: WebSocketConnection
        if head.path == self._echo:
            connection = echo = EchoConnection(self.context, transport, admission, agreement)
            transport.set_protocol(echo)
            echo.begin_echo(response, agreement)
        else:
            connection = WebSocketConnection(self.context, transport, admission, agreement)
            transport.set_protocol(connection)
            access = self.context.access
            brought = access.nothing if access.is_open else access.credentials(head, admission.key)
            connection.begin(response, brought, query)
        if rest:
            connection.data_received(rest)
        return connection

    def _begin_sse(
        self, transport: asyncio.Transport, head: RequestHead, query: ReadQuery, admission: Admission
    ) -> asyncio.BaseProtocol:
        access, engine = self.context.access, self.context.engine
        brought = access.nothing if access.is_open else access.credentials(head, admission.key)
        grant = access.grant_now(brought)
        headers = cors_headers(access.origins, head)
        stream = SseConnection(self.context, transport, admission, chunked=head.version != "1.0")
        stream.presence = query.presence
        rooms = [room for name in query.rooms if (room := engine.rooms.get_current(name)) is not None]
        if grant is not None and len(rooms) == len(query.joins) and access.permits_all_now(grant, query.needs()):
            stream.admit(grant)
            transport.set_protocol(stream)
            stream.respond(headers)
            stream.begin(query, rooms)
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
        stream.refuse(refusals.as_response(access, error, headers))
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
        admission: Admission,
        error: RequestError,
        headers: Sequence[tuple[str, str]] = (),
    ) -> None:
        self._admission = admission
        more_lines = error.header_lines if isinstance(error, _NoHandshake) else b""
        transport.set_protocol(self)
        transport.write(refusals.as_response(gate.context.access, error, headers, more_lines))
        transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self._admission.release()


def peer_of(transport: asyncio.BaseTransport) -> str:
    """Return the address at the other end of a connection."""
    peer = transport.get_extra_info("peername")
    return peer[0] if isinstance(peer, tuple) else ""
