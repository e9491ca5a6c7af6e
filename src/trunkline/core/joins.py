"""Which rooms a request reads, and where it begins in each."""

from __future__ import annotations

from collections.abc import Sequence

from trunkline.core.message import check_readable_room, check_rooms
from trunkline.core.position import Start, parse_since, parse_start
from trunkline.errors import RequestError


def parse_positions(text: str) -> dict[str, Start]:
    """Parse one position per room, `a=k3f9x2.42,b=p0q8.7`: how `/connect` says where it is.

    Raises:
        RequestError: `bad_position`.
    """
    starts = {}
    for part in text.split(","):
        room, equals, position = part.rpartition("=")
        if not equals or not room:
            raise RequestError("bad_position", "for several rooms, since is room=position,room=position")
        starts[room] = parse_since(position)
    return starts


def parse_joins(
    named: Sequence[str], since: str | None, last: str | None, rooms_max: int, default: Start
) -> list[tuple[str, Start]]:
    """Parse the rooms of a `/connect`, and where each begins. A *since* that names rooms needs no *named*.

    Raises:
        RequestError: `bad_room`, `too_many_rooms` or `bad_position`.
    """
    if since is None or "=" not in since:
        start = parse_start(since, last, default)
        return [(name, start) for name in check_rooms(named, rooms_max, check_readable_room)]
    if last is not None:
        raise RequestError("bad_position", "give since or last, not both")
    starts = parse_positions(since)
    return [
        (name, starts.get(name, default))
        for name in check_rooms(named or tuple(starts), rooms_max, check_readable_room)
    ]
