"""What is kept of a socket so that its client can go on after its connection, or its node, has died.

The record says which rooms the socket is in, and where in each of their logs it has joined. With every event the client
is told an offset, in the same way as reference servers tell theirs: how far it has come since, in each of them. So the
record changes when the socket joins or leaves a room, and not with every event.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from hashlib import sha256

import msgspec

from trunkline.core.position import OFFSET_MAX, Start

OFFSET_CHARACTERS_MAX = 4096
_OFFSET = re.compile(r"(?:[0-9]{1,9}:[0-9]{1,16}(?:,|\Z))*+\Z")


class Joined(msgspec.Struct, array_like=True, frozen=True):
    """A room that a socket is in.

    Attributes:
        number: Counts the rooms that it has ever joined: what an offset calls this one.
        room: Its name in Socket.IO.
        log: Our room for it.
        epoch, offset: Where in the log it has joined.
    """

    number: int
    room: str
    log: str
    epoch: str
    offset: int


class ConnectionState(msgspec.Struct, array_like=True, frozen=True):
    """What is kept of one socket.

    Attributes:
        sid: Its id.
        user: Whose it is, if clients authenticate themselves.
        owner: Which connection it has now: a later one has another.
        joined: Its rooms.
        next_number: Of the next room that it joins.
        ended_at: When its connection has ended, in ms since 1970 UTC; 0 until a node has seen it end.
        data: What the application keeps with it, as JSON; None if nothing, and empty if that cannot be kept.
    """

    sid: str
    namespace: str
    user: str | None
    owner: str
    joined: Sequence[Joined] = ()
    next_number: int = 0
    ended_at: int = 0
    data: bytes | None = None

    def starts(self, moved: Mapping[int, int]) -> dict[str, Start]:
        """Return where a client that has come so far goes on, in each room.

        Args:
            moved: By how many messages, by the numbers of the rooms.
        """
        return {
            one.room: Start("after", min(one.offset + moved.get(one.number, 0), OFFSET_MAX), one.epoch)
            for one in self.joined
        }


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(ConnectionState).decode


def encode(state: ConnectionState) -> bytes:
    """Return the record."""
    return _encode(state)


def decode(record: bytes) -> ConnectionState | None:
    """Return what a record says; None if it is of another version."""
    try:
        return _decode(record)
    except msgspec.DecodeError:
        return None


def tag_of(pid: str) -> str:
    """Return what the offsets of a client begin with: it keeps the last one, also when it is another socket's."""
    return sha256(pid.encode()).hexdigest()[:8]


def parse_offset(text: str, tag: str) -> dict[int, int] | None:
    """Return how far a client says that it has come, by the numbers of its rooms; None if it says nothing valid.

    Args:
        tag: Of the socket: what a client was told of another one counts as nothing.
    """
    found, _, moved = text.partition("/")
    if found != tag:
        return {}
    if len(moved) > OFFSET_CHARACTERS_MAX or _OFFSET.match(moved) is None:
        return None
    pairs = [pair.split(":") for pair in moved.split(",") if pair]
    return {int(number): int(by) for number, by in pairs}


class Progress:
    """How far a socket has come in the logs of its rooms since it joined them, as its client is told.

    Args:
        tag: What all of its offsets begin with (`tag_of`).

    Attributes:
        json: The offset, as JSON.
    """

    __slots__ = ("_logs", "_moved", "_tag", "json")

    def __init__(self, tag: str) -> None:
        self._tag = tag
        self._logs: dict[str, tuple[int, int]] = {}  # by log: the number of the room, and the offset of joining
        self._moved: dict[int, int] = {}
        self._update()

    def join(self, log: str, number: int, offset: int, moved: int = 0) -> None:
        """Begin with a log."""
        self._logs[log] = (number, offset)
        if moved:
            self._moved[number] = moved
            self._update()

    def leave(self, log: str) -> None:
        """Have nothing to do with a log any more."""
        number, _ = self._logs.pop(log, (-1, 0))
        if self._moved.pop(number, None) is not None:
            self._update()

    def move(self, log: str, offset: int) -> None:
        """Note that the client is given everything in a log up to there."""
        known = self._logs.get(log)
        if known is not None:
            number, begin = known
            self._moved[number] = offset - begin
            self._update()

    def _update(self) -> None:
        moved = ",".join([f"{number}:{by}" for number, by in self._moved.items()])
        self.json = f'"{self._tag}/{moved}"'.encode()
