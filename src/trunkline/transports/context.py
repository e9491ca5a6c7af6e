"""What every transport is given: the engine, the access rules, and what all connections of one hub share."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from contextvars import Context as Variables
from typing import Any, ClassVar, NamedTuple, Protocol

from starlette.types import ASGIApp

from trunkline.access.administration import Administration
from trunkline.access.erasures import Erasures
from trunkline.access.moderation import Moderation
from trunkline.access.policy import Access
from trunkline.admin.directory import Directory
from trunkline.admin.doctor import machine_findings
from trunkline.admin.figures import Figures
from trunkline.admin.lookup import Lookup
from trunkline.admin.overview import Overview
from trunkline.consumers.registry import Consumers
from trunkline.core.close_codes import label, reason_of
from trunkline.core.cluster_messages import Follow
from trunkline.core.connection_event import ConnectionEvent
from trunkline.core.finding import Finding
from trunkline.core.grant import Grant
from trunkline.engine.backups import Backups
from trunkline.engine.clock import Clock
from trunkline.engine.engine import Engine
from trunkline.handlers.calls import Calls
from trunkline.handlers.connection_hooks import ConnectionHooks
from trunkline.handlers.publishing import Publishing
from trunkline.handlers.runner import Runner
from trunkline.transports.acknowledgements import Acknowledgements
from trunkline.transports.asgi_writer import AsgiWriter
from trunkline.wire import envelope

log = logging.getLogger("trunkline")

WAITING_POLLS = "longpoll"  # under which they are counted, like streams

RETRY_MS_MIN, RETRY_MS_MAX = 5000, 60_000
RECONNECTS_PER_S = 1000  # a fifth of what a core can take: clients that come back want to catch up, too
PIECE_BYTES = 64 * 1024  # of an answer: a client that takes it slowly holds no more than that in our socket's buffer


class Ended(Protocol):
    """A streaming connection, as the line about its end has it (`Stream`)."""

    transport: ClassVar[str]
    session: str
    grant: Grant
    address: str
    end_code: int
    gaps: int

    @property
    def age_s(self) -> float:
        """How long it was open, in seconds."""

    @property
    def given(self) -> int:
        """How many messages it was given."""


class Following(Protocol):
    """Follows sessions (follow.py)."""

    async def follow(self, wanted: Follow) -> None:
        """Tell what a session does, for a minute.

        Raises:
            RequestError: It cannot be followed.
        """


class Parts(NamedTuple):
    """What a hub is made of, below its transports."""

    engine: Engine
    access: Access
    administration: Administration
    figures: Figures
    overview: Overview
    lookup: Lookup
    follows: Following
    moderation: Moderation
    erasures: Erasures
    directory: Directory
    backups: Backups
    runner: Runner
    publishing: Publishing
    calls: Calls
    connection_hooks: ConnectionHooks
    consumers: Consumers
    acknowledgements: Acknowledgements


class Context:
    """The rooms of one hub, for transports.

    Args:
        ensure_started: Starts a hub that was never started; raises ShuttingDown for one that was closed.

    Attributes:
        mounts: What else is served beside the rooms, by the beginning of its path, with a slash at its end.
        on_drain: Called when all streams were sent away, for what else is connected.
        unsent_bytes: Of answers to polls that are on their way.
        figures: The metrics.
        overview: What the dashboard shows.
        lookup: Finds connections.
        follows: Follows sessions.
        moderation: Redacts messages, and deletes rooms.
        erasures: Erases users.
        directory: Lists rooms.
        backups: Writes backups.
        publishing: The way of clients' messages to the log.
        calls: Carries out calls.
        consumers: Runs durable consumers.
        acknowledgements: Those of consumers outside.
    """

    def __init__(self, parts: Parts, ensure_started: Callable[[], Awaitable[None]]) -> None:
        self.use(parts)
        self.ensure_started = ensure_started
        self.asgi_writer = AsgiWriter(lambda work: Variables().run(self.engine.tasks.spawn, work))
        self.unsent_bytes = 0
        self.mounts: dict[str, ASGIApp] = {}
        self.on_drain: list[Callable[[], None]] = []

    def use(self, parts: Parts) -> None:
        """Be of these from now on."""
        self.parts = parts
        self.engine, self.access, self.administration = parts.engine, parts.access, parts.administration
        self.figures, self.overview, self.lookup = parts.figures, parts.overview, parts.lookup
        self.follows, self.moderation, self.erasures = parts.follows, parts.moderation, parts.erasures
        self.directory, self.backups = parts.directory, parts.backups
        self.publishing, self.calls, self._connection_hooks = parts.publishing, parts.calls, parts.connection_hooks
        self.consumers, self.acknowledgements = parts.consumers, parts.acknowledgements
        self.limits = self.engine.limits
        connections = self.engine.connections
        self._expected = envelope.expected_of(connections.ping_interval_s, connections.ping_timeout_s, self.limits)

    def start_handlers(self) -> None:
        """Begin to call the application, on the running event loop."""
        self.parts.runner.start()
        self.calls.start()
        self._connection_hooks.start()
        self.consumers.start()

    def connected(self, stream: Ended) -> None:
        """Tell the application of a client that has been let in."""
        if self._connection_hooks.are_wanted:
            now_ms = self.engine.clock.wall_ms()
            told = ConnectionEvent(stream.session, stream.grant, stream.address, stream.transport, now_ms)
            self._connection_hooks.connected(told)

    def ended(self, stream: Ended) -> None:
        """Count a streaming connection that has ended, tell the application, and write a line about it."""
        code = label(stream.end_code)
        if self._connection_hooks.are_wanted:
            self._connection_hooks.ended(
                stream.session,
                self.engine.clock.wall_ms(),
                reason_of(stream.end_code),
                int(stream.end_code),
                stream.age_s,
            )
        counters = self.engine.counters
        counters.open[stream.transport] -= 1
        counters.closes[stream.transport, code] += 1
        if log.isEnabledFor(logging.INFO):
            log.info(
                "connection ended",
                extra={
                    "session": stream.session,
                    "user": stream.grant.user,
                    "address": stream.address,
                    "transport": stream.transport,
                    "code": int(stream.end_code),
                    "seconds": round(stream.age_s, 3),
                    "messages": stream.given,
                    "gaps": stream.gaps,
                },
            )

    def examine(self) -> list[Finding]:
        """Return what this process finds about its machine, and about the clocks of the other nodes."""
        location = self.engine.store.location
        machine = machine_findings(self.limits.connections_max, location if "/" in location else None)
        return [*machine, *self.overview.clock_findings()]

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
            "polls": counters.open[WAITING_POLLS],
            "refusals": dict(counters.refusals),
            "connections": len(engine.connections),
            "rooms": len(engine.rooms),
            "commits": counters.commits,
            "published": counters.published,
            "duplicates": counters.duplicates,
            "delivered": counters.delivered.total(),
            "gaps": counters.gaps.total(),
            "notified": counters.notified,
            "stalls": counters.stalls,
            "expired": counters.expired,
            "in_flight": engine.appender.in_flight,
        }
