"""A tunnel: messages in order and each once between two nodes, over a bus that may lose anything.

Each end numbers its pieces. The other takes the next one and no other, and says which one it wants; what it has not
taken within a moment is sent again, from there on. An end that is not heard while it owes something, or is owed an
acknowledgement, for `PATIENCE_S` is lost: the tunnel ends, and what was sent last may have arrived or not.
"""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

PIECE_BYTES_MAX = 16 * 1024  # with the rest of the message it fits into every bus
WINDOW = 16  # pieces on their way
AGAIN_S = 0.25
PATIENCE_S = 5.0
MESSAGE_BYTES_MAX = 16 * 1024 * 1024

MORE, END = 1, 2
"""Flags: the message goes on in the next piece; nothing comes behind this one."""


class Piece(NamedTuple):
    """A piece of a message, or the end.

    Attributes:
        number: Counts from 0.
        flags: `MORE`, `END`, or 0.
    """

    number: int
    flags: int
    data: bytes


class Tunnel:
    """One end.

    Attributes:
        wanted: The number of the next piece from the other end.
        has_ended: Whether the other end has said that nothing comes any more.
        unsent_bytes: Of what the other end has not acknowledged.
    """

    def __init__(self) -> None:
        self.wanted = 0
        self.has_ended = False
        self.unsent_bytes = 0
        self._is_ending = False
        self._next = 0
        self._waiting: deque[Piece] = deque()  # in their order, those on their way first
        self._on_their_way = 0
        self._sent_at = 0.0
        self._heard_at = 0.0
        self._partial: list[bytes] = []
        self._partial_bytes = 0

    # Sending.

    def send(self, message: bytes) -> None:
        """Send a message. Harmless after `end`."""
        if self._is_ending:
            return
        for at in range(0, max(1, len(message)), PIECE_BYTES_MAX):
            piece = message[at : at + PIECE_BYTES_MAX]
            self._add(MORE if at + PIECE_BYTES_MAX < len(message) else 0, piece)

    def end(self) -> None:
        """Send nothing more. Harmless if done twice."""
        if not self._is_ending:
            self._add(END, b"")
            self._is_ending = True

    def _add(self, flags: int, data: bytes) -> None:
        self._waiting.append(Piece(self._next, flags, data))
        self._next += 1
        self.unsent_bytes += len(data)

    def outgoing(self, now: float) -> list[Piece]:
        """Return what is to be sent now: what is new and, if it is time, once more what was not acknowledged."""
        begin = self._on_their_way
        if begin and now - self._sent_at >= AGAIN_S:
            begin = 0
        elif not begin and self._waiting:
            self._heard_at = now  # from now on something is owed
        end = min(len(self._waiting), WINDOW)
        if begin < end:
            self._sent_at = now
        self._on_their_way = end
        return [self._waiting[n] for n in range(begin, end)]

    @property
    def is_waiting(self) -> bool:
        """Whether the other end has not acknowledged everything."""
        return bool(self._waiting)

    def is_lost(self, now: float) -> bool:
        """Return whether the other end has not been heard for too long."""
        return bool(self._on_their_way) and now - self._heard_at >= PATIENCE_S

    @property
    def is_done(self) -> bool:
        """Whether this end has said that it ends, and the other one knows."""
        return self._is_ending and not self._waiting

    # Receiving.

    def acknowledged(self, wanted: int, now: float) -> None:
        """Take what the other end wants next."""
        self._heard_at = now
        while self._waiting and self._waiting[0].number < wanted:
            piece = self._waiting.popleft()
            self.unsent_bytes -= len(piece.data)
            self._on_their_way = max(0, self._on_their_way - 1)
            self._sent_at = now

    def receive(self, piece: Piece) -> bytes | None:
        """Take a piece; return the message that is complete with it, if one is.

        Raises:
            ValueError: The message is too large.
        """
        if piece.number != self.wanted or self.has_ended:
            return None  # it was there already, or one before it was lost and comes again
        self.wanted += 1
        if piece.flags & END:
            self.has_ended = True
            return None
        self._partial.append(piece.data)
        self._partial_bytes += len(piece.data)
        if self._partial_bytes > MESSAGE_BYTES_MAX:
            raise ValueError(f"more than {MESSAGE_BYTES_MAX} bytes")
        if piece.flags & MORE:
            return None
        message = b"".join(self._partial)
        self._partial, self._partial_bytes = [], 0
        return message
