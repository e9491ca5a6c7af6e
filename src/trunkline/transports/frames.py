"""The frames of a WebSocket straight on the socket's transport: no ASGI, no task, no queue in between.

state     what arrives         what goes out
OPEN      frames               everything
CLOSING   read and discarded   nothing more: our close frame was the last
CLOSED    nothing              nothing
"""

from __future__ import annotations

import asyncio
from enum import Enum
from typing import TYPE_CHECKING

from trunkline.core.address_limits import Counted
from trunkline.core.close_codes import CloseCode
from trunkline.transports.stream import LINGER_S
from trunkline.wire import websocket as ws

# What one connection may bring before others have their turn. A frame can be 6 bytes, so a whole read of 256 KiB could
# be 40,000 of them; and libuv goes on reading a socket that is never empty, unless it is paused.
READ_BYTES = 16 * 1024


class State(Enum):
    OPEN = "open"
    CLOSING = "closing"
    CLOSED = "closed"


SLOTS = ("_admission", "_backlog", "_corked", "_receiver", "_state", "_transport", "_unread")


class Frames(asyncio.Protocol):
    """One WebSocket, from after the handshake to the end of its TCP connection. Subclasses say what messages mean.

    Its attributes are the subclass's slots (`SLOTS`), so that a subclass may have another base with slots.

    Attributes:
        heard: Set to True by whatever arrives.
        full: While the socket takes no more.
        end_code: The close code with which it ended.
    """

    if not TYPE_CHECKING:  # which would look for them here, and not in the subclass
        __slots__ = ()

    heard: bool
    full: bool
    end_code: int
    _admission: Counted
    _backlog: int
    _corked: list[bytes] | None
    _receiver: ws.Receiver
    _state: State
    _transport: asyncio.Transport
    _unread: bytes

    def begin_frames(
        self, transport: asyncio.Transport, admission: Counted, bytes_max: int, *, inflates: bool = False
    ) -> None:
        """Begin with nothing read and nothing written.

        Args:
            bytes_max: The largest message that the peer may send.
            inflates: Whether its messages may be compressed.
        """
        self._transport = transport
        self._admission = admission
        self._receiver = ws.Receiver(bytes_max, inflates=inflates)
        self._state = State.OPEN
        self._backlog = 0
        self._unread = b""
        self._corked = None

    if TYPE_CHECKING:  # what the other base, or the subclass, does

        @property
        def is_held(self) -> bool:
            """Whether the peer must not be read."""

        def receive(self, text: bytes) -> None:
            """Take a text message."""

        def receive_binary(self, data: bytes) -> None:
            """Take a binary message."""

        def stop_reading(self) -> None:
            """Note that nothing goes out any more."""

        def writable(self) -> None:
            """Go on: the socket takes bytes again."""

        def closed(self) -> None:
            """Let go of everything."""

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

    # What the protocol on top calls.

    def hold(self) -> None:
        if not self._transport.is_closing():
            self._transport.pause_reading()

    def release(self) -> None:
        if not (self.is_held or self.full or self._unread or self._transport.is_closing()):
            self._transport.resume_reading()

    def abort(self) -> None:
        self._transport.abort()

    def end(self, code: int, reason: str) -> None:
        """Close, after what was sent."""
        self._close(code, reason)

    def send_text(self, *texts: bytes) -> None:
        """Answer with text messages."""
        if len(texts) == 1:
            self._write_reply(ws.frame(ws.Opcode.TEXT, texts[0]))
        else:
            self._write_reply(b"".join([ws.frame(ws.Opcode.TEXT, text) for text in texts]))

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
