"""A message that waits in an outbox.

The order of commits. Rows are numbered when they are written, and a transaction with a lower number may commit later
than one with a higher. So nothing here remembers how far it has come: what is in the table is to be published, and what
is published is removed. And who writes a message of a room holds a lock for that room (one of `SHARDS`) until the end
of the transaction: within a room the numbers are in the order of commits, because the next number is taken behind the
commit before. SQLite has one writer at a time, and needs no lock.
"""

from __future__ import annotations

import secrets
import zlib
from typing import Any

import msgspec

from trunkline.core.json_text import check_json
from trunkline.core.limits import Limits
from trunkline.core.message import check_id, check_room, check_sender

SHARDS = 256
"""How many locks there are: two rooms that have the same one wait for each other."""


class Pending(msgspec.Struct, frozen=True):
    """A message that waits.

    Attributes:
        number: Of its row.
        id: With which it is published, however often.
        sender: The user in whose name it is published, if in one's.
        data: JSON.
    """

    number: int
    room: str
    id: str
    sender: str | None
    data: str


def new_pending(room: str, data: Any, id: str | None, sender: str | None, limits: Limits) -> Pending:  # noqa: A002
    """Return a message that is to wait, without a number yet. What no server would take is said here, to its author.

    Args:
        id: By default a random one.

    Raises:
        RequestError: The room, the id, the sender or the data are not allowed.
        TypeError: msgspec cannot encode the data.
    """
    name = secrets.token_hex(16) if id is None else check_id(id, limits.id_bytes_max)
    text = check_json(msgspec.json.encode(data), limits.message_bytes_max, limits.json_depth_max)
    return Pending(0, check_room(room), name, check_sender(sender), text.decode())


def shard_of(room: str) -> int:
    """Return the number of the lock of a room, which is the same in every process."""
    return zlib.crc32(room.encode()) % SHARDS
