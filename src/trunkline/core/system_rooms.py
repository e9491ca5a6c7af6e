"""The rooms that the system keeps for itself. No application's room can have such a name, and administrators alone read
them.

Those of the dashboard are volatile: nothing is ever appended to them, so they can be opened while the log is away,
which is when they are needed.
"""

from __future__ import annotations

OVERVIEW = "$overview"
"""Signals `overview`: what the dashboard shows, each time it has changed."""

AUDIT = "$audit"
"""The log of what administrators and moderators have corrected: who, when, what and how much, never the data."""

_FOLLOW = "$follow."
VOLATILE_EPOCH = "live"


def follow_room(session: str) -> str:
    """Return the room in which it is told what a session does."""
    return _FOLLOW + session


def is_volatile(room: str) -> bool:
    """Return whether a room has signals alone."""
    return room == OVERVIEW or room.startswith(_FOLLOW)
