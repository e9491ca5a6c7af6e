from tests.engine.support import FaultyStore, Listener, publish, running, settled, virtual
from trunkline.core.position import Start
from trunkline.core.retention import Retention
from trunkline.testing.clock import ManualClock


@virtual
async def test_old_messages_are_trimmed_and_empty_rooms_forgotten() -> None:
    clock = ManualClock()
    async with running(FaultyStore(Retention(age_s=100)), clock=clock) as engine:
        await publish(engine, "r", 1, 2)
        room = await engine.follower.open("r")
        clock.tick(101)
        await settled(5)
        assert room.first == 3
        clock.tick(400)
        await settled(5)
        assert engine.rooms.get("r") is None
        assert (await publish(engine, "r", 1))[0].offset == 1


@virtual
async def test_an_empty_room_that_is_read_is_kept() -> None:
    clock = ManualClock()
    async with running(FaultyStore(Retention(age_s=100)), clock=clock) as engine:
        await publish(engine, "r", 1)
        listener = Listener(engine)
        await listener.join("r", Start("now"))
        clock.tick(1000)
        await settled(10)
        assert (await publish(engine, "r", 1))[0].offset == 2
        assert listener.offsets == [2]
        assert listener.gaps == []


@virtual
async def test_a_clock_that_jumps_trims_nothing() -> None:
    clock = ManualClock()
    async with running(FaultyStore(Retention(age_s=100)), clock=clock) as engine:
        await publish(engine, "r", 1)
        await settled(5)
        clock.wall_s += 86_400
        await settled(5)
        assert (await engine.pages.read("r", Start("start"))).messages != []


@virtual
async def test_a_store_that_is_away_is_trimmed_later() -> None:
    clock, store = ManualClock(), FaultyStore(Retention(age_s=100))
    async with running(store, clock=clock) as engine:
        await publish(engine, "r", 1)
        trim = store.trim

        async def away(now_ms: int) -> dict[str, int]:
            store._check()
            return await trim(now_ms)

        store.trim = away  # type: ignore[method-assign]
        clock.tick(200)
        store.is_away = True
        await settled(9)
        store.is_away = False
        await settled(9)
        assert (await engine.pages.read("r", Start("start"))).messages == []
