"""Who does how much: counted while somebody looks at a dashboard, and at no other time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable
from typing import NamedTuple, TypeVar

K = TypeVar("K", bound=Hashable)

KINDS_MAX = 10_000  # rooms and users that are told apart between two samples; what more there are is not counted


class Taken(NamedTuple):
    """What was counted.

    Attributes:
        published: Messages that were stored, by room.
        moved: How often rooms have moved that are open here, whoever has published.
        publishers: Messages that were stored, by user.
        refused: How often somebody asked too often: users (True), and addresses of which no user is known.
    """

    published: Counter[str]
    moved: Counter[str]
    publishers: Counter[str]
    refused: Counter[tuple[str, bool]]


class Activity:
    """What was done since the last `take`.

    Attributes:
        is_watched: Whether it is counted.
    """

    __slots__ = ("_publishers", "_read", "_refused", "_rooms", "is_watched")

    def __init__(self) -> None:
        self.is_watched = False
        self._rooms: Counter[str] = Counter()
        self._read: Counter[str] = Counter()
        self._publishers: Counter[str] = Counter()
        self._refused: Counter[tuple[str, bool]] = Counter()

    def published(self, room: str, user: str | None) -> None:
        """Count a message that was stored; call it while `is_watched`."""
        _count(self._rooms, room)
        if user is not None:
            _count(self._publishers, user)

    def moved(self, room: str) -> None:
        """Count that a room that is open here has moved; call it while `is_watched`."""
        _count(self._read, room)

    def refused(self, user: str | None, address: str) -> None:
        """Count that somebody asked too often: a user or, if none is known, an address."""
        _count(self._refused, (address, False) if user is None else (user, True))

    def take(self) -> Taken:
        """Return what was counted, and begin anew."""
        taken = Taken(self._rooms, self._read, self._publishers, self._refused)
        self._rooms, self._read, self._publishers, self._refused = Counter(), Counter(), Counter(), Counter()
        return taken


def _count(of: Counter[K], name: K) -> None:
    if name in of or len(of) < KINDS_MAX:
        of[name] += 1
