"""Counters: the one place in which a process counts what it does. Counting is an addition for each batch or event."""

from __future__ import annotations

from collections import Counter


class Counters:
    """What one process has done since its start.

    Attributes:
        commits: Batches that the store has committed.
        published: Messages that were stored; `duplicates` were stored before, under the same id.
        delivered: Messages times readers.
        gaps: Gaps that readers were told.
        notified: Notifications times readers.
        stalls: How often a reader's socket was full.
        expired: Connections that did not answer a ping.
        refusals: Refused requests, commands and connections, by error code.
    """

    __slots__ = (
        "commits", "delivered", "duplicates", "expired", "gaps", "notified", "published", "refusals", "stalls",
    )  # fmt: skip

    def __init__(self) -> None:
        self.commits = 0
        self.published = 0
        self.duplicates = 0
        self.delivered = 0
        self.gaps = 0
        self.notified = 0
        self.stalls = 0
        self.expired = 0
        self.refusals: Counter[str] = Counter()

    def committed(self, receipts: int, duplicates: int) -> None:
        """Count a batch that the store has committed.

        Args:
            receipts: How many of its messages the store has.
            duplicates: How many of those it had before.
        """
        self.commits += 1
        self.published += receipts - duplicates
        self.duplicates += duplicates
