"""The stores: one port (`base.Store`), and one contract suite for all of them (`trunkline.testing.store_contract`)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

from trunkline.core.retention import Retention
from trunkline.errors import ConfigError
from trunkline.stores.base import Store
from trunkline.stores.memory import MemoryStore
from trunkline.stores.sqlite import SqliteStore

T = TypeVar("T")

SQLITE = "sqlite:///"
REDIS_SCHEMES = (
    "redis://", "rediss://", "redis+sentinel://", "rediss+sentinel://", "redis+cluster://", "rediss+cluster://",
)  # fmt: skip


def open_store(url: str, retention: Retention, *, durable: bool = False, shared: bool = False) -> Store:
    """Return the store that a URL names; its `start` opens it.

    Args:
        url: `memory:`, one of Redis (docs/configuration.md lists them), or `sqlite:///PATH`, where PATH may be relative
            (three slashes) or absolute (four); with `?shared=1` other processes of this machine may use the file, too.
        retention: How much of each room is kept.
        durable: SQLite only: survive a power loss too, at the price of one disk flush per commit.
        shared: SQLite only, and for `--workers` alone: the processes that share the file have one parent.

    Raises:
        ConfigError: The URL names no store that there is. The message does not repeat it: it may hold a password.
    """
    if url == "memory:":
        return MemoryStore(retention)
    if url.startswith(SQLITE) and len(url) > len(SQLITE):
        path, _, query = url.removeprefix(SQLITE).partition("?")
        if query not in ("", "shared=0", "shared=1"):
            raise ConfigError(f"store {url!r}: behind the ? there may be shared=1, not {query!r}")
        return SqliteStore(path, retention, durable=durable, shared=shared or query == "shared=1", siblings=shared)
    if url.startswith(REDIS_SCHEMES):
        try:
            from trunkline.stores.redis import RedisStore  # noqa: PLC0415 - an extra
        except ImportError:
            raise ConfigError("store: for Redis, install trunkline[redis]") from None
        return RedisStore(url, retention)
    raise ConfigError("store: it is none of memory:, sqlite:///PATH and redis://HOST (docs/configuration.md)")


def begin_epochs(url: str, retention: Retention) -> str:
    """Let each room of a log go on in a new epoch; return the log's location.

    Raises:
        ConfigError: There is no such log, or a server uses it.
        StoreUnavailable: It cannot be reached now.
    """
    if url == "memory:":
        raise ConfigError("store: a log in memory ends with its process, and each one has its own epoch")
    store = open_store(url, retention)
    if isinstance(store, SqliteStore) and not Path(store.location).exists():
        raise ConfigError(f"store: there is no log at {store.location}")

    asyncio.run(with_store(store, lambda opened: opened.begin_epochs()))
    return store.location


def sqlite_file(url: str) -> Path | None:
    """Return the file that the URL of a SQLite log names; None if it is the URL of another store."""
    return Path(url.removeprefix(SQLITE).partition("?")[0]) if url.startswith(SQLITE) else None


async def with_store(store: Store, use: Callable[[Store], Awaitable[T]]) -> T:
    """Open a store, use it, and close it.

    Raises:
        ConfigError: A server uses it.
        StoreUnavailable: It cannot be reached now.
    """
    await store.start()
    try:
        return await use(store)
    finally:
        await store.close()


__all__ = ["MemoryStore", "SqliteStore", "Store", "begin_epochs", "open_store", "sqlite_file", "with_store"]
