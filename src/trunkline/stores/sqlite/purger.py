"""Purges of a SQLite log: copies of what was deleted are overwritten in its file, on the writing thread, in pieces."""

from __future__ import annotations

import time

from trunkline.stores.sqlite.file import LogFile
from trunkline.stores.sqlite.scrub import Pages

CHECKPOINT_MS = 50  # how long an append may wait because others read
SCRUB_S = 0.02  # before appends have their turn


class Purger:
    """Purges one log.

    Args:
        file: The log, which is open.
    """

    def __init__(self, file: LogFile) -> None:
        self._file = file
        self._connection = file.writer

    def purge(self, first: int) -> int:
        """Overwrite copies of what was deleted, in a part of the file that takes some milliseconds.

        Everything is written into the file itself, and the WAL, which has former versions of pages, is empty then.

        Args:
            first: The page to begin with; 1 at first.

        Returns:
            The page to go on with; 0 at the end of the file; -1 if the WAL could not be emptied, while others read.
        """
        with self._file.turn():
            return self._scrub(first) if self._empty_wal() else -1

    def empty_wal(self) -> bool:
        """Write everything into the file itself, and empty the WAL; return whether that was possible."""
        with self._file.turn():
            return self._empty_wal()

    def _empty_wal(self) -> bool:
        self._connection.execute(f"PRAGMA busy_timeout = {CHECKPOINT_MS}")
        try:
            (busy, *_) = self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        finally:
            self._connection.execute("PRAGMA busy_timeout = 1000")
        return not busy

    def _scrub(self, first: int) -> int:
        began = time.monotonic()
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            if self._file.wal_bytes:
                return -1
            roots = self._connection.execute("SELECT rootpage FROM sqlite_schema WHERE rootpage > 0").fetchall()
            pages = Pages(self._file.raw)
            trees = pages.trees([root for (root,) in roots])
            now = time.monotonic()
            end = now + max(SCRUB_S, now - began)  # so all of it takes twice as long at most
            while first <= pages.count:
                first = pages.scrub(trees, first)
                if time.monotonic() > end:
                    break
            self._connection.execute("PRAGMA shrink_memory")  # our cache has the former bytes
            # A commit, which empties the caches of others.
            self._connection.execute("UPDATE log SET generation = generation")
            return 0 if first > pages.count else first
        finally:
            self._connection.execute("COMMIT")
