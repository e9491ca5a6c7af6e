"""The rig of bench/: each kind of load says what it has seen, and the server answers all of it."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from bench.rig import measure as rig_measure
from bench.rig.intervals import interval
from bench.rig.process import Server
from bench.rig.scenarios import Scenario
from bench.rig.targets import TARGETS

SMALL = ["--n", "20", "--m", "20", "--warm", "2"]
LOADS = {
    "websocket": ["--mode", "fanout", "--window", "1", *SMALL],
    "sse": ["--mode", "fanout", "--window", "5", *SMALL],
    "long": ["--mode", "fanout", "--window", "1", *SMALL],
    "echo": ["--mode", "echo", "--n", "5", "--dur", "0.2"],
    "poll": ["--mode", "http", "--n", "5", "--dur", "0.2"],
    "post": ["--mode", "http", "--n", "5", "--dur", "0.2"],
    "guide": ["--mode", "http", "--n", "5", "--dur", "0.5", "--rate", "20", "--post-every", "5"],
    "connect": ["--mode", "idle", "--n", "20", "--hold", "0.1"],
}


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    rig_measure.build()
    target = TARGETS["trunkline"]
    with tempfile.TemporaryDirectory() as folder:
        running = Server(target.command, Path(folder), target.env, settle_s=1.0)
        yield running
        running.stop()


@pytest.mark.parametrize("kind", LOADS)
def test_each_kind_of_load_is_answered_and_counted(server: Server, kind: str) -> None:
    unit = "connection" if kind == "connect" else "request"
    figure = rig_measure.drive(server, Scenario(kind, LOADS[kind], unit, ""), TARGETS["trunkline"].load[kind])
    assert figure.wrong == 0
    assert figure.cpu_us > 0
    assert kind == "connect" or figure.p50_ms > 0


def test_a_floor_is_answered_and_counted() -> None:
    rig_measure.build()
    flags = LOADS["websocket"]
    figure = rig_measure.measure(TARGETS["floor"], Scenario("websocket", flags, "delivery", ""))
    assert (figure.wrong, figure.cpu_us > 0) == (0, True)


def test_a_wrong_path_is_noticed(server: Server) -> None:
    flags = [*TARGETS["trunkline"].load["post"], "--path", "/rooms/no%20room"]
    figure = rig_measure.drive(server, Scenario("post", LOADS["post"], "request", ""), flags)
    assert figure.wrong > 0


def test_the_interval_of_a_median_holds_it() -> None:
    low, high = interval([1.0, 2.0, 3.0, 4.0, 100.0])
    assert 1.0 <= low <= 3.0 <= high <= 100.0
    assert interval([2.0]) == (2.0, 2.0)
