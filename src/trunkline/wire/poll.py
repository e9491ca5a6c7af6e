"""Poll answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from trunkline.core.message import Message
from trunkline.core.position import Gap

_encode = msgspec.json.Encoder().encode


class Page(msgspec.Struct, frozen=True):
    """What a room has after a position, or the beginning of it.

    Attributes:
        head: The newest offset.
        next: The position to ask from next.
        gap: What comes before the messages and is gone, or None.
    """

    room: str
    epoch: str
    head: int
    next: str
    gap: Gap | None
    messages: Sequence[Message]


class _Pages(msgspec.Struct, frozen=True):
    next: str
    messages: list[Message]
    gaps: list[Gap]


def encode_page(page: Page) -> bytes:
    """The answer of `GET /rooms/{room}`."""
    return _encode(page)


def positions(next_by_room: Mapping[str, object]) -> str:
    """`a=k3f9x2.42,b=p0q8.7`: one position per room."""
    return ",".join(f"{room}={position}" for room, position in next_by_room.items())


def encode_pages(pages: Sequence[Page]) -> bytes:
    """The answer of `GET /connect`: every room in one."""
    return _encode(
        _Pages(
            positions({page.room: page.next for page in pages}),
            [message for page in pages for message in page.messages],
            [page.gap for page in pages if page.gap is not None],
        )
    )
