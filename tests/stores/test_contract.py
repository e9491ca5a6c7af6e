"""The one contract, over every store."""

from pathlib import Path

import pytest

from trunkline.core.limits import Retention
from trunkline.stores import MemoryStore, SqliteStore, Store
from trunkline.testing.store_contract import StoreContract


class TestMemory(StoreContract):
    persistent = False

    async def make(self, retention: Retention) -> Store:
        return MemoryStore(retention)


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
