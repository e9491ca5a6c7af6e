"""Liveness of connections: pings in buckets, without a timer per connection.

The interval is divided into TICKS; a connection is in one of that many buckets for life. Each tick pings one bucket
and, `timeout` later, drops those of the same bucket from whom nothing at all was heard since. Any inbound byte counts,
so a pong that is queued behind a large message ends no connection.

Ticks are counted, not read off a clock. If the event loop was blocked for 20 seconds, one tick came late, and
all deadlines moved with it: our own lateness is never taken for theirs.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from math import ceil
from typing import Generic, Protocol, TypeVar

TICKS = 30


class Alive(Protocol):
    heard: bool
    """Set to True by whatever arrives; set to False here when a ping goes out."""


C = TypeVar("C", bound=Alive)


class Heartbeat(Generic[C]):
    """Buckets of connections.

    Args:
        interval_s: Between two pings of one connection.
        timeout_s: How long after a ping something must be heard; shorter than the interval.
    """

    def __init__(self, interval_s: float, timeout_s: float) -> None:
        if not 0 < timeout_s < interval_s:
            raise ValueError("the ping timeout must be shorter than the ping interval")
        self.tick_s = interval_s / TICKS
        self._grace = min(ceil(timeout_s / self.tick_s), TICKS - 1)
        self._buckets: list[set[C]] = [set() for _ in range(TICKS)]
        self._now = 0
        self._next = 0

    def __len__(self) -> int:
        return sum(map(len, self._buckets))

    def __iter__(self) -> Iterator[C]:
        return chain.from_iterable(self._buckets)

    def add(self, connection: C) -> int:
        """Watch a connection; returns the bucket, which `remove` wants back.

        Buckets are filled in turn, so that 10,000 connections of one second are not pinged in one second.
        """
        connection.heard = True
        bucket = self._next
        self._next = (bucket + 1) % TICKS
        self._buckets[bucket].add(connection)
        return bucket

    def remove(self, connection: C, bucket: int) -> None:
        """Watch it no longer."""
        self._buckets[bucket].discard(connection)

    def tick(self) -> tuple[list[C], list[C]]:
        """Count one tick; return the connections to ping, and those to drop."""
        self._now = (self._now + 1) % TICKS
        late = [c for c in self._buckets[(self._now - self._grace) % TICKS] if not c.heard]
        due = list(self._buckets[self._now])
        for connection in due:
            connection.heard = False
        return due, late
