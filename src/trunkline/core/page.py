"""A page: what one poll of a room is answered with."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from trunkline.core.message import Message
from trunkline.core.position import Gap, Start

DEFAULT_START = Start("last", 50)  # of a poll that does not say where to begin


class Page(msgspec.Struct, frozen=True, omit_defaults=True):
    """Messages of a room after a position.

    Attributes:
        room: Name of the room.
        epoch: The epoch of its log.
        head: The newest offset.
        next: The position to ask from next time.
        gap: What comes before the messages and is gone, or None.
        messages: The messages, in order.
        redactions: What takes the data of messages away, in order; those of *messages* have none any more.
    """

    room: str
    epoch: str
    head: int
    next: str
    gap: Gap | None
    messages: Sequence[Message]
    redactions: Sequence[Message] = ()
