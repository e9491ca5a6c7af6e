"""Whoever was asked who they are, as long as they are connected: to find them by user, by session, and by when their
token ends.

Seconds are whole numbers here; whoever ends within a second is found when that second begins to be over.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import ceil
from typing import Generic, Protocol, TypeVar

from trunkline.core.grant import Grant
from trunkline.errors import RequestError


class Guest(Protocol):
    """A connection, or a poll that waits."""

    grant: Grant

    @property
    def session(self) -> str:
        """Its name."""

    def dismiss(self, error: RequestError) -> None:
        """It may not stay: say why, and end it."""

    def recheck(self) -> None:
        """What it may do has changed."""

    def regranted(self, grant: Grant) -> None:
        """A newer token of the same user counts from now on; what it may do may have changed."""


G = TypeVar("G", bound=Guest)


class Guests(Generic[G]):
    """All of one worker."""

    def __init__(self) -> None:
        self._by_user: dict[str | None, dict[str, G]] = {}
        self._by_session: dict[str, G] = {}
        self._by_end: dict[int, set[str]] = {}
        self._ends: dict[str, int] = {}
        self._begun: int | None = None  # all seconds before this one are over

    def __len__(self) -> int:
        return len(self._by_session)

    def count(self, user: str | None) -> int:
        """How many there are of this user."""
        return len(self._by_user.get(user, ()))

    def of(self, user: str | None) -> list[G]:
        """All of this user."""
        return list(self._by_user.get(user, {}).values())

    def __iter__(self) -> Iterator[G]:
        return iter(list(self._by_session.values()))

    def find(self, session: str) -> G | None:
        """The one with this name."""
        return self._by_session.get(session)

    def arrive(self, guest: G) -> None:
        """Know it from now on, under the grant that it has."""
        self._by_session[guest.session] = guest
        self._by_user.setdefault(guest.grant.user, {})[guest.session] = guest
        if guest.grant.expires_at is not None:
            # An end that is over already is found with the next second.
            end = max(ceil(guest.grant.expires_at), (self._begun or 0) + 1)
            self._ends[guest.session] = end
            self._by_end.setdefault(end, set()).add(guest.session)

    def leave(self, guest: G) -> None:
        """Forget it. Harmless if it was not known."""
        if self._by_session.pop(guest.session, None) is None:
            return
        _discard(self._by_user, guest.grant.user, guest.session)
        end = self._ends.pop(guest.session, None)
        if end is not None:
            _discard(self._by_end, end, guest.session)

    def renew(self, guest: G, grant: Grant) -> None:
        """It has a new grant."""
        self.leave(guest)
        guest.grant = grant
        self.arrive(guest)

    def over(self, now: float) -> list[G]:
        """Whose grants have ended, each once. They stay known until they leave."""
        first, self._begun = self._begun, int(now)
        if first is None or len(self._by_end) < self._begun - first:
            ends = [end for end in self._by_end if end <= now]
        else:
            ends = [end for end in range(first, self._begun + 1) if end in self._by_end]
        return [self._by_session[session] for end in ends for session in self._by_end.pop(end)]


def _discard(index: dict, key: object, session: str) -> None:  # type: ignore[type-arg]
    members = index.get(key)
    if members is not None:
        if isinstance(members, dict):
            members.pop(session, None)
        else:
            members.discard(session)
        if not members:
            del index[key]
