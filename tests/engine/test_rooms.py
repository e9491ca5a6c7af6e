import asyncio

import pytest

from tests.engine.support import FaultyStore, Listener, publish, running, virtual
from trunkline.core.limits import Tuning
from trunkline.core.position import Start
from trunkline.errors import ShuttingDown, StoreUnavailable


@virtual
async def test_a_room_is_opened_once() -> None:
    store = FaultyStore()
    async with running(store) as engine:
        await publish(engine, "r", 1)
        rooms = await asyncio.gather(*[engine.rooms.load("r") for _ in range(50)])
        assert len({id(room) for room, _ in rooms}) == 1
        assert store.reads == 1


@virtual
async def test_rooms_that_nothing_needs_are_closed() -> None:
    async with running(tuning=Tuning(idle_rooms_max=10)) as engine:
        listener = Listener(engine)
        await listener.join("read", Start("now"))
        for n in range(200):
            await engine.follower.open(f"r{n}")
        assert len(engine.rooms) <= 20
        assert engine.rooms.get("read") is not None
        assert not engine.rooms.is_unused("read")
        assert engine.rooms.is_unused("r0")


@virtual
async def test_a_store_that_is_away_opens_nothing() -> None:
    store = FaultyStore()
    async with running(store) as engine:
        store.is_away = True
        with pytest.raises(StoreUnavailable):
            await engine.rooms.load("r")
        store.is_away = False
        room, is_new = await engine.rooms.load("r")
        assert (room.head, is_new) == (0, True)


@virtual
async def test_messages_that_are_stored_while_a_room_is_opened() -> None:
    async with running() as engine:
        opening = asyncio.ensure_future(engine.rooms.load("r"))
        await publish(engine, "r", 1, 2)
        room, _ = await opening
        assert room.head == 2


@virtual
async def test_after_close_no_room_is_opened() -> None:
    async with running() as engine:
        pass
    with pytest.raises(ShuttingDown):
        await engine.rooms.load("r")


@virtual
async def test_tails_are_halved_when_together_they_are_large() -> None:
    async with running(tuning=Tuning(tails_bytes_max=1000)) as engine:
        await engine.follower.open("r")
        await publish(engine, "r", *range(100))
        room = engine.rooms.get("r")
        assert room is not None
        before = room.messages_bytes
        engine.rooms.shrink_tails()
        assert 0 < room.messages_bytes <= before / 2
        assert room.head == 100
