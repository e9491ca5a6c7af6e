"""Slots, shares and fencing numbers of durable consumers."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkline.core.consumer import (
    SLOTS,
    Lease,
    Progress,
    check_consumer_name,
    check_patterns,
    decode_lease,
    decode_progress,
    encoded,
    free_slots,
    is_consumed,
    next_fence,
    share,
    slot_of,
)
from trunkline.errors import RequestError

NAMES = st.sets(st.text("abcdef", min_size=1, max_size=8), min_size=1, max_size=100)


@given(NAMES)
def test_shares_are_even_and_all_there_is(names: set[str]) -> None:
    shares = [share(name, names) for name in names]
    assert sum(shares) == SLOTS
    assert max(shares) - min(shares) <= 1


def test_rooms_are_spread_over_the_slots_and_stay_there() -> None:
    found = Counter(slot_of(f"orders:{n}") for n in range(10_000))
    assert set(found) == set(range(SLOTS))
    assert max(found.values()) < 2 * min(found.values())
    assert slot_of("orders:7") == 37


@given(st.integers(0, 2**53), st.integers(0, 2**53))
def test_a_fence_is_larger_than_the_one_before(before: int, now_ms: int) -> None:
    """Also when the clock went back, or a store has lost the last ones."""
    assert next_fence(Lease("a", before), now_ms) > before
    assert next_fence(None, now_ms) >= 1
    assert next_fence(Lease("a", 5), 100) == 100


def test_slots_of_the_dead_are_free() -> None:
    leases = {0: Lease("a", 1), 1: Lease("b", 2), 2: Lease("", 3)}
    free = free_slots(leases, {"a"})
    assert 0 not in free
    assert free[:2] == [1, 2]
    assert len(free) == SLOTS - 1


def test_records_come_back_as_they_were() -> None:
    assert decode_lease(encoded(Lease("n.1", 7))) == Lease("n.1", 7)
    assert decode_progress(encoded(Progress("k3f9x2", 41, 2))) == Progress("k3f9x2", 41, 2)
    assert Progress("k3f9x2", 41).position == "k3f9x2.41"


@pytest.mark.parametrize("name", ["", "a b", "a/b", "x" * 65, "ü"])
def test_what_is_no_name(name: str) -> None:
    with pytest.raises(RequestError):
        check_consumer_name(name)


def test_patterns() -> None:
    assert check_patterns("a:*") == ("a:*",)
    assert check_patterns(["a", "a", "b*"]) == ("a", "b*")
    assert check_patterns("$presence") == ("$presence",)
    for wrong in ([], "", "a*b", "$audit", "$*", [f"{n}" for n in range(21)]):
        with pytest.raises(RequestError):
            check_patterns(wrong)
    assert is_consumed(("a:*", "b"), "a:1")
    assert not is_consumed(("a:*", "b"), "b:1")
