"""Retention: trims rooms by age, forgets rooms that hold nothing, and keeps tails within their bound."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence

from trunkline.core.pieces import pieces
from trunkline.core.wall_clock import HOLD_S, WallClock
from trunkline.engine.clock import Clock
from trunkline.engine.rooms import Rooms
from trunkline.engine.tasks import Tasks
from trunkline.errors import StoreUnavailable, explain
from trunkline.stores.base import LogStore

log = logging.getLogger("trunkline")

TRIM_INTERVAL_S = 4.0
EMPTY_ROOMS_AT_ONCE = 500
LINE_S = 600.0  # of the log, about what is trimmed
IN_USE_S = 60.0  # so long an empty room that was in use is not asked about again
IN_USE_MAX = 100_000


class Retention:
    """What is no longer kept.

    Args:
        unused_elsewhere: Returns which of some rooms no other node reads, as far as all of them answer.
    """

    def __init__(
        self,
        store: LogStore,
        rooms: Rooms,
        tasks: Tasks,
        clock: Clock,
        unused_elsewhere: Callable[[list[str]], Awaitable[list[str]]],
    ) -> None:
        self._store = store
        self._rooms = rooms
        self._tasks = tasks
        self._clock = clock
        self._unused_elsewhere = unused_elsewhere
        self._wall_clock = WallClock()
        self._in_use: set[str] = set()  # empty rooms that have readers
        self._in_use_until = 0.0
        self._trimmed = 0  # since the last line about it
        self._next_line_at = 0.0

    def start(self) -> None:
        """Begin to trim."""
        self._wall_clock = WallClock()
        self._tasks.every(TRIM_INTERVAL_S, self._trim_or_log)

    async def trim(self) -> None:
        """Apply retention by age, if the clock can be believed, and forget rooms that hold nothing.

        Raises:
            StoreUnavailable: The log did not take it.
        """
        if not self._is_clock_trusted():
            return
        trimmed = await self._store.trim(self._clock.wall_ms())
        self._note(len(trimmed))
        for name, first in trimmed.items():
            room = self._rooms.get(name)
            if room is not None:
                room.first = max(room.first, first)
        await self._forget_empty_rooms()

    async def _trim_or_log(self) -> None:
        try:
            await self.trim()
        except StoreUnavailable as error:
            log.error("trimming failed: %s", explain(error))  # it is tried again in a moment
        finally:
            self._rooms.shrink_tails()

    def _note(self, rooms: int) -> None:
        self._trimmed += rooms
        now = self._clock.steady()
        if self._trimmed and now >= self._next_line_at:
            log.info("rooms trimmed by age", extra={"rooms": self._trimmed})
            self._trimmed, self._next_line_at = 0, now + LINE_S

    def _is_clock_trusted(self) -> bool:
        clock = self._wall_clock
        was_trusted = clock.is_trusted
        step_s = clock.look(self._clock.wall_ms() / 1000, self._clock.steady())
        if step_s:
            log.warning("the clock has jumped by %+.0f s", step_s)
        if clock.is_trusted is not was_trusted:
            what = (
                "goes on" if clock.is_trusted else f"pauses until the new time has held for {HOLD_S / 60:.0f} minutes"
            )
            log.warning("retention by age %s", what)
        return clock.is_trusted

    async def _forget_empty_rooms(self) -> None:
        now = self._clock.steady()
        if now >= self._in_use_until:
            self._in_use.clear()
            self._in_use_until = now + IN_USE_S
        while len(self._in_use) < IN_USE_MAX:
            # The store names the same ones first, so as many more as are known to be in use.
            count = EMPTY_ROOMS_AT_ONCE + 2 * len(self._in_use)
            found = await self._store.empty_rooms(self._clock.wall_ms(), count)
            names = [name for name in found if name not in self._in_use]
            if not names:
                break
            for some in pieces(names, EMPTY_ROOMS_AT_ONCE):
                self._in_use.update(set(some).difference(await self._forget_unused(some)))

    async def _forget_unused(self, names: Sequence[str]) -> list[str]:
        unused = await self._unused_elsewhere([name for name in names if self._rooms.is_unused(name)])
        forgotten = await self._store.forget(unused) if unused else []
        for name in forgotten:
            room = self._rooms.get(name)
            if room is not None and room.is_idle:
                self._rooms.close_room(name)
        return forgotten
