"""Purges: one at a time, and one for all that wait."""

import asyncio

from tests.engine.support import virtual
from trunkline.core.notes import PURGE_DUE
from trunkline.core.retention import Retention
from trunkline.engine.purge import PAUSE, UNDER_WAY, Purge
from trunkline.engine.tasks import Tasks
from trunkline.errors import StoreUnavailable
from trunkline.stores.memory import MemoryStore


class Clock:
    """The time of the event loop."""

    def monotonic(self) -> float:
        return asyncio.get_running_loop().time()

    def steady(self) -> float:
        return self.monotonic()

    def wall_ms(self) -> int:
        return 0

    def fraction(self) -> float:
        return 0.5


class Store(MemoryStore):
    """A store whose purges take a while."""

    def __init__(self, *, takes_s: float) -> None:
        super().__init__(Retention())
        self.takes_s = takes_s
        self.began: list[float] = []
        self.left: list[str] = []
        self.is_away = False
        self.has_begun = asyncio.Event()

    async def purge(self) -> list[str]:
        self.has_begun.set()
        self.began.append(asyncio.get_running_loop().time())
        await asyncio.sleep(self.takes_s)
        if self.is_away:
            raise StoreUnavailable("away")
        return self.left


@virtual
async def test_purges_that_are_asked_for_together_are_one() -> None:
    store = Store(takes_s=1.0)
    purge = Purge(store, Tasks(), Clock())
    first = asyncio.ensure_future(purge.run())
    await store.has_begun.wait()
    later = [asyncio.ensure_future(purge.run(wait_s=100)) for _ in range(10)]
    assert await first == []
    assert await asyncio.gather(*later) == [[]] * 10
    assert len(store.began) == 2
    assert store.began[1] - store.began[0] >= 1.0 + PAUSE * 1.0  # what takes long is not done all the time


@virtual
async def test_a_purge_that_takes_long_goes_on_behind_the_answer() -> None:
    store = Store(takes_s=20.0)
    purge = Purge(store, Tasks(), Clock())
    assert await purge.run() == [UNDER_WAY]
    store.left = ["a replica"]
    assert await purge.run(wait_s=10_000) == ["a replica"]


@virtual
async def test_a_log_that_is_away_is_named() -> None:
    store = Store(takes_s=0.0)
    store.is_away = True
    [left] = await Purge(store, Tasks(), Clock()).run()
    assert "could not be reached" in left


@virtual
async def test_what_was_not_purged_is_purged_by_the_next_start() -> None:
    store = Store(takes_s=1.0)
    tasks = Tasks()
    purge = Purge(store, tasks, Clock())
    await purge.due()
    await tasks.cancel()  # the process ends
    assert PURGE_DUE in await store.notes()
    Purge(store, Tasks(), Clock()).start()
    await asyncio.sleep(5)
    assert len(store.began) == 1
    assert await store.notes() == {}
    Purge(store, Tasks(), Clock()).start()
    await asyncio.sleep(5)
    assert len(store.began) == 1
