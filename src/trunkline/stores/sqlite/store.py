"""Logs in one SQLite file: the default store.

Theory of operation
===================

One thread writes, one thread reads; the event loop does neither. `append` is given everything that arrived while
the last commit ran, and all of it becomes one transaction (group commit), idempotency included: the look-up of ids,
the offsets and the rows are one atomic step.

The writer keeps the head of each room it has written to, so a transaction asks the database nothing it knows. It uses
few and wide statements (many rows of VALUES each) on purpose: Python's sqlite3 lets go of the interpreter lock around
every step, and taking it back from a busy event loop can cost milliseconds. Four steps a commit, not four hundred.

Several processes of one machine may share the file (`shared`). They take turns to write: a lock that the kernel hands
on in order, not SQLite's own, which is asked for again and again. The process that has the turn first learns what the
others have written meanwhile, room by room, as far as it needs to know; and tells them afterwards which rooms have
moved (`unix_bus.py`).

Idempotency is exact, and nearly free. A message's row holds its id; that row is the truth. The tree that finds ids
(`message_ids`) lags behind: ids are random, so adding 20 of them to a large tree writes 20 pages, more than all the
rest of the commit. The ids that are not in the tree yet, at most the last 16 thousand of a room, are in the writer's
memory (`writer.Room.recent`), read back when the room is opened, and go into the tree sorted and together.

What is guaranteed, by `PRAGMA synchronous`:

    NORMAL  (default)  survives the death of the process at any moment, kill -9 included: what was acknowledged is in
                       the operating system's hands. A power loss or kernel crash may take back the last commits (the
                       newest messages disappear together; the file stays whole). So after such a stop each room goes
                       on in a new epoch, and readers of what is gone are told exactly what (place.py).
    FULL    (durable)  survives those too: each commit waits for the disk.

A room's number has 63 bits, and its messages lie under (number, offset) packed into one integer, because a table with
an integer key is a third faster to append to than one with two columns. 23 bits are left for the number, so there is a
table for each 8 million rooms: `messages`, `messages_1`, …, made when it is needed.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TypeVar

from trunkline.core.message import Draft, Message, Receipt
from trunkline.core.notes import REPLAY_DUE
from trunkline.core.position import Position
from trunkline.core.read_mark import ReadMark
from trunkline.core.redaction import Redacted, Redaction
from trunkline.core.retention import Retention
from trunkline.errors import ConfigError, StoreUnavailable
from trunkline.stores.base import (
    AHEAD_MS,
    EMPTY_AGES,
    Bus,
    Deleted,
    Head,
    OnAppend,
    Page,
    RoomCopy,
    RoomInfo,
    Sent,
    Swap,
)
from trunkline.stores.journal import Journal
from trunkline.stores.sqlite.corrections import Corrector
from trunkline.stores.sqlite.file import LogFile
from trunkline.stores.sqlite.purger import Purger
from trunkline.stores.sqlite.reader import LogReader
from trunkline.stores.sqlite.records import Records
from trunkline.stores.sqlite.rows import by_room
from trunkline.stores.sqlite.serial_thread import SerialThread
from trunkline.stores.sqlite.unix_bus import UnixBus
from trunkline.stores.sqlite.writer import LogWriter

log = logging.getLogger("trunkline")

T = TypeVar("T")

MARKS_MS = 60_000
PURGE_TRIES = 40
PURGE_AGAIN_S = 0.5


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
        self.on_append: OnAppend | None = None
        self._options = {"durable": durable, "shared": shared, "siblings": siblings}
        self._file = LogFile(Path(path), **self._options)
        self._bus = UnixBus(Path(f"{self._file.path}-wake"), self._on_hint) if shared else None
        self.bus: Bus | None = self._bus
        self._retention = retention
        self._write_thread: SerialThread | None = None
        self._read_thread: SerialThread | None = None
        self._writer: LogWriter
        self._reader: LogReader
        self._corrector: Corrector
        self._purger: Purger
        self._records: Records
        self._is_sized = False  # rooms hold no more than they may: after a start, the settings may be other ones
        self._marks_at = 0  # when read marks are looked at again
        self._seen_version = 0  # SQLite's, as it was when `is_current` was asked last

    @property
    def location(self) -> str:
        return str(self._file.path)

    async def start(self) -> None:
        self._file = LogFile(self._file.path, **self._options)
        self._write_thread = SerialThread("trunkline-write")
        self._read_thread = SerialThread("trunkline-read")
        try:
            await self._write_thread.call(self._file.open)
            self._writer, self._reader = LogWriter(self._file, self._retention), LogReader(self._file)
            self._corrector = Corrector(self._file, self._writer, Journal(Path(f"{self._file.path}-redactions")))
            self._purger = Purger(self._file)
            self._records = Records(self._file, self._writer)
            await self._write_thread.call(self._prepare_corrections)
            if self._bus is not None:
                self._bus.start()
        except OSError as error:
            await self.close()
            raise ConfigError(f"store: {self._file.path} cannot be shared: {error}") from error
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        if self._bus is not None:
            self._bus.close()
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

    async def subscribe(self, room: str) -> None:
        """Do nothing: all processes are told of all rooms."""

    def unsubscribe(self, room: str) -> None:
        """Do nothing: all processes are told of all rooms."""

    async def subscribe_matching(self, pattern: str) -> None:
        """Do nothing: all processes are told of all rooms."""

    def unsubscribe_matching(self, pattern: str) -> None:
        """Do nothing: all processes are told of all rooms."""

    async def is_current(self) -> bool:
        seen = self._seen_version
        self._seen_version = await self._on(self._read_thread, self._reader.version)
        return not self.shared or self._seen_version == seen

    async def check_writable(self) -> None:
        await self._on(self._write_thread, self._file.check_writable)

    async def begin_epochs(self) -> None:
        await self._on(self._write_thread, self._file.begin_life)
        self._writer.forget_cached()

    async def append(self, drafts: Sequence[Draft]) -> list[Receipt | StoreUnavailable]:
        outcomes = await self._on(self._write_thread, lambda: self._writer.append(drafts))
        if self._bus is not None:
            heads = {done.room: done.offset for done in outcomes if isinstance(done, Receipt) and not done.duplicate}
            hint = "\n".join(f"{room} {head}" for room, head in heads.items()).encode()
            if heads:
                self._bus.hint(hint)
        return outcomes

    async def find_id(self, room: str, sender: str | None, message_id: str) -> Receipt | None:
        return await self._on(self._write_thread, lambda: self._writer.find_id(room, sender, message_id))

    def _on_hint(self, hint: bytes) -> None:
        if self.on_append is not None:
            pairs = (line.rpartition(" ") for line in hint.decode().splitlines())
            self.on_append({room: int(head) for room, _, head in pairs} or None)

    async def read(self, room: str, after: int, messages_max: int, bytes_max: int) -> Page:
        return await self._on(self._read_thread, lambda: self._reader.read(room, after, messages_max, bytes_max))

    async def head(self, room: str) -> Head:
        return await self._on(self._read_thread, lambda: self._reader.head(room))

    async def heads(self, rooms: Sequence[str]) -> dict[str, Position]:
        return await self._on(self._read_thread, lambda: self._reader.heads(rooms))

    async def find_rooms(self, prefix: str, after: str, rooms_max: int) -> list[RoomInfo]:
        return await self._on(self._read_thread, lambda: self._reader.find_rooms(prefix, after, rooms_max))

    async def redact(self, redaction: Redaction) -> Redacted:
        done = await self._correct(lambda: self._corrector.redact(redaction))
        if self._bus is not None and done.offset:
            self._bus.hint(f"{redaction.room} {done.offset}".encode())
        return done

    async def sent(self, room: str, sender: str, after: int) -> Sent:
        return await self._on(self._read_thread, lambda: self._reader.sent(room, sender, after))

    async def delete(self, room: str, at: int) -> Deleted | None:
        deleted = await self._correct(lambda: self._corrector.delete(room, at))
        await self._clear_deleted()
        return deleted

    async def erase_marks(self, member: str) -> int:
        return await self._on(self._write_thread, lambda: self._corrector.erase_marks(member))

    async def purge(self) -> list[str]:
        await self._clear_deleted()
        page = 1
        for _ in range(PURGE_TRIES):
            while (after := await self._on(self._write_thread, partial(self._purger.purge, page))) > 0:
                page = after
            # At the end once more, for what the last part has written.
            if after == 0 and await self._on(self._write_thread, self._purger.empty_wal):
                return []
            await asyncio.sleep(PURGE_AGAIN_S)  # others read
        return [f"{self._file.path.name}-wal, which could not be emptied while another process read it: redact again"]

    async def put_room(self, room: RoomCopy) -> None:
        await self._on(self._write_thread, lambda: self._corrector.put_room(room))

    async def put_messages(self, room: str, messages: Sequence[Message]) -> None:
        await self._on(self._write_thread, lambda: self._corrector.put_messages(room, messages))

    async def notes(self) -> dict[str, bytes]:
        return await self._on(self._read_thread, self._reader.notes)

    async def note(self, name: str, value: bytes | None) -> None:
        await self._on(self._write_thread, lambda: self._corrector.note(name, value))

    async def swap(self, swaps: Sequence[Swap]) -> list[bool]:
        return await self._on(self._write_thread, lambda: self._records.swap(swaps))

    async def record(self, space: str, kind: str, key: str) -> bytes | None:
        return await self._on(self._read_thread, lambda: self._records.get(space, kind, key))

    async def records(self, space: str, kind: str) -> dict[str, bytes]:
        return await self._on(self._read_thread, lambda: self._records.all(space, kind))

    async def forget_records(self, space: str, kinds: Sequence[str]) -> None:
        await self._on(self._write_thread, lambda: self._records.forget(space, kinds))

    async def _clear_deleted(self) -> None:
        while await self._on(self._write_thread, self._corrector.clear_deleted):
            pass

    async def _correct(self, call: Callable[[], T]) -> T:
        try:
            return await self._on(self._write_thread, call)
        except OSError as error:
            raise StoreUnavailable(f"the journal of redactions cannot be written: {error}") from error

    def _prepare_corrections(self) -> None:
        """Carry out again what a backup that was put back lacks."""
        if self._corrector.has_note(REPLAY_DUE):
            count = self._corrector.replay()
            if count:
                log.warning("store: %s: %d messages or rooms were redacted or deleted again", self._file.path, count)
            self._corrector.note(REPLAY_DUE, None)

    async def mark(self, marks: Sequence[ReadMark]) -> None:
        await self._on(self._write_thread, lambda: self._writer.mark(marks))

    async def marks(self, room: str, marks_max: int) -> list[ReadMark]:
        return await self._on(self._read_thread, lambda: self._reader.marks(room, marks_max))

    async def marks_of(self, member: str, rooms: Sequence[str]) -> dict[str, int]:
        return await self._on(self._read_thread, lambda: self._reader.marks_of(member, rooms))

    async def trim(self, now_ms: int) -> dict[str, int]:
        await self._clear_deleted()  # what a server that was killed has left
        # Each call is short, so that appends have their turn in between.
        if not self._is_sized:
            for name in await self._on(self._write_thread, self._writer.oversized):
                while await self._on(self._write_thread, partial(self._writer.shrink, name)):
                    pass
            self._is_sized = True
        for name in await self._on(self._write_thread, lambda: self._writer.expired(now_ms)):
            while await self._on(self._write_thread, partial(self._writer.expire, name, now_ms)):
                pass
        while await self._on(self._write_thread, partial(self._records.expire, now_ms)):
            pass
        if now_ms >= self._marks_at:
            self._marks_at = now_ms + MARKS_MS
            while await self._on(self._write_thread, partial(self._writer.forget_marks, now_ms)):
                pass
        trimmed, self._writer.trimmed = self._writer.trimmed, {}
        return trimmed

    async def empty_rooms(self, now_ms: int, rooms_max: int) -> list[str]:
        before = by_room(self._retention, "name", lambda bounds: bounds.oldest_ms(now_ms, EMPTY_AGES))
        return await self._on(self._read_thread, lambda: self._reader.empty_rooms(before, now_ms + AHEAD_MS, rooms_max))

    async def forget(self, rooms: Sequence[str]) -> list[str]:
        return await self._on(self._write_thread, lambda: self._writer.forget(rooms))

    async def _on(self, thread: SerialThread | None, call: Callable[[], T]) -> T:
        if thread is None:
            raise StoreUnavailable("the log is closed")
        try:
            return await thread.call(call)
        except sqlite3.Error as error:
            raise StoreUnavailable(f"the log could not be reached: {error}") from error
