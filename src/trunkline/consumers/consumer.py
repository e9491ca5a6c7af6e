"""One instance of a durable consumer: it gives out the messages of the rooms that it has, and moves their cursors.

A room is read when it has news, and only as long as it has. Its messages are given out one after the other, each when
the one before is handled.
"""

from __future__ import annotations

import asyncio
import hashlib
import inspect
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable

import msgspec

from trunkline.consumers.cursors import Cursors, fenced
from trunkline.consumers.discovery import Discovery
from trunkline.consumers.leases import BEAT_S, Leases, Left
from trunkline.consumers.message import ConsumedMessage
from trunkline.consumers.room import ConsumedRoom
from trunkline.consumers.rooms import ConsumedRooms
from trunkline.consumers.settings import Settings
from trunkline.core.consumer import (
    REASON_MAX,
    ConsumerNote,
    Progress,
    SetAside,
    is_consumed,
    slot_of,
)
from trunkline.core.message import Message
from trunkline.core.position import BEGINNING, Gap, GapError, parse_since
from trunkline.core.system_rooms import aside_room
from trunkline.engine.engine import Engine
from trunkline.engine.tasks import cancelled
from trunkline.errors import Fenced, Overloaded, ShuttingDown, StoreUnavailable, TrunklineError, explain

log = logging.getLogger("trunkline")

READ_MESSAGES = 100
READ_BYTES = 256 * 1024
RETRY_S = 1.0  # after the first failure; doubled after each further one
RETRY_S_MAX = 60.0
AGAIN_S = 0.5


class Consumer:
    """An instance.

    Args:
        name: Of the consumer, whose instances share its rooms.
        me: Of the instance, which no other one ever has.

    Attributes:
        is_stopping: It gives nothing out any more.
    """

    def __init__(self, engine: Engine, name: str, me: str, note: ConsumerNote, settings: Settings) -> None:
        self.name = name
        self.note = note
        self.settings = settings
        self.is_stopping = False
        self._engine = engine
        self._counters = engine.counters
        self._leases = Leases(
            name,
            me,
            note.rooms,
            engine.records,
            engine.clock,
            alone=not engine.store.shared,
            is_busy=self._is_busy,
            taken=self._taken,
            lost=self._lost,
        )
        self._cursors = Cursors(name, engine.records, self._leases)
        self._rooms = ConsumedRooms()
        self._discovery = Discovery(engine.store, note, self._rooms, self._moved, self._gone, self._log_away)
        self._ready: dict[str, ConsumedRoom] = {}
        self._busy: dict[str, ConsumedRoom] = {}
        self._wake = asyncio.Event()
        self._is_asked = False
        self._is_resting = False  # the loop does not ask for messages: other instances may have its slots
        self._gave_at = engine.clock.monotonic()
        self._tasks: list[asyncio.Future[None]] = []
        self._away = False

    # Life.

    async def batches(self) -> AsyncGenerator[list[ConsumedMessage], None]:
        """Iterate over the messages of the rooms that this instance has, for ever, in batches: those of a room in their
        order, without one between them.

        An acknowledgement of one counts for those of its room before it; so does a failure, with which all of its room
        come again.

        Raises:
            GapError: Messages are gone, and nothing was set to be called with gaps. Raised once: the cursor is behind
                them.
            ShuttingDown: The server stops.
        """
        self._engine.news.listeners.append(self._discovery.news)
        self._tasks = [
            asyncio.ensure_future(self._repeat(self._tick, BEAT_S)),
            asyncio.ensure_future(self._discovery.run()),
        ]
        try:
            while True:
                yield await self._batch(await self._next())
        finally:
            await self._close()

    async def _batch(self, first: ConsumedMessage) -> list[ConsumedMessage]:
        """Return a message with those that can be given out with it, without waiting for any."""
        batch, settings = [first], self.settings
        size = len(memoryview(first.message.json))
        room: ConsumedRoom | None = self._rooms.get(first.room)
        while len(batch) < settings.batch_messages:
            if room is None or not room.read or room.read[0].redacts or room.is_careful or room.state != "busy":
                room = self._next_room()
                if room is None:
                    break
                try:
                    following = await self._begin(room)
                except (StoreUnavailable, Overloaded, Fenced) as error:
                    log.info("consumer %s: %s", self.name, error)
                    room.forget_read()
                    self._queue(room)
                    break
                if following is None:
                    continue
            else:
                entry = room.read[0]
                if size + len(memoryview(entry.json)) > settings.batch_bytes:
                    break
                room.read.popleft()
                room.busy_to = entry.offset
                following = ConsumedMessage(self, entry, room.epoch, batch[-1].fence, 0)
            size += len(memoryview(following.message.json))
            batch.append(following)
        return batch

    def stop(self) -> None:
        """Give nothing out any more; who waits for a message is told that the server stops."""
        self.is_stopping = True
        self._wake.set()

    async def _close(self) -> None:
        counts_tries, self.is_stopping = not self.is_stopping, True
        self._engine.news.listeners.remove(self._discovery.news)
        await cancelled(*self._tasks)
        if counts_tries:
            for room in list(self._busy.values()):
                try:
                    if room.busy is not None:
                        await self._failed(room, room.busy[0], "the consumer ended while it was handled")
                except TrunklineError as error:
                    log.warning("consumer %s: %s", self.name, error)
        if not self._is_resting:
            await self._leases.close()
        self._rooms.lose_all()

    # Giving out.

    async def _next(self) -> ConsumedMessage:
        self._is_asked = True
        try:
            while True:
                if self.is_stopping:
                    raise ShuttingDown("the hub is stopping")
                room = self._next_room()
                if room is None:
                    self._wake.clear()
                    await self._wake.wait()
                    continue
                try:
                    message = await self._begin(room)
                except (StoreUnavailable, Overloaded) as error:
                    self._log_away(error)
                    room.forget_read()
                    await asyncio.sleep(AGAIN_S)
                    self._queue(room)
                except Fenced as error:
                    log.info("consumer %s: %s", self.name, error)
                else:
                    self._away = False
                    if message is not None:
                        return message
        finally:
            self._is_asked, self._gave_at = False, self._engine.clock.monotonic()

    def _log_away(self, error: TrunklineError) -> None:
        if not self._away:
            log.warning("consumer %s waits for the log: %s", self.name, explain(error))
        self._away = True

    def _next_room(self) -> ConsumedRoom | None:
        if not self._leases.is_sure or len(self._busy) >= self.settings.in_flight:
            return None
        while self._ready:
            name = next(iter(self._ready))
            room = self._ready.pop(name)
            if room.state != "ready":
                continue
            if self._leases.is_leaving(room.slot):
                room.go("nothing")  # who takes it over finds what is new by itself; or it stays, and is looked at
                continue
            return room
        return None

    def _queue(self, room: ConsumedRoom) -> None:
        if room.state == "ready":
            self._ready[room.name] = room
            self._wake.set()

    async def _begin(self, room: ConsumedRoom) -> ConsumedMessage | None:
        """Begin the next message of a room; None if there is none.

        Raises:
            StoreUnavailable, Fenced, GapError
        """
        message = await self._next_message(room)
        lease = self._leases.get(room.slot)
        if message is None or lease is None or room.state != "ready":
            return None
        tries = 0 if room.progress is None else room.progress.tries
        if room.is_careful:
            if tries >= self.settings.tries_max:
                await self._set_aside(room, message, tries, "its consumer died whenever it was handled")
                self._queue(room)
                return None
            await self._cursors.move(room, Progress(room.epoch, message.offset - 1, tries + 1))
            if room.state != "ready":
                return None
        room.go("begin")
        room.busy, room.busy_to = (message, self._engine.clock.monotonic()), message.offset
        self._busy[room.name] = room
        return ConsumedMessage(self, message, room.epoch, lease.fence, tries)

    async def _next_message(self, room: ConsumedRoom) -> Message | None:
        """Return the next message that was read or is there to be read; None if the room has nothing new."""
        passed: Message | None = None
        while True:
            if self._engine.redactions.is_stale(room.redactions_seen, room.name):
                room.forget_read()
            if not room.read:
                room.has_news = False
                await self._read(room)
            if not room.read:
                if passed is not None:
                    await self._cursors.move(room, Progress(room.epoch, passed.offset))
                if room.state == "ready" and not room.has_news:
                    room.go("nothing")
                    room.is_complete = True
                    return None
                if room.state != "ready":
                    return None
                continue
            entry = room.read.popleft()
            if entry.redacts:
                passed = entry
                if self.settings.on_redacted is not None:
                    await _maybe(self.settings.on_redacted(entry))
            elif room.record is None and self.note.is_before_begin(entry.at):
                passed = entry
            elif room.has_handled(entry):
                continue  # a late acknowledgement came while it was read again
            else:
                return entry

    async def _read(self, room: ConsumedRoom) -> None:
        """Read a page behind what was read."""
        since = room.reads_from or (None if room.progress is None else room.progress.position)
        room.redactions_seen = self._engine.redactions.count
        start = BEGINNING if since is None else parse_since(since)
        page = await self._engine.pages.read(room.name, start, limit=READ_MESSAGES, bytes_max=READ_BYTES)
        room.head = page.head
        if page.gap is not None:
            await self._gap(room, page.gap, page.epoch)
        room.epoch, room.reads_from = page.epoch, page.next
        room.read.extend(sorted([*page.messages, *page.redactions], key=lambda entry: entry.offset))

    async def _gap(self, room: ConsumedRoom, gap: Gap, epoch: str) -> None:
        """Tell a gap, once, and go on behind it.

        A log that is gone altogether is one only if something of it may not have been handled; but who deletes a room
        is told in any case.
        """
        nothing_lost = room.is_complete and gap.last < gap.first
        if self.settings.on_gap is not None and not (nothing_lost and gap.reason == "epoch"):
            await _maybe(self.settings.on_gap(gap))
        await self._cursors.move(room, Progress(epoch, int(gap.next.rpartition(".")[2])), back=True)
        if self.settings.on_gap is None and not nothing_lost:
            log.error("consumer %s: %s", self.name, GapError(gap))
            room.forget_read()
            self._queue(room)
            raise GapError(gap)

    # Acknowledging.

    async def ack(self, message: ConsumedMessage) -> None:
        """Move the cursor of a room behind a message; see `ConsumedMessage.ack`."""
        room = self._room_of(message)
        progress = room.progress
        if progress is not None and progress.epoch == message.epoch and progress.offset >= message.offset:
            return  # it was acknowledged already
        await self._cursors.move(room, Progress(message.epoch, message.offset))
        self._handled(room, message)

    def _handled(self, room: ConsumedRoom, message: ConsumedMessage) -> None:
        room.is_careful = False
        if message.offset < room.busy_to:
            return  # there are others behind it
        self._no_longer_busy(room)
        if room.state in ("busy", "paused"):
            room.go("ack")
            if not room.read and not room.has_news and message.offset >= room.head:
                room.go("nothing")
                room.is_complete = True
            self._queue(room)

    async def set_aside(self, message: ConsumedMessage, reason: str) -> None:
        """Report a message that will never be handled; see `ConsumedMessage.set_aside`."""
        room = self._room_of(message)
        await self._set_aside(room, message.message, message.tries + 1, reason)
        self._handled(room, message)

    async def fail(self, message: ConsumedMessage, reason: str) -> None:
        """Count a try of a message; see `ConsumedMessage.fail`."""
        room = self._room_of(message)
        if room.busy is not None and room.busy[0].offset <= message.offset <= room.busy_to:
            await self._failed(room, room.busy[0], reason)

    def _room_of(self, message: ConsumedMessage) -> ConsumedRoom:
        """Return the room of a message, if it is this tenure's.

        Raises:
            Fenced: It is not; or it is of a log that is gone, and the room's new one has been read.
        """
        room, lease = self._rooms.get(message.room), self._leases.get(slot_of(message.room))
        if room is None or lease is None or lease.fence != message.fence:
            raise fenced(message.room)
        if room.epoch != message.epoch:
            raise Fenced(f"{message.room} has begun anew since: this does not count")
        return room

    def _no_longer_busy(self, room: ConsumedRoom) -> None:
        room.busy = None
        self._busy.pop(room.name, None)
        self._wake.set()

    async def _failed(self, room: ConsumedRoom, message: Message, reason: str) -> None:
        tries = 0 if room.progress is None else room.progress.tries
        if not room.is_careful:  # else this try was counted when it began
            tries += 1
        self._counters.consumer_failures[self.name] += 1
        room.forget_read()
        delay_s = min(RETRY_S_MAX, RETRY_S * 2 ** min(tries - 1, 30))
        try:
            if tries >= self.settings.tries_max:
                await self._set_aside(room, message, tries, reason)
                delay_s = 0.0
            else:
                at = room.progress or Progress(room.epoch, message.offset - 1)
                await self._cursors.move(room, Progress(at.epoch, at.offset, tries))
        finally:  # whatever has happened, it comes again
            if room.state == "busy":
                self._no_longer_busy(room)
                room.go("fail")
                asyncio.get_running_loop().call_later(delay_s, self._resume, room)

    def _resume(self, room: ConsumedRoom) -> None:
        if room.state == "paused":
            room.go("time")
            self._queue(room)

    async def _set_aside(self, room: ConsumedRoom, message: Message, tries: int, reason: str) -> None:
        """Report a message that cannot be handled, and go on behind it."""
        lease = self._leases.get(room.slot)
        if lease is None:
            raise fenced(room.name)
        entry = SetAside(
            consumer=self.name,
            room=room.name,
            epoch=room.epoch,
            offset=message.offset,
            tries=tries,
            reason=reason[:REASON_MAX].encode(errors="replace").decode(),
            fence=lease.fence,
        )
        at = Progress(room.epoch, message.offset)
        key = hashlib.sha256(f"{room.name} {at.position}".encode()).hexdigest()[:32]
        try:
            await self._engine.appender.append(aside_room(self.name), key, None, msgspec.json.encode(entry))
        except (Overloaded, ShuttingDown) as error:
            raise StoreUnavailable(f"the report of a message that is set aside was not stored: {error}") from error
        await self._cursors.move(room, at)
        room.is_careful = False
        self._counters.consumer_set_aside[self.name] += 1
        log.error("consumer %s has set %s of %s aside, after %d tries", self.name, at.position, room.name, tries)

    # Slots.

    async def _tick(self) -> None:
        if self._is_resting:
            if not self._is_asked:
                return
            self._is_resting = False
        now = self._engine.clock.monotonic()
        late = [room for room in self._busy.values() if room.busy and now - room.busy[1] > self.settings.ack_wait_s]
        try:
            for room in late:
                if room.busy is not None:
                    reason = f"it was not acknowledged within {self.settings.ack_wait_s:g} s"
                    await self._failed(room, room.busy[0], reason)
            if not self._is_asked and (late or now - self._gave_at > self.settings.ack_wait_s):
                log.warning("consumer %s: its messages are not taken any more, so its rooms are free", self.name)
                self._is_resting = True
                await self._leases.close()
                return
            await self._leases.tick()
        except Fenced as error:
            log.info("consumer %s: %s", self.name, error)
        except TrunklineError as error:
            self._log_away(error)
        self._wake.set()

    def _is_busy(self, slot: int) -> bool:
        return any(room.slot == slot for room in self._busy.values())

    def _taken(self, slot: int, left: Left) -> None:
        self._tasks = [task for task in self._tasks if not task.done()]
        self._tasks.append(asyncio.ensure_future(self._begin_slot(slot, left)))

    async def _begin_slot(self, slot: int, left: Left) -> None:
        """Learn how far the consumer is in the rooms of a slot, and let them be looked at."""
        lease = self._leases.get(slot)
        while lease is not None and self._leases.get(slot) == lease:
            try:
                cursors = await self._cursors.load(slot)
            except StoreUnavailable as error:
                self._log_away(error)
                await asyncio.sleep(AGAIN_S)
                continue
            if self._leases.get(slot) == lease:
                consumed = {name: at for name, at in cursors.items() if is_consumed(self.note.rooms, name)}
                self._rooms.add_slot(slot, consumed, is_careful=left == "died")
                self._discovery.soon()
            return

    def _lost(self, slot: int) -> None:
        for room in self._rooms.lose_slot(slot):
            self._ready.pop(room.name, None)
            self._no_longer_busy(room)

    # Rooms that move.

    def _moved(self, room: ConsumedRoom) -> None:
        room.has_news = True
        before = room.state
        if room.go("news") == "ready" and before == "idle":
            self._queue(room)

    async def _gone(self, room: ConsumedRoom) -> None:
        if await self._cursors.forget(room) and room.state == "idle":
            self._rooms.forget(room)

    # Figures.

    @property
    def lag(self) -> int:
        """How many messages of this instance's rooms are not handled yet, as far as is known."""
        return self._rooms.lag

    @property
    def rooms(self) -> int:
        """How many rooms this instance has."""
        return len(self._rooms)

    @property
    def slots(self) -> int:
        """How many slots this instance has."""
        return len(self._leases)

    async def _repeat(self, work: Callable[[], Awaitable[None]], interval_s: float) -> None:
        while True:
            try:
                await work()
            except Exception:
                log.exception("consumer %s: what it does again and again has failed", self.name)
            await asyncio.sleep(interval_s)


async def _maybe(waiting: Awaitable[None] | None) -> None:
    if inspect.isawaitable(waiting):
        await waiting
