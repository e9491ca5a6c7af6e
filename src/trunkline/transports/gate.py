"""The gate: what all connections of one server share, and which requests become streams.

Only a complete and plain head is taken (wire/request.py); everything unusual is uvicorn's to judge. What is left to it
reaches the same rooms through ASGI, so a stream that is not recognised here is slower, never wrong.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Sequence
from http import HTTPStatus
from typing import NamedTuple, Protocol

from trunkline.core.attendance import NONE, Attendance, parse_attendance
from trunkline.core.door import Door
from trunkline.core.grant import Grant
from trunkline.core.message import check_room
from trunkline.core.position import NOW, Start, parse_joins, parse_start
from trunkline.core.rate import work
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
    """A connection that owes us something."""

    def expire(self) -> None:
        """The time is over."""


class Stalling(Protocol):
    """A connection whose client does not take its answer."""

    def cut_if_stalled(self, now: float, patience_s: float) -> None:
        """End it, if it has taken nothing for so long."""


class Gate:
    """What all connections of one server share."""

    def __init__(self, hub: Hub, *, echo: str | None = None, deflate: bool = False) -> None:
        self.hub = hub
        self._echo = echo
        self._deflate = deflate
        self._ours = tuple(b"GET " + path.encode() for path in (ROOMS, CONNECT, echo) if path)
        # Connections that owe us a whole request, by the tenth of the handshake time in which it began.
        self._young: deque[set[Expiring]] = deque([set()], maxlen=GENERATIONS + 1)
        self.stalled: set[Stalling] = set()

    async def expire_for_ever(self) -> None:
        """Cut those who do not finish a request in time, and those who do not take their answers."""
        while True:
            patience_s = self.hub.limits.handshake_s
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
        """Whether these first bytes can be the beginning of a stream's request."""
        return any(data.startswith(ours[: len(data)]) for ours in self._ours)

    def take(self, transport: asyncio.Transport, data: bytes, peer: str | None) -> asyncio.BaseProtocol | None:
        """The protocol that takes this connection over, having answered; None if it is not for us.

        A WebSocket has also been given what stands behind the head in *data*.

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
            head.refuse_repeats()
            attendance = attendance_of(head, self.hub)
            access.origins.check(head, changes=attendance.is_visible)
            take = _Take(transport, head, client, attendance)
            return self._take_websocket(take, data[end + 4 :]) if head.is_websocket else self._take_sse(take)
        except RequestError as error:
            access.refusals[error.code] += 1
            return Refused(transport, access.door, client, refusal(error, cors_headers(access.origins, head)))

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
        self._charge(take, joins)
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
            connection.begin(response, hub.access.credentials(head, take.client), joins, take.attendance)
        if rest:
            connection.data_received(rest)
        return connection

    def _charge(self, take: _Take, joins: list[tuple[str, Start]]) -> None:
        """Count the rooms, too: each is work before the client is asked who it is."""
        pieces = work(rooms=len(joins)) - 1
        if pieces:
            self.hub.access.knock(take.client, pieces)

    def _take_sse(self, take: _Take) -> asyncio.BaseProtocol:
        hub, access = self.hub, self.hub.access
        joins = starts_of(take.head, hub)
        if not joins:
            raise RequestError("room_required", "name the rooms: /connect?room=a&room=b")
        self._charge(take, joins)
        brought = access.credentials(take.head, take.client)
        grant = access.grant_now(brought)
        stream = SseConnection(hub, take.transport, take.client, chunked=take.head.version != "1.0")
        stream.attendance = take.attendance
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
    attendance: Attendance


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


def attendance_of(head: RequestHead, hub: Hub) -> Attendance:
    """How a stream's URL says that it takes part.

    Raises:
        RequestError: `bad_command` or `too_many_rooms`.
    """
    return parse_attendance(head.query, hub.limits.rooms_per_connection_max) if head.query else NONE


def starts_of(head: RequestHead, hub: Hub) -> list[tuple[str, Start]]:
    """The rooms that a stream's URL names, and where it wants to begin in each.

    Raises:
        RequestError: A room or a position is not valid, or there are too many rooms.
    """
    last_event_id = head.headers.get(b"last-event-id", b"").decode("latin-1") if head.is_sse else ""
    since = last_event_id or head.one("since")
    last = None if last_event_id else head.one("last")
    if head.path != CONNECT:
        room = head.path.removeprefix(ROOMS)
        if "/" in room:
            raise RequestError("not_found", "there is nothing at that path")
        return [(check_room(room), parse_start(since, last, NOW))]
    named = [value for key, value in head.query if key == "room"]
    return parse_joins(named, since, last, hub.limits.rooms_per_connection_max, NOW)


class Refused(asyncio.Protocol):
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
        b"X-Content-Type-Options: nosniff\r\n%bConnection: close\r\n\r\n%b"
        % (error.status, HTTPStatus(error.status).phrase.encode(), len(body), b"".join(lines), body)
    )


def peer_of(transport: asyncio.BaseTransport) -> str:
    """The address at the other end of a connection."""
    peer = transport.get_extra_info("peername")
    return peer[0] if isinstance(peer, tuple) else ""
