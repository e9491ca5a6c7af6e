"""The two-way half of a WebSocket connection: commands in, decisions carried out, events out.

Commands of one connection are carried out in their order. Some have to wait: a join for the log, a token for the
issuer's keys, a publish for the answer of the application's hook. What arrives meanwhile is parked and the socket is
not read, so at most what one read brought is held.

One file, although it is long: each command may park all that follow, so all of them share that state.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, ClassVar

from trunkline.access.policy import forbidden
from trunkline.core.call import Call
from trunkline.core.close_codes import CloseCode, code_of
from trunkline.core.cursor import Cursor, Room
from trunkline.core.grant import UNAUTHENTICATED, Grant
from trunkline.core.json_text import check_json
from trunkline.core.message import Draft, Receipt
from trunkline.core.position import Gap, Start
from trunkline.core.presence_options import NO_PRESENCE, PresenceOptions, lasting_member
from trunkline.core.rate import Bucket, too_fast, work
from trunkline.core.session import (
    COMMANDS,
    Authenticate,
    Command,
    CountUnread,
    Join,
    Leave,
    MakeCall,
    MarkSeen,
    Pong,
    Publish,
    Refuse,
    Rejoin,
    SendSignal,
    Session,
)
from trunkline.core.trace import parse_trace
from trunkline.errors import HookFailed, Overloaded, RequestError, StoreUnavailable, TrunklineError
from trunkline.transports import refusals
from trunkline.transports.context import Context
from trunkline.transports.publish_order import PublishOrder
from trunkline.transports.stream import Stream
from trunkline.wire import envelope
from trunkline.wire.credentials import Credentials

Joins = list[tuple[str, Start]]
Permitted = Publish | SendSignal | MarkSeen
"""Decisions that need a permission (`needs`)."""

ABOUT = {*COMMANDS, "presence"}  # what an error may say that it is about


class Duplex(Stream):
    """One session and its rooms."""

    __slots__ = (
        "_acks", "_has_ended", "_in_flight", "_is_starved", "_order", "_parked", "_rate", "_session",
        "_unauthenticated", "_waits",
    )  # fmt: skip

    transport = "websocket"

    def __init__(self, context: Context, key: str | None = None, address: str = "") -> None:
        super().__init__(context, key, address)
        self.session = context.engine.connections.new_session()
        self._session = Session(self.session, None, context.limits)
        self._in_flight = 0
        self._acks: list[bytes] | None = None  # of the commit that is being answered
        self._parked: list[bytes] | None = None
        self._waits = 0
        self._order: PublishOrder | None = None  # as long as nothing was refused
        self._has_ended = False  # the connection is ending: no joins any more
        self._is_starved = False  # the peer is not read because too many of its publishes wait for their acks
        self._unauthenticated: tuple[Credentials, Joins] | None = None  # what it brought, and the rooms of its URL
        burst = context.limits.commands_per_connection_burst
        self._rate = None if key is None else Bucket(burst, context.engine.clock.monotonic())

    # What subclasses do.

    def send(self, *events: bytes) -> None:
        """Send events, together."""
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
    def is_held(self) -> bool:
        """Whether the peer must not be read: it is owed too many answers, or its last command is not done."""
        return self._is_starved or self._parked is not None

    # What the engine calls.

    def gap(self, cursor: Cursor, gap: Gap) -> None:
        self.gaps += 1
        self.send(envelope.gap_event(gap))

    def epoch_changed(self, cursor: Cursor) -> None:
        room = cursor.room  # offsets on a WebSocket do not say of which epoch they are
        self.send(envelope.joined(room.name, room.epoch, room.head))

    def dismiss(self, error: TrunklineError) -> None:
        self._refuse(error)
        self.end(code_of(error), str(error))

    def read_revoked(self, cursor: Cursor, error: TrunklineError) -> None:
        self._forget(cursor.room.name)
        self._refuse(error, room=cursor.room.name)

    def presence_revoked(self, room: str, error: TrunklineError) -> None:
        self._refuse(error, "presence", room)

    def renewed(self, grant: Grant) -> None:
        self._renew(grant)
        self.recheck()

    def stop_reading(self) -> None:
        self._parked = None
        self._has_ended = True
        self._unauthenticated = None
        self.context.access.stop_auth_deadline(self)
        super().stop_reading()

    # Authentication.

    def greet(self, brought: Credentials, joins: Joins) -> None:
        """Authenticate the client, say welcome, and join the rooms that the URL named."""
        self.opened()
        access = self.context.access
        if not access.asks(brought):
            self._enter(UNAUTHENTICATED, joins)
            return
        self._unauthenticated = (brought, joins)
        if brought.token is None and brought.ticket is None and brought.scope is None and not access.authenticate_hook:
            access.start_auth_deadline(self)
            return
        try:
            grant = access.grant_now(brought)
        except RequestError as error:
            self.dismiss(error)
            return
        if grant is not None:
            self._enter(grant, joins)
        else:
            access.start_auth_deadline(self)  # so that a hook or an issuer that never answers is not waited for
            self._wait_for(self._authenticate(brought))

    async def _authenticate(self, brought: Credentials) -> None:
        """Verify credentials: the first, or newer ones of the same user."""
        access = self.context.access
        try:
            grant = await access.authenticate(brought)
        except TrunklineError as error:
            access.stop_auth_deadline(self)
            if self._has_ended:
                return
            if self._session.grant is not None:
                self._refuse(error, "auth")
            elif error.code == "unauthorized" and brought.token is None and brought.ticket is None:
                access.start_auth_deadline(self)  # the application does not know its cookies; it may still send a token
            else:
                self.dismiss(error)
            return
        if self._has_ended:
            return
        if self._unauthenticated is not None:
            self._enter(grant, self._unauthenticated[1])
        elif grant.user != self.grant.user:
            self._refuse(RequestError("unauthorized", "a connection keeps its user: open another one"), "auth")
        else:
            access.registry.renew(self, grant)
            self._renew(grant)
            self.send(envelope.authenticated(grant, self.context.engine.clock.wall_ms()))
            await self.recheck_rooms()

    def _renew(self, grant: Grant) -> None:
        self._session.grant = grant
        self.permission_stamp += 1

    def _enter(self, grant: Grant, joins: Joins) -> None:
        access = self.context.access
        access.stop_auth_deadline(self)
        self._unauthenticated = None
        self.grant = grant
        try:
            access.register(self)
        except RequestError as error:
            self.dismiss(error)
            return
        self._session.grant = grant
        if not self.context.engine.connections.replace_others(self):
            return
        self.context.connected(self)
        self.send(envelope.welcome(self.welcome_body()))
        self._session.rooms = tuple(room for room, _ in joins)
        rooms = [self.context.engine.rooms.get_current(name) for name, _ in joins]
        if all(room is not None and access.permits_now(grant, "read", room.name) for room in rooms):
            for room, (_, start) in zip(rooms, joins, strict=True):
                assert room is not None
                self._begin(room, start, self.presence.for_room(room.name))
        else:
            self._wait_for(self._join_all(joins, self.presence, dismiss=True))

    # Commands.

    def receive(self, text: bytes) -> None:
        """Carry out one command, now or as soon as those before it are done."""
        if self._has_ended:
            return
        if self._parked is not None:
            self._parked.append(text)
            return
        wait_s = 0.0 if self._rate is None else self._take_rate(self._rate, work(len(text)))
        if wait_s:
            self._park()
            asyncio.get_running_loop().call_later(wait_s, self._unpark)
        try:
            command = envelope.decode_command(text)
        except RequestError as error:
            self._refuse(error)
            return
        if wait_s:
            too_many = too_fast("too many commands on one connection", wait_s)
            self.context.engine.counters.activity.refused(self.grant.user, self.address)
            self._refuse(too_many, command.type, command.room, command.id)
            return
        decision = self._session.receive(command)
        self._CARRY_OUT[type(decision)](self, decision, command)

    def _take_rate(self, rate: Bucket, cost: float) -> float:
        limits, now = self.context.limits, self.context.engine.clock.monotonic()
        return rate.take(limits.commands_per_connection_per_s, limits.commands_per_connection_burst, now, cost)

    def _rejoin(self, decision: Rejoin, _: Command) -> None:
        room = next(cursor.room for cursor in self.cursors if cursor.room.name == decision.room)
        self.send(envelope.joined(room.name, room.epoch, room.head))
        if decision.presence is not None:
            self._enter_presence_if_permitted(room.name, decision.presence)

    def _leave_room(self, decision: Leave, _: Command) -> None:
        self._stop_reading_room(decision.room)
        self.leave_presence(decision.room)
        self.send(envelope.left(decision.room))

    def _pong(self, _: Pong, __: Command) -> None:
        self.send(envelope.PONG)

    def _refuse_command(self, decision: Refuse, command: Command) -> None:
        if command.type == "message" and decision.room is not None:
            trace = parse_trace(command.traceparent, command.tracestate)
            self.context.engine.publish_refused(decision.room, decision.id, trace, decision.error)
        self._refuse(decision.error, command.type, decision.room, decision.id)

    def _use_token(self, decision: Authenticate, _: Command) -> None:
        if self._unauthenticated is not None:
            brought = self._unauthenticated[0]._replace(token=decision.token, ticket=None)
        else:
            brought = self.context.access.nothing._replace(token=decision.token)
        self._wait_for(self._authenticate(brought))

    def _count_unread(self, decision: CountUnread, _: Command) -> None:
        self._wait_for(self._count(decision.rooms))

    async def _count(self, rooms: tuple[str, ...]) -> None:
        try:
            member = self._lasting_member()
            for room in rooms:
                await self.context.access.check(self.grant, "read", room)
            counted = await self.context.engine.read_marks.unread(member, rooms)
        except TrunklineError as error:
            self._refuse(error, "unread")
        else:
            if not self._has_ended:
                self.send(envelope.unread_event(counted))

    # Commands that need a permission.

    def _if_permitted(self, decision: Permitted, _: Command) -> None:
        permitted = self.context.access.permits_now(self.grant, decision.needs, decision.room)
        if permitted:
            self._PERMITTED[type(decision)](self, decision)
        elif permitted is None:
            self._wait_for(self._when_permitted(decision))
        else:
            self._refuse_permitted(forbidden(decision.needs, decision.room), decision)

    async def _when_permitted(self, decision: Permitted) -> None:
        try:
            await self.context.access.check(self.grant, decision.needs, decision.room)
        except TrunklineError as error:
            self._refuse_permitted(error, decision)
        else:
            if not self._has_ended:
                self._PERMITTED[type(decision)](self, decision)

    def _refuse_permitted(self, error: TrunklineError, decision: Permitted) -> None:
        message_id = None
        if type(decision) is Publish:
            message_id = decision.id
            self.context.engine.publish_refused(decision.room, message_id, decision.trace, error)
        self._refuse(error, decision.name, decision.room, message_id)

    def _send_signal(self, decision: SendSignal) -> None:
        try:
            self.context.access.check_publish_rate(self.grant, self.key)
        except RequestError as error:
            self._refuse_permitted(error, decision)
            return
        self.context.engine.signals.send(
            decision.room,
            decision.signal,
            self.grant.user,
            self.member,
            decision.json,
            self,
            self.presence.client_id or "",
        )

    def _mark_seen(self, decision: MarkSeen) -> None:
        self.context.engine.tasks.spawn(self._mark(decision))

    async def _mark(self, decision: MarkSeen) -> None:
        try:
            member = self._lasting_member()
            counted = await self.context.engine.read_marks.mark(decision.room, member, decision.offset)
        except TrunklineError as error:
            self._refuse_permitted(error, decision)
        else:
            if not self._has_ended:
                self.send(envelope.unread_event([counted]))

    def _lasting_member(self) -> str:
        """Return the member's name, if it will be the same after the connection has ended."""
        return lasting_member(self.grant, self.presence.client_id)

    def _publish(self, publish: Publish) -> None:
        limits, engine = self.context.limits, self.context.engine
        try:
            if self._order is not None:
                self._order.check(publish.room, publish.id, engine.clock.monotonic())
            if self.grant.user is not None:
                self.context.access.check_publish_rate(self.grant, self.key, work(len(publish.json)))
            json = check_json(publish.json, limits.message_bytes_max, limits.json_depth_max)
        except TrunklineError as error:
            engine.publish_refused(publish.room, publish.id, publish.trace, error)
            self._refuse_publish(error, publish.room, publish.id)
            return
        self._in_flight += 1
        if self._in_flight >= limits.in_flight_per_connection_max and not self._is_starved:
            self._is_starved = True
            self.hold()
        draft = Draft(publish.room, publish.id, self.grant.user, engine.clock.wall_ms(), json, publish.trace)
        self.context.publishing.submit(self, draft, self._published)

    def _published(self, draft: Draft, receipt: Receipt | None, error: TrunklineError | None) -> None:
        self._in_flight -= 1
        if receipt is not None:
            if self._acks is None:
                self._acks = []
                self.context.engine.appender.when_answered(self._send_acks)
            self._acks.append(envelope.ack(receipt))
        elif error is not None:
            self._send_acks()
            self._refuse_publish(error, draft.room, draft.id)
        if self._is_starved and self._in_flight <= self.context.limits.in_flight_per_connection_max // 2:
            self._is_starved = False
            self.release()

    def _send_acks(self) -> None:
        """Send what one commit has stored of this connection: each write is a system call."""
        acks, self._acks = self._acks, None
        if acks is not None:
            self.send(*acks)

    def _refuse_publish(self, error: TrunklineError, room: str, message_id: str | None) -> None:
        if message_id is not None and isinstance(error, StoreUnavailable | Overloaded | HookFailed):
            if self._order is None:
                self._order = PublishOrder(self.context.limits.rooms_per_connection_max)
            self._order.refused(room, message_id, self.context.engine.clock.monotonic())
        self._refuse(error, "message", room, message_id)

    # Calls.

    def _call(self, decision: MakeCall, _: Command) -> None:
        self.context.engine.tasks.spawn(self._answer_call(decision))

    async def _answer_call(self, decision: MakeCall) -> None:
        call = Call(
            name=decision.call,
            id=decision.id,
            grant=self.grant,
            member=self.member,
            session=self.session,
            address=self.address,
        )
        try:
            result = await self.context.calls.call(call, decision.json, self.key)
        except TrunklineError as error:
            self._refuse(error, "call", None, decision.id)
        else:
            if not self._has_ended:
                self.send(envelope.result_event(decision.id, result))

    # Rooms.

    def _join(self, join: Join, _: Command) -> None:
        room = self.context.engine.rooms.get_current(join.room)
        permitted = self.context.access.permits_now(self.grant, "read", join.room)
        if permitted is False:
            self._forget(join.room)
            self._refuse(forbidden("read", join.room), "join", join.room)
        elif room is None or permitted is None:
            self._wait_for(self._join_all([(join.room, join.start)], join.presence))
        else:
            self._begin(room, join.start, join.presence)

    async def _join_all(self, joins: Joins, presence: PresenceOptions, *, dismiss: bool = False) -> None:
        """Join these rooms, as soon as the log has told of them.

        Args:
            dismiss: Close if the log is away: a client that joins by its URL only cannot ask again.
        """
        for name, start in joins:
            try:
                room = await self.context.engine.follower.open(name)
                await self.check_needs([("read", name)])
            except TrunklineError as error:
                if self._has_ended:
                    self._session.forget(name)
                    continue
                self._forget(name)
                self._refuse(error, "join", name)
                if dismiss and isinstance(error, StoreUnavailable):
                    self.end(CloseCode.TRY_AGAIN_LATER, str(error))
                    return
            else:
                if self._has_ended:
                    return
                self._begin(room, start, presence.for_room(name))

    def _begin(self, room: Room, start: Start, presence: PresenceOptions) -> None:
        self._stop_reading_room(room.name)
        self.joined(start)
        cursor, gap = self.context.engine.delivery.join(self, room, start)
        self.send(envelope.joined(room.name, room.epoch, room.head))
        if gap is not None:
            self.gap(cursor, gap)
        self.attach([cursor])
        if presence is not NO_PRESENCE or self._participation is not None:
            self._enter_presence_if_permitted(room.name, presence)

    def _forget(self, room: str) -> None:
        self._session.forget(room)
        self._stop_reading_room(room)
        self.leave_presence(room)

    def _stop_reading_room(self, room: str) -> None:
        for cursor in self.cursors:
            if cursor.room.name == room:
                self._detach(cursor)
                self.cursors = tuple(c for c in self.cursors if c is not cursor)

    # Presence.

    def _enter_presence_if_permitted(self, room: str, presence: PresenceOptions) -> None:
        if not presence.watch:
            self.leave_presence(room)
            return
        permitted = self.context.access.permits_now(self.grant, "presence", room)
        if permitted is None:
            self._wait_for(self._enter_presence_when_permitted(room, presence))
        elif permitted:
            self._enter_presence_or_refuse(room, presence)
        else:
            self._refuse(forbidden("presence", room), "presence", room)

    async def _enter_presence_when_permitted(self, room: str, presence: PresenceOptions) -> None:
        try:
            await self.context.access.check(self.grant, "presence", room)
        except TrunklineError as error:
            self._refuse(error, "presence", room)
        else:
            if any(cursor.room.name == room for cursor in self.cursors):
                self._enter_presence_or_refuse(room, presence)

    def _enter_presence_or_refuse(self, room: str, presence: PresenceOptions) -> None:
        try:
            self.enter_presence(room, presence)
        except RequestError as error:
            self._refuse(error, "presence", room)

    def _refuse(
        self,
        error: TrunklineError,
        about: str | None = None,
        room: str | None = None,
        message_id: str | None = None,
    ) -> None:
        event = refusals.as_event(
            self.context.access, error, about if about in ABOUT else None, room, message_id, self.who
        )
        if not self._has_ended:
            self.send(event)

    # Waiting.

    def _wait_for(self, work: Coroutine[Any, Any, None]) -> None:
        """Do this before the next command."""
        self._park()
        self.context.engine.tasks.spawn(self._unpark_after(work))

    async def _unpark_after(self, work: Coroutine[Any, Any, None]) -> None:
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
        if not self._has_ended:
            self.release()
        for text in texts:
            self.receive(text)

    # The one dispatch of a command: what carries out a decision of `Session.receive`.

    _CARRY_OUT: ClassVar[dict[type, Callable[[Duplex, Any, Command], None]]] = {
        Publish: _if_permitted,
        SendSignal: _if_permitted,
        MarkSeen: _if_permitted,
        CountUnread: _count_unread,
        MakeCall: _call,
        Join: _join,
        Rejoin: _rejoin,
        Leave: _leave_room,
        Pong: _pong,
        Refuse: _refuse_command,
        Authenticate: _use_token,
    }
    _PERMITTED: ClassVar[dict[type, Callable[[Duplex, Any], None]]] = {
        Publish: _publish,
        SendSignal: _send_signal,
        MarkSeen: _mark_seen,
    }
