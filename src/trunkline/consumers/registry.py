"""The durable consumers of a log: those that this process runs, and what there is of all of them."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from itertools import count
from typing import NamedTuple

import msgspec

from trunkline.consumers.consumer import Consumer
from trunkline.consumers.discovery import consumed_rooms
from trunkline.consumers.leases import LEASE_S
from trunkline.consumers.message import ConsumedMessage
from trunkline.consumers.settings import Settings
from trunkline.core.consumer import (
    ALL_KINDS,
    LEASE,
    MEMBER,
    SLOTS,
    ConsumerNote,
    Progress,
    check_beginning,
    check_consumer_name,
    check_patterns,
    cursor_kind,
    decode_lease,
    decode_progress,
    lag_of,
    space_of,
)
from trunkline.core.notes import CONSUMER
from trunkline.core.system_rooms import aside_room
from trunkline.engine.engine import Engine
from trunkline.errors import RequestError

CONSUMERS_MAX = 1000  # of a log: each is a note, and a few records

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(ConsumerNote).decode


class ConsumerInfo(NamedTuple):
    """What there is of a consumer, on all nodes.

    Attributes:
        rooms: The patterns of its rooms.
        cursors: In how many rooms it has a cursor.
        lag: How many messages it has not handled yet.
        instances: How many run it.
        owners: How many slots each of them has.
        set_aside: How many messages it has set aside that are retained in the room of those.
    """

    name: str
    rooms: list[str]
    since: str
    created_at: int
    cursors: int
    lag: int
    instances: int
    owners: dict[str, int]
    set_aside: int


class Running(NamedTuple):
    """What one process has of a consumer."""

    instances: int
    rooms: int
    slots: int
    lag: int


class Consumers:
    """The consumers of one process.

    Attributes:
        stopping: Set when they give nothing out any more.
    """

    stopping: asyncio.Event

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._running: list[Consumer] = []
        self._numbers = count(1)
        self._patterns: Counter[str] = Counter()
        self._ended: asyncio.Event

    def start(self) -> None:
        """Begin, on the running event loop."""
        self._ended, self.stopping = asyncio.Event(), asyncio.Event()
        self._running.clear()
        self._patterns.clear()

    def stop(self) -> None:
        """Let all that run give nothing out any more."""
        self.stopping.set()
        for consumer in self._running:
            consumer.stop()

    async def drain(self, timeout_s: float) -> None:
        """Wait until all that run have given their rooms back, or the time is over."""
        self.stop()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                while self._running:
                    self._ended.clear()
                    await self._ended.wait()

    async def consume(
        self, name: str, rooms: str | Sequence[str], since: str, settings: Settings
    ) -> AsyncGenerator[ConsumedMessage, None]:
        """Iterate over the messages of the rooms that fall to this instance; see `Hub.consume`."""
        async with aclosing(self.consume_batches(name, rooms, since, settings)) as batches:
            async for [message] in batches:
                yield message

    async def consume_batches(
        self, name: str, rooms: str | Sequence[str], since: str, settings: Settings
    ) -> AsyncGenerator[list[ConsumedMessage], None]:
        """Iterate over them in batches."""
        async with self._instance(name, rooms, since, settings) as consumer, aclosing(consumer.batches()) as batches:
            async for batch in batches:
                yield batch

    @asynccontextmanager
    async def _instance(
        self, name: str, rooms: str | Sequence[str], since: str, settings: Settings
    ) -> AsyncIterator[Consumer]:
        note = await self._note(check_consumer_name(name), check_patterns(rooms), check_beginning(since))
        me = f"{self._engine.name}.{next(self._numbers)}"
        consumer = Consumer(self._engine, name, me, note, settings)
        if self.stopping.is_set():
            consumer.stop()
        self._running.append(consumer)
        subscribed: list[str] = []
        try:
            for pattern in note.rooms:
                self._patterns[pattern] += 1
                subscribed.append(pattern)
                await self._engine.store.subscribe_matching(pattern)
            yield consumer
        finally:
            self._running.remove(consumer)
            self._ended.set()
            for pattern in subscribed:
                self._patterns[pattern] -= 1
                if self._patterns[pattern] <= 0:
                    del self._patterns[pattern]
                    self._engine.store.unsubscribe_matching(pattern)

    async def _note(self, name: str, rooms: tuple[str, ...], since: str) -> ConsumerNote:
        notes = await self._engine.store.notes()
        known = notes.get(CONSUMER + name)
        if known is None:
            if sum(note.startswith(CONSUMER) for note in notes) >= CONSUMERS_MAX:
                raise RequestError("bad_command", f"there are {CONSUMERS_MAX} consumers already: delete some")
            note = ConsumerNote(rooms=rooms, since=since, created_at=self._engine.clock.wall_ms())
        else:
            note = _decode(known)
            if note.rooms == rooms:
                return note
            note.rooms = rooms
        await self._engine.store.note(CONSUMER + name, _encode(note))
        return note

    # What there is.

    def running(self) -> dict[str, Running]:
        """Return what this process has of each consumer that it runs."""
        found: dict[str, Running] = {}
        for consumer in self._running:
            before = found.get(consumer.name, Running(0, 0, 0, 0))
            found[consumer.name] = Running(
                before.instances + 1,
                before.rooms + consumer.rooms,
                before.slots + consumer.slots,
                before.lag + consumer.lag,
            )
        return found

    async def all(self) -> list[ConsumerInfo]:
        """Return what there is of all consumers, on all nodes, in the order of their names.

        Raises:
            StoreUnavailable: The log did not answer.
        """
        notes = await self._engine.store.notes()
        names = sorted(name.removeprefix(CONSUMER) for name in notes if name.startswith(CONSUMER))
        return [await self._describe(name, _decode(notes[CONSUMER + name])) for name in names]

    async def _describe(self, name: str, note: ConsumerNote) -> ConsumerInfo:
        store, space = self._engine.store, space_of(name)
        cursors: dict[str, Progress] = {}
        for slot in range(SLOTS):
            records = await store.records(space, cursor_kind(slot))
            cursors.update((room, decode_progress(record)) for room, record in records.items())
        lag = 0
        async for info in consumed_rooms(store, note.rooms):
            progress = cursors.get(info.room)
            if progress is not None or not note.is_before_begin(info.at):
                lag += lag_of(info.first, info.head, progress)
        leases = [decode_lease(record) for record in (await store.records(space, LEASE)).values()]
        aside = await store.head(aside_room(name))
        return ConsumerInfo(
            name=name,
            rooms=list(note.rooms),
            since=note.since,
            created_at=note.created_at,
            cursors=len(cursors),
            lag=lag,
            instances=len(await store.records(space, MEMBER)),
            owners=dict(Counter(lease.owner for lease in leases if lease.owner)),
            set_aside=aside.head - aside.first + 1,
        )

    async def delete(self, name: str) -> None:
        """Forget a consumer, with its cursors.

        Raises:
            RequestError: `not_found`; or `bad_command`: it runs.
            StoreUnavailable: It may be forgotten or not; try again.
        """
        store, space = self._engine.store, space_of(name)
        if CONSUMER + name not in await store.notes():
            raise RequestError("not_found", "there is no consumer of that name")
        if await self._lives(name):
            raise RequestError("bad_command", "the consumer runs: stop it first")
        await store.forget_records(space, ALL_KINDS)
        await store.note(CONSUMER + name, None)

    async def _lives(self, name: str) -> bool:
        """Return whether an instance of a consumer lives; it takes as long as a lease to be sure that none does."""
        if any(consumer.name == name for consumer in self._running):
            return True
        store, space = self._engine.store, space_of(name)
        before = await store.records(space, MEMBER)
        if not before or not store.shared:
            return False
        await asyncio.sleep(LEASE_S)
        now = await store.records(space, MEMBER)
        return any(before.get(member) != beat for member, beat in now.items())
