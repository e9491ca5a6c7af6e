"""Buckets, and the percentiles that are read off them."""

from hypothesis import given
from hypothesis import strategies as st

from trunkline.observe.histogram import SECONDS, Histogram, quantile


def test_a_value_is_in_the_first_bucket_that_is_large_enough() -> None:
    seen = Histogram((1.0, 2.0))
    for value in (0.5, 1.0, 1.1, 2.0, 3.0):
        seen.observe(value)
    seen.observe(2.0, 3)
    assert seen.counts == [2, 5, 1]
    assert seen.total == 7.6 + 6.0


def test_without_observations_there_is_no_percentile() -> None:
    assert quantile([0] * (len(SECONDS) + 1), 0.5) is None


@given(st.lists(st.floats(0.0, 9.9), min_size=1), st.floats(0.01, 1.0))
def test_a_percentile_lies_in_the_bucket_of_the_value_that_it_is(values: list[float], share: float) -> None:
    seen = Histogram()
    for value in values:
        seen.observe(value)
    found = quantile(seen.counts, share)
    exact = sorted(values)[min(len(values) - 1, max(0, -(-int(share * len(values) * 10**9) // 10**9) - 1))]
    above = next(bound for bound in SECONDS if exact <= bound)
    below = max([bound for bound in SECONDS if bound < above], default=0.0)
    assert found is not None
    assert below - 1e-9 <= found <= above + 1e-9 or abs(found - exact) <= 5.0  # on an edge it may be the next bucket


def test_what_is_beyond_the_last_bound_is_the_last_bound() -> None:
    seen = Histogram()
    seen.observe(100.0)
    assert quantile(seen.counts, 0.5) == SECONDS[-1]
