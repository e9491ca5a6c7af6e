"""The chaos of tests/nodes for longer, on SQLite and on Redis; and a consumer of 10,000 rooms."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import aclosing
from pathlib import Path

import pytest

from tests.nodes.test_handlers_chaos import House, house, live_through
from tests.redis_servers import RedisServer, needs_redis
from trunkline import Hub

__all__ = ["house"]

SECONDS = 60.0


class TestSqlite:
    @pytest.fixture
    def store(self, tmp_path: Path) -> str:
        return f"sqlite:///{tmp_path}/log.db?shared=1"

    @pytest.mark.timeout(300)
    async def test_handlers_and_consumers_lose_and_repeat_nothing(self, house: House) -> None:
        await live_through(house, SECONDS)


@needs_redis
class TestRedis:
    @pytest.fixture
    def store(self, tmp_path: Path) -> Iterator[str]:
        with RedisServer(tmp_path) as server:
            yield server.url

    @pytest.mark.timeout(300)
    async def test_handlers_and_consumers_lose_and_repeat_nothing(self, house: House) -> None:
        await live_through(house, SECONDS)


@pytest.fixture
def stores(tmp_path: Path) -> Iterator[list[str]]:
    with RedisServer(tmp_path) as server:
        yield [f"sqlite:///{tmp_path}/rooms.db", server.url]


@needs_redis
@pytest.mark.timeout(300)
async def test_ten_thousand_rooms_are_not_polled(stores: list[str]) -> None:
    """All are handled; then the one that moves costs what one costs, and the others a look at their list."""
    for url in stores:
        async with Hub(url) as hub:
            for at in range(0, 10_000, 1000):
                await asyncio.gather(*[hub.publish(f"orders:{n}", n) for n in range(at, at + 1000)])
            async with aclosing(hub.consume("work", "orders:*")) as messages:
                seen = set()
                async for message in messages:
                    seen.add(message.data)
                    await message.ack()
                    if len(seen) == 10_000:
                        break
                store_s = hub._engine.counters.store_s
                before = sum(store_s["read"].counts) + sum(store_s["head"].counts)
                waiting = asyncio.ensure_future(anext(messages))
                await asyncio.sleep(20)
                assert not waiting.done()
                await hub.publish("orders:77", "x")
                message = await waiting
                assert (message.room, message.data) == ("orders:77", "x")
                assert sum(store_s["read"].counts) + sum(store_s["head"].counts) - before < 100
