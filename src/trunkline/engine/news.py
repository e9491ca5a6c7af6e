"""News: which rooms have moved, for parts of this process that do not read them yet."""

from __future__ import annotations

from collections.abc import Callable, Collection

Listener = Callable[[Collection[str] | None, bool], None]
"""Called with the names of rooms that have moved, or None if it could be any room; and whether there may be something
new in them, or only what was there has changed. It is a hint: it may be wrong."""


class News:
    """Who is told when rooms move.

    Attributes:
        listeners: They are called on the event loop, and must be quick.
    """

    __slots__ = ("listeners",)

    def __init__(self) -> None:
        self.listeners: list[Listener] = []

    def moved(self, rooms: Collection[str] | None, *, has_new: bool = True) -> None:
        """Tell all listeners."""
        for listener in self.listeners:
            listener(rooms, has_new)
