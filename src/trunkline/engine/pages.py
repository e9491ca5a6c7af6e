"""Pages: what rooms have after a position, at once or as soon as there is something (`long_poll.py`)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from typing import TypeVar

from trunkline.core.cursor import Room
from trunkline.core.limits import Limits
from trunkline.core.message import Message, check_readable_room
from trunkline.core.page import Page
from trunkline.core.position import Gap, GapError, Start, overtaken, parse_since, resolve
from trunkline.core.redaction import RecentRedactions
from trunkline.engine.availability import Availability
from trunkline.engine.follower import Follower
from trunkline.engine.long_poll import Watch, wait_for_news
from trunkline.errors import ShuttingDown, StoreUnavailable
from trunkline.stores.base import LogStore

T = TypeVar("T")

READ_WAIT_S = 3600.0

Join = tuple[str, Start]


class Parked:
    """The rooms of a poll that has nothing to tell yet: it stands at their heads, and they stay open until `close`.

    Args:
        pages: What the poll would be answered with.
    """

    __slots__ = ("_rooms", "pages")

    def __init__(self, rooms: Sequence[Room], pages: list[Page]) -> None:
        self._rooms: Sequence[Room] = rooms
        self.pages = pages
        for room in rooms:
            room.pins += 1

    @property
    def rooms(self) -> Sequence[Room]:
        """The rooms."""
        return self._rooms

    def add_waiter(self, wake: Callable[[], None]) -> None:
        """Call *wake* when one of the rooms moves, or the server stops."""
        for room in self._rooms:
            room.waiters.add(wake)

    def close(self, wake: Callable[[], None] | None = None) -> None:
        """Let go of the rooms, and call *wake* no more. Harmless if that was done."""
        rooms, self._rooms = self._rooms, ()
        for room in rooms:
            if wake is not None:
                room.waiters.discard(wake)
            room.pins -= 1


class Pages:
    """Reads pages from the tails of rooms, or from the store."""

    def __init__(
        self,
        store: LogStore,
        follower: Follower,
        limits: Limits,
        availability: Availability,
        redactions: RecentRedactions,
    ) -> None:
        self._store = store
        self._redactions = redactions
        self._follower = follower
        self._limits = limits
        self._availability = availability
        self._is_stopping = False

    def start(self) -> None:
        """Let polls wait."""
        self._is_stopping = False

    def stop(self) -> None:
        """Let no poll wait any more; those that wait are to be woken (`Rooms.wake_all`)."""
        self._is_stopping = True

    async def poll(
        self,
        joins: Sequence[Join],
        limit: int,
        wait_s: float = 0.0,
        watch: Watch | None = None,
        bytes_max: Callable[[], int] | None = None,
    ) -> list[Page]:
        """Return a page of each room, together within the bounds of one.

        Args:
            limit: The most messages; with 0, only where the rooms stand.
            wait_s: If there is nothing yet, how many seconds to wait for something; also for a log that is away.
            watch: What to wait for beside messages.
            bytes_max: The bound of all messages, but at least one is returned; `limits.poll_bytes_max` by default.

        Raises:
            RequestError: `bad_room`.
            StoreUnavailable: The log could not be read.
        """
        async with AsyncExitStack() as stack:
            names = [check_readable_room(name) for name, _ in joins]
            rooms, wait_s = await self._patiently(
                lambda: stack.enter_async_context(self._follower.opened(names)), wait_s
            )
            starts = [start for _, start in joins]
            pages, wait_s = await self._patiently(lambda: self._read_all(rooms, starts, limit, bytes_max), wait_s)
            if wait_s <= 0 or _is_news(pages):
                return pages
            if _is_at_heads(rooms, pages) and (watch is None or not watch.has_news()):
                await wait_for_news(rooms, wait_s, watch, lambda: self._is_stopping)
            return await self._read_on(rooms, pages, limit, bytes_max)

    def look_now(
        self, joins: Sequence[Join], limit: int, bytes_max: int, *, parks: bool
    ) -> tuple[list[Page], Parked | None] | None:
        """Return what `look` returns, if all of it is in memory; None if the store must be asked.

        Args:
            parks: Whether the poll waits if nothing is new.
        """
        rooms = []
        for name, _ in joins:
            room = self._follower.current(name)
            if room is None:
                return None
            rooms.append(room)
        pages = self._read_all_now(rooms, [start for _, start in joins], limit, bytes_max)
        if pages is None:
            return None
        if not parks or self._is_stopping or _is_news(pages):
            return pages, None
        return pages, Parked(rooms, pages)

    def look_again_now(self, parked: Parked, limit: int, bytes_max: int) -> list[Page] | None:
        """Return what `look_again` returns, if all of it is in memory; None if the store must be asked."""
        starts = [parse_since(page.next) for page in parked.pages]
        return self._read_all_now(parked.rooms, starts, limit, bytes_max)

    def _read_all_now(
        self, rooms: Sequence[Room], starts: Sequence[Start], limit: int, bytes_max: int
    ) -> list[Page] | None:
        pages = []
        for room, start in zip(rooms, starts, strict=True):
            page = _read_tail(room, start, limit if bytes_max > 0 else 0, bytes_max)
            if page is None:
                return None
            limit -= _count(page)
            bytes_max -= _size(page)
            pages.append(page)
        return pages

    async def look(
        self, joins: Sequence[Join], limit: int, bytes_max: Callable[[], int]
    ) -> tuple[list[Page], Parked | None]:
        """Return a page of each room, as `poll` does that does not wait; and what to wait with, if nothing is new.

        Raises:
            RequestError: `bad_room`.
            StoreUnavailable: The log could not be read.
        """
        async with self._follower.opened([check_readable_room(name) for name, _ in joins]) as rooms:
            pages = await self._read_all(rooms, [start for _, start in joins], limit, bytes_max)
            if _is_news(pages):
                return pages, None
            if self._is_stopping or not _is_at_heads(rooms, pages):
                return await self._read_on(rooms, pages, limit, bytes_max), None
            return pages, Parked(rooms, pages)

    async def look_again(self, parked: Parked, limit: int, bytes_max: Callable[[], int]) -> list[Page]:
        """Return what has come since, to a poll that has waited."""
        return await self._read_on(parked.rooms, parked.pages, limit, bytes_max)

    async def read(
        self, name: str, start: Start, *, limit: int = 100, bytes_max: int | None = None, wait_s: float = 0.0
    ) -> Page:
        """Return a page of one room; see `poll`."""
        [page] = await self.poll([(name, start)], limit, wait_s, None, None if bytes_max is None else lambda: bytes_max)
        return page

    async def follow(
        self,
        name: str,
        start: Start,
        on_gap: Callable[[Gap], None] | None,
        on_redacted: Callable[[Message], None] | None = None,
    ) -> AsyncIterator[Message]:
        """Iterate over all messages of a room after *start*, for ever.

        Args:
            on_redacted: Called with redactions, in their place among the messages.

        Raises:
            GapError: Messages are gone and there is no *on_gap*.
            ShuttingDown: The server stops.
        """
        while True:
            page = await self.read(name, start, wait_s=READ_WAIT_S)
            if page.gap is not None:
                if on_gap is None:
                    raise GapError(page.gap)
                on_gap(page.gap)
            entries = [*page.messages, *page.redactions] if on_redacted is not None else page.messages
            for entry in sorted(entries, key=_offset) if page.redactions else entries:
                if not entry.redacts:
                    yield entry
                elif on_redacted is not None:
                    on_redacted(entry)
            if self._is_stopping and not (page.messages or page.redactions):
                raise ShuttingDown("the hub is stopping")
            start = parse_since(page.next)

    async def _patiently(self, read: Callable[[], Awaitable[T]], wait_s: float) -> tuple[T, float]:
        return await self._availability.patiently(read, wait_s, lambda: self._is_stopping)

    async def _read_on(
        self, rooms: Sequence[Room], pages: list[Page], limit: int, bytes_max: Callable[[], int] | None
    ) -> list[Page]:
        """Return the pages behind these, which are empty."""
        try:
            return await self._read_all(rooms, [parse_since(page.next) for page in pages], limit, bytes_max)
        except StoreUnavailable:  # what came is too much for the tail: the next poll waits for the log
            return pages

    async def _read_all(
        self, rooms: Sequence[Room], starts: Sequence[Start], limit: int, bytes_max: Callable[[], int] | None
    ) -> list[Page]:
        count = self._redactions.count
        left, most = self._limits.poll_bytes_max if bytes_max is None else bytes_max(), limit
        pages = []
        for room, start in zip(rooms, starts, strict=True):
            page = await self._read(room, start, limit if left > 0 else 0, left)
            limit -= _count(page)
            left -= _size(page)
            pages.append(page)
        if self._redactions.is_stale(count, *(room.name for room in rooms)):
            return await self._read_all(rooms, starts, most, bytes_max)
        return pages

    async def _read(self, room: Room, start: Start, limit: int, bytes_max: int) -> Page:
        while (page := _read_tail(room, start, limit, bytes_max)) is None:
            after, gap = resolve(start, room.name, room.epoch, room.first, room.head, room.lineage)
            head = room.head  # it may move while the store is read; what comes then is for the next page
            messages = await self._read_store(room, after, head, limit, bytes_max)
            if messages is None:
                await self._follower.change_epoch(room)
                continue
            earliest = messages[0].offset if messages else head + 1
            if start.kind == "after":
                gap = overtaken(gap, room.name, room.epoch, after, earliest)
            return _page(room, earliest - 1, gap, messages)
        return page

    async def _read_store(self, room: Room, after: int, head: int, limit: int, bytes_max: int) -> list[Message] | None:
        """Return the stored messages up to *head*; None if the log goes on under another epoch."""
        epoch, count = room.epoch, self._redactions.count
        page = await self._store.read(room.name, after, limit, bytes_max)
        if not page.epoch == room.epoch == epoch:
            return None
        if self._redactions.is_stale(count, room.name):
            return await self._read_store(room, after, head, limit, bytes_max)
        room.first = max(room.first, page.first)
        return [message for message in page.messages if message.offset <= head]


def _offset(entry: Message) -> int:
    return entry.offset


def _read_tail(room: Room, start: Start, limit: int, bytes_max: int) -> Page | None:
    """Return a page of what is in memory; None if the store must be read."""
    after, gap = resolve(start, room.name, room.epoch, room.first, room.head, room.lineage)
    if after >= room.head or limit <= 0:
        return _page(room, after, gap, [])
    messages = room.since(after, limit, bytes_max)
    return None if messages is None else _page(room, after, gap, messages)


def _size(page: Page) -> int:
    """Return the bytes of a page's messages."""
    return sum(len(memoryview(message.json)) for message in page.messages)


def _count(page: Page) -> int:
    return len(page.messages) + len(page.redactions)


def _page(room: Room, after: int, gap: Gap | None, entries: list[Message]) -> Page:
    last = entries[-1].offset if entries else after
    redactions = tuple([entry for entry in entries if entry.redacts])
    if redactions:
        entries = [entry for entry in entries if not entry.redacts]
    return Page(room.name, room.epoch, room.head, f"{room.epoch}.{last}", gap, entries, redactions)


def _is_news(pages: Sequence[Page]) -> bool:
    """Return whether there is anything to tell a poll."""
    return any(page.messages or page.gap or page.redactions for page in pages)


def _is_at_heads(rooms: Sequence[Room], pages: Sequence[Page]) -> bool:
    """Return whether no room has moved while it was read."""
    return all(f"{room.epoch}.{room.head}" == page.next for room, page in zip(rooms, pages, strict=True))
