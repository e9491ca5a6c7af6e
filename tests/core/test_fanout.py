"""Fan-out, one step at a time, with readers that are plain lists."""

import msgspec

from tests.readers import SilentReader
from trunkline.core.batch import Batch
from trunkline.core.cursor import Cursor, Room, State
from trunkline.core.fanout import Fanout
from trunkline.core.limits import Tuning
from trunkline.core.message import Message
from trunkline.core.position import Gap
from trunkline.observe.counters import Counters


class Reader(SilentReader):
    """Remembers what it was given; *capacity* messages make it full."""

    def __init__(self, capacity: int = 1000) -> None:
        self.capacity, self.full = capacity, False
        self.offsets: list[int] = []
        self.batches: list[Batch] = []
        self.gaps: list[Gap] = []
        self.turns: list[str] = []

    def deliver(self, cursor: Cursor, batch: Batch) -> None:
        assert not self.full
        self.offsets += [m.offset for m in batch.messages]
        self.batches.append(batch)
        self.full = len(self.offsets) >= self.capacity

    def gap(self, cursor: Cursor, gap: Gap) -> None:
        self.gaps.append(gap)

    def epoch_changed(self, cursor: Cursor) -> None:
        self.turns.append(cursor.epoch)


def messages(first: int, last: int) -> list[Message]:
    return [Message("r", n, str(n), None, 0, msgspec.Raw(b"0")) for n in range(first, last + 1)]


def joined(fanout: Fanout, room: Room, reader: Reader, after: int | None = None) -> Cursor:
    cursor = Cursor(reader, room, room.head if after is None else after)
    fanout.attach(cursor)
    return cursor


def finish(fanout: Fanout) -> int:
    steps = 0
    while fanout.step():
        steps += 1
    return steps


def test_live_readers_share_one_batch() -> None:
    """All readers of a room get the same object, so that it is encoded once (R42)."""
    fanout, room = Fanout(Tuning(), Counters()), Room("r", "e", 1, 0)
    readers = [Reader() for _ in range(10)]
    for reader in readers:
        joined(fanout, room, reader)
    fanout.appended(room, messages(1, 3))
    assert finish(fanout) == 1
    assert all(r.offsets == [1, 2, 3] for r in readers)
    assert len({id(r.batches[0]) for r in readers}) == 1
    calls: list[Batch] = []

    def encode(batch: Batch) -> bytes:
        calls.append(batch)
        return b"x"

    for reader in readers:
        assert reader.batches[0].encoded(encode) == b"x"
    assert len(calls) == 1


def test_large_rooms_take_many_steps() -> None:
    """A step writes to one cohort, so other rooms have their turn in between."""
    fanout = Fanout(Tuning(cohort_max=4), Counters())
    large, small = Room("large", "e", 1, 0), Room("small", "e", 1, 0)
    crowd, one = [Reader() for _ in range(20)], Reader()
    for reader in crowd:
        joined(fanout, large, reader)
    joined(fanout, small, one)
    fanout.appended(large, messages(1, 1))
    fanout.appended(small, messages(1, 1))
    fanout.step()
    fanout.step()
    assert one.offsets == [1]
    assert sum(len(r.offsets) for r in crowd) == 4
    # What is appended meanwhile goes out with the rest: later cohorts get both at once.
    fanout.appended(large, messages(2, 2))
    finish(fanout)
    assert all(r.offsets == [1, 2] for r in crowd)
    assert {len(r.batches) for r in crowd} == {1, 2}


def test_a_full_reader_is_skipped_and_catches_up() -> None:
    """It costs nobody else anything, and misses nothing (R5, R14)."""
    fanout, room = Fanout(Tuning(), Counters()), Room("r", "e", 1, 0)
    slow, quick = Reader(capacity=2), Reader()
    cursor = joined(fanout, room, slow)
    joined(fanout, room, quick)
    for n in range(1, 11):
        fanout.appended(room, messages(n, n))
        finish(fanout)
    assert quick.offsets == list(range(1, 11))
    assert slow.offsets == [1, 2]
    assert cursor.state is State.STALLED
    slow.full, slow.capacity = False, 1000
    fanout.writable(cursor)
    finish(fanout)
    assert slow.offsets == list(range(1, 11))
    assert cursor.state.value == "live"
    fanout.appended(room, messages(11, 11))
    finish(fanout)
    assert slow.offsets[-1] == quick.offsets[-1] == 11


def test_a_reader_behind_the_tail_is_read_for() -> None:
    """What the tail no longer has comes from the store, piece by piece, until the tail takes over."""
    fanout, room = Fanout(Tuning(tail_messages_max=4, piece_messages_max=3), Counters()), Room("r", "e", 1, 0)
    fanout.appended(room, messages(1, 20))
    reader = Reader()
    cursor = joined(fanout, room, reader, after=5)
    reads = 0
    while fanout.busy or cursor.state is State.READING:
        finish(fanout)
        for wanting in fanout.take_reads():
            reads += 1
            fanout.fetched(wanting, 1, messages(wanting.offset + 1, wanting.offset + 3))
    assert reader.offsets == list(range(6, 21))
    assert reads == 4
    assert cursor.state is State.LIVE


def test_a_read_that_failed_is_tried_again() -> None:
    fanout, room = Fanout(Tuning(tail_messages_max=4), Counters()), Room("r", "e", 1, 0)
    fanout.appended(room, messages(1, 20))
    cursor = joined(fanout, room, Reader(), after=0)
    finish(fanout)
    fanout.read_failed(*fanout.take_reads())
    finish(fanout)
    assert fanout.take_reads() == [cursor]


def test_overtaken_by_retention() -> None:
    """A connected reader whose messages were trimmed gets a gap `slow`, and goes on behind it."""
    fanout, room = Fanout(Tuning(tail_messages_max=4), Counters()), Room("r", "e", 1, 0)
    reader = Reader(capacity=1)
    cursor = joined(fanout, room, reader)
    for n in range(1, 31):
        fanout.appended(room, messages(n, n))
        finish(fanout)
    reader.full, reader.capacity = False, 1000
    fanout.writable(cursor)
    finish(fanout)
    [reading] = fanout.take_reads()
    fanout.fetched(reading, 11, messages(11, 30))
    finish(fanout)
    assert reader.gaps == [Gap("r", "e", 2, 10, "slow", "e.10")]
    assert reader.offsets == [1, *range(11, 31)]


def test_a_store_that_is_ahead_of_us() -> None:
    """What another worker appended is not given before this worker was told: it would come twice."""
    fanout, room = Fanout(Tuning(tail_messages_max=4), Counters()), Room("r", "e", 1, 0)
    fanout.appended(room, messages(1, 20))
    reader = Reader()
    cursor = joined(fanout, room, reader, after=0)
    finish(fanout)
    [reading] = fanout.take_reads()
    fanout.fetched(reading, 1, messages(1, 25))
    finish(fanout)
    assert reader.offsets == list(range(1, 21))
    fanout.appended(room, messages(21, 25))
    finish(fanout)
    assert reader.offsets == list(range(1, 26))
    assert cursor.state is State.LIVE


def test_leaving_at_any_moment() -> None:
    """LIVE, QUEUED, READING or STALLED: nothing more is given, nothing is left behind (R13)."""
    fanout, room = Fanout(Tuning(tail_messages_max=4), Counters()), Room("r", "e", 1, 0)
    fanout.appended(room, messages(1, 20))
    live, queued, reading = Reader(), Reader(), Reader()
    cursors = [joined(fanout, room, live), joined(fanout, room, reading, after=0)]
    finish(fanout)
    cursors.append(joined(fanout, room, queued, after=18))
    [wanting] = fanout.take_reads()
    for cursor in cursors:
        fanout.detach(cursor)
        fanout.detach(cursor)
    fanout.fetched(wanting, 1, messages(1, 20))
    fanout.appended(room, messages(21, 21))
    finish(fanout)
    assert live.offsets == queued.offsets == reading.offsets == []
    assert room.readers == 0
    assert room.cohorts == []
    assert room.is_idle


def test_thinned_out_cohorts_are_folded() -> None:
    """After most have left, the rest stands in few cohorts again."""
    fanout, room = Fanout(Tuning(cohort_max=10), Counters()), Room("r", "e", 1, 0)
    cursors = [joined(fanout, room, Reader()) for _ in range(100)]
    for cursor in cursors[::2] + cursors[1::4]:
        fanout.detach(cursor)
    for n in range(1, 20):
        fanout.appended(room, messages(n, n))
        finish(fanout)
    assert room.readers == 25
    assert len(room.cohorts) <= 5
    assert sum(len(c.cursors) for c in room.cohorts) == 25


def test_the_tail_is_bounded() -> None:
    """By messages and by bytes; what is left is always the newest, without holes."""
    room = Room("r", "e", 1, 0)
    for n in range(1, 500):
        room.extend(messages(n, n), 50, 1 << 20, room.slowest)
        assert len(room.messages) <= 50
        assert [m.offset for m in room.messages] == list(range(room.head - len(room.messages) + 1, room.head + 1))
    assert room.since(room.head - 10, 100, 1 << 20) == room.messages[-10:]
    assert room.since(0, 100, 1 << 20) is None
    for n in range(500, 520):
        room.extend(messages(n, n), 50, 1000, room.slowest)
    assert room.messages_bytes <= 1000
    room.halve()
    assert room.messages_bytes <= 500


def test_a_burst_longer_than_the_tail() -> None:
    """LIVE readers get it from memory, not each from the store; then the tail is short again. There is an end to it."""
    fanout = Fanout(Tuning(tail_messages_max=10, piece_messages_max=4), Counters())
    room, reader = Room("r", "e", 1, 0), Reader()
    cursor = joined(fanout, room, reader)
    fanout.appended(room, messages(1, 60))
    finish(fanout)
    assert reader.offsets == list(range(1, 61))
    assert fanout.take_reads() == []
    fanout.appended(room, messages(61, 61))
    assert len(room.messages) <= 10
    fanout.appended(room, messages(62, 200))
    assert len(room.messages) <= 10
    finish(fanout)
    assert fanout.take_reads() == [cursor]


def test_a_hole_starts_a_new_tail() -> None:
    """If this worker missed something, the tail begins anew: readers get the hole from the store."""
    room = Room("r", "e", 1, 0)
    room.extend(messages(1, 5), 50, 1 << 20, room.slowest)
    room.extend(messages(8, 9), 50, 1 << 20, room.slowest)
    assert [m.offset for m in room.messages] == [8, 9]
    assert room.since(5, 10, 1 << 20) is None
    room.extend(
        [*messages(10, 11), *messages(13, 13), *messages(15, 16)], 50, 1 << 20, room.slowest
    )  # ours, among those of others
    assert [m.offset for m in room.messages] == [15, 16]
    assert room.head == 16


def test_an_empty_answer_is_of_the_moment_it_was_read() -> None:
    """All was trimmed when the store was asked, and more has come since: that is not trimmed as well."""
    fanout, room = Fanout(Tuning(tail_messages_max=4), Counters()), Room("r", "e", 1, 11)
    reader = Reader()
    cursor = joined(fanout, room, reader, after=4)
    finish(fanout)
    assert fanout.take_reads() == [cursor]
    fanout.appended(room, messages(12, 17))
    fanout.fetched(cursor, 12, [])
    finish(fanout)
    assert room.first == 12
    assert [(gap.first, gap.last) for gap in reader.gaps] == [(5, 11)]
    if cursor.state is State.READING:
        [reading] = fanout.take_reads()
        fanout.fetched(reading, 12, messages(12, 17))
        finish(fanout)
    assert reader.offsets == [12, 13, 14, 15, 16, 17]
