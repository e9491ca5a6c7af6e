"""What samples of several nodes say together."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkline.admin import timeline as module
from trunkline.admin.sample import Sample
from trunkline.admin.timeline import STEP_MS, STEPS_MAX, Timeline
from trunkline.observe.histogram import SECONDS


def add(timeline: Timeline, sample: Sample, now_ms: int, steady_ms: int | None = None) -> None:
    timeline.add(sample, now_ms, now_ms if steady_ms is None else steady_ms)


EMPTY = [0] * (len(SECONDS) + 1)


def sample(node: str = "n", at_ms: int = 0, started_ms: int = 0, **more: object) -> Sample:
    plain: dict[str, object] = {
        "version": "1", "host": "h", "pid": 1, "sockets": 0, "connections": {}, "rooms": 0, "members": 0, "readers": 0,
        "stalled": 0, "in_flight": 0, "published": 0, "duplicates": 0, "connects": 0, "closes": 0, "delivered": {},
        "gaps": {}, "refusals": {}, "publish": EMPTY, "delivery": EMPTY, "loop_delay": EMPTY, "unreadable": "",
        "unwritable": "", "store_waiting_s": 0.0, "cpu_s": 0.0, "memory_bytes": None, "is_draining": False,
        "is_watched": False, "slow_readers": [], "busy_rooms": [], "publishers": [], "refused": [],
    }  # fmt: skip
    return Sample(node=node, at_ms=at_ms, started_ms=started_ms, **(plain | more))  # type: ignore[arg-type]


def test_counts_are_differences_and_of_a_process_that_has_just_started_all_is_news() -> None:
    timeline = Timeline()
    add(timeline, sample("old", at_ms=10_000_000, published=1000), 10_000_000)
    add(timeline, sample("new", at_ms=10_000_000, started_ms=9_999_000, published=7), 10_000_000)
    assert timeline.steps()[0]["published"] == 7
    add(timeline, sample("old", at_ms=10_002_000, published=1010, gaps={"slow": 2}), 10_002_000)
    add(timeline, sample("new", at_ms=10_002_000, started_ms=9_999_000, published=8), 10_002_000)
    step = timeline.last_step()
    assert step is not None
    assert (step["published"], step["gaps"], step["nodes"]) == (7 + 10 + 1, {"slow": 2}, 2)


def test_percentiles_are_of_all_nodes_together() -> None:
    timeline = Timeline()
    slow, quick = [*EMPTY], [*EMPTY]
    slow[9], quick[0] = 1, 99
    for node, now in (("a", EMPTY), ("b", EMPTY)):
        add(timeline, sample(node, publish=now), 100_000)
    add(timeline, sample("a", at_ms=2000, publish=slow), 102_000)
    add(timeline, sample("b", at_ms=2000, publish=quick), 102_000)
    half, almost = timeline.steps()[-1]["publish"]
    assert half < SECONDS[0]
    assert almost <= SECONDS[0]
    add(timeline, sample("a", at_ms=4000, publish=[2 * n for n in slow]), 104_000)
    assert timeline.steps()[-1]["publish"][1] > SECONDS[8] / 2


def test_connections_are_the_newest_of_each_node() -> None:
    timeline = Timeline()
    add(timeline, sample("a", connections={"websocket": 3}), 0)
    add(timeline, sample("a", connections={"websocket": 5}), 2000)
    add(timeline, sample("b", connections={"websocket": 1, "sse": 1}), 2500)
    assert timeline.steps()[-1]["connections"] == {"websocket": 6, "sse": 1}
    add(timeline, sample("b", connections={"websocket": 7}), 4999)
    add(timeline, sample("b", connections={"websocket": 7}), 4999, 6000)  # "a" is silent: its clients are with "b"
    assert timeline.steps()[-1]["connections"] == {"websocket": 7}


def test_a_silent_node_is_known_for_a_while_and_then_forgotten() -> None:
    timeline = Timeline()
    add(timeline, sample("a"), 0)
    timeline.ended("a", said=False)
    timeline.ended("unknown", said=True)
    assert timeline.nodes["a"].end == "died"
    add(timeline, sample("b"), module.FORGET_MS)
    assert set(timeline.nodes) == {"a", "b"}
    add(timeline, sample("b"), module.FORGET_MS + 1)
    assert set(timeline.nodes) == {"b"}


def test_a_node_that_has_said_goodbye_is_shown_for_a_minute() -> None:
    timeline = Timeline()
    add(timeline, sample("a"), 0)
    timeline.ended("a", said=True)
    add(timeline, sample("b"), module.LEFT_MS + 1)
    assert set(timeline.nodes) == {"b"}


def test_so_many_nodes_and_steps_and_no_more(monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setattr(module, "NODES_MAX", 3)
    timeline = Timeline()
    for n in range(STEPS_MAX + 50):
        for node in "abcdef":
            add(timeline, sample(node, published=n), n * STEP_MS)
    assert set(timeline.nodes) == set("abc")
    assert len(timeline.steps()) <= STEPS_MAX + 1


@given(st.lists(st.integers(0, 1000), min_size=2, max_size=30))
def test_nothing_is_counted_twice_whatever_a_node_says(published: list[int]) -> None:
    """Also one whose counts go back, which no process of ours does."""
    timeline = Timeline()
    for n, count in enumerate(published):
        add(timeline, sample("a", at_ms=n * 2000 + 10**9, published=count), n * 2000 + 10**9)
    assert sum(step["published"] for step in timeline.steps()) == published[-1] - published[0]


@pytest.mark.parametrize("jump_ms", [-3_600_000, 3_600_000])
def test_a_clock_that_was_set_begins_the_past_anew_and_no_node_is_silent_by_it(jump_ms: int) -> None:
    timeline = Timeline()
    add(timeline, sample("a", published=1), 10_000_000)
    add(timeline, sample("b", published=1), 10_002_000)
    add(timeline, sample("a", at_ms=4000, published=4), 10_004_000 + jump_ms, 10_004_000)
    assert [step["published"] for step in timeline.steps()] == [3]
    add(timeline, sample("b", at_ms=6000, published=3), 10_006_000 + jump_ms, 10_006_000)
    assert sum(step["published"] for step in timeline.steps()) == 3 + 2
    assert {name: node.heard_ms for name, node in timeline.nodes.items()} == {"a": 10_004_000, "b": 10_006_000}
    add(timeline, sample("a", at_ms=8000, published=4), 10_008_000)
    assert timeline.steps()[-1]["at"] == 10_005_000


def test_how_busy_a_processor_was_is_of_the_time_between() -> None:
    timeline = Timeline()
    add(timeline, sample("a", at_ms=0, cpu_s=1.0), 0)
    assert timeline.nodes["a"].cpu_share is None
    add(timeline, sample("a", at_ms=2000, cpu_s=2.0), 2000)
    assert timeline.nodes["a"].cpu_share == 0.5


def test_a_newer_version_may_tell_more() -> None:
    """Nodes of two versions read each other's samples, as long as fields are added at the end."""
    data = msgspec.msgpack.encode([*msgspec.msgpack.decode(msgspec.msgpack.encode(sample())), "more"])
    assert msgspec.msgpack.decode(data, type=Sample) == sample()
