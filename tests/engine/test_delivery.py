from tests.engine.support import FaultyStore, Listener, publish, running, settled, virtual
from trunkline.core.batch import Batch
from trunkline.core.cursor import Cursor
from trunkline.core.limits import Tuning
from trunkline.core.position import Start

SMALL = Tuning(tail_messages_max=4, piece_messages_max=3)


@virtual
async def test_a_reader_that_is_behind_is_read_for() -> None:
    """From the store, piece by piece, and then from the tail, without a hole."""
    async with running(tuning=SMALL) as engine:
        await publish(engine, "r", *range(40))
        listener = Listener(engine)
        await listener.join("r", Start("start"))
        await publish(engine, "r", *range(5))
        await settled()
        assert listener.offsets == list(range(1, 46))


@virtual
async def test_a_full_reader_is_skipped_and_catches_up() -> None:
    async with running() as engine:
        slow, quick = Listener(engine), Listener(engine)
        cursor = await slow.join("r", Start("now"))
        await quick.join("r", Start("now"))
        slow.full = True
        await publish(engine, "r", 1, 2)
        assert (slow.offsets, quick.offsets) == ([], [1, 2])
        slow.full = False
        engine.delivery.writable(cursor)
        await settled()
        assert slow.offsets == [1, 2]
        assert engine.counters.stalls == 1
        assert engine.counters.delivered == {"websocket": 4}


@virtual
async def test_a_store_that_is_away_is_asked_again() -> None:
    store = FaultyStore()
    async with running(store, tuning=SMALL) as engine:
        await publish(engine, "r", *range(20))
        listener = Listener(engine)
        await engine.follower.open("r")
        store.is_away = True
        await listener.join("r", Start("start"))
        await settled(3)
        assert listener.offsets == []
        store.is_away = False
        await settled(3)
        assert listener.offsets == list(range(1, 21))


class BrokenListener(Listener):
    def deliver(self, cursor: Cursor, batch: Batch) -> None:
        raise RuntimeError("a mistake")


@virtual
async def test_a_reader_that_raises_is_cut_alone() -> None:
    async with running() as engine:
        broken, other = BrokenListener(engine), Listener(engine)
        await broken.join("r", Start("now"))
        await other.join("r", Start("now"))
        await publish(engine, "r", 1)
        assert "abort" in broken.events
        assert other.offsets == [1]
