"""How much of a room is kept: by default, and for rooms whose names match a pattern."""

from __future__ import annotations

import re
from functools import cached_property
from math import inf
from typing import Any

import msgspec

from trunkline.core.system_rooms import AUDIT

DAY_S = 86_400.0
AUDIT_AGE_S = 400 * DAY_S  # a question about a deletion may come a year later
ALWAYS_MS = -(2**53)

# A room's name, also one of the system's, or the beginning of one and `*`.
_PATTERN = re.compile(r"\$?[A-Za-z0-9_.:~-]{1,255}\Z|[A-Za-z0-9_.:~-]{1,254}\*\Z")


class RoomRetention(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How much is kept of the rooms that match a pattern. What is left out is as for other rooms.

    Attributes:
        messages_max, age_s, bytes_max: As in `Retention`.
        forever: Keep everything; none of the others may be given then.
    """

    messages_max: int | None = None
    age_s: float | None = None
    bytes_max: int | None = None
    forever: bool = False


class Retention(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, dict=True):
    """How much of a room is kept; whatever is reached first trims it. Bounded by default, so that no disk fills.

    Attributes:
        messages_max: The most messages.
        age_s: The age of the oldest message, in seconds.
        bytes_max: The most bytes of all messages together.
        rooms: Other bounds for some rooms, by name or by pattern (`chat:*`). A name counts before a pattern, and a
            longer pattern before a shorter one.

    Raises:
        ValueError: A pattern, or what is said of it, is not valid.
    """

    messages_max: int = 1_000_000
    age_s: float = 7 * DAY_S
    bytes_max: int = 1024 * 1024 * 1024
    rooms: dict[str, RoomRetention] = {}

    def __post_init__(self) -> None:
        for pattern, rule in self.rooms.items():
            if _PATTERN.match(pattern) is None:
                raise ValueError(f"retention: {pattern!r} is neither a room's name nor the beginning of one and *")
            given = (rule.messages_max, rule.age_s, rule.bytes_max)
            if rule.forever and given != (None, None, None):
                raise ValueError(f"retention of {pattern}: forever, and nothing else; or bounds")
            if any(bound is not None and not 0 < bound < 2**53 for bound in given):
                raise ValueError(f"retention of {pattern}: bounds are more than 0 and less than 2**53")

    @cached_property
    def patterns(self) -> list[str]:
        """The names and patterns of `rooms`, those that count first in front."""
        return sorted(self.rooms, key=lambda pattern: (pattern.endswith("*"), -len(pattern), pattern))

    def for_room(self, name: str) -> Retention:
        """Return the bounds of a room, without those of others."""
        if self.rooms:
            if name in self.rooms:
                return self._by_pattern[name]
            for pattern in self.patterns:
                if pattern.endswith("*") and name.startswith(pattern[:-1]):
                    return self._by_pattern[pattern]
        return _AUDIT if name == AUDIT else self.plain

    @cached_property
    def _by_pattern(self) -> dict[str, Retention]:
        return {pattern: self._of(rule) for pattern, rule in self.rooms.items()}

    def _of(self, rule: RoomRetention) -> Retention:
        if rule.forever:
            return FOREVER
        given: dict[str, Any] = {name: value for name, value in _bounds(rule).items() if value is not None}
        return Retention(**(_bounds(self) | given))

    @cached_property
    def plain(self) -> Retention:
        """The bounds of rooms that no rule names."""
        return Retention(**_bounds(self)) if self.rooms else self

    @cached_property
    def shortest_age_s(self) -> float:
        """The shortest age of all rooms."""
        return min([self.age_s, *(bounds.age_s for bounds in self._by_pattern.values())])

    def oldest_ms(self, now_ms: int, ages: int = 1) -> int:
        """Return how old a message may be, as ms since 1970 UTC; with *ages*, so many times as old."""
        return ALWAYS_MS if self.age_s == inf else now_ms - round(ages * self.age_s * 1000)


def _bounds(of: Retention | RoomRetention) -> dict[str, Any]:
    return {"messages_max": of.messages_max, "age_s": of.age_s, "bytes_max": of.bytes_max}


FOREVER = Retention(messages_max=2**53, age_s=inf, bytes_max=2**53)
_AUDIT = Retention(age_s=AUDIT_AGE_S)
