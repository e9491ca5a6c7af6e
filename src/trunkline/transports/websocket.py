"""The WebSocket of the rooms: commands in, decisions carried out, events out, straight on the socket's transport."""

from __future__ import annotations

import asyncio

from trunkline.core.address_limits import Counted
from trunkline.core.batch import Batch, Notification
from trunkline.core.close_codes import CloseCode
from trunkline.core.cursor import Cursor
from trunkline.transports.context import Context
from trunkline.transports.duplex import Duplex
from trunkline.transports.frames import SLOTS, Frames, State
from trunkline.wire import envelope
from trunkline.wire import websocket as ws
from trunkline.wire.batches import DEFLATED_TEXT_FRAMES, notification_frames, text_frames
from trunkline.wire.credentials import Credentials
from trunkline.wire.deflate import Agreement
from trunkline.wire.query import ReadQuery

_OPEN = State.OPEN  # looked up for every delivery


class WebSocketConnection(Frames, Duplex):
    """One WebSocket, from after the handshake to the end of its TCP connection."""

    __slots__ = ("_frames", *SLOTS)

    def __init__(
        self,
        context: Context,
        transport: asyncio.Transport,
        admission: Counted,
        agreement: Agreement | None = None,
    ) -> None:
        super().__init__(context, admission.key, admission.address)
        self.begin_frames(transport, admission, self.size_max, inflates=agreement is not None)
        self._frames = text_frames if agreement is None else DEFLATED_TEXT_FRAMES[agreement.bits]

    @property
    def size_max(self) -> int:
        """The largest message that the peer may send, in bytes."""
        return self.context.limits.message_bytes_max + self.context.limits.envelope_bytes_max

    def begin(self, response: bytes, brought: Credentials, query: ReadQuery) -> None:
        """Complete the handshake, and join what the URL named: one write, where each would be a system call.

        Args:
            response: The handshake's; empty if another server has sent it.
        """
        self._corked = [response]
        self.presence = query.presence
        self.greet(brought, query.joins)
        written, self._corked = self._corked, None
        self._transport.write(b"".join(written))

    def take_over(self, brought: Credentials, query: ReadQuery) -> asyncio.BaseProtocol:
        """Go on with a WebSocket whose handshake is done already."""
        self._transport.set_protocol(self)
        self.begin(b"", brought, query)
        return self

    def receive_binary(self, data: bytes) -> None:
        """Close: no command is binary."""
        self._close(CloseCode.UNSUPPORTED_DATA, "commands are JSON in text messages, not binary")

    # What the engine and the commands call.

    def deliver(self, cursor: Cursor, batch: Batch) -> None:
        if self._state is _OPEN:
            self._transport.write(batch.encoded(self._frames))

    def notify(self, notification: Notification) -> None:
        if self._state is State.OPEN:
            self._transport.write(notification.encoded(notification_frames))

    def send(self, *events: bytes) -> None:
        self.send_text(*events)

    def ping(self) -> None:
        if self._state is State.OPEN:
            self._backlog = self._transport.get_write_buffer_size()
            self._transport.write(ws.PING_FRAME)

    def expire(self) -> None:
        # A peer that takes what we sent before the ping is alive, however slowly its pong comes.
        if not self.full or self._transport.get_write_buffer_size() >= self._backlog:
            super().expire()

    def drain(self, retry_after_ms: int) -> None:
        if self._state is State.OPEN:
            self.send(envelope.closing(retry_after_ms))
            self._close(CloseCode.SERVICE_RESTART, "the server restarts")
