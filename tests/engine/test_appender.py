import asyncio

import pytest

from tests.engine.support import FaultyStore, Listener, publish, running, settled, virtual
from trunkline.core.limits import Limits
from trunkline.core.message import Draft, Receipt
from trunkline.core.position import Start
from trunkline.errors import Overloaded, ShuttingDown, StoreUnavailable, TrunklineError


@virtual
async def test_what_arrives_during_a_commit_is_the_next_one() -> None:
    store = FaultyStore()
    async with running(store) as engine:
        receipts = await asyncio.gather(*[engine.appender.append("r", None, None, b"1") for _ in range(100)])
        assert [receipt.offset for receipt in receipts] == list(range(1, 101))
        assert len(store.appends) <= 2
        assert engine.counters.published == 100
        assert engine.counters.commits == len(store.appends)


@virtual
async def test_a_repeated_id_is_a_duplicate() -> None:
    async with running() as engine:
        first = await engine.appender.append("r", "id", "ana", b"1")
        again = await engine.appender.append("r", "id", "ana", b"1")
        assert (again.offset, again.duplicate) == (first.offset, True)
        assert (engine.counters.published, engine.counters.duplicates) == (1, 1)


@virtual
async def test_what_waits_behind_a_failed_message_is_refused() -> None:
    """Else it would be stored first."""
    store = FaultyStore()
    async with running(store) as engine:
        store.cannot_write = True
        outcomes: list[str] = []

        def answer(draft: Draft, receipt: Receipt | None, error: TrunklineError | None) -> None:
            outcomes.append(f"{draft.id} {type(error).__name__ if error else receipt}")

        engine.appender.submit(Draft("r", "1", None, 1, b"1"), answer)
        await asyncio.sleep(0)
        engine.appender.submit(Draft("r", "2", None, 1, b"1"), answer)
        await settled()
        assert outcomes == ["1 StoreUnavailable", "2 StoreUnavailable"]
        store.cannot_write = False
        assert (await publish(engine, "r", 1))[0].offset == 1


@virtual
async def test_too_many_wait() -> None:
    async with running(limits=Limits(in_flight_max=3)) as engine:
        waiting = [asyncio.ensure_future(engine.appender.append("r", None, None, b"1")) for _ in range(5)]
        results = await asyncio.gather(*waiting, return_exceptions=True)
        assert sum(isinstance(result, Receipt) for result in results) == 3
        assert sum(isinstance(result, Overloaded) for result in results) == 2
        assert engine.appender.in_flight == 0


@virtual
async def test_drain_finishes_what_is_here_and_takes_nothing_more() -> None:
    async with running() as engine:
        publishing = asyncio.ensure_future(engine.appender.append("r", None, None, b"1"))
        await asyncio.sleep(0)
        await engine.appender.drain(1.0)
        assert publishing.done()
        with pytest.raises(ShuttingDown):
            await engine.appender.append("r", None, None, b"1")


@virtual
async def test_a_publisher_that_raises_stops_nobody() -> None:
    async with running() as engine:
        listener = Listener(engine)
        await listener.join("r", Start("now"))

        def publisher(*_: object) -> None:
            raise RuntimeError("a mistake")

        engine.appender.submit(Draft("r", None, None, 1, b"1"), publisher)
        assert (await publish(engine, "r", 2))[0].offset == 2
        assert listener.offsets == [1, 2]


@virtual
async def test_a_store_that_breaks_its_word() -> None:
    """Whatever it raises, publishers get an answer, and publishing goes on."""
    store = FaultyStore()
    async with running(store) as engine:

        async def broken(_: object) -> list[Receipt | StoreUnavailable]:
            raise KeyError("a bug")

        append, store.append = store.append, broken  # type: ignore[method-assign,assignment]
        with pytest.raises(StoreUnavailable, match="the log failed"):
            await publish(engine, "r", 1)
        store.append = append  # type: ignore[method-assign]
        assert (await publish(engine, "r", 1))[0].offset == 1
