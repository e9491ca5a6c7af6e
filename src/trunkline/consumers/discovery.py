"""Finds out which rooms a consumer has something to do in.

It does not poll rooms. It hears of those that move by the store's change feed and by this process's own appends
(`engine/news.py`); and since hints can be lost, it looks at the list of rooms now and then, a page at a time.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence

from trunkline.consumers.room import ConsumedRoom
from trunkline.consumers.rooms import ConsumedRooms
from trunkline.core.consumer import ConsumerNote, Progress, is_consumed
from trunkline.errors import StoreUnavailable
from trunkline.stores.base import CorrectionStore, RoomInfo

SWEEP_S = 15.0  # how long a room may have moved without a hint
SWEEP_AGAIN_S = 1.0
ROOMS_AT_ONCE = 500


async def consumed_rooms(store: CorrectionStore, patterns: Sequence[str]) -> AsyncIterator[RoomInfo]:
    """Iterate over the rooms of a consumer, each once.

    Raises:
        StoreUnavailable: The log did not answer.
    """
    seen = set[str]()
    for pattern in patterns:
        after = ""
        while page := await store.find_rooms(pattern.removesuffix("*"), after, ROOMS_AT_ONCE):
            after = page[-1].room
            for info in page:
                if info.room not in seen and is_consumed((pattern,), info.room):
                    seen.add(info.room)
                    yield info
            if len(page) < ROOMS_AT_ONCE or not pattern.endswith("*"):
                break


class Discovery:
    """What one instance knows of rooms.

    Args:
        rooms: Those that it has.
        moved: Called with a room that may have something new.
        gone: Called with a room that is neither there nor has anything to tell any more.
        away: Called when the log does not answer.
    """

    def __init__(
        self,
        store: CorrectionStore,
        note: ConsumerNote,
        rooms: ConsumedRooms,
        moved: Callable[[ConsumedRoom], None],
        gone: Callable[[ConsumedRoom], Awaitable[None]],
        away: Callable[[StoreUnavailable], None],
    ) -> None:
        self._store = store
        self._note = note
        self._rooms = rooms
        self._moved = moved
        self._gone = gone
        self._away = away
        self._due = asyncio.Event()

    def soon(self) -> None:
        """Look at the list of rooms soon."""
        self._due.set()

    def news(self, rooms: Collection[str] | None, has_new: bool) -> None:
        """Take a hint (`engine/news.py`)."""
        if rooms is None:
            for known in self._rooms:
                known.is_complete = False
            self.soon()
            return
        for name in rooms:
            if is_consumed(self._note.rooms, name) and (room := self._rooms.room(name)) is not None:
                room.is_complete = room.is_complete and not has_new
                self._moved(room)

    async def run(self) -> None:
        """Look at the list of rooms, for ever."""
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(SWEEP_S):
                    await self._due.wait()
            self._due.clear()
            if self._rooms.slots:
                try:
                    await self._look()
                except StoreUnavailable as error:
                    self._away(error)
                    self.soon()
            await asyncio.sleep(SWEEP_AGAIN_S)

    async def _look(self) -> None:
        """Find out which rooms are new, which have moved, and which are gone.

        Raises:
            StoreUnavailable: The log did not answer.
        """
        slots, listed = self._rooms.slots, set[str]()
        async for info in consumed_rooms(self._store, self._note.rooms):
            listed.add(info.room)
            self._seen(info)
        for room in self._rooms:
            if room.name in listed or room.slot not in slots:
                continue
            if room.progress is not None and room.progress.offset:
                self._moved(room)  # it was deleted, or forgotten
            elif room.state == "idle":
                await self._gone(room)

    def _seen(self, info: RoomInfo) -> None:
        room = self._rooms.room(info.room)
        if room is None:
            return
        room.first, room.head = info.first, info.head
        progress = room.progress
        if progress is None and self._note.is_before_begin(info.at):
            room.progress = Progress(info.epoch, info.head)  # which is not stored: it is found out again
        elif progress is not None and progress.epoch == info.epoch and progress.offset == info.head:
            room.is_complete = not room.has_news
        else:
            self._moved(room)
