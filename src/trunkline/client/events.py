"""The events of a client, as PROTOCOL.md has them: dictionaries with these keys."""

from __future__ import annotations

from typing import Any, Literal, NotRequired, TypedDict

Gap = TypedDict(
    "Gap",
    {
        "room": str,
        "epoch": str,
        "from": int,
        "to": int,
        "reason": Literal["trimmed", "slow", "epoch", "future", "deleted"],
        "next": str,
    },
)
"""Messages that cannot be had any more: the offsets `from` to `to`, both inclusive; reading goes on at `next`."""


class Redacted(TypedDict):
    """The messages with the offsets in `redacts` have lost their data; with `erased`, their senders, too.

    `offset` is the redaction's own, and `at` is ms since 1970 UTC.
    """

    room: str
    offset: int
    at: int
    redacts: list[int]
    erased: NotRequired[bool]


Signal = TypedDict("Signal", {"room": str, "name": str, "from": str | None, "member": str, "at": int, "data": Any})
"""Something that is not logged, such as that a member is typing; `at` is ms since 1970 UTC."""


class Joined(TypedDict):
    """Reading has begun, at the offset `head`."""

    room: str
    epoch: str
    head: int


class Member(TypedDict):
    """A member of a room, since when (ms since 1970 UTC), and the object that it is shown with."""

    member: str
    at: int
    data: Any


class Presence(TypedDict):
    """The members of a room (`members`), or how they have changed (`joined`, `left`)."""

    room: str
    count: int
    members: NotRequired[list[Member]]
    joined: NotRequired[list[Member]]
    left: NotRequired[list[str]]


class ReadMark(TypedDict):
    """Up to which offset a member has seen a room, and since when (ms since 1970 UTC)."""

    member: str
    offset: int
    at: int


class Seen(TypedDict):
    """Read marks that have moved."""

    room: str
    marks: list[ReadMark]


class Unread(TypedDict):
    """How much of a room was not seen."""

    room: str
    head: int
    seen: int
    unread: int


class Refusal(TypedDict):
    """Why something was refused: `code` is one of PROTOCOL.md, `about` the command."""

    code: str
    message: str
    id: NotRequired[str]
    room: NotRequired[str]
    about: NotRequired[str]
    retry_after_ms: NotRequired[int]


class Change(TypedDict):
    """A change of the connection's state, and its reason; the next attempt follows after `retryMs`."""

    state: Literal["idle", "connecting", "online", "waiting", "closed"]
    reason: str
    text: str
    transport: Literal["websocket", "sse", "longpoll", "shortpoll"]
    retryMs: NotRequired[int]
