"""Redactions: what takes the data of messages away, for all readers and for good.

A redaction is an entry of the room's log, with an offset of its own. So it is as durable as a message, readers are told
of it in its place among the messages, exactly once, on every transport; a reader that comes back is told of those after
its position; and a node that was away learns of it when it reads on. The messages themselves keep their offsets, and
are empty from the moment in which the redaction is stored.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from trunkline.core.message import Message, publisher_id
from trunkline.core.position import OFFSET_MAX
from trunkline.core.trace import Trace
from trunkline.errors import RequestError

OFFSETS_MAX = 1000  # of one redaction
NO_DATA = b"null"
REDACTED, REDACTION = 1, 2  # kinds of entries beside messages, as stores keep them
_NO_DATA = msgspec.Raw(NO_DATA)
_decode = msgspec.json.Decoder(tuple[tuple[int, ...], bool]).decode


class Redaction(NamedTuple):
    """A redaction that the log does not have yet.

    Attributes:
        offsets: Of the messages, at most OFFSETS_MAX.
        at: ms since 1970 UTC.
        erases: Take their senders, ids and traces away, too.
    """

    room: str
    offsets: Sequence[int]
    at: int
    erases: bool = False


class RecentRedactions:
    """In which rooms something was redacted lately: what was being read then may hold what is redacted now.

    What reads the log takes the `count` before it reads, asks afterwards whether what it has `is_stale`, and then reads
    again.
    """

    def __init__(self, rooms_max: int = 10_000) -> None:
        self._rooms_max = rooms_max
        self._rooms: dict[str, int] = {}  # the latest last
        self.count = 0

    def add(self, room: str) -> None:
        """Note that the log has a redaction, or that the room was deleted."""
        self.count += 1
        self._rooms.pop(room, None)
        self._rooms[room] = self.count
        if len(self._rooms) > self._rooms_max:
            del self._rooms[next(iter(self._rooms))]

    def is_stale(self, count: int, *rooms: str) -> bool:
        """Return whether something of one of these rooms was redacted since there were *count* redactions."""
        return self.count != count and any(self._rooms.get(room, 0) > count for room in rooms)


class Redacted(NamedTuple):
    """What the log says of a redaction once it has it.

    Attributes:
        epoch: Of the room.
        offset: Of the redaction; 0 if there was nothing to redact.
        offsets: Of the messages whose data it has taken away; those that had none any more are not among them.
    """

    epoch: str
    offset: int
    offsets: list[int]


def check_offsets(offsets: Sequence[int]) -> Sequence[int]:
    """Check that there are offsets, and that they can be such; return them.

    Raises:
        RequestError: `bad_position`, or `too_large`: more than OFFSETS_MAX.
    """
    if len(offsets) > OFFSETS_MAX:
        raise RequestError("too_large", f"{len(offsets)} messages, at most {OFFSETS_MAX} at once")
    if not offsets or not all(0 < offset <= OFFSET_MAX for offset in offsets):
        raise RequestError("bad_position", "offsets are one or several numbers from 1 on")
    return offsets


def redaction_entry(room: str, epoch: str, offset: int, at: int, offsets: Sequence[int], *, erases: bool) -> Message:
    """Return a redaction as an entry of the log."""
    name = f"{epoch}.{offset}"
    return Message(room, offset, name, None, at, _NO_DATA, redacts=tuple(offsets), erased=erases)


def stored_redaction(room: str, offset: int, name: str, at: int, stored: bytes) -> Message:
    """Return a redaction as an entry of the log, from what `redaction_data` gave."""
    offsets, erases = _decode(stored)
    return Message(room, offset, name, None, at, _NO_DATA, redacts=offsets, erased=erases)


def redaction_data(offsets: Sequence[int], *, erases: bool) -> bytes:
    """Return what stores keep of a redaction, as JSON."""
    return msgspec.json.encode((offsets, erases))


class StoredForm(NamedTuple):
    """What stores keep of an entry, beside its offset, sender and time.

    Attributes:
        id: That a message was published with; None if there was none.
        epoch: That the entry's id names; None if the entry has an id of its publisher's.
        kind: REDACTED or REDACTION; None for a message that has its data.
        trace: As `Trace.text`.
    """

    id: str | None
    epoch: str | None
    data: bytes
    kind: int | None
    trace: str | None


def stored_form(entry: Message) -> StoredForm:
    """Return what stores keep of an entry that was read from another store."""
    message_id, epoch = publisher_id(entry)
    data, kind = bytes(entry.json), REDACTED if entry.redacted else None
    if entry.redacts:
        data, kind = redaction_data(entry.redacts, erases=entry.erased), REDACTION
    trace = None if entry.traceparent is None else Trace(entry.traceparent, entry.tracestate).text
    return StoredForm(message_id, epoch, data, kind, trace)


def without_data(message: Message, epoch: str, *, erased: bool) -> Message:
    """Return what is left of a message that was redacted.

    Args:
        epoch: The room's, for the id of one that was erased.
    """
    if message.redacts:
        return message
    message_id = f"{epoch}.{message.offset}" if erased else message.id
    sender = None if erased else message.sender
    return Message(message.room, message.offset, message_id, sender, message.at, _NO_DATA, redacted=True)
