"""Delivery: runs fan-out in slices on the event loop, and reads the store for readers that are behind."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import Protocol, runtime_checkable

from trunkline.core.cursor import Cursor, Reader, Room
from trunkline.core.fanout import Fanout
from trunkline.core.limits import Tuning
from trunkline.core.message import Message
from trunkline.core.position import Gap, Lineage, Start, resolve
from trunkline.core.redaction import RecentRedactions
from trunkline.engine.clock import Clock
from trunkline.engine.tasks import Tasks
from trunkline.errors import StoreUnavailable, explain
from trunkline.observe.counters import Counters
from trunkline.stores.base import LogStore

log = logging.getLogger("trunkline")

READS_AT_ONCE = 8
RETRY_READ_S = 1.0


@runtime_checkable
class Abortable(Protocol):
    """A reader that can be cut off."""

    def abort(self) -> None:
        """End the connection now."""


class Delivery:
    """The readers of all rooms of one process.

    Args:
        store: Where readers that are behind are read for.
        on_stale: Called when the store has a room in another epoch than is known; returns when the room is up to date.
    """

    def __init__(
        self,
        store: LogStore,
        tuning: Tuning,
        counters: Counters,
        tasks: Tasks,
        clock: Clock,
        redactions: RecentRedactions,
        on_stale: Callable[[Room], Awaitable[None]],
    ) -> None:
        self._store = store
        self._tuning = tuning
        self._counters = counters
        self._tasks = tasks
        self._clock = clock
        self._redactions = redactions
        self._on_stale = on_stale
        self._fanout = Fanout(tuning, counters)
        self._wanted: deque[Cursor] = deque()  # cursors that wait for a read of the store
        self._reading = 0
        self._scheduled = False

    # Readers.

    def join(self, reader: Reader, room: Room, start: Start) -> tuple[Cursor, Gap | None]:
        """Make the reader's cursor; return it with the gap that comes first, if any. `attach` begins the delivery."""
        offset, gap = resolve(start, room.name, room.epoch, room.first, room.head, room.lineage)
        if gap is not None:
            self._counters.gaps[gap.reason] += 1
        cursor = Cursor(reader, room, offset)
        cursor.is_fresh = start.kind in ("start", "last")
        return cursor, gap

    def attach(self, cursor: Cursor) -> None:
        """Deliver from the cursor's offset on, until it is detached."""
        self._fanout.attach(cursor)
        self._run_soon()

    def detach(self, cursor: Cursor) -> None:
        """Deliver no more. Harmless if done twice."""
        self._fanout.detach(cursor)

    def writable(self, cursor: Cursor) -> None:
        """Go on with a cursor whose reader's socket takes bytes again."""
        self._fanout.writable(cursor)
        self._run_soon()

    # The log.

    @property
    def readers(self) -> int:
        """How many cursors there are."""
        return self._fanout.readers

    @property
    def stalled(self) -> Collection[Cursor]:
        """The cursors of readers that take no more."""
        return self._fanout.stalled

    def append(self, room: Room, messages: Sequence[Message]) -> None:
        """Let readers have messages that are stored, when `run` is called next."""
        self._fanout.appended(room, messages, self._clock.monotonic())
        if self._counters.activity.is_watched:
            self._counters.activity.moved(room.name)

    def change_epoch(self, room: Room, epoch: str, first: int, head: int, lineage: Lineage) -> None:
        """Go on with a room under another epoch."""
        self._fanout.epoch_changed(room, epoch, first, head, lineage)
        self.run()

    def run(self) -> None:
        """Run fan-out for a slice, and go on after the event loop had its turn."""
        fanout, clock = self._fanout, self._clock.monotonic
        end = clock() + self._tuning.slice_s
        while fanout.step():
            now = clock()
            if fanout.handed_to:
                self._counters.delivery_s.observe(now - fanout.handed_since, fanout.handed_to)
                fanout.handed_to = 0
            if now > end:
                self._schedule()
                break
        while fanout.broken:
            cursor, error = fanout.broken.pop()
            log.error("a reader of %s failed and is cut", cursor.room.name, exc_info=error)
            fanout.detach(cursor)
            if isinstance(cursor.reader, Abortable):
                cursor.reader.abort()
        self._wanted.extend(fanout.take_reads())
        while self._wanted and self._reading < READS_AT_ONCE:
            self._reading += 1
            self._tasks.spawn(self._read(self._wanted.popleft()))

    def _run_soon(self) -> None:
        if self._fanout.busy:
            self._schedule()

    def _schedule(self) -> None:
        if not self._scheduled:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._run_scheduled)

    def _run_scheduled(self) -> None:
        self._scheduled = False
        self.run()

    async def _read(self, cursor: Cursor) -> None:
        room, tuning, count = cursor.room, self._tuning, self._redactions.count
        try:
            page = await self._store.read(room.name, cursor.offset, tuning.piece_messages_max, tuning.piece_bytes_max)
        except Exception as error:  # noqa: BLE001 - the reader keeps its place and tries again
            # While the log is away every reader that is behind fails so, again and again; one line a second says so.
            level = logging.DEBUG if isinstance(error, StoreUnavailable) else logging.ERROR
            log.log(level, "read of %s after %d failed: %s", room.name, cursor.offset, explain(error))
            await asyncio.sleep(RETRY_READ_S)
            self._fanout.read_failed(cursor)
        else:
            if self._redactions.is_stale(count, room.name):
                self._fanout.read_failed(cursor)
            elif page.epoch == room.epoch:
                self._fanout.fetched(cursor, page.first, page.messages)
            else:
                await self._on_stale(room)
                self._fanout.read_failed(cursor)
        finally:
            self._reading -= 1
        self._schedule()
