"""Poll answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import msgspec

from trunkline.core.grant import Grant
from trunkline.core.message import Message
from trunkline.core.page import Page
from trunkline.core.position import Gap
from trunkline.core.presence import Member
from trunkline.core.read_mark import ReadMark
from trunkline.core.signal import Signal
from trunkline.wire.envelope import in_ms, left_ms, members_body, seen_body

_encode = msgspec.json.Encoder().encode


class _Pages(msgspec.Struct, frozen=True, omit_defaults=True):
    next: str
    messages: list[Message]
    gaps: list[Gap]
    redactions: Sequence[Message] = ()


class _Live(msgspec.Struct, frozen=True):
    next: str
    user: str | None
    member: str
    expires_at: int | None
    expires_in_ms: int | None
    retry_max_ms: int
    signals: list[Signal]
    presence: list[msgspec.Raw]
    seen: list[msgspec.Raw]


class LivePage(NamedTuple):
    """What a poll is told of one room beside its messages.

    Attributes:
        presence: How many are there and who, if that has changed.
    """

    signals: list[Signal]
    presence: tuple[int, list[Member]] | None
    marks: list[ReadMark]


def encode_live(
    next_version: str, member: str, grant: Grant, now_ms: int, retry_max_ms: int, pages: Mapping[str, LivePage]
) -> bytes:
    """Return the `live` of a poll's answer."""
    return _encode(
        _Live(
            next_version,
            grant.user,
            member,
            in_ms(grant.expires_at),
            left_ms(grant.expires_at, now_ms),
            retry_max_ms,
            [signal for page in pages.values() for signal in page.signals],
            [msgspec.Raw(members_body(room, *page.presence)) for room, page in pages.items() if page.presence],
            [msgspec.Raw(seen_body(room, page.marks)) for room, page in pages.items() if page.marks],
        )
    )


def encode_page(page: Page, live: bytes | None = None) -> bytes:
    """Return the answer of `GET /rooms/{room}`."""
    return _with_live(_encode(page), live)


def _with_live(answer: bytes, live: bytes | None) -> bytes:
    return answer if live is None else b'%b,"live":%b}' % (answer[:-1], live)


def positions(next_by_room: Mapping[str, object]) -> str:
    """Return one position per room: `a=k3f9x2.42,b=p0q8.7`."""
    return ",".join(f"{room}={position}" for room, position in next_by_room.items())


def encode_pages(pages: Sequence[Page], live: bytes | None = None) -> bytes:
    """Return the answer of `GET /connect`: every room in one."""
    answer = _Pages(
        positions({page.room: page.next for page in pages}),
        [message for page in pages for message in page.messages],
        [page.gap for page in pages if page.gap is not None],
        tuple(redaction for page in pages for redaction in page.redactions),
    )
    return _with_live(_encode(answer), live)
