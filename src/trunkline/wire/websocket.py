"""The WebSocket protocol, RFC 6455, without I/O. Compression, RFC 7692, is wire/deflate.py.

A frame (section 5.2), as it stands in the bytes:

     0               1               2 …
    +-+-+-+-+-------+-+-------------+-------------------------------+-----------------+--------------+
    |F|R|R|R| opcode|M| length: 7   | extended length: 0, 2 or 8    | mask, if M: 4   | payload      |
    +-+-+-+-+-------+-+-------------+-------------------------------+-----------------+--------------+

`Receiver.feed(bytes)` gives events. What a peer can do wrong is no exception but the last event, `Failed`, which says
with which code and reason the connection must be closed; after it, and after `Closed`, all bytes are ignored (section
7.1.7). The caller owes the peer: a pong for each `Ping`, a close frame for `Closed` and `Failed` if it has not sent
one, and then the end of the TCP connection.

A frame that arrives whole, the usual case, is cut out of the bytes in one go. One that arrives in parts is taken as
it comes, never gathered first: text is judged byte by byte (section 8.1), so nonsense is refused at its first bad
byte and not at its end, and a frame of 16 MiB costs its own size once.
"""

from __future__ import annotations

import base64
import binascii
import codecs
import hashlib
from collections.abc import Callable
from enum import IntEnum

import msgspec
from websockets.frames import apply_mask  # type: ignore[attr-defined]  # in C where that was compiled

from trunkline.core.close_codes import CloseCode
from trunkline.wire.deflate import Agreement, Corrupt, Inflater, TooLarge, deflate
from trunkline.wire.envelope import VERSION
from trunkline.wire.request_head import RequestHead

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


class Opcode(IntEnum):
    """Section 11.8."""

    CONTINUATION = 0
    TEXT = 1
    BINARY = 2
    CLOSE = 8
    PING = 9
    PONG = 10


class Text(msgspec.Struct, gc=False):
    """A whole text message: valid UTF-8."""

    data: bytes


class Binary(msgspec.Struct, gc=False):
    """A whole binary message."""

    data: bytes


class Ping(msgspec.Struct, gc=False):
    """Answer with `frame(Opcode.PONG, data)`."""

    data: bytes


class Pong(msgspec.Struct, gc=False):
    data: bytes


class Closed(msgspec.Struct, gc=False):
    """The peer closes. Code 1005 means that it gave none (section 7.4.1)."""

    code: int
    reason: str


class Failed(msgspec.Struct, gc=False):
    """The peer broke the protocol: close with this code and reason."""

    code: CloseCode
    reason: str


Event = Text | Binary | Ping | Pong | Closed | Failed


class _Violation(Exception):
    def __init__(self, code: CloseCode, reason: str) -> None:
        self.code = code
        self.reason = reason


# ── The opening handshake, section 4 ──


def accept_key(key: bytes) -> bytes:
    """Return the `Sec-WebSocket-Accept` for a `Sec-WebSocket-Key` (section 4.2.2)."""
    return base64.b64encode(hashlib.sha1(key + GUID, usedforsecurity=False).digest())


class BadHandshake(Exception):
    """The request is no WebSocket handshake that we can accept: answer with *status* and *headers*."""

    def __init__(self, status: int, reason: str, headers: bytes = b"") -> None:
        super().__init__(reason)
        self.status = status
        self.headers = headers


def accept(request: RequestHead, agreement: Agreement | None = None) -> bytes:
    """Accept a handshake: return the 101 response (section 4.2).

    Args:
        agreement: What was agreed on compression.

    Raises:
        BadHandshake: If the version is not 13 (426), or the key is not 16 bytes in base64 (400).
    """
    headers = request.headers
    if headers.get(b"sec-websocket-version") != b"13":
        raise BadHandshake(426, "Sec-WebSocket-Version must be 13", b"Sec-WebSocket-Version: 13\r\n")
    key = headers.get(b"sec-websocket-key", b"")
    try:
        nonce = base64.b64decode(key, validate=True)
    except binascii.Error:
        nonce = b""
    if len(nonce) != 16:
        raise BadHandshake(400, "Sec-WebSocket-Key must be 16 bytes in base64")
    subprotocol = b""
    offered = headers.get(b"sec-websocket-protocol")
    if offered is not None and VERSION.encode() in [name.strip() for name in offered.split(b",")]:
        subprotocol = b"Sec-WebSocket-Protocol: %b\r\n" % VERSION.encode()
    extensions = b"" if agreement is None else b"Sec-WebSocket-Extensions: %b\r\n" % agreement.header
    return (
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: %b\r\n%b%b\r\n" % (accept_key(key), subprotocol, extensions)
    )


# ── Frames, section 5 ──

_SHORT_HEADS = {opcode: [bytes((opcode | 0x80, size)) for size in range(126)] for opcode in Opcode}


def frame(opcode: Opcode, payload: bytes, *, fin: bool = True, deflated: bool = False) -> bytes:
    """Return an unmasked frame, as servers send them. *deflated* sets RSV1 (RFC 7692 section 6)."""
    size = len(payload)
    if size < 126 and fin and not deflated:
        return _SHORT_HEADS[opcode][size] + payload
    first = opcode | 0x80 if fin else int(opcode)
    if deflated:
        first |= 0x40
    if size < 126:
        return bytes((first, size)) + payload
    if size < 65536:
        return bytes((first, 126)) + size.to_bytes(2, "big") + payload
    return bytes((first, 127)) + size.to_bytes(8, "big") + payload


def masked_frame(opcode: Opcode, payload: bytes, mask: bytes, *, fin: bool = True, deflated: bool = False) -> bytes:
    """Return a masked frame, as clients send them; *mask* is 4 random bytes."""
    plain = frame(opcode, b"", fin=fin, deflated=deflated)
    size = len(payload)
    if size < 126:
        head = bytes((plain[0], 0x80 | size))
    elif size < 65536:
        head = bytes((plain[0], 0x80 | 126)) + size.to_bytes(2, "big")
    else:
        head = bytes((plain[0], 0x80 | 127)) + size.to_bytes(8, "big")
    return head + mask + unmask(payload, mask)


def close_frame(code: int, reason: str = "") -> bytes:
    """Return a close frame. The reason is cut to what a control frame holds (section 5.5.1), at a character."""
    text = reason.encode()[:123].decode(errors="ignore").encode()
    return frame(Opcode.CLOSE, code.to_bytes(2, "big") + text)


def unmask(data: bytes | memoryview, mask: bytes) -> bytes:
    """XOR with the mask repeated (section 5.3): its own inverse."""
    return apply_mask(data, mask)


def data_frame(opcode: Opcode, payload: bytes, bits: int) -> bytes:
    """Return a whole message for a peer that agreed to deflate: deflated if that makes it smaller."""
    if len(payload) >= DEFLATE_BYTES_MIN:
        small = deflate(payload, bits)
        if len(small) < len(payload):
            return frame(opcode, small, deflated=True)
    return frame(opcode, payload)


# A deflated message has at least a Huffman code and an end-of-block; below this there is little to win.
DEFLATE_BYTES_MIN = 64

PING_FRAME = frame(Opcode.PING, b"")

_utf8_decoder = codecs.getincrementaldecoder("utf-8")


def _valid_close(code: int) -> bool:
    # Section 7.4: 1004 is reserved; 1005, 1006 and 1015 never travel; 1012 to 1014 were registered later.
    return 3000 <= code <= 4999 or (1000 <= code <= 1014 and code not in (1004, 1005, 1006))


class Receiver:
    """The receiving half of one connection.

    Args:
        size_max: Largest message, in bytes, over all its fragments.
        masked: True on a server, whose peer must mask (section 5.1); False on a client, whose peer must not.
        inflates: The peer may deflate its messages (RFC 7692 was agreed on); *size_max* holds for what comes out.
    """

    __slots__ = ("_buffer", "_inflates", "_message", "_partial", "_size_max", "done", "masked")

    def __init__(self, size_max: int, *, masked: bool = True, inflates: bool = False) -> None:
        self._buffer = b""
        self._message: _Message | None = None  # a data message of which more frames are to come
        self._partial: _Partial | None = None  # a data frame of which more bytes are to come
        self._size_max = size_max
        self._inflates = inflates
        self.masked = masked
        self.done = False  # Closed or Failed was given

    def feed(self, data: bytes) -> list[Event]:
        """Return what these bytes complete, in order."""
        events: list[Event] = []
        if self.done:
            return events
        try:
            if self._buffer:
                data = self._buffer + data
                self._buffer = b""
            at, size = 0, len(data)
            while at < size:
                if self._partial is not None:
                    at = self._continue(data, at, events)
                    continue
                end = self._take(data, at, size, events)
                if end < 0:
                    self._buffer = data[at:]
                    break
                at = end
                if self.done:
                    break
        except _Violation as violation:
            self.done = True
            events.append(Failed(violation.code, violation.reason))
        return events

    def whole_text(self, data: bytes) -> bytes | None:
        """Return the payload, if *data* is exactly one masked, whole, ASCII text frame within all limits, and nothing
        is under way: nearly all there is. Else None, and `feed` is to be asked.
        """
        size = len(data)
        if size < 6 or data[0] != 0x81 or self._message is not None or self._buffer or self.done or not self.masked:
            return None
        length = data[1]
        if length < 0xFE:
            length -= 0x80
            begin = 6
        elif length == 0xFE and size >= 134:
            length = data[2] << 8 | data[3]
            begin = 8
        else:
            return None
        if begin + length != size or length > self._size_max:
            return None
        text = apply_mask(data[begin:], data[begin - 4 : begin])
        return text if text.isascii() else None

    def _take(self, data: bytes, at: int, size: int, events: list[Event]) -> int:
        """Take the frame at *at*; returns where it ends, or -1 if not even its head is there."""
        if size - at < 2:
            return -1
        first, second = data[at], data[at + 1]
        opcode = first & 0x0F
        deflated = bool(first & 0x40)
        if first & 0x30 or (deflated and not (self._inflates and opcode in (Opcode.TEXT, Opcode.BINARY))):
            raise _Violation(CloseCode.PROTOCOL_ERROR, "a reserved bit is set that no extension has there")
        if bool(second & 0x80) is not self.masked:
            raise _Violation(CloseCode.PROTOCOL_ERROR, f"frames must {'' if self.masked else 'not '}be masked")
        length = second & 0x7F
        begin = at + 2
        if opcode >= 8:
            if opcode > 10:
                raise _Violation(CloseCode.PROTOCOL_ERROR, f"there is no opcode {opcode}")
            if length > 125 or not first & 0x80:
                raise _Violation(CloseCode.PROTOCOL_ERROR, "control frames are whole and at most 125 bytes long")
        elif opcode > 2:
            raise _Violation(CloseCode.PROTOCOL_ERROR, f"there is no opcode {opcode}")
        elif (opcode == 0) is (self._message is None):
            what = "nothing to continue" if opcode == 0 else "the message before is not finished"
            raise _Violation(CloseCode.PROTOCOL_ERROR, what)
        if length == 126:
            begin += 2
            if size < begin:
                return -1
            length = int.from_bytes(data[begin - 2 : begin], "big")
            if length < 126:
                raise _Violation(CloseCode.PROTOCOL_ERROR, "the length is not in its shortest form")
        elif length == 127:
            begin += 8
            if size < begin:
                return -1
            length = int.from_bytes(data[begin - 8 : begin], "big")
            if length < 65536 or length >> 63:
                raise _Violation(CloseCode.PROTOCOL_ERROR, "the length is not in its shortest form")
        if opcode < 8:
            self._check_size(length, deflated)
        mask = b""
        if self.masked:
            begin += 4
            if size < begin:
                return -1
            mask = data[begin - 4 : begin]
        end = begin + length
        if opcode >= 8:
            if end > size:
                return -1  # at most 131 bytes are kept
            payload = unmask(data[begin:end], mask) if mask else data[begin:end]
            events.append(self._control(opcode, payload))
            return end
        if end <= size and self._message is None and first & 0x80 and not deflated:  # whole and alone: the usual case
            payload = unmask(data[begin:end], mask) if mask else data[begin:end]
            if opcode == Opcode.TEXT:
                if not payload.isascii():
                    _check_utf8(payload)
                events.append(Text(payload))
            else:
                events.append(Binary(payload))
            return end
        if self._message is None:
            inflater = Inflater(self._size_max) if deflated else None
            self._message = _Message(opcode == Opcode.TEXT, inflater)
        self._partial = _Partial(length, mask, bool(first & 0x80))
        return begin if length else self._continue(data, begin, events)

    def _continue(self, data: bytes, at: int, events: list[Event]) -> int:
        """Take what is there of the frame that is under way; returns where it ends."""
        partial, message = self._partial, self._message
        assert partial is not None
        assert message is not None
        message.add(partial.take(data[at : at + partial.left]))
        end = min(len(data), at + partial.left)
        partial.left -= end - at
        if not partial.left:
            self._partial = None
            if partial.fin:
                self._message = None
                events.append(message.finish())
        return end

    def _check_size(self, length: int, deflated: bool) -> None:
        size, most = length, self._size_max
        if self._message is not None:
            size += self._message.size
            deflated = self._message.deflated
        if deflated:
            most += most // 1000 + 64  # what cannot be made smaller becomes a little larger
        if size > most:
            raise _too_big(f"message of {size} bytes, at most {most} allowed")

    def _control(self, opcode: int, payload: bytes) -> Event:
        if opcode == Opcode.PING:
            return Ping(payload)
        if opcode == Opcode.PONG:
            return Pong(payload)
        self.done = True
        if not payload:
            return Closed(1005, "")
        code = int.from_bytes(payload[:2], "big")
        if len(payload) == 1 or not _valid_close(code):
            raise _Violation(CloseCode.PROTOCOL_ERROR, "that is no close code")
        _check_utf8(payload[2:])
        return Closed(code, payload[2:].decode())


class _Message:
    """A data message in several pieces, or deflated."""

    __slots__ = ("_data", "_decoder", "_inflater", "size")

    def __init__(self, text: bool, inflater: Inflater | None) -> None:
        self._data = bytearray()
        self._decoder = _utf8_decoder() if text else None
        self._inflater = inflater
        self.size = 0  # as it travels

    @property
    def deflated(self) -> bool:
        return self._inflater is not None

    def add(self, piece: bytes) -> None:
        self.size += len(piece)
        self._take(piece if self._inflater is None else self._inflate(self._inflater.feed, piece))

    def finish(self) -> Event:
        if self._inflater is not None:
            self._take(self._inflate(self._inflater.finish))
        self._judge(b"", final=True)
        data = bytes(self._data)
        return Binary(data) if self._decoder is None else Text(data)

    def _inflate(self, inflate: Callable[..., bytes], *piece: bytes) -> bytes:
        try:
            return inflate(*piece)
        except TooLarge as error:
            raise _too_big(str(error)) from None
        except Corrupt as error:
            raise _Violation(CloseCode.INVALID_PAYLOAD, str(error)) from None

    def _take(self, piece: bytes) -> None:
        self._judge(piece, final=False)
        self._data += piece

    def _judge(self, piece: bytes, *, final: bool) -> None:
        if self._decoder is not None:
            try:
                self._decoder.decode(piece, final)
            except UnicodeDecodeError:
                raise _Violation(CloseCode.INVALID_PAYLOAD, "text is not valid UTF-8") from None


class _Partial:
    """A frame whose payload is under way."""

    __slots__ = ("fin", "left", "mask")

    def __init__(self, left: int, mask: bytes, fin: bool) -> None:
        self.left = left
        self.mask = mask
        self.fin = fin

    def take(self, piece: bytes) -> bytes:
        if not self.mask:
            return piece
        plain = unmask(piece, self.mask)
        turn = len(piece) % 4
        self.mask = self.mask[turn:] + self.mask[:turn]
        return plain


def _too_big(reason: str) -> _Violation:
    return _Violation(CloseCode.TOO_BIG, reason)


def _check_utf8(data: bytes) -> None:
    try:
        data.decode()
    except UnicodeDecodeError:
        raise _Violation(CloseCode.INVALID_PAYLOAD, "text is not valid UTF-8") from None
