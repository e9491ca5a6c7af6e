"""One reader's place in one room.

Theory of operation
===================

A cursor is LIVE or it is behind; behind comes in three kinds, by what it waits for:

    LIVE      in a cohort: it gets every batch as the room moves
    QUEUED    behind, and waiting for its turn to be given the next piece
    READING   behind the room's tail: the store was asked for the next piece
    STALLED   behind, and its socket is full: nothing happens until it drains
    GONE      the reader left

Every change is a row of TRANSITIONS; what is not a row cannot happen. A cursor that falls out of retention (LOST in
the protocol's words) is no state of its own: it is told with a gap in the step that finds it, and goes on QUEUED.

The offset of a LIVE cursor is its cohort's: moving a cohort moves all of them with one assignment.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from trunkline.core.fanout import Batch
    from trunkline.core.notice import Notice
    from trunkline.core.position import Gap
    from trunkline.core.room import Cohort, Room


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
    DRAINED = "its socket takes bytes again"
    FETCHED = "the store answered"
    LEFT = "the reader left"


TRANSITIONS = {
    (State.QUEUED, Event.CAUGHT_UP): State.LIVE,
    (State.QUEUED, Event.FULL): State.STALLED,
    (State.QUEUED, Event.OVERTAKEN): State.READING,
    (State.LIVE, Event.FULL): State.STALLED,
    (State.LIVE, Event.OVERTAKEN): State.QUEUED,
    (State.READING, Event.FETCHED): State.QUEUED,
    (State.STALLED, Event.DRAINED): State.QUEUED,
    **{(state, Event.LEFT): State.GONE for state in State},
}


class Reader(Protocol):
    """What fan-out needs of a connection. None of the methods may block, raise or call back into fan-out."""

    full: bool
    """True while the socket takes no more. A full reader is given nothing."""

    @property
    def messages_max(self) -> int:
        """The most that one delivery may hold."""

    def deliver(self, cursor: Cursor, batch: Batch) -> None:
        """Send the batch's messages, in order."""

    def lose(self, cursor: Cursor, gap: Gap) -> None:
        """Send the gap."""

    def turn(self, cursor: Cursor) -> None:
        """The log goes on under another epoch; the reader has lost nothing."""

    def miss(self, room: str) -> None:
        """A notice of this room was not sent because the socket was full."""

    def notify(self, notice: Notice) -> None:
        """Send a notice."""


class Cursor:
    """A reader's place. Made by the hub when a reader joins, moved by fan-out only."""

    __slots__ = ("_offset", "cohort", "epoch", "fresh", "reader", "room", "state")

    def __init__(self, reader: Reader, room: Room, offset: int) -> None:
        self.reader = reader
        self.room = room
        self.epoch = room.epoch  # in which the reader's offset counts
        self.state = State.QUEUED
        # True until the first delivery of a reader that asked for "the earliest" or "the last K": if retention moves
        # that on meanwhile, it has lost nothing that it asked for.
        self.fresh = False
        self.cohort: Cohort | None = None
        self._offset = offset

    @property
    def offset(self) -> int:
        """The offset of the last message that the reader was given."""
        return self._offset if self.cohort is None else self.cohort.offset

    @offset.setter
    def offset(self, offset: int) -> None:
        self._offset = offset

    def apply(self, event: Event) -> None:
        """Move along a row of TRANSITIONS."""
        self.state = TRANSITIONS[self.state, event]

    def __repr__(self) -> str:
        return f"<Cursor {self.room.name} at {self.offset}, {self.state.value}>"
