"""What every streaming connection has in common: it reads rooms, is kept alive, and ends once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from trunkline.core.cursor import Cursor
from trunkline.core.fanout import Batch
from trunkline.core.grant import ANYBODY, Grant
from trunkline.core.position import Gap
from trunkline.errors import TrunklineError
from trunkline.hub import Hub

LINGER_S = 2.0  # how long a peer that must go has to take the reason


class Stream:
    """A reader of rooms. Subclasses say how bytes leave; `__slots__` all the way, since there may be 100,000."""

    __slots__ = ("_bucket", "client", "cursors", "full", "grant", "heard", "hub", "session", "stamp")

    messages_max = 1 << 30  # of one delivery, beside what the pieces' bounds say

    def __init__(self, hub: Hub, client: str | None = None) -> None:
        self.hub = hub
        self.client = client  # under which name its limits are counted; None if they are not
        self.grant: Grant = ANYBODY
        self.session = ""
        self.stamp = 0  # grows whenever what it may do has changed
        self.full = False
        self.heard = True
        self.cursors: tuple[Cursor, ...] = ()
        self._bucket = -1

    def deliver(self, cursor: Cursor, batch: Batch) -> None:
        raise NotImplementedError

    def lose(self, cursor: Cursor, gap: Gap) -> None:
        raise NotImplementedError

    def ping(self) -> None:
        raise NotImplementedError

    def expire(self) -> None:
        self.hub.expired += 1
        self.abort()

    def abort(self) -> None:
        raise NotImplementedError

    def drain(self, retry_after_ms: int) -> None:
        raise NotImplementedError

    def dismiss(self, error: TrunklineError) -> None:
        """Say why it may not stay, and end it."""
        raise NotImplementedError

    def recheck(self) -> None:
        """What it may do has changed: stop reading what it may not read any more."""
        self.stamp += 1
        self.hub.spawn(self._recheck())

    async def _recheck(self) -> None:
        for cursor in self.cursors:
            try:
                await self.hub.access.check(self.grant, "read", cursor.room.name)
            except TrunklineError as error:
                if cursor in self.cursors:  # not if it has left meanwhile, or all is over
                    self.deny(cursor, error)

    async def check_read(self, rooms: Sequence[str]) -> None:
        """Let it read these, by the grant that it has when this returns: the last thing to be awaited before it does.

        Raises:
            TrunklineError: It may not.
        """
        stamp = -1
        while stamp != self.stamp:
            stamp = self.stamp
            for room in rooms:
                await self.hub.access.check(self.grant, "read", room)
        if self.grant is not ANYBODY:
            self.hub.access.current(self.grant)

    def deny(self, cursor: Cursor, error: TrunklineError) -> None:
        """It may not read this room any more."""
        raise NotImplementedError

    def opened(self) -> None:
        """Begin to be kept alive."""
        self._bucket = self.hub.heartbeat.add(self)

    def part(self) -> None:
        """Read nothing more: nothing goes out behind a close frame or a last chunk."""
        for cursor in self.cursors:
            self.hub.detach(cursor)
        self.cursors = ()

    def closed(self) -> None:
        """Let go of everything. Harmless if done twice."""
        self.part()
        if self._bucket >= 0:
            self.hub.heartbeat.remove(self, self._bucket)
            self._bucket = -1
        if self.session:
            self.hub.access.guests.leave(self)

    def attach(self, cursors: Iterable[Cursor]) -> None:
        """Read on from these, too."""
        cursors = tuple(cursors)
        self.cursors += cursors
        for cursor in cursors:
            self.hub.attach(cursor)

    def unblocked(self) -> None:
        """The socket takes bytes again."""
        self.full = False
        for cursor in self.cursors:
            self.hub.drained(cursor)
