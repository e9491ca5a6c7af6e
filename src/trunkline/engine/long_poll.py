"""The wait of a long poll: until there is something new in one of its rooms."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Protocol

from trunkline.core.cursor import Room


class Watch(Protocol):
    """What a poll waits for beside messages."""

    def has_news(self) -> bool:
        """Return whether there is something to tell now."""

    def add_waiter(self, wake: Callable[[], None]) -> None:
        """Call *wake*, once, when there is."""

    def remove_waiter(self, wake: Callable[[], None]) -> None:
        """Call it no more. Harmless if it was called."""


async def wait_for_news(
    rooms: Sequence[Room], wait_s: float, watch: Watch | None, is_stopping: Callable[[], bool]
) -> None:
    """Wait until a room moves, *watch* has news, or the time is over; not at all if the server stops.

    Args:
        rooms: The poll's rooms, at the heads of which it stands.
        wait_s: How many seconds to wait at most.
        watch: What the poll waits for beside messages.
        is_stopping: Whether the server stops; then all rooms are woken (`Rooms.wake_all`).
    """
    news = asyncio.Event()
    wake = news.set
    for room in rooms:
        room.waiters.add(wake)
    if watch is not None:
        watch.add_waiter(wake)
    try:
        if not is_stopping():
            async with asyncio.timeout(wait_s):
                await news.wait()
    except TimeoutError:
        pass
    finally:
        for room in rooms:
            room.waiters.discard(wake)
        if watch is not None:
            watch.remove_waiter(wake)
