"""Read cursors: up to where a member has seen a room. They only move forward, and outlive everything but the log."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import msgspec

from trunkline.core.position import OFFSET_MAX
from trunkline.errors import RequestError

MARKS_TOLD_MAX = 1000  # of one room, the newest


class Mark(NamedTuple):
    """A member has seen everything up to *offset*; *at* is when, in ms since 1970 UTC."""

    room: str
    member: str
    offset: int
    at: int


class Seen(msgspec.Struct, frozen=True, gc=False):
    """A mark as it is told: its room is said once, outside."""

    member: str
    offset: int
    at: int


class Unread(msgspec.Struct, frozen=True, gc=False):
    """How much of a room a member has not seen.

    Attributes:
        head: The newest offset.
        seen: Up to here they have seen it; 0 if they never said.
        unread: Retained messages after that.
    """

    room: str
    head: int
    seen: int
    unread: int


def check_offset(offset: int | None) -> int:
    """Up to where something was seen, if it may be said so.

    Raises:
        RequestError: `bad_position`.
    """
    if offset is None or not 0 <= offset <= OFFSET_MAX:
        raise RequestError("bad_position", "seen has an offset, 0 or more: everything up to it was seen")
    return offset


def by_room(marks: Iterable[Mark]) -> dict[str, list[Mark]]:
    """Each room's, in their order."""
    rooms: dict[str, list[Mark]] = {}
    for mark in marks:
        rooms.setdefault(mark.room, []).append(mark)
    return rooms


def unread(room: str, first: int, head: int, seen: int) -> Unread:
    """Count what is retained and not seen."""
    return Unread(room, head, seen, max(0, head - max(seen, first - 1)))
