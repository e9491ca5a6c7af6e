"""The reading half of a SQLite log: everything here runs on the reading thread."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from trunkline.core.message import Message, with_trace
from trunkline.core.pieces import pieces
from trunkline.core.position import Position
from trunkline.core.read_mark import ReadMark
from trunkline.core.redaction import REDACTED, REDACTION, stored_redaction
from trunkline.core.tail import MESSAGE_OVERHEAD_BYTES, clip
from trunkline.core.trace import trace_from_text
from trunkline.stores.base import Head, Page, RoomInfo, Sent
from trunkline.stores.sqlite.file import LogFile
from trunkline.stores.sqlite.rows import (
    DELETED_NAMES_END,
    OFFSET_BITS,
    OFFSET_MASK,
    ROOM_BITS,
    ROOM_MASK,
    standing,
    table_of,
)

NAMES_PER_STATEMENT_MAX = 500
SENT_AT_ONCE = 5000


class LogReader:
    """What is read of one log."""

    def __init__(self, file: LogFile) -> None:
        self._file = file
        self._reader = file.reader

    def marks(self, room: str, marks_max: int) -> list[ReadMark]:
        """Return the read marks of a room, those that moved last first."""
        found = self._reader.execute(
            "SELECT room, member, offset, at FROM seen WHERE room = ? ORDER BY at DESC LIMIT ?", (room, marks_max)
        )
        return [ReadMark(*row) for row in found.fetchall()]

    def marks_of(self, member: str, rooms: Sequence[str]) -> dict[str, int]:
        """Return the offsets up to which a member has seen these rooms."""
        marks = ",".join("?" * len(rooms))
        found = self._reader.execute(
            f"SELECT room, offset FROM seen WHERE member = ? AND room IN ({marks})",  # noqa: S608 - question marks
            (member, *rooms),
        )
        return dict(found.fetchall())

    def head(self, room: str) -> Head:
        """Return where a room stands."""
        found = self._reader.execute(
            "SELECT first, head, epoch, life, lineage, origin FROM rooms WHERE name = ?", (room,)
        ).fetchone()
        if found is None:
            return Head(self._file.first_epoch(self._reader), 1, 0)
        first, head, *stood = found
        epoch, lineage, _ = standing(self._file, self._reader, head, *stood)
        return Head(epoch, first, head, lineage)

    def version(self) -> int:
        """Return SQLite's data version, after a look at the file's identity."""
        self._file.look()
        (version,) = self._reader.execute("PRAGMA data_version").fetchone()
        return int(version)

    def heads(self, rooms: Sequence[str]) -> dict[str, Position]:
        """Return the newest positions of rooms."""
        heads: dict[str, Position] = {}
        for some in pieces(rooms, NAMES_PER_STATEMENT_MAX):
            marks = ",".join("?" * len(some))
            found = self._reader.execute(
                f"SELECT name, head, epoch, life, lineage, origin FROM rooms WHERE name IN ({marks})",  # noqa: S608
                some,
            )
            for name, head, *stood in found.fetchall():
                heads[name] = Position(standing(self._file, self._reader, head, *stood)[0], head)
        return heads

    def find_rooms(self, prefix: str, after: str, rooms_max: int) -> list[RoomInfo]:
        """Return rooms by prefix, in the order of their names."""
        found = self._reader.execute(
            "SELECT name, first, bytes, at, head, epoch, life, lineage, origin FROM rooms"
            " WHERE name >= ? AND name > ? AND name < ? AND head > 0 ORDER BY name LIMIT ?",
            (prefix, max(after, DELETED_NAMES_END), prefix + "\U0010ffff", rooms_max),
        )
        return [
            RoomInfo(name, standing(self._file, self._reader, head, *stood)[0], first, head, size, at)
            for name, first, size, at, head, *stood in found.fetchall()
        ]

    def sent(self, room: str, sender: str, after: int) -> Sent:
        """Return the offsets of a sender's messages, as far as one step looks."""
        found = self._reader.execute("SELECT id, first, head FROM rooms WHERE name = ?", (room,)).fetchone()
        if found is None:
            return Sent([], 0, 0)
        room_id, first, head = found
        low, after = (room_id & ROOM_MASK) << OFFSET_BITS, max(after, first - 1)
        to = min(head, after + SENT_AT_ONCE)
        rows = self._reader.execute(
            f"SELECT key FROM {table_of(room_id >> ROOM_BITS)} WHERE key BETWEEN ? AND ? AND sender = ?",  # noqa: S608
            (low | after + 1, low | to, sender),
        )
        return Sent([key & OFFSET_MASK for (key,) in rows.fetchall()], to, head)

    def notes(self) -> dict[str, bytes]:
        """Return the notes of the system."""
        return dict(self._reader.execute("SELECT name, value FROM notes").fetchall())

    def empty_rooms(self, before: str, ahead_ms: int, rooms_max: int) -> list[str]:
        """Return rooms that hold no message, and whose newest one is older than *before* (SQL), or of the future."""
        found = self._reader.execute(
            f"SELECT name FROM rooms WHERE first > head AND at < {before}"  # noqa: S608
            " UNION ALL SELECT name FROM rooms WHERE first > head AND at > ? LIMIT ?",
            (ahead_ms, rooms_max),
        )
        return [name for (name,) in found.fetchall()]

    def read(self, room: str, after: int, messages_max: int, bytes_max: int) -> Page:
        """Return a page of messages."""
        self._reader.execute("BEGIN")
        try:
            found = self._reader.execute(
                "SELECT id, head, first, epoch, life, lineage, origin FROM rooms WHERE name = ?", (room,)
            ).fetchone()
            if found is None:
                return Page(self._file.first_epoch(self._reader), 1, [])
            room_id, head, first, *stood = found
            epoch, _, origin = standing(self._file, self._reader, head, *stood)
            low = (room_id & ROOM_MASK) << OFFSET_BITS
            rows = self._reader.execute(
                f"SELECT key, id, sender, at, data, epoch, trace, kind FROM {table_of(room_id >> ROOM_BITS)}"  # noqa: S608
                " WHERE key BETWEEN ? AND ? ORDER BY key LIMIT ?",
                (low | max(after + 1, first), low | head, messages_max),
            )
            messages = [_message(room, origin, *row) for row in _until(rows, bytes_max)]
            return Page(epoch, first, clip(messages, bytes_max))
        finally:
            self._reader.execute("COMMIT")


def _message(
    room: str,
    origin: str,
    key: int,
    message_id: str | None,
    sender: str,
    at: int,
    data: bytes,
    epoch: str | None,
    trace: str | None,
    kind: int | None,
) -> Message:
    offset = key & OFFSET_MASK
    message_id = message_id or f"{epoch or origin}.{offset}"
    if kind == REDACTION:
        return stored_redaction(room, offset, message_id, at, data)
    redacted = kind == REDACTED
    message = Message(room, offset, message_id, sender or None, at, msgspec.Raw(data), redacted=redacted)
    return message if trace is None else with_trace(message, trace_from_text(trace))


def _until(rows: Iterator[Any], bytes_max: int) -> Iterator[Any]:
    """Return rows up to the one that passes *bytes_max*, so that a page of large messages is not read in vain."""
    size = 0
    for row in rows:
        yield row
        size += len(row[4]) + MESSAGE_OVERHEAD_BYTES
        if size > bytes_max:
            return
