"""A room as this worker sees it: where the log stands, its newest messages, and who reads.

LIVE readers stand in cohorts of at most `cohort_max`. All readers of a cohort are at the same offset, so one encoded
batch serves them all, and a cohort is the unit of a fan-out step: a room of 15,000 readers is written to in 59 steps,
with other rooms' steps in between. Cohorts of one room may be at different offsets while a fan-out is under way; the
busier the server, the more messages have gathered by the time a cohort's turn comes, and the larger (and cheaper per
message) its batch. That is all the batching there is: nobody waits for a timer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from trunkline.core.cursor import Cursor
from trunkline.core.message import Message
from trunkline.core.position import Lineage

# What a message costs in memory beside its data: the object, its id and sender. For the tail's byte bound.
MESSAGE_OVERHEAD_BYTES = 200
# How many times its bounds a tail may hold while LIVE readers still need it.
BURST = 8


class Cohort:
    """Up to `cohort_max` LIVE readers at one offset."""

    __slots__ = ("cursors", "offset")

    def __init__(self, offset: int) -> None:
        self.offset = offset
        self.cursors: set[Cursor] = set()


class Room:
    """Invariant: the tail holds the messages head - len(tail) + 1 … head, without holes."""

    __slots__ = (
        "cohorts",
        "dirty",
        "epoch",
        "filling",
        "first",
        "head",
        "lineage",
        "name",
        "pins",
        "readers",
        "tail",
        "tail_bytes",
        "turn",
        "waiters",
    )

    def __init__(self, name: str, epoch: str, first: int, head: int, lineage: Lineage = ()) -> None:
        self.name = name
        self.epoch = epoch
        self.lineage = lineage
        self.first = first  # the earliest retained offset; head + 1 if nothing is retained
        self.head = head
        self.tail: list[Message] = []
        self.tail_bytes = 0
        self.cohorts: list[Cohort] = []
        self.filling: Cohort | None = None  # where the next LIVE reader goes, if its offset fits
        self.turn = 0  # index of the cohort that is looked at next
        self.readers = 0
        self.pins = 0  # somebody is about to read
        self.waiters: set[Callable[[], None]] = set()  # called once each when the room moves
        self.dirty = False  # is in fan-out's work queue

    @property
    def idle(self) -> bool:
        """Nobody reads or waits: the room can be forgotten and opened again."""
        return not (self.readers or self.waiters or self.dirty or self.pins)

    def extend(self, messages: Sequence[Message], messages_max: int, bytes_max: int) -> None:
        """Take what the log has appended. What follows a hole that we did not see makes a new tail."""
        if messages[-1].offset - messages[0].offset != len(messages) - 1:  # others have appended in between
            begin = next(n for n in range(len(messages) - 1, 0, -1) if messages[n].offset != messages[n - 1].offset + 1)
            messages = messages[begin:]
        if messages[0].offset != self.head + 1:
            self.tail.clear()
            self.tail_bytes = 0
        self.head = messages[-1].offset
        self.tail.extend(messages)
        self.tail_bytes += sum(map(_size, messages))
        if len(self.tail) > messages_max or self.tail_bytes > bytes_max:
            # LIVE readers are at most a few steps behind. Cutting off what they need next would send each of them
            # to the store alone, so a burst may make the tail longer for a moment; but not much longer.
            needed = min([cohort.offset for cohort in self.cohorts], default=self.head)
            if len(self.tail) > BURST * messages_max or self.tail_bytes > BURST * bytes_max:
                needed = self.head
            self._shrink(messages_max, bytes_max, needed)

    def go_on(self, epoch: str, first: int, head: int, lineage: Lineage) -> None:
        """The log goes on under another epoch. Its end may be another one than was known."""
        self.epoch, self.first, self.head, self.lineage = epoch, first, head, lineage
        self.tail.clear()
        self.tail_bytes = 0

    def _shrink(self, messages_max: int, bytes_max: int, needed: int) -> None:
        # To three quarters, so that the list is cut once in a while and not at every message.
        most = max(0, needed - (self.head - len(self.tail)))
        cut = min(most, max(0, len(self.tail) - messages_max * 3 // 4))
        size = self.tail_bytes - sum(map(_size, self.tail[:cut]))
        while cut < most and size > bytes_max * 3 // 4:
            size -= _size(self.tail[cut])
            cut += 1
        del self.tail[:cut]
        self.tail_bytes = size

    def halve_tail(self) -> None:
        """Give back memory; readers that wanted it are served by the store."""
        self._shrink(len(self.tail) // 2, self.tail_bytes // 2, self.head)

    def since(self, after: int, messages_max: int, bytes_max: int) -> list[Message] | None:
        """The messages after *after*, at least one and at most a piece; None if the tail does not reach back."""
        begin = after - (self.head - len(self.tail))
        if begin < 0:
            return None
        return clip(self.tail[begin : begin + messages_max], bytes_max)

    def place(self, cursor: Cursor, offset: int, cohort_max: int) -> None:
        """Put a LIVE cursor into a cohort at *offset*."""
        cohort = self.filling
        if cohort is None or cohort.offset != offset or len(cohort.cursors) >= cohort_max:
            cohort = next((c for c in self.cohorts if c.offset == offset and len(c.cursors) < cohort_max), None)
            if cohort is None:
                cohort = Cohort(offset)
                self.cohorts.append(cohort)
            self.filling = cohort
        cohort.cursors.add(cursor)
        cursor.cohort = cohort

    def displace(self, cursor: Cursor) -> None:
        """Take a cursor out of its cohort; its offset stays what it was."""
        cohort = cursor.cohort
        if cohort is not None:
            cursor.cohort = None
            cursor.offset = cohort.offset
            cohort.cursors.discard(cursor)
            if not cohort.cursors:
                self.drop(cohort)

    def drop(self, cohort: Cohort) -> None:
        """Forget an empty cohort."""
        self.cohorts.remove(cohort)
        if self.filling is cohort:
            self.filling = None

    def next_behind(self) -> Cohort | None:
        """The cohort whose turn it is among those that lack messages, round robin."""
        cohorts, count = self.cohorts, len(self.cohorts)
        for step in range(count):
            cohort = cohorts[(self.turn + step) % count]
            if cohort.offset < self.head:
                self.turn = (self.turn + step + 1) % count
                return cohort
        return None


def _size(message: Message) -> int:
    return len(memoryview(message.json)) + MESSAGE_OVERHEAD_BYTES


def clip(messages: list[Message], bytes_max: int) -> list[Message]:
    """As many of the first messages as fit into *bytes_max*, but at least one."""
    size = 0
    for index, message in enumerate(messages):
        size += _size(message)
        if size > bytes_max and index:
            return messages[:index]
    return messages
