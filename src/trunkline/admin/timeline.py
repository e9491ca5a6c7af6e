"""The last quarter of an hour of all nodes, as one of them knows it: samples put together, in steps of five seconds."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from trunkline.admin.sample import Sample
from trunkline.observe.histogram import SECONDS, quantile

STEP_MS = 5000
STEPS_MAX = 180
NODES_MAX = 1024  # that are told apart; more are not remembered
FORGET_MS = STEP_MS * STEPS_MAX
JUMP_MS = 2 * STEP_MS
SILENT_MS = 3000  # a process tells of itself every two seconds
LEFT_MS = 60_000  # for so long a process that has said goodbye is shown
LISTED = 5  # samples of each node, from which the lists are made
SHARES = (0.5, 0.99)


End = Literal["", "left", "died"]


class _Step:
    """What happened in five seconds."""

    __slots__ = ("begin_ms", "connections", "counts", "delivery", "gaps", "publish", "refusals")

    def __init__(self, begin_ms: int) -> None:
        self.begin_ms = begin_ms
        self.connections: dict[str, dict[str, int]] = {}  # by node, the newest
        self.counts: Counter[str] = Counter()
        self.gaps: Counter[str] = Counter()
        self.refusals: Counter[str] = Counter()
        self.publish = [0] * (len(SECONDS) + 1)
        self.delivery = [0] * (len(SECONDS) + 1)

    def as_json(self) -> dict[str, Any]:
        connections: Counter[str] = Counter()
        for of_node in self.connections.values():
            connections.update(of_node)
        return {
            "at": self.begin_ms,
            "nodes": len(self.connections),
            "connections": dict(connections),
            "published": self.counts["published"],
            "delivered": self.counts["delivered"],
            "connects": self.counts["connects"],
            "closes": self.counts["closes"],
            "gaps": dict(self.gaps),
            "refusals": dict(self.refusals),
            "publish": [quantile(self.publish, share) for share in SHARES],
            "delivery": [quantile(self.delivery, share) for share in SHARES],
        }


class Node:
    """A process, as its samples tell.

    Attributes:
        sample: The newest.
        heard_ms: When it came, by our own clock that only goes forward.
        end: `left` if the process has said that it stops, `died` if it is gone without a word; else empty.
        samples: The last ones: over ten seconds, for lists.
        cpu_share: Of one processor, between the last two samples; None if there is one alone.
        loop_delay: Counts by bucket, between the last two samples.
    """

    def __init__(self, sample: Sample, heard_ms: int) -> None:
        self.sample = sample
        self.heard_ms = heard_ms
        self.end: End = ""
        self.samples: deque[Sample] = deque([sample], LISTED)
        self.cpu_share: float | None = None
        self.loop_delay: list[int] = [0] * (len(SECONDS) + 1)

    def replace(self, sample: Sample, heard_ms: int) -> None:
        """Take a newer sample."""
        elapsed_ms = sample.at_ms - self.sample.at_ms
        if elapsed_ms > 0:
            self.cpu_share = max(0.0, sample.cpu_s - self.sample.cpu_s) / elapsed_ms * 1000
        self.loop_delay = [0] * (len(SECONDS) + 1)
        _add_buckets(self.loop_delay, self.sample.loop_delay, sample.loop_delay)
        self.sample, self.heard_ms, self.end = sample, heard_ms, ""
        self.samples.append(sample)


class Timeline:
    """Samples of all nodes, by when they were heard."""

    def __init__(self) -> None:
        self.nodes: dict[str, Node] = {}
        self._steps: deque[_Step] = deque(maxlen=STEPS_MAX)
        self._ahead_ms = 0  # the clock that can be set, of the one that cannot

    def add(self, sample: Sample, now_ms: int, steady_ms: int) -> None:
        """Take a sample.

        Args:
            now_ms: By our own clock, since 1970 UTC: clocks of others may be wrong.
            steady_ms: By one that only goes forward.
        """
        ahead_ms = now_ms - steady_ms
        if abs(ahead_ms - self._ahead_ms) > JUMP_MS:  # our clock was set: what we know has other times than what comes
            self._steps.clear()
        self._ahead_ms = ahead_ms
        self._forget(now_ms, steady_ms)
        node = self.nodes.get(sample.node)
        if node is None:
            if len(self.nodes) >= NODES_MAX:
                return
            self.nodes[sample.node] = Node(sample, steady_ms)
            # Of a process that has just started all counts are news; of one that is new to us, nothing is known yet.
            before = None if sample.at_ms - sample.started_ms < STEP_MS else sample
        else:
            before = node.sample
            node.replace(sample, steady_ms)
        step = self._step(now_ms)
        for name in [name for name in step.connections if self._is_silent(name, steady_ms)]:
            del step.connections[name]  # its clients may be on other nodes by now, and are counted there
        self._count(step, before, sample)

    def ended(self, node: str, *, said: bool) -> None:
        """Note that a process has ended, and whether it has said so."""
        if node in self.nodes:
            self.nodes[node].end = "left" if said else "died"

    def steps(self) -> list[dict[str, Any]]:
        """Return what happened, the oldest first. Steps without a sample are left out."""
        return [step.as_json() for step in self._steps]

    def last_step(self) -> dict[str, Any] | None:
        """Return the newest step, which is not over yet."""
        return self._steps[-1].as_json() if self._steps else None

    def _is_silent(self, name: str, steady_ms: int) -> bool:
        node = self.nodes.get(name)
        return node is None or steady_ms - node.heard_ms > SILENT_MS

    def _step(self, now_ms: int) -> _Step:
        begin = now_ms - now_ms % STEP_MS
        if not self._steps or self._steps[-1].begin_ms < begin:
            self._steps.append(_Step(begin))
        return self._steps[-1]

    def _forget(self, now_ms: int, steady_ms: int) -> None:
        for name in [name for name, node in self.nodes.items() if steady_ms - node.heard_ms > _kept_ms(node)]:
            del self.nodes[name]
        while self._steps and now_ms - self._steps[0].begin_ms > FORGET_MS:
            self._steps.popleft()

    def _count(self, step: _Step, before: Sample | None, sample: Sample) -> None:
        step.connections[sample.node] = sample.connections
        for name in ("published", "connects", "closes"):
            step.counts[name] += getattr(sample, name) - (0 if before is None else getattr(before, name))
        delivered = sum(sample.delivered.values()) - (0 if before is None else sum(before.delivered.values()))
        step.counts["delivered"] += delivered
        _add_counts(step.gaps, {} if before is None else before.gaps, sample.gaps)
        _add_counts(step.refusals, {} if before is None else before.refusals, sample.refusals)
        _add_buckets(step.publish, [] if before is None else before.publish, sample.publish)
        _add_buckets(step.delivery, [] if before is None else before.delivery, sample.delivery)


def _kept_ms(node: Node) -> int:
    return LEFT_MS if node.end == "left" else FORGET_MS


def _add_counts(to: Counter[str], before: Mapping[str, int], now: Mapping[str, int]) -> None:
    for name, count in now.items():
        more = count - before.get(name, 0)
        if more > 0:
            to[name] += more


def _add_buckets(to: list[int], before: Sequence[int], now: Sequence[int]) -> None:
    for n, count in enumerate(now[: len(to)]):
        to[n] += max(0, count - (before[n] if n < len(before) else 0))
