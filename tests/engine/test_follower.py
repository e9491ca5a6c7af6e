import asyncio
import contextlib

from tests.engine.support import FaultyStore, Listener, publish, running, settled, virtual
from trunkline.core.message import Draft
from trunkline.core.position import Start
from trunkline.stores.base import Head, Page
from trunkline.stores.memory import MemoryStore


class SharedStore(FaultyStore):
    """A store to which another process appends."""

    shared = True

    async def append_elsewhere(self, room: str, count: int, *, hint: bool = True) -> None:
        receipts = await MemoryStore.append(self, [Draft(room, None, None, 1, b"1") for _ in range(count)])
        if hint and self.on_append is not None:
            self.on_append({room: receipts[-1].offset})  # type: ignore[union-attr]


@virtual
async def test_a_hint_moves_readers() -> None:
    store = SharedStore()
    async with running(store) as engine:
        listener = Listener(engine)
        await listener.join("r", Start("now"))
        await store.append_elsewhere("r", 3)
        await settled()
        assert listener.offsets == [1, 2, 3]


@virtual
async def test_a_hint_that_is_lost_is_made_up_for() -> None:
    """When the feed says that one may be."""
    store = SharedStore()
    async with running(store) as engine:
        listener = Listener(engine)
        await listener.join("r", Start("now"))
        await store.append_elsewhere("r", 3, hint=False)
        await settled(3)
        assert listener.offsets == []

        async def is_current() -> bool:
            return False

        store.is_current = is_current  # type: ignore[method-assign]
        await settled(2)
        assert listener.offsets == [1, 2, 3]


@virtual
async def test_a_reader_that_comes_is_not_of_the_future() -> None:
    """It was told elsewhere of messages that this process has had no hint of."""
    store = SharedStore()
    async with running(store) as engine:
        await engine.follower.open("r")
        await store.append_elsewhere("r", 5, hint=False)
        assert (await engine.follower.open("r")).head == 5


@virtual
async def test_a_thousand_readers_that_come_cost_two_reads() -> None:
    store = SharedStore()
    async with running(store) as engine:
        await engine.follower.open("r")
        before = store.reads
        await asyncio.gather(*[engine.follower.open("r") for _ in range(1000)])
        assert store.reads - before <= 2


@virtual
async def test_another_epoch_is_followed() -> None:
    class Restored(FaultyStore):
        epoch = ""

        async def head(self, room: str) -> Head:
            head = await super().head(room)
            return head._replace(epoch=self.epoch or head.epoch)

        async def read(self, room: str, after: int, messages_max: int, bytes_max: int) -> Page:
            page = await super().read(room, after, messages_max, bytes_max)
            return page._replace(epoch=self.epoch or page.epoch)

    store = Restored()
    async with running(store) as engine:
        await publish(engine, "r", 1, 2)
        listener = Listener(engine)
        await listener.join("r", Start("now"))
        store.epoch = "other"
        room = engine.rooms.get("r")
        assert room is not None
        await engine.follower.catch_up(room)
        await settled()
        assert room.epoch == "other"
        assert [gap.reason for gap in listener.gaps] == ["epoch"]


@virtual
async def test_rooms_are_pinned_together() -> None:
    async with running() as engine:
        async with engine.follower.opened(["a", "b"]) as rooms:
            assert [room.pins for room in rooms] == [1, 1]
        assert [room.pins for room in rooms] == [0, 0]
        with contextlib.suppress(ValueError):
            async with engine.follower.opened(["a"]) as [room]:
                raise ValueError
        assert room.pins == 0


@virtual
async def test_a_log_that_is_away_comes_back() -> None:
    store = FaultyStore()
    async with running(store) as engine:
        store.is_away = True
        await settled(15)
        assert engine.unready == "the log has not answered for 15 s"
        store.is_away = False
        await settled(2)
        assert engine.unready is None
