"""The two-way half of a WebSocket connection, whoever carries its bytes: texts in, decisions carried out, events out.

Commands of one connection are carried out in their order. Some have to wait: a join for the log, a token for the
issuer's keys, a publish for what the application's hook says. What arrives meanwhile is parked and the socket is not
read, so at most what one read brought is held.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine
from typing import Any

from trunkline.access import forbidden
from trunkline.core.attendance import NONE, Attendance, lasting_member
from trunkline.core.cursor import Cursor
from trunkline.core.grant import ANYBODY, Action, Grant
from trunkline.core.json_text import check_json
from trunkline.core.message import Draft, Receipt
from trunkline.core.position import Gap, Start
from trunkline.core.rate import Bucket, too_fast, work
from trunkline.core.room import Room
from trunkline.core.session import (
    COMMANDS,
    Authenticate,
    CountUnread,
    Join,
    Leave,
    MarkSeen,
    Pong,
    Publish,
    Refuse,
    Rejoin,
    Session,
    Signalling,
)
from trunkline.errors import DISMISSALS, CloseCode, Overloaded, RequestError, StoreUnavailable, TrunklineError
from trunkline.hub import Hub
from trunkline.live import now_ms
from trunkline.transports.stream import Stream
from trunkline.wire import envelope
from trunkline.wire.credentials import Credentials

Joins = list[tuple[str, Start]]
ABOUT = {*COMMANDS, "presence"}  # what an error may say that it is about
TURN_S = 5.0  # so long, what was published later waits for what was refused
_NAMES = {Publish: "message", Signalling: "signal", MarkSeen: "seen"}


class Conversation(Stream):
    """One session and its rooms."""

    __slots__ = ("_first", "_in_flight", "_pace", "_parked", "_parted", "_session", "_starved", "_unknown", "_waits")

    def __init__(self, hub: Hub, client: str | None = None) -> None:
        super().__init__(hub, client)
        self.session = hub.session_id()
        self._session = Session(self.session, None, hub.limits)
        self._in_flight = 0
        self._parked: list[bytes] | None = None
        self._waits = 0
        # Messages that were refused for now, by room, and until when those behind them have to wait for them.
        self._first: dict[str, tuple[str, float]] | None = None
        self._parted = False  # the connection is ending: no joins any more
        self._starved = False  # we stopped reading because too many publishes wait for their acks
        self._unknown: tuple[Credentials, Joins] | None = None  # what it brought and wants, as long as nobody knows it
        burst = hub.limits.commands_per_connection_burst
        self._pace = None if client is None else Bucket(burst, time.monotonic())

    def send(self, event: bytes) -> None:
        """Send one event."""
        raise NotImplementedError

    def end(self, code: int, reason: str) -> None:
        """Close, after what was sent."""
        raise NotImplementedError

    def hold(self) -> None:
        """Stop reading from the peer."""
        raise NotImplementedError

    def release(self) -> None:
        """Read from the peer again, unless there is another reason not to."""
        raise NotImplementedError

    @property
    def held(self) -> bool:
        """Whether the peer must not be read from: it is owed too many answers, or its last command is not done."""
        return self._starved or self._parked is not None

    def lose(self, cursor: Cursor, gap: Gap) -> None:
        self.send(envelope.gap_event(gap))

    def turn(self, cursor: Cursor) -> None:
        room = cursor.room  # offsets on a WebSocket do not say of which epoch they are
        self.send(envelope.joined(room.name, room.epoch, room.head))

    # Who it is.

    def greet(self, brought: Credentials, joins: Joins) -> None:
        """Find out who this is, say welcome, and join what the URL named."""
        self.opened()
        access = self.hub.access
        if not access.required:
            self._enter(ANYBODY, joins)
            return
        self._unknown = (brought, joins)
        if brought.token is None and brought.ticket is None and access.authenticate is None:
            access.visit(self)
            return
        try:
            grant = access.grant_now(brought)
        except RequestError as error:
            self.dismiss(error)
            return
        if grant is not None:
            self._enter(grant, joins)
        else:
            access.visit(self)  # so that a hook or an issuer that never answers is not waited for for ever
            self._wait_for(self._identify(brought))

    def dismiss(self, error: TrunklineError) -> None:
        self._refuse(error)
        self.end(DISMISSALS.get(error.code, CloseCode.INTERNAL_ERROR), str(error))

    async def _identify(self, brought: Credentials) -> None:
        """Ask whose credentials these are: the first, or newer ones of the same user."""
        access = self.hub.access
        try:
            grant = await access.grant(brought)
        except TrunklineError as error:
            access.unvisit(self)
            if self._parted:
                return
            if self._session.grant is not None:
                self._refuse(error, "auth")
            elif error.code == "unauthorized" and brought.token is None and brought.ticket is None:
                access.visit(self)  # the application does not know it by its cookies; it may still say who it is
            else:
                self.dismiss(error)
            return
        if self._parted:
            return
        if self._unknown is not None:
            self._enter(grant, self._unknown[1])
        elif grant.user != self.grant.user:
            self._refuse(RequestError("unauthorized", "a connection keeps its user: open another one"), "auth")
        else:
            access.guests.renew(self, grant)
            self.regrant(grant)
            self.send(envelope.authenticated(grant, now_ms()))
            await self._recheck()

    def regranted(self, grant: Grant) -> None:
        self.regrant(grant)
        self.recheck()

    def regrant(self, grant: Grant) -> None:
        """A newer token of the same user counts from now on."""
        self._session.grant = grant
        self.stamp += 1

    def _enter(self, grant: Grant, joins: Joins) -> None:
        hub = self.hub
        hub.access.unvisit(self)
        self._unknown = None
        self.grant = grant
        try:
            hub.access.arrive(self)
        except RequestError as error:
            self.dismiss(error)
            return
        self._session.grant = grant
        if not hub.fence(self):
            return
        self.send(envelope.welcome(self.welcome_body()))
        self._session.rooms = tuple(room for room, _ in joins)
        rooms = [hub.room(name) for name, _ in joins]
        if all(room is not None and hub.access.may_now(grant, "read", room.name) for room in rooms):
            for room, (_, start) in zip(rooms, joins, strict=True):
                assert room is not None
                self._begin(room, start, self.attendance.within(room.name))
        else:
            self._wait_for(self._join_all(joins, self.attendance, dismiss=True))

    def deny(self, cursor: Cursor, error: TrunklineError) -> None:
        room = cursor.room.name
        self._session.forget(room)
        self._leave(room)
        self.unattend(room)
        self._refuse(error, room=room)

    def blind(self, room: str, error: TrunklineError) -> None:
        self._refuse(error, "presence", room)

    # What it says.

    def receive(self, text: bytes) -> None:
        """Carry out one command, now or as soon as those before it are done."""
        if self._parted:
            return
        if self._parked is not None:
            self._parked.append(text)
            return
        wait = self._too_fast(work(len(text)))
        if wait:
            self._park()
            asyncio.get_running_loop().call_later(wait, self._unpark)
        try:
            command = envelope.decode_command(text)
        except RequestError as error:
            self._refuse(error)
            return
        if wait:
            self._refuse(too_fast("too many commands on one connection", wait), command.type, command.room, command.id)
            return
        decision = self._session.receive(command)
        if type(decision) is Publish:
            self._if_allowed("write", decision)
        elif type(decision) is Signalling:
            self._if_allowed("signal", decision)
        elif type(decision) is MarkSeen:
            self._if_allowed("read", decision)
        elif type(decision) is CountUnread:
            self._wait_for(self._count(decision.rooms))
        elif type(decision) is Join:
            self._join(decision)
        elif type(decision) is Rejoin:
            room = self._cursor(decision.room).room
            self.send(envelope.joined(room.name, room.epoch, room.head))
            if decision.attendance is not None:
                self._attend(room.name, decision.attendance)
        elif type(decision) is Leave:
            self._leave(decision.room)
            self.unattend(decision.room)
            self.send(envelope.left(decision.room))
        elif type(decision) is Pong:
            self.send(envelope.PONG)
        elif type(decision) is Refuse:
            self._refuse(decision.error, command.type, decision.room, decision.id)
        elif type(decision) is Authenticate:
            if self._unknown is not None:
                brought = self._unknown[0]._replace(token=decision.token, ticket=None)
            else:
                brought = self.hub.access.nothing._replace(token=decision.token)
            self._wait_for(self._identify(brought))

    def _too_fast(self, cost: float) -> float:
        if self._pace is None:
            return 0.0
        limits = self.hub.limits
        burst = limits.commands_per_connection_burst
        return self._pace.take(limits.commands_per_connection_s, burst, time.monotonic(), cost)

    def _if_allowed(self, action: Action, wanted: Publish | Signalling | MarkSeen) -> None:
        may = self.hub.access.may_now(self.grant, action, wanted.room)
        if may is None:
            self._wait_for(self._when_allowed(action, wanted))
        elif may:
            self._carry_out(wanted)
        else:
            self._refuse_wanted(forbidden(action, wanted.room), wanted)

    async def _when_allowed(self, action: Action, wanted: Publish | Signalling | MarkSeen) -> None:
        try:
            await self.hub.access.check(self.grant, action, wanted.room)
        except TrunklineError as error:
            self._refuse_wanted(error, wanted)
        else:
            if not self._parted:
                self._carry_out(wanted)

    def _carry_out(self, wanted: Publish | Signalling | MarkSeen) -> None:
        if type(wanted) is Publish:
            self._publish(wanted)
        elif type(wanted) is Signalling:
            try:
                self.hub.access.publishing(self.grant, self.client)
            except RequestError as error:
                self._refuse_wanted(error, wanted)
                return
            self.hub.live.signal(
                wanted.room,
                wanted.name,
                self.grant.user,
                self.member,
                wanted.json,
                self,
                self.attendance.client_id or "",
            )
        elif type(wanted) is MarkSeen:
            self.hub.spawn(self._mark(wanted))

    def _refuse_wanted(self, error: TrunklineError, wanted: Publish | Signalling | MarkSeen) -> None:
        message_id = wanted.id if type(wanted) is Publish else None
        self._refuse(error, _NAMES[type(wanted)], wanted.room, message_id)

    async def _mark(self, wanted: MarkSeen) -> None:
        try:
            counted = await self.hub.mark(wanted.room, self._lasting_member(), wanted.offset)
        except TrunklineError as error:
            self._refuse_wanted(error, wanted)
        else:
            if not self._parted:
                self.send(envelope.unread_event([counted]))

    async def _count(self, rooms: tuple[str, ...]) -> None:
        try:
            member = self._lasting_member()
            for room in rooms:
                await self.hub.access.check(self.grant, "read", room)
            counted = await self.hub.live.unread(member, rooms)
        except TrunklineError as error:
            self._refuse(error, "unread")
        else:
            if not self._parted:
                self.send(envelope.unread_event(counted))

    def _lasting_member(self) -> str:
        """Who this will still be after the connection has ended."""
        return lasting_member(self.grant, self.attendance)

    def _attend(self, room: str, attendance: Attendance) -> None:
        if not attendance.watch:
            self.unattend(room)
            return
        may = self.hub.access.may_now(self.grant, "presence", room)
        if may is None:
            self._wait_for(self._attend_when_allowed(room, attendance))
        elif may:
            self._attend_now(room, attendance)
        else:
            self._refuse(forbidden("presence", room), "presence", room)

    async def _attend_when_allowed(self, room: str, attendance: Attendance) -> None:
        try:
            await self.hub.access.check(self.grant, "presence", room)
        except TrunklineError as error:
            self._refuse(error, "presence", room)
        else:
            if any(cursor.room.name == room for cursor in self.cursors):
                self._attend_now(room, attendance)

    def _attend_now(self, room: str, attendance: Attendance) -> None:
        try:
            self.attend(room, attendance)
        except RequestError as error:
            self._refuse(error, "presence", room)

    def _publish(self, publish: Publish) -> None:
        limits = self.hub.limits
        try:
            self._take_turn(publish)
            self.hub.access.publishing(self.grant, self.client, work(len(publish.json)))
            json = check_json(publish.json, limits.message_bytes_max, limits.json_depth_max)
        except TrunklineError as error:
            self._refuse_publish(error, publish.room, publish.id)
            return
        self._in_flight += 1
        if self._in_flight >= limits.in_flight_per_connection_max and not self._starved:
            self._starved = True
            self.hold()
        draft = Draft(publish.room, publish.id, self.grant.user, now_ms(), json)
        self.hub.submit(draft, self._answer)

    def _take_turn(self, publish: Publish) -> None:
        """What was refused for now comes first, if it comes again soon.

        Raises:
            StoreUnavailable: It is not this one.
        """
        if self._first is None or publish.id is None or publish.room not in self._first:
            return
        first, until = self._first[publish.room]
        if publish.id != first and time.monotonic() < until:
            raise StoreUnavailable(f"{first} was not stored and comes before it: publish that first")
        del self._first[publish.room]

    def _refuse_publish(self, error: TrunklineError, room: str, message_id: str | None) -> None:
        if message_id is not None and isinstance(error, StoreUnavailable | Overloaded):
            if self._first is None:
                self._first = {}
            if len(self._first) < self.hub.limits.rooms_per_connection_max:
                self._first.setdefault(room, (message_id, time.monotonic() + TURN_S))
        self._refuse(error, "message", room, message_id)

    def _answer(self, draft: Draft, receipt: Receipt | None, error: TrunklineError | None) -> None:
        self._in_flight -= 1
        if receipt is not None:
            self.send(envelope.ack(receipt))
        elif error is not None:
            self._refuse_publish(error, draft.room, draft.id)
        if self._starved and self._in_flight <= self.hub.limits.in_flight_per_connection_max // 2:
            self._starved = False
            self.release()

    def _join(self, join: Join) -> None:
        room = self.hub.room(join.room)
        may = self.hub.access.may_now(self.grant, "read", join.room)
        if may is False:
            self._session.forget(join.room)
            self._leave(join.room)
            self.unattend(join.room)
            self._refuse(forbidden("read", join.room), "join", join.room)
        elif room is None or may is None:
            self._wait_for(self._join_all([(join.room, join.start)], join.attendance))
        else:
            self._begin(room, join.start, join.attendance)

    async def _join_all(self, joins: Joins, attendance: Attendance, *, dismiss: bool = False) -> None:
        """Join these rooms, as soon as the log has told of them.

        Args:
            dismiss: Who asks by the address only cannot ask again, unless it comes again.
        """
        for name, start in joins:
            try:
                room = await self.hub.open(name)
                await self.check_read([name])
            except TrunklineError as error:
                self._session.forget(name)
                if not self._parted:
                    self._leave(name)
                    self.unattend(name)
                    self._refuse(error, "join", name)
                    if dismiss and isinstance(error, StoreUnavailable):
                        self.end(CloseCode.TRY_AGAIN_LATER, str(error))
                        return
            else:
                if self._parted:
                    return
                self._begin(room, start, attendance.within(name))

    def _begin(self, room: Room, start: Start, attendance: Attendance) -> None:
        self._leave(room.name)
        cursor, gap = self.hub.join(self, room, start)
        self.send(envelope.joined(room.name, room.epoch, room.head))
        if gap is not None:
            self.lose(cursor, gap)
        self.attach([cursor])
        if attendance is not NONE or self._present or self._watched:
            self._attend(room.name, attendance)

    def _leave(self, room: str) -> None:
        for cursor in self.cursors:
            if cursor.room.name == room:
                self.hub.detach(cursor)
                self.cursors = tuple(c for c in self.cursors if c is not cursor)

    def _cursor(self, room: str) -> Cursor:
        return next(cursor for cursor in self.cursors if cursor.room.name == room)

    def _refuse(
        self,
        error: TrunklineError,
        about: str | None = None,
        room: str | None = None,
        message_id: str | None = None,
    ) -> None:
        self.hub.access.refusals[error.code] += 1
        if not self._parted:
            self.send(envelope.error_event(error, message_id, room, about if about in ABOUT else None))

    # Waiting.

    def _wait_for(self, work: Coroutine[Any, Any, None]) -> None:
        """Do this before the next command."""
        self._park()
        self.hub.spawn(self._done(work))

    async def _done(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        finally:
            self._unpark()

    def _park(self) -> None:
        self._waits += 1
        if self._parked is None:
            self._parked = []
            self.hold()

    def _unpark(self) -> None:
        self._waits -= 1
        if self._waits:
            return  # what was waited for has begun to wait for something itself: a token, then the rooms of the URL
        texts, self._parked = self._parked or [], None
        if not self._parted:
            self.release()
        for text in texts:
            self.receive(text)

    def part(self) -> None:
        self._parked = None
        self._parted = True
        self._unknown = None
        self.hub.access.unvisit(self)
        super().part()
