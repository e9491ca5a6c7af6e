"""Redactions as entries of a log, and what was being read when they came."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkline.core.message import Message
from trunkline.core.redaction import (
    OFFSETS_MAX,
    RecentRedactions,
    check_offsets,
    redaction_data,
    redaction_entry,
    stored_redaction,
    without_data,
)
from trunkline.errors import RequestError


def message(offset: int = 3) -> Message:
    return Message("r", offset, "key", "ana", 5, msgspec.Raw(b'"secret"'), "trace", "state")


def test_what_is_left_of_a_message() -> None:
    left = without_data(message(), "e", erased=False)
    assert (left.room, left.offset, left.id, left.sender, left.at) == ("r", 3, "key", "ana", 5)
    assert (left.data, left.redacted, left.traceparent, left.tracestate) == (None, True, None, None)
    erased = without_data(message(), "e", erased=True)
    assert (erased.id, erased.sender, erased.data) == ("e.3", None, None)
    assert msgspec.json.decode(msgspec.json.encode(left))["redacted"] is True


def test_a_redaction_is_not_redacted() -> None:
    entry = redaction_entry("r", "e", 4, 9, [1, 3], erases=False)
    assert without_data(entry, "e", erased=True) is entry
    assert msgspec.json.decode(msgspec.json.encode(entry)) == {
        "room": "r", "offset": 4, "id": "e.4", "from": None, "at": 9, "data": None, "redacts": [1, 3],
    }  # fmt: skip


def test_a_message_without_a_redaction_looks_as_it_always_did() -> None:
    plain = Message("r", 1, "k", None, 5, msgspec.Raw(b"1"))
    assert msgspec.json.encode(plain) == b'{"room":"r","offset":1,"id":"k","from":null,"at":5,"data":1}'


@given(st.lists(st.integers(1, 2**53 - 1), min_size=1, max_size=50), st.booleans())
def test_what_stores_keep_is_read_again(offsets: list[int], erases: bool) -> None:
    stored = stored_redaction("r", 9, "e.9", 5, redaction_data(offsets, erases=erases))
    assert stored == redaction_entry("r", "e", 9, 5, offsets, erases=erases)


def test_offsets_are_numbers_from_1_on() -> None:
    assert check_offsets([1, 2**53 - 1]) == [1, 2**53 - 1]
    many = list(range(1, OFFSETS_MAX + 2))
    for wrong, code in [*(([n], "bad_position") for n in (0, -1, 2**53)), ([], "bad_position"), (many, "too_large")]:
        with pytest.raises(RequestError) as caught:
            check_offsets(wrong)
        assert caught.value.code == code


def test_what_was_read_before_a_redaction_is_stale() -> None:
    recent = RecentRedactions(rooms_max=3)
    before = recent.count
    assert not recent.is_stale(before, "a", "b")
    recent.add("a")
    assert recent.is_stale(before, "b", "a")
    assert not recent.is_stale(before, "b")
    assert not recent.is_stale(recent.count, "a")
    for room in "bcd":
        recent.add(room)
    assert not recent.is_stale(before, "a")  # it is too long ago
    assert recent.is_stale(before, "d")
