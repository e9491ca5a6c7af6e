"""Durable consumers in one process: order, acknowledgements, failures, gaps, and rooms that come and go."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, suppress
from pathlib import Path
from typing import Any

import pytest

from tests.consumers.support import hurry
from tests.support import WAIT_S, eventually
from trunkline import ConsumedMessage, Gap, GapError, Hub, RequestError, Retention, ShuttingDown, StoreUnavailable
from trunkline.consumers import registry
from trunkline.consumers.registry import Running
from trunkline.core.message import Message
from trunkline.errors import Fenced
from trunkline.hub import context_of
from trunkline.stores.base import Swap
from trunkline.testing import TestHub


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retries and looks at the list of rooms in moments."""
    hurry(monkeypatch)


@pytest.fixture
async def hub(tmp_path: Path) -> AsyncIterator[Hub]:
    async with Hub(f"sqlite:///{tmp_path}/log.db") as hub:
        yield hub


def running(hub: Hub) -> Running:
    """What the hub's process has of the consumer c."""
    return context_of(hub).consumers.running().get("c", Running(0, 0, 0, 0))


async def take(
    messages: AsyncIterator[ConsumedMessage], count: int, handle: Callable[[ConsumedMessage], Any] | None = None
) -> list[Any]:
    """Handle so many messages, and acknowledge each; return their data."""
    taken = []
    async with asyncio.timeout(WAIT_S):
        for _ in range(count):
            message = await anext(messages)
            taken.append(message.data if handle is None else handle(message))
            await message.ack()
    return taken


async def test_each_message_comes_once_in_the_order_of_its_room(hub: Hub) -> None:
    """Those that are there, and those that come; of new rooms, too; and not those of other rooms."""
    for n in range(5):
        await hub.publish("orders:a", n)
        await hub.publish("orders:b", n)
        await hub.publish("other", n)
    async with aclosing(hub.consume("billing", "orders:*")) as messages:
        first = await take(messages, 10, lambda message: (message.room, message.data))
        assert sorted(first) == [(room, n) for room in ("orders:a", "orders:b") for n in range(5)]
        assert [n for room, n in first if room == "orders:a"] == list(range(5))
        await hub.publish("orders:new", "x")
        await hub.publish("orders:a", 5)
        assert set(await take(messages, 2)) == {"x", 5}


async def test_it_goes_on_where_it_was(tmp_path: Path) -> None:
    """Over a restart: what was not acknowledged comes again, what was does not."""
    url = f"sqlite:///{tmp_path}/log.db"
    async with Hub(url) as hub:
        for n in range(3):
            await hub.publish("r", n)
        async with aclosing(hub.consume("c", "r")) as messages:
            assert await take(messages, 1) == [0]
            assert (await anext(messages)).data == 1
    async with Hub(url) as hub, aclosing(hub.consume("c", ["r"])) as messages:
        assert await take(messages, 2, lambda message: (message.data, message.tries > 0)) == [(1, True), (2, False)]
        assert await context_of(hub).consumers.all() != []


async def test_consumers_are_independent_of_each_other(hub: Hub) -> None:
    await hub.publish("r", 1)
    async with aclosing(hub.consume("a", "r")) as one, aclosing(hub.consume("b", "*")) as two:
        assert await take(one, 1) == await take(two, 1) == [1]


async def test_one_that_begins_now_gets_what_comes_then(hub: Hub) -> None:
    """Also in a room that was there before; and where it began counts when it comes back."""
    await hub.publish("r", "old")
    old, clock = await hub.publish("untouched", "old"), context_of(hub).engine.clock
    await eventually(lambda: clock.wall_ms() > old.at)  # a millisecond is as fine as stamps are
    async with aclosing(hub.consume("c", "*", since="now")) as messages:
        waiting = asyncio.ensure_future(take(messages, 2))
        await eventually(lambda: running(hub).slots)
        await hub.publish("r", "new")
        await hub.publish("s", "new")
        assert await waiting == ["new", "new"]
        [info] = await context_of(hub).consumers.all()
        assert info.lag == 0
    with pytest.raises(RequestError):
        await anext(hub.consume("c", "*", since="yesterday"))  # type: ignore[arg-type]


async def test_a_room_waits_for_its_acknowledgement_and_others_do_not() -> None:
    async with TestHub() as at, aclosing(at.hub.consume("c", "*", in_flight=2)) as messages, asyncio.timeout(WAIT_S):
        for room in ("a", "b", "c"):
            for n in (1, 2):
                await at.hub.publish(room, n)
        first, second = await anext(messages), await anext(messages)
        assert first.room != second.room
        third = asyncio.ensure_future(anext(messages))
        await at.clock.tick(5)
        assert not third.done()
        await second.ack()
        await second.ack()  # again, which changes nothing
        assert (await third).room != first.room


async def test_a_message_that_fails_comes_again_and_is_set_aside(hub: Hub, caplog: pytest.LogCaptureFixture) -> None:
    """In its place: nothing of its room comes before. Then it is reported, and its room goes on."""
    for n in range(3):
        await hub.publish("r", n)
    taken = []
    with caplog.at_level(logging.ERROR, "trunkline"):
        async with aclosing(hub.consume("c", "r", tries_max=3)) as messages, asyncio.timeout(WAIT_S):
            while 2 not in taken:
                message = await anext(messages)
                taken.append(message.data)
                if message.data == 1:
                    failed = message.position
                    await message.fail("no such account")
                else:
                    await message.ack()
    assert taken == [0, 1, 1, 1, 2]
    [aside] = (await hub.page("$aside.c", since="start")).messages
    assert aside.data | {"fence": 0, "epoch": ""} == {
        "consumer": "c", "room": "r", "epoch": "", "offset": 2, "tries": 3, "reason": "no such account", "fence": 0,
    }  # fmt: skip
    assert [record.message for record in caplog.records] == [f"consumer c has set {failed} of r aside, after 3 tries"]
    counters = hub._engine.counters
    assert (counters.consumer_failures["c"], counters.consumer_set_aside["c"]) == (3, 1)


async def test_a_loop_that_raises_has_failed_and_comes_back_to_the_message(hub: Hub) -> None:
    """Again and again, at most so many times: a consumer that crashes on a message gets behind it."""
    await hub.publish("r", "poison")
    await hub.publish("r", "fine")
    tries = 0
    async with asyncio.timeout(WAIT_S):
        while True:
            try:
                async for message in hub.consume("c", "r", tries_max=3):
                    if message.data == "poison":
                        tries += 1
                        raise ValueError("cannot read that")
                    await message.ack()
                    break
            except ValueError:
                continue
            break
    assert tries == 3


async def test_what_is_not_acknowledged_in_time_comes_again(hub: Hub) -> None:
    """And a late acknowledgement counts all the same."""
    await hub.publish("r", 1)
    await hub.publish("r", 2)
    async with aclosing(hub.consume("c", "r", ack_wait_s=0.1)) as messages, asyncio.timeout(WAIT_S):
        first = await anext(messages)
        again = await anext(messages)
        assert (first.offset, again.offset, again.tries) == (1, 1, 1)
        await first.ack()
        assert (await anext(messages)).offset == 2


async def test_gaps_are_told_and_then_it_goes_on(hub: Hub) -> None:
    """What retention has removed, and a room that was deleted, also if nothing has come to it since."""
    gaps: list[Gap] = []

    async def on_gap(gap: Gap) -> None:
        gaps.append(gap)

    for n in range(3):
        await hub.publish("r", n)
    async with aclosing(hub.consume("c", "r", on_gap=on_gap)) as messages:
        assert await take(messages, 2) == [0, 1]
        waiting = asyncio.ensure_future(take(messages, 2))
        assert await eventually(lambda: not waiting.done())
        await hub.admin.delete("r")
        await eventually(lambda: [gap.reason for gap in gaps] == ["deleted"])
        await hub.publish("r", "again")
        assert (await waiting)[-1] == "again"


async def test_a_gap_that_nobody_hears_is_raised(tmp_path: Path) -> None:
    """Once: a restart goes on behind it."""
    url, retention = f"sqlite:///{tmp_path}/log.db", Retention(messages_max=100)
    async with Hub(url, retention=retention) as hub:
        await hub.publish("r", 0)
        async with aclosing(hub.consume("c", "r")) as messages:
            await take(messages, 1)
        for n in range(1, 300):
            await hub.publish("r", n)
    async with Hub(url, retention=retention) as hub:  # which has nothing of it in memory any more
        with pytest.raises(GapError) as raised:
            async with aclosing(hub.consume("c", "r")) as messages:
                await anext(messages)
        gap = raised.value.gap
        assert (gap.reason, gap.first) == ("trimmed", 2)
        async with aclosing(hub.consume("c", "r")) as messages:
            assert await take(messages, 2) == [gap.last, gap.last + 1]


async def test_redactions_are_told_in_their_place(hub: Hub) -> None:
    """A message that was redacted is empty; also one that was read before that, and not given out yet."""
    for n in range(3):
        await hub.publish("r", n)
    heard: list[Message] = []
    async with aclosing(hub.consume("c", "r", on_redacted=heard.append)) as messages:
        assert await take(messages, 1) == [0]
        await hub.admin.redact("r", 3)
        assert await take(messages, 2, lambda message: (message.data, message.redacted)) == [(1, False), (None, True)]
        waiting = asyncio.ensure_future(take(messages, 1))
        await eventually(lambda: [entry.redacts for entry in heard] == [(3,)])
        await eventually(lambda: running(hub).lag == 0)
        await hub.publish("r", "next")
        assert await waiting == ["next"]


async def test_a_log_that_is_away_is_waited_for() -> None:
    async with TestHub() as test:
        hub = test.hub
        await hub.publish("r", 1)
        await hub.publish("r", 2)
        async with aclosing(hub.consume("c", "r")) as messages, asyncio.timeout(WAIT_S):
            message = await anext(messages)
            with test.store.away(), pytest.raises(StoreUnavailable):
                await message.ack()
            await message.ack()
            with test.store.away("answers"):
                pass
            assert (await anext(messages)).data == 2


async def test_the_end_of_the_hub_ends_it(tmp_path: Path) -> None:
    hub = Hub(f"sqlite:///{tmp_path}/log.db")
    await hub.start()
    ended = asyncio.ensure_future(anext(hub.consume("c", "r")))
    await eventually(lambda: running(hub).instances)
    await hub.close()
    with pytest.raises(ShuttingDown):
        await ended


async def test_many_rooms_cost_what_their_news_cost(hub: Hub) -> None:
    """Rooms that do not move are not read."""
    await asyncio.gather(*[hub.publish(f"orders:{n}", n) for n in range(2000)])
    async with aclosing(hub.consume("c", "orders:*")) as messages:
        assert len(set(await take(messages, 2000))) == 2000
        store_s = hub._engine.counters.store_s
        before = sum(store_s["read"].counts) + sum(store_s["head"].counts)
        await hub.publish("orders:77", "x")
        assert await take(messages, 1) == ["x"]
        with suppress(TimeoutError):
            async with asyncio.timeout(1.0):
                await anext(messages)
        assert sum(store_s["read"].counts) + sum(store_s["head"].counts) - before <= 6


async def test_a_consumer_that_is_deleted_begins_anew(hub: Hub) -> None:
    await hub.publish("r", 1)
    consumers = context_of(hub).consumers
    async with aclosing(hub.consume("c", "r")) as messages:
        await take(messages, 1)
        with pytest.raises(RequestError, match="runs"):
            await consumers.delete("c")
    await consumers.delete("c")
    assert await consumers.all() == []
    with pytest.raises(RequestError):
        await consumers.delete("c")
    async with aclosing(hub.consume("c", "r")) as messages:
        assert await take(messages, 1) == [1]


async def test_who_does_not_take_its_messages_gives_its_rooms_back(hub: Hub) -> None:
    """Another instance gets them; what the first one acknowledges then is not counted."""
    await hub.publish("r", 1)
    async with aclosing(hub.consume("c", "r", ack_wait_s=0.2)) as stuck, asyncio.timeout(WAIT_S):
        message = await anext(stuck)
        async with aclosing(hub.consume("c", "r")) as other:
            again = await anext(other)
            assert (again.offset, again.fence > message.fence) == (1, True)
            with pytest.raises(Fenced):
                await message.ack()
            await again.ack()
        await hub.publish("r", 2)
        assert await take(stuck, 1) == [2]  # it takes its messages again


async def test_another_choice_of_rooms_leaves_the_former_ones_alone() -> None:
    """And comes back to where it was in them when they are chosen again."""
    async with TestHub() as at:
        hub = at.hub
        for room in ("a", "b"):
            await hub.publish(room, 1)
        async with aclosing(hub.consume("c", ["a", "b"])) as messages:
            await take(messages, 2)
        for room in ("a", "b"):
            await hub.publish(room, 2)
        async with aclosing(hub.consume("c", "b")) as messages:
            assert await take(messages, 1, lambda message: (message.room, message.data)) == [("b", 2)]
            waiting = asyncio.ensure_future(anext(messages))
            await at.clock.tick(40)  # longer than between two looks at the list of rooms
            assert not waiting.done()
            waiting.cancel()
            await asyncio.wait([waiting])
        async with aclosing(hub.consume("c", ["a", "b"])) as messages:
            assert await take(messages, 1, lambda message: (message.room, message.data)) == [("a", 2)]


async def test_one_whose_instances_have_died_can_be_deleted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It takes a lease to be sure; one that lives is not, also on another node."""
    monkeypatch.setattr(registry, "LEASE_S", 0.3)
    url = f"sqlite:///{tmp_path}/log.db?shared=1"
    async with Hub(url) as here, Hub(url) as there:
        await here.publish("r", 1)
        async with aclosing(there.consume("c", "r")) as messages:
            await take(messages, 1)
            with pytest.raises(RequestError, match="runs"):
                await here.admin.delete_consumer("c")
        dead = Swap("consumer:c", "member", "dead.1", None, b"7")
        assert await here._engine.records.swap(dead)
        await here.admin.delete_consumer("c")
        assert await here.admin.consumers() == []
