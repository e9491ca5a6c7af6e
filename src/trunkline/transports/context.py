"""What every transport is given: the engine, the access rules, and what all connections of one hub share."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextvars import Context as Variables
from typing import Any

from trunkline.access.administration import Administration
from trunkline.access.policy import Access
from trunkline.core.grant import Grant
from trunkline.engine.clock import Clock
from trunkline.engine.engine import Engine
from trunkline.transports.asgi_writer import AsgiWriter
from trunkline.wire import envelope

RETRY_MS_MIN, RETRY_MS_MAX = 5000, 60_000
RECONNECTS_PER_S = 1000  # a fifth of what a core can take: clients that come back want to catch up, too
PIECE_BYTES = 64 * 1024  # of an answer: a client that takes it slowly holds no more than that in our socket's buffer


class Context:
    """The rooms of one hub, for transports.

    Args:
        ensure_started: Starts a hub that was never started; raises ShuttingDown for one that was closed.

    Attributes:
        unsent_bytes: Of answers to polls that are on their way.
        waiting_polls: How many polls wait for something new.
    """

    def __init__(
        self,
        engine: Engine,
        access: Access,
        administration: Administration,
        ensure_started: Callable[[], Awaitable[None]],
    ) -> None:
        self.engine = engine
        self.access = access
        self.administration = administration
        self.ensure_started = ensure_started
        self.limits = engine.limits
        connections = engine.connections
        self._expected = envelope.expected_of(connections.ping_interval_s, connections.ping_timeout_s, self.limits)
        self.asgi_writer = AsgiWriter(lambda work: Variables().run(self.engine.tasks.spawn, work))
        self.unsent_bytes = 0
        self.waiting_polls = 0

    @property
    def clock(self) -> Clock:
        """The clock of the engine."""
        return self.engine.clock

    @property
    def retry_max_ms(self) -> int:
        """Over how long the clients that are connected now are to spread their attempts to come back, if we die."""
        spread_ms = self.access.addresses.connections / RECONNECTS_PER_S * 1000
        return round(min(RETRY_MS_MAX, max(RETRY_MS_MIN, spread_ms)))

    @property
    def poll_bytes_max(self) -> int:
        """The largest page that a poll may be answered with now: the more are on their way, the smaller."""
        most = self.limits.poll_bytes_max
        left = max(0, self.limits.unsent_bytes_max - self.unsent_bytes)
        return max(min(most, PIECE_BYTES), min(most, left // 4))

    def welcome_body(self, session: str, grant: Grant, member: str) -> bytes:
        """Return what a client is told at the beginning: its session, its user, and what is expected of it."""
        now_ms = self.engine.clock.wall_ms()
        return envelope.welcome_body(session, grant, member, now_ms, self.retry_max_ms, self._expected)

    def statistics(self) -> dict[str, Any]:
        """Return what there is now, and the counters since the start."""
        engine, counters = self.engine, self.engine.counters
        return {
            "sockets": self.access.addresses.connections,
            "authenticated": len(self.access.registry),
            "guests": len(self.access.registry),  # an earlier name
            "polls": self.waiting_polls,
            "refusals": dict(counters.refusals),
            "connections": len(engine.connections),
            "rooms": len(engine.rooms),
            "commits": counters.commits,
            "published": counters.published,
            "duplicates": counters.duplicates,
            "delivered": counters.delivered,
            "gaps": counters.gaps,
            "notified": counters.notified,
            "stalls": counters.stalls,
            "expired": counters.expired,
            "in_flight": engine.appender.in_flight,
        }
