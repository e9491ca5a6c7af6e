"""Backups of the log that this process uses, into one folder."""

from __future__ import annotations

import asyncio
import re
import time
from pathlib import Path

from trunkline.errors import ConfigError, RequestError
from trunkline.stores.backup import BackedUp, back_up
from trunkline.stores.base import Store

_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]{0,127}\Z")


class Backups:
    """The backups of one log.

    Args:
        folder: Where those that are ordered over HTTP go; None if none may be.
    """

    def __init__(self, store: Store, folder: Path | None) -> None:
        self._store = store
        self._folder = folder
        self._is_busy = asyncio.Lock()

    async def write(self, path: Path) -> BackedUp:
        """Write a backup, after one that is being written.

        Raises:
            ConfigError: The file is there already, or cannot be written.
            StoreUnavailable: The log did not answer.
        """
        async with self._is_busy:
            return await back_up(self._store, path)

    async def write_named(self, name: str | None, now_s: float) -> BackedUp:
        """Write a backup into the folder.

        Args:
            name: Of the file; None for the time of day.
            now_s: Seconds since 1970 UTC.

        Raises:
            RequestError: `bad_command`: there is no folder, or the name is none, or the file is there already.
            StoreUnavailable: The log did not answer.
        """
        if self._folder is None:
            raise RequestError(
                "bad_command", "set `backup_folder`, or run `trunkline backup`: no backup is written here"
            )
        if name is None:
            name = time.strftime("%Y-%m-%dT%H-%M-%SZ.db", time.gmtime(now_s))
        if _NAME.match(name) is None:
            raise RequestError("bad_command", "a backup's name is 1 to 128 of A-Z a-z 0-9 _ . - and begins with no dot")
        try:
            return await self.write(self._folder / name)
        except ConfigError as error:
            raise RequestError("bad_command", str(error)) from None
