"""Records in a SQLite log: what is written on the writing thread, and read on the reading one."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from trunkline.stores.base import Swap
from trunkline.stores.sqlite.file import LogFile
from trunkline.stores.sqlite.writer import LogWriter

EXPIRE_ROWS = 5000  # per transaction, so that no append waits for long

_VALUE = "SELECT value FROM records WHERE space = ? AND kind = ? AND key = ?"
_PUT = """
    INSERT INTO records VALUES (?, ?, ?, ?, ?)
    ON CONFLICT (space, kind, key) DO UPDATE SET value = excluded.value, until = excluded.until
"""


class Records:
    """The records of one log; see `RecordStore`."""

    def __init__(self, file: LogFile, writer: LogWriter) -> None:
        self._log = writer
        self._writer = file.writer
        self._reader = file.reader

    # On the writing thread.

    def swap(self, swaps: Sequence[Swap]) -> list[bool]:
        """Change records, in one transaction."""
        with self._log.transaction():
            return [self._swap(swap) for swap in swaps]

    def _swap(self, swap: Swap) -> bool:
        name, guard = (swap.space, swap.kind, swap.key), swap.guard
        if _value(self._writer, *name) != swap.before:
            return False
        if guard is not None and _value(self._writer, swap.space, guard.kind, guard.key) != guard.value:
            return False
        if swap.after is None:
            self._writer.execute("DELETE FROM records WHERE space = ? AND kind = ? AND key = ?", name)
        else:
            self._writer.execute(_PUT, (*name, swap.after, swap.until))
        return True

    def forget(self, space: str, kinds: Sequence[str]) -> None:
        """Forget all records of these kinds."""
        with self._log.transaction():
            for kind in kinds:
                self._writer.execute("DELETE FROM records WHERE space = ? AND kind = ?", (space, kind))

    def expire(self, now_ms: int) -> bool:
        """Forget records whose time is over, in one bounded transaction; return whether there may be more."""
        over = "SELECT space, kind, key FROM records WHERE until > 0 AND until <= ? LIMIT ?"
        if self._writer.execute(over, (now_ms, 1)).fetchone() is None:
            return False
        with self._log.transaction():
            gone = self._writer.execute(
                f"DELETE FROM records WHERE (space, kind, key) IN ({over})",  # noqa: S608 - the text above
                (now_ms, EXPIRE_ROWS),
            )
            return gone.rowcount == EXPIRE_ROWS

    # On the reading thread.

    def get(self, space: str, kind: str, key: str) -> bytes | None:
        """Return the value of a record."""
        return _value(self._reader, space, kind, key)

    def all(self, space: str, kind: str) -> dict[str, bytes]:
        """Return all records of a kind."""
        found = self._reader.execute("SELECT key, value FROM records WHERE space = ? AND kind = ?", (space, kind))
        return dict(found.fetchall())


def _value(connection: sqlite3.Connection, space: str, kind: str, key: str) -> bytes | None:
    found = connection.execute(_VALUE, (space, kind, key)).fetchone()
    return None if found is None else found[0]
