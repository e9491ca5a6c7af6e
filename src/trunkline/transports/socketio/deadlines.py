"""Deadlines that all come the same time after their beginning: a queue, and not a timer for each."""

from __future__ import annotations

from collections import deque
from typing import Generic, TypeVar

T = TypeVar("T")


class Deadlines(Generic[T]):
    """What is due, in the order in which it was added.

    Args:
        delay_s: How long after it was added something is due, in seconds.
    """

    def __init__(self, delay_s: float) -> None:
        self.delay_s = delay_s
        self._waiting: deque[tuple[float, T]] = deque()

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, item: T, now: float) -> None:
        """Let something be due `delay_s` from now. It cannot be withdrawn: check when it is due if it still matters.

        Args:
            now: In seconds, of a clock that only goes forward.
        """
        self._waiting.append((now + self.delay_s, item))

    @property
    def next_at(self) -> float | None:
        """When the next one is due; None if there is none."""
        return self._waiting[0][0] if self._waiting else None

    def take_due(self, now: float) -> list[T]:
        """Return what is due by now, and forget it."""
        due = []
        while self._waiting and self._waiting[0][0] <= now:
            due.append(self._waiting.popleft()[1])
        return due

    def postpone(self, by_s: float) -> None:
        """Move all deadlines: this process was not there to see what was done in time."""
        self._waiting = deque((at + by_s, item) for at, item in self._waiting)
