"""Where a room's messages lie: (number of the room, offset) packed into one integer, and the table for that number."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable

from trunkline.core.epochs import go_on, parse_lineage
from trunkline.core.position import Lineage
from trunkline.core.retention import Retention
from trunkline.core.system_rooms import AUDIT
from trunkline.stores.sqlite.file import LogFile

OFFSET_BITS = 40  # a trillion messages a room; leaves 23 bits, 8 million rooms a table
OFFSET_MASK = (1 << OFFSET_BITS) - 1
ROOM_BITS = 23
ROOM_MASK = (1 << ROOM_BITS) - 1

DELETED_NAMES_END = "!"  # rooms that are being deleted have names before it: a NUL, and their number


def table_of(number: int) -> str:
    """Return the table of the messages of rooms whose number begins with *number*."""
    return f"messages_{number}" if number else "messages"


def by_room(retention: Retention, column: str, bound: Callable[[Retention], float]) -> str:
    """Return an SQL expression for a bound of the room that *column* names. Patterns have no character of SQL's."""
    cases = []
    for pattern in dict.fromkeys([*retention.patterns, AUDIT]):
        matches = "GLOB" if pattern.endswith("*") else "="
        cases.append(f"WHEN {column} {matches} '{pattern}' THEN {bound(retention.for_room(pattern))}")
    return f"(CASE {' '.join(cases)} ELSE {bound(retention.plain)} END)"


def standing(
    file: LogFile, connection: sqlite3.Connection, head: int, epoch: str, life: int, lineage: str, origin: str
) -> tuple[str, Lineage, str]:
    """Return the epoch, the lineage and the first epoch of a room in the present life of the log.

    Args:
        connection: The one that has read the rest, from the room's row.
    """
    epoch = epoch or file.first_epoch(connection)
    origin = origin or epoch
    lives = file.lives_since(life)
    return (*go_on(epoch, parse_lineage(lineage), head, origin, lives), origin)
