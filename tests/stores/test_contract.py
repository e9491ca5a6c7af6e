"""The one contract, over every store."""

import asyncio
import secrets
from pathlib import Path

import pytest

from tests.redis_servers import Cluster, RedisServer, needs_redis
from tests.support import WAIT_S
from trunkline.core.retention import Retention
from trunkline.stores import MemoryStore, SqliteStore, Store
from trunkline.stores.redis.store import RedisStore
from trunkline.testing.store import VirtualStore
from trunkline.testing.store_contract import StoreContract


class TestMemory(StoreContract):
    persistent = False

    async def make(self, retention: Retention) -> Store:
        return MemoryStore(retention)


class TestVirtual(StoreContract):
    """The store of the test kit, whose log outlives its hub."""

    async def make(self, retention: Retention) -> Store:
        return VirtualStore(retention)

    async def reopen(self, store: Store, retention: Retention) -> Store:
        assert isinstance(store, VirtualStore)
        store._retention = retention
        return store


class TestSqlite(StoreContract):
    durable = False
    shared = False

    @pytest.fixture(autouse=True)
    def _folder(self, tmp_path: Path) -> None:
        self.folder, self.count = tmp_path, 0

    async def make(self, retention: Retention) -> Store:
        self.count += 1
        return SqliteStore(self.folder / f"{self.count}.db", retention, durable=self.durable, shared=self.shared)

    async def reopen(self, store: Store, retention: Retention) -> Store:
        return SqliteStore(store.location, retention, durable=self.durable, shared=self.shared)


class TestDurableSqlite(TestSqlite):
    durable = True


class TestSharedSqlite(TestSqlite):
    shared = True


@needs_redis
class TestRedis(StoreContract):
    async def after_forgetting(self, store: Store) -> None:
        assert isinstance(store, RedisStore)

        async with asyncio.timeout(WAIT_S):
            while await store._client.ask([["EXISTS", *store._keys("r", "room")]]) != [0]:
                await asyncio.sleep(0.05)

    @pytest.fixture(autouse=True)
    def _server(self, redis_server: RedisServer) -> None:
        self.url = redis_server.url

    async def make(self, retention: Retention) -> Store:
        return RedisStore(f"{self.url}?prefix={secrets.token_hex(4)}", retention)

    async def reopen(self, store: Store, retention: Retention) -> Store:
        assert isinstance(store, RedisStore)
        return RedisStore(f"{self.url}?prefix={store._prefix}", retention)


class TestRedisCluster(TestRedis):
    @pytest.fixture(autouse=True)
    def _server(self, redis_cluster: Cluster) -> None:
        self.url = redis_cluster.url
