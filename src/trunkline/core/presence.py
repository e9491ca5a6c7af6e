"""Who is in a room.

Everybody holds their place once per connection. When the last hold is let go, the place is kept for a grace time, so
that a connection that breaks and comes back says nothing to anybody; then, or at once if they left on purpose, they
are gone. Readers are told the difference since they were told last, so a storm of joins is a few large events.
"""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from trunkline.errors import RequestError

MEMBERS_MAX = 10_000  # of one room; a stadium wants a counter, not a list
TOLD_MAX = 1000  # members in one event or answer; `count` says how many there are


class Member(msgspec.Struct, frozen=True, gc=False):
    """Somebody who is there.

    Attributes:
        member: The user, or what stands for a client where nobody is asked.
        at: Since when, in ms since 1970 UTC.
        data: What they told of themselves: a JSON object.
    """

    member: str
    at: int
    data: msgspec.Raw


class Changes(NamedTuple):
    """What is different since last time. Who is in `joined` may have been there with other data."""

    joined: list[Member]
    left: list[str]
    new: list[Member]
    """Those of `joined` who were not there."""


class _Place:
    __slots__ = ("holds", "leaving", "member", "until")

    def __init__(self, member: Member) -> None:
        self.member = member
        self.holds = 1
        self.leaving = False  # they have said so, and a connection of theirs has still to end
        self.until: float | None = None


class Presence:
    """The members of one room. Times are seconds of one clock, whichever the caller has."""

    def __init__(self) -> None:
        self._places: dict[str, _Place] = {}
        self._ending: set[str] = set()  # nobody holds them
        self._changed: dict[str, bool] = {}  # member → whether they were there when that was told last

    def __len__(self) -> int:
        return len(self._places)

    def __contains__(self, member: str) -> bool:
        return member in self._places

    @property
    def changed(self) -> bool:
        """Whether there is something to tell."""
        return bool(self._changed)

    def members(self) -> list[Member]:
        """Who is there, the first TOLD_MAX of them, in the order in which they came."""
        places = iter(self._places.values())
        return [place.member for place, _ in zip(places, range(TOLD_MAX), strict=False)]

    def arrive(self, member: str, data: bytes, at: int) -> None:
        """One more connection of theirs.

        Raises:
            RequestError: `too_many_members`.
        """
        place = self._places.get(member)
        if place is None:
            if len(self._places) >= MEMBERS_MAX:
                raise RequestError("too_many_members", f"at most {MEMBERS_MAX} members of one room are told of", 5000)
            self._changed.setdefault(member, False)
            self._places[member] = _Place(Member(member, at, msgspec.Raw(data)))
            return
        place.holds += 1
        place.leaving = False
        place.until = None
        self._ending.discard(member)
        if bytes(place.member.data) != data:
            self._changed.setdefault(member, True)
            place.member = Member(member, place.member.at, msgspec.Raw(data))

    def depart(self, member: str, until: float | None) -> None:
        """One connection less; after the last one they are gone at *until*, or at once if that is None."""
        place = self._places.get(member)
        if place is None:
            return
        place.holds = max(0, place.holds - 1)
        if place.holds:
            return
        if until is None or place.leaving:
            self._remove(member)
        else:
            place.until = until
            self._ending.add(member)

    def leave(self, member: str) -> None:
        """They do not wait for a grace to be over. Whoever is held by a connection stays until that ends."""
        if member in self._ending:
            self._remove(member)
        elif member in self._places:
            self._places[member].leaving = True

    def expire(self, now: float) -> None:
        """Let go of those whose grace is over."""
        for member in list(self._ending):
            until = self._places[member].until
            if until is not None and until <= now:
                self._remove(member)

    def take_changes(self) -> Changes:
        """What is different since this was called last."""
        changed, self._changed = self._changed, {}
        joined = [self._places[member].member for member in changed if member in self._places]
        left = [member for member, was_there in changed.items() if was_there and member not in self._places]
        return Changes(joined, left, [member for member in joined if not changed[member.member]])

    def _remove(self, member: str) -> None:
        del self._places[member]
        self._ending.discard(member)
        self._changed.setdefault(member, True)
