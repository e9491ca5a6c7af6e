import asyncio

import pytest

from tests.engine.support import FaultyStore, publish, running, virtual
from trunkline.core.limits import Limits, Tuning
from trunkline.core.position import Gap, GapError, Start
from trunkline.core.retention import Retention
from trunkline.errors import ShuttingDown, StoreUnavailable


@virtual
async def test_pages_follow_each_other() -> None:
    """From the store and from the tail, in whichever sizes."""
    async with running(tuning=Tuning(tail_messages_max=4)) as engine:
        await publish(engine, "r", *range(30))
        offsets, start = [], Start("start")
        while True:
            page = await engine.pages.read("r", start, limit=7)
            if not page.messages:
                break
            offsets += [message.offset for message in page.messages]
            epoch, _, offset = page.next.partition(".")
            start = Start("after", int(offset), epoch)
        assert offsets == list(range(1, 31))


@virtual
async def test_a_poll_waits_for_a_message() -> None:
    async with running() as engine:
        loop = asyncio.get_running_loop()
        loop.call_later(20, lambda: asyncio.ensure_future(publish(engine, "b", 1)))
        pages = await engine.pages.poll([("a", Start("now")), ("b", Start("now"))], 100, 60.0)
        assert [len(page.messages) for page in pages] == [0, 1]
        assert loop.time() == pytest.approx(20, abs=0.1)
        room = engine.rooms.get("a")
        assert room is not None
        assert not room.waiters


@virtual
async def test_a_poll_ends_by_itself() -> None:
    async with running() as engine:
        [page] = await engine.pages.poll([("r", Start("now"))], 100, 25.0)
        assert (page.messages, page.gap) == ([], None)
        assert asyncio.get_running_loop().time() == 25


@virtual
async def test_rooms_share_the_bounds_of_one_page() -> None:
    async with running(limits=Limits(poll_bytes_max=1000)) as engine:
        for room in "ab":
            await publish(engine, room, *[10**99] * 20)
        pages = await engine.pages.poll([("a", Start("start")), ("b", Start("start"))], 100)
        assert sum(len(page.messages) for page in pages) <= 10
        pages = await engine.pages.poll([("a", Start("start")), ("b", Start("start"))], 3, bytes_max=lambda: 10**6)
        assert [len(page.messages) for page in pages] == [3, 0]
        assert pages[1].next == f"{pages[1].epoch}.0"


@virtual
async def test_what_was_trimmed_is_a_gap() -> None:
    async with running(FaultyStore(Retention(messages_max=5))) as engine:
        await publish(engine, "r", *range(20))
        page = await engine.pages.read("r", Start("after", 3))
        assert page.gap is not None
        assert (page.gap.first, page.gap.last, page.messages[0].offset) == (4, 15, 16)


@virtual
async def test_a_poll_waits_for_a_log_that_is_away() -> None:
    store = FaultyStore()
    async with running(store) as engine:
        store.is_away = True
        asyncio.get_running_loop().call_later(5, setattr, store, "is_away", False)
        page = await engine.pages.read("r", Start("now"), wait_s=7.0)
        assert page.head == 0
        store.is_away = True
        with pytest.raises(StoreUnavailable):
            await engine.pages.read("other", Start("now"), wait_s=3.0)


@virtual
async def test_following_ends_with_the_engine() -> None:
    gaps: list[Gap] = []
    async with running(FaultyStore(Retention(messages_max=5))) as engine:
        await publish(engine, "r", *range(20))
        with pytest.raises(GapError):
            async for _ in engine.pages.follow("r", Start("after", 1), None):
                pass
        following = engine.pages.follow("r", Start("after", 1), gaps.append)
        offsets = [(await anext(following)).offset for _ in range(5)]
        assert offsets == [16, 17, 18, 19, 20]
        assert [gap.last for gap in gaps] == [15]
        waiting = asyncio.ensure_future(anext(following))
        await asyncio.sleep(1)
    with pytest.raises(ShuttingDown):
        await waiting


@virtual
async def test_a_poll_that_waits_needs_no_log() -> None:
    """What it is answered with is in the tail."""
    store = FaultyStore()
    store.shared = True
    async with running(store) as engine:
        await publish(engine, "r", 1)
        asyncio.get_running_loop().call_later(1, setattr, store, "is_away", True)
        page = await engine.pages.read("r", Start("now"), wait_s=5.0)
        assert (page.messages, page.head) == ([], 1)
        store.is_away = False


@virtual
async def test_following_a_shared_log_reads_it_once_a_page_and_survives_it() -> None:
    store = FaultyStore()
    store.shared = True
    async with running(store) as engine:
        following = engine.pages.follow("r", Start("now"), None)
        offsets = []
        for value in range(10):
            news = asyncio.ensure_future(anext(following))
            await asyncio.sleep(0.5)
            before = store.reads
            store.is_away = value == 5
            publishing = asyncio.ensure_future(publish(engine, "r", value))
            await asyncio.sleep(0.5)
            store.is_away = False
            if value == 5:
                with pytest.raises(StoreUnavailable):
                    await publishing
                await publish(engine, "r", value)
            offsets.append((await news).offset)
            assert store.reads - before <= 2
        assert offsets == list(range(1, 11))
