"""Read marks: up to which offset a member has seen a room. They only move forward, and are kept with the log."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import msgspec

from trunkline.core.position import OFFSET_MAX
from trunkline.errors import RequestError

READ_MARKS_MAX = 1000  # of one room, the newest


class ReadMark(NamedTuple):
    """Up to which offset a member has seen a room, and since when, in ms since 1970 UTC."""

    room: str
    member: str
    offset: int
    at: int


class Seen(msgspec.Struct, frozen=True, gc=False):
    """A mark as members are told of it: the room is named once, outside."""

    member: str
    offset: int
    at: int


class Unread(msgspec.Struct, frozen=True, gc=False):
    """How much of a room a member has not seen.

    Attributes:
        room: Name of the room.
        head: The newest offset.
        seen: The offset up to which the member has seen it; 0 if there is no mark.
        unread: Retained messages after that.
    """

    room: str
    head: int
    seen: int
    unread: int


def check_offset(offset: int | None) -> int:
    """Return the offset of a read mark, if it may be one.

    Raises:
        RequestError: `bad_position`.
    """
    if offset is None or not 0 <= offset <= OFFSET_MAX:
        raise RequestError("bad_position", "seen has an offset, 0 or more: everything up to it was seen")
    return offset


def by_room(marks: Iterable[ReadMark]) -> dict[str, list[ReadMark]]:
    """Return the marks of each room, in their order."""
    rooms: dict[str, list[ReadMark]] = {}
    for mark in marks:
        rooms.setdefault(mark.room, []).append(mark)
    return rooms


def unread(room: str, first: int, head: int, seen: int) -> Unread:
    """Count the messages that are retained and not seen."""
    return Unread(room, head, seen, max(0, head - max(seen, first - 1)))
