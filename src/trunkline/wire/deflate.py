"""permessage-deflate, RFC 7692: each message deflated by itself.

Neither side keeps its window from message to message ("no context takeover", section 7.1.1). For us it means that one
deflated frame serves all readers, whatever each was sent before; for our memory, that a connection that is not sending
a deflated message costs nothing. A window kept per connection would be 32 KiB for reading and 256 KiB for writing.

What a peer has deflated is inflated with an eye on what comes out: 1 KiB can become 1 MiB (section 8).
"""

from __future__ import annotations

import re
import zlib
from typing import NamedTuple

NAME = b"permessage-deflate"
# Every deflated message ends in an empty stored block, of which these bytes do not travel (section 7.2.1).
TAIL = b"\x00\x00\xff\xff"

# An empty last block. It fits only where a block has ended: this is how a message that was cut off is told.
_END = b"\x01\x00\x00\xff\xff"

# Beyond so much output, more than so many bytes out of one byte in is no text that a person wrote. Deflate's own
# bound is 1,032; JSON of one value repeated for ever comes to a few hundred.
RATIO_FROM_BYTES = 128 * 1024
RATIO_MAX = 512
# A message may consist of several finished streams (section 7.2.3.4); each begins with an empty window of 32 KiB,
# and a stream that says nothing is 2 bytes long.
STREAMS_MAX = 16

_PARAMETER = re.compile(
    rb'[ \t]*([!#$%&\'*+.^_`|~0-9A-Za-z-]++)(?:[ \t]*=[ \t]*(?:"([0-9]{1,2})"|([0-9]{1,2})))?[ \t]*\Z'
)
_BITS = {str(bits).encode(): bits for bits in range(8, 16)}


class Agreement(NamedTuple):
    """What both sides will do.

    Attributes:
        bits: log2 of the window that we deflate with, 9 to 15.
        header: The value of `Sec-WebSocket-Extensions` that says so to the client.
    """

    bits: int
    header: bytes


def agree(offers: bytes) -> Agreement | None:
    """Return the first offer of a client that we can keep (section 5.1), or None: then messages stay as they are.

    Args:
        offers: The value of `Sec-WebSocket-Extensions`, "" if there was none.
    """
    for offer in offers.split(b","):
        name, *parameters = offer.split(b";")
        if name.strip().lower() == NAME:
            bits = _window(parameters)
            if bits is not None:
                limited = b"" if bits == 15 else b"; server_max_window_bits=%d" % bits
                return Agreement(
                    bits, b"%b; server_no_context_takeover; client_no_context_takeover%b" % (NAME, limited)
                )
    return None


def _window(parameters: list[bytes]) -> int | None:
    """Return how large our window may be; None if the offer is malformed or cannot be kept (section 7.1)."""
    given: dict[bytes, bytes | None] = {}
    for parameter in parameters:
        match = _PARAMETER.match(parameter)
        if match is None or match[1] in given:
            return None
        given[match[1]] = match[2] or match[3]
    bits = 15
    for name, value in given.items():
        if name in (b"server_no_context_takeover", b"client_no_context_takeover"):
            if value is not None:
                return None
        elif name == b"client_max_window_bits":
            if value is not None and value not in _BITS:
                return None
        elif name == b"server_max_window_bits":
            bits = _BITS.get(value or b"", 0)
            if bits < 9:  # zlib cannot deflate with a window of 256 bytes
                return None
        else:
            return None
    return bits


def deflate(data: bytes, bits: int) -> bytes:
    """Return a message as it travels (section 7.2.1)."""
    deflater = zlib.compressobj(wbits=-bits)
    return (deflater.compress(data) + deflater.flush(zlib.Z_SYNC_FLUSH))[: -len(TAIL)]


class TooLarge(Exception):
    """More comes out than may."""


class Corrupt(Exception):
    """That was never deflated."""


class Inflater:
    """One message, in pieces (section 7.2.2).

    Args:
        size_max: The most that may come out, in bytes.
    """

    __slots__ = ("_in", "_out", "_size_max", "_stream", "_streams")

    def __init__(self, size_max: int) -> None:
        self._size_max = size_max
        self._stream = zlib.decompressobj(-15)
        self._streams = 1
        self._in = 0
        self._out = 0

    def feed(self, piece: bytes) -> bytes:
        """Inflate a piece of the message; return what comes out.

        Raises:
            TooLarge: The message, or what it makes of so few bytes.
            Corrupt: It is no deflated data.
        """
        self._in += len(piece)
        return self._inflate(piece)

    def finish(self) -> bytes:
        """Return what comes out at the end of the message. Raises like `feed`, and Corrupt if it is cut off."""
        rest = self._inflate(TAIL)
        try:
            more = self._stream.decompress(_END, 1)
        except zlib.error:
            more = b"?"
        if more or not self._stream.eof:
            raise Corrupt("the deflated message is cut off")
        return rest

    def _inflate(self, data: bytes) -> bytes:
        pieces = []
        while data:
            try:
                piece = self._stream.decompress(data, self._size_max - self._out + 1)
            except zlib.error:
                raise Corrupt("the message was not deflated, or is damaged") from None
            self._out += len(piece)
            if self._out > self._size_max:
                raise TooLarge(f"inflated, the message is larger than {self._size_max} bytes")
            if self._out > RATIO_FROM_BYTES and self._out > self._in * RATIO_MAX:
                raise TooLarge(f"the message inflates to more than {RATIO_MAX} times its size")
            pieces.append(piece)
            data = self._stream.unconsumed_tail
            if self._stream.eof:
                data = self._stream.unused_data
                self._streams += 1
                if self._streams > STREAMS_MAX:
                    raise Corrupt(f"the message is more than {STREAMS_MAX} deflate streams")
                self._stream = zlib.decompressobj(-15)
        return b"".join(pieces)
