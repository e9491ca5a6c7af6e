"""Following: keeps open rooms up to date with what other processes append to the same log.

A hint of the change feed moves no reader: a room that has moved is read. Each second the feed is asked whether a hint
may have been lost, and only then all rooms are looked at.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Literal

from trunkline.core.cursor import Room
from trunkline.core.limits import Tuning
from trunkline.core.redaction import RecentRedactions
from trunkline.core.system_rooms import is_volatile
from trunkline.engine.availability import STALLED_S, Availability
from trunkline.engine.clock import Clock
from trunkline.engine.delivery import Delivery
from trunkline.engine.news import News
from trunkline.engine.rooms import Rooms
from trunkline.engine.tasks import Tasks
from trunkline.errors import StoreUnavailable, explain
from trunkline.observe.counters import Counters
from trunkline.stores.base import FeedUnavailable, Store, WritesUnavailable

log = logging.getLogger("trunkline")

WakeUp = Literal["hint", "look", "join"]
"""What makes this process read what another one has stored: a hint of the change feed, the look at all rooms after a
hint may have been lost, or a reader that joins."""

LOOK_S = 1.0  # how long a room may have moved without a hint


class Follower:
    """What other processes append."""

    def __init__(
        self,
        store: Store,
        rooms: Rooms,
        delivery: Delivery,
        tuning: Tuning,
        tasks: Tasks,
        availability: Availability,
        counters: Counters,
        clock: Clock,
        redactions: RecentRedactions,
        news: News,
    ) -> None:
        self._store = store
        self._rooms = rooms
        self._delivery = delivery
        self._tuning = tuning
        self._tasks = tasks
        self._availability = availability
        self._counters = counters
        self._clock = clock
        self._redactions = redactions
        self._news = news
        self._must_look = False  # rooms may have moved without a hint
        self._reading: dict[Room, asyncio.Task[None]] = {}
        self._next_read: dict[Room, asyncio.Task[None]] = {}
        self._watched: dict[str, Callable[[], Awaitable[None]]] = {}  # rooms of our own, and what reads them
        self._trouble = ""

    async def start(self) -> None:
        """Begin to follow.

        Raises:
            StoreUnavailable: A watched room could not be read.
        """
        self._must_look = False
        for name, read in self._watched.items():
            await self._store.subscribe(name)
            await read()
        self._tasks.every(LOOK_S, self._look)

    def watch(self, name: str, read: Callable[[], Awaitable[None]]) -> None:
        """Call *read* at the start, and when another process may have appended to a room of our own. Before `start`."""
        self._watched[name] = read

    def append_failed(self) -> None:
        """Note that a message may be stored although nothing says so: look at all rooms within a second."""
        self._must_look = True

    # Rooms.

    async def open(self, name: str) -> Room:
        """Return a room; it knows everything that was in the log when this was called.

        A reader may have been told by another process of a message that this one does not know yet. Taken for a reader
        from the future it would be sent back; so a room that others may have moved is looked up for each that comes.

        Raises:
            StoreUnavailable: The store did not answer.
            ShuttingDown: The engine is closed.
        """
        room, is_new = await self._rooms.load(name)
        if self._store.shared and not is_new and not is_volatile(name):
            room.pins += 1
            try:
                await self._read_after_now(room)
            finally:
                room.pins -= 1
        return room

    async def refresh(self, name: str) -> None:
        """Learn what the log has of a room now, if this process has it in memory.

        Raises:
            StoreUnavailable: The log could not be read.
        """
        if not self._rooms.is_known(name):
            return
        room, _ = await self._rooms.load(name)
        room.pins += 1
        try:
            await self._read_after_now(room)
        finally:
            room.pins -= 1

    def current(self, name: str) -> Room | None:
        """Return what `open` returns, if that is known without asking the store."""
        return self._rooms.get_current(name)

    @asynccontextmanager
    async def opened(self, names: Sequence[str]) -> AsyncIterator[list[Room]]:
        """Open several rooms at once, none of which is closed while the others are being opened."""
        rooms: list[Room] = []
        try:
            for name in names:
                rooms.append(await self.open(name))
                rooms[-1].pins += 1
            yield rooms
        finally:
            for room in rooms:
                room.pins -= 1

    async def catch_up(self, room: Room, source: WakeUp = "hint") -> None:
        """Read what others have appended to a room, now or, if the log is away, within a second of its return.

        Args:
            source: What has said that there is something.
        """
        try:
            await self._read(room, source)
        except StoreUnavailable as error:
            log.warning("%s cannot be followed now: %s", room.name, explain(error))
            self._must_look = True

    async def change_epoch(self, room: Room) -> None:
        """Let a room go on in the epoch in which the log is.

        Raises:
            StoreUnavailable: The log could not be read.
        """
        epoch, first, head, lineage = await self._store.head(room.name)
        if epoch != room.epoch:
            if room.head:  # else the room was empty, and no reader has an offset of the old epoch
                log.warning("room %s goes on in the new epoch %s after offset %d", room.name, epoch, head)
            self._delivery.change_epoch(room, epoch, first, head, lineage)

    async def _read_after_now(self, room: Room) -> None:
        """Read what is new in a room. Callers that come while the log is being read share the next read: a thousand
        readers that come back at once cost two."""
        read = self._next_read.get(room)
        if read is None:
            read = self._next_read[room] = self._tasks.spawn(self._read_next(room))
            read.add_done_callback(lambda task: task.cancelled() or task.exception())  # if no caller waits any more
        await asyncio.shield(read)

    async def _read_next(self, room: Room) -> None:
        present = self._reading.get(room)
        if present is not None:
            await asyncio.wait([present])
        self._reading[room] = self._next_read.pop(room)
        try:
            await self._read(room, "join")
        finally:
            del self._reading[room]

    async def _read(self, room: Room, source: WakeUp) -> None:
        tuning = self._tuning
        while True:
            count = self._redactions.count
            page = await self._store.read(room.name, room.head, tuning.tail_messages_max, tuning.piece_bytes_max)
            if self._redactions.is_stale(count, room.name):
                continue
            if page.epoch != room.epoch:
                await self.change_epoch(room)
                continue
            new = [message for message in page.messages if message.offset > room.head]
            if not new:
                return
            late_ms = self._clock.wall_ms() - new[-1].at
            self._counters.wakeup_s[source].observe(max(0, late_ms) / 1000)
            self._delivery.append(room, new)
            self._delivery.run()

    # The feed.

    def on_append(self, heads: Mapping[str, int] | None) -> None:
        """Take a hint of the store (`ChangeFeed.on_append`)."""
        if self._news.listeners:
            deleted = [] if heads is None else [room for room, head in heads.items() if not head]
            self._news.moved(deleted, has_new=False)
            self._news.moved(None if heads is None else heads.keys() - deleted)
        if heads is None:
            self._tasks.spawn(self._look_now())
            return
        for name, head in heads.items():
            if name in self._watched:
                self._tasks.spawn(self._read_watched(name, after_s=LOOK_S / 2))
            self._rooms.head_moved(name, head)

    async def _look_now(self) -> None:
        try:
            await self._look_at_all()
        except StoreUnavailable as error:
            log.warning("the log cannot be looked at: %s", explain(error))

    async def _look(self) -> None:
        before, self._trouble = self._trouble, ""
        try:
            is_current = await self._is_current()
            if self._availability.should_try_to_store:
                await self._try_to_store()
            if self._must_look or not is_current:
                await self._look_at_all()
        except StoreUnavailable as error:
            self._trouble = explain(error)
            if self._trouble != before:
                log.warning("the log cannot be looked at: %s", self._trouble)
            self._availability.not_answered(is_log_away=not isinstance(error, FeedUnavailable))
        else:
            self._availability.answered()

    async def _is_current(self) -> bool:
        try:
            return await self._store.is_current()
        except WritesUnavailable as error:  # it may still be read
            self._availability.cannot_store(explain(error))
            return False

    async def _try_to_store(self) -> None:
        try:
            await self._store.check_writable()
        except StoreUnavailable as error:
            self._availability.cannot_store(explain(error), after_s=STALLED_S)
        else:
            self._availability.can_store()

    async def _look_at_all(self) -> None:
        """Find out which rooms have moved without a hint.

        Raises:
            StoreUnavailable: The log could not be read.
        """
        names = [room.name for room in self._rooms if not room.is_idle] if self._store.shared else []
        if self._store.shared:
            for name in self._watched:
                self._tasks.spawn(self._read_watched(name))
        self._must_look = False  # unless something fails from here on
        try:
            heads = await self._store.heads(names)
        except BaseException:
            self._must_look = True
            raise
        for name, position in heads.items():
            room = self._rooms.get(name)
            if room is not None and position != (room.epoch, room.head):
                self._tasks.spawn(self.catch_up(room, "look"))

    async def _read_watched(self, name: str, *, after_s: float = 0.0) -> None:
        try:
            await asyncio.sleep(after_s)
            await self._watched[name]()
        except StoreUnavailable as error:
            log.warning("%s cannot be followed now: %s", name, explain(error))
            self._must_look = True
