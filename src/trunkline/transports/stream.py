"""What every streaming connection has in common: it reads rooms, is kept alive, and ends once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from trunkline.core.attendance import NONE, Attendance, member_of
from trunkline.core.cursor import Cursor
from trunkline.core.fanout import Batch
from trunkline.core.grant import ANYBODY, Grant
from trunkline.core.notice import Notice
from trunkline.core.position import Gap
from trunkline.errors import TrunklineError
from trunkline.hub import Hub
from trunkline.live import now_ms
from trunkline.wire import envelope

LINGER_S = 2.0  # how long a peer that must go has to take the reason


def welcome_body(hub: Hub, session: str, grant: Grant, member: str) -> bytes:
    """Who somebody is taken for, and what this hub expects of them."""
    heartbeat = (hub.ping_interval_s, hub.ping_timeout_s)
    return envelope.welcome_body(session, grant, member, now_ms(), hub.retry_max_ms, *heartbeat, hub.limits)


class Stream:
    """A reader of rooms. Subclasses say how bytes leave; `__slots__` all the way, since there may be 100,000."""

    __slots__ = (
        "_bucket", "_present", "_watched", "attendance", "client", "cursors", "full", "grant", "heard", "hub",
        "missed", "session", "stamp",
    )  # fmt: skip

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
        self.attendance = NONE  # as its URL has it
        self.missed: tuple[str, ...] = ()
        self._present: tuple[str, ...] = ()  # rooms in which others are told of it
        self._watched: tuple[str, ...] = ()  # rooms of which it is told who is there
        self._bucket = -1

    def deliver(self, cursor: Cursor, batch: Batch) -> None:
        raise NotImplementedError

    def lose(self, cursor: Cursor, gap: Gap) -> None:
        raise NotImplementedError

    def turn(self, cursor: Cursor) -> None:
        raise NotImplementedError

    def notify(self, notice: Notice) -> None:
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

    def regranted(self, grant: Grant) -> None:
        """A newer token of the same user counts from now on."""
        self.recheck()

    async def _recheck(self) -> None:
        for cursor in self.cursors:
            try:
                await self.hub.access.check(self.grant, "read", cursor.room.name)
            except TrunklineError as error:
                if cursor in self.cursors:  # not if it has left meanwhile, or all is over
                    self.deny(cursor, error)
        for room in self._watched:
            try:
                await self.hub.access.check(self.grant, "presence", room)
            except TrunklineError as error:
                if room in self._watched:
                    self.unattend(room)
                    self.blind(room, error)

    # Who is there.

    @property
    def member(self) -> str:
        """What others are told of whoever this is."""
        if not self.session:
            self.session = self.hub.session_id()
        return member_of(self.grant, self.attendance.client_id or self.session)

    @property
    def _client_id(self) -> str:
        return self.attendance.client_id or self.session

    def attend(self, room: str, attendance: Attendance) -> None:
        """Take part in a room that is being read, as *attendance* says, from now on.

        Raises:
            RequestError: `too_many_members`.
        """
        live, before = self.hub.live, self._present
        if attendance.data is not None:
            live.arrive(room, self.member, self._client_id, attendance.data)
            self._present = (*(name for name in before if name != room), room)
        elif room in before:
            self._present = tuple(name for name in before if name != room)
        if room in before:  # what it held, now that it holds its place anew
            live.depart(room, self.member, self._client_id, at_once=True)
        if attendance.watch:
            if room not in self._watched:
                self._watched += (room,)
            self.hub.spawn(self._tell_all(room))

    def unattend(self, room: str, *, at_once: bool = True) -> None:
        """Take part no longer. Harmless if it did not."""
        if room in self._present:
            self._present = tuple(name for name in self._present if name != room)
            self.hub.live.depart(room, self.member, self._client_id, at_once=at_once)
        if room in self._watched:
            self._watched = tuple(name for name in self._watched if name != room)
            self.hub.live.unwatch(room, self)

    def welcome_body(self) -> bytes:
        """Who it is taken for, and what is expected of it."""
        return welcome_body(self.hub, self.session, self.grant, self.member)

    async def _tell_all(self, room: str) -> None:
        try:
            notice = await self.hub.live.snapshot(room)
        except TrunklineError:
            return  # the log is away; readers are told of that otherwise
        if room not in self._watched:
            return
        self.hub.live.watch(room, self)  # only now: changes mean something to those who know what they change
        if self.full:
            self.miss(room)
        else:
            self.notify(notice)

    def miss(self, room: str) -> None:
        """It was not told something of a room that it watches, because its socket was full."""
        if room in self._watched and room not in self.missed:
            self.missed += (room,)

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

    def blind(self, room: str, error: TrunklineError) -> None:
        """It may not be told any more who is there."""
        raise NotImplementedError

    def opened(self) -> None:
        """Begin to be kept alive."""
        self._bucket = self.hub.heartbeat.add(self)

    def part(self) -> None:
        """Read nothing more: nothing goes out behind a close frame or a last chunk."""
        for cursor in self.cursors:
            self.hub.detach(cursor)
        self.cursors = ()
        for room in {*self._present, *self._watched}:
            self.unattend(room, at_once=False)
        self.hub.unfence(self)

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
        missed, self.missed = self.missed, ()
        for room in missed:
            self.hub.spawn(self._tell_all(room))
