"""The rooms that are open in this process: read from the store when they are needed, closed when they are not."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence

from trunkline.core.cursor import Room
from trunkline.core.limits import Tuning
from trunkline.core.message import Message, Receipt
from trunkline.core.system_rooms import VOLATILE_EPOCH, is_volatile
from trunkline.engine.delivery import Delivery
from trunkline.engine.tasks import Tasks
from trunkline.errors import ShuttingDown, StoreUnavailable
from trunkline.stores.base import Store

OPENING_TAIL_MESSAGES = 256  # after a restart most readers come back for the last few: one read serves all of them


class _Opening:
    """A room that the store is being asked about, and what was appended meanwhile."""

    __slots__ = ("head", "late", "room")

    def __init__(self, room: asyncio.Future[Room]) -> None:
        self.room = room
        self.late: list[tuple[str, Message]] = []  # with their epochs
        self.head = 0  # as far as another process has said


class Rooms:
    """The open rooms by name.

    Args:
        on_stale: Called when the store is ahead of what is known of a room; returns when the room is up to date.
    """

    def __init__(
        self,
        store: Store,
        delivery: Delivery,
        tuning: Tuning,
        tasks: Tasks,
        on_stale: Callable[[Room], Awaitable[None]],
    ) -> None:
        self._store = store
        self._delivery = delivery
        self._tuning = tuning
        self._tasks = tasks
        self._on_stale = on_stale
        self._rooms: dict[str, Room] = {}
        self._opening: dict[str, _Opening] = {}
        self._close_at = tuning.idle_rooms_max  # with so many rooms, idle ones are closed
        self._is_closed = True

    def __len__(self) -> int:
        return len(self._rooms)

    def __iter__(self) -> Iterator[Room]:
        return iter(list(self._rooms.values()))

    def start(self) -> None:
        """Let rooms be opened."""
        self._is_closed = False

    def close(self) -> None:
        """Close all rooms; callers that wait for one are told that the server stops."""
        self._is_closed = True
        for opening in self._opening.values():
            if not opening.room.done():
                opening.room.set_exception(ShuttingDown("the server is stopping"))
                opening.room.exception()
        self._opening.clear()
        self._rooms.clear()

    def get(self, name: str) -> Room | None:
        """Return a room if it is open."""
        return self._rooms.get(name)

    def get_current(self, name: str) -> Room | None:
        """Return a room if it is open, and no other process could have moved it."""
        return None if self._store.shared and not is_volatile(name) else self._rooms.get(name)

    def is_unused(self, name: str) -> bool:
        """Return whether nothing in this process reads a room, or is about to."""
        room = self._rooms.get(name)
        return name not in self._opening and (room is None or room.is_idle)

    def is_known(self, name: str) -> bool:
        """Return whether a room is open, or about to be."""
        return name in self._rooms or name in self._opening

    async def load(self, name: str) -> tuple[Room, bool]:
        """Return a room, opened if it is not; and whether it was read from the store after this was called.

        Raises:
            StoreUnavailable: The store did not say where the room stands.
            ShuttingDown: The engine is closed.
        """
        is_new = False
        # Again and again, because a room that nothing reads yet can be closed before the caller runs again.
        while (room := self._rooms.get(name)) is None:
            if self._is_closed:
                raise ShuttingDown("the hub is closed")
            if is_volatile(name):
                self._rooms[name] = Room(name, VOLATILE_EPOCH, 1, 0)
                continue
            opening = self._opening.get(name)
            if opening is None:
                opening = self._opening[name] = _Opening(asyncio.get_running_loop().create_future())
                self._tasks.spawn(self._open(name, opening))
                is_new = True  # one that was being opened when this was called need not know what was said before
            await asyncio.shield(opening.room)
        return room, is_new

    async def _open(self, name: str, opening: _Opening) -> None:
        try:
            await self._store.subscribe(name)
            epoch, first, head, lineage = await self._store.head(name)
            after = max(first - 1, head - OPENING_TAIL_MESSAGES)
            page = await self._store.read(name, after, head - after, self._tuning.tail_bytes_max)
        except Exception as error:  # noqa: BLE001 - whatever it is, the callers that wait for the room get the answer
            del self._opening[name]
            self._store.unsubscribe(name)
            if not isinstance(error, StoreUnavailable):
                error = StoreUnavailable(f"the log failed: {error}")
            opening.room.set_exception(error)
            opening.room.exception()  # perhaps no caller waits any more
            return
        del self._opening[name]
        room = Room(name, epoch, first, head, lineage)
        # Not so if they are too large to be a tail, or of another life.
        if page.messages and page.messages[-1].offset == head and page.epoch == epoch:
            room.head = page.messages[0].offset - 1
            self._delivery.append(room, page.messages)
        late = [message for life, message in opening.late if life == epoch and message.offset > room.head]
        if late:
            self._delivery.append(room, late)
        self._rooms[name] = room
        if opening.head > room.head or page.epoch != epoch:
            self._catch_up(room)
        if len(self._rooms) > self._close_at:
            self._close_idle()
        opening.room.set_result(room)

    def _catch_up(self, room: Room) -> None:
        async def catch_up() -> None:
            await self._on_stale(room)

        self._tasks.spawn(catch_up())

    # What the log has appended.

    def stored(self, receipt: Receipt) -> bool:
        """Return whether a message with this receipt is news to an open room, so that `append` is to have it."""
        if receipt.room in self._opening:
            return not receipt.duplicate
        room = self._rooms.get(receipt.room)
        if room is None:
            return False
        if receipt.duplicate:
            if receipt.offset > room.head:  # stored before, when it could not be acknowledged
                self._catch_up(room)
            return False
        return receipt.offset > room.head or receipt.epoch != room.epoch

    def append(self, name: str, epoch: str, messages: Sequence[Message]) -> None:
        """Hand messages that are stored to the room's readers, when the delivery runs next."""
        room = self._rooms.get(name)
        if room is None:
            self._opening[name].late.extend((epoch, message) for message in messages)
        elif room.epoch == epoch:
            self._delivery.append(room, messages)
        else:
            self._catch_up(room)

    def head_moved(self, name: str, head: int) -> None:
        """Note that another process has appended to a room up to *head*."""
        room, opening = self._rooms.get(name), self._opening.get(name)
        if room is not None and head > room.head:
            if room.is_idle:
                self.close_room(name)
            else:
                self._catch_up(room)
        elif opening is not None:
            opening.head = max(opening.head, head)

    # Closing rooms.

    def close_room(self, name: str) -> None:
        """Close an open room that is idle: it is read from the store when it is needed again."""
        del self._rooms[name]
        self._store.unsubscribe(name)

    def shrink_tails(self) -> None:
        """Halve all tails if together they are larger than `tuning.tails_bytes_max`."""
        if sum(room.messages_bytes for room in self._rooms.values()) > self._tuning.tails_bytes_max:
            for room in self._rooms.values():
                room.halve()

    def wake_all(self) -> None:
        """Wake everything that waits for a room to move."""
        for room in self:
            room.wake()

    def _close_idle(self) -> None:
        most = self._tuning.idle_rooms_max
        idle = [name for name, room in self._rooms.items() if room.is_idle]
        for name in idle[: max(0, len(idle) - most // 2 - 1)]:
            self.close_room(name)
        self._close_at = max(most, 2 * (len(self._rooms) - most // 2))
