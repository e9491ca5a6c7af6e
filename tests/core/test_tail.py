import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkline.core.message import Message
from trunkline.core.tail import BURST, Tail, clip


def messages(first: int, last: int, size: int = 1) -> list[Message]:
    return [Message("r", n, str(n), None, 0, msgspec.Raw(b"0" * size)) for n in range(first, last + 1)]


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(1, 5)), max_size=30), st.integers(1, 8))
def test_it_holds_the_newest_without_holes(steps: list[tuple[int, int]], most: int) -> None:
    tail = Tail("r", "e", 1, 0)
    for skip, count in steps:
        first = tail.head + 1 + skip
        tail.extend(messages(first, first + count - 1), most, 1 << 20, lambda: None)
        offsets = [message.offset for message in tail.messages]
        assert offsets == list(range(tail.head - len(offsets) + 1, tail.head + 1))
        assert len(offsets) <= most


def test_what_live_readers_need_is_kept_for_a_while() -> None:
    tail = Tail("r", "e", 1, 0)
    tail.extend(messages(1, 20), 10, 1 << 20, lambda: 0)
    assert len(tail.messages) == 20
    tail.extend(messages(21, 10 * BURST + 5), 10, 1 << 20, lambda: 0)
    assert len(tail.messages) <= 10


def test_pieces() -> None:
    tail = Tail("r", "e", 1, 10)
    tail.extend(messages(11, 15), 100, 1 << 20, lambda: None)
    assert tail.since(9, 10, 1 << 20) is None
    assert [message.offset for message in tail.since(12, 2, 1 << 20) or []] == [13, 14]
    assert len(clip(messages(1, 5, 1000), 2500)) == 2
    assert len(clip(messages(1, 5, 1000), 1)) == 1


def test_another_epoch_begins_anew() -> None:
    tail = Tail("r", "e", 1, 0)
    tail.extend(messages(1, 5), 100, 1 << 20, lambda: None)
    tail.change_epoch("f", 1, 3, ())
    assert (tail.messages, tail.messages_bytes, tail.head) == ([], 0, 3)
    with pytest.raises(IndexError):
        tail.extend([], 1, 1, lambda: None)
