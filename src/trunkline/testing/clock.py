"""Time for tests: a clock that is set by hand, and an event loop that never sleeps."""

from __future__ import annotations

import asyncio
import random
import selectors
import time
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class ManualClock:
    """A clock for `Hub(clock=…)` whose wall time moves only when it is told to.

    Args:
        wall_s: Seconds since 1970 UTC to begin with.
        seed: Of `fraction`.
    """

    def __init__(self, wall_s: float = 1_800_000_000.0, seed: int = 0) -> None:
        self.wall_s = self.steady_s = wall_s
        self._random = random.Random(seed)  # noqa: S311 - for tests

    def tick(self, seconds: float) -> None:
        """Let time pass, for the wall clock and the steady one."""
        self.wall_s += seconds
        self.steady_s += seconds

    def monotonic(self) -> float:
        """Return the running event loop's time, so that time-outs and this clock agree."""
        try:
            return asyncio.get_running_loop().time()
        except RuntimeError:
            return time.monotonic()

    def steady(self) -> float:
        return self.steady_s

    def wall_ms(self) -> int:
        return round(self.wall_s * 1000)

    def fraction(self) -> float:
        return self._random.random()


class _ImpatientSelector(selectors.DefaultSelector):
    """Does not wait for the time that the event loop gives it, but lets it pass at once."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            return super().select(None)
        ready = super().select(0)
        if not ready and timeout > 0:
            self.now += timeout
        return ready


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """An event loop in which an hour of `asyncio.sleep` takes no time.

    Time passes only when nothing else is to be done. What waits for a thread or a socket does not hold it up, so it is
    for code without either, such as an engine on a memory store.
    """

    def __init__(self) -> None:
        self._impatient = _ImpatientSelector()
        super().__init__(self._impatient)

    def time(self) -> float:
        return self._impatient.now


def run_in_virtual_time(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine like `asyncio.run`, on a `VirtualTimeLoop`."""
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        return runner.run(work)
