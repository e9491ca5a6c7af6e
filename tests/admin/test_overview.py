"""What the dashboard shows, of one process and of several, also while the log is away."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, aclosing
from pathlib import Path
from typing import Any

import pytest

from tests.engine.support import FaultyStore, Listener, running, virtual
from tests.support import WAIT_S, eventually
from trunkline import Hub
from trunkline.access.policy import Access
from trunkline.admin import overview as module
from trunkline.admin.overview import Overview
from trunkline.consumers.registry import Consumers
from trunkline.core.finding import Finding
from trunkline.core.limits import Limits
from trunkline.core.position import NOW, Start
from trunkline.core.system_rooms import OVERVIEW
from trunkline.engine.engine import Engine
from trunkline.errors import StoreUnavailable
from trunkline.hub import context_of


def overview_of(engine: Engine) -> Overview:
    made = Overview(engine, Access(Limits(), engine.counters, engine.clock), Consumers(engine))
    made.start()
    return made


@virtual
async def test_a_dashboard_is_told_every_two_seconds_and_needs_no_log_for_it() -> None:
    store = FaultyStore()
    async with running(store) as engine:
        overview_of(engine)
        store.is_away = True
        reader = Listener(engine)
        await reader.join(OVERVIEW, NOW)
        await asyncio.sleep(11)
        assert 4 <= len(reader.notifications) <= 6
        assert b'"unreadable":"' in reader.notifications[-1][1]
        with pytest.raises(StoreUnavailable):
            await engine.follower.open("another")


@virtual
async def test_lists_are_kept_while_somebody_looks_and_at_no_other_time() -> None:
    async with running() as engine:
        overview = overview_of(engine)
        await engine.appender.append("a", None, "ana", b"1")
        await asyncio.sleep(2.1)
        assert overview.as_json(history=False)["busy_rooms"] == []
        assert overview.as_json(history=False)["counted_s"] == 0  # so that is not the truth
        overview.watch()
        await asyncio.sleep(2.1)  # from the next sample on
        for n in range(3):
            await engine.appender.append("a" if n else "b", None, "ana", b"1")
        await asyncio.sleep(2.1)
        found = overview.as_json(history=False)
        assert found["counted_s"] == module.SAMPLE_S
        assert [(room.room, room.messages) for room in found["busy_rooms"]] == [("a", 2), ("b", 1)]
        assert [(share.who, share.count) for share in found["publishers"]] == [("ana", 3)]
        await asyncio.sleep(module.WATCHED_S + 4)
        assert not engine.counters.activity.is_watched


@virtual
async def test_the_slowest_readers_are_those_that_are_furthest_behind() -> None:
    async with running() as engine:
        overview = overview_of(engine)
        readers = [Described(engine, f"s{n}") for n in range(15)]
        for n, reader in enumerate(readers):
            await reader.join("a", Start("now"))
            reader.full = True
            for _ in range(n + 1):
                await engine.appender.append("a", None, None, b"1")
        await asyncio.sleep(2.1)
        slowest = overview.as_json(history=False)["slow_readers"]
        assert len(slowest) == module.TOP
        assert (slowest[0].session, slowest[0].lag) == ("s0", 120)
        assert slowest[0].user is None
        assert slowest[0].behind_ms is not None


@virtual
async def test_of_itself_a_process_knows_how_long_things_take() -> None:
    async with running() as engine:
        overview = overview_of(engine)
        await asyncio.sleep(10)
        for _ in range(2):
            await engine.appender.append("a", None, None, b"1")
            await asyncio.sleep(2.1)
            last = overview.as_json(history=True)["steps"]
            assert sum(step["published"] for step in last) > 0
            assert last[-1]["publish"][0] is not None or last[-2]["publish"][0] is not None
        assert overview.as_json(history=False)["nodes"][0]["loop_delay_s"] is not None


class Described(Listener):
    """A reader with a name and an address, like a connection."""

    address = "192.0.2.1"

    def __init__(self, engine: Engine, session: str) -> None:
        super().__init__(engine)
        self.session = session


@pytest.fixture
async def hubs(tmp_path: Path) -> AsyncIterator[list[Hub]]:
    async with AsyncExitStack() as stack:
        made = [await stack.enter_async_context(Hub(f"sqlite:///{tmp_path}/log.db?shared=1")) for _ in range(3)]
        await eventually(lambda: all(len(seen(hub)["nodes"]) == 3 for hub in made))
        yield made


def seen(hub: Hub) -> dict[str, Any]:
    return context_of(hub).overview.as_json(history=True)


async def test_each_node_shows_all_of_them(hubs: list[Hub]) -> None:
    names = {hub._engine.name for hub in hubs}
    for hub in hubs:
        assert {node["name"] for node in seen(hub)["nodes"]} == names
    context_of(hubs[0]).overview.watch()
    await eventually(lambda: all(hub._engine.counters.activity.is_watched for hub in hubs))
    await hubs[2].publish("a", 1, sender="ana")
    await eventually(lambda: [room.room for room in seen(hubs[0])["busy_rooms"]] == ["a"])
    context_of(hubs[0]).overview.watch()
    reading = [asyncio.ensure_future(anext(aiter(hub.read("b", since="start")))) for hub in hubs]
    await eventually(
        lambda: all(hub._engine.rooms.get("b") for hub in hubs) and hubs[1]._engine.counters.activity.is_watched
    )
    await hubs[1].publish("b", 1)
    await asyncio.gather(*reading)
    await eventually(lambda: ("b", 1) in [(room.room, room.messages) for room in seen(hubs[2])["busy_rooms"]])
    await eventually(lambda: sum(step["published"] for step in seen(hubs[1])["steps"]) == 2)


async def test_a_node_that_stops_has_left_and_one_that_dies_is_silent(hubs: list[Hub]) -> None:
    name = hubs[2]._engine.name
    await hubs[2].close()
    node = await eventually(lambda: next(n for n in seen(hubs[0])["nodes"] if n["name"] == name and n["end"]))
    assert node["connections"] == {"websocket": 0, "sse": 0, "longpoll": 0, "socketio": 0}
    silent = hubs[1]._engine
    assert silent.cluster is not None
    silent.cluster.send = lambda *_, **__: True  # type: ignore[method-assign]
    async with asyncio.timeout(WAIT_S):
        while next(n for n in seen(hubs[0])["nodes"] if n["name"] == silent.name)["heard_ms"] < 3000:
            await asyncio.sleep(0.05)
    assert next(n for n in seen(hubs[0])["nodes"] if n["name"] == silent.name)["end"] != "left"


async def test_a_sample_of_another_version_is_skipped(hubs: list[Hub]) -> None:
    from trunkline.core.cluster_messages import Sampled

    cluster = hubs[1]._engine.cluster
    assert cluster is not None
    cluster.send(Sampled, sample=b"\x91\xc0")
    await hubs[0].publish("a", 1)
    await eventually(lambda: sum(step["published"] for step in seen(hubs[2])["steps"]) == 1)
    assert len(seen(hubs[2])["nodes"]) == 3


async def test_clocks_of_nodes_that_differ_are_found(tmp_path: Path) -> None:
    """As they tell their time: one that is ahead, one that is behind, and one that is right."""
    url = f"sqlite:///{tmp_path}/log.db?shared=1"
    async with AsyncExitStack() as stack:
        hubs = [await stack.enter_async_context(Hub(url)) for _ in range(4)]
        for hub, ahead_ms in zip(hubs, (0, 60_000, -90_000, 500), strict=True):
            engine = context_of(hub).engine
            real = engine.clock.wall_ms
            engine.clock.wall_ms = lambda real=real, ahead_ms=ahead_ms: real() + ahead_ms  # type: ignore[method-assign, misc]

        async def findings() -> dict[str, Finding]:
            """Of the other nodes, by their names."""
            found = [one for one in await hubs[0].admin.doctor() if one.what.startswith("the clock of")]
            return {one.what.rpartition("(")[2][:-1]: one for one in found}

        async def are_found() -> bool:
            by_node = await findings()
            return len(by_node) == 3 and [by_node[context_of(hub).engine.name].text for hub in hubs[1:]] == [
                "it is 60 s ahead of this machine's", "it is 90 s behind this machine's", "the same as here",
            ]  # fmt: skip

        await eventually(are_found)
        assert [one.level for one in (await findings()).values()].count("warning") == 2


async def test_consumers_are_shown_with_what_all_nodes_have_of_them(tmp_path: Path) -> None:
    """Their lag, and what they have set aside, put together from two nodes."""
    url = f"sqlite:///{tmp_path}/log.db?shared=1"
    async with Hub(url) as one, Hub(url) as two:
        await one.publish("r", 1)
        await one.publish("r", 2)
        async with aclosing(one.consume("work", "r")) as here, aclosing(two.consume("work", "r")) as there:
            ahead = [asyncio.ensure_future(anext(here)), asyncio.ensure_future(anext(there))]
            done, _ = await asyncio.wait(ahead, return_when=asyncio.FIRST_COMPLETED)
            await done.pop().result().ack()

            def is_shown() -> bool:
                shown = context_of(two).overview.as_json(history=False)["consumers"]
                return [(of.name, of.instances, of.rooms, of.lag) for of in shown] == [("work", 2, 1, 1)]

            await eventually(is_shown)
            for waiting in ahead:
                waiting.cancel()
            await asyncio.wait(ahead)
