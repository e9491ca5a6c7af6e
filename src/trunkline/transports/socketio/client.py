"""One client of Socket.IO: what it says over its session, in its order, and the sockets that it has."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Protocol

from trunkline.core.rate import Bucket, work
from trunkline.transports.context import Context
from trunkline.transports.socketio.session import CLIENT_DISCONNECT, Session, Sessions
from trunkline.transports.socketio.socket import Socket
from trunkline.wire import socketio as wire
from trunkline.wire.socketio import Packet, Type

ATTACHMENTS_MAX = 256  # of one packet
HANDLERS_MAX = 100  # of one client at once: what it says beyond that is parked
PARKED_MAX = 200  # packets of one client: beyond that, or so many bytes, the client is not read
PARKED_BYTES_MAX = 256 * 1024

_handled: ContextVar[tuple[Client, asyncio.Task[Any] | None] | None] = ContextVar("handled", default=None)
"""Whose event the running task handles, and the task that does."""


@contextmanager
def in_turn() -> Iterator[None]:
    """Do something with rooms in the turn of the client whose handler does it.

    So `join` and then `say`, without waiting for an answer in between, are done in that order, although handlers run
    side by side. A handler that waits for something else holds up no other.
    """
    found = _handled.get()
    if found is None or found[1] is not asyncio.current_task():
        yield
        return
    found[0].begin_operation()
    try:
        yield
    finally:
        found[0].end_operation()


class Host(Protocol):
    """Where a client is (`edge.Edge`).

    Attributes:
        sessions: Those of all clients.
    """

    context: Context
    sessions: Sessions

    @property
    def async_handlers(self) -> bool:
        """Whether events of one client are handled side by side."""

    async def connect(self, client: Client, namespace: str, auth: Any) -> None:
        """Let a client into a namespace, if the application does."""

    async def handle(self, socket: Socket, event: str, arguments: Sequence[Any], number: int | None) -> None:
        """Have an event heard, and its client told of the answer, if it wants one."""


class Client:
    """What one session says (`session.Owner`).

    Packets are taken in their order. One that has to wait, for the application to let a client in, parks those behind
    it; acknowledgements are taken at once.

    Attributes:
        sockets: By their namespaces.
        address: The client's.
        key: Under which the limits of its address are counted.
    """

    __slots__ = (
        "_decoder", "_edge", "_in_flight", "_parked", "_parked_bytes", "_rate", "_waits", "address", "end_reason",
        "is_connecting", "key", "session", "sockets",
    )  # fmt: skip

    def __init__(self, edge: Host, session: Session) -> None:
        limits = edge.context.limits
        self._edge = edge
        self.session = session
        self.sockets: dict[str, Socket] = {}
        self.address = (session.request.get("client") or ("", 0))[0]
        self.key = edge.context.access.addresses.key(self.address)
        self.end_reason: str | None = None
        self.is_connecting = False
        self._decoder = wire.Decoder(edge.sessions.settings.bytes_max, ATTACHMENTS_MAX, limits.json_depth_max)
        self._parked: list[Packet] | None = None
        self._in_flight = 0
        self._parked_bytes = 0
        self._waits = 0
        burst = limits.commands_per_connection_burst
        self._rate = None if self.key is None else Bucket(burst, edge.context.clock.monotonic())

    # What the session calls.

    def received(self, data: str | bytes) -> None:
        packet = self._decoder.feed(data)
        if packet is None:
            return
        wait_s = 0.0 if self._rate is None else self._take_rate(self._rate, work(len(data)))
        if packet.type is Type.ACK:  # which a handler that is waited for may wait for
            self._acknowledged(packet)
        elif self._parked is not None:
            self._parked.append(packet)
            self._parked_bytes += len(data)
            self._update_hold()
        else:
            self._take(packet)
        if wait_s:
            self._wait_for(asyncio.sleep(wait_s))  # the protocol has no word for it: it is slowed down

    def full_changed(self) -> None:
        for socket in self.sockets.values():
            if not socket.is_connected:
                continue
            if self.session.full:
                socket.full = True
            else:
                socket.writable()

    def ended(self, reason: str) -> None:
        self.end_reason = reason
        self._parked = None
        for socket in list(self.sockets.values()):
            if socket.is_connected:
                socket.end(reason)

    # Packets.

    def _take_rate(self, rate: Bucket, cost: float) -> float:
        limits, now = self._edge.context.limits, self._edge.context.clock.monotonic()
        return rate.take(limits.commands_per_connection_per_s, limits.commands_per_connection_burst, now, cost)

    def _acknowledged(self, packet: Packet) -> None:
        socket = self.sockets.get(packet.namespace)
        if socket is not None and packet.id is not None:
            socket.acknowledged(packet.id, packet.data)

    def _take(self, packet: Packet) -> None:
        if packet.type is Type.CONNECT:
            self._wait_for(self._connect(packet))
            return
        socket = self.sockets.get(packet.namespace)
        if socket is None or not socket.is_connected:
            return  # it has left, and did not know yet when it sent this
        if packet.type is Type.EVENT:
            self._event(socket, packet)
        elif packet.type is Type.DISCONNECT:
            socket.end(CLIENT_DISCONNECT)

    async def _connect(self, packet: Packet) -> None:
        self.is_connecting = True
        try:
            await self._edge.connect(self, packet.namespace, packet.data)
        finally:
            self.is_connecting = False

    def _event(self, socket: Socket, packet: Packet) -> None:
        handling = self._edge.handle(socket, str(packet.data[0]), packet.data[1:], packet.id)
        if self._edge.async_handlers:
            self._in_flight += 1
            self.begin_operation()
            self._edge.context.engine.tasks.spawn(self._counted(handling))
            asyncio.get_running_loop().call_soon(self.end_operation)  # when it has come to where it waits
        else:
            self._wait_for(handling)

    async def _counted(self, handling: Coroutine[Any, Any, None]) -> None:
        _handled.set((self, asyncio.current_task()))
        try:
            await handling
        finally:
            self._in_flight -= 1
            if self._in_flight < HANDLERS_MAX and not self._waits and self._parked is not None:
                self._go_on()

    # Waiting.

    def begin_operation(self) -> None:
        """Let what comes wait: a handler does something with rooms, and the next one is to find it done."""
        self._waits += 1
        if self._parked is None:
            self._parked = []

    def end_operation(self) -> None:
        """Note that it is done."""
        self._waits -= 1
        if not self._waits and self._in_flight < HANDLERS_MAX and self._parked is not None:
            self._go_on()

    def _wait_for(self, what: Coroutine[Any, Any, Any]) -> None:
        """Take nothing more until that, and whatever else is waited for, is done."""
        self._waits += 1
        if self._parked is None:
            self._parked = []
        self._update_hold()
        self._edge.context.engine.tasks.spawn(self._go_on_after(what))

    async def _go_on_after(self, what: Coroutine[Any, Any, Any]) -> None:
        try:
            await what
        finally:
            self._waits -= 1
            if not self._waits and self._in_flight < HANDLERS_MAX:
                self._go_on()

    def _go_on(self) -> None:
        parked, self._parked, self._parked_bytes = self._parked or [], None, 0
        for n, packet in enumerate(parked):
            if self.end_reason is not None:
                return
            self._take(packet)
            if self._parked is not None:  # that one is waited for
                self._parked = [*parked[n + 1 :], *self._parked]
                break
        self._update_hold()

    def _update_hold(self) -> None:
        held = self._parked is not None and (len(self._parked) >= PARKED_MAX or self._parked_bytes >= PARKED_BYTES_MAX)
        if self.end_reason is None and held is not self.session.held:
            (self.session.hold if held else self.session.release)()

    def refuse(self, namespace: str, data: dict[str, Any]) -> None:
        """Tell the client that it may not connect to a namespace."""
        self.session.message(*wire.encode(Packet(Type.CONNECT_ERROR, namespace, None, data)))
