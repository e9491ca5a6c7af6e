"""The other nodes of one log, as one of them knows them.

Nothing between nodes is sure to arrive, but what arrives from one is in the order in which it was sent. Each node
numbers what it tells of presence (`Present`), and says with every heartbeat (`Beat`) which number was the last. Whoever
lacks one asks for everything (`Ask`), and is given it in pieces (`All`); changes may come in between, because a piece
is as new as the moment in which it was sent. Who was not named by the end is not there any more.

A node from which nothing is heard for LEASE_S is gone, and so is who was there through it; unless its process is known
to be there, which a machine with too much to do may not let speak.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import msgspec

from trunkline.core.attendance import Attempt
from trunkline.core.grant import Grant
from trunkline.core.mark import Mark
from trunkline.core.presence import Member

BEAT_S = 1.0
LEASE_S = 6.0
ASK_AGAIN_S = 2.0  # a node that did not answer, or not completely


class Told(NamedTuple):
    """A member, as other nodes are told of them."""

    member: str
    at: int
    data: bytes

    @property
    def as_member(self) -> Member:
        """As they are told of themselves."""
        return Member(self.member, self.at, msgspec.Raw(self.data))


def told(member: Member) -> Told:
    """A member for the other nodes."""
    return Told(member.member, member.at, bytes(member.data))


class Said(msgspec.Struct, tag=True, array_like=True, frozen=True, kw_only=True):
    """What a node says to others.

    Attributes:
        node: Its name.
        clock: Its clock, which is ahead of everything that it had heard when it said this.
    """

    node: str
    clock: int


class Beat(Said, frozen=True):
    """It lives, and has told so many changes."""

    number: int


class Bye(Said, frozen=True):
    """It ends."""


class Present(Said, frozen=True):
    """A change of who is there through it; *clients* have come to it."""

    number: int
    room: str
    here: list[Told]
    gone: list[str]
    clients: list[tuple[str, str, int]]


class Ask(Said, frozen=True):
    """It wants to know who is there through whom it asks."""


class All(Said, frozen=True):
    """A piece of the answer. *piece* counts from 0; *number* is that of the last change told."""

    number: int
    piece: int
    last: bool
    room: str
    here: list[Told]


class Away(Said, frozen=True):
    """A client that polled does so no longer."""

    room: str
    member: str
    client: str


class Signalled(Said, frozen=True):
    """Somebody has signalled; a connection of *client* is not told."""

    room: str
    name: str
    user: str | None
    member: str
    client: str
    json: bytes


class Marked(Said, frozen=True):
    """Read cursors have moved."""

    marks: list[Mark]


class Fence(Said, frozen=True):
    """A client has opened a stream: it has no other one, unless that is newer by what the client says.

    Attributes:
        at: When, by the node's clock.
    """

    user: str | None
    client: str
    at: int
    attempt: Attempt | None = None


class Disconnect(msgspec.Struct, tag=True, array_like=True, frozen=True):
    """End a user's connections. Answered with how many there were."""

    user: str


class Recheck(msgspec.Struct, tag=True, array_like=True, frozen=True):
    """Ask again what a user may read. Answered with of how many connections."""

    user: str


class Revoked(msgspec.Struct, tag=True, array_like=True, frozen=True):
    """The log of revocations has moved. Answered with how many connections were ended."""


class Redeem(msgspec.Struct, tag=True, array_like=True, frozen=True):
    """What a ticket, of which this is the hash, is worth. It is worth nothing afterwards."""

    ticket: bytes


class Renew(msgspec.Struct, tag=True, array_like=True, frozen=True):
    """A newer token for a session. Answered with whether there is one of the same user."""

    session: str
    grant: Grant


class InUse(msgspec.Struct, tag=True, array_like=True, frozen=True):
    """Which of these rooms are read there. Answered with a number that has bit n set if the nth one is."""

    rooms: list[str]


ROOMS_ASKED_MAX = 50  # what a number has bits for, and a datagram room for

Order = Disconnect | Recheck | Revoked | Redeem | Renew | InUse
Answer = int | bool | Grant | None


class Asked(Said, frozen=True):
    """An order."""

    number: int
    order: Order


class Answered(Said, frozen=True):
    """The answer to the order with this number."""

    number: int
    answer: int | None
    grant: Grant | None


Word = Beat | Bye | Present | Ask | All | Away | Signalled | Marked | Fence | Asked | Answered


class Change(NamedTuple):
    """Who is there through a node, and who is not any more."""

    node: str
    room: str
    here: Sequence[Member]
    gone: Sequence[str]


class _Peer:
    __slots__ = ("asked_at", "expected", "heard_at", "named", "number", "rooms", "synced")

    def __init__(self) -> None:
        self.heard_at = 0.0
        self.number = 0  # of the last change that we know
        self.rooms: dict[str, set[str]] = {}
        self.synced = False  # we know all changes up to that
        self.asked_at = float("-inf")
        self.expected = 0  # the next piece of the answer
        self.named: set[tuple[str, str]] | None = None  # since the first piece


class Peers:
    """Times are seconds of one clock that only goes forward."""

    def __init__(self) -> None:
        self._peers: dict[str, _Peer] = {}

    def __iter__(self) -> Iterator[str]:
        """Those that live, as far as we know."""
        return iter(list(self._peers))

    def __len__(self) -> int:
        return len(self._peers)

    def __contains__(self, node: str) -> bool:
        return node in self._peers

    @property
    def unknown(self) -> list[str]:
        """Of whom we do not know everybody who is there through them."""
        return [node for node, peer in self._peers.items() if not peer.synced]

    def heard(self, node: str, now: float) -> None:
        """A node has said something."""
        peer = self._peers.get(node)
        if peer is None:
            peer = self._peers[node] = _Peer()
        peer.heard_at = now

    def beat(self, beat: Beat) -> None:
        """A node has told so many changes."""
        peer = self._peers[beat.node]
        if peer.number != beat.number:
            self._lack(peer)

    def wanted(self, now: float) -> list[str]:
        """Nodes that are to be asked now."""
        asked = [node for node, peer in self._peers.items() if not peer.synced and now >= peer.asked_at + ASK_AGAIN_S]
        for node in asked:
            self._peers[node].asked_at = now
        return asked

    def present(self, told: Present) -> Change | None:
        """A node tells of a change; None if it is an old one."""
        peer = self._peers[told.node]
        if told.number <= peer.number:
            return None
        if told.number != peer.number + 1:
            self._lack(peer)
        peer.number = told.number
        members = peer.rooms.setdefault(told.room, set())
        members.update(member.member for member in told.here)
        members.difference_update(told.gone)
        if not members:
            del peer.rooms[told.room]
        if peer.named is not None:
            peer.named.update((told.room, member.member) for member in told.here)
        return Change(told.node, told.room, [member.as_member for member in told.here], told.gone)

    def all(self, told: All, now: float) -> list[Change]:
        """A node answers with a piece of everything."""
        peer = self._peers[told.node]
        if told.piece == 0:
            peer.number, peer.expected, peer.named = told.number, 0, set()
        if peer.named is None or told.piece != peer.expected:
            self._lack(peer)
            return []
        peer.expected += 1
        peer.asked_at = now  # it is still answering
        changes = []
        if told.here:
            peer.rooms.setdefault(told.room, set()).update(member.member for member in told.here)
            peer.named.update((told.room, member.member) for member in told.here)
            changes.append(Change(told.node, told.room, [member.as_member for member in told.here], []))
        if told.last:
            for room, members in list(peer.rooms.items()):
                gone = [member for member in members if (room, member) not in peer.named]
                members.difference_update(gone)
                if not members:
                    del peer.rooms[room]
                if gone:
                    changes.append(Change(told.node, room, [], gone))
            peer.named, peer.synced = None, True
        return changes

    def gone(self, node: str) -> list[Change]:
        """A node has ended."""
        peer = self._peers.pop(node, None)
        return [] if peer is None else [Change(node, room, [], list(members)) for room, members in peer.rooms.items()]

    def late(self, now: float) -> list[str]:
        """Nodes from which nothing was heard for too long."""
        return [node for node, peer in self._peers.items() if now >= peer.heard_at + LEASE_S]

    def silent_s(self, node: str, now: float) -> float:
        """For how long nothing has been heard from a node; 0 if it is not known."""
        return now - self._peers[node].heard_at if node in self._peers else 0.0

    def spare(self, now: float) -> None:
        """Nothing could be heard of anybody until now."""
        for peer in self._peers.values():
            peer.heard_at = now

    def _lack(self, peer: _Peer) -> None:
        peer.synced, peer.named = False, None
