"""What every stream has in common: it reads rooms, is kept alive, and ends once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import ClassVar

from trunkline.access.policy import Need
from trunkline.core.batch import Batch, Notification
from trunkline.core.close_codes import ABNORMAL
from trunkline.core.cursor import Cursor
from trunkline.core.grant import UNAUTHENTICATED, Grant
from trunkline.core.position import NOW, Gap, Start
from trunkline.core.presence_options import NO_PRESENCE, PresenceOptions, member_of
from trunkline.errors import TrunklineError
from trunkline.transports.context import Context
from trunkline.transports.participation import Participation

LINGER_S = 2.0  # how long a peer that must go has to take the reason


class Stream:
    """A reader of rooms (`port.StreamPort`). Subclasses say how bytes leave.

    `__slots__` all the way, since there may be 100,000.

    Args:
        key: Under which the limits of its address are counted; None if they are not.
        address: Its client's, for people.

    Attributes:
        transport: Under which name it is counted.
        end_code: The close code with which it ends, as if it were a WebSocket.
        gaps: How many it was told.
        presence: What its URL asks of presence.
        session: Its name; empty until it is open.
        permission_stamp: Grows whenever what it may do has changed.
    """

    __slots__ = (
        "_began_at", "_bucket", "_given", "_has_joined", "_participation", "address", "context", "cursors", "end_code",
        "full", "gaps", "grant", "heard", "key", "permission_stamp", "presence", "session",
    )  # fmt: skip

    transport: ClassVar[str] = ""
    messages_max = 1 << 30  # of one delivery, beside the bounds of a piece

    def __init__(self, context: Context, key: str | None = None, address: str = "") -> None:
        self.context = context
        self.key = key
        self.address = address
        self.grant: Grant = UNAUTHENTICATED
        self.session = ""
        self.permission_stamp = 0
        self.full = False
        self.heard = True
        self.cursors: tuple[Cursor, ...] = ()
        self.presence = NO_PRESENCE
        self._participation: Participation | None = None
        self._bucket = -1
        self._began_at = 0.0
        self._given = 0  # of rooms that it no longer reads
        self._has_joined = False
        self.end_code: int = ABNORMAL
        self.gaps = 0

    # What subclasses do.

    def deliver(self, cursor: Cursor, batch: Batch) -> None:
        raise NotImplementedError

    def gap(self, cursor: Cursor, gap: Gap) -> None:
        raise NotImplementedError

    def epoch_changed(self, cursor: Cursor) -> None:
        """Do nothing, unless the protocol has positions that do not name their epoch."""

    def notify(self, notification: Notification) -> None:
        raise NotImplementedError

    def ping(self) -> None:
        raise NotImplementedError

    def abort(self) -> None:
        raise NotImplementedError

    def drain(self, retry_after_ms: int) -> None:
        raise NotImplementedError

    def dismiss(self, error: TrunklineError) -> None:
        raise NotImplementedError

    def read_revoked(self, cursor: Cursor, error: TrunklineError) -> None:
        """Note that the client may not read this room any more."""
        raise NotImplementedError

    def presence_revoked(self, room: str, error: TrunklineError) -> None:
        """Note that the client may not watch the members of this room any more."""
        raise NotImplementedError

    # Life.

    def opened(self) -> None:
        """Begin to be kept alive."""
        self._bucket = self.context.engine.connections.add(self)
        self.session = self.session or self.context.engine.connections.new_session()
        self._began_at = self.context.clock.monotonic()
        self.context.engine.counters.open[self.transport] += 1

    def expire(self) -> None:
        self.context.engine.connections.expired()
        self.abort()

    def stop_reading(self) -> None:
        """Read nothing more: nothing goes out behind a close frame or a last chunk."""
        for cursor in self.cursors:
            self._detach(cursor)
        self.cursors = ()
        if self._participation is not None:
            self._participation.leave_all()
        self.context.engine.connections.closed(self)

    def closed(self) -> None:
        """Let go of everything. Harmless if done twice."""
        self.stop_reading()
        if self._bucket >= 0:
            self.context.engine.connections.remove(self, self._bucket)
            self._bucket = -1
            self.joined(NOW)  # one that has read nothing
            self.context.ended(self)
        if self.session:
            self.context.access.registry.remove(self)

    @property
    def who(self) -> str:
        """Its user or, if it has none, its address: for people."""
        return self.grant.user or self.address

    @property
    def age_s(self) -> float:
        """How long it has been open, in seconds."""
        return self.context.clock.monotonic() - self._began_at

    @property
    def given(self) -> int:
        """How many messages it was given."""
        return self._given + sum(cursor.given for cursor in self.cursors)

    def joined(self, start: Start) -> None:
        """Note where it begins to read a room: the first time says whether the connection resumes an earlier one.

        Clients that number their streams say so themselves: theirs may begin at a position that a poll has told.
        """
        if not self._has_joined:
            self._has_joined = True
            attempt = self.presence.attempt
            resumes = start.kind == "after" if attempt is None else attempt.number > 1
            self.context.engine.counters.connects[self.transport, "resumed" if resumes else "fresh"] += 1

    def attach(self, cursors: Iterable[Cursor]) -> None:
        """Read on from these, too."""
        cursors = tuple(cursors)
        self.cursors += cursors
        for cursor in cursors:
            self.context.engine.delivery.attach(cursor)

    def _detach(self, cursor: Cursor) -> None:
        self._given += cursor.given
        self.context.engine.delivery.detach(cursor)

    def writable(self) -> None:
        """Go on: the socket takes bytes again."""
        self.full = False
        for cursor in self.cursors:
            self.context.engine.delivery.writable(cursor)
        if self._participation is not None:
            self._participation.writable()

    # What it may do.

    def recheck(self) -> None:
        """Stop reading what it may not read any more."""
        self.permission_stamp += 1
        self.context.engine.tasks.spawn(self.recheck_rooms())

    def renewed(self, grant: Grant) -> None:
        self.recheck()

    async def check_needs(self, needs: Sequence[Need]) -> None:
        """Let it do these, by the grant that it has when this returns: the last thing to be awaited before it does.

        Raises:
            TrunklineError: It may not.
        """
        stamp = -1
        while stamp != self.permission_stamp:
            stamp = self.permission_stamp
            await self.context.access.check_all(self.grant, needs)

    async def recheck_rooms(self) -> None:
        """Stop reading each room that it may not read any more, and watching."""
        check = self.context.access.check
        for cursor in self.cursors:
            try:
                await check(self.grant, "read", cursor.room.name)
            except TrunklineError as error:
                if cursor in self.cursors:  # not if it has left meanwhile, or all is over
                    self.read_revoked(cursor, error)
        for room in self.watched:
            try:
                await check(self.grant, "presence", room)
            except TrunklineError as error:
                if room in self.watched:
                    self.leave_presence(room)
                    self.presence_revoked(room, error)

    # Presence.

    @property
    def member(self) -> str:
        """The name under which members are shown this client."""
        return member_of(self.grant, self._client_id)

    @property
    def watched(self) -> tuple[str, ...]:
        """The rooms whose members it watches."""
        return () if self._participation is None else self._participation.watched

    def enter_presence(self, room: str, options: PresenceOptions) -> None:
        """Take part in a room that is being read, as *options* say, from now on.

        Raises:
            RequestError: `too_many_members`.
        """
        if self._participation is None:
            self._participation = Participation(self.context.engine, self, self.member, self._client_id)
        self._participation.enter(room, options)

    def leave_presence(self, room: str) -> None:
        """Take part in a room no longer. Harmless if it did not."""
        if self._participation is not None:
            self._participation.leave(room)

    def notification_skipped(self, room: str) -> None:
        if self._participation is not None:
            self._participation.skipped(room)

    def welcome_body(self) -> bytes:
        """Return what the client is told at the beginning."""
        member = self.member  # it may give the stream its session
        return self.context.welcome_body(self.session, self.grant, member)

    @property
    def _client_id(self) -> str:
        if self.presence.client_id is None and not self.session:
            self.session = self.context.engine.connections.new_session()
        return self.presence.client_id or self.session
