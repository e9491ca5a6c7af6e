"""The metrics of one process as plain data: what a scrape is made of, whichever process answers it.

docs/operating.md says what each one means, and at which number to worry.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping
from importlib.metadata import version
from typing import Literal, Protocol

import msgspec

from trunkline.access.policy import Access
from trunkline.consumers.registry import Consumers
from trunkline.engine.engine import Engine
from trunkline.errors import REQUEST_ERRORS
from trunkline.handlers.calls import Calls
from trunkline.handlers.connection_hooks import ConnectionHooks
from trunkline.observe.histogram import LAGS, Histogram
from trunkline.observe.process import process_figures

Kind = Literal["counter", "gauge", "histogram", "gaugehistogram"]
Labels = tuple[tuple[str, str], ...]

OPEN_TRANSPORTS = ("websocket", "sse", "longpoll", "socketio")
STREAMS = ("websocket", "sse", "socketio")
TRANSPORTS = (*OPEN_TRANSPORTS, "shortpoll")
REFUSAL_CODES = (*REQUEST_ERRORS, "refused", "store_unavailable", "overloaded", "shutting_down", "internal")
CREDENTIALS = ("unauthorized", "token_expired", "revoked")
"""Error codes that say that a client did not authenticate itself."""


class Buckets(msgspec.Struct, array_like=True):
    """A histogram: the counts of each bucket alone, and the sum of what was observed."""

    bounds: list[float]
    counts: list[int]
    total: float


class Sample(msgspec.Struct, array_like=True):
    """One value, or one histogram, of a family."""

    labels: Labels
    value: float | Buckets


class Family(msgspec.Struct, array_like=True):
    """One metric, with all its labels.

    Attributes:
        name: As OpenMetrics has it, without `_total`.
        help: What it says, in one line.
    """

    name: str
    kind: Kind
    help: str
    samples: list[Sample]


class Shared(Protocol):
    """Where workers see each other's metrics."""

    def of_workers(self, path: str, own: list[Family]) -> dict[str, list[Family]]:
        """Return the metrics of all of them by their names.

        Args:
            path: Of the hub, where an application has several.
            own: This process's.
        """


class Figures:
    """The metrics of this process."""

    def __init__(
        self, engine: Engine, access: Access, consumers: Consumers, calls: Calls, connection_hooks: ConnectionHooks
    ) -> None:
        self._engine = engine
        self._access = access
        self._consumers = consumers
        self._calls = calls
        self._connection_hooks = connection_hooks
        self._shared: tuple[Shared, str] | None = None

    def share(self, shared: Shared, path: str) -> None:
        """Be one of several processes behind one address, whose metrics are told together.

        Args:
            path: Of the hub, where an application has several.
        """
        self._shared = (shared, path)

    def of_workers(self) -> dict[str, list[Family]]:
        """Return the metrics of all processes behind this address by their names; of one alone, under no name."""
        own = self.families()
        if self._shared is None:
            return {"": own}
        shared, path = self._shared
        return shared.of_workers(path, own)

    def families(self) -> list[Family]:
        """Return all metrics as they are now."""
        return [
            *self._of_connections(),
            *self._of_messages(),
            *self._of_application(),
            *self._of_store(),
            *self._of_process(),
        ]

    def _of_connections(self) -> Iterable[Family]:
        engine, counters = self._engine, self._engine.counters
        now = {transport: counters.open[transport] for transport in OPEN_TRANSPORTS}
        yield _by("connections", "gauge", "Connections that are open, and polls that wait.", "transport", now)
        yield _one("sockets", "gauge", "TCP connections that are open.", self._access.addresses.connections)
        text = "Connections and waiting polls of clients that have authenticated themselves."
        yield _one("authenticated", "gauge", text, len(self._access.registry))
        yield Family(
            "trunkline_connects",
            "counter",
            "Connections since the start: fresh, or resumed from a position.",
            [
                _sample(counters.connects[transport, kind], transport=transport, kind=kind)
                for transport in STREAMS
                for kind in ("fresh", "resumed")
            ],
        )
        yield Family(
            "trunkline_closes",
            "counter",
            "Connections that have ended, by close code (RFC 6455 section 7.4); 1006 is one that was cut.",
            [_sample(count, transport=t, code=code) for (t, code), count in counters.closes.items()],
        )
        yield _one("expired", "counter", "Connections that were cut because no pong came.", counters.expired)
        refusals = {code: counters.refusals[code] for code in REFUSAL_CODES}
        yield _by("refusals", "counter", "Refused requests, commands and connections.", "code", refusals)
        failures = {code: counters.refusals[code] for code in CREDENTIALS}
        yield _by("authentication_failures", "counter", "Refusals because of a token or a cookie.", "code", failures)
        yield _one("rooms", "gauge", "Rooms that are open in this process.", len(engine.rooms))
        yield _one("members", "gauge", "Members of all rooms, as this process knows them.", engine.presence.count)

    def _of_messages(self) -> Iterable[Family]:
        engine, counters = self._engine, self._engine.counters
        yield _one("published", "counter", "Messages that were stored.", counters.published)
        yield _one("duplicates", "counter", "Messages that were stored before, under the same id.", counters.duplicates)
        yield _one("commits", "counter", "Batches of messages that were stored.", counters.commits)
        yield _one("in_flight", "gauge", "Messages that wait for the log.", engine.appender.in_flight)
        yield _histogram("publish_seconds", "From when a message was received until it was stored.", counters.publish_s)
        delivered = {transport: counters.delivered[transport] for transport in TRANSPORTS}
        yield _by("delivered", "counter", "Messages, times the readers that were given them.", "transport", delivered)
        text = "From when a message was stored until a reader's socket had it, for each reader."
        yield _histogram("delivery_seconds", text, counters.delivery_s)
        yield _by_histogram(
            "wakeup_seconds",
            "From when another process stored a message until this one read it, by what told of it.",
            "source",
            counters.wakeup_s,
        )
        yield _one("notified", "counter", "Signals, presence and read marks, times readers.", counters.notified)
        gaps = {reason: counters.gaps[reason] for reason in ("trimmed", "slow", "epoch", "future")}
        yield _by("gaps", "counter", "Gaps that readers were told.", "reason", gaps)
        yield _one("stalls", "counter", "How often a reader's socket took no more.", counters.stalls)
        yield _one("readers", "gauge", "Readers of rooms: one connection may read several.", engine.delivery.readers)
        yield _one("readers_stalled", "gauge", "Readers whose sockets take no more.", len(engine.delivery.stalled))
        yield Family(
            "trunkline_reader_lag_messages",
            "gaugehistogram",
            "By how many messages readers are behind their rooms.",
            [Sample((), self._lag())],
        )

    def _of_application(self) -> Iterable[Family]:
        """Return what the application's own code does."""
        counters, calls = self._engine.counters, self._calls
        yield _one("calls_in_flight", "gauge", "Calls of clients that handlers carry out.", calls.in_flight)
        text = "How long hooks and handlers of the application took, by what they are."
        yield _by_histogram("handler_seconds", text, "kind", counters.handler_s)
        text = "Hooks and handlers of the application that have raised or taken too long, by what they are."
        handler_failures = {kind: counters.handler_failures[kind] for kind in counters.handler_s}
        yield _by("handler_failures", "counter", text, "kind", handler_failures)
        text = "Connection events that on_connect and on_disconnect were too slow for."
        yield _one("connection_events_dropped", "counter", text, self._connection_hooks.dropped)
        running = self._consumers.running()
        lags = {name: found.lag for name, found in running.items()}
        text = "Messages that a consumer has not handled yet, in the rooms that this process has."
        yield _by("consumer_lag_messages", "gauge", text, "consumer", lags)
        rooms = {name: found.rooms for name, found in running.items()}
        yield _by("consumer_rooms", "gauge", "Rooms that this process has for a consumer.", "consumer", rooms)
        failures = {name: counters.consumer_failures[name] for name in running}
        yield _by("consumer_failures", "counter", "Tries of messages that have failed.", "consumer", failures)
        aside = {name: counters.consumer_set_aside[name] for name in running}
        yield _by("consumer_set_aside", "counter", "Messages that were set aside.", "consumer", aside)

    def _lag(self) -> Buckets:
        behind = [cursor.lag for cursor in self._engine.delivery.stalled]
        counts = [0] * (len(LAGS) + 1)
        counts[0] = max(0, self._engine.delivery.readers - len(behind))
        for lag in behind:
            counts[bisect_left(LAGS, lag)] += 1
        return Buckets(list(LAGS), counts, float(sum(behind)))

    def _of_store(self) -> Iterable[Family]:
        engine, counters = self._engine, self._engine.counters
        up = {"read": engine.availability.unreadable is None, "append": engine.availability.unwritable is None}
        yield _by("store_up", "gauge", "Whether the log can be read, and appended to.", "operation", up)
        text = "For how long the oldest call of the store has had no answer."
        yield _one("store_waiting_seconds", "gauge", text, engine.store.waiting_s)
        yield _by_histogram("store_seconds", "How long the store took.", "operation", counters.store_s)
        errors = {name: counters.store_errors[name] for name in {**dict.fromkeys(up), **counters.store_s}}
        yield _by("store_errors", "counter", "Calls of the store that failed.", "operation", errors)
        others = 0 if engine.cluster is None else len(engine.cluster)
        yield _one("nodes", "gauge", "Processes of this log that this one hears, itself included.", 1 + others)

    def _of_process(self) -> Iterable[Family]:
        engine, counters = self._engine, self._engine.counters
        yield _histogram("event_loop_delay_seconds", "How late the event loop was.", counters.loop_delay_s)
        yield _one("draining", "gauge", "Whether this process is about to stop.", engine.is_draining)
        info = (("node", engine.name), ("version", version("trunkline")))
        yield Family("trunkline_build", "gauge", "Which version runs.", [Sample(info, 1.0)])
        figures = process_figures(self._access.addresses.connections)
        for name, kind, text, value in (
            ("process_start_time_seconds", "gauge", "When the process started, since 1970 UTC.", figures.started_at),
            ("process_cpu_seconds", "counter", "Seconds of processors that were used.", figures.cpu_s),
            ("process_resident_memory_bytes", "gauge", "Memory that is held.", figures.memory_bytes),
            ("process_open_fds", "gauge", "Open files and sockets.", figures.files),
            ("process_max_fds", "gauge", "How many files and sockets may be open.", figures.files_max),
        ):
            if value is not None:
                yield Family(name, "counter" if kind == "counter" else "gauge", text, [Sample((), float(value))])


def _sample(value: float, **labels: str) -> Sample:
    return Sample(tuple(labels.items()), float(value))


def _one(name: str, kind: Kind, text: str, value: float) -> Family:
    return Family(f"trunkline_{name}", kind, text, [Sample((), float(value))])


def _by(name: str, kind: Kind, text: str, label: str, values: Mapping[str, float]) -> Family:
    samples = [Sample(((label, key),), float(value)) for key, value in values.items()]
    return Family(f"trunkline_{name}", kind, text, samples)


def _histogram(name: str, text: str, of: Histogram) -> Family:
    return Family(f"trunkline_{name}", "histogram", text, [Sample((), _buckets(of))])


def _by_histogram(name: str, text: str, label: str, of: Mapping[str, Histogram]) -> Family:
    samples = [Sample(((label, key),), _buckets(one)) for key, one in of.items()]
    return Family(f"trunkline_{name}", "histogram", text, samples)


def _buckets(of: Histogram) -> Buckets:
    return Buckets(list(of.bounds), list(of.counts), of.total)
