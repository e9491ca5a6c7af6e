"""How late the event loop is: what all that happens on it waits for."""

from __future__ import annotations

import asyncio

from trunkline.observe.histogram import Histogram

LOOK_S = 0.5


class LoopDelay:
    """A timer that looks how late it is.

    Args:
        seen: Takes the delays, in seconds.

    Attributes:
        last_s: The last delay.
    """

    def __init__(self, seen: Histogram) -> None:
        self._seen = seen
        self._timer: asyncio.TimerHandle | None = None
        self.last_s = 0.0

    def start(self) -> None:
        """Begin to look, on the running event loop."""
        loop = asyncio.get_running_loop()
        self._look_at(loop, loop.time() + LOOK_S)

    def stop(self) -> None:
        """Look no more."""
        if self._timer is not None:
            self._timer.cancel()

    def _look_at(self, loop: asyncio.AbstractEventLoop, due: float) -> None:
        self._timer = loop.call_at(due, self._look, loop, due)

    def _look(self, loop: asyncio.AbstractEventLoop, due: float) -> None:
        now = loop.time()
        self.last_s = max(0.0, now - due)
        self._seen.observe(self.last_s)
        self._look_at(loop, now + LOOK_S)
