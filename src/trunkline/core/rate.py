"""Token buckets: rate limits by key, such as an address or a user.

A bucket fills at `per_s` tokens a second up to `burst`; whatever takes one when there is none is told how long to
wait. The buckets of all keys are bounded: the one that was not used for longest is forgotten, and by then, unless
there are more addresses than buckets, it is full again, which is the same as a new one.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable

from trunkline.errors import RequestError

KEYS_MAX = 65_536
# What is counted is work. A command, a request or a message is one piece; so many bytes or rooms are another one.
BYTES_PER_PIECE = 16 * 1024
ROOMS_PER_PIECE = 10


def work(size: int = 0, rooms: int = 0) -> int:
    """Return how many pieces of work something of so many bytes and rooms is."""
    return 1 + size // BYTES_PER_PIECE + rooms // ROOMS_PER_PIECE


def too_fast(what: str, wait_s: float) -> RequestError:
    """Return the error for a client that a bucket has told to wait."""
    return RequestError("rate_limited", what, max(1, round(wait_s * 1000)))


class Bucket:
    """One bucket. Times are seconds of any clock that only goes forward."""

    __slots__ = ("_at", "_tokens")

    def __init__(self, burst: float, now: float) -> None:
        self._tokens = burst
        self._at = now

    def take(self, per_s: float, burst: float, now: float, cost: float = 1.0) -> float:
        """Take *cost* tokens, and return 0; or take none, and return after how many seconds there will be enough.

        What costs more than a bucket holds is let through by a full one, which then owes the rest.
        """
        tokens = min(burst, self._tokens + (now - self._at) * per_s)
        self._at = now
        needed = min(cost, burst)
        if tokens >= needed:
            self._tokens = tokens - cost
            return 0.0
        self._tokens = tokens
        return (needed - tokens) / per_s


class Rate:
    """Buckets by key: an address, a user."""

    def __init__(self, per_s: float, burst: float, keys_max: int = KEYS_MAX) -> None:
        self._per_s = per_s
        self._burst = burst
        self._keys_max = keys_max
        self._buckets: OrderedDict[Hashable, Bucket] = OrderedDict()

    def __len__(self) -> int:
        return len(self._buckets)

    def take(self, key: Hashable, now: float, cost: float = 1.0) -> float:
        """Take from the key's bucket, as `Bucket.take` does."""
        bucket = self._buckets.get(key)
        if bucket is None:
            bucket = self._buckets[key] = Bucket(self._burst, now)
            if len(self._buckets) > self._keys_max:
                self._buckets.popitem(last=False)
        else:
            self._buckets.move_to_end(key)
        return bucket.take(self._per_s, self._burst, now, cost)
