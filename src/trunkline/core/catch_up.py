"""Catching up: what a reader is sent that is behind, piece by piece, until it is LIVE.

The next piece comes from the room's tail, or from the store (`take_reads`). Messages that retention has removed
meanwhile are told as a gap, and so are those that another epoch of the log does not have.
"""

from __future__ import annotations

from collections import deque

from trunkline.core.batch import Batch
from trunkline.core.cursor import Cursor, Event, Room, State
from trunkline.core.limits import Tuning
from trunkline.core.message import Message
from trunkline.core.position import Start, resolve, trimmed
from trunkline.observe.counters import Counters


class CatchUp:
    """The readers that are behind, and the work queue; `Fanout` adds those that are LIVE.

    Args:
        counters: `delivered`, `gaps` and `stalls` are counted here, once a batch.

    Attributes:
        broken: Readers that raised; the caller ends them.
        readers: How many cursors there are.
        stalled: The cursors whose readers' sockets are full.
        handed_to: To how many readers the last step has handed messages as they came, or late because the reader was
            stalled; the caller sets it back to 0. Those of a reader that came late itself do not count.
        handed_since: When the oldest of those messages was stored, in seconds.
    """

    def __init__(self, tuning: Tuning, counters: Counters) -> None:
        self._tuning = tuning
        self._counters = counters
        self._work: deque[Room | Cursor] = deque()
        self._reads: list[Cursor] = []
        self._recent: tuple[Room | None, str, int, int, int, Batch | None] = (None, "", 0, 0, 0, None)
        self.broken: list[tuple[Cursor, Exception]] = []
        self.readers = 0
        self.stalled: set[Cursor] = set()
        self._late: set[Cursor] = set()  # that were stalled, and are not LIVE again
        self.handed_to = 0
        self.handed_since = 0.0

    @property
    def busy(self) -> bool:
        """Whether step() has something to do."""
        return bool(self._work)

    def attach(self, cursor: Cursor) -> None:
        """Begin to give a reader everything after its offset."""
        cursor.room.readers += 1
        self.readers += 1
        if cursor.offset == cursor.room.head:
            self._go_live(cursor)
        else:
            self._work.append(cursor)

    def detach(self, cursor: Cursor) -> None:
        """Note that a reader has left. A cursor that left before does nothing."""
        if cursor.state is not State.GONE:
            cursor.room.displace(cursor)
            cursor.apply(Event.LEFT)
            self.stalled.discard(cursor)
            self._late.discard(cursor)
            cursor.room.readers -= 1
            self.readers -= 1

    def writable(self, cursor: Cursor) -> None:
        """Note that the reader's socket takes bytes again."""
        if cursor.state is State.STALLED:
            cursor.apply(Event.WRITABLE)
            self.stalled.discard(cursor)
            self._late.add(cursor)
            self._work.append(cursor)

    def take_reads(self) -> list[Cursor]:
        """Return the cursors that need the store; each is owed one `fetched` or `read_failed`."""
        reads, self._reads = self._reads, []
        return reads

    def fetched(self, cursor: Cursor, first: int, messages: list[Message]) -> None:
        """Take what the store has after the cursor's offset; *first* is its earliest retained offset."""
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
        """Note that the store did not answer; the cursor tries again from where it is."""
        if cursor.state is State.READING:
            cursor.apply(Event.FETCHED)
            self._work.append(cursor)

    def _catch_up(self, cursor: Cursor) -> None:
        room, tuning = cursor.room, self._tuning
        if cursor.reader.full:
            self._stall(cursor)
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

    def _stall(self, cursor: Cursor) -> None:
        cursor.apply(Event.FULL)
        self.stalled.add(cursor)
        self._counters.stalls += 1

    def _follow(self, cursor: Cursor) -> None:
        """Go on in the epoch that the room is in."""
        room = cursor.room
        if cursor.epoch == room.epoch:
            return
        start = Start("after", cursor.offset, cursor.epoch)
        cursor.epoch = room.epoch
        offset, gap = resolve(start, room.name, room.epoch, room.first, room.head, room.lineage)
        cursor.skip_to(offset)
        try:
            if gap is None:
                cursor.reader.epoch_changed(cursor)
            else:
                self._counters.gaps[gap.reason] += 1
                cursor.reader.gap(cursor, gap)
        except Exception as error:  # noqa: BLE001
            self.broken.append((cursor, error))

    def _skip_trimmed(self, cursor: Cursor) -> None:
        room = cursor.room
        if cursor.offset < room.first - 1:
            gap = trimmed(room.name, room.epoch, cursor.offset, room.first, "slow")
            cursor.skip_to(room.first - 1)
            if cursor.is_fresh:
                return
            self._counters.gaps[gap.reason] += 1
            try:
                cursor.reader.gap(cursor, gap)
            except Exception as error:  # noqa: BLE001
                self.broken.append((cursor, error))

    def _give(self, cursor: Cursor, messages: list[Message]) -> None:
        if cursor in self._late and (arrived := cursor.room.arrived_at(messages[0].offset)) is not None:
            self.handed_to, self.handed_since = 1, arrived
        cursor.offset = messages[-1].offset
        cursor.is_fresh = False
        self._counters.delivered[cursor.reader.transport] += len(messages)
        try:
            cursor.reader.deliver(cursor, self._batch(cursor.room, messages))
        except Exception as error:  # noqa: BLE001
            self.broken.append((cursor, error))

    def _go_live(self, cursor: Cursor) -> None:
        cursor.apply(Event.CAUGHT_UP)
        self._late.discard(cursor)
        cursor.is_fresh = False
        cursor.room.place(cursor, cursor.offset, self._tuning.cohort_max)

    def _batch(self, room: Room, messages: list[Message]) -> Batch:
        """Return the batch of these messages; the latest one is kept, since the next cohort mostly wants the same."""
        key = (room, room.epoch, room.redacted_to, messages[0].offset, messages[-1].offset)
        if self._recent[:5] != key:
            self._recent = (*key, Batch(room.epoch, messages))
        batch = self._recent[5]
        assert batch is not None
        return batch
