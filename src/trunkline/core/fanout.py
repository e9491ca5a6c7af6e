"""Fan-out: from a room's log to every reader, without a queue, a task or a timer per reader.

Theory of operation
===================

Work comes in two kinds, and one queue holds both: a *room* that has moved (its cohorts are written to, one cohort a
step), and a *cursor* that is behind (it is given its next piece, one piece a step). `step()` does the first entry and
puts it back at the end if there is more to do, so rooms and readers that are behind alternate. The caller decides how
long to go on: delivery gives a few milliseconds, then lets the event loop run; the simulation gives one step.

A reader whose socket is full is skipped and stays where it is. When the socket takes bytes again, the cursor is QUEUED,
is given pieces from the tail (or, through `take_reads`, from the store) and is LIVE again when it stands at the head.
Between "it stands at the head" and "it is in a cohort" nothing is awaited, so nothing can be appended in between: this
is why there is no buffer to merge between replay and live.

A message is encoded once per wire format and batch, not per reader: `Batch.encoded` keeps the bytes by the encoding
function.

    appended(room, messages) ─► work queue ─► step() ─► Reader.deliver(cursor, batch)
    writable(cursor)         ─►            │
    attach(cursor)           ─►            └─► take_reads() ─► the store ─► fetched(cursor, messages)
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from trunkline.core.batch import Batch
from trunkline.core.cursor import Cohort, Cursor, Event, Room, State
from trunkline.core.limits import Tuning
from trunkline.core.message import Message
from trunkline.core.position import Lineage, Start, resolve, trimmed
from trunkline.observe import Counters


class Fanout:
    """The readers of all rooms of one process, and the work queue.

    Args:
        counters: `delivered`, `gaps` and `stalls` are counted here, once a batch.
    """

    def __init__(self, tuning: Tuning, counters: Counters) -> None:
        self._tuning = tuning
        self._counters = counters
        self._work: deque[Room | Cursor] = deque()
        self._reads: list[Cursor] = []
        self._recent: tuple[Room | None, str, int, int, Batch | None] = (None, "", 0, 0, None)
        self.broken: list[tuple[Cursor, Exception]] = []  # readers that raised; the caller ends them

    @property
    def busy(self) -> bool:
        """Whether step() has something to do."""
        return bool(self._work)

    # What happened.

    def appended(self, room: Room, messages: Sequence[Message]) -> None:
        """The log has these, in order; from now on readers may see them."""
        room.extend(messages, self._tuning.tail_messages_max, self._tuning.tail_bytes_max, room.slowest)
        if not room.is_scheduled and room.cohorts:
            room.is_scheduled = True
            self._work.append(room)
        room.wake()

    def epoch_changed(self, room: Room, epoch: str, first: int, head: int, lineage: Lineage) -> None:
        """The log goes on under another epoch; each reader is told in its next step."""
        room.change_epoch(epoch, first, head, lineage)
        for cohort in tuple(room.cohorts):
            self._overtake(room, cohort)
        room.wake()

    def attach(self, cursor: Cursor) -> None:
        """A reader joined; it is to have everything after its offset."""
        cursor.room.readers += 1
        if cursor.offset == cursor.room.head:
            self._go_live(cursor)
        else:
            self._work.append(cursor)

    def detach(self, cursor: Cursor) -> None:
        """The reader left. A cursor that left before does nothing."""
        if cursor.state is not State.GONE:
            cursor.room.displace(cursor)
            cursor.apply(Event.LEFT)
            cursor.room.readers -= 1

    def writable(self, cursor: Cursor) -> None:
        """The reader's socket takes bytes again."""
        if cursor.state is State.STALLED:
            cursor.apply(Event.WRITABLE)
            self._work.append(cursor)

    # What to do.

    def step(self) -> bool:
        """Do one piece of work; False if there was none."""
        if not self._work:
            return False
        item = self._work.popleft()
        if isinstance(item, Room):
            self._advance(item)
        elif item.state is State.QUEUED:
            self._catch_up(item)
        return True

    def take_reads(self) -> list[Cursor]:
        """The cursors that need the store; each is owed one `fetched` or `read_failed`."""
        reads, self._reads = self._reads, []
        return reads

    def fetched(self, cursor: Cursor, first: int, messages: list[Message]) -> None:
        """What the store has after the cursor's offset; *first* is its earliest retained offset."""
        if cursor.state is not State.READING:
            return
        cursor.apply(Event.FETCHED)
        room = cursor.room
        if cursor.epoch != room.epoch:  # what was read is of a life that is over
            self._work.append(cursor)
            return
        # The store may be ahead of what this worker was told; the rest comes by the ordinary way.
        messages = [m for m in messages if m.offset <= room.head]
        first = min(first, room.head + 1)
        # Nothing was there when it was read; what has come since is behind the head of then, not of now.
        earliest = messages[0].offset if messages else first
        room.first = max(room.first, first)
        if earliest != cursor.offset + 1:  # trimmed since, whatever *first* said when it was read
            room.first = max(room.first, earliest)
            self._skip_trimmed(cursor)
        # Else they were read in time: they are given even if they have been trimmed since.
        if messages and messages[0].offset == cursor.offset + 1 and not cursor.reader.full:
            self._give(cursor, messages[: cursor.reader.messages_max])
        self._work.append(cursor)

    def read_failed(self, cursor: Cursor) -> None:
        """The store did not answer; the cursor tries again from where it is."""
        if cursor.state is State.READING:
            cursor.apply(Event.FETCHED)
            self._work.append(cursor)

    def _advance(self, room: Room) -> None:
        room.is_scheduled = False
        cohort = room.next_behind()
        if cohort is None:
            return
        tuning = self._tuning
        messages = room.since(cohort.offset, tuning.piece_messages_max, tuning.piece_bytes_max)
        if messages is None:
            self._overtake(room, cohort)
        else:
            batch = self._batch(room, messages)
            for cursor in tuple(cohort.cursors):
                if cursor.reader.full:
                    room.displace(cursor)
                    cursor.apply(Event.FULL)
                    self._counters.stalls += 1
                elif len(messages) > cursor.reader.messages_max:
                    room.displace(cursor)
                    cursor.apply(Event.OVERTAKEN)
                    self._work.append(cursor)
                else:
                    try:
                        cursor.reader.deliver(cursor, batch)
                    except Exception as error:  # noqa: BLE001 - one reader's trouble is not another's
                        self.broken.append((cursor, error))
            self._counters.delivered += len(messages) * len(cohort.cursors)
            cohort.offset = messages[-1].offset
            if cohort.cursors:
                self._merge(room, cohort)
        if any(c.offset < room.head for c in room.cohorts):
            room.is_scheduled = True
            self._work.append(room)

    def _overtake(self, room: Room, cohort: Cohort) -> None:
        for cursor in tuple(cohort.cursors):
            room.displace(cursor)
            cursor.apply(Event.OVERTAKEN)
            self._work.append(cursor)

    def _merge(self, room: Room, cohort: Cohort) -> None:
        """Fold a thinned-out cohort into another at the same offset, so that leaving keeps steps full."""
        most = self._tuning.cohort_max - len(cohort.cursors)
        if most < self._tuning.cohort_max // 2:
            return
        for into in room.cohorts:
            if into is not cohort and into.offset == cohort.offset and len(into.cursors) <= most:
                for cursor in cohort.cursors:
                    cursor.cohort = into
                into.cursors |= cohort.cursors
                room.drop(cohort)
                return

    def _catch_up(self, cursor: Cursor) -> None:
        room, tuning = cursor.room, self._tuning
        if cursor.reader.full:
            cursor.apply(Event.FULL)
            self._counters.stalls += 1
            return
        self._follow(cursor)
        self._skip_trimmed(cursor)
        if cursor.offset >= room.head:
            self._go_live(cursor)
            return
        most = min(tuning.piece_messages_max, cursor.reader.messages_max)
        messages = room.since(cursor.offset, most, tuning.piece_bytes_max)
        if messages is None:
            cursor.apply(Event.OVERTAKEN)
            self._reads.append(cursor)
            return
        self._give(cursor, messages)
        if cursor.offset == room.head:
            self._go_live(cursor)
        else:
            self._work.append(cursor)

    def _follow(self, cursor: Cursor) -> None:
        """Go on in the epoch that the room is in."""
        room = cursor.room
        if cursor.epoch == room.epoch:
            return
        start = Start("after", cursor.offset, cursor.epoch)
        cursor.epoch = room.epoch
        cursor.offset, gap = resolve(start, room.name, room.epoch, room.first, room.head, room.lineage)
        try:
            if gap is None:
                cursor.reader.epoch_changed(cursor)
            else:
                self._counters.gaps += 1
                cursor.reader.gap(cursor, gap)
        except Exception as error:  # noqa: BLE001
            self.broken.append((cursor, error))

    def _skip_trimmed(self, cursor: Cursor) -> None:
        room = cursor.room
        if cursor.offset < room.first - 1:
            gap = trimmed(room.name, room.epoch, cursor.offset, room.first, "slow")
            cursor.offset = room.first - 1
            if cursor.is_fresh:
                return
            self._counters.gaps += 1
            try:
                cursor.reader.gap(cursor, gap)
            except Exception as error:  # noqa: BLE001
                self.broken.append((cursor, error))

    def _give(self, cursor: Cursor, messages: list[Message]) -> None:
        cursor.offset = messages[-1].offset
        cursor.is_fresh = False
        self._counters.delivered += len(messages)
        try:
            cursor.reader.deliver(cursor, self._batch(cursor.room, messages))
        except Exception as error:  # noqa: BLE001
            self.broken.append((cursor, error))

    def _go_live(self, cursor: Cursor) -> None:
        cursor.apply(Event.CAUGHT_UP)
        cursor.is_fresh = False
        cursor.room.place(cursor, cursor.offset, self._tuning.cohort_max)

    def _batch(self, room: Room, messages: list[Message]) -> Batch:
        """The batch of these messages; the latest one is kept, since the next cohort mostly wants the same."""
        key = (room, room.epoch, messages[0].offset, messages[-1].offset)
        if self._recent[:4] != key:
            self._recent = (*key, Batch(room.epoch, messages))
        batch = self._recent[4]
        assert batch is not None
        return batch
