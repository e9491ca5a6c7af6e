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

PRESENCE_LOG = "$presence"
"""The log of who has joined and left rooms, if a webhook asks for it."""

CONNECTION_LOG = "$connections"
"""The log of connections that have begun and ended, if a webhook asks for it."""

_ASIDE = "$aside."
_FOLLOW = "$follow."
VOLATILE_EPOCH = "live"


def follow_room(session: str) -> str:
    """Return the room in which it is told what a session does."""
    return _FOLLOW + session


def aside_room(consumer: str) -> str:
    """Return the room of the messages that a durable consumer has set aside."""
    return _ASIDE + consumer


def is_consumed_system_room(room: str) -> bool:
    """Return whether a durable consumer may read this room of the system's."""
    return room in (PRESENCE_LOG, CONNECTION_LOG) or room.startswith(_ASIDE)


def is_volatile(room: str) -> bool:
    """Return whether a room has signals alone."""
    return room == OVERVIEW or room.startswith(_FOLLOW)
