"""Presence: the members of one room.

A member may be there by several clients: tabs, a phone. Each client holds the place once per connection. When it lets
go of the last one, its hold is kept for a grace time, so that a connection that breaks and comes back tells the
others nothing; then, or at once if it left on purpose, it ends, and with the last client the member is gone. Readers
are told the difference since they were told last, so a storm of joins is a few large events.

Where several nodes serve one log, each holds the places of those who are connected to it, tells the others
(`take_local`), and holds for each of them, as if it were one more client, what that one has told (`hold`, `release`).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec

from trunkline.errors import RequestError

MEMBERS_MAX = 10_000  # of one room; a stadium wants a counter, not a list
TOLD_MAX = 1000  # members in one event or answer; `count` says how many there are
NODE = "@"  # in front of a node's name where a client's would be; no client's name begins so


class Member(msgspec.Struct, frozen=True, gc=False):
    """A member of a room.

    Attributes:
        member: The user, or a name made for the client without authentication.
        at: Since when, in ms since 1970 UTC.
        json: `data` as JSON text: the object that its client has given the others to see.
    """

    member: str
    at: int
    json: msgspec.Raw = msgspec.field(name="data")

    @property
    def data(self) -> Any:
        """The decoded `data`."""
        return msgspec.json.decode(self.json)


class Changes(NamedTuple):
    """What is different since last time. Who is in `joined` may have been there with other data."""

    joined: list[Member]
    left: list[str]
    new: list[Member]
    """Those of `joined` who were not there."""


class LocalChanges(NamedTuple):
    """What the other nodes are to know, since they were told last.

    Attributes:
        here: Who is here now, through this node.
        gone: Who is not any more.
        clients: (member, client, when) that have come to this node: another one need not wait for them.
    """

    here: list[Member]
    gone: list[str]
    clients: list[tuple[str, str, int]]


class _Hold:
    """By one client."""

    __slots__ = ("at", "connections", "leaving", "until")

    def __init__(self) -> None:
        self.connections = 0
        self.at = 0  # when the last of them came
        self.leaving = False  # it has said so, and a connection has still to end
        self.until = 0.0  # once there is no connection


class _Place:
    __slots__ = ("holds", "member")

    def __init__(self, member: Member) -> None:
        self.member = member
        self.holds: dict[str, _Hold] = {}


class Presence:
    """The members of one room. Times are seconds of one clock, whichever the caller has.

    Args:
        alone: There are no other nodes.
    """

    def __init__(self, *, alone: bool = True) -> None:
        self._alone = alone
        self._own: dict[str, None] = {}  # of whom other nodes have to be told
        self._arrived: dict[tuple[str, str], int] = {}  # (member, client) → when
        self._places: dict[str, _Place] = {}
        self._ending: set[tuple[str, str]] = set()  # (member, client) without a connection
        self._changed: dict[str, bool] = {}  # member → whether they were there when that was told last

    def __len__(self) -> int:
        return len(self._places)

    def __contains__(self, member: str) -> bool:
        return member in self._places

    @property
    def changed(self) -> bool:
        """Whether there is something to tell."""
        return bool(self._changed)

    @property
    def untold(self) -> bool:
        """Whether there is something to tell the other nodes."""
        return bool(self._own or self._arrived)

    def members(self) -> list[Member]:
        """Return the first TOLD_MAX members, in the order in which they joined."""
        places = iter(self._places.values())
        return [place.member for place, _ in zip(places, range(TOLD_MAX), strict=False)]

    def arrive(self, member: str, data: bytes, at: int, client: str = "") -> None:
        """Note that a member has one more connection.

        Args:
            client: By which of their clients.

        Raises:
            RequestError: `too_many_members`.
        """
        if member not in self._places and len(self._places) >= MEMBERS_MAX:
            raise RequestError("too_many_members", f"at most {MEMBERS_MAX} members of one room are told of", 5000)
        hold = self._hold(member, data, at, client)
        hold.connections += 1
        hold.at = at
        hold.leaving = False
        self._ending.discard((member, client))

    def depart(self, member: str, until: float | None, client: str = "") -> None:
        """Note that a client has one connection less; after the last it leaves at *until*, or at once if None."""
        place = self._places.get(member)
        hold = place.holds.get(client) if place is not None else None
        if hold is None or not hold.connections:
            return
        hold.connections -= 1
        if hold.connections:
            return
        if until is None or hold.leaving:
            self._end(member, client)
        else:
            hold.until = until
            self._ending.add((member, client))

    def leave(self, member: str, client: str = "") -> None:
        """End a client's grace time. If a connection holds it, it stays until that ends."""
        if (member, client) in self._ending:
            self._end(member, client)
        elif member in self._places and client in self._places[member].holds:
            self._places[member].holds[client].leaving = True

    def hold(self, member: Member, node: str) -> None:
        """Note that a member is present through another node."""
        client = NODE + node
        if member.member in self._places or len(self._places) < MEMBERS_MAX:
            self._hold(member.member, bytes(member.json), member.at, client).connections = 1
            self._ending.discard((member.member, client))

    def release(self, member: str, until: float | None, node: str) -> None:
        """Note that a member is no longer present through another node; keep the member until *until*, if given."""
        self.depart(member, until, NODE + node)

    def elsewhere(self, member: str, client: str, at: int) -> None:
        """End a client's grace time here because it has connected to another node, unless it was here after that.

        Polls of one client come to any node, and what nodes tell of that crosses: only the later one may keep it, and
        one must. If that is this one, the other is told (`take_local`).
        """
        place = self._places.get(member)
        hold = place.holds.get(client) if place is not None else None
        if hold is None:
            return
        if hold.at > at:
            self._arrived[member, client] = hold.at
        elif hold.at < at and (member, client) in self._ending:
            self._end(member, client)

    def is_local(self, member: str) -> bool:
        """Return whether a member is present through this node."""
        return _is_local(self._places.get(member))

    def local(self) -> list[Member]:
        """Return the members who are present through this node."""
        return [place.member for place in self._places.values() if _is_local(place)]

    def take_local(self) -> LocalChanges:
        """Return what has changed for the other nodes since the last call."""
        changed, self._own = self._own, {}
        arrived, self._arrived = self._arrived, {}
        here = [self._places[member].member for member in changed if self.is_local(member)]
        gone = [member for member in changed if not self.is_local(member)]
        return LocalChanges(here, gone, [(member, client, at) for (member, client), at in arrived.items()])

    def expire(self, now: float) -> None:
        """Let go of those whose grace is over."""
        for member, client in list(self._ending):
            if self._places[member].holds[client].until <= now:
                self._end(member, client)

    def take_changes(self) -> Changes:
        """Return what has changed since the last call."""
        changed, self._changed = self._changed, {}
        joined = [self._places[member].member for member in changed if member in self._places]
        left = [member for member, was_there in changed.items() if was_there and member not in self._places]
        return Changes(joined, left, [member for member in joined if not changed[member.member]])

    def _hold(self, member: str, data: bytes, at: int, client: str) -> _Hold:
        place = self._places.get(member)
        if place is None:
            self._changed.setdefault(member, False)
            place = self._places[member] = _Place(Member(member, at, msgspec.Raw(data)))
        elif bytes(place.member.json) != data:
            self._changed.setdefault(member, True)
            place.member = Member(member, place.member.at, msgspec.Raw(data))
            self._tell_own(member, client)
        hold = place.holds.get(client)
        if hold is None:
            hold = place.holds[client] = _Hold()
            self._tell_own(member, client)
            if not self._alone and not client.startswith(NODE):
                self._arrived[member, client] = at
        return hold

    def _tell_own(self, member: str, client: str) -> None:
        if not self._alone and not client.startswith(NODE):
            self._own[member] = None

    def _end(self, member: str, client: str) -> None:
        self._ending.discard((member, client))
        self._arrived.pop((member, client), None)
        if not self._alone and not client.startswith(NODE):
            self._own[member] = None
        holds = self._places[member].holds
        del holds[client]
        if not holds:
            del self._places[member]
            self._changed.setdefault(member, True)


def _is_local(place: _Place | None) -> bool:
    return place is not None and any(not client.startswith(NODE) for client in place.holds)
