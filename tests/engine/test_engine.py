import asyncio

import pytest

from tests.engine.support import FaultyStore, Listener, publish, running, settled, virtual
from trunkline.core.position import Start
from trunkline.errors import ShuttingDown, StoreUnavailable
from trunkline.stores.base import FeedUnavailable


@virtual
async def test_a_life_in_order() -> None:
    async with running() as engine:
        assert engine.is_running
        assert engine.unready is None
        polling = asyncio.ensure_future(engine.pages.read("r", Start("now"), wait_s=3600))
        await settled()
    assert (await polling).messages == []
    assert not engine.is_running
    assert engine.unready == "draining"
    with pytest.raises(ShuttingDown):
        await publish(engine, "r", 1)


@virtual
async def test_a_start_that_fails_leaves_nothing_running() -> None:
    class Broken(FaultyStore):
        async def start(self) -> None:
            raise StoreUnavailable("no")

    with pytest.raises(StoreUnavailable):
        async with running(Broken()):
            pass
    assert len(asyncio.all_tasks()) == 1


@virtual
async def test_clients_are_sent_where_the_log_can_be_read() -> None:
    class Deaf(FaultyStore):
        shared = True

        async def is_current(self) -> bool:
            raise FeedUnavailable("not told")

    async with running(Deaf()) as engine:
        client = Listener(engine)
        bucket = engine.connections.add(client)
        await settled(5)
        assert client.events == []
        await settled(10)
        assert "drain" in client.events
        engine.connections.remove(client, bucket)


@virtual
async def test_when_the_log_is_away_for_all_clients_stay() -> None:
    class Away(FaultyStore):
        shared = True

    store = Away()
    async with running(store) as engine:
        client = Listener(engine)
        bucket = engine.connections.add(client)
        store.is_away = True
        await settled(60)
        assert "drain" not in client.events
        assert engine.unready is not None
        store.is_away = False
        engine.connections.remove(client, bucket)


@virtual
async def test_a_forked_process_takes_another_name() -> None:
    async with running() as engine:
        engine.rename("other")
        assert engine.connections.new_session().startswith("other-")
        assert engine.notifier.version.startswith("other-")
