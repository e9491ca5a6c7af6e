"""How often something took how long: counts by bucket, for percentiles that can be added up over processes."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence

SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""The buckets of everything that is measured in seconds, by their upper bounds."""

LAGS = (0.0, 1.0, 10.0, 100.0, 1000.0, 10_000.0)
"""The buckets of how many messages a reader is behind."""


class Histogram:
    """Observations by bucket.

    Args:
        bounds: The upper bounds of the buckets, each included; one more is for what is larger.

    Attributes:
        counts: Of each bucket alone.
        total: The sum of all observations.
    """

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: Sequence[float] = SECONDS) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def observe(self, value: float, times: int = 1) -> None:
        """Count a value, so many times."""
        self.counts[bisect_left(self.bounds, value)] += times
        self.total += value * times


def quantile(counts: Sequence[float], share: float, bounds: Sequence[float] = SECONDS) -> float | None:
    """Return the value below which this share of the observations is, interpolated within its bucket.

    Returns:
        None without observations; the largest bound for what is beyond it.
    """
    rank, below = share * sum(counts), 0.0
    if not rank:
        return None
    for index, count in enumerate(counts[:-1]):
        if count and below + count >= rank:
            begin = bounds[index - 1] if index else 0.0
            return begin + (bounds[index] - begin) * (rank - below) / count
        below += count
    return bounds[-1]
