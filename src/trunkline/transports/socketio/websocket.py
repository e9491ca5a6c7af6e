"""A WebSocket that carries a session of Engine.IO: on our own codec where it may have the socket, else by ASGI."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from starlette.types import Receive, Send

from trunkline.core.address_limits import Counted
from trunkline.core.close_codes import ABNORMAL, CloseCode
from trunkline.engine.tasks import cancelled
from trunkline.transports.asgi import Outbox
from trunkline.transports.asgi_writer import AsgiWriter
from trunkline.transports.frames import SLOTS, Frames, State
from trunkline.transports.socketio.session import TRANSPORT_ERROR, Carrier, Out, Session, Sessions
from trunkline.wire import engineio as wire
from trunkline.wire import websocket as ws

_OPEN = State.OPEN  # looked up for every delivery
_PROBED = f"{wire.PONG}{wire.PROBE}"


def frames_of(packets: Sequence[Out]) -> bytes:
    """Return packets as WebSocket frames."""
    return b"".join(
        [
            ws.frame(ws.Opcode.TEXT, packet.encode()) if isinstance(packet, str) else ws.frame(ws.Opcode.BINARY, packet)
            for packet in packets
        ]
    )


class Talk(Protocol):
    """Who takes what a client says on a WebSocket."""

    @property
    def is_held(self) -> bool:
        """Whether the client must not be read."""

    def receive_text(self, text: str) -> None:
        """Take a text message."""

    def receive_bytes(self, data: bytes) -> None:
        """Take a binary message."""

    def ended(self) -> None:
        """Note that the WebSocket has ended. Harmless if done twice."""

    def full_changed(self, *, full: bool) -> None:
        """Note that the socket takes no more, or takes bytes again."""


class Conversation:
    """What a client says on a WebSocket: it carries a session from the start, or is tried for one.

    Args:
        carrier: The WebSocket.
        session: The one that it carries, or is tried for.
        probing: Whether it is tried.
    """

    __slots__ = ("_carrier", "_timer", "probing", "session")

    def __init__(self, carrier: Carrier, session: Session, *, probing: bool) -> None:
        self._carrier = carrier
        self.session = session
        self.probing = probing
        self._timer: asyncio.TimerHandle | None = None

    @property
    def is_held(self) -> bool:
        return self.session.held and not self.probing

    def wait_for_upgrade(self, timeout_s: float) -> None:
        """Let the client have gone over within this time."""
        self._timer = asyncio.get_running_loop().call_later(timeout_s, self._too_late)

    def _too_late(self) -> None:
        if self.probing:
            self._carrier.leave()

    def receive_text(self, text: str) -> None:
        session = self.session
        try:
            packet = wire.decode(text)
        except wire.BadPacket:
            self._violated()
            return
        if not self.probing:
            session.heard()
            session.receive(packet)
        elif packet == (wire.PING, wire.PROBE) and session.probe(self._carrier):
            self._carrier.send([_PROBED])
        elif packet.type == wire.UPGRADE:
            self.probing = False  # what waits is sent now, and may fill the socket
            if session.upgrade(self._carrier):
                self._stop_timer()
            else:
                self.probing = True
                self._carrier.leave()
        else:
            self._carrier.leave()

    def receive_bytes(self, data: bytes) -> None:
        if self.probing:
            self._carrier.leave()
        else:
            self.session.heard()
            self.session.receive(wire.Packet(wire.MESSAGE, data))

    def _violated(self) -> None:
        if self.probing:
            self._carrier.leave()
        else:
            self.session.end(TRANSPORT_ERROR)

    def ended(self) -> None:
        self._stop_timer()
        self.session.carrier_ended(self._carrier)

    def full_changed(self, *, full: bool) -> None:
        if not self.probing and self.session.carrier is self._carrier:
            self.session.fill(full=full)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


class PacketSocket(Frames):
    """A WebSocket straight on the socket's transport.

    Args:
        admission: How its connection is counted.
    """

    __slots__ = ("_talk", "end_code", "full", "heard", *SLOTS)

    def __init__(self, transport: asyncio.Transport, admission: Counted, bytes_max: int) -> None:
        self.heard = True
        self.full = False
        self.end_code = ABNORMAL
        self._talk: Talk
        self.begin_frames(transport, admission, bytes_max)

    def take_over(self, begin: Begin) -> asyncio.BaseProtocol:
        """Go on with a WebSocket whose handshake is done."""
        self._transport.set_protocol(self)
        begin(self)
        return self

    def listen(self, talk: Talk) -> None:
        """Have this take what the client says."""
        self._talk = talk

    @property
    def is_held(self) -> bool:
        return self._talk.is_held

    def receive(self, text: bytes) -> None:
        self._talk.receive_text(text.decode())

    def receive_binary(self, data: bytes) -> None:
        if self._state is _OPEN:
            self._talk.receive_bytes(data)

    def stop_reading(self) -> None:
        self._talk.ended()

    def closed(self) -> None:
        self._talk.ended()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._talk.full_changed(full=True)

    def writable(self) -> None:
        self._talk.full_changed(full=False)

    # What the session calls.

    def send(self, packets: Sequence[Out]) -> None:
        self._write_reply(frames_of(packets))

    def write(self, frames: bytes) -> None:
        """Send frames that many are sent."""
        if self._state is _OPEN:
            self._transport.write(frames)

    def leave(self) -> None:
        self._close(CloseCode.NORMAL, "")

    def unsent(self) -> int:
        return self._transport.get_write_buffer_size()


class AsgiPacketSocket:
    """A WebSocket of an ASGI server."""

    def __init__(self, writer: AsgiWriter, receive: Receive, send: Send, bytes_max: int) -> None:
        self._receive = receive
        self._send = send
        self._bytes_max = bytes_max
        self._outbox = Outbox(writer, self)
        self._unsent = 0
        self._is_full = False
        self._readable = asyncio.Event()
        self._readable.set()
        self._talk: Talk

    async def run(self, begin: Begin) -> None:
        """Carry a session until either side ends, on a socket that was accepted."""
        begin(self)
        receiver = asyncio.ensure_future(self._receive_all())
        either: list[asyncio.Future[Any]] = [self._outbox.ended, receiver]
        try:
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._talk.ended()
            self._outbox.end()
            for error in [*await cancelled(receiver), self._outbox.ended.result()]:
                if error is not None and not isinstance(error, OSError | RuntimeError):  # a peer that went away
                    raise error

    def listen(self, talk: Talk) -> None:
        """Have this take what the client says."""
        self._talk = talk

    async def _receive_all(self) -> None:
        while True:
            await self._readable.wait()
            message = await self._receive()
            if message["type"] == "websocket.disconnect":
                return
            text, data = message.get("text"), message.get("bytes")
            if len(text if text is not None else data or b"") > self._bytes_max:
                self._outbox.close(CloseCode.TOO_BIG, "the message is too large")
                await asyncio.Future()  # the end of the outbox ends it
            elif text is not None:
                self._talk.receive_text(text)
            elif data is not None:
                self._talk.receive_bytes(data)

    # What the outbox calls.

    async def send_items(self, items: list[str | bytes]) -> None:
        for item in items:
            kind = "text" if isinstance(item, str) else "bytes"
            await self._send({"type": "websocket.send", kind: item})

    async def send_end(self, code: int, reason: str) -> None:
        await self._send({"type": "websocket.close", "code": code, "reason": reason})

    def sent(self) -> None:
        self._unsent = 0
        if self._is_full:
            self._is_full = False
            if not self._talk.is_held:
                self._readable.set()
            self._talk.full_changed(full=False)

    # What the session calls.

    def send(self, packets: Sequence[Out]) -> None:
        if self._outbox.closed is not None or not packets:
            return
        self._unsent += sum(map(len, packets))
        if self._outbox.put(*packets):
            self._is_full = True
            self._readable.clear()  # a peer that asks and does not read is not read from either
            self._talk.full_changed(full=True)

    def hold(self) -> None:
        self._readable.clear()

    def release(self) -> None:
        if not self._is_full:
            self._readable.set()

    def leave(self) -> None:
        self._outbox.close(CloseCode.NORMAL)

    def unsent(self) -> int:
        return self._unsent


Begin = Callable[["PacketSocket | AsgiPacketSocket"], None]
"""Called with a WebSocket whose handshake is done: gives it somebody who listens."""


def opening(sessions: Sessions, scope: Mapping[str, Any], key: str | None) -> Begin:
    """Return what opens a session that a WebSocket carries.

    Args:
        key: Under which the sessions of its client are counted.
    """

    def begin(carrier: PacketSocket | AsgiPacketSocket) -> None:
        def made(session: Session) -> None:
            carrier.listen(Conversation(carrier, session, probing=False))

        sessions.open(scope, carrier, made, key=key)

    return begin


def trying(sessions: Sessions, session: Session) -> Begin:
    """Return what lets a WebSocket be tried for a session."""

    def begin(carrier: PacketSocket | AsgiPacketSocket) -> None:
        conversation = Conversation(carrier, session, probing=True)
        carrier.listen(conversation)
        conversation.wait_for_upgrade(sessions.settings.upgrade_s)
        session.offer(carrier)

    return begin
