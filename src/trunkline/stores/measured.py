"""A store whose calls are timed: by operation, and how long the oldest one has been waiting for its answer."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from trunkline.core.message import Draft, Message, Receipt
from trunkline.core.position import Position
from trunkline.core.read_mark import ReadMark
from trunkline.core.redaction import Redacted, Redaction
from trunkline.errors import StoreUnavailable
from trunkline.observe.counters import Counters
from trunkline.stores.base import Bus, Deleted, Head, OnAppend, Page, RoomCopy, RoomInfo, Sent, Store, Swap

T = TypeVar("T")


class MeasuredStore:
    """Another store, and what it costs.

    Args:
        counters: Where `store_s` and `store_errors` are counted.
        monotonic: Returns seconds of a clock that only goes forward.

    Attributes:
        inner: The other store.
    """

    def __init__(self, store: Store, counters: Counters, monotonic: Callable[[], float]) -> None:
        self.inner = store
        self._counters = counters
        self._monotonic = monotonic
        self._waiting: dict[object, float] = {}  # since when, the oldest first

    @property
    def waiting_s(self) -> float:
        """How many seconds the oldest call has been waiting; 0 if none is."""
        return self._monotonic() - next(iter(self._waiting.values())) if self._waiting else 0.0

    async def _timed(self, operation: str, call: Awaitable[T]) -> T:
        began = self._waiting[call] = self._monotonic()
        try:
            return await call
        except StoreUnavailable:
            self._counters.store_errors[operation] += 1
            raise
        finally:
            del self._waiting[call]
            self._counters.store_s[operation].observe(self._monotonic() - began)

    # LogStore.

    async def append(self, drafts: Sequence[Draft]) -> list[Receipt | StoreUnavailable]:
        # What `_timed` does, with a coroutine less: under little load that is one for each message.
        call = self.inner.append(drafts)
        began = self._waiting[call] = self._monotonic()
        try:
            return await call
        except StoreUnavailable:
            self._counters.store_errors["append"] += 1
            raise
        finally:
            del self._waiting[call]
            self._counters.store_s["append"].observe(self._monotonic() - began)

    async def find_id(self, room: str, sender: str | None, message_id: str) -> Receipt | None:
        return await self._timed("read", self.inner.find_id(room, sender, message_id))

    async def check_writable(self) -> None:
        await self._timed("check", self.inner.check_writable())

    async def read(self, room: str, after: int, messages_max: int, bytes_max: int) -> Page:
        return await self._timed("read", self.inner.read(room, after, messages_max, bytes_max))

    async def head(self, room: str) -> Head:
        return await self._timed("head", self.inner.head(room))

    async def heads(self, rooms: Sequence[str]) -> dict[str, Position]:
        return await self._timed("head", self.inner.heads(rooms))

    async def trim(self, now_ms: int) -> dict[str, int]:
        return await self._timed("trim", self.inner.trim(now_ms))

    async def empty_rooms(self, now_ms: int, rooms_max: int) -> list[str]:
        return await self._timed("trim", self.inner.empty_rooms(now_ms, rooms_max))

    async def forget(self, rooms: Sequence[str]) -> list[str]:
        return await self._timed("trim", self.inner.forget(rooms))

    async def begin_epochs(self) -> None:
        await self.inner.begin_epochs()

    # CorrectionStore.

    async def find_rooms(self, prefix: str, after: str, rooms_max: int) -> list[RoomInfo]:
        return await self._timed("correct", self.inner.find_rooms(prefix, after, rooms_max))

    async def redact(self, redaction: Redaction) -> Redacted:
        return await self._timed("correct", self.inner.redact(redaction))

    async def sent(self, room: str, sender: str, after: int) -> Sent:
        return await self._timed("correct", self.inner.sent(room, sender, after))

    async def delete(self, room: str, at: int) -> Deleted | None:
        return await self.inner.delete(room, at)  # which takes as long as there are messages

    async def erase_marks(self, member: str) -> int:
        return await self._timed("correct", self.inner.erase_marks(member))

    async def purge(self) -> list[str]:
        return await self.inner.purge()

    async def put_room(self, room: RoomCopy) -> None:
        await self.inner.put_room(room)

    async def put_messages(self, room: str, messages: Sequence[Message]) -> None:
        await self.inner.put_messages(room, messages)

    async def notes(self) -> dict[str, bytes]:
        return await self._timed("correct", self.inner.notes())

    async def note(self, name: str, value: bytes | None) -> None:
        await self._timed("correct", self.inner.note(name, value))

    # ReadMarkStore.

    async def mark(self, marks: Sequence[ReadMark]) -> None:
        await self._timed("mark", self.inner.mark(marks))

    async def marks(self, room: str, marks_max: int) -> list[ReadMark]:
        return await self._timed("marks", self.inner.marks(room, marks_max))

    async def marks_of(self, member: str, rooms: Sequence[str]) -> dict[str, int]:
        return await self._timed("marks", self.inner.marks_of(member, rooms))

    # RecordStore.

    async def swap(self, swaps: Sequence[Swap]) -> list[bool]:
        return await self._timed("swap", self.inner.swap(swaps))

    async def record(self, space: str, kind: str, key: str) -> bytes | None:
        return await self._timed("records", self.inner.record(space, kind, key))

    async def records(self, space: str, kind: str) -> dict[str, bytes]:
        return await self._timed("records", self.inner.records(space, kind))

    async def forget_records(self, space: str, kinds: Sequence[str]) -> None:
        await self._timed("swap", self.inner.forget_records(space, kinds))

    # ChangeFeed.

    @property
    def shared(self) -> bool:
        return self.inner.shared

    @shared.setter
    def shared(self, shared: bool) -> None:
        self.inner.shared = shared

    @property
    def bus(self) -> Bus | None:
        return self.inner.bus

    @bus.setter
    def bus(self, bus: Bus | None) -> None:
        self.inner.bus = bus

    @property
    def on_append(self) -> OnAppend | None:
        return self.inner.on_append

    @on_append.setter
    def on_append(self, on_append: OnAppend | None) -> None:
        self.inner.on_append = on_append

    async def subscribe(self, room: str) -> None:
        await self._timed("subscribe", self.inner.subscribe(room))

    def unsubscribe(self, room: str) -> None:
        self.inner.unsubscribe(room)

    async def subscribe_matching(self, pattern: str) -> None:
        await self._timed("subscribe", self.inner.subscribe_matching(pattern))

    def unsubscribe_matching(self, pattern: str) -> None:
        self.inner.unsubscribe_matching(pattern)

    async def is_current(self) -> bool:
        return await self._timed("check", self.inner.is_current())

    # Life.

    @property
    def location(self) -> str:
        return self.inner.location

    async def start(self) -> None:
        await self.inner.start()

    async def close(self) -> None:
        await self.inner.close()
