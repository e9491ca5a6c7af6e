"""The writing half of a SQLite log: everything here runs on the writing thread, in transactions.

One file, although it is long: appending, ids and retention change the same rows within one transaction.
"""

from __future__ import annotations

import logging
import secrets
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

from trunkline.core.epochs import format_lineage
from trunkline.core.message import Draft, Receipt
from trunkline.core.read_mark import ReadMark
from trunkline.core.redaction import REDACTION, stored_redaction
from trunkline.core.retention import Retention
from trunkline.core.tail import MESSAGE_OVERHEAD_BYTES
from trunkline.errors import StoreUnavailable
from trunkline.stores.base import AHEAD_MS
from trunkline.stores.sqlite.file import STATEMENTS_CACHED, LogFile
from trunkline.stores.sqlite.place import Newest
from trunkline.stores.sqlite.rows import (
    OFFSET_BITS,
    OFFSET_MASK,
    ROOM_BITS,
    ROOM_MASK,
    by_room,
    standing,
    table_of,
)

log = logging.getLogger("trunkline")

ROWS_PER_STATEMENT_MAX = 64  # each width is a statement that SQLite prepares once and keeps
ROOMS_CACHED = 10_000
MERGE_IDS = 16_384  # a room's ids go into the tree when it has moved this far since the last time
RECENT_IDS_MAX = 200_000  # of all rooms, in memory; about 50 MB
TRIM_ROWS = 5000  # per transaction, so that a large trim never holds an append up for long

# {table} is the one that holds the room's messages.
_ADD = "INSERT INTO {table} (key, id, sender, at, data) VALUES {{}}"
_ADD_WHOLE = "INSERT INTO {table} (key, id, sender, at, data, epoch, stored, trace) VALUES {{}}"
_SAVE = """
    INSERT INTO rooms (id, name, head, first, bytes, indexed, at) VALUES {} ON CONFLICT (id) DO UPDATE SET
    head = excluded.head, first = excluded.first, bytes = excluded.bytes, indexed = excluded.indexed, at = excluded.at
"""
_LOAD = """
    SELECT id, head, first, bytes, indexed, at, epoch, life, lineage, origin FROM rooms WHERE name = ?
"""
_MARK = """
    INSERT INTO seen VALUES {} ON CONFLICT (room, member) DO UPDATE SET offset = excluded.offset, at = excluded.at
    WHERE excluded.offset > offset
"""
_FIND_IDS = """
    WITH wanted (n, room, sender, id) AS (VALUES {{}})
    SELECT n, offset, at FROM wanted CROSS JOIN message_ids USING (room, sender, id)
    JOIN {table} ON key = ((wanted.room & 8388607) << 40 | offset)
"""
_MERGE_IDS = """
    INSERT INTO message_ids SELECT ?, sender, id, key & ? FROM {table}
    WHERE key BETWEEN ? AND ? AND id IS NOT NULL ORDER BY sender, id
"""
_FORGET_IDS = """
    DELETE FROM message_ids WHERE room = ? AND (sender, id) IN
    (SELECT sender, id FROM {table} WHERE key BETWEEN ? AND ? AND id IS NOT NULL)
"""
# One look-up for each room.
_EXPIRED = """
    SELECT name FROM rooms JOIN {table} ON key = ((rooms.id & 8388607) << 40 | first)
    WHERE rooms.id BETWEEN ? AND ? AND first <= head
    AND (coalesce(stored, {table}.at) < {oldest} OR coalesce(stored, {table}.at) > ?)
"""

# What SQLite and its module raise for a value that cannot be stored, and not for a log that is away.
_NEVER_STORABLE = (
    sqlite3.IntegrityError, sqlite3.DataError, sqlite3.ProgrammingError, sqlite3.InterfaceError,
    OverflowError, UnicodeError, TypeError,
)  # fmt: skip


class Room:
    """What the writer knows of a room."""

    __slots__ = (
        "at", "bytes", "epoch", "first", "head", "id", "indexed", "keys", "name", "origin", "recent", "table", "turn",
    )  # fmt: skip

    def __init__(self, name: str, turn: int) -> None:
        self.name = name
        self.turn = turn  # what others have written after this turn is not known here
        self.id = self.head = self.bytes = self.indexed = self.at = 0
        self.first = 1
        self.epoch = self.origin = ""
        self.table = ""
        self.keys = 0  # of its messages, without their offsets
        self.recent: dict[tuple[str, str], tuple[int, int]] = {}  # (sender, id) → (offset, at), of those after indexed

    def key(self, offset: int) -> int:
        return self.keys | offset


class LogWriter:
    """What is written to one log.

    Attributes:
        trimmed: Rooms that were trimmed since this was emptied, with their new first offsets.
    """

    def __init__(self, file: LogFile, retention: Retention) -> None:
        self.trimmed: dict[str, int] = {}
        self._file = file
        self._writer = file.writer
        self._retention = retention
        self._rooms: dict[str, Room] = {}
        self._tables: set[str] = set()  # that are known to be there
        self._turn = 0  # grows whenever other processes have written
        self._data_version = 0  # SQLite's, as it was in our last turn

    def forget_cached(self) -> None:
        """Read rooms anew from the file when they are used next."""
        self._rooms.clear()
        self._tables.clear()

    def append(self, drafts: Sequence[Draft]) -> list[Receipt | StoreUnavailable]:
        """Store drafts in one transaction; see `LogStore.append`."""
        rooms: dict[str, Room] = {}
        try:
            with self.transaction():
                receipts: list[Receipt | StoreUnavailable] = [*self._append_all(drafts, rooms)]
        except _NEVER_STORABLE as error:
            if len(drafts) > 1:  # the others can be
                return [one for draft in drafts for one in self.append([draft])]
            log.error("a message of %s cannot be stored: %s", drafts[0].room, error)
            return [StoreUnavailable("the log cannot take this message, and will not later")]
        for room in rooms.values():
            if room.head - room.indexed >= MERGE_IDS:
                try:
                    self.merge_ids(room.name)
                except sqlite3.Error as error:  # the messages are stored; their ids stay in memory until it works
                    log.warning("ids of %s were not merged: %s", room.name, error)
        return receipts

    @contextmanager
    def transaction(self) -> Iterator[None]:
        with self._file.turn():
            self._writer.execute("BEGIN IMMEDIATE")
            try:
                if self._file.shared:
                    (version,) = self._writer.execute("PRAGMA data_version").fetchone()
                    if version != self._data_version:  # not so by what we wrote ourselves
                        self._data_version = version
                        self._turn += 1
                yield
                generation = self._file.before_commit()
                self._writer.execute("COMMIT")
                self._file.after_commit(generation)
            except BaseException:
                self._file.newest = None
                self._rooms.clear()  # they may be ahead of what is stored
                self._tables.clear()
                if self._writer.in_transaction:
                    self._writer.execute("ROLLBACK")
                raise

    def _append_all(self, drafts: Sequence[Draft], rooms: dict[str, Room]) -> list[Receipt]:
        for draft in drafts:
            if draft.room not in rooms:
                rooms[draft.room] = self.room(draft.room)
        indexed = self._find_ids(drafts, rooms)
        receipts: list[Receipt] = []
        rows: dict[str, list[Any]] = {}
        whole_rows: dict[str, list[Any]] = {}
        written: Room | None = None
        for n, draft in enumerate(drafts):
            room, message_id, sender, at = rooms[draft.room], draft.id, draft.sender or "", draft.at
            if message_id is not None:
                named = (sender, message_id)
                known = room.recent.get(named) or indexed.get(n)
                if known is not None:
                    receipts.append(Receipt(draft.room, room.epoch, known[0], message_id, known[1], True))
                    continue
            written = room
            head = room.head = room.head + 1
            room.bytes += len(draft.json) + MESSAGE_OVERHEAD_BYTES
            if at < room.at:
                at = room.at
            else:
                room.at = at
            if message_id is not None:
                room.recent[named] = (head, at)
            row = (room.keys | head, message_id, sender, at, draft.json)
            trace = draft.trace
            if at == draft.at and (message_id is not None or room.epoch == room.origin) and trace is None:
                if room.table not in rows:
                    rows[room.table] = []
                rows[room.table] += row
            else:
                stored = draft.at if at != draft.at else None
                text = None if trace is None else trace.text
                whole_rows.setdefault(room.table, []).extend((*row, room.epoch, stored, text))
            shown = f"{room.epoch}.{head}" if message_id is None else message_id
            receipts.append(Receipt(draft.room, room.epoch, head, shown, at, False))
        for table, values in rows.items():
            self._insert(_ADD.format(table=table), 5, values)
        for table, values in whole_rows.items():
            self._insert(_ADD_WHOLE.format(table=table), 8, values)
        self._save(rooms.values())
        if written is not None:
            self._file.newest = Newest(written.id, written.head)
        for room in rooms.values():
            self._cut_to_size(room)
        return receipts

    def _save(self, rooms: Iterable[Room]) -> None:
        rows: list[Any] = []
        for room in rooms:
            rows += (room.id, room.name, room.head, room.first, room.bytes, room.indexed, room.at)
        self._insert(_SAVE, 7, rows)

    def room(self, name: str) -> Room:
        """Return the writer's room, within a transaction: it is made if it is not there."""
        room = self._rooms.get(name)
        if room is None:
            room = self._load(name) or self._make(name)
            if len(self._rooms) >= ROOMS_CACHED or sum(len(r.recent) for r in self._rooms.values()) > RECENT_IDS_MAX:
                self._rooms.clear()
            self._rooms[name] = room
        elif room.turn != self._turn and not self._learn(room):  # it was forgotten, and perhaps begun anew
            del self._rooms[name]
            return self.room(name)
        return room

    def existing_room(self, name: str) -> Room | None:
        """Return a room, within a transaction; None if it is not there."""
        room = self._rooms.get(name)
        if room is None:
            return self._load(name)
        return room if room.turn == self._turn or self._learn(room) else self._load(name)

    def forget_room(self, name: str) -> None:
        """Read a room anew when it is used next."""
        self._rooms.pop(name, None)

    def save_corrected(self, room: Room) -> None:
        """Save a room that `existing_room` has returned."""
        self._save([room])
        self._cut_to_size(room)

    def _learn(self, room: Room) -> bool:
        """Return what others have written to a room since we did; False if it is another room by now."""
        found = self._writer.execute(
            "SELECT head, first, bytes, indexed, at FROM rooms WHERE id = ? AND name = ? AND epoch = ?",
            (room.id, room.name, room.epoch),
        ).fetchone()
        if found is None:
            return False
        before = room.head
        room.head, room.first, room.bytes, room.indexed, room.at = found
        room.recent = {key: value for key, value in room.recent.items() if value[0] > room.indexed}
        self._remember_ids(room, max(before, room.indexed))
        room.turn = self._turn
        return True

    def _load(self, name: str) -> Room | None:
        found = self._writer.execute(_LOAD, (name,)).fetchone()
        if found is None:
            return None
        room = Room(name, self._turn)
        room.id, room.head, room.first, room.bytes, room.indexed, room.at, *stood = found
        room.epoch, lineage, room.origin = standing(self._file, self._writer, room.head, *stood)
        if stood[:3] != [room.epoch, self._file.life, format_lineage(lineage)] or stood[3] != room.origin:
            self._writer.execute(
                "UPDATE rooms SET epoch = ?, life = ?, lineage = ?, origin = ? WHERE id = ?",
                (room.epoch, self._file.life, format_lineage(lineage), room.origin, room.id),
            )
        self._choose_table(room)
        self._remember_ids(room, room.indexed)
        return room

    def _make(self, name: str) -> Room:
        room = Room(name, self._turn)
        room.epoch = room.origin = self._file.first_epoch(self._writer)
        made = self._writer.execute(
            "INSERT INTO rooms (name, head, first, bytes, indexed, epoch, life, origin)"
            " VALUES (?, 0, 1, 0, 0, ?, ?, ?)",
            (name, room.epoch, self._file.life, room.origin),
        )
        room.id = made.lastrowid or 0
        self._choose_table(room)
        return room

    def _choose_table(self, room: Room) -> None:
        """Return the table of the room's messages, within a transaction: it is made if it is not there."""
        room.keys = (room.id & ROOM_MASK) << OFFSET_BITS
        room.table = table_of(room.id >> ROOM_BITS)
        if room.table not in self._tables:
            # Its columns are those of the first one, whatever versions have added.
            (schema,) = self._writer.execute("SELECT sql FROM sqlite_schema WHERE name = 'messages'").fetchone()
            self._writer.execute(schema.replace("TABLE messages", f"TABLE IF NOT EXISTS {room.table}", 1))
            self._tables.add(room.table)

    def _remember_ids(self, room: Room, after: int) -> None:
        behind = self._writer.execute(
            f"SELECT sender, id, key, at, CASE WHEN kind = {REDACTION} THEN data END FROM {room.table}"  # noqa: S608
            f" WHERE key BETWEEN ? AND ? AND (id IS NOT NULL OR kind = {REDACTION})",
            (room.key(after + 1), room.key(room.head)),
        )
        erased: set[int] = set()
        for sender, message_id, key, at, redaction in behind:
            if redaction is None:
                room.recent[sender, message_id] = (key & OFFSET_MASK, at)
            else:  # of another process: ids that it has erased are not known any more
                entry = stored_redaction(room.name, key & OFFSET_MASK, "", at, redaction)
                erased.update(entry.redacts if entry.erased else ())
        if erased:
            room.recent = {named: value for named, value in room.recent.items() if value[0] not in erased}

    def _find_ids(self, drafts: Sequence[Draft], rooms: dict[str, Room]) -> dict[int, tuple[int, int]]:
        """Return which of the drafts have an id that is in the tree: index of the draft → (offset, at)."""
        wanted: dict[str, list[Any]] = {}
        for n, draft in enumerate(drafts):
            if draft.id is not None:
                room, sender = rooms[draft.room], draft.sender or ""
                if room.indexed >= room.first and (sender, draft.id) not in room.recent:
                    wanted.setdefault(room.table, []).extend((n, room.id, sender, draft.id))
        found: dict[int, tuple[int, int]] = {}
        for table, values in wanted.items():
            for statement, some in _wide(_FIND_IDS.format(table=table), 4, values):
                for n, offset, at in self._writer.execute(statement, some).fetchall():
                    found[n] = (offset, at)
        return found

    def find_id(self, name: str, sender: str | None, message_id: str) -> Receipt | None:
        """Return the receipt of a message that is retained; see `LogStore.find_id`."""
        with self.transaction():
            if self.existing_room(name) is None:
                return None
            room, named = self.room(name), (sender or "", message_id)
            known = room.recent.get(named) or self._find_ids(
                [Draft(name, message_id, sender, 0, b"")], {name: room}
            ).get(0)
            return None if known is None else Receipt(name, room.epoch, known[0], message_id, known[1], True)

    def merge_ids(self, name: str) -> None:
        """Put the ids of a room that are in memory into the tree."""
        with self.transaction():
            room = self.room(name)
            bounds = (room.key(room.indexed + 1), room.key(room.head))
            self._writer.execute(_MERGE_IDS.format(table=room.table), (room.id, OFFSET_MASK, *bounds))
            room.indexed = room.head
            self._save([room])
        room.recent.clear()

    def _insert(self, statement: str, width: int, values: list[Any]) -> None:
        for wide, some in _wide(statement, width, values):
            self._writer.execute(wide, some)

    def mark(self, marks: Sequence[ReadMark]) -> None:
        """Move read marks forward; see `ReadMarkStore.mark`."""
        # One statement must not meet a row twice, and only the furthest of a member matters.
        furthest: dict[tuple[str, str], ReadMark] = {}
        for mark in marks:
            known = furthest.get((mark.room, mark.member))
            if known is None or known.offset < mark.offset:
                furthest[mark.room, mark.member] = mark
        with self.transaction():
            self._insert(_MARK, 4, [value for mark in furthest.values() for value in mark])

    # Retention.

    def _cut_to_size(self, room: Room) -> None:
        """Trim within the append's transaction; a little late on purpose, so that most appends have nothing to trim."""
        retention = self._retention.for_room(room.name)
        over = room.head - room.first + 1 - retention.messages_max
        if over > min(1000, retention.messages_max // 100):
            self._cut(room, room.first + over)
        over_bytes = room.bytes - retention.bytes_max
        if over_bytes > min(2**20, retention.bytes_max // 100):
            first = room.first
            for (size,) in self._writer.execute(
                f"SELECT length(data) FROM {room.table} WHERE key BETWEEN ? AND ? ORDER BY key",  # noqa: S608
                (room.key(room.first), room.key(room.head)),
            ):
                over_bytes -= size + MESSAGE_OVERHEAD_BYTES
                first += 1
                if over_bytes <= 0:
                    break
            self._cut(room, first)

    def _cut(self, room: Room, first: int) -> None:
        if first <= room.first:
            return
        bounds = (room.key(room.first), room.key(first - 1))
        size = self._writer.execute(
            f"SELECT sum(length(data)) FROM {room.table} WHERE key BETWEEN ? AND ?",  # noqa: S608
            bounds,
        ).fetchone()
        if room.indexed >= room.first:
            self._writer.execute(_FORGET_IDS.format(table=room.table), (room.id, *bounds))
        self._writer.execute(f"DELETE FROM {room.table} WHERE key BETWEEN ? AND ?", bounds)  # noqa: S608
        if first - 1 > room.indexed:
            room.indexed = first - 1
            room.recent = {key: value for key, value in room.recent.items() if value[0] >= first}
        room.bytes -= (size[0] or 0) + MESSAGE_OVERHEAD_BYTES * (first - room.first)
        room.first = first
        self._save([room])
        self.trimmed[room.name] = first

    def oversized(self) -> list[str]:
        """Return the rooms that hold more than they may; which is so after the settings have changed."""
        messages_max = by_room(self._retention, "name", lambda bounds: bounds.messages_max)
        bytes_max = by_room(self._retention, "name", lambda bounds: bounds.bytes_max)
        found = self._writer.execute(
            f"SELECT name FROM rooms WHERE head - first >= {messages_max} * 1.01 OR bytes > {bytes_max} * 1.01"  # noqa: S608
        )
        return [name for (name,) in found.fetchall()]

    def shrink(self, name: str) -> bool:
        """Cut a room that holds more than it may, in one bounded transaction; return whether there may be more."""
        with self.transaction():
            room = self.existing_room(name)
            if room is None:
                return False
            bounds, first, size = self._retention.for_room(name), room.first, room.bytes
            sizes = self._writer.execute(
                f"SELECT length(data) FROM {room.table} WHERE key BETWEEN ? AND ? ORDER BY key LIMIT ?",  # noqa: S608
                (room.key(first), room.key(room.head), TRIM_ROWS),
            ).fetchall()
            for (length,) in sizes:
                if room.head - first + 1 <= bounds.messages_max and size <= bounds.bytes_max:
                    break
                size -= length + MESSAGE_OVERHEAD_BYTES
                first += 1
            cut = first - room.first
            self._cut(room, first)
        return cut == TRIM_ROWS

    def expired(self, now_ms: int) -> list[str]:
        """Return the rooms whose earliest message is too old, or of the future."""
        oldest = by_room(self._retention, "name", lambda bounds: bounds.oldest_ms(now_ms))
        names: list[str] = []
        tables = self._writer.execute("SELECT name FROM sqlite_schema WHERE type = 'table' AND name GLOB 'messages*'")
        for (table,) in tables.fetchall():
            if table == "message_ids":
                continue
            number = int(table.removeprefix("messages_") or 0) if table != "messages" else 0
            bounds = (number << ROOM_BITS, number << ROOM_BITS | ROOM_MASK)
            expired = _EXPIRED.format(table=table, oldest=oldest)
            found = self._writer.execute(expired, (*bounds, now_ms + AHEAD_MS))
            names += [name for (name,) in found.fetchall()]
        return names

    def expire(self, name: str, now_ms: int) -> bool:
        """Cut messages that are too old, in one bounded transaction; return whether there may be more."""
        oldest_ms = self._retention.for_room(name).oldest_ms(now_ms)
        with self.transaction():
            room = self.existing_room(name)
            if room is None:  # it was forgotten meanwhile
                return False
            stamps = self._writer.execute(
                f"SELECT coalesce(stored, at) FROM {room.table}"  # noqa: S608
                " WHERE key BETWEEN ? AND ? ORDER BY key LIMIT ?",
                (room.key(room.first), room.key(room.head), TRIM_ROWS),
            ).fetchall()
            # What stands before an old message was stored before it, whatever its own stamp says.
            count = max((n for n, (at,) in enumerate(stamps, 1) if at < oldest_ms), default=0)
            if not count and stamps and stamps[0][0] > now_ms + AHEAD_MS:
                ahead = next((n for n, (at,) in enumerate(stamps) if at <= now_ms + AHEAD_MS), len(stamps))
                count = self._expire_ahead(room, ahead, oldest_ms, now_ms)
            if count:
                self._cut(room, room.first + count)
        return count == TRIM_ROWS

    def _expire_ahead(self, room: Room, ahead: int, oldest_ms: int, now_ms: int) -> int:
        """Return how many of a room's first messages, which are of the future, are too old all the same.

        When they were stored is not known; but they were there when this was noticed.
        """
        since, to = self._writer.execute("SELECT ahead_since, ahead_to FROM rooms WHERE id = ?", (room.id,)).fetchone()
        if since is None or to < room.first or since > now_ms:
            self._writer.execute(
                "UPDATE rooms SET ahead_since = ?, ahead_to = ? WHERE id = ?", (now_ms, room.head, room.id)
            )
            return 0
        return min(ahead, to - room.first + 1) if since < oldest_ms else 0

    def forget(self, names: Sequence[str]) -> list[str]:
        """Forget rooms that hold no message; return which."""
        forgotten: list[str] = []
        with self.transaction():
            for name in names:
                found = self._writer.execute(
                    "DELETE FROM rooms WHERE name = ? AND first > head RETURNING id", (name,)
                ).fetchone()
                if found is not None:
                    self._writer.execute("DELETE FROM message_ids WHERE room = ?", found)
                    self._writer.execute("DELETE FROM seen WHERE room = ?", (name,))
                    forgotten.append(name)
            if forgotten:
                self._file.before_forgetting()
                # Who publishes there again must not go on in an epoch in which other messages were read
                self._writer.execute("UPDATE log SET epoch = ?", (secrets.token_hex(4),))
        for name in forgotten:
            self._rooms.pop(name, None)
        return forgotten

    def forget_marks(self, now_ms: int) -> bool:
        """Forget read marks that are too old, in one bounded transaction; return whether there may be more."""
        latest = now_ms - round(self._retention.shortest_age_s * 1000)  # by an index; then each room's own age
        old = f"at < {latest} AND at < " + by_room(self._retention, "room", lambda bounds: bounds.oldest_ms(now_ms))
        if not self._writer.execute(f"SELECT 1 FROM seen WHERE {old} LIMIT 1").fetchone():  # noqa: S608
            return False
        with self.transaction():
            gone = self._writer.execute(
                f"DELETE FROM seen WHERE (room, member) IN (SELECT room, member FROM seen WHERE {old} LIMIT ?)",  # noqa: S608
                (TRIM_ROWS,),
            )
            return gone.rowcount == TRIM_ROWS


def _wide(statement: str, width: int, values: list[Any]) -> Iterator[tuple[str, list[Any]]]:
    """Iterate over *statement* with as many rows of VALUES as it may have, and their values."""
    step = width * ROWS_PER_STATEMENT_MAX
    for at in range(0, len(values), step):
        some = values[at : at + step]
        yield _with_rows(statement, width, len(some) // width), some


@lru_cache(STATEMENTS_CACHED)
def _with_rows(statement: str, width: int, rows: int) -> str:
    row = "(" + ",".join("?" * width) + ")"
    return statement.format(",".join([row] * rows))
