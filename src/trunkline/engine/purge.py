"""Purging: the store lets go of its copies of what was redacted, once for all that was redacted meanwhile."""

from __future__ import annotations

import asyncio
import logging

from trunkline.core.notes import PURGE_DUE
from trunkline.engine.clock import Clock
from trunkline.engine.tasks import Tasks
from trunkline.errors import StoreUnavailable, explain
from trunkline.stores.base import CorrectionStore

log = logging.getLogger("trunkline")

WAIT_S = 5.0
PAUSE = 10  # times as long as a purge takes, until the next one: Redis writes all that it has, for one message
UNDER_WAY = "the log's files are still being written anew"


class Purge:
    """Purges of one log by one process: one at a time, and the next one for all that wait."""

    def __init__(self, store: CorrectionStore, tasks: Tasks, clock: Clock) -> None:
        self._store = store
        self._tasks = tasks
        self._clock = clock
        self._present: asyncio.Task[None] | None = None
        self._next: asyncio.Future[list[str]] | None = None
        self._pause_until = 0.0
        self._is_noted = False

    def start(self) -> None:
        """Purge what a process has left that has ended before it could."""
        self._tasks.spawn(self._take_over())

    async def due(self) -> None:
        """Note, before something is redacted, that it is to be purged: the next start does that if this process ends.

        Raises:
            StoreUnavailable: It could not be noted.
        """
        if not self._is_noted:
            await self._store.note(PURGE_DUE, b"1")
            self._is_noted = True

    async def _take_over(self) -> None:
        try:
            if PURGE_DUE in await self._store.notes():
                self._is_noted = True
                await self.run()
        except StoreUnavailable as error:
            log.warning("whether something is to be purged is not known: %s", explain(error))

    async def run(self, wait_s: float = WAIT_S) -> list[str]:
        """Purge what was redacted until now; return what could not be purged, or not yet.

        Args:
            wait_s: How long to wait for it; it goes on after that.
        """
        if self._next is None:
            self._next = asyncio.get_running_loop().create_future()
            if self._present is None:
                self._present = self._tasks.spawn(self._run())
        try:
            async with asyncio.timeout(wait_s):
                return await asyncio.shield(self._next)
        except TimeoutError:
            return [UNDER_WAY]

    async def _run(self) -> None:
        try:
            while self._next is not None:
                await asyncio.sleep(max(0.0, self._pause_until - self._clock.monotonic()))
                done, self._next = self._next, None
                began = self._clock.monotonic()
                left = await self._purge()
                now = self._clock.monotonic()
                self._pause_until = now + PAUSE * (now - began)
                if not left and self._next is None:
                    await self._purged()
                if left:
                    log.warning("not everything that was redacted could be purged: %s", "; ".join(left))
                done.set_result(left)
        finally:
            self._present = None

    async def _purged(self) -> None:
        self._is_noted = False
        try:
            await self._store.note(PURGE_DUE, None)
        except StoreUnavailable as error:
            log.debug("it cannot be noted that everything was purged: %s", explain(error))  # it is done once more

    async def _purge(self) -> list[str]:
        try:
            return await self._store.purge()
        except StoreUnavailable as error:
            return [f"the log's files, which could not be reached ({explain(error)}): redact again"]
