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
                       newest messages disappear together; the file stays whole). If that happens, readers that are
                       ahead of the log are told with a gap `future`.
    FULL    (durable)  survives those too: each commit waits for the disk.
"""

from __future__ import annotations

import fcntl
import logging
import os
import secrets
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import IO, Any, TypeVar

import msgspec

from trunkline.core.limits import Retention
from trunkline.core.mark import Mark
from trunkline.core.message import Draft, Message, Receipt
from trunkline.core.position import Position
from trunkline.core.room import MESSAGE_OVERHEAD_BYTES, clip
from trunkline.errors import ConfigError, StoreUnavailable
from trunkline.stores.base import Bus, Head, Moved, Page
from trunkline.stores.wake import Wake
from trunkline.stores.worker import Worker

log = logging.getLogger("trunkline")

SCHEMA_VERSION = 2
OFFSET_BITS = 40  # a trillion messages a room; leaves 23 bits, 8 million rooms
OFFSET_MASK = (1 << OFFSET_BITS) - 1
ROWS_PER_STATEMENT_MAX = 64  # each width is a statement that SQLite prepares once and keeps
NAMES_PER_STATEMENT_MAX = 500
ROOMS_CACHED = 10_000
MERGE_IDS = 16_384  # a room's ids go into the tree when it has moved this far since the last time
RECENT_IDS_MAX = 200_000  # of all rooms, in memory; about 50 MB
TRIM_ROWS = 5000  # per transaction, so that a large trim never holds an append up for long

# What makes a file of the version before into one of this version.
_UPGRADES = {1: "seen.sql"}
_MARK = """
    INSERT INTO seen VALUES {} ON CONFLICT (room, member) DO UPDATE SET offset = excluded.offset, at = excluded.at
    WHERE excluded.offset > offset
"""
_FIND_IDS = """
    WITH wanted (n, room, sender, id) AS (VALUES {})
    SELECT n, offset, at FROM wanted CROSS JOIN message_ids USING (room, sender, id)
    JOIN messages ON key = (wanted.room << 40 | offset)
"""
_MERGE_IDS = """
    INSERT INTO message_ids SELECT ?, sender, id, key & ? FROM messages
    WHERE key BETWEEN ? AND ? AND id IS NOT NULL ORDER BY sender, id
"""
_FORGET_IDS = """
    DELETE FROM message_ids WHERE room = ? AND (sender, id) IN
    (SELECT sender, id FROM messages WHERE key BETWEEN ? AND ? AND id IS NOT NULL)
"""

T = TypeVar("T")


class _Room:
    """What the writer knows of a room."""

    __slots__ = ("bytes", "first", "head", "id", "indexed", "name", "recent", "turn")

    def __init__(self, room_id: int, name: str, head: int, first: int, size: int, indexed: int, turn: int) -> None:
        self.id = room_id
        self.name = name
        self.turn = turn  # what others have written after this turn is not known here
        self.head = head
        self.first = first
        self.bytes = size
        self.indexed = indexed
        self.recent: dict[tuple[str, str], tuple[int, int]] = {}  # (sender, id) → (offset, at), of those after indexed

    def key(self, offset: int) -> int:
        return self.id << OFFSET_BITS | offset


class SqliteStore:
    """A store in one file (and SQLite's `-wal` and `-shm` beside it).

    Args:
        path: The file; it is made if it is not there, its folder is not.
        durable: Wait for the disk at each commit.
        shared: Other processes of this machine use the file, too.
    """

    def __init__(self, path: str | Path, retention: Retention, *, durable: bool = False, shared: bool = False) -> None:
        self.shared = shared
        self.moved: Moved | None = None
        self._path = Path(path)
        self._wake = Wake(Path(f"{self._path}-wake"), self._woken) if shared else None
        self.bus: Bus | None = self._wake
        self._retention = retention
        self._durable = durable
        self._write_thread: Worker | None = None
        self._read_thread: Worker | None = None
        self._writer: sqlite3.Connection
        self._reader: sqlite3.Connection
        self._opened = ExitStack()  # the lock and the connections, closed in the opposite order
        self._epoch = ""
        self._rooms: dict[str, _Room] = {}
        self._trimmed: dict[str, int] = {}
        self._turn = 0  # grows whenever others have written
        self._data_version = 0  # SQLite's, as it was in our last turn
        self._turns: IO[str] | None = None
        self._seen_version = 0  # SQLite's, as it was when we last looked whether others have written

    @property
    def location(self) -> str:
        return str(self._path.absolute())

    async def start(self) -> None:
        self._write_thread = Worker("trunkline-write")
        self._read_thread = Worker("trunkline-read")
        try:
            await self._write_thread.call(self._open)
            if self._wake is not None:
                self._wake.start()
        except OSError as error:
            await self.close()
            raise ConfigError(f"store: {self._path} cannot be shared: {error}") from error
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        if self._wake is not None:
            self._wake.close()
        for thread in (self._read_thread, self._write_thread):
            if thread is not None:
                await thread.close()
        self._read_thread = self._write_thread = None
        self._opened.close()

    async def follow(self, room: str) -> None:
        """All are told of all rooms."""

    def unfollow(self, room: str) -> None:
        """All are told of all rooms."""

    async def certain(self) -> bool:
        seen = self._seen_version
        self._seen_version = await self._on(self._read_thread, self._version)
        return not self.shared or self._seen_version == seen

    async def append(self, drafts: Sequence[Draft]) -> list[Receipt | StoreUnavailable]:
        receipts = await self._on(self._write_thread, lambda: self._append(drafts))
        if self._wake is not None:
            heads = {receipt.room: receipt.offset for receipt in receipts if not receipt.duplicate}
            hint = "\n".join(f"{room} {head}" for room, head in heads.items()).encode()
            if heads:
                self._wake.hint(hint)
        return [*receipts]

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
        for name in await self._on(self._write_thread, lambda: self._expired(oldest_ms)):
            while await self._on(self._write_thread, partial(self._expire, name, oldest_ms)):
                pass
        while await self._on(self._write_thread, partial(self._forget_marks, oldest_ms)):
            pass
        trimmed, self._trimmed = self._trimmed, {}
        return trimmed

    async def _on(self, thread: Worker | None, call: Callable[[], T]) -> T:
        if thread is None:
            raise StoreUnavailable("the log is closed")
        try:
            return await thread.call(call)
        except sqlite3.Error as error:
            raise StoreUnavailable(f"the log could not be reached: {error}") from error

    # On the writing thread.

    def _open(self) -> None:
        if not self._path.parent.is_dir():
            raise ConfigError(f"store: the folder {self._path.parent} does not exist")
        try:
            self._opened.enter_context(self._take_lock())
            if self.shared:
                turns = Path(f"{self._path}-turn").open("a", encoding="ascii")  # noqa: SIM115 - as long as we live
                self._turns = self._opened.enter_context(turns)
            self._writer = sqlite3.connect(
                self._path, isolation_level=None, check_same_thread=False, cached_statements=4 * ROWS_PER_STATEMENT_MAX
            )
            self._opened.callback(self._writer.close)
            self._writer.execute("PRAGMA busy_timeout = 10000")  # others may be opening it, too
            self._writer.execute(f"PRAGMA synchronous = {'FULL' if self._durable else 'NORMAL'}")
            with self._turn_to_write():
                self._writer.execute(
                    "PRAGMA journal_mode = WAL"
                )  # two that change it at once do not wait for each other
                self._prepare()
            self._writer.execute("PRAGMA busy_timeout = 1000")
            self._reader = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False)
            self._opened.callback(self._reader.close)
            self._reader.execute("PRAGMA query_only = 1")
        except (sqlite3.Error, OSError) as error:
            raise ConfigError(f"store: {self._path} cannot be used as a log: {error}") from error

    def _take_lock(self) -> IO[str]:
        # Not on the database itself: closing any handle of that file would drop SQLite's own locks.
        lock = Path(f"{self._path}-lock").open("a+", encoding="ascii")  # noqa: SIM115 - held for as long as we live
        try:
            fcntl.flock(lock, (fcntl.LOCK_SH if self.shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            holder = lock.read().strip()
            lock.close()
            raise ConfigError(
                f"store: {self._path} is in use by another Trunkline (pid {holder}); stop that one, use another file,"
                " or share it between all of them: sqlite:///PATH?shared=1"
            ) from None
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        return lock

    def _prepare(self) -> None:
        version = self._writer.execute("PRAGMA user_version").fetchone()[0]
        if version == 0 and not self._writer.execute("SELECT 1 FROM sqlite_schema").fetchone():
            epoch = secrets.token_hex(4)
            self._writer.executescript(f"BEGIN EXCLUSIVE; {_sql('sqlite.sql')} {_sql('seen.sql')}")
            self._writer.execute("INSERT INTO log VALUES (?)", (epoch,))
            self._writer.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
            self._writer.execute("COMMIT")
        elif version in _UPGRADES:
            self._writer.executescript(f"BEGIN EXCLUSIVE; {_sql(_UPGRADES[version])}")
            self._writer.execute(f"PRAGMA user_version = {version + 1}")
            self._writer.execute("COMMIT")
        elif version != SCHEMA_VERSION:
            raise ConfigError(
                f"store: {self._path} is no Trunkline log of version {SCHEMA_VERSION} (it says {version})"
            )
        self._epoch = self._writer.execute("SELECT epoch FROM log").fetchone()[0]

    def _append(self, drafts: Sequence[Draft]) -> list[Receipt]:
        rooms: dict[str, _Room] = {}
        with self._transaction():
            receipts = self._append_all(drafts, rooms)
        for room in rooms.values():
            if room.head - room.indexed >= MERGE_IDS:
                try:
                    self._merge_ids(room.name)
                except sqlite3.Error as error:  # the messages are stored; their ids stay in memory until it works
                    log.warning("ids of %s were not merged: %s", room.name, error)
        return receipts

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with self._turn_to_write():
            self._writer.execute("BEGIN IMMEDIATE")
            try:
                if self.shared:
                    (version,) = self._writer.execute("PRAGMA data_version").fetchone()
                    if version != self._data_version:  # not so by what we wrote ourselves
                        self._data_version = version
                        self._turn += 1
                yield
                self._writer.execute("COMMIT")
            except BaseException:
                self._rooms.clear()  # they may be ahead of what is stored
                if self._writer.in_transaction:
                    self._writer.execute("ROLLBACK")
                raise

    @contextmanager
    def _turn_to_write(self) -> Iterator[None]:
        if self._turns is None:
            yield
            return
        fcntl.flock(self._turns, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.flock(self._turns, fcntl.LOCK_UN)

    def _append_all(self, drafts: Sequence[Draft], rooms: dict[str, _Room]) -> list[Receipt]:
        for draft in drafts:
            if draft.room not in rooms:
                rooms[draft.room] = self._room(draft.room)
        indexed = self._find_ids(drafts, rooms)
        receipts: list[Receipt] = []
        rows: list[Any] = []
        epoch = self._epoch
        for n, draft in enumerate(drafts):
            room, sender = rooms[draft.room], draft.sender or ""
            if draft.id is not None:
                known = room.recent.get((sender, draft.id)) or indexed.get(n)
                if known is not None:
                    receipts.append(Receipt(draft.room, epoch, known[0], draft.id, known[1], True))
                    continue
            room.head += 1
            room.bytes += len(draft.json) + MESSAGE_OVERHEAD_BYTES
            rows += (room.key(room.head), draft.id, sender, draft.at, draft.json)
            if draft.id is not None:
                room.recent[sender, draft.id] = (room.head, draft.at)
                message_id = draft.id
            else:
                message_id = f"{epoch}.{room.head}"
            receipts.append(Receipt(draft.room, epoch, room.head, message_id, draft.at, False))
        self._insert("INSERT INTO messages VALUES {}", 5, rows)
        self._save(rooms.values())
        for room in rooms.values():
            self._cut_to_size(room)
        return receipts

    def _save(self, rooms: Iterable[_Room]) -> None:
        rows: list[Any] = []
        for room in rooms:
            rows += (room.id, room.name, room.head, room.first, room.bytes, room.indexed)
        self._insert(
            "INSERT INTO rooms VALUES {} ON CONFLICT (id) DO UPDATE SET"
            " head = excluded.head, first = excluded.first, bytes = excluded.bytes, indexed = excluded.indexed",
            6,
            rows,
        )

    def _room(self, name: str) -> _Room:
        """The writer's room, within a transaction: it is made if it is not there."""
        room = self._rooms.get(name)
        if room is None:
            room = self._load(name)
            if len(self._rooms) >= ROOMS_CACHED or sum(len(r.recent) for r in self._rooms.values()) > RECENT_IDS_MAX:
                self._rooms.clear()
            self._rooms[name] = room
        elif room.turn != self._turn:
            self._learn(room)
        return room

    def _learn(self, room: _Room) -> None:
        """What others have written to a room since we did."""
        before = room.head
        room.head, room.first, room.bytes, room.indexed = self._writer.execute(
            "SELECT head, first, bytes, indexed FROM rooms WHERE id = ?", (room.id,)
        ).fetchone()
        room.recent = {key: value for key, value in room.recent.items() if value[0] > room.indexed}
        self._remember_ids(room, max(before, room.indexed))
        room.turn = self._turn

    def _load(self, name: str) -> _Room:
        found = self._writer.execute(
            "SELECT id, head, first, bytes, indexed FROM rooms WHERE name = ?", (name,)
        ).fetchone()
        if found is None:
            made = self._writer.execute(
                "INSERT INTO rooms (name, head, first, bytes, indexed) VALUES (?, 0, 1, 0, 0)", (name,)
            )
            return _Room(made.lastrowid or 0, name, 0, 1, 0, 0, self._turn)
        room_id, head, first, size, indexed = found
        room = _Room(room_id, name, head, first, size, indexed, self._turn)
        self._remember_ids(room, room.indexed)
        return room

    def _remember_ids(self, room: _Room, after: int) -> None:
        behind = self._writer.execute(
            "SELECT sender, id, key, at FROM messages WHERE key BETWEEN ? AND ? AND id IS NOT NULL",
            (room.key(after + 1), room.key(room.head)),
        )
        for sender, message_id, key, at in behind:
            room.recent[sender, message_id] = (key & OFFSET_MASK, at)

    def _find_ids(self, drafts: Sequence[Draft], rooms: dict[str, _Room]) -> dict[int, tuple[int, int]]:
        """Which of the drafts have an id that is in the tree: index of the draft → (offset, at)."""
        wanted: list[Any] = []
        for n, draft in enumerate(drafts):
            if draft.id is not None:
                room, sender = rooms[draft.room], draft.sender or ""
                if room.indexed >= room.first and (sender, draft.id) not in room.recent:
                    wanted += (n, room.id, sender, draft.id)
        found: dict[int, tuple[int, int]] = {}
        for statement, some in _wide(_FIND_IDS, 4, wanted):
            for n, offset, at in self._writer.execute(statement, some).fetchall():
                found[n] = (offset, at)
        return found

    def _merge_ids(self, name: str) -> None:
        with self._transaction():
            room = self._room(name)
            bounds = (room.key(room.indexed + 1), room.key(room.head))
            self._writer.execute(_MERGE_IDS, (room.id, OFFSET_MASK, *bounds))
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
                "SELECT length(data) FROM messages WHERE key BETWEEN ? AND ? ORDER BY key",
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
            "SELECT sum(length(data)) FROM messages WHERE key BETWEEN ? AND ?", bounds
        ).fetchone()
        if room.indexed >= room.first:
            self._writer.execute(_FORGET_IDS, (room.id, *bounds))
        self._writer.execute("DELETE FROM messages WHERE key BETWEEN ? AND ?", bounds)
        if first - 1 > room.indexed:
            room.indexed = first - 1
            room.recent = {key: value for key, value in room.recent.items() if value[0] >= first}
        room.bytes -= (size[0] or 0) + MESSAGE_OVERHEAD_BYTES * (first - room.first)
        room.first = first
        self._save([room])
        self._trimmed[room.name] = first

    def _expired(self, oldest_ms: int) -> list[str]:
        """The rooms whose earliest message is too old: one look-up each."""
        found = self._writer.execute(
            "SELECT name FROM rooms JOIN messages ON key = (rooms.id << 40 | first) WHERE first <= head AND at < ?",
            (oldest_ms,),
        )
        return [name for (name,) in found.fetchall()]

    def _expire(self, name: str, oldest_ms: int) -> bool:
        """Cut what is too old, one bounded transaction; whether there may be more."""
        room = self._rooms.get(name) or self._load(name)
        oldest = room.first
        expired = self._writer.execute(
            "SELECT at < ? FROM messages WHERE key BETWEEN ? AND ? ORDER BY key LIMIT ?",
            (oldest_ms, room.key(room.first), room.key(room.head), TRIM_ROWS),
        )
        count = 0
        for (old,) in expired:
            if not old:
                break
            count += 1
        expired.close()
        if not count:
            return False
        with self._transaction():
            room = self._room(name)  # others may have cut it meanwhile; what was too old still is
            self._cut(room, max(room.first, oldest + count))
        return count == TRIM_ROWS

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
        found = self._reader.execute("SELECT first, head FROM rooms WHERE name = ?", (room,)).fetchone()
        return Head(self._epoch, *found) if found else Head(self._epoch, 1, 0)

    def _version(self) -> int:
        (version,) = self._reader.execute("PRAGMA data_version").fetchone()
        return int(version)

    def _heads(self, rooms: Sequence[str]) -> dict[str, Position]:
        heads: dict[str, Position] = {}
        for at in range(0, len(rooms), NAMES_PER_STATEMENT_MAX):
            some = rooms[at : at + NAMES_PER_STATEMENT_MAX]
            marks = ",".join("?" * len(some))
            found = self._reader.execute(
                f"SELECT name, head FROM rooms WHERE name IN ({marks})",  # noqa: S608 - question marks
                some,
            )
            heads.update({room: Position(self._epoch, head) for room, head in found.fetchall()})
        return heads

    def _read(self, room: str, after: int, messages_max: int, bytes_max: int) -> Page:
        self._reader.execute("BEGIN")
        try:
            found = self._reader.execute("SELECT id, head, first FROM rooms WHERE name = ?", (room,)).fetchone()
            if found is None:
                return Page(self._epoch, 1, [])
            room_id, head, first = found
            low = room_id << OFFSET_BITS | max(after + 1, first)
            rows = self._reader.execute(
                "SELECT key, id, sender, at, data FROM messages WHERE key BETWEEN ? AND ? ORDER BY key LIMIT ?",
                (low, room_id << OFFSET_BITS | head, messages_max),
            )
            found = [self._message(room, *row) for row in _until(rows, bytes_max)]
            return Page(self._epoch, first, clip(found, bytes_max))
        finally:
            self._reader.execute("COMMIT")

    def _message(self, room: str, key: int, message_id: str | None, sender: str, at: int, data: bytes) -> Message:
        offset = key & OFFSET_MASK
        return Message(room, offset, message_id or f"{self._epoch}.{offset}", sender or None, at, msgspec.Raw(data))


def _sql(name: str) -> str:
    return files("trunkline.stores").joinpath(name).read_text("utf-8")


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
