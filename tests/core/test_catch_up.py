"""What a reader is sent that is behind. With live readers beside it: test_fanout.py; at random: test_simulation.py."""

import msgspec

from trunkline.core.batch import Batch
from trunkline.core.catch_up import CatchUp
from trunkline.core.cursor import Cursor, Room, State
from trunkline.core.limits import Tuning
from trunkline.core.message import Message
from trunkline.core.position import Gap
from trunkline.observe.counters import Counters


class Reader:
    full = False
    transport = "websocket"
    messages_max = 1 << 30

    def __init__(self) -> None:
        self.got: list[int | str] = []

    def deliver(self, cursor: Cursor, batch: Batch) -> None:
        self.got += [message.offset for message in batch.messages]

    def gap(self, cursor: Cursor, gap: Gap) -> None:
        self.got.append(f"{gap.reason} {gap.first}-{gap.last}")

    def epoch_changed(self, cursor: Cursor) -> None:
        self.got.append("epoch changed")


def messages(first: int, last: int) -> list[Message]:
    return [Message("r", n, str(n), None, 0, msgspec.Raw(b"0")) for n in range(first, last + 1)]


def made(offset: int, head: int, tail: int = 0) -> tuple[CatchUp, Room, Cursor, Reader]:
    room = Room("r", "e", 1, head - tail)
    if tail:
        room.extend(messages(head - tail + 1, head), 100, 1 << 20, room.slowest)
    reader = Reader()
    cursor = Cursor(reader, room, offset)  # type: ignore[arg-type]
    return CatchUp(Tuning(piece_messages_max=2), Counters()), room, cursor, reader


def test_pieces_from_the_tail_until_it_is_live() -> None:
    catch_up, _, cursor, reader = made(5, 10, tail=5)
    catch_up.attach(cursor)
    while cursor.state is State.QUEUED:
        catch_up._catch_up(cursor)
    assert reader.got == [6, 7, 8, 9, 10]
    assert cursor.state is State.LIVE


def test_what_is_not_in_the_tail_is_read_from_the_store() -> None:
    catch_up, _, cursor, reader = made(0, 4)
    catch_up.attach(cursor)
    catch_up._catch_up(cursor)
    assert catch_up.take_reads() == [cursor]
    assert cursor.state is State.READING
    catch_up.fetched(cursor, 1, messages(1, 4))
    assert reader.got == [1, 2, 3, 4]


def test_what_retention_has_removed_is_a_gap() -> None:
    catch_up, room, cursor, reader = made(0, 10, tail=3)
    room.first = 8
    catch_up.attach(cursor)
    catch_up._catch_up(cursor)
    assert reader.got == ["slow 1-7", 8, 9]


def test_another_epoch_is_told() -> None:
    catch_up, room, cursor, reader = made(5, 10, tail=5)
    catch_up.attach(cursor)
    room.change_epoch("other", 1, 3, ())
    catch_up._catch_up(cursor)
    assert reader.got == ["epoch 1-0"]


def test_a_full_reader_waits() -> None:
    catch_up, _, cursor, reader = made(5, 10, tail=5)
    reader.full = True
    catch_up.attach(cursor)
    catch_up._catch_up(cursor)
    assert (cursor.state, reader.got) == (State.STALLED, [])
    reader.full = False
    catch_up.writable(cursor)
    assert catch_up.busy


def test_a_reader_that_left_is_given_nothing() -> None:
    catch_up, room, cursor, reader = made(0, 4)
    catch_up.attach(cursor)
    catch_up._catch_up(cursor)
    catch_up.detach(cursor)
    catch_up.detach(cursor)
    catch_up.fetched(cursor, 1, messages(1, 4))
    catch_up.read_failed(cursor)
    assert (reader.got, room.readers) == ([], 0)
