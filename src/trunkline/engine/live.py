"""What is true now, as it is told at once: to a watcher that begins, and to a client that polls."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from trunkline.core.batch import Kind, Notification
from trunkline.core.presence_options import PresenceOptions
from trunkline.engine.clock import Clock
from trunkline.engine.notifier import LEASE_S, Notifier
from trunkline.engine.presence import PresenceService
from trunkline.engine.read_marks import ReadMarkService
from trunkline.engine.signals import SignalService
from trunkline.wire import envelope
from trunkline.wire.poll import LivePage


class LiveState:
    """Signals, presence and read marks together."""

    def __init__(
        self,
        notifier: Notifier,
        signals: SignalService,
        presence: PresenceService,
        read_marks: ReadMarkService,
        clock: Clock,
    ) -> None:
        self.notifier = notifier
        self._signals = signals
        self._presence = presence
        self._read_marks = read_marks
        self._clock = clock

    async def snapshot(self, room: str) -> Notification:
        """Return the members and the read marks of a room. A reader that watches the room from when this returns on
        misses nothing.

        Raises:
            StoreUnavailable: The log could not be read.
        """
        subject, version = self.notifier.subject(room), self.notifier.version_number
        subject.pins += 1
        try:
            marks = await self._read_marks.of_room(room)
        finally:
            subject.pins -= 1
        marks += self._read_marks.since(room, version)
        count, members = self._presence.members(room)
        events: list[tuple[Kind, bytes]] = [("presence", envelope.members_body(room, count, members))]
        if marks:
            events.append(("seen", envelope.seen_body(room, marks)))
        return Notification(events)

    async def page(self, room: str, version: int, *, watch: bool) -> LivePage:
        """Return what a poll is told that knows everything up to *version*.

        Raises:
            StoreUnavailable: The log could not be read.
        """
        subject = self.notifier.subject_if_space(room)
        if subject is None:
            if not watch:
                return LivePage([], None, [])
            return LivePage([], self._presence.members(room), await self._read_marks.of_room(room))
        subject.polled_until = self._clock.monotonic() + LEASE_S
        knows_nothing = version < max(1, subject.born)
        signals = [] if knows_nothing else self._signals.since(room, version)
        if not watch:
            return LivePage(signals, None, [])
        if knows_nothing:
            return LivePage(signals, self._presence.members(room), await self._read_marks.of_room(room))
        return LivePage(signals, self._presence.members_since(room, version), self._read_marks.since(room, version))


class LiveWatch:
    """What one poll waits for beside messages (`long_poll.Watch`).

    Args:
        version: What the poll knows (`Notifier.parse_version`).
        options: Which rooms it watches.
    """

    def __init__(self, notifier: Notifier, rooms: Sequence[str], version: int, options: PresenceOptions) -> None:
        self._notifier = notifier
        self._version = version
        self._watched = {room: options.for_room(room).watch for room in rooms}

    def has_news(self) -> bool:
        return self._version == 0 or any(
            self._notifier.newest_version(room, watch=watch) > self._version for room, watch in self._watched.items()
        )

    def add_waiter(self, wake: Callable[[], None]) -> None:
        for room, watch in self._watched.items():
            self._notifier.subject(room).waiters[wake] = watch

    def remove_waiter(self, wake: Callable[[], None]) -> None:
        for room in self._watched:
            self._notifier.subject(room).waiters.pop(wake, None)
