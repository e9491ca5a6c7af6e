"""A store that is timed is a store like the one within, and says what it cost."""

import asyncio

import pytest

from trunkline.core.message import Draft
from trunkline.core.retention import Retention
from trunkline.errors import StoreUnavailable
from trunkline.observe.counters import Counters
from trunkline.stores.base import Page
from trunkline.stores.measured import MeasuredStore
from trunkline.stores.memory import MemoryStore


class SlowStore(MemoryStore):
    """A store that answers when it is told to."""

    def __init__(self) -> None:
        super().__init__(Retention())
        self.may_answer = asyncio.Event()
        self.is_away = False

    async def read(self, room: str, after: int, messages_max: int, bytes_max: int) -> Page:
        await self.may_answer.wait()
        if self.is_away:
            raise StoreUnavailable("away")
        return await super().read(room, after, messages_max, bytes_max)


async def test_calls_are_timed_by_operation_and_failures_counted() -> None:
    now, counters, slow = [100.0], Counters(), SlowStore()
    store = MeasuredStore(slow, counters, lambda: now[0])
    await store.start()
    await store.append([Draft("a", None, None, 1, b"1")])
    assert store.waiting_s == 0.0
    reading = asyncio.ensure_future(store.read("a", 0, 10, 1000))
    await asyncio.sleep(0)
    now[0] += 3.0
    assert store.waiting_s == 3.0
    slow.may_answer.set()
    assert (await reading).messages[0].offset == 1
    slow.is_away = True
    with pytest.raises(StoreUnavailable):
        await store.read("a", 0, 10, 1000)
    await store.close()
    assert store.waiting_s == 0.0
    assert counters.store_s["read"].total == 3.0
    assert sum(counters.store_s["read"].counts) == 2
    assert sum(counters.store_s["append"].counts) == 1
    assert counters.store_errors == {"read": 1}


async def test_it_says_what_the_store_within_says() -> None:
    store = MeasuredStore(MemoryStore(Retention()), Counters(), lambda: 0.0)
    assert store.location == store.inner.location
    assert store.shared is store.inner.shared
    assert store.bus is store.inner.bus
