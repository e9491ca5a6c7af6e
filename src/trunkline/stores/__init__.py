"""Where logs live: one small port, `base.Store`, and one contract suite, `trunkline.testing.store_contract`."""

from __future__ import annotations

from trunkline.core.limits import Retention
from trunkline.errors import ConfigError
from trunkline.stores.base import Store
from trunkline.stores.memory import MemoryStore
from trunkline.stores.sqlite import SqliteStore

SQLITE = "sqlite:///"


def open_store(url: str, retention: Retention, *, durable: bool = False) -> Store:
    """The store that a URL names; it is opened by its `start`.

    Args:
        url: `memory:` or `sqlite:///PATH`, where PATH may be relative (three slashes) or absolute (four).
        durable: SQLite only: survive a power loss too, at the price of one disk flush per commit.

    Raises:
        ConfigError: The URL names no store that there is.
    """
    if url == "memory:":
        return MemoryStore(retention)
    if url.startswith(SQLITE) and len(url) > len(SQLITE):
        return SqliteStore(url.removeprefix(SQLITE), retention, durable=durable)
    raise ConfigError(f"store {url!r} is none of memory: and sqlite:///PATH")


__all__ = ["MemoryStore", "SqliteStore", "Store", "open_store"]
