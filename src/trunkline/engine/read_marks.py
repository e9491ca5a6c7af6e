"""Read marks: stored in batches, and told to the watchers of a room."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence

from trunkline.core.cluster_messages import ReadMarksMoved
from trunkline.core.pieces import pieces
from trunkline.core.read_mark import READ_MARKS_MAX, ReadMark, Unread, by_room, unread
from trunkline.engine.clock import Clock
from trunkline.engine.cluster import Cluster
from trunkline.engine.follower import Follower
from trunkline.engine.notifier import Audience, Event, Notifier
from trunkline.engine.rooms import Rooms
from trunkline.errors import Overloaded, StoreUnavailable, TrunklineError
from trunkline.stores.base import Store
from trunkline.wire import envelope

WAITING_MAX = 10_000
PER_MESSAGE_MAX = 50  # in a message to other nodes: a member's name may have hundreds of bytes


class _RoomMarks:
    __slots__ = ("newest", "untold")

    def __init__(self) -> None:
        self.untold: dict[str, ReadMark] = {}
        self.newest: dict[str, tuple[int, ReadMark]] = {}  # by member, with their versions, for polls


class ReadMarkService:
    """The read marks of all rooms."""

    audience: Audience = "watchers"

    def __init__(
        self, store: Store, rooms: Rooms, follower: Follower, notifier: Notifier, cluster: Cluster | None, clock: Clock
    ) -> None:
        self._store = store
        self._open_rooms = rooms
        self._follower = follower
        self._notifier = notifier
        self._cluster = cluster
        self._clock = clock
        self._rooms: dict[str, _RoomMarks] = {}
        self._waiting: list[tuple[ReadMark, asyncio.Future[None]]] = []
        self._storing: asyncio.Future[None] | None = None
        notifier.register(self)
        if cluster is not None:
            cluster.on_message(ReadMarksMoved, lambda moved: self._stored(moved.marks))

    async def mark(self, room: str, member: str, offset: int) -> Unread:
        """Note that a member has seen a room up to *offset*; return, once that is stored, what they have not seen.

        Raises:
            StoreUnavailable, Overloaded: It is not stored.
        """
        offset = min(offset, (await self._follower.open(room)).head)
        if offset:  # in a room that never had a message there is nothing to see
            await self._store_mark(ReadMark(room, member, offset, self._clock.wall_ms()))
        return (await self.unread(member, [room]))[0]

    async def _store_mark(self, mark: ReadMark) -> None:
        if len(self._waiting) >= WAITING_MAX:
            raise Overloaded("too many read marks wait to be stored; send it again")
        stored: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((mark, stored))
        if self._storing is None:
            self._storing = asyncio.ensure_future(self._store_all())
        await stored

    async def of_room(self, room: str) -> list[ReadMark]:
        """Return the read marks of a room, those that moved last first.

        Raises:
            StoreUnavailable: The log could not be read.
        """
        return await self._store.marks(room, READ_MARKS_MAX)

    async def unread(self, member: str, rooms: Sequence[str]) -> list[Unread]:
        """Count what a member has not seen of these rooms.

        Raises:
            StoreUnavailable: The log could not be read.
        """
        seen = await self._store.marks_of(member, rooms)
        counts = []
        for name in rooms:
            room = self._open_rooms.get_current(name)
            first, head = (room.first, room.head) if room is not None else (await self._store.head(name))[1:3]
            counts.append(unread(name, first, head, seen.get(name, 0)))
        return counts

    def since(self, room: str, version: int) -> list[ReadMark]:
        """Return the marks that have moved since *version*, as far as they are remembered."""
        marks = self._rooms.get(room)
        return [] if marks is None else [mark for number, mark in marks.newest.values() if number > version]

    # The notifier.

    def has_news(self, room: str) -> bool:
        return room in self._rooms and bool(self._rooms[room].untold)

    def flush(self, room: str) -> Sequence[Event]:
        marks = self._rooms.get(room)
        if marks is None or not marks.untold:
            return []
        untold, marks.untold = marks.untold, {}
        return [Event("seen", envelope.seen_body(room, list(untold.values())))]

    def expire(self, room: str, now: float) -> None:
        """Do nothing: read marks do not end by time."""

    def is_idle(self, room: str) -> bool:
        return not self.has_news(room)

    def forget(self, room: str) -> None:
        self._rooms.pop(room, None)

    async def close(self) -> None:
        """Finish what is being stored, and forget everything."""
        if self._storing is not None:
            await asyncio.gather(self._storing, return_exceptions=True)
        self._rooms.clear()

    async def _store_all(self) -> None:
        try:
            while self._waiting:
                batch, self._waiting = self._waiting, []
                marks = [mark for mark, _ in batch]
                try:
                    await self._store.mark(marks)
                except Exception as error:  # noqa: BLE001 - whatever it is, the callers that wait get the answer
                    if not isinstance(error, TrunklineError):
                        error = StoreUnavailable(f"the log failed: {error}")
                    for _, stored in batch:
                        if not stored.done():
                            stored.set_exception(error)
                else:
                    self._stored(marks)
                    self._tell_cluster(marks)
                    for _, stored in batch:
                        if not stored.done():
                            stored.set_result(None)
        finally:
            self._storing = None

    def _tell_cluster(self, marks: Sequence[ReadMark]) -> None:
        if self._cluster is not None:
            for room, some in by_room(marks).items():
                for piece in pieces(some, PER_MESSAGE_MAX):
                    self._cluster.send(ReadMarksMoved, among=room, marks=piece)

    def _stored(self, marks: Iterable[ReadMark]) -> None:
        """Tell of marks that are stored, by whichever node."""
        for mark in marks:
            if self._notifier.find(mark.room) is None:
                self._notifier.skip_version()
                continue
            of_room = self._rooms.setdefault(mark.room, _RoomMarks())
            known = of_room.newest.get(mark.member)
            if known is None or known[1].offset < mark.offset:
                of_room.newest.pop(mark.member, None)
                if len(of_room.newest) >= READ_MARKS_MAX:
                    del of_room.newest[next(iter(of_room.newest))]
                of_room.newest[mark.member] = (self._notifier.changed(mark.room), mark)
                of_room.untold[mark.member] = mark
