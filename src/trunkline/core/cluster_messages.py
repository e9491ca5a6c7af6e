"""What the nodes of one log tell each other beside it.

Messages are arrays of MessagePack, told apart by their tag, so a tag is part of the protocol between nodes of two
versions.
"""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from trunkline.core.attempt import Attempt
from trunkline.core.grant import Grant
from trunkline.core.presence import Member
from trunkline.core.read_mark import ReadMark


class PresenceEntry(NamedTuple):
    """A member of a room, as nodes tell each other."""

    member: str
    at: int
    data: bytes

    @property
    def as_member(self) -> Member:
        """The member, as readers are told."""
        return Member(self.member, self.at, msgspec.Raw(self.data))


def entry_of(member: Member) -> PresenceEntry:
    """Return a member as it is sent to other nodes."""
    return PresenceEntry(member.member, member.at, bytes(member.json))


class ClusterMessage(msgspec.Struct, tag=True, array_like=True, frozen=True, kw_only=True):
    """A message from one node to others.

    Attributes:
        node: The sender's name.
        clock: The sender's logical clock, in ms: ahead of every message that it had received before.
    """

    node: str
    clock: int


class Heartbeat(ClusterMessage, frozen=True, tag="Beat"):
    """The sender runs, and has told *number* changes of presence."""

    number: int


class Leaving(ClusterMessage, frozen=True, tag="Bye"):
    """The sender stops."""


class PresenceChanged(ClusterMessage, frozen=True, tag="Present"):
    """Members who are present, or no longer present, through the sender.

    Attributes:
        number: Counts such messages of the sender.
        clients: (member, client, ms) of clients that have connected to the sender.
    """

    number: int
    room: str
    here: list[PresenceEntry]
    gone: list[str]
    clients: list[tuple[str, str, int]]


class PresenceRequest(ClusterMessage, frozen=True, tag="Ask"):
    """The sender wants to know all members who are present through the receiver."""


class PresenceSnapshot(ClusterMessage, frozen=True, tag="All"):
    """A piece of the answer to a PresenceRequest.

    Attributes:
        number: That of the last PresenceChanged which the sender sent before.
        piece: Counts from 0.
    """

    number: int
    piece: int
    last: bool
    room: str
    here: list[PresenceEntry]


class PollerLeft(ClusterMessage, frozen=True, tag="Away"):
    """A client that polled has said that it will not poll again."""

    room: str
    member: str
    client: str


class SignalSent(ClusterMessage, frozen=True, tag="Signalled"):
    """A client has sent a signal; connections of that *client* are not told."""

    room: str
    name: str
    user: str | None
    member: str
    client: str
    json: bytes


class ReadMarksMoved(ClusterMessage, frozen=True, tag="Marked"):
    """Read marks have moved."""

    marks: list[ReadMark]


class StreamOpened(ClusterMessage, frozen=True, tag="Fence"):
    """A client has opened a stream: its other streams end, unless the client says that they are newer.

    Attributes:
        at: When, by the sender's logical clock.
        attempt: Which of its streams the client says that this is.
    """

    user: str | None
    client: str
    at: int
    attempt: Attempt | None = None


class Sampled(ClusterMessage, frozen=True, tag="Sample"):
    """What the sender tells of itself every two seconds: an admin/sample.py, encoded."""

    sample: bytes


class Followed(ClusterMessage, frozen=True, tag="Followed"):
    """What a session has done that the receiver follows: a JSON list."""

    session: str
    number: int
    events: bytes


class Tunnelled(ClusterMessage, frozen=True, tag="Tunnel"):
    """Pieces of what one end of a tunnel sends to the other (core/tunnel.py).

    Attributes:
        opener: The node that has opened it.
        number: Which of that node's tunnels it is.
        service: What it was opened for.
        wanted: The piece that the sender takes next; -1 if it knows of no such tunnel.
    """

    opener: str
    number: int
    service: str
    pieces: list[tuple[int, int, bytes]]
    wanted: int


class Disconnect(msgspec.Struct, tag=True, array_like=True, frozen=True):
    """End a user's connections. Answered with how many there were."""

    user: str


class Recheck(msgspec.Struct, tag=True, array_like=True, frozen=True):
    """Check again what a user may read. Answered with how many connections the user has."""

    user: str


class Revoked(msgspec.Struct, tag=True, array_like=True, frozen=True):
    """Read the log of revocations. Answered with how many connections were ended."""


class Redeem(msgspec.Struct, tag=True, array_like=True, frozen=True):
    """Redeem the ticket with this hash. Answered with its grant, once."""

    ticket: bytes


class Renew(msgspec.Struct, tag=True, array_like=True, frozen=True):
    """Give a session the grant of a newer token. Answered with whether the user has such a session."""

    session: str
    grant: Grant


class RoomsInUse(msgspec.Struct, tag="InUse", array_like=True, frozen=True):
    """Which of these rooms are read there. Answered with a number that has bit n set if the nth one is."""

    rooms: list[str]


class ListConnections(msgspec.Struct, tag=True, array_like=True, frozen=True):
    """Name connections: of a user, readers of a room, or the one of a session. Answered with an encoded list."""

    user: str | None = None
    room: str | None = None
    session: str | None = None


class Follow(msgspec.Struct, tag=True, array_like=True, frozen=True):
    """Tell the sender what a session does, for a minute. Answered with a number (transports/follow.py).

    Attributes:
        contents: What messages hold, too.
    """

    session: str
    contents: bool


class Corrected(msgspec.Struct, tag=True, array_like=True, frozen=True):
    """Something of these rooms was redacted, or they were deleted: read them anew. Answered when that is done."""

    rooms: list[str]


class CountReaders(msgspec.Struct, tag=True, array_like=True, frozen=True):
    """How many connections read each of these rooms there. Answered with an encoded list of numbers."""

    rooms: list[str]


class AckConsumed(msgspec.Struct, tag=True, array_like=True, frozen=True):
    """A client that consumes through the receiver has handled a message, or could not. Answered with a number
    (transports/consumption.py).

    Attributes:
        consumer: As which it does.
        user: Who has said so.
        failed: Why it could not, if it could not.
    """

    session: str
    consumer: str
    user: str | None
    room: str
    position: str
    fence: int
    failed: str | None


ROOMS_ASKED_MAX = 50  # as many as a number has bits for, and a datagram has space for

Request = (
    Disconnect | Recheck | Revoked | Redeem | Renew | RoomsInUse | ListConnections | Follow | Corrected | CountReaders
    | AckConsumed
)  # fmt: skip
Answer = int | bool | Grant | bytes | None


class Asked(ClusterMessage, frozen=True):
    """A request that is to be answered."""

    number: int
    order: Request


class Answered(ClusterMessage, frozen=True):
    """The answer to the request with this number."""

    number: int
    answer: int | None
    grant: Grant | None


class AnsweredInFull(ClusterMessage, frozen=True, tag="AnsweredInFull"):
    """The answer to the request with this number, encoded as that request has it."""

    number: int
    data: bytes


AnyMessage = (
    Heartbeat | Leaving | PresenceChanged | PresenceRequest | PresenceSnapshot | PollerLeft | SignalSent
    | ReadMarksMoved | StreamOpened | Sampled | Followed | Tunnelled | Asked | Answered | AnsweredInFull
)  # fmt: skip
