"""Corrections of a SQLite log: redacting, deleting and erasing, on the writing thread.

What is taken away is overwritten in the file (`secure_delete`), and `Purger` does so with its copies. A room
that is deleted is renamed in one short transaction, so that it is gone at once, and its messages go piece by piece; a
start goes on with that.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence

from trunkline.core.epochs import begin_again, format_lineage, lineage_of_copy, parse_lineage
from trunkline.core.message import Message
from trunkline.core.position import Lineage
from trunkline.core.redaction import NO_DATA, REDACTED, REDACTION, Redacted, Redaction, redaction_data, stored_form
from trunkline.core.tail import MESSAGE_OVERHEAD_BYTES
from trunkline.stores.base import Deleted, RoomCopy
from trunkline.stores.journal import Journal, Journalled, epochs_of, still_there
from trunkline.stores.sqlite.file import LogFile
from trunkline.stores.sqlite.place import Newest
from trunkline.stores.sqlite.rows import (
    DELETED_NAMES_END,
    OFFSET_BITS,
    OFFSET_MASK,
    ROOM_BITS,
    ROOM_MASK,
    table_of,
)
from trunkline.stores.sqlite.writer import LogWriter, Room

DELETE_ROWS = 5000  # per transaction, so that no append waits for long


class Corrector:
    """What is corrected in one log.

    Args:
        journal: Where corrections are written down beside the log, for backups that do not know of them.
    """

    def __init__(self, file: LogFile, writer: LogWriter, journal: Journal) -> None:
        self._file = file
        self._writer = writer
        self._journal = journal
        self._connection = file.writer

    def redact(self, redaction: Redaction) -> Redacted:
        """Redact; see `CorrectionStore.redact`."""
        with self._writer.transaction():
            room = self._writer.existing_room(redaction.room)
            if room is None:
                return Redacted(self._file.first_epoch(self._connection), 0, [])
            offsets = self._take_data(room, redaction.offsets, erases=redaction.erases)
            if not offsets:
                return Redacted(room.epoch, 0, [])
            data = redaction_data(offsets, erases=redaction.erases)
            room.head += 1
            room.bytes += len(data) + MESSAGE_OVERHEAD_BYTES
            room.at = at = max(room.at, redaction.at)
            stored = redaction.at if redaction.at != at else None
            self._connection.execute(
                f"INSERT INTO {room.table} (key, sender, at, data, epoch, stored, kind)"  # noqa: S608
                " VALUES (?, '', ?, ?, ?, ?, ?)",
                (room.key(room.head), at, data, room.epoch, stored, REDACTION),
            )
            self._writer.save_corrected(room)
            self._file.newest = Newest(room.id, room.head)
            # Before the commit: a redaction in the journal that was not stored does no harm, the other way round does.
            epochs = epochs_of(room.epoch, self._lineage(room))
            self._journal.add(Journalled(redaction.at, room.name, epochs, offsets, redaction.erases))
        return Redacted(room.epoch, room.head, offsets)

    def _take_data(self, room: Room, offsets: Sequence[int], *, erases: bool) -> list[int]:
        """Take the data of these messages away, as far as there is any; return their offsets."""
        keys = [room.key(offset) for offset in offsets if room.first <= offset <= room.head]
        marks = ",".join("?" * len(keys))
        found = self._connection.execute(
            f"SELECT key, length(data), sender, id FROM {room.table} WHERE key IN ({marks})"  # noqa: S608
            f" AND (kind IS NULL OR (kind = {REDACTED} AND {int(erases)} AND sender != ''))",
            keys,
        ).fetchall()
        keys = [key for key, *_ in found]
        marks = ",".join("?" * len(keys))
        if erases:
            for _, _, sender, message_id in found:
                if message_id is not None:
                    room.recent.pop((sender, message_id), None)
                    self._connection.execute(
                        "DELETE FROM message_ids WHERE room = ? AND sender = ? AND id = ?",
                        (room.id, sender, message_id),
                    )
        also = ", sender = '', id = NULL" if erases else ""
        self._connection.execute(
            f"UPDATE {room.table} SET data = ?, trace = NULL, kind = {REDACTED}{also}"  # noqa: S608
            f" WHERE key IN ({marks})",
            (NO_DATA, *keys),
        )
        room.bytes -= sum(size - len(NO_DATA) for _, size, _, _ in found)
        return sorted(key & OFFSET_MASK for key in keys)

    def _lineage(self, room: Room) -> Lineage:
        (text,) = self._connection.execute("SELECT lineage FROM rooms WHERE id = ?", (room.id,)).fetchone()
        return parse_lineage(text)

    # Deleting.

    def delete(self, name: str, at: int) -> Deleted | None:
        """Delete a room, but for its rows, which `clear_deleted` removes; see `CorrectionStore.delete`."""
        with self._writer.transaction():
            room = self._writer.existing_room(name)
            if room is None or not room.head:
                return None
            self._writer.forget_room(name)
            lineage = self._lineage(room)
            epochs, former = epochs_of(room.epoch, lineage), begin_again(room.epoch, lineage)
            self._connection.execute("UPDATE rooms SET name = char(0) || id WHERE id = ?", (room.id,))
            epoch = secrets.token_hex(4)
            self._connection.execute(
                "INSERT INTO rooms (name, head, first, bytes, indexed, epoch, life, lineage, origin, at)"
                " VALUES (?, 0, 1, 0, 0, ?, ?, ?, ?, ?)",
                (name, epoch, self._file.life, format_lineage(former), epoch, at),
            )
            self._connection.execute("DELETE FROM seen WHERE room = ?", (name,))
            self._file.before_forgetting()
            self._journal.add(Journalled(at, name, epochs, deletes=True, head=room.head))
        return Deleted(epoch, room.head - room.first + 1)

    def clear_deleted(self) -> bool:
        """Remove some rows of rooms that were deleted, in one bounded transaction; return whether there may be more."""
        select = "SELECT id, first, head FROM rooms WHERE name < ? LIMIT 1"
        if self._connection.execute(select, (DELETED_NAMES_END,)).fetchone() is None:
            return False
        with self._writer.transaction():
            found = self._connection.execute(select, (DELETED_NAMES_END,)).fetchone()
            if found is None:  # another process has done it
                return False
            number, first, head = found
            low, table = (number & ROOM_MASK) << OFFSET_BITS, table_of(number >> ROOM_BITS)
            to = min(head, first + DELETE_ROWS - 1)
            self._connection.execute(
                f"DELETE FROM {table} WHERE key BETWEEN ? AND ?",  # noqa: S608
                (low | first, low | to),
            )
            gone = self._connection.execute(
                "DELETE FROM message_ids WHERE room = ? AND (sender, id) IN"
                " (SELECT sender, id FROM message_ids WHERE room = ? LIMIT ?)",
                (number, number, DELETE_ROWS),
            )
            if to < head:
                self._connection.execute("UPDATE rooms SET first = ? WHERE id = ?", (to + 1, number))
            elif gone.rowcount < DELETE_ROWS:
                self._connection.execute("DELETE FROM rooms WHERE id = ?", (number,))
            else:
                self._connection.execute("UPDATE rooms SET first = head + 1 WHERE id = ?", (number,))
            self._file.before_forgetting()
        return True

    # Copies of other logs.

    def put_room(self, room: RoomCopy) -> None:
        """Make a room; see `CorrectionStore.put_room`."""
        epoch = secrets.token_hex(4)
        former = format_lineage(lineage_of_copy(room.epoch, room.head, room.lineage))
        with self._writer.transaction():
            self._connection.execute(
                "INSERT INTO rooms (name, head, first, bytes, indexed, epoch, life, lineage, origin, at)"
                " VALUES (?, ?, ?, 0, ?, ?, ?, ?, ?, ?)",
                (room.room, room.first - 1, room.first, room.first - 1, epoch, self._file.life, former, epoch, room.at),
            )

    def put_messages(self, name: str, messages: Sequence[Message]) -> None:
        """Append messages as they are; see `CorrectionStore.put_messages`."""
        with self._writer.transaction():
            room = self._writer.room(name)
            for message in messages:
                row = stored_form(message)
                self._connection.execute(
                    f"INSERT INTO {room.table} (key, sender, at, id, epoch, data, kind, trace)"  # noqa: S608
                    " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                    (room.key(message.offset), message.sender or "", message.at, *row),
                )
                room.head, room.at = message.offset, message.at
                room.bytes += len(row.data) + MESSAGE_OVERHEAD_BYTES
            self._file.newest = Newest(room.id, room.head)
            self._writer.save_corrected(room)
        self._writer.merge_ids(name)

    def erase_marks(self, member: str) -> int:
        """Forget all read marks of a member."""
        with self._writer.transaction():
            return self._connection.execute("DELETE FROM seen WHERE member = ?", (member,)).rowcount

    def has_note(self, name: str) -> bool:
        """Return whether there is a note of this name."""
        return self._connection.execute("SELECT 1 FROM notes WHERE name = ?", (name,)).fetchone() is not None

    def note(self, name: str, value: bytes | None) -> None:
        """Keep or forget a note."""
        with self._writer.transaction():
            if value is None:
                self._connection.execute("DELETE FROM notes WHERE name = ?", (name,))
            else:
                self._connection.execute(
                    "INSERT INTO notes VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value",
                    (name, value),
                )

    # After a backup was put back.

    def replay(self) -> int:
        """Carry out what the journal has, as far as the log lacks it; return how many messages and rooms that were."""
        done = 0
        for line in self._journal.read():
            offsets = self._still_there(line)
            if offsets and line.deletes:
                done += self.delete(line.room, line.at) is not None
            elif offsets:
                done += len(self.redact(Redaction(line.room, offsets, line.at, line.erases)).offsets)
        return done

    def _still_there(self, line: Journalled) -> list[int]:
        with self._writer.transaction():
            room = self._writer.existing_room(line.room)
            return [] if room is None else still_there(line, room.epoch, room.head, self._lineage(room))
