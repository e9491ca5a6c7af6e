from hypothesis import given
from hypothesis import strategies as st

from trunkline.core.rate import Bucket, Rate, too_fast, work


def test_work_is_counted_by_bytes_and_rooms() -> None:
    assert (work(), work(16 * 1024), work(rooms=10), work(40_000, 25)) == (1, 2, 2, 5)


def test_a_bucket_fills_again() -> None:
    bucket = Bucket(2, 0.0)
    assert [bucket.take(1, 2, 0.0) for _ in range(3)] == [0, 0, 1]
    assert bucket.take(1, 2, 1.0) == 0
    assert bucket.take(1, 2, 1.0) == 1


def test_what_costs_more_than_a_bucket_holds_is_paid_later() -> None:
    bucket = Bucket(2, 0.0)
    assert bucket.take(1, 2, 0.0, 10) == 0
    assert bucket.take(1, 2, 0.0) == 9


@given(st.lists(st.tuples(st.floats(0, 10), st.floats(0.1, 5)), max_size=50))
def test_never_more_than_the_rate_and_the_burst(steps: list[tuple[float, float]]) -> None:
    bucket, now, taken = Bucket(3, 0.0), 0.0, 0.0
    for wait, cost in steps:
        now += wait
        if bucket.take(2, 3, now, cost) == 0:
            taken += cost
    assert taken <= 3 + 2 * now + 5


def test_keys_are_bounded() -> None:
    rate = Rate(1, 1, keys_max=2)
    for key in "abc":
        rate.take(key, 0.0)
    assert len(rate) == 2
    assert rate.take("c", 0.0) == 1
    assert rate.take("a", 0.0) == 0


def test_the_answer_says_when() -> None:
    assert (too_fast("x", 0.0001).retry_after_ms, too_fast("x", 1.5).retry_after_ms) == (1, 1500)
