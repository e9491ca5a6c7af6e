"""Notifications: what is true only now (signals, presence, read marks), told beside the log and never in its way.

Theory of operation
===================

Each kind is a source, which keeps what has changed. A room in which something has changed is told of it at most every
PACE_S; by then only the newest value of each counts, so the cost is bounded by the pace and not by how often things
change. Signals go to the LIVE readers of the room, presence and read marks to those that asked for them (watchers),
256 readers at a time, in slices, with messages going out in between.

A reader whose socket is full is skipped. It loses a signal; a watcher is given everything anew when its socket takes
bytes again.

Polls have no connection to be told on. They bring the version that they know (`live=`), and are answered with what is
newer. A version is this process's own; one of another process, of before a restart, or of before the room was
remembered is as good as none.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Literal, NamedTuple, Protocol

from trunkline.core.batch import Kind, Notification
from trunkline.core.cursor import Reader, Room
from trunkline.core.limits import Tuning
from trunkline.engine.clock import Clock
from trunkline.observe.counters import Counters

log = logging.getLogger("trunkline")

PACE_S = 0.05  # 20 times a second is as often as a person can tell
ROOMS_MAX = 10_000  # with something to tell; a signal into one more is lost, and a poll of it is told everything
LEASE_S = 30.0  # how long a client that polls is believed to come back

Audience = Literal["readers", "watchers"]

_VERSION = re.compile(r"([a-z0-9]{1,16})-([0-9]{1,15})\Z")


class Event(NamedTuple):
    """Something to tell.

    Attributes:
        body: A JSON object.
        origin: A reader that is not told, because it has sent this.
    """

    kind: Kind
    body: bytes
    origin: Reader | None = None


class Source(Protocol):
    """One kind of what is told."""

    audience: Audience

    def has_news(self, room: str) -> bool:
        """Return whether there is something to tell the audience."""

    def flush(self, room: str) -> Sequence[Event]:
        """Return what is to be told now; it counts as told."""

    def expire(self, room: str, now: float) -> None:
        """Let go of what is over. Called about once a second."""

    def is_idle(self, room: str) -> bool:
        """Return whether nothing needs to be kept."""

    def forget(self, room: str) -> None:
        """Keep nothing of an idle room."""


class Subject:
    """A room in which there is something to tell, or there are readers that want to be told.

    Attributes:
        born: The version at which it was made: what happened before is not known.
        version: That of the newest change of any kind.
        readers_version: That of the newest change that goes to all readers.
        polled_until: Until when a client that polls is believed to come back.
        pins: How many callers are about to be told.
        watchers: Readers that asked to be told.
        waiters: Called once each when there is something new, and whether they watch.
    """

    __slots__ = ("born", "pins", "polled_until", "readers_version", "version", "waiters", "watchers")

    def __init__(self, version: int) -> None:
        self.born = self.version = self.readers_version = version
        self.polled_until = 0.0
        self.pins = 0
        self.watchers: set[Reader] = set()
        self.waiters: dict[Callable[[], None], bool] = {}


class Notifier:
    """Tells readers, paced and in slices.

    Args:
        name: This process's, by which versions of another one are recognised.
        find_room: Returns a room if it is open.
    """

    def __init__(
        self,
        name: str,
        find_room: Callable[[str], Room | None],
        tuning: Tuning,
        counters: Counters,
        clock: Clock,
    ) -> None:
        self.name = name
        self._find_room = find_room
        self._tuning = tuning
        self._counters = counters
        self._clock = clock
        self._sources: list[Source] = []
        self._subjects: dict[str, Subject] = {}
        self._changed: dict[str, None] = {}
        self._version = 1  # 0 is what a client knows that comes for the first time
        self._telling: Iterator[None] | None = None
        self._told_at = 0.0
        self._is_scheduled = False

    def register(self, source: Source) -> None:
        """Tell what this source has. To be called once for each kind, before `start`."""
        self._sources.append(source)

    def close(self) -> None:
        """Forget everything."""
        self._subjects.clear()
        self._changed.clear()
        self._telling = None

    # Versions.

    @property
    def version(self) -> str:
        """What a poll that knows everything up to now brings next time."""
        return f"{self.name}-{self._version}"

    @property
    def version_number(self) -> int:
        """The number in `version`."""
        return self._version

    def parse_version(self, text: str) -> int:
        """Return the number of a version that a poll brings; 0 if it is of another process."""
        match = _VERSION.match(text)
        return int(match[2]) if match is not None and match[1] == self.name else 0

    def skip_version(self) -> None:
        """Count a change that nothing here keeps: a poll that comes later has an older version, and reads it."""
        self._version += 1

    # Subjects.

    def find(self, room: str) -> Subject | None:
        """Return a room's subject, if it has one."""
        return self._subjects.get(room)

    def subject(self, room: str) -> Subject:
        """Return a room's subject, made if there is none."""
        subject = self._subjects.get(room)
        if subject is None:
            subject = self._subjects[room] = Subject(self._version)
        return subject

    def subject_if_told(self, room: str) -> Subject | None:
        """Return a room's subject if there is anything that could be told; it is made unless there are too many."""
        subject = self._subjects.get(room)
        if subject is None and self._find_room(room) is not None:
            return self.subject_if_space(room)
        return subject

    def subject_if_space(self, room: str) -> Subject | None:
        """Return a room's subject, made unless there are ROOMS_MAX."""
        if room in self._subjects or len(self._subjects) < ROOMS_MAX:
            return self.subject(room)
        return None

    def changed(self, room: str, *, for_readers: bool = False) -> int:
        """Tell of a change soon; return its version.

        Args:
            for_readers: All readers are told, not only watchers.
        """
        subject = self.subject(room)
        self._version += 1
        subject.version = self._version
        if for_readers:
            subject.readers_version = self._version
        self._changed[room] = None
        if not self._is_scheduled:
            self._is_scheduled = True
            loop = asyncio.get_running_loop()
            delay_s = self._told_at + PACE_S - self._clock.monotonic()
            loop.call_later(max(0.0, delay_s), self._tell)
        return self._version

    def newest_version(self, room: str, *, watch: bool) -> int:
        """Return the number of the newest change of a room, for those who watch or for all readers."""
        subject = self._subjects.get(room)
        if subject is None:
            return 0
        return subject.version if watch else subject.readers_version

    def unwatch(self, room: str, watcher: Reader) -> None:
        """Tell a watcher no more. Harmless if it was not told."""
        subject = self._subjects.get(room)
        if subject is not None:
            subject.watchers.discard(watcher)

    def expire(self) -> None:
        """Let go of what is over, and forget rooms in which there is nothing to tell. To be called each second."""
        now = self._clock.monotonic()
        for name, subject in list(self._subjects.items()):
            for source in self._sources:
                source.expire(name, now)
            if (
                now >= subject.polled_until
                and not (subject.watchers or subject.waiters or subject.pins)
                and all(source.is_idle(name) for source in self._sources)
            ):
                del self._subjects[name]
                for source in self._sources:
                    source.forget(name)

    # Telling.

    def _tell(self) -> None:
        """Write a slice of what is to be told; then the event loop has its turn."""
        loop, clock = asyncio.get_running_loop(), self._clock.monotonic
        if self._telling is None:
            self._told_at = clock()
            changed, self._changed = self._changed, {}
            self._telling = self._tell_all(list(changed))
        end = clock() + self._tuning.slice_s
        for _ in self._telling:
            if clock() > end:
                loop.call_soon(self._tell)
                return
        self._telling = None
        self._is_scheduled = bool(self._changed)
        if self._is_scheduled:
            loop.call_later(max(0.0, self._told_at + PACE_S - clock()), self._tell)

    def _tell_all(self, names: list[str]) -> Iterator[None]:
        for name in names:
            subject = self._subjects.get(name)
            if subject is None:
                continue
            for_readers = [source for source in self._sources if source.audience == "readers"]
            for_watchers = [source for source in self._sources if source.audience == "watchers"]
            is_for_all = any(source.has_news(name) for source in for_readers)
            waiters, subject.waiters = subject.waiters, {}
            for wake, watches in waiters.items():
                if watches or is_for_all:
                    wake()
                else:
                    subject.waiters[wake] = watches
            yield
            yield from self._tell_readers(name, [event for source in for_readers for event in source.flush(name)])
            if self._subjects.get(name) is subject:  # else it was forgotten meanwhile; news of another are told next
                yield from self._tell_watchers(
                    name, subject, [event for source in for_watchers for event in source.flush(name)]
                )

    def _tell_readers(self, name: str, events: list[Event]) -> Iterator[None]:
        room = self._find_room(name)
        if not events or room is None:
            return
        origins = {event.origin for event in events}
        everything = _notification(events)
        for cohort in list(room.cohorts):
            told = 0
            for reader in [cursor.reader for cursor in cohort.cursors]:
                if reader in origins:
                    others = [event for event in events if event.origin is not reader]
                    if others:
                        told += _notify(name, reader, _notification(others))
                else:
                    told += _notify(name, reader, everything)
            self._counters.notified += told
            yield

    def _tell_watchers(self, name: str, subject: Subject, events: list[Event]) -> Iterator[None]:
        if not events:
            return
        notification = _notification(events)
        watchers, size = list(subject.watchers), self._tuning.cohort_max
        for at in range(0, len(watchers), size):
            some = [watcher for watcher in watchers[at : at + size] if watcher in subject.watchers]
            self._counters.notified += sum(_notify(name, watcher, notification) for watcher in some)
            yield


def _notification(events: list[Event]) -> Notification:
    return Notification([(event.kind, event.body) for event in events])


def _notify(room: str, reader: Reader, notification: Notification) -> bool:
    if reader.full:
        reader.notification_skipped(room)
        return False
    try:
        reader.notify(notification)
    except Exception:
        log.exception("a reader could not be told")
    return True
