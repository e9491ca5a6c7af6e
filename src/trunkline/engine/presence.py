"""Presence: the members of rooms, through this node and through the others."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence

from trunkline.core.cluster_messages import PollerLeft
from trunkline.core.membership import PresenceChange
from trunkline.core.presence import TOLD_MAX, Member, Presence
from trunkline.engine.clock import Clock
from trunkline.engine.cluster import Cluster
from trunkline.engine.notifier import Audience, Event, Notifier
from trunkline.wire import envelope

log = logging.getLogger("trunkline")

PresenceHook = Callable[[str, str, bool], Awaitable[None] | None]
"""`(room, member, joined)`: called when a member has joined a room, or has left for good; may be async."""


class _RoomPresence:
    __slots__ = ("changed_at", "orphans", "presence")

    def __init__(self, version: int, *, alone: bool) -> None:
        self.presence = Presence(alone=alone)
        self.changed_at = version  # the version at which it changed last
        self.orphans: set[str] = set()  # members of nodes that have ended


class PresenceService:
    """The members of all rooms.

    Args:
        grace_s: How many seconds after a member's last connection is gone, the others are told.

    Attributes:
        hook: The application's.
        listeners: Called as the hook is, and at once.
    """

    audience: Audience = "watchers"

    def __init__(self, notifier: Notifier, cluster: Cluster | None, clock: Clock, grace_s: float) -> None:
        self.hook: PresenceHook | None = None
        self.listeners: list[Callable[[str, str, bool], None]] = []
        self._notifier = notifier
        self._cluster = cluster
        self._clock = clock
        self._grace_s = grace_s
        self._rooms: dict[str, _RoomPresence] = {}
        self._hooks: set[asyncio.Future[None]] = set()
        notifier.register(self)
        if cluster is not None:
            cluster.share_members(self)
            cluster.on_message(PollerLeft, lambda left: self._poller_left(left.room, left.member, left.client))

    @property
    def incomplete_nodes(self) -> list[str]:
        """Nodes whose members are not all known."""
        return [] if self._cluster is None else self._cluster.incomplete_nodes

    @property
    def count(self) -> int:
        """How many members there are, in all rooms together."""
        return sum([len(room.presence) for room in self._rooms.values()])

    def enter(self, room: str, member: str, client_id: str, data: bytes) -> None:
        """Count one more connection of a member, by one of their clients.

        Raises:
            RequestError: `too_many_members`.
        """
        of_room = self._of(room)
        of_room.presence.arrive(member, data, self._clock.wall_ms(), client_id)
        of_room.orphans.discard(member)
        self._changed(room, of_room)

    def leave(
        self, room: str, member: str, client_id: str, *, at_once: bool = False, grace_s: float | None = None
    ) -> None:
        """Count one connection less. After the last one, others are told when the grace is over, or at once."""
        of_room = self._rooms.get(room)
        if of_room is not None:
            grace_s = self._grace_s if grace_s is None else grace_s
            until = None if at_once else self._clock.monotonic() + grace_s
            of_room.presence.depart(member, until, client_id)
            self._changed(room, of_room)

    def leave_poller(self, room: str, member: str, client_id: str) -> None:
        """Let a client leave that has said that it will not poll again."""
        self._poller_left(room, member, client_id)
        if self._cluster is not None:
            self._cluster.send(PollerLeft, room=room, member=member, client=client_id)

    def members(self, room: str) -> tuple[int, list[Member]]:
        """Return how many members a room has, and the first TOLD_MAX of them."""
        of_room = self._rooms.get(room)
        return (0, []) if of_room is None else (len(of_room.presence), of_room.presence.members())

    def members_since(self, room: str, version: int) -> tuple[int, list[Member]] | None:
        """Return `members`; None if they have not changed since *version*."""
        of_room = self._rooms.get(room)
        return self.members(room) if of_room is not None and of_room.changed_at > version else None

    # The notifier.

    def has_news(self, room: str) -> bool:
        of_room = self._rooms.get(room)
        return of_room is not None and of_room.presence.changed

    def flush(self, room: str) -> Sequence[Event]:
        of_room = self._rooms.get(room)
        if of_room is None:
            return []
        presence = of_room.presence
        local = presence.take_local()
        if self._cluster is not None and any(local):
            self._cluster.send_presence(room, local)
        changes = presence.take_changes()
        events = []
        if len(changes.joined) + len(changes.left) > TOLD_MAX:
            events.append(Event("presence", envelope.members_body(room, len(presence), presence.members())))
        elif changes.joined or changes.left:
            body = envelope.changes_body(room, len(presence), changes.joined, changes.left)
            events.append(Event("presence", body))
        if self.hook is not None or self.listeners:
            for member in changes.new:
                if presence.is_local(member.member):  # each node tells its application of its own
                    self._call_hook(room, member.member, joined=True)
            for gone in changes.left:
                is_ours = gone in of_room.orphans and self._cluster is not None and self._cluster.is_eldest
                if self._cluster is None or gone in local.gone or is_ours:
                    self._call_hook(room, gone, joined=False)
        of_room.orphans.difference_update(changes.left)
        return events

    def expire(self, room: str, now: float) -> None:
        of_room = self._rooms.get(room)
        if of_room is not None:
            of_room.presence.expire(now)
            self._changed(room, of_room)

    def is_idle(self, room: str) -> bool:
        of_room = self._rooms.get(room)
        if of_room is None:
            return True
        return not (len(of_room.presence) or of_room.presence.changed or of_room.presence.untold)

    def forget(self, room: str) -> None:
        self._rooms.pop(room, None)

    async def close(self) -> None:
        """Wait for the application's hooks, and forget everything."""
        await asyncio.gather(*self._hooks, return_exceptions=True)
        self._rooms.clear()
        self.listeners.clear()

    # The cluster (`cluster.Members`).

    def local(self) -> Iterator[tuple[str, list[Member]]]:
        for room, of_room in list(self._rooms.items()):
            members = of_room.presence.local()
            if members:
                yield room, members

    def local_of(self, room: str) -> list[Member]:
        of_room = self._rooms.get(room)
        return [] if of_room is None else of_room.presence.local()

    def changed_elsewhere(self, change: PresenceChange, until: float | None) -> None:
        of_room = self._rooms.get(change.room)
        if of_room is None:
            if not change.here:
                return
            of_room = self._of(change.room)
        for member in change.here:
            of_room.presence.hold(member, change.node)
            of_room.orphans.discard(member.member)
        for name in change.gone:
            of_room.presence.release(name, until, change.node)
        if until is not None:
            of_room.orphans.update(change.gone)
        self._changed(change.room, of_room)

    def client_elsewhere(self, room: str, clients: Iterable[tuple[str, str, int]]) -> None:
        of_room = self._rooms.get(room)
        if of_room is not None:
            for member, client_id, at in clients:
                of_room.presence.elsewhere(member, client_id, at)
            self._changed(room, of_room)

    def _poller_left(self, room: str, member: str, client_id: str) -> None:
        of_room = self._rooms.get(room)
        if of_room is not None:
            of_room.presence.leave(member, client_id)
            self._changed(room, of_room)

    def _of(self, room: str) -> _RoomPresence:
        of_room = self._rooms.get(room)
        if of_room is None:
            self._notifier.subject(room)
            version = self._notifier.version_number
            of_room = self._rooms[room] = _RoomPresence(version, alone=self._cluster is None)
        return of_room

    def _changed(self, room: str, of_room: _RoomPresence) -> None:
        if of_room.presence.changed:
            of_room.changed_at = self._notifier.changed(room)
        elif of_room.presence.untold:
            self._notifier.changed(room)

    def _call_hook(self, room: str, member: str, *, joined: bool) -> None:
        for listener in self.listeners:
            listener(room, member, joined)
        if self.hook is None:
            return
        try:
            answer = self.hook(room, member, joined)
        except Exception:
            log.exception("the application's on_presence failed")
            return
        if answer is not None:
            task = asyncio.ensure_future(_finish(answer))
            self._hooks.add(task)
            task.add_done_callback(self._hooks.discard)


async def _finish(answer: Awaitable[None]) -> None:
    try:
        await answer
    except Exception:
        log.exception("the application's on_presence failed")
