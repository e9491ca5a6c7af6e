"""The tasks of an engine: they end with it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

log = logging.getLogger("trunkline")

CANCEL_AGAIN_S = 0.1


class Tasks:
    """Tasks on the running event loop."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run a coroutine as a task until it ends, or the engine does."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def every(self, interval_s: float, work: Callable[[], Awaitable[None] | None]) -> None:
        """Call *work* again and again, *interval_s* after it ended each time. What it raises is logged."""
        self.spawn(_repeat(interval_s, work))

    async def cancel(self) -> None:
        """Cancel all tasks, and wait for their end."""
        await cancelled(*self._tasks)


async def _repeat(interval_s: float, work: Callable[[], Awaitable[None] | None]) -> None:
    while True:
        await asyncio.sleep(interval_s)
        try:
            waiting = work()
            if waiting is not None:
                await waiting
        except Exception:
            log.exception("%s failed", getattr(work, "__qualname__", "a repeated call"))


async def cancelled(*tasks: asyncio.Future[Any]) -> list[Exception]:
    """Cancel tasks, wait for their end, and return what they raised.

    Not by `asyncio.gather`: when the caller is cancelled meanwhile, that raises a CancelledError of its own, and anyio
    (which Starlette's TestClient cancels us with) knows its own by their text.
    """
    left = set(tasks)
    while left:  # libraries take some cancellations for a time-out, and go on
        for task in left:
            task.cancel()
        _, left = await asyncio.wait(left, timeout=CANCEL_AGAIN_S)
    raised = [None if task.cancelled() else task.exception() for task in tasks]
    return [error for error in raised if isinstance(error, Exception)]
