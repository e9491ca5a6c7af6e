"""Counters: the one place in which a process counts what it does. Counting is an addition for each batch or event."""

from __future__ import annotations

from collections import Counter, defaultdict

from trunkline.observe.activity import Activity
from trunkline.observe.histogram import Histogram


class Counters:
    """What one process has done since its start.

    Attributes:
        commits: Batches that the store has committed.
        published: Messages that were stored; `duplicates` were stored before, under the same id.
        delivered: Messages times readers, by transport.
        open: Connections that there are now, by transport.
        connects: Connections, by transport and whether they began `fresh`, or `resumed` from a position.
        closes: Connections that have ended, by transport and close code.
        gaps: Gaps that readers were told, by reason.
        notified: Notifications times readers.
        stalls: How often a reader's socket was full.
        expired: Connections that did not answer a ping.
        refusals: Refused requests, commands and connections, by error code.
        publish_s: Seconds from when a message was received until it was stored.
        delivery_s: Seconds from when a batch was stored until a reader's socket had it: of its oldest message, once for
            each reader.
        wakeup_s: Seconds from when another process stored messages until this one read them, by what told of them.
        store_s: Seconds that the store took, by operation.
        store_errors: Calls of the store that failed, by operation.
        handler_s: Seconds that hooks and handlers of the application took, by what they are.
        handler_failures: Those that have raised or taken too long, by what they are.
        consumer_failures: Tries of messages that failed, by durable consumer.
        consumer_set_aside: Messages that were set aside, by durable consumer.
        loop_delay_s: Seconds that the event loop was late.
        activity: Who does how much.
    """

    def __init__(self) -> None:
        self.commits = 0
        self.published = 0
        self.duplicates = 0
        self.delivered: Counter[str] = Counter()
        self.open: Counter[str] = Counter()
        self.connects: Counter[tuple[str, str]] = Counter()
        self.closes: Counter[tuple[str, str]] = Counter()
        self.gaps: Counter[str] = Counter()
        self.notified = 0
        self.stalls = 0
        self.expired = 0
        self.refusals: Counter[str] = Counter()
        self.publish_s = Histogram()
        self.delivery_s = Histogram()
        self.wakeup_s: defaultdict[str, Histogram] = defaultdict(Histogram)
        self.store_s: defaultdict[str, Histogram] = defaultdict(Histogram)
        self.store_errors: Counter[str] = Counter()
        self.handler_s: defaultdict[str, Histogram] = defaultdict(Histogram)
        self.handler_failures: Counter[str] = Counter()
        self.consumer_failures: Counter[str] = Counter()
        self.consumer_set_aside: Counter[str] = Counter()
        self.loop_delay_s = Histogram()
        self.activity = Activity()

    def committed(self, receipts: int, duplicates: int) -> None:
        """Count a batch that the store has committed.

        Args:
            receipts: How many of its messages the store has.
            duplicates: How many of those it had before.
        """
        self.commits += 1
        self.published += receipts - duplicates
        self.duplicates += duplicates
