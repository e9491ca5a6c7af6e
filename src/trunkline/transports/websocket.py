"""WebSocket straight on the socket's transport: no ASGI, no task, no queue in between.

state     what arrives         what goes out
OPEN      frames               everything
CLOSING   read and discarded   nothing more: our close frame was the last
CLOSED    nothing              nothing
"""

from __future__ import annotations

import asyncio
from enum import Enum

from trunkline.core.address_limits import Counted
from trunkline.core.batch import Batch, Notification
from trunkline.core.close_codes import CloseCode
from trunkline.core.cursor import Cursor
from trunkline.transports.context import Context
from trunkline.transports.duplex import Duplex
from trunkline.transports.stream import LINGER_S
from trunkline.wire import envelope
from trunkline.wire import websocket as ws
from trunkline.wire.batches import DEFLATED_TEXT_FRAMES, notification_frames, text_frames
from trunkline.wire.credentials import Credentials
from trunkline.wire.deflate import Agreement
from trunkline.wire.query import ReadQuery

# What one connection may bring before others have their turn. A frame can be 6 bytes, so a whole read of 256 KiB could
# be 40,000 of them; and libuv goes on reading a socket that is never empty, unless it is paused.
READ_BYTES = 16 * 1024


class State(Enum):
    OPEN = "open"
    CLOSING = "closing"
    CLOSED = "closed"


_OPEN = State.OPEN  # looked up for every delivery


class WebSocketConnection(Duplex, asyncio.Protocol):
    """One WebSocket, from after the handshake to the end of its TCP connection."""

    __slots__ = ("_admission", "_backlog", "_corked", "_frames", "_receiver", "_state", "_transport", "_unread")

    def __init__(
        self,
        context: Context,
        transport: asyncio.Transport,
        admission: Counted,
        agreement: Agreement | None = None,
    ) -> None:
        super().__init__(context, admission.key, admission.address)
        self._transport = transport
        self._admission = admission
        self._receiver = ws.Receiver(self.size_max, inflates=agreement is not None)
        self._frames = text_frames if agreement is None else DEFLATED_TEXT_FRAMES[agreement.bits]
        self._state = State.OPEN
        self._backlog = 0
        self._unread = b""
        self._corked: list[bytes] | None = None

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

    # What the transport calls.

    def data_received(self, data: bytes) -> None:
        self.heard = True
        text = self._receiver.whole_text(data)
        if text is not None:
            if self._state is State.OPEN:
                self.receive(text)
        elif len(data) > READ_BYTES:
            self._unread = data
            self.hold()
            self._read_on()
        else:
            self._take(data)

    def _read_on(self) -> None:
        """Take a piece of what was read, then let the event loop run."""
        data = self._unread
        self._unread = data[READ_BYTES:]
        self._take(data[:READ_BYTES])
        if self._state is State.CLOSED:
            self._unread = b""
        elif self._unread:
            asyncio.get_running_loop().call_soon(self._read_on)
        elif self._state is State.CLOSING:
            self._transport.resume_reading()
        else:
            self.release()

    def _take(self, data: bytes) -> None:
        for event in self._receiver.feed(data):
            if type(event) is ws.Text:
                if self._state is State.OPEN:
                    self.receive(event.data)
            elif type(event) is ws.Binary:
                self.receive_binary(event.data)
            elif type(event) is ws.Ping:
                self._write_reply(ws.frame(ws.Opcode.PONG, event.data))
            elif type(event) is ws.Failed:
                self._close(event.code, event.reason)
            elif type(event) is ws.Closed:
                self._answer_close(event)

    def receive_binary(self, data: bytes) -> None:
        """Close: no command is binary."""
        self._close(CloseCode.UNSUPPORTED_DATA, "commands are JSON in text messages, not binary")

    def eof_received(self) -> None:
        self._transport.close()

    def pause_writing(self) -> None:
        self.full = True

    def resume_writing(self) -> None:
        self.heard = True
        self.full = False
        if self._state is State.OPEN:
            self.release()
            self.writable()

    def connection_lost(self, exc: Exception | None) -> None:
        self._state = State.CLOSED
        self.closed()
        self._admission.release()

    # What the engine and the commands call.

    def deliver(self, cursor: Cursor, batch: Batch) -> None:
        if self._state is _OPEN:
            self._transport.write(batch.encoded(self._frames))

    def notify(self, notification: Notification) -> None:
        if self._state is State.OPEN:
            self._transport.write(notification.encoded(notification_frames))

    def send(self, *events: bytes) -> None:
        if len(events) == 1:
            self._write_reply(ws.frame(ws.Opcode.TEXT, events[0]))
        else:
            self._write_reply(b"".join([ws.frame(ws.Opcode.TEXT, event) for event in events]))

    def hold(self) -> None:
        if not self._transport.is_closing():
            self._transport.pause_reading()

    def release(self) -> None:
        if not (self.is_held or self.full or self._unread or self._transport.is_closing()):
            self._transport.resume_reading()

    def ping(self) -> None:
        if self._state is State.OPEN:
            self._backlog = self._transport.get_write_buffer_size()
            self._transport.write(ws.PING_FRAME)

    def expire(self) -> None:
        # A peer that takes what we sent before the ping is alive, however slowly its pong comes.
        if not self.full or self._transport.get_write_buffer_size() >= self._backlog:
            super().expire()

    def abort(self) -> None:
        self._transport.abort()

    def drain(self, retry_after_ms: int) -> None:
        if self._state is State.OPEN:
            self.send(envelope.closing(retry_after_ms))
            self._close(CloseCode.SERVICE_RESTART, "the server restarts")

    def end(self, code: int, reason: str) -> None:
        self._close(code, reason)

    def _write_reply(self, frame: bytes) -> None:
        """Answer the peer. One that asks and does not read is not read from either, so answers cannot pile up."""
        if self._corked is not None:
            self._corked.append(frame)
        elif self._state is State.OPEN:
            self._transport.write(frame)
            if self.full:
                self.hold()

    def _close(self, code: int, reason: str) -> None:
        """Send a close frame, and wait a moment for the peer to go."""
        if self._state is not State.OPEN:
            return
        if self._corked is not None:
            self._corked.append(ws.close_frame(code, reason))
        else:
            self._transport.write(ws.close_frame(code, reason))
        self._state = State.CLOSING
        self.end_code = code
        self.stop_reading()
        if not self._unread:  # else it is read on when that is taken
            self._transport.resume_reading()
        # If we just closed, the kernel would answer what the peer is still sending with a reset, and a reset can
        # overtake the close frame: the peer would never learn why.
        asyncio.get_running_loop().call_later(LINGER_S, self._transport.abort)
        if self._receiver.done and self._transport.can_write_eof():
            self._transport.write_eof()

    def _answer_close(self, closed: ws.Closed) -> None:
        """Answer the peer's close (RFC 6455 section 5.5.1): echo its code, then end the TCP connection."""
        if self._state is State.OPEN:
            code = CloseCode.NORMAL if closed.code == 1005 else closed.code
            self._transport.write(ws.close_frame(code))
            self._state = State.CLOSING
            self.end_code = closed.code
            self.stop_reading()
        self._transport.close()
