"""What the dashboard shows: every process tells of itself every two seconds, and each of them puts together what it has
heard. It is live in the room `$overview`, and needs no log for that.
"""

from __future__ import annotations

import os
import socket
from collections import Counter
from collections.abc import Callable, Iterable
from heapq import nlargest
from importlib.metadata import version
from itertools import chain
from typing import Any, Protocol, TypeVar, runtime_checkable

import msgspec

from trunkline.access.policy import Access
from trunkline.admin.figures import OPEN_TRANSPORTS
from trunkline.admin.sample import BusyRoom, ConsumerShare, Sample, Share, SlowReader
from trunkline.admin.timeline import Node, Timeline
from trunkline.consumers.registry import Consumers
from trunkline.core.cluster_messages import Sampled
from trunkline.core.cursor import Cursor
from trunkline.core.finding import Finding, clock_finding
from trunkline.core.grant import Grant
from trunkline.core.system_rooms import OVERVIEW
from trunkline.engine.engine import Engine
from trunkline.observe.activity import Taken
from trunkline.observe.histogram import quantile
from trunkline.observe.process import process_figures

SAMPLE_S = 2.0
TOP = 10
CLOCK_MAX_S = 2.0
WATCHED_S = 10.0  # after a dashboard was last heard of
LISTED_MAX = 20  # of the slow readers, busy rooms and so on of all nodes together

T = TypeVar("T", bound=msgspec.Struct)

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Sample).decode


@runtime_checkable
class Described(Protocol):
    """A reader that can be told apart by people."""

    session: str
    address: str
    grant: Grant
    transport: str


class Overview:
    """The dashboard's figures, as one process knows them."""

    def __init__(self, engine: Engine, access: Access, consumers: Consumers) -> None:
        self._engine = engine
        self._access = access
        self._consumers = consumers
        self._timeline = Timeline()
        self._watched_until = 0.0
        self._version = version("trunkline")
        self._host = socket.gethostname()
        if engine.cluster is not None:
            engine.cluster.on_message(Sampled, self._heard)
            engine.cluster.when_ended(lambda node, said: self._timeline.ended(node, said=said))

    def start(self) -> None:
        """Begin to sample: once the engine runs."""
        self._sample()
        self._engine.tasks.every(SAMPLE_S, self._sample)

    def watch(self) -> None:
        """Note that somebody looks at a dashboard."""
        self._watched_until = self._engine.clock.monotonic() + WATCHED_S

    def as_json(self, *, history: bool) -> dict[str, Any]:
        """Return what a dashboard shows.

        Args:
            history: The last quarter of an hour, too, and not its newest step alone.
        """
        now_ms, timeline, samples = self._engine.clock.wall_ms(), self._timeline, self._recent_samples()
        kept = [[*node.samples] for node in timeline.nodes.values() if node.sample in samples]
        last = timeline.last_step()
        return {
            "now": now_ms,
            "node": self._engine.name,
            "sample_s": SAMPLE_S,
            "nodes": [_node_json(node, self._steady_ms) for node in timeline.nodes.values()],
            "steps": timeline.steps() if history else [last] if last is not None else [],
            "consumers": _most(_summed_consumers(samples), lambda consumer: consumer.lag),
            "slow_readers": _most([r for s in samples for r in s.slow_readers], lambda reader: reader.lag),
            "counted_s": max([sum(sample.counted_s for sample in of_node) for of_node in kept], default=0.0),
            "busy_rooms": _most(_summed_rooms(kept), lambda room: room.messages),
            "publishers": _most(_summed(s.publishers for s in chain(*kept)), lambda share: share.count),
            "refused": _most(_summed(s.refused for s in chain(*kept)), lambda share: share.count),
        }

    def _sample(self) -> None:
        engine = self._engine
        room = engine.rooms.get(OVERVIEW)
        if room is not None and room.readers:
            self.watch()
        now_ms = engine.clock.wall_ms()
        sample = self._take(now_ms)
        self._timeline.add(sample, now_ms, self._steady_ms)
        if engine.cluster is not None:
            engine.cluster.send(Sampled, sample=_encode(sample))
        if room is not None and room.readers:
            engine.signals.tell_here(OVERVIEW, "overview", msgspec.json.encode(self.as_json(history=False)))

    def _heard(self, message: Sampled) -> None:
        try:
            sample = _decode(message.sample)
        except msgspec.DecodeError:  # of another version
            return
        self._timeline.add(sample, self._engine.clock.wall_ms(), self._steady_ms)

    def _recent_samples(self) -> list[Sample]:
        """Return the newest samples of the processes that are not silent."""
        since_ms = self._steady_ms - WATCHED_S * 1000
        return [node.sample for node in self._timeline.nodes.values() if node.heard_ms > since_ms]

    def clock_findings(self) -> list[Finding]:
        """Return what is found about the clocks of the other processes, as they tell their time every two seconds."""
        findings, now_ms, steady_ms = [], self._engine.clock.wall_ms(), self._steady_ms
        for name, node in self._timeline.nodes.items():
            if name == self._engine.name or node.end:
                continue
            ahead_s = (node.sample.at_ms - (now_ms - (steady_ms - node.heard_ms))) / 1000
            what = f"the clock of {node.sample.host} ({name})"
            findings.append(clock_finding(what, ahead_s, allowed_s=CLOCK_MAX_S, same="the same as here"))
        return findings

    @property
    def _steady_ms(self) -> int:
        return round(self._engine.clock.monotonic() * 1000)

    @property
    def _is_watched(self) -> bool:
        """Whether a dashboard of this process is open."""
        return self._engine.clock.monotonic() < self._watched_until

    def _take(self, now_ms: int) -> Sample:
        engine, counters = self._engine, self._engine.counters
        figures = process_figures(self._access.addresses.connections)
        was_watched, taken = counters.activity.is_watched, counters.activity.take()
        others = (sample.is_watched for sample in self._recent_samples() if sample.node != engine.name)
        counters.activity.is_watched = self._is_watched or any(others)
        return Sample(
            node=engine.name,
            at_ms=now_ms,
            started_ms=round(figures.started_at * 1000),
            version=self._version,
            host=self._host,
            pid=os.getpid(),
            sockets=self._access.addresses.connections,
            connections={transport: counters.open[transport] for transport in OPEN_TRANSPORTS},
            rooms=len(engine.rooms),
            members=engine.presence.count,
            readers=engine.delivery.readers,
            stalled=len(engine.delivery.stalled),
            in_flight=engine.appender.in_flight,
            published=counters.published,
            duplicates=counters.duplicates,
            connects=counters.connects.total(),
            closes=counters.closes.total(),
            delivered=dict(counters.delivered),
            gaps=dict(counters.gaps),
            refusals=dict(counters.refusals),
            publish=[*counters.publish_s.counts],
            delivery=[*counters.delivery_s.counts],
            loop_delay=[*counters.loop_delay_s.counts],
            unreadable=engine.availability.unreadable or "",
            unwritable=engine.availability.unwritable or "",
            store_waiting_s=engine.store.waiting_s,
            cpu_s=figures.cpu_s,
            memory_bytes=figures.memory_bytes,
            is_draining=engine.is_draining,
            is_watched=self._is_watched,
            slow_readers=self._slow_readers(now_ms),
            busy_rooms=[self._busy_room(name, taken.published[name]) for name in _busiest(taken)],
            publishers=[Share(who, count) for who, count in taken.publishers.most_common(TOP)],
            refused=[Share(who, count, is_user) for (who, is_user), count in taken.refused.most_common(TOP)],
            counted_s=SAMPLE_S if was_watched else 0.0,
            consumers=[
                ConsumerShare(
                    name, *of[:2], of.lag, counters.consumer_failures[name], counters.consumer_set_aside[name]
                )
                for name, of in list(self._consumers.running().items())[:LISTED_MAX]
            ],
        )

    def _busy_room(self, name: str, count: int) -> BusyRoom:
        room = self._engine.rooms.get(name)
        return BusyRoom(name, count, 0 if room is None else room.readers)

    def _slow_readers(self, now_ms: int) -> list[SlowReader]:
        slowest = nlargest(TOP, self._engine.delivery.stalled, key=lambda cursor: cursor.lag)
        return [reader for cursor in slowest if (reader := _slow_reader(cursor, now_ms)) is not None]


def _slow_reader(cursor: Cursor, now_ms: int) -> SlowReader | None:
    reader, room = cursor.reader, cursor.room
    if not isinstance(reader, Described):
        return None  # a reader of a test
    next_one = room.since(cursor.offset, 1, 1) if cursor.lag else None
    behind_ms = max(0, now_ms - next_one[0].at) if next_one else None
    return SlowReader(
        reader.session, reader.grant.user, reader.address, reader.transport, room.name, cursor.lag, behind_ms
    )


def _node_json(node: Node, steady_ms: int) -> dict[str, Any]:
    sample = node.sample
    return {
        "name": sample.node,
        "host": sample.host,
        "pid": sample.pid,
        "version": sample.version,
        "started": sample.started_ms,
        "heard_ms": steady_ms - node.heard_ms,
        "end": node.end,
        "is_draining": sample.is_draining,
        "connections": sample.connections,
        "sockets": sample.sockets,
        "rooms": sample.rooms,
        "readers": sample.readers,
        "stalled": sample.stalled,
        "in_flight": sample.in_flight,
        "unreadable": sample.unreadable,
        "unwritable": sample.unwritable,
        "store_waiting_s": round(sample.store_waiting_s, 1),
        "loop_delay_s": quantile(node.loop_delay, 0.99),
        "cpu_share": node.cpu_share,
        "memory_bytes": sample.memory_bytes,
    }


def _most(of: Iterable[T], size: Callable[[T], int]) -> list[T]:
    return nlargest(LISTED_MAX, of, size)


def _summed(shares: Iterable[Iterable[Share]]) -> list[Share]:
    total: Counter[tuple[str, bool]] = Counter()
    for share in chain.from_iterable(shares):
        total[share.who, share.is_user] += share.count
    return [Share(who, count, is_user) for (who, is_user), count in total.items()]


def _summed_consumers(samples: Iterable[Sample]) -> list[ConsumerShare]:
    """Return durable consumers, with what all nodes have of them."""
    found: dict[str, ConsumerShare] = {}
    for share in chain.from_iterable(sample.consumers for sample in samples):
        before = found.get(share.name, ConsumerShare(share.name, 0, 0, 0, 0, 0))
        found[share.name] = ConsumerShare(
            share.name,
            before.instances + share.instances,
            before.rooms + share.rooms,
            before.lag + share.lag,
            before.failures + share.failures,
            before.set_aside + share.set_aside,
        )
    return list(found.values())


def _summed_rooms(kept: Iterable[list[Sample]]) -> list[BusyRoom]:
    """Return rooms with all that was published to them on all nodes, and all who read them now."""
    messages: Counter[str] = Counter()
    readers: Counter[str] = Counter()
    for of_node in kept:
        newest = {}
        for room in chain.from_iterable(sample.busy_rooms for sample in of_node):
            messages[room.room] += room.messages
            newest[room.room] = room.readers
        readers.update(newest)
    return [BusyRoom(name, count, readers[name]) for name, count in messages.items() if count]


def _busiest(taken: Taken) -> list[str]:
    """Return the rooms that matter most: to which this process has appended, and that others have moved."""
    named = (*taken.published.most_common(TOP), *taken.moved.most_common(TOP))
    return list(dict.fromkeys(name for name, _ in named))
