"""The time of a test: the machine's, and as much more as the test lets pass."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

TURNS_MAX = 10_000  # of the event loop, until what goes on and on is not waited for any more
STEP_S = 1.0  # where the next timer cannot be known
SLACK_S = 0.01  # timers that are due so soon after each other are due together
OUTSIDE_S = 0.1  # of real time, for what comes from threads and sockets
LOOK_S = 0.002


class VirtualClock:
    """A clock for `Hub(clock=…)`, and of the event loop that it governs.

    Time passes as it does, so whatever a test does otherwise goes on; and `tick` lets more of it pass at once, timer by
    timer. An hour takes a fraction of a second then, and everything happens in the order in which it would happen.

    Args:
        seed: Of `fraction`.

    Attributes:
        loop: The event loop that it governs, if there is one.
    """

    def __init__(self, seed: int = 0) -> None:
        self._ahead_s = 0.0
        self._random = random.Random(seed)  # noqa: S311 - for tests
        self.loop: asyncio.AbstractEventLoop | None = None

    # What the engine asks (`engine/clock.py`).

    def monotonic(self) -> float:
        return time.monotonic() + self._ahead_s

    def steady(self) -> float:
        return self.monotonic()

    def wall_ms(self) -> int:
        return round(self.wall_s() * 1000)

    def fraction(self) -> float:
        return self._random.random()

    def wall_s(self) -> float:
        """Return seconds since 1970 UTC."""
        return time.time() + self._ahead_s

    # The event loop.

    def govern(self, loop: asyncio.AbstractEventLoop) -> None:
        """Let an event loop go by this clock: its timers, and so `asyncio.sleep` and `asyncio.timeout`.

        Raises:
            RuntimeError: It is not one of asyncio's own (uvloop's cannot be told the time), or has another clock.
        """
        if self.loop is loop:
            return
        if self.loop is not None and self.loop.is_closed():
            self.release()
        if self.loop is not None:
            raise RuntimeError("this clock governs another event loop: one clock for each test")
        if not isinstance(loop, asyncio.BaseEventLoop):
            kind = type(loop).__module__.partition(".")[0]
            raise RuntimeError(f"the time of {kind}'s event loop cannot be set: run tests on asyncio's own")
        if "time" in vars(loop):
            raise RuntimeError("this event loop has another virtual clock: use one hub of trunkline.testing at a time")
        loop.time = self.monotonic  # type: ignore[method-assign]
        self.loop = loop

    def release(self) -> None:
        """Let the event loop go by the machine's time again. Harmless if it does."""
        if self.loop is not None:
            del self.loop.time
            self.loop = None

    def _next_timer(self) -> float | None:
        """Return when the next timer is due; None if there is none."""
        timers = getattr(self.loop, "_scheduled", None)  # asyncio's own heap: nothing public tells
        if timers is None:
            return self.monotonic() + STEP_S
        return min((timer.when() for timer in timers if not timer.cancelled()), default=None)

    async def settle(self) -> None:
        """Wait until nothing more happens by itself: all that is left waits for time, a thread or a socket."""
        ready = getattr(self.loop, "_ready", ())  # likewise
        await asyncio.sleep(0)  # the turn that sees which timers are due
        for _ in range(TURNS_MAX):
            await asyncio.sleep(0)
            if not ready:
                return

    async def tick(self, seconds: float) -> None:
        """Let so many seconds pass, with all that happens meanwhile."""
        until = self.monotonic() + seconds
        await self.settle()
        while True:
            due = self._next_timer()
            if due is None or due >= until:
                break
            self._jump(min(due + SLACK_S, until))
            await self.settle()
        self._jump(until)
        await self.settle()

    def _jump(self, to: float) -> None:
        # A little past it: timers are due when the loop's resolution says so, and floats are not exact.
        self._ahead_s += max(0.0, to - self.monotonic()) + 1e-6

    async def until(self, fact: Callable[[], object], within_s: float, *, outside: bool = True) -> bool:
        """Let time pass until *fact* holds; return whether it did.

        Args:
            fact: Called whenever something may have happened.
            within_s: How many seconds may pass, of this clock.
            outside: Wait for a moment of real time then, for what threads and sockets bring.
        """
        end = self.monotonic() + within_s
        while True:
            await self.settle()
            if fact():
                return True
            due = self._next_timer()
            if due is None or due > end:
                break
            self._jump(due + SLACK_S)
        patience_s = time.monotonic() + OUTSIDE_S
        while outside and time.monotonic() < patience_s:
            await asyncio.sleep(LOOK_S)
            await self.settle()
            if fact():
                return True
        self._jump(end)
        return False

    async def run(self, work: Coroutine[Any, Any, T], within_s: float) -> T:
        """Return what a coroutine returns, letting time pass for it.

        Raises:
            TimeoutError: More than *within_s* seconds would have to pass, of this clock.
        """
        task = asyncio.ensure_future(work)
        try:
            if not await self.until(task.done, within_s):
                raise TimeoutError
            return task.result()
        finally:
            task.cancel()
