"""Whether the log can be read and written, as far as this process knows: what `/readyz` says."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import TypeVar

from trunkline.engine.clock import Clock
from trunkline.errors import StoreUnavailable

log = logging.getLogger("trunkline")
T = TypeVar("T")

STALLED_S = 10.0  # without an answer of the log for so long, this process is not ready
HEARS_S = 3.0  # with an answer since so long, other nodes can reach this one


class Availability:
    """What calls of the store have shown, most recently."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._answered_at = 0.0
        self._answered = asyncio.Event()
        self._appending_since: float | None = None
        self._unwritable: str | None = None
        self._unwritable_since = 0.0
        self.is_log_away = False

    def start(self) -> None:
        """Begin anew: the store was opened."""
        self._answered_at = self._clock.monotonic()
        self._answered = asyncio.Event()
        self._appending_since = None
        self._unwritable = None

    # Reading.

    def answered(self) -> None:
        """Note that the log was looked at, and that this process is told when it moves."""
        self._answered_at = self._clock.monotonic()
        self.is_log_away = False
        self._answered.set()

    def not_answered(self, *, is_log_away: bool) -> None:
        """Note that the log could not be looked at.

        Args:
            is_log_away: False if other processes may well reach it.
        """
        self.is_log_away = is_log_away

    def end_waiting(self) -> None:
        """Let `patiently` give up: the server stops."""
        self._answered.set()

    async def patiently(
        self, read: Callable[[], Awaitable[T]], wait_s: float, give_up: Callable[[], bool]
    ) -> tuple[T, float]:
        """Return what *read* returns, tried again each time the log answers, and how much of *wait_s* is left.

        Raises:
            StoreUnavailable: The log did not answer in time.
        """
        while True:
            try:
                return await read(), wait_s
            except StoreUnavailable as error:
                began = self._clock.monotonic()
                self._answered.clear()
                try:
                    async with asyncio.timeout(wait_s):
                        await self._answered.wait()
                except TimeoutError:
                    raise error from None
                if give_up():
                    raise
                wait_s -= self._clock.monotonic() - began

    @property
    def unreadable(self) -> str | None:
        """Why readers here cannot be told what is published elsewhere; None if they can."""
        silent_s = self._clock.monotonic() - self._answered_at
        return f"the log has not answered for {silent_s:.0f} s" if silent_s > STALLED_S else None

    @property
    def hears(self) -> bool:
        """Whether other nodes can reach this one, as far as is known."""
        return self._clock.monotonic() - self._answered_at < HEARS_S

    # Writing.

    def append_began(self) -> None:
        """Note that the store was given messages."""
        self._appending_since = self._clock.monotonic()

    def append_ended(self) -> None:
        """Note that it has answered."""
        self._appending_since = None

    def cannot_store(self, why: str, *, after_s: float = 0.0) -> None:
        """Note that nothing can be stored.

        Args:
            after_s: Be unready only if that lasts so long, since most of it passes by itself.
        """
        if self._unwritable is None:
            self._unwritable_since = self._clock.monotonic() + after_s
            log.error("nothing can be stored: %s", why)
        elif not after_s:
            self._unwritable_since = min(self._unwritable_since, self._clock.monotonic())
        self._unwritable = why

    def can_store(self) -> None:
        """Note that messages can be stored."""
        if self._unwritable is not None:
            log.warning("messages can be stored again")
            self._unwritable = None

    @property
    def should_try_to_store(self) -> bool:
        """Whether it is worth finding out if messages can be stored again."""
        return self._unwritable is not None and self._appending_since is None

    @property
    def unwritable(self) -> str | None:
        """Why nothing can be stored; None if something can, or nothing shows that it cannot."""
        now = self._clock.monotonic()
        if self._unwritable is not None and now - self._unwritable_since > 0:
            return f"nothing can be stored: {self._unwritable}"
        if self._appending_since is not None and now - self._appending_since > STALLED_S:
            return f"nothing has been stored for {now - self._appending_since:.0f} s"
        return None

    # Both.

    @property
    def unready(self) -> str | None:
        """Why clients should not be sent here now; None if there is no reason."""
        return self.unwritable or self.unreadable
