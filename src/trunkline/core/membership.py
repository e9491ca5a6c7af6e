"""Which other nodes of one log run, and whether everything is known that they tell of presence.

No message between nodes is sure to arrive, but messages of one node arrive in the order in which they were sent. Each
node numbers what it tells of presence (`PresenceChanged`), and every heartbeat carries the last number. A node that
lacks one asks for everything (`PresenceRequest`), and is answered in pieces (`PresenceSnapshot`); changes may come in
between, because a piece is as new as the moment in which it was sent. A member that was not named by the end of the
answer is no longer present.

A node that is silent for LEASE_S is taken for ended, and so are the presences through it; unless its process is known
to run, because a machine with too much to do may keep it from speaking.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from trunkline.core.cluster_messages import Heartbeat, PresenceChanged, PresenceSnapshot
from trunkline.core.presence import Member

HEARTBEAT_S = 1.0
LEASE_S = 6.0
ASK_AGAIN_S = 2.0  # of a node that did not answer, or not completely


class PresenceChange(NamedTuple):
    """Members who are present through a node, and members who no longer are."""

    node: str
    room: str
    here: Sequence[Member]
    gone: Sequence[str]


class _Node:
    __slots__ = ("asked_at", "expected", "heard_at", "named", "number", "rooms", "synced")

    def __init__(self) -> None:
        self.heard_at = 0.0
        self.number = 0  # of the last change that is known
        self.rooms: dict[str, set[str]] = {}  # its members by room
        self.synced = False  # all changes up to `number` are known
        self.asked_at = float("-inf")
        self.expected = 0  # the next piece of the answer
        self.named: set[tuple[str, str]] | None = None  # since the first piece


class Membership:
    """The other nodes. Times are seconds of one clock that only goes forward."""

    def __init__(self) -> None:
        self._nodes: dict[str, _Node] = {}

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names of the nodes that run, as far as is known."""
        return iter(list(self._nodes))

    def __len__(self) -> int:
        return len(self._nodes)

    def __contains__(self, name: str) -> bool:
        return name in self._nodes

    @property
    def incomplete(self) -> list[str]:
        """Nodes whose members are not all known."""
        return [name for name, node in self._nodes.items() if not node.synced]

    def heard(self, name: str, now: float) -> None:
        """Note that a node has sent something."""
        node = self._nodes.get(name)
        if node is None:
            node = self._nodes[name] = _Node()
        node.heard_at = now

    def heartbeat(self, message: Heartbeat) -> None:
        """Note how many changes a node has told."""
        node = self._nodes[message.node]
        if node.number != message.number:
            _mark_incomplete(node)

    def to_ask(self, now: float) -> list[str]:
        """Return the nodes that are to be asked for all their members now."""
        due = [name for name, node in self._nodes.items() if not node.synced and now >= node.asked_at + ASK_AGAIN_S]
        for name in due:
            self._nodes[name].asked_at = now
        return due

    def presence_changed(self, message: PresenceChanged) -> PresenceChange | None:
        """Note a node's change; return it, or None if it is an old one."""
        node = self._nodes[message.node]
        if message.number <= node.number:
            return None
        if message.number != node.number + 1:
            _mark_incomplete(node)
        node.number = message.number
        members = node.rooms.setdefault(message.room, set())
        members.update(member.member for member in message.here)
        members.difference_update(message.gone)
        if not members:
            del node.rooms[message.room]
        if node.named is not None:
            node.named.update((message.room, member.member) for member in message.here)
        return PresenceChange(message.node, message.room, [member.as_member for member in message.here], message.gone)

    def presence_snapshot(self, message: PresenceSnapshot, now: float) -> list[PresenceChange]:
        """Note a piece of a node's answer; return the changes that follow from it."""
        node, room = self._nodes[message.node], message.room
        if message.piece == 0:
            node.number, node.expected, node.named = message.number, 0, set()
        if node.named is None or message.piece != node.expected:
            _mark_incomplete(node)
            return []
        node.expected += 1
        node.asked_at = now  # it is still answering
        changes = []
        if message.here:
            node.rooms.setdefault(room, set()).update(member.member for member in message.here)
            node.named.update((room, member.member) for member in message.here)
            changes.append(PresenceChange(message.node, room, [member.as_member for member in message.here], []))
        if message.last:
            for name, members in list(node.rooms.items()):
                gone = [member for member in members if (name, member) not in node.named]
                members.difference_update(gone)
                if not members:
                    del node.rooms[name]
                if gone:
                    changes.append(PresenceChange(message.node, name, [], gone))
            node.named, node.synced = None, True
        return changes

    def ended(self, name: str) -> list[PresenceChange]:
        """Forget a node; return the changes that follow from it."""
        node = self._nodes.pop(name, None)
        rooms = {} if node is None else node.rooms
        return [PresenceChange(name, room, [], list(members)) for room, members in rooms.items()]

    def late(self, now: float) -> list[str]:
        """Return the nodes that have been silent for LEASE_S."""
        return [name for name, node in self._nodes.items() if now >= node.heard_at + LEASE_S]

    def silent_s(self, name: str, now: float) -> float:
        """Return for how many seconds a node has been silent; 0 if it is not known."""
        return now - self._nodes[name].heard_at if name in self._nodes else 0.0

    def extend_leases(self, now: float) -> None:
        """Count no silence before *now*: this process could not listen."""
        for node in self._nodes.values():
            node.heard_at = now


def _mark_incomplete(node: _Node) -> None:
    node.synced, node.named = False, None
