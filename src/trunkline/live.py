"""What is true only now: who is there, who is typing, how far everybody has seen. Beside the log, never in its way.

Theory of operation
===================

A room has a `_RoomLive` as long as there is something to know. Whatever changes in it goes out together, at most every
PACE_S: signals to the LIVE readers of the room, presence and marks to those who asked for them (watchers). By then
only the newest of each counts, so the cost is bounded by the pace and not by how often things change. It is written
to 256 readers at a time, in slices, with messages going out in between.

Who is full is skipped. A signal is lost to them; a watcher is given everything anew when its socket drains.

Polls have no connection to be told on. They bring the version that they know (`live=`), and get what is newer: the
signals of the last seconds, the marks that moved, and, if it has changed, everybody who is there. A version is this
hub's own; one of another hub, of before a restart, or of before the room was remembered is as good as none.

The other nodes of the log (`nodes.py`) are told of the same things at the same pace, and tell of theirs.
"""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence

import msgspec

from trunkline.core.cursor import Reader
from trunkline.core.limits import Tuning
from trunkline.core.mark import MARKS_TOLD_MAX, Mark, Unread, unread
from trunkline.core.notice import Kind, Notice
from trunkline.core.peers import Away, Change
from trunkline.core.presence import TOLD_MAX, Member, Presence
from trunkline.core.room import Room
from trunkline.core.signal import Newest, Signal, Signals
from trunkline.errors import Overloaded, StoreUnavailable, TrunklineError
from trunkline.nodes import Nodes
from trunkline.stores import Store
from trunkline.wire import envelope
from trunkline.wire.poll import LivePage

log = logging.getLogger("trunkline")

PACE_S = 0.05  # 20 times a second is as often as a person can tell
ROOMS_MAX = 10_000  # with something to know; a signal into one more is lost, and a poll of it is told everything
MARKS_WAITING_MAX = 10_000
LEASE_S = 30.0  # how long somebody who polls is there after their last poll

PresenceHook = Callable[[str, str, bool], Awaitable[None] | None]

_VERSION = re.compile(r"([a-z0-9]{1,16})-([0-9]{1,15})\Z")


class _RoomLive:
    """What is known of one room."""

    __slots__ = (
        "born", "fresh", "kept_signals", "lost", "marks", "moved", "pins", "polled_until", "presence", "presence_at",
        "signalled", "signals", "waiters", "watchers",
    )  # fmt: skip

    def __init__(self, version: int, *, alone: bool) -> None:
        self.born = version  # what happened before is not known here
        self.presence = Presence(alone=alone)
        self.lost: set[str] = set()  # members of nodes that have ended
        self.presence_at = version  # the version at which it changed last
        self.signalled = version  # that of the newest signal
        self.polled_until = 0.0  # whoever polls is believed to come back until then
        self.kept_signals = Signals()
        self.signals: Newest[tuple[Signal, Reader | None]] = Newest()  # not sent yet
        self.fresh: dict[str, Mark] = {}  # not told yet
        self.marks: dict[str, tuple[int, Mark]] = {}  # by member, with their versions, for polls
        self.pins = 0  # somebody is about to be told
        self.moved = version  # the newest version of anything here
        self.watchers: set[Reader] = set()
        self.waiters: dict[Callable[[], None], bool] = {}  # polls, and whether they watch

    @property
    def idle(self) -> bool:
        return not (
            len(self.presence) or self.presence.changed or self.presence.untold or self.kept_signals or self.signals
            or self.fresh or self.watchers or self.waiters or self.pins
        )  # fmt: skip


class Live:
    """What is true now in all rooms of one hub.

    Args:
        room: Finds a room that is open.

    Attributes:
        name: The hub's, so that versions of another one are recognised.
        nodes: The others of the same log, if there are any.
    """

    def __init__(
        self, name: str, store: Store, room: Callable[[str], Room | None], grace_s: float, tuning: Tuning
    ) -> None:
        self.nodes: Nodes | None = None
        self.name = name
        self._store = store
        self._room = room
        self._grace_s = grace_s
        self._tuning = tuning
        self._rooms: dict[str, _RoomLive] = {}
        self._dirty: dict[str, None] = {}
        self._version = 0
        self._spread: Iterator[None] | None = None
        self._told_at = 0.0
        self._scheduled = False
        self._marking = False
        self._marks: list[tuple[Mark, asyncio.Future[None]]] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self.on_presence: PresenceHook | None = None
        self.notified = 0

    @property
    def version(self) -> str:
        """What a poll that knows everything up to now brings next time."""
        return f"{self.name}-{self._version}"

    def parse_version(self, text: str) -> int:
        """The version that a poll knows; 0 if it knows nothing of this hub."""
        match = _VERSION.match(text)
        return int(match[2]) if match is not None and match[1] == self.name else 0

    # Signals.

    def signal(
        self,
        room: str,
        name: str,
        sender: str | None,
        member: str,
        json: bytes,
        origin: Reader | None = None,
        client: str = "",
    ) -> None:
        """Somebody signals something; *origin*, their own connection, is not told, nor another one of *client*."""
        signal = Signal(room, name, sender, member, now_ms(), msgspec.Raw(json))
        self.signalled(signal, origin)
        if self.nodes is not None:
            self.nodes.signalled(signal, client)

    def signalled(self, signal: Signal, origin: Reader | None) -> None:
        """The same, by whichever node."""
        room = signal.room
        live = self._rooms.get(room)
        if live is None:
            if self._room(room) is None or len(self._rooms) >= ROOMS_MAX:
                return  # nobody is there to be told
            live = self._of(room)
        live.signals.put(signal, (signal, origin))
        live.signalled = self._move(room, live)
        now = time.monotonic()
        if now < live.polled_until:
            live.kept_signals.put(signal, live.signalled, now)

    # Presence.

    def arrive(self, room: str, member: str, client: str, data: bytes) -> None:
        """One more connection of a member, by one of their clients.

        Raises:
            RequestError: `too_many_members`.
        """
        live = self._of(room)
        live.presence.arrive(member, data, now_ms(), client)
        live.lost.discard(member)
        self._presence_changed(room, live)

    def depart(
        self, room: str, member: str, client: str, *, at_once: bool = False, grace_s: float | None = None
    ) -> None:
        """One connection less. After the last one, the others are told when the grace is over, or at once."""
        live = self._rooms.get(room)
        if live is not None:
            until = None if at_once else time.monotonic() + (self._grace_s if grace_s is None else grace_s)
            live.presence.depart(member, until, client)
            self._presence_changed(room, live)

    def leave(self, room: str, member: str, client: str) -> None:
        """A client that polled does so no longer."""
        self.away(room, member, client)
        if self.nodes is not None:
            self.nodes.say(Away, room=room, member=member, client=client)

    def away(self, room: str, member: str, client: str) -> None:
        """The same, whichever node was told so."""
        live = self._rooms.get(room)
        if live is not None:
            live.presence.leave(member, client)
            self._presence_changed(room, live)

    def elsewhere(self, room: str, clients: Iterable[tuple[str, str, int]]) -> None:
        """Clients have come to another node: nobody waits for them here."""
        live = self._rooms.get(room)
        if live is not None:
            for member, client, at in clients:
                live.presence.elsewhere(member, client, at)
            self._presence_changed(room, live)

    def changed(self, change: Change, until: float | None) -> None:
        """Who is there through another node. Who is gone may come back by another one until then."""
        live = self._rooms.get(change.room)
        if live is None:
            if not change.here:
                return
            live = self._of(change.room)
        for member in change.here:
            live.presence.hold(member, change.node)
            live.lost.discard(member.member)
        for name in change.gone:
            live.presence.release(name, until, change.node)
        if until is not None:
            live.lost.update(change.gone)
        self._presence_changed(change.room, live)

    def own(self) -> Iterator[tuple[str, list[Member]]]:
        """Everybody who is there through this node, by room."""
        for room, live in list(self._rooms.items()):
            members = live.presence.own()
            if members:
                yield room, members

    def own_of(self, room: str) -> list[Member]:
        """Everybody who is in this room through this node."""
        live = self._rooms.get(room)
        return [] if live is None else live.presence.own()

    def members(self, room: str) -> tuple[int, list[Member]]:
        """How many are there, and the first of them."""
        live = self._rooms.get(room)
        return (0, []) if live is None else (len(live.presence), live.presence.members())

    def watch(self, room: str, watcher: Reader) -> None:
        """Tell it from now on; `snapshot` is what was before."""
        self._of(room).watchers.add(watcher)

    def unwatch(self, room: str, watcher: Reader) -> None:
        """Tell it no more."""
        live = self._rooms.get(room)
        if live is not None:
            live.watchers.discard(watcher)

    async def snapshot(self, room: str) -> Notice:
        """Who is there, and how far they have seen. Whoever is told of the room from now on misses nothing."""
        live, version = self._of(room), self._version
        live.pins += 1
        try:
            marks = await self.seen(room)
        finally:
            live.pins -= 1
        marks += [mark for number, mark in live.marks.values() if number > version]
        count, members = self.members(room)
        events: list[tuple[Kind, bytes]] = [("presence", envelope.members_body(room, count, members))]
        if marks:
            events.append(("seen", envelope.seen_body(room, marks)))
        return Notice(events)

    # Read cursors.

    async def mark(self, room: str, member: str, offset: int) -> None:
        """A member has seen the room up to *offset*; returns once that is stored.

        Raises:
            StoreUnavailable, Overloaded: It is not.
        """
        if len(self._marks) >= MARKS_WAITING_MAX:
            raise Overloaded("too many read cursors wait to be stored; say it again")
        stored: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._marks.append((Mark(room, member, offset, now_ms()), stored))
        if not self._marking:
            self._marking = True
            self._spawn(self._mark_all())
        await stored

    async def _mark_all(self) -> None:
        try:
            while self._marks:
                batch, self._marks = self._marks, []
                try:
                    await self._store.mark([mark for mark, _ in batch])
                except Exception as error:  # noqa: BLE001 - whoever waits gets the answer
                    if not isinstance(error, TrunklineError):
                        error = StoreUnavailable(f"the log failed: {error}")
                    for _, stored in batch:
                        if not stored.done():
                            stored.set_exception(error)
                else:
                    marks = [mark for mark, _ in batch]
                    self.marked(marks)
                    if self.nodes is not None:
                        self.nodes.marked(marks)
                    for _, stored in batch:
                        if not stored.done():
                            stored.set_result(None)
        finally:
            self._marking = False

    def marked(self, marks: Iterable[Mark]) -> None:
        """These are stored, by whichever node."""
        for mark in marks:
            self._marked(mark)

    def _marked(self, mark: Mark) -> None:
        live = self._rooms.get(mark.room)
        if live is None:
            self._version += 1  # nobody wants to know; whoever polls later has an older version, and reads it
            return
        known = live.marks.get(mark.member)
        if known is None or known[1].offset < mark.offset:
            live.marks.pop(mark.member, None)
            if len(live.marks) >= MARKS_TOLD_MAX:
                del live.marks[next(iter(live.marks))]
            live.marks[mark.member] = (self._move(mark.room, live), mark)
            live.fresh[mark.member] = mark

    async def seen(self, room: str) -> list[Mark]:
        """How far the members of a room have seen it, the newest marks first.

        Raises:
            StoreUnavailable: The log could not be read.
        """
        return await self._store.marks(room, MARKS_TOLD_MAX)

    async def unread(self, member: str, rooms: Sequence[str]) -> list[Unread]:
        """What a member has not seen of these rooms.

        Raises:
            StoreUnavailable: The log could not be read.
        """
        seen = await self._store.marks_of(member, rooms)
        counts = []
        for name in rooms:
            room = None if self._store.shared else self._room(name)
            first, head = (room.first, room.head) if room is not None else (await self._store.head(name))[1:3]
            counts.append(unread(name, first, head, seen.get(name, 0)))
        return counts

    # Polls.

    async def page(self, room: str, version: int, *, watch: bool) -> LivePage:
        """What a poll is told that knows everything up to *version*."""
        live = self._rooms.get(room)
        if live is None and len(self._rooms) < ROOMS_MAX:
            live = self._of(room)
        if live is None:
            return LivePage([], self.members(room), await self.seen(room)) if watch else LivePage([], None, [])
        live.polled_until = time.monotonic() + LEASE_S
        new = version < max(1, live.born)
        signals = [] if new else live.kept_signals.since(version)
        if not watch:
            return LivePage(signals, None, [])
        if new:
            return LivePage(signals, self.members(room), await self.seen(room))
        marks = [mark for number, mark in live.marks.values() if number > version]
        return LivePage(signals, self.members(room) if live.presence_at > version else None, marks)

    def waiters(self, room: str) -> dict[Callable[[], None], bool]:
        """Called once each when something is new in the room: of presence and marks only those that watch.

        Take out again what was not called.
        """
        return self._of(room).waiters

    def moved(self, room: str, *, watch: bool) -> int:
        """The version of what is newest in the room for somebody who watches, or does not."""
        live = self._rooms.get(room)
        if live is None:
            return 0
        return live.moved if watch else live.signalled

    # Telling.

    def second(self) -> None:
        """Called about once a second: whose grace is over is gone, what nobody needs is forgotten."""
        now = time.monotonic()
        for name, live in list(self._rooms.items()):
            live.kept_signals.expire(now)
            live.presence.expire(now)
            if live.presence.changed or live.presence.untold:
                self._presence_changed(name, live)
            elif live.idle and now >= live.polled_until:
                del self._rooms[name]

    async def close(self) -> None:
        """Finish what is being stored."""
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._rooms.clear()
        self._dirty.clear()
        self._spread = None

    def _of(self, room: str) -> _RoomLive:
        live = self._rooms.get(room)
        if live is None:
            live = self._rooms[room] = _RoomLive(self._version, alone=self.nodes is None)
        return live

    def _move(self, room: str, live: _RoomLive) -> int:
        self._version += 1
        live.moved = self._version
        self._dirty[room] = None
        if not self._scheduled:
            self._scheduled = True
            loop = asyncio.get_running_loop()
            loop.call_at(max(loop.time(), self._told_at + PACE_S), self._tell)
        return self._version

    def _presence_changed(self, room: str, live: _RoomLive) -> None:
        if live.presence.changed:
            live.presence_at = self._move(room, live)
        elif live.presence.untold:
            self._move(room, live)

    def _tell(self) -> None:
        """Write a slice of what is to be told; then the event loop has its turn."""
        loop = asyncio.get_running_loop()
        if self._spread is None:
            self._told_at = loop.time()
            dirty, self._dirty = self._dirty, {}
            self._spread = self._spread_all(list(dirty))
        end = loop.time() + self._tuning.slice_s
        for _ in self._spread:
            if loop.time() > end:
                loop.call_soon(self._tell)
                return
        self._spread = None
        self._scheduled = bool(self._dirty)
        if self._scheduled:
            loop.call_at(self._told_at + PACE_S, self._tell)

    def _spread_all(self, names: list[str]) -> Iterator[None]:
        for name in names:
            live = self._rooms.get(name)
            if live is None:
                continue
            waiters, live.waiters = live.waiters, {}
            for wake, watches in waiters.items():
                if watches or live.signals:
                    wake()
                else:
                    live.waiters[wake] = watches
            yield
            yield from self._spread_signals(name, live)
            yield from self._spread_presence(name, live)

    def _spread_signals(self, name: str, live: _RoomLive) -> Iterator[None]:
        signals, live.signals = live.signals, Newest()
        room = self._room(name)
        if not signals or room is None:
            return
        origins = {origin for _, origin in signals}
        everything = _signals(signal for signal, _ in signals)
        for cohort in list(room.cohorts):
            for reader in [cursor.reader for cursor in cohort.cursors]:
                if reader in origins:
                    others = [signal for signal, origin in signals if origin is not reader]
                    if others:
                        self._notify(name, reader, _signals(others))
                else:
                    self._notify(name, reader, everything)
            yield

    def _spread_presence(self, name: str, live: _RoomLive) -> Iterator[None]:
        own = live.presence.take_own()
        if self.nodes is not None and any(own):
            self.nodes.present(name, own)
        changes, fresh, live.fresh = live.presence.take_changes(), live.fresh, {}
        events: list[tuple[Kind, bytes]] = []
        count = len(live.presence)
        if len(changes.joined) + len(changes.left) > TOLD_MAX:
            events.append(("presence", envelope.members_body(name, count, live.presence.members())))
        elif changes.joined or changes.left:
            events.append(("presence", envelope.changes_body(name, count, changes.joined, changes.left)))
        if fresh:
            events.append(("seen", envelope.seen_body(name, list(fresh.values()))))
        if self.on_presence is not None:
            for member in changes.new:
                if live.presence.is_own(member.member):  # each node tells its application of its own
                    self._call_hook(name, member.member, came=True)
            for gone in changes.left:
                orphan = gone in live.lost and self.nodes is not None and self.nodes.eldest
                if self.nodes is None or gone in own.gone or orphan:
                    self._call_hook(name, gone, came=False)
        live.lost.difference_update(changes.left)
        if not events:
            return
        notice = Notice(events)
        for n, watcher in enumerate(list(live.watchers)):
            if watcher in live.watchers:
                self._notify(name, watcher, notice)
            if n % self._tuning.cohort_max == 0:
                yield

    def _notify(self, room: str, watcher: Reader, notice: Notice) -> None:
        if watcher.full:
            watcher.miss(room)
            return
        self.notified += 1
        try:
            watcher.notify(notice)
        except Exception:
            log.exception("a reader could not be told")

    def _call_hook(self, room: str, member: str, *, came: bool) -> None:
        assert self.on_presence is not None
        try:
            answer = self.on_presence(room, member, came)
        except Exception:
            log.exception("the application's on_presence failed")
            return
        if answer is not None:
            self._spawn(_finish(answer))

    def _spawn(self, work: Awaitable[None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def now_ms() -> int:
    """Milliseconds since 1970 UTC."""
    return time.time_ns() // 1_000_000


async def _finish(answer: Awaitable[None]) -> None:
    try:
        await answer
    except Exception:
        log.exception("the application's on_presence failed")


def _signals(signals: Iterable[Signal]) -> Notice:
    return Notice([("signal", envelope.signal_body(signal)) for signal in signals])
