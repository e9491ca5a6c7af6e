"""Logs in one SQLite file: the default store.

Theory of operation
===================

One thread writes, one thread reads; the event loop does neither. The hub gives `append` everything that arrived while
the last commit ran, and all of it becomes one transaction (group commit), idempotency included: the look-up of ids,
the offsets and the rows are one atomic step.

The writer keeps the head of each room it has written to, so a transaction asks the database nothing it knows. It uses
few and wide statements (many rows of VALUES each) on purpose: Python's sqlite3 lets go of the interpreter lock around
every step, and taking it back from a busy event loop can cost milliseconds. Four steps a commit, not four hundred.

Several processes of one machine may share the file (`shared`). They take turns to write: a lock that the kernel hands
on in order, not SQLite's own, which is asked for again and again. Whoever has the turn first learns what the others
have written meanwhile, room by room, as far as it needs to know; and tells them afterwards which rooms have moved
(`wake.py`).

Idempotency is exact, and nearly free. A message's row holds its id; that row is the truth. The tree that finds ids
(`message_ids`) lags behind: ids are random, so adding 20 of them to a large tree writes 20 pages, more than all the
rest of the commit. The ids that are not in the tree yet, at most the last 16 thousand of a room, are in the writer's
memory (`_Room.recent`), read back from the rows when the room is opened, and go into the tree sorted and together.

What is guaranteed, by `PRAGMA synchronous`:

    NORMAL  (default)  survives the death of the process at any moment, kill -9 included: what was acknowledged is in
                       the operating system's hands. A power loss or kernel crash may take back the last commits (the
                       newest messages disappear together; the file stays whole). So after such a stop each room goes
                       on in a new epoch, and readers of what is gone are told exactly what (sqlite_place.py).
    FULL    (durable)  survives those too: each commit waits for the disk.

A room's number has 63 bits, and its messages lie under (number, offset) packed into one integer, because a table with
an integer key is a third faster to append to than one with two columns. 23 bits are left for the number, so there is a
table for each 8 million rooms: `messages`, `messages_1`, …, made when it is needed.
"""

from __future__ import annotations

import logging
import secrets
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from trunkline.core.epochs import format_lineage, go_on, parse_lineage
from trunkline.core.limits import Retention
from trunkline.core.mark import Mark
from trunkline.core.message import Draft, Message, Receipt
from trunkline.core.position import Lineage, Position
from trunkline.core.room import MESSAGE_OVERHEAD_BYTES, clip
from trunkline.errors import ConfigError, StoreUnavailable
from trunkline.stores.base import AHEAD_MS, EMPTY_AGES, Bus, Head, Moved, Page
from trunkline.stores.sqlite_file import LogFile
from trunkline.stores.sqlite_place import Newest
from trunkline.stores.wake import Wake
from trunkline.stores.worker import Worker

log = logging.getLogger("trunkline")

OFFSET_BITS = 40  # a trillion messages a room; leaves 23 bits, 8 million rooms a table
OFFSET_MASK = (1 << OFFSET_BITS) - 1
ROOM_BITS = 23
ROOM_MASK = (1 << ROOM_BITS) - 1
ROWS_PER_STATEMENT_MAX = 64  # each width is a statement that SQLite prepares once and keeps
NAMES_PER_STATEMENT_MAX = 500
ROOMS_CACHED = 10_000
MERGE_IDS = 16_384  # a room's ids go into the tree when it has moved this far since the last time
RECENT_IDS_MAX = 200_000  # of all rooms, in memory; about 50 MB
TRIM_ROWS = 5000  # per transaction, so that a large trim never holds an append up for long

# {table} is the one that holds the room's messages.
_ADD = "INSERT INTO {table} (key, id, sender, at, data) VALUES {{}}"
_ADD_WHOLE = "INSERT INTO {table} (key, id, sender, at, data, epoch, stored) VALUES {{}}"
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
    AND (coalesce(stored, {table}.at) < ? OR coalesce(stored, {table}.at) > ?)
"""

# What SQLite and its module raise for a value that cannot be stored, and not for a log that is away.
_NEVER_STORABLE = (
    sqlite3.IntegrityError, sqlite3.DataError, sqlite3.ProgrammingError, sqlite3.InterfaceError,
    OverflowError, UnicodeError, TypeError,
)  # fmt: skip

T = TypeVar("T")


class _Room:
    """What the writer knows of a room."""

    __slots__ = ("at", "bytes", "epoch", "first", "head", "id", "indexed", "name", "origin", "recent", "table", "turn")

    def __init__(self, name: str, turn: int) -> None:
        self.name = name
        self.turn = turn  # what others have written after this turn is not known here
        self.id = self.head = self.bytes = self.indexed = self.at = 0
        self.first = 1
        self.epoch = self.origin = ""
        self.table = ""
        self.recent: dict[tuple[str, str], tuple[int, int]] = {}  # (sender, id) → (offset, at), of those after indexed

    def key(self, offset: int) -> int:
        return (self.id & ROOM_MASK) << OFFSET_BITS | offset


class SqliteStore:
    """A store in one file (and SQLite's `-wal` and `-shm` beside it).

    Args:
        path: The file; it is made if it is not there, its folder is not.
        durable: Wait for the disk at each commit.
        shared: Other processes of this machine use the file, too.
        siblings: They are workers of our own parent, which replaces those that end.
    """

    def __init__(
        self,
        path: str | Path,
        retention: Retention,
        *,
        durable: bool = False,
        shared: bool = False,
        siblings: bool = False,
    ) -> None:
        self.shared = shared
        self.moved: Moved | None = None
        self._options = {"durable": durable, "shared": shared, "siblings": siblings}
        self._file = LogFile(Path(path), **self._options)
        self._wake = Wake(Path(f"{self._file.path}-wake"), self._woken) if shared else None
        self.bus: Bus | None = self._wake
        self._retention = retention
        self._write_thread: Worker | None = None
        self._read_thread: Worker | None = None
        self._writer: sqlite3.Connection
        self._reader: sqlite3.Connection
        self._rooms: dict[str, _Room] = {}
        self._tables: set[str] = set()  # that are known to be there
        self._trimmed: dict[str, int] = {}
        self._turn = 0  # grows whenever others have written
        self._data_version = 0  # SQLite's, as it was in our last turn
        self._seen_version = 0  # SQLite's, as it was when we last looked whether others have written

    @property
    def location(self) -> str:
        return str(self._file.path)

    async def start(self) -> None:
        self._file = LogFile(self._file.path, **self._options)
        self._write_thread = Worker("trunkline-write")
        self._read_thread = Worker("trunkline-read")
        try:
            await self._write_thread.call(self._file.open)
            self._writer, self._reader = self._file.writer, self._file.reader
            self._rooms.clear()
            self._tables.clear()
            if self._wake is not None:
                self._wake.start()
        except OSError as error:
            await self.close()
            raise ConfigError(f"store: {self._file.path} cannot be shared: {error}") from error
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        if self._wake is not None:
            self._wake.close()
        if self._read_thread is not None:
            await self._read_thread.close()
        if self._write_thread is not None:
            try:
                await self._write_thread.call(self._file.stop)
            except (sqlite3.Error, OSError, StoreUnavailable) as error:
                log.warning("%s was not closed in order: %s", self._file.path, error)
            await self._write_thread.close()
        self._read_thread = self._write_thread = None
        self._file.close()

    async def follow(self, room: str) -> None:
        """All are told of all rooms."""

    def unfollow(self, room: str) -> None:
        """All are told of all rooms."""

    async def certain(self) -> bool:
        seen = self._seen_version
        self._seen_version = await self._on(self._read_thread, self._version)
        return not self.shared or self._seen_version == seen

    async def write_something(self) -> None:
        await self._on(self._write_thread, self._file.write_something)

    async def begin_epochs(self) -> None:
        await self._on(self._write_thread, self._file.begin_life)
        self._rooms.clear()

    async def append(self, drafts: Sequence[Draft]) -> list[Receipt | StoreUnavailable]:
        outcomes = await self._on(self._write_thread, lambda: self._append(drafts))
        if self._wake is not None:
            heads = {done.room: done.offset for done in outcomes if isinstance(done, Receipt) and not done.duplicate}
            hint = "\n".join(f"{room} {head}" for room, head in heads.items()).encode()
            if heads:
                self._wake.hint(hint)
        return outcomes

    def _woken(self, hint: bytes) -> None:
        if self.moved is not None:
            pairs = (line.rpartition(" ") for line in hint.decode().splitlines())
            self.moved({room: int(head) for room, _, head in pairs} or None)

    async def read(self, room: str, after: int, messages_max: int, bytes_max: int) -> Page:
        return await self._on(self._read_thread, lambda: self._read(room, after, messages_max, bytes_max))

    async def head(self, room: str) -> Head:
        return await self._on(self._read_thread, lambda: self._head(room))

    async def heads(self, rooms: Sequence[str]) -> dict[str, Position]:
        return await self._on(self._read_thread, lambda: self._heads(rooms))

    async def mark(self, marks: Sequence[Mark]) -> None:
        await self._on(self._write_thread, lambda: self._mark(marks))

    async def marks(self, room: str, marks_max: int) -> list[Mark]:
        return await self._on(self._read_thread, lambda: self._marks(room, marks_max))

    async def marks_of(self, member: str, rooms: Sequence[str]) -> dict[str, int]:
        return await self._on(self._read_thread, lambda: self._marks_of(member, rooms))

    async def trim(self, now_ms: int) -> dict[str, int]:
        oldest_ms = now_ms - round(self._retention.age_s * 1000)
        # Each call is short, so that appends have their turn in between.
        for name in await self._on(self._write_thread, lambda: self._expired(oldest_ms, now_ms)):
            while await self._on(self._write_thread, partial(self._expire, name, oldest_ms, now_ms)):
                pass
        while await self._on(self._write_thread, partial(self._forget_marks, oldest_ms)):
            pass
        trimmed, self._trimmed = self._trimmed, {}
        return trimmed

    async def empty_rooms(self, now_ms: int, rooms_max: int) -> list[str]:
        before = now_ms - round(EMPTY_AGES * self._retention.age_s * 1000)
        return await self._on(self._read_thread, lambda: self._empty_rooms(before, now_ms + AHEAD_MS, rooms_max))

    async def forget(self, rooms: Sequence[str]) -> list[str]:
        return await self._on(self._write_thread, lambda: self._forget(rooms))

    async def _on(self, thread: Worker | None, call: Callable[[], T]) -> T:
        if thread is None:
            raise StoreUnavailable("the log is closed")
        try:
            return await thread.call(call)
        except sqlite3.Error as error:
            raise StoreUnavailable(f"the log could not be reached: {error}") from error

    # On the writing thread.

    def _append(self, drafts: Sequence[Draft]) -> list[Receipt | StoreUnavailable]:
        rooms: dict[str, _Room] = {}
        try:
            with self._transaction():
                receipts: list[Receipt | StoreUnavailable] = [*self._append_all(drafts, rooms)]
        except _NEVER_STORABLE as error:
            if len(drafts) > 1:  # its neighbours can be
                return [one for draft in drafts for one in self._append([draft])]
            log.error("a message of %s cannot be stored: %s", drafts[0].room, error)
            return [StoreUnavailable("the log cannot take this message, and will not later")]
        for room in rooms.values():
            if room.head - room.indexed >= MERGE_IDS:
                try:
                    self._merge_ids(room.name)
                except sqlite3.Error as error:  # the messages are stored; their ids stay in memory until it works
                    log.warning("ids of %s were not merged: %s", room.name, error)
        return receipts

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with self._file.turn():
            self._writer.execute("BEGIN IMMEDIATE")
            try:
                if self.shared:
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

    def _append_all(self, drafts: Sequence[Draft], rooms: dict[str, _Room]) -> list[Receipt]:
        for draft in drafts:
            if draft.room not in rooms:
                rooms[draft.room] = self._room(draft.room)
        indexed = self._find_ids(drafts, rooms)
        receipts: list[Receipt] = []
        rows: dict[str, list[Any]] = {}
        whole_rows: dict[str, list[Any]] = {}
        written: _Room | None = None
        for n, draft in enumerate(drafts):
            room, sender = rooms[draft.room], draft.sender or ""
            if draft.id is not None:
                known = room.recent.get((sender, draft.id)) or indexed.get(n)
                if known is not None:
                    receipts.append(Receipt(draft.room, room.epoch, known[0], draft.id, known[1], True))
                    continue
            written = room
            room.head += 1
            room.bytes += len(draft.json) + MESSAGE_OVERHEAD_BYTES
            at = max(draft.at, room.at)
            room.at = at
            if draft.id is not None:
                room.recent[sender, draft.id] = (room.head, at)
                message_id = draft.id
            else:
                message_id = f"{room.epoch}.{room.head}"
            row = (room.key(room.head), draft.id, sender, at, draft.json)
            if at == draft.at and (room.epoch == room.origin or draft.id is not None):
                rows.setdefault(room.table, []).extend(row)
            else:
                stored = draft.at if at != draft.at else None
                whole_rows.setdefault(room.table, []).extend((*row, room.epoch, stored))
            receipts.append(Receipt(draft.room, room.epoch, room.head, message_id, at, False))
        for table, values in rows.items():
            self._insert(_ADD.format(table=table), 5, values)
        for table, values in whole_rows.items():
            self._insert(_ADD_WHOLE.format(table=table), 7, values)
        self._save(rooms.values())
        if written is not None:
            self._file.newest = Newest(written.id, written.head)
        for room in rooms.values():
            self._cut_to_size(room)
        return receipts

    def _save(self, rooms: Iterable[_Room]) -> None:
        rows: list[Any] = []
        for room in rooms:
            rows += (room.id, room.name, room.head, room.first, room.bytes, room.indexed, room.at)
        self._insert(_SAVE, 7, rows)

    def _room(self, name: str) -> _Room:
        """The writer's room, within a transaction: it is made if it is not there."""
        room = self._rooms.get(name)
        if room is None:
            room = self._load(name) or self._make(name)
            if len(self._rooms) >= ROOMS_CACHED or sum(len(r.recent) for r in self._rooms.values()) > RECENT_IDS_MAX:
                self._rooms.clear()
            self._rooms[name] = room
        elif room.turn != self._turn and not self._learn(room):  # it was forgotten, and perhaps begun anew
            del self._rooms[name]
            return self._room(name)
        return room

    def _learn(self, room: _Room) -> bool:
        """What others have written to a room since we did; False if it is another room by now."""
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

    def _load(self, name: str) -> _Room | None:
        found = self._writer.execute(_LOAD, (name,)).fetchone()
        if found is None:
            return None
        room = _Room(name, self._turn)
        room.id, room.head, room.first, room.bytes, room.indexed, room.at, *standing = found
        room.epoch, lineage, room.origin = self._standing(self._writer, room.head, *standing)
        if standing[:3] != [room.epoch, self._file.life, format_lineage(lineage)] or standing[3] != room.origin:
            self._writer.execute(
                "UPDATE rooms SET epoch = ?, life = ?, lineage = ?, origin = ? WHERE id = ?",
                (room.epoch, self._file.life, format_lineage(lineage), room.origin, room.id),
            )
        self._choose_table(room)
        self._remember_ids(room, room.indexed)
        return room

    def _make(self, name: str) -> _Room:
        room = _Room(name, self._turn)
        room.epoch = room.origin = self._file.first_epoch(self._writer)
        made = self._writer.execute(
            "INSERT INTO rooms (name, head, first, bytes, indexed, epoch, life, origin)"
            " VALUES (?, 0, 1, 0, 0, ?, ?, ?)",
            (name, room.epoch, self._file.life, room.origin),
        )
        room.id = made.lastrowid or 0
        self._choose_table(room)
        return room

    def _choose_table(self, room: _Room) -> None:
        """Which table the room's messages are in, within a transaction: it is made if it is not there."""
        room.table = _table(room.id >> ROOM_BITS)
        if room.table not in self._tables:
            # Its columns are those of the first one, whatever versions have added.
            (schema,) = self._writer.execute("SELECT sql FROM sqlite_schema WHERE name = 'messages'").fetchone()
            self._writer.execute(schema.replace("TABLE messages", f"TABLE IF NOT EXISTS {room.table}", 1))
            self._tables.add(room.table)

    def _standing(
        self, connection: sqlite3.Connection, head: int, epoch: str, life: int, lineage: str, origin: str
    ) -> tuple[str, Lineage, str]:
        """The epoch, lineage and first epoch of a room in this life of the log."""
        epoch = epoch or self._file.first_epoch(connection)
        origin = origin or epoch
        lives = self._file.lives_since(life)
        return (*go_on(epoch, parse_lineage(lineage), head, origin, lives), origin)

    def _remember_ids(self, room: _Room, after: int) -> None:
        behind = self._writer.execute(
            f"SELECT sender, id, key, at FROM {room.table} WHERE key BETWEEN ? AND ? AND id IS NOT NULL",  # noqa: S608
            (room.key(after + 1), room.key(room.head)),
        )
        for sender, message_id, key, at in behind:
            room.recent[sender, message_id] = (key & OFFSET_MASK, at)

    def _find_ids(self, drafts: Sequence[Draft], rooms: dict[str, _Room]) -> dict[int, tuple[int, int]]:
        """Which of the drafts have an id that is in the tree: index of the draft → (offset, at)."""
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

    def _merge_ids(self, name: str) -> None:
        with self._transaction():
            room = self._room(name)
            bounds = (room.key(room.indexed + 1), room.key(room.head))
            self._writer.execute(_MERGE_IDS.format(table=room.table), (room.id, OFFSET_MASK, *bounds))
            room.indexed = room.head
            self._save([room])
        room.recent.clear()

    def _insert(self, statement: str, width: int, values: list[Any]) -> None:
        for wide, some in _wide(statement, width, values):
            self._writer.execute(wide, some)

    def _mark(self, marks: Sequence[Mark]) -> None:
        # One statement must not meet a row twice, and only the furthest of a member matters.
        furthest: dict[tuple[str, str], Mark] = {}
        for mark in marks:
            known = furthest.get((mark.room, mark.member))
            if known is None or known.offset < mark.offset:
                furthest[mark.room, mark.member] = mark
        with self._transaction():
            self._insert(_MARK, 4, [value for mark in furthest.values() for value in mark])

    # Retention, also on the writing thread.

    def _cut_to_size(self, room: _Room) -> None:
        """Within the append's transaction; a little late on purpose, so that most appends have nothing to cut."""
        retention = self._retention
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

    def _cut(self, room: _Room, first: int) -> None:
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
        self._trimmed[room.name] = first

    def _expired(self, oldest_ms: int, now_ms: int) -> list[str]:
        """The rooms whose earliest message is too old, or of the future."""
        names: list[str] = []
        tables = self._writer.execute("SELECT name FROM sqlite_schema WHERE type = 'table' AND name GLOB 'messages*'")
        for (table,) in tables.fetchall():
            if table == "message_ids":
                continue
            number = int(table.removeprefix("messages_") or 0) if table != "messages" else 0
            bounds = (number << ROOM_BITS, number << ROOM_BITS | ROOM_MASK)
            found = self._writer.execute(_EXPIRED.format(table=table), (*bounds, oldest_ms, now_ms + AHEAD_MS))
            names += [name for (name,) in found.fetchall()]
        return names

    def _expire(self, name: str, oldest_ms: int, now_ms: int) -> bool:
        """Cut what is too old, one bounded transaction; whether there may be more."""
        with self._transaction():
            room = self._rooms.get(name)
            if room is None or room.turn != self._turn:
                room = self._load(name)
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

    def _expire_ahead(self, room: _Room, ahead: int, oldest_ms: int, now_ms: int) -> int:
        """How many of a room's first messages, which are of the future, are too old all the same.

        When they were stored is not known; but they were there when this was noticed.
        """
        since, to = self._writer.execute("SELECT ahead_since, ahead_to FROM rooms WHERE id = ?", (room.id,)).fetchone()
        if since is None or to < room.first or since > now_ms:
            self._writer.execute(
                "UPDATE rooms SET ahead_since = ?, ahead_to = ? WHERE id = ?", (now_ms, room.head, room.id)
            )
            return 0
        return min(ahead, to - room.first + 1) if since < oldest_ms else 0

    def _forget(self, names: Sequence[str]) -> list[str]:
        forgotten: list[str] = []
        with self._transaction():
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

    def _forget_marks(self, oldest_ms: int) -> bool:
        if not self._writer.execute("SELECT 1 FROM seen WHERE at < ? LIMIT 1", (oldest_ms,)).fetchone():
            return False
        with self._transaction():
            gone = self._writer.execute(
                "DELETE FROM seen WHERE (room, member) IN (SELECT room, member FROM seen WHERE at < ? LIMIT ?)",
                (oldest_ms, TRIM_ROWS),
            )
            return gone.rowcount == TRIM_ROWS

    # On the reading thread.

    def _marks(self, room: str, marks_max: int) -> list[Mark]:
        found = self._reader.execute(
            "SELECT room, member, offset, at FROM seen WHERE room = ? ORDER BY at DESC LIMIT ?", (room, marks_max)
        )
        return [Mark(*row) for row in found.fetchall()]

    def _marks_of(self, member: str, rooms: Sequence[str]) -> dict[str, int]:
        marks = ",".join("?" * len(rooms))
        found = self._reader.execute(
            f"SELECT room, offset FROM seen WHERE member = ? AND room IN ({marks})",  # noqa: S608 - question marks
            (member, *rooms),
        )
        return dict(found.fetchall())

    def _head(self, room: str) -> Head:
        found = self._reader.execute(
            "SELECT first, head, epoch, life, lineage, origin FROM rooms WHERE name = ?", (room,)
        ).fetchone()
        if found is None:
            return Head(self._file.first_epoch(self._reader), 1, 0)
        first, head, *standing = found
        epoch, lineage, _ = self._standing(self._reader, head, *standing)
        return Head(epoch, first, head, lineage)

    def _version(self) -> int:
        self._file.look()
        (version,) = self._reader.execute("PRAGMA data_version").fetchone()
        return int(version)

    def _heads(self, rooms: Sequence[str]) -> dict[str, Position]:
        heads: dict[str, Position] = {}
        for at in range(0, len(rooms), NAMES_PER_STATEMENT_MAX):
            some = rooms[at : at + NAMES_PER_STATEMENT_MAX]
            marks = ",".join("?" * len(some))
            found = self._reader.execute(
                f"SELECT name, head, epoch, life, lineage, origin FROM rooms WHERE name IN ({marks})",  # noqa: S608
                some,
            )
            for name, head, *standing in found.fetchall():
                heads[name] = Position(self._standing(self._reader, head, *standing)[0], head)
        return heads

    def _empty_rooms(self, before_ms: int, ahead_ms: int, rooms_max: int) -> list[str]:
        found = self._reader.execute(
            "SELECT name FROM rooms WHERE first > head AND at < ?"
            " UNION ALL SELECT name FROM rooms WHERE first > head AND at > ? LIMIT ?",
            (before_ms, ahead_ms, rooms_max),
        )
        return [name for (name,) in found.fetchall()]

    def _read(self, room: str, after: int, messages_max: int, bytes_max: int) -> Page:
        self._reader.execute("BEGIN")
        try:
            found = self._reader.execute(
                "SELECT id, head, first, epoch, life, lineage, origin FROM rooms WHERE name = ?", (room,)
            ).fetchone()
            if found is None:
                return Page(self._file.first_epoch(self._reader), 1, [])
            room_id, head, first, *standing = found
            epoch, _, origin = self._standing(self._reader, head, *standing)
            low = (room_id & ROOM_MASK) << OFFSET_BITS
            rows = self._reader.execute(
                f"SELECT key, id, sender, at, data, epoch FROM {_table(room_id >> ROOM_BITS)}"  # noqa: S608
                " WHERE key BETWEEN ? AND ? ORDER BY key LIMIT ?",
                (low | max(after + 1, first), low | head, messages_max),
            )
            messages = [_message(room, origin, *row) for row in _until(rows, bytes_max)]
            return Page(epoch, first, clip(messages, bytes_max))
        finally:
            self._reader.execute("COMMIT")


def _message(
    room: str, origin: str, key: int, message_id: str | None, sender: str, at: int, data: bytes, epoch: str | None
) -> Message:
    offset = key & OFFSET_MASK
    return Message(room, offset, message_id or f"{epoch or origin}.{offset}", sender or None, at, msgspec.Raw(data))


def _table(number: int) -> str:
    return f"messages_{number}" if number else "messages"


def _until(rows: Iterator[Any], bytes_max: int) -> Iterator[Any]:
    """Rows up to the one that passes *bytes_max*, so that a page of large messages is not read to be thrown away."""
    size = 0
    for row in rows:
        yield row
        size += len(row[4]) + MESSAGE_OVERHEAD_BYTES
        if size > bytes_max:
            return


def _wide(statement: str, width: int, values: list[Any]) -> Iterator[tuple[str, list[Any]]]:
    """*statement* with as many rows of VALUES as it may have, and their values, until there are none."""
    step = width * ROWS_PER_STATEMENT_MAX
    for at in range(0, len(values), step):
        some = values[at : at + step]
        row = "(" + ",".join("?" * width) + ")"
        yield statement.format(",".join([row] * (len(some) // width))), some
