"""Where readers stand: a cursor is one reader's place in one room.

Theory of operation
===================

A cursor is LIVE or it is behind; behind comes in three kinds, by what it waits for:

    LIVE      in a cohort: it gets every batch as the room moves
    QUEUED    behind, and waiting to be given the next piece
    READING   behind the room's tail: the store was asked for the next piece
    STALLED   behind, and its socket is full: nothing happens until the socket takes bytes again
    GONE      the reader left

Every change is a row of TRANSITIONS; what is not a row cannot happen. A cursor that falls out of retention is no state
of its own: the step that finds it tells the reader of a gap, and the cursor goes on QUEUED.

LIVE cursors stand in cohorts of at most `cohort_max`. All cursors of a cohort are at the same offset, so one encoded
batch serves them all, moving the cohort moves all of them with one assignment, and a cohort is the unit of a fan-out
step: a room of 15,000 readers is written to in 235 steps, with other rooms' steps in between. Cohorts of one room may
be at different offsets while a fan-out is under way; the busier the server, the more messages have gathered before a
cohort is written to, and the larger (and cheaper per message) its batch. That is all the batching there is: no message
waits for a timer.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import Protocol

from trunkline.core.batch import Batch, Notification
from trunkline.core.position import Gap, Lineage
from trunkline.core.tail import Tail


class State(Enum):
    LIVE = "live"
    QUEUED = "queued"
    READING = "reading"
    STALLED = "stalled"
    GONE = "gone"


class Event(Enum):
    CAUGHT_UP = "it has all there is"
    OVERTAKEN = "the room's tail no longer holds what it needs next"
    FULL = "its socket takes no more"
    WRITABLE = "its socket takes bytes again"
    FETCHED = "the store answered"
    LEFT = "the reader left"


TRANSITIONS = {
    (State.QUEUED, Event.CAUGHT_UP): State.LIVE,
    (State.QUEUED, Event.FULL): State.STALLED,
    (State.QUEUED, Event.OVERTAKEN): State.READING,
    (State.LIVE, Event.FULL): State.STALLED,
    (State.LIVE, Event.OVERTAKEN): State.QUEUED,
    (State.READING, Event.FETCHED): State.QUEUED,
    (State.STALLED, Event.WRITABLE): State.QUEUED,
    **{(state, Event.LEFT): State.GONE for state in State},
}


class Reader(Protocol):
    """What fan-out needs of a connection. None of the methods may block, raise or call back into fan-out."""

    full: bool
    """True while the socket takes no more. A full reader is given nothing."""

    @property
    def transport(self) -> str:
        """Under which name its deliveries are counted."""

    @property
    def messages_max(self) -> int:
        """The most messages that one delivery may hold."""

    def deliver(self, cursor: Cursor, batch: Batch) -> None:
        """Send the batch's messages, in order."""

    def gap(self, cursor: Cursor, gap: Gap) -> None:
        """Send the gap."""

    def epoch_changed(self, cursor: Cursor) -> None:
        """Tell the reader that the log goes on under another epoch, if its protocol needs it; nothing is lost."""

    def notification_skipped(self, room: str) -> None:
        """Remember that a notification of this room was not sent because the socket was full."""

    def notify(self, notification: Notification) -> None:
        """Send a notification."""


class Cursor:
    """A reader's place. Made when a reader joins a room, moved by fan-out only.

    Attributes:
        epoch: The epoch in which the reader's offset counts.
        is_fresh: True until the first delivery to a reader that asked for the earliest or the last messages: if
            retention trims some of them meanwhile, the reader has lost nothing that it asked for.
    """

    __slots__ = ("_begin", "_offset", "cohort", "epoch", "is_fresh", "reader", "room", "state")

    def __init__(self, reader: Reader, room: Room, offset: int) -> None:
        self.reader = reader
        self.room = room
        self.epoch = room.epoch
        self.state = State.QUEUED
        self.is_fresh = False
        self.cohort: Cohort | None = None
        self._offset = offset
        self._begin = offset  # moved by what the reader was not given

    @property
    def offset(self) -> int:
        """The offset of the last message that the reader was given."""
        return self._offset if self.cohort is None else self.cohort.offset

    @offset.setter
    def offset(self, offset: int) -> None:
        self._offset = offset

    @property
    def lag(self) -> int:
        """How many of the room's messages the reader was not given yet."""
        return max(0, self.room.head - self.offset)

    @property
    def given(self) -> int:
        """How many messages the reader was given."""
        return self.offset - self._begin

    def skip_to(self, offset: int) -> None:
        """Go on behind *offset*, without having been given what is before it."""
        self._begin += offset - self.offset
        self.offset = offset

    def apply(self, event: Event) -> None:
        """Move along a row of TRANSITIONS."""
        self.state = TRANSITIONS[self.state, event]

    def __repr__(self) -> str:
        return f"<Cursor {self.room.name} at {self.offset}, {self.state.value}>"


class Cohort:
    """Up to `cohort_max` LIVE cursors at one offset.

    Attributes:
        transports: How many of their readers there are of each transport.
        transport: Their transport, if all have the same one.
    """

    __slots__ = ("cursors", "offset", "transport", "transports")

    def __init__(self, offset: int) -> None:
        self.offset = offset
        self.cursors: set[Cursor] = set()
        self.transports: dict[str, int] = {}
        self.transport: str | None = None

    def count(self, cursor: Cursor, change: int) -> None:
        """Count a cursor that comes (1) or goes (-1)."""
        transport = cursor.reader.transport
        self.transports[transport] = self.transports.get(transport, 0) + change
        if not self.transports[transport]:
            del self.transports[transport]
        self.transport = next(iter(self.transports)) if len(self.transports) == 1 else None

    def take_in(self, other: Cohort) -> None:
        """Take the cursors of another cohort at the same offset."""
        for cursor in other.cursors:
            cursor.cohort = self
            self.count(cursor, 1)
        self.cursors |= other.cursors


class Room(Tail):
    """A room that is open: its tail, and the cohorts of those who read it.

    Attributes:
        readers: How many cursors there are, LIVE or not.
        pins: How many callers are about to read; such a room is not closed.
        waiters: Called once each when the room moves.
        is_scheduled: Whether the room is in fan-out's work queue.
    """

    __slots__ = ("_filling", "_next_cohort", "cohorts", "is_scheduled", "pins", "readers", "waiters")

    def __init__(self, name: str, epoch: str, first: int, head: int, lineage: Lineage = ()) -> None:
        super().__init__(name, epoch, first, head, lineage)
        self.cohorts: list[Cohort] = []
        self._filling: Cohort | None = None  # the next LIVE cursor is put there, if its offset fits
        self._next_cohort = 0  # index of the cohort that is looked at next
        self.readers = 0
        self.pins = 0
        self.waiters: set[Callable[[], None]] = set()
        self.is_scheduled = False

    @property
    def is_idle(self) -> bool:
        """Whether nothing reads or waits, so that the room can be closed and opened again."""
        return not (self.readers or self.waiters or self.is_scheduled or self.pins)

    def slowest(self) -> int | None:
        """Return the smallest offset of a cohort; None if there is no LIVE cursor."""
        return min([cohort.offset for cohort in self.cohorts], default=None)

    def wake(self) -> None:
        """Call the waiters, each once."""
        if self.waiters:
            waiters, self.waiters = self.waiters, set()
            for wake in waiters:
                wake()

    def place(self, cursor: Cursor, offset: int, cohort_max: int) -> None:
        """Put a LIVE cursor into a cohort at *offset*."""
        cohort = self._filling
        if cohort is None or cohort.offset != offset or len(cohort.cursors) >= cohort_max:
            cohort = next((c for c in self.cohorts if c.offset == offset and len(c.cursors) < cohort_max), None)
            if cohort is None:
                cohort = Cohort(offset)
                self.cohorts.append(cohort)
            self._filling = cohort
        cohort.cursors.add(cursor)
        cohort.count(cursor, 1)
        cursor.cohort = cohort

    def displace(self, cursor: Cursor) -> None:
        """Take a cursor out of its cohort; its offset stays the same."""
        cohort = cursor.cohort
        if cohort is not None:
            cursor.cohort = None
            cursor.offset = cohort.offset
            cohort.cursors.discard(cursor)
            cohort.count(cursor, -1)
            if not cohort.cursors:
                self.drop(cohort)

    def drop(self, cohort: Cohort) -> None:
        """Forget an empty cohort."""
        self.cohorts.remove(cohort)
        if self._filling is cohort:
            self._filling = None

    def has_behind(self) -> bool:
        """Return whether a cohort lacks messages."""
        return self._behind() is not None

    def next_behind(self) -> Cohort | None:
        """Return the next cohort that lacks messages, round robin; None if there is none."""
        index = self._behind()
        if index is None:
            return None
        self._next_cohort = (index + 1) % len(self.cohorts)
        return self.cohorts[index]

    def _behind(self) -> int | None:
        cohorts, begin, count = self.cohorts, self._next_cohort, len(self.cohorts)
        for step in range(count):
            index = (begin + step) % count
            if cohorts[index].offset < self.head:
                return index
        return None
