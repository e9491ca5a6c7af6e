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

from collections.abc import Sequence

from trunkline.core.catch_up import CatchUp
from trunkline.core.cursor import Cohort, Event, Room, State
from trunkline.core.message import Message
from trunkline.core.position import Lineage


class Fanout(CatchUp):
    """The readers of all rooms of one process, and the work queue."""

    # What happened.

    def appended(self, room: Room, messages: Sequence[Message], now: float = 0.0) -> None:
        """Take messages that are stored, in order; from now on readers may see them.

        Args:
            now: Seconds of a clock that only goes forward, for `handed_since`.
        """
        room.extend(messages, self._tuning.tail_messages_max, self._tuning.tail_bytes_max, room.slowest, now)
        if not room.is_scheduled and room.cohorts:
            room.is_scheduled = True
            self._work.append(room)
        room.wake()

    def epoch_changed(self, room: Room, epoch: str, first: int, head: int, lineage: Lineage) -> None:
        """Note that the log goes on under another epoch; each reader is told in its next step."""
        room.change_epoch(epoch, first, head, lineage)
        for cohort in tuple(room.cohorts):
            self._overtake(room, cohort)
        room.wake()

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
            batch, count = self._batch(room, messages), len(messages)
            readers, arrived = cohort.cursors, room.arrived[cohort.offset - room.head]  # of the first of them
            for cursor in tuple(readers):
                reader = cursor.reader
                if reader.full:
                    room.displace(cursor)
                    self._stall(cursor)
                elif count > 1 and count > reader.messages_max:
                    room.displace(cursor)
                    cursor.apply(Event.OVERTAKEN)
                    self._work.append(cursor)
                else:
                    try:
                        reader.deliver(cursor, batch)
                    except Exception as error:  # noqa: BLE001 - one reader's trouble is not another's
                        self.broken.append((cursor, error))
            if cohort.transport is not None:
                self._counters.delivered[cohort.transport] += count * len(readers)
            else:
                for transport, of_transport in cohort.transports.items():
                    self._counters.delivered[transport] += count * of_transport
            self.handed_to, self.handed_since = len(readers), arrived
            cohort.offset = messages[-1].offset
            if readers:
                self._merge(room, cohort)
        if room.has_behind():
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
                into.take_in(cohort)
                room.drop(cohort)
                return
