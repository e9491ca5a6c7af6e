"""Medians of rounds, and how sure they are."""

from __future__ import annotations

import math
import random
import statistics
from collections.abc import Sequence

RESAMPLES = 2000


def interval(values: Sequence[float]) -> tuple[float, float]:
    """Return the 95 % interval of the median, by bootstrap."""
    rng = random.Random(1)
    medians = sorted(statistics.median(rng.choices(values, k=len(values))) for _ in range(RESAMPLES))
    return medians[math.floor(0.025 * RESAMPLES)], medians[math.ceil(0.975 * RESAMPLES) - 1]


def with_interval(values: Sequence[float], digits: int = 3) -> str:
    """Return a median and its interval for a person; one value has none."""
    if len(values) == 1:
        return f"{values[0]:.{digits}g}"
    low, high = interval(values)
    return f"{statistics.median(values):.{digits}g} [{low:.{digits}g}, {high:.{digits}g}]"
