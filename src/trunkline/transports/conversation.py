"""The two-way half of a WebSocket connection, whoever carries its bytes: texts in, decisions carried out, events out.

Commands of one connection are carried out in their order. A join may have to wait for the log (the room is not open
yet); what arrives meanwhile is parked and the socket is not read, so at most what one read brought is held.
"""

from __future__ import annotations

from trunkline.core.cursor import Cursor
from trunkline.core.message import Draft, Receipt
from trunkline.core.position import Gap, Start
from trunkline.core.room import Room
from trunkline.core.session import Join, Leave, Pong, Publish, Refuse, Rejoin, Session
from trunkline.errors import RequestError, TrunklineError
from trunkline.hub import Hub, now_ms
from trunkline.transports.stream import Stream
from trunkline.wire import envelope


class Conversation(Stream):
    """One session and its rooms."""

    __slots__ = ("_in_flight", "_parked", "_parted", "_session", "_starved")

    def __init__(self, hub: Hub) -> None:
        super().__init__(hub)
        self._session = Session(hub.session_id(), None, hub.limits)
        self._in_flight = 0
        self._parked: list[bytes] | None = None
        self._parted = False  # the connection is ending: no joins any more
        self._starved = False  # we stopped reading because too many publishes wait for their acks

    def send(self, event: bytes) -> None:
        """Send one event."""
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

    def greet(self, joins: list[tuple[str, Start]]) -> None:
        """Say welcome, and join what the URL named."""
        self.opened()
        hub = self.hub
        self.send(envelope.welcome(self._session, hub.ping_interval_s, hub.ping_timeout_s, hub.limits))
        self._session.rooms = tuple(room for room, _ in joins)
        rooms = [hub.room(name) for name, _ in joins]
        if all(room is not None for room in rooms):
            for room, (_, start) in zip(rooms, joins, strict=True):
                assert room is not None
                self._begin(room, start)
        else:
            self._park(joins)

    def receive(self, text: bytes) -> None:
        """Carry out one command, now or as soon as those before it are done."""
        if self._parted:
            return
        if self._parked is not None:
            self._parked.append(text)
            return
        try:
            command = envelope.decode_command(text)
        except RequestError as error:
            self.send(envelope.error_event(error))
            return
        decision = self._session.receive(command)
        if type(decision) is Publish:
            self._publish(decision)
        elif type(decision) is Join:
            self._join(decision)
        elif type(decision) is Rejoin:
            room = self._cursor(decision.room).room
            self.send(envelope.joined(room.name, room.epoch, room.head))
        elif type(decision) is Leave:
            self._leave(decision.room)
            self.send(envelope.left(decision.room))
        elif type(decision) is Pong:
            self.send(envelope.PONG)
        elif type(decision) is Refuse:
            self.send(envelope.error_event(decision.error, decision.id, decision.room))

    def _publish(self, publish: Publish) -> None:
        self._in_flight += 1
        if self._in_flight >= self.hub.limits.in_flight_per_connection_max and not self._starved:
            self._starved = True
            self.hold()
        draft = Draft(publish.room, publish.id, self._session.user, now_ms(), publish.json)
        self.hub.submit(draft, self._answer)

    def _answer(self, draft: Draft, receipt: Receipt | None, error: TrunklineError | None) -> None:
        self._in_flight -= 1
        if receipt is not None:
            self.send(envelope.ack(receipt))
        elif error is not None:
            self.send(envelope.error_event(error, draft.id, draft.room))
        if self._starved and self._in_flight <= self.hub.limits.in_flight_per_connection_max // 2:
            self._starved = False
            self.release()

    def _join(self, join: Join) -> None:
        room = self.hub.room(join.room)
        if room is None:
            self._park([(join.room, join.start)])
        else:
            self._begin(room, join.start)

    def _begin(self, room: Room, start: Start) -> None:
        self._leave(room.name)
        cursor, gap = self.hub.join(self, room, start)
        self.send(envelope.joined(room.name, room.epoch, room.head))
        if gap is not None:
            self.lose(cursor, gap)
        self.attach([cursor])

    def _leave(self, room: str) -> None:
        for cursor in self.cursors:
            if cursor.room.name == room:
                self.hub.detach(cursor)
                self.cursors = tuple(c for c in self.cursors if c is not cursor)

    def _cursor(self, room: str) -> Cursor:
        return next(cursor for cursor in self.cursors if cursor.room.name == room)

    def _park(self, joins: list[tuple[str, Start]]) -> None:
        self._parked = []
        self.hold()
        self.hub.spawn(self._join_parked(joins))

    async def _join_parked(self, joins: list[tuple[str, Start]]) -> None:
        for name, start in joins:
            try:
                room = await self.hub.open(name)
            except TrunklineError as error:
                self._session.forget(name)
                if not self._parted:
                    self.send(envelope.error_event(error, room=name))
            else:
                if self._parted:
                    return
                self._begin(room, start)
        texts, self._parked = self._parked or [], None
        self.release()
        for text in texts:
            self.receive(text)

    def part(self) -> None:
        self._parked = None
        self._parted = True
        super().part()
