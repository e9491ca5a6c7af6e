"""The log in one SQLite file."""

from trunkline.stores.sqlite.store import SqliteStore

__all__ = ["SqliteStore"]
