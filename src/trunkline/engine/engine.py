"""The composition root of the engine: builds the parts, starts them in order, and drains and stops them.

tasks < delivery < rooms < follower < appender, pages, retention
cluster < notifier < signals, presence, read marks < live
cluster, follower < corrections
"""

from __future__ import annotations

import logging
import secrets
from typing import TYPE_CHECKING

from trunkline.core.cluster_messages import ROOMS_ASKED_MAX, RoomsInUse
from trunkline.core.cursor import Room
from trunkline.core.limits import Limits, Tuning
from trunkline.core.pieces import pieces
from trunkline.core.redaction import RecentRedactions
from trunkline.core.trace import Trace
from trunkline.engine.appender import Appender
from trunkline.engine.availability import Availability
from trunkline.engine.clock import Clock, SystemClock
from trunkline.engine.cluster import Cluster
from trunkline.engine.connections import Connections
from trunkline.engine.corrections import Corrections
from trunkline.engine.delivery import Delivery
from trunkline.engine.follower import Follower
from trunkline.engine.live import LiveState
from trunkline.engine.loop_delay import LoopDelay
from trunkline.engine.news import News
from trunkline.engine.notifier import Notifier
from trunkline.engine.pages import Pages
from trunkline.engine.presence import PresenceService
from trunkline.engine.purge import Purge
from trunkline.engine.read_marks import ReadMarkService
from trunkline.engine.records import Records
from trunkline.engine.retention import Retention
from trunkline.engine.rooms import Rooms
from trunkline.engine.signals import SignalService
from trunkline.engine.tasks import Tasks
from trunkline.engine.tunnels import Tunnels
from trunkline.errors import TrunklineError
from trunkline.observe.counters import Counters
from trunkline.stores.base import Store
from trunkline.stores.measured import MeasuredStore

if TYPE_CHECKING:
    from trunkline.engine.tracing import PublishSpans

log = logging.getLogger("trunkline")

MOVE_AFTER_MS = 1000


class Engine:
    """Rooms on one event loop, and all that happens in them.

    Args:
        ping_interval_s, ping_timeout_s: See `Connections`.
        presence_grace_s: See `PresenceService`.
        clock: Time and chance.

    Raises:
        ValueError: The ping timeout is not shorter than the interval.
    """

    def __init__(
        self,
        store: Store,
        limits: Limits,
        tuning: Tuning,
        counters: Counters,
        *,
        ping_interval_s: float = 30.0,
        ping_timeout_s: float = 10.0,
        presence_grace_s: float = 5.0,
        clock: Clock | None = None,
    ) -> None:
        name = store.bus.name if store.bus is not None else secrets.token_hex(4)
        self.clock = clock or SystemClock()
        self.store = store = MeasuredStore(store, counters, self.clock.monotonic)
        self.limits = limits
        self.tuning = tuning
        self.counters = counters
        self.is_draining = False
        self.is_running = False
        self.tasks = Tasks()
        self.loop_delay = LoopDelay(counters.loop_delay_s)
        self.availability = Availability(self.clock)
        self.redactions = RecentRedactions()
        self.news = News()
        self.delivery = Delivery(store, tuning, counters, self.tasks, self.clock, self.redactions, self._catch_up)
        self.rooms = Rooms(store, self.delivery, tuning, self.tasks, self._catch_up)
        self.follower = Follower(
            store,
            self.rooms,
            self.delivery,
            tuning,
            self.tasks,
            self.availability,
            counters,
            self.clock,
            self.redactions,
            self.news,
        )
        self._spans = _publish_spans()
        self.appender = Appender(
            store,
            self.rooms,
            self.delivery,
            limits,
            counters,
            self.tasks,
            self.clock,
            self.availability,
            self.news,
            self.follower.append_failed,
        )
        self.pages = Pages(store, self.follower, limits, self.availability, self.redactions)
        self.retention = Retention(store, self.rooms, self.tasks, self.clock, self._unused_elsewhere)
        self.cluster = self._make_cluster(presence_grace_s)
        self.tunnels = None if self.cluster is None else Tunnels(self.cluster, self.clock)
        self.records = Records(store, self.tasks)
        self.purge = Purge(store, self.tasks, self.clock)
        self.corrections = Corrections(
            store, self.follower, self.redactions, self.cluster, self.clock, self.purge, self.news
        )
        self.connections = Connections(name, ping_interval_s, ping_timeout_s, counters, self.clock, self.cluster)
        self.notifier = Notifier(name, self.rooms.get, tuning, counters, self.clock)
        self.signals = SignalService(self.notifier, self.cluster, self.clock, self.connections.find)
        self.presence = PresenceService(self.notifier, self.cluster, self.clock, presence_grace_s)
        self.read_marks = ReadMarkService(store, self.rooms, self.follower, self.notifier, self.cluster, self.clock)
        self.live = LiveState(self.notifier, self.signals, self.presence, self.read_marks, self.clock)

    def _make_cluster(self, grace_s: float) -> Cluster | None:
        if self.store.bus is None:
            return None
        cluster = Cluster(self.store.bus, self.tasks, self.clock, grace_s, lambda: self.availability.hears)
        cluster.on_request(RoomsInUse, self._rooms_in_use)
        return cluster

    @property
    def name(self) -> str:
        """This process's name."""
        return self.connections.name

    def rename(self, name: str) -> None:
        """Take another name: this process was forked from the one that made the engine. Before `start`."""
        self.connections.name = self.notifier.name = name
        if self.store.bus is not None:
            self.store.bus.name = name

    # Life.

    async def start(self) -> None:
        """Open the store and begin, on the running event loop.

        Raises:
            ConfigError: The store cannot be used.
        """
        self.store.on_append = self.follower.on_append
        await self.store.start()
        self.is_draining = False
        self.availability.start()
        self.rooms.start()
        self.pages.start()
        await self.follower.start()
        self.appender.start()
        self.records.start()
        self.retention.start()
        self.purge.start()
        self.connections.start()
        self.tasks.every(1.0, self.notifier.expire)
        self.tasks.every(1.0, self._move_clients)
        self.loop_delay.start()
        if self._spans is not None:
            self._look_for_tracer()
            self.tasks.every(1.0, self._look_for_tracer)
        if self.cluster is not None:
            self.cluster.start()
        self.is_running = True

    def stop_taking(self) -> None:
        """Take no more messages, and let no poll wait: what `drain` does first, at once."""
        self.is_draining = True
        self.pages.stop()
        self.appender.stop()

    async def drain(self, retry_after_ms: int, timeout_s: float) -> None:
        """Take no more messages, finish the acks, wake the polls, and send all streaming clients away.

        Args:
            retry_after_ms: Clients are told to come back at different times of up to this one.
            timeout_s: How long to wait for the acks, and then for the clients, in seconds.
        """
        self.stop_taking()
        log.info("draining", extra={"connections": len(self.connections), "retry_after_ms": retry_after_ms})
        await self.appender.drain(timeout_s)
        self.availability.end_waiting()
        self.rooms.wake_all()
        await self.connections.drain(retry_after_ms, timeout_s)
        log.info("drained")

    async def close(self) -> None:
        """Stop, and close the store."""
        try:
            self.connections.stop()
            self.loop_delay.stop()
            await self.tasks.cancel()
            self.appender.close()
            self.rooms.close()
            await self.presence.close()
            await self.read_marks.close()
            self.signals.close()
            self.notifier.close()
            if self.tunnels is not None:
                self.tunnels.close()
            if self.cluster is not None:
                self.cluster.leave()
        finally:
            await self.store.close()
            self.is_running = False

    async def begin_epochs(self) -> None:
        """Let each room go on in a new epoch.

        Raises:
            ConfigError: Other processes use the log, and would not notice.
            StoreUnavailable: Tried again, it may work.
        """
        await self.store.begin_epochs()
        for room in self.rooms:
            await self.follower.change_epoch(room)

    def _look_for_tracer(self) -> None:
        if self._spans is not None and self._spans.look():
            self.appender.trace(self._spans.begin)

    def publish_refused(self, room: str, message_id: str | None, trace: Trace | None, error: TrunklineError) -> None:
        """Note that a message was refused before the appender had it: it has a span, too, if messages have any."""
        if self._spans is not None:
            self._spans.refused(room, message_id, trace, error)

    @property
    def unready(self) -> str | None:
        """Why clients should not be sent here now; None if there is no reason."""
        if not self.is_running or self.is_draining:
            return "draining" if self.is_draining else "not started"
        return self.availability.unready

    def _move_clients(self) -> None:
        """Send clients to other nodes if this one cannot read and the others may; if none can, they stay and wait."""
        why = self.availability.unreadable
        if (
            why is not None
            and self.store.shared
            and len(self.connections)
            and not self.availability.is_log_away
            and not self.is_draining
        ):
            log.error("%d clients are sent elsewhere: %s", len(self.connections), why)
            self.connections.send_away(MOVE_AFTER_MS)

    # Knots: parts below need what parts above know.

    async def _catch_up(self, room: Room) -> None:
        await self.follower.catch_up(room)

    async def _rooms_in_use(self, asked: RoomsInUse) -> int:
        return sum(1 << n for n, name in enumerate(asked.rooms) if not self.rooms.is_unused(name))

    async def _unused_elsewhere(self, names: list[str]) -> list[str]:
        """Return which of these rooms no other node reads, as far as all of them answer."""
        if self.cluster is None:
            return names
        unused: list[str] = []
        for some in pieces(names, ROOMS_ASKED_MAX):
            answers = await self.cluster.ask(RoomsInUse([*some]))
            if answers.missing_nodes:
                break
            used = 0
            for answer in answers.values:
                used |= answer if isinstance(answer, int) else 0
            unused += [name for n, name in enumerate(some) if not used >> n & 1]
        return unused


def _publish_spans() -> PublishSpans | None:
    try:
        from trunkline.engine.tracing import PublishSpans  # noqa: PLC0415 - the extra `otel` may not be there
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "opentelemetry":
            raise
        return None
    return PublishSpans()
