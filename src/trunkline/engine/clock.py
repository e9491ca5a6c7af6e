"""Time and chance, as the parts of the engine are given them."""

from __future__ import annotations

import random
import time
from typing import Protocol


class Clock(Protocol):
    """What the engine asks of time. Waiting is left to the event loop, whose time is the same as `monotonic`."""

    def monotonic(self) -> float:
        """Return seconds of a clock that only goes forward."""

    def steady(self) -> float:
        """Return seconds of a clock that only goes forward, and counts while the machine sleeps."""

    def wall_ms(self) -> int:
        """Return milliseconds since 1970 UTC."""

    def fraction(self) -> float:
        """Return a random number from 0 to 1, for jitter."""


class SystemClock:
    """The clocks of the machine."""

    monotonic = staticmethod(time.monotonic)  # asked for several times for each message

    def steady(self) -> float:
        boot = getattr(time, "CLOCK_BOOTTIME", None)
        return time.monotonic() if boot is None else time.clock_gettime(boot)

    def wall_ms(self) -> int:
        return time.time_ns() // 1_000_000

    def fraction(self) -> float:
        return random.random()  # noqa: S311 - jitter, no secret


def spread_ms(clock: Clock, ms: int) -> int:
    """Return a random time of up to *ms*, so that 10,000 clients do not come back at one moment."""
    return round(ms * (0.1 + 0.9 * clock.fraction()))
