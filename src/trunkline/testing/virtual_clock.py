"""The time of a test: the machine's, and as much more as the test lets pass."""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

TURNS_MAX = 10_000  # of the event loop, until what goes on and on is not waited for any more
RESTLESS_TURNS = 50  # the next time
FOREVER_S = 1e9
STEP_S = 1.0  # where the next timer cannot be known
SLACK_S = 0.01  # timers that are due so soon after each other are due together
OUTSIDE_S = 0.2  # of real time, for what comes from threads and sockets
LOOK_S = 0.002


class _Waiter:
    """Somebody who waits for a fact.

    Attributes:
        end: When it gives up.
        decided: Whether the fact holds; None if it is this one's turn to let time pass.
    """

    def __init__(
        self, fact: Callable[[], object], end: float, outside_s: float, decided: asyncio.Future[bool | None]
    ) -> None:
        self.fact = fact
        self.end = end
        self.outside_s = outside_s
        self.decided = decided


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
        self._slow_callback_s = 0.1
        self._waiters: list[_Waiter] = []
        self._is_driving = False
        self._is_restless = False  # something in the loop goes on and on

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
        # In debug mode the loop would take each jump for a callback that took so long.
        self._slow_callback_s, loop.slow_callback_duration = loop.slow_callback_duration, FOREVER_S
        self.loop = loop

    def release(self) -> None:
        """Let the event loop go by the machine's time again. Harmless if it does."""
        if self.loop is not None:
            del self.loop.time
            self.loop.slow_callback_duration = self._slow_callback_s
            self.loop = None

    def _next_timer(self) -> float | None:
        """Return when the next timer is due; None if there is none."""
        timers = getattr(self.loop, "_scheduled", None)  # asyncio's own heap: nothing public tells
        if timers is None:
            return self.monotonic() + STEP_S
        return timers[0].when() if timers else None

    def _may_hear_from_outside(self) -> bool:
        """Return whether there is a thread or a socket that something could come from."""
        selector = getattr(self.loop, "_selector", None)  # likewise
        sockets = len(selector.get_map()) - 1 if selector is not None else 1  # one is the loop's own
        return sockets > 0 or threading.active_count() > 1

    async def settle(self) -> None:
        """Wait until nothing more happens by itself: all that is left waits for time, a thread or a socket."""
        ready = getattr(self.loop, "_ready", ())  # likewise
        await asyncio.sleep(0)  # the turn that sees which timers are due
        for _ in range(RESTLESS_TURNS if self._is_restless else TURNS_MAX):
            await asyncio.sleep(0)
            if not ready:
                self._is_restless = False
                return
        self._is_restless = True

    async def tick(self, seconds: float) -> None:
        """Let so many seconds pass, with all that happens meanwhile.

        Raises:
            ValueError: They are less than none, or not a number of them.
        """
        if not 0 <= seconds < FOREVER_S:
            raise ValueError(f"time cannot pass by {seconds!r} seconds")
        await self.until(lambda: False, seconds, outside_s=0)

    async def until(self, fact: Callable[[], object], within_s: float, *, outside_s: float = OUTSIDE_S) -> bool:
        """Let time pass until *fact* holds; return whether it did.

        Several may wait at once: time passes for all of them together, up to where the first of them gives up.

        Args:
            fact: Called whenever something may have happened.
            within_s: How many seconds may pass, of this clock.
            outside_s: How many seconds of real time are given to threads and sockets, if there are any, before time
                passes and before this gives up.
        """
        waiter = _Waiter(fact, self.monotonic() + within_s, outside_s, asyncio.get_running_loop().create_future())
        self._waiters.append(waiter)
        try:
            if self._is_driving:
                await waiter.decided
            if not waiter.decided.done() or waiter.decided.result() is None:
                await self._drive(waiter)
        finally:
            if waiter in self._waiters:
                self._waiters.remove(waiter)
        return bool(waiter.decided.result())

    async def _drive(self, own: _Waiter) -> None:
        """Let time pass for all that wait, until *own* is decided; then another one drives on."""
        if own.decided.done():
            own.decided = asyncio.get_running_loop().create_future()
        self._is_driving = True
        try:
            await self.settle()
            self._look()
            if not own.decided.done() and self._may_hear_from_outside():
                await self._listen(own, max((waiter.outside_s for waiter in self._waiters), default=0.0))
            while not own.decided.done():
                first = min(self._waiters, key=lambda waiter: waiter.end)
                due = self._next_timer()
                if due is not None and due < first.end:
                    self._jump(min(due + SLACK_S, first.end))
                else:
                    self._jump(first.end)
                await self.settle()
                self._look()
                if self.monotonic() >= first.end and not first.decided.done():
                    if self._may_hear_from_outside():
                        await self._listen(first, first.outside_s)
                    self._decide(first, is_so=False)  # unless it was decided meanwhile
        finally:
            self._is_driving = False
            following = next((waiter for waiter in self._waiters if waiter is not own), None)
            if following is not None and not following.decided.done():
                following.decided.set_result(None)

    async def _listen(self, waiter: _Waiter, real_s: float) -> None:
        """Wait in real time for what comes from outside, until *waiter* is decided."""
        until = time.monotonic() + real_s
        while not waiter.decided.done() and time.monotonic() < until:
            await asyncio.sleep(LOOK_S)
            await self.settle()
            self._look()

    def _look(self) -> None:
        for waiter in tuple(self._waiters):
            try:
                holds = waiter.fact()
            except Exception as error:  # noqa: BLE001 - it belongs to whoever waits for that fact
                self._waiters.remove(waiter)
                if not waiter.decided.done():
                    waiter.decided.set_exception(error)
            else:
                if holds:
                    self._decide(waiter, is_so=True)

    def _decide(self, waiter: _Waiter, *, is_so: bool) -> None:
        if waiter in self._waiters:
            self._waiters.remove(waiter)
        if not waiter.decided.done():
            waiter.decided.set_result(is_so)

    def _jump(self, to: float) -> None:
        # A little past it: timers are due when the loop's resolution says so, and floats are not exact.
        self._ahead_s += max(0.0, to - self.monotonic()) + 1e-6

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
