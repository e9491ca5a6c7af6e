"""Backups: a log as one file, made while it is in use, and put back.

A backup is a SQLite log, whatever store it is of. One of a SQLite log is a snapshot that SQLite makes, of all rooms at
one moment; one of another store is a copy, room by room. Putting it back into a SQLite log exchanges the file while no
server uses it: the log then finds that it is an older one (place.py), goes on in new epochs, and carries out again what
the journal beside it has.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import itertools
import os
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from trunkline.core.notes import SESSION_KEY
from trunkline.core.retention import FOREVER, Retention
from trunkline.errors import ConfigError
from trunkline.stores.base import Store
from trunkline.stores.measured import MeasuredStore
from trunkline.stores.sqlite import SqliteStore
from trunkline.stores.transfer import Progress, copy_log


class BackedUp(NamedTuple):
    """A backup.

    Attributes:
        rooms: How many rooms it has.
        messages: How many messages, and redactions.
        bytes: The size of the file.
    """

    path: str
    rooms: int
    messages: int
    bytes: int


async def back_up(store: Store, path: Path, progress: Progress | None = None) -> BackedUp:
    """Write a backup of a log that is in use.

    Args:
        store: Started.
        path: The file, which must not be there yet; only its owner may read it.

    Raises:
        ConfigError: The file is there already, or cannot be made.
        StoreUnavailable: The log did not answer.
    """
    if isinstance(store, MeasuredStore):
        store = store.inner
    if isinstance(store, SqliteStore):
        return await asyncio.to_thread(back_up_file, Path(store.location), path)
    with _made(path):
        target = SqliteStore(path, FOREVER)
        await target.start()
        try:
            await copy_log(store, target, progress)
        finally:
            await target.close()
        _remove(path, "-lock", "-place", "-wal", "-shm")
        return await asyncio.to_thread(_describe, path)


def back_up_file(log: Path, path: Path) -> BackedUp:
    """Write a backup of a SQLite log, which may be in use by any process; raises as `back_up`."""
    if not log.exists():
        raise ConfigError(f"store: there is no log at {log}")
    with _made(path):
        snapshot(log, path)
        return _describe(path)


@contextlib.contextmanager
def _made(path: Path) -> Iterator[None]:
    """Make a file that is not there yet, and remove it again if it does not become a backup."""
    _reserve(path)
    try:
        yield
    except BaseException:
        _remove(path, "", "-lock", "-place", "-wal", "-shm")
        raise


def _remove(path: Path, *suffixes: str) -> None:
    for suffix in suffixes:
        Path(f"{path}{suffix}").unlink(missing_ok=True)


def _describe(path: Path) -> BackedUp:
    return BackedUp(str(path), *check(path), path.stat().st_size)


def _reserve(path: Path) -> None:
    try:
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    except FileExistsError:
        raise ConfigError(f"{path} is there already: a backup overwrites nothing") from None
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {error.strerror}") from None


def snapshot(log: Path, path: Path) -> None:
    """Write a snapshot of a SQLite log, which may be in use by any process.

    Raises:
        ConfigError: It is no log, or cannot be read.
    """
    try:
        with (
            contextlib.closing(sqlite3.connect(f"{log.resolve().as_uri()}?mode=ro", uri=True)) as source,
            contextlib.closing(sqlite3.connect(path)) as target,
        ):
            source.backup(target)  # in one step: one moment of the log, and no writer waits for it
            target.execute("PRAGMA secure_delete = ON")
            target.execute("DELETE FROM notes WHERE name = ?", (SESSION_KEY,))
            target.commit()
            target.execute("PRAGMA journal_mode = DELETE")
        number = os.open(path, os.O_RDONLY)
        os.fsync(number)
        os.close(number)
    except (sqlite3.Error, OSError) as error:
        raise ConfigError(f"{log} cannot be backed up to {path}: {error}") from error


def check(path: Path) -> tuple[int, int]:
    """Check that a backup is whole; return how many rooms and messages it has.

    Raises:
        ConfigError: It is not, or is no backup of a log.
    """
    try:
        with contextlib.closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro&immutable=1", uri=True)) as found:
            faults = found.execute("PRAGMA quick_check(1)").fetchall()
            if faults != [("ok",)]:
                raise ConfigError(f"{path} is damaged: {faults[0][0]}")
            (rooms, messages) = found.execute(
                "SELECT count(*), coalesce(sum(head - first + 1), 0) FROM rooms WHERE head > 0"
            ).fetchone()
    except sqlite3.Error as error:
        raise ConfigError(f"{path} is no backup of a log: {error}") from error
    return rooms, messages


class Restored(NamedTuple):
    """What was put back.

    Attributes:
        before: Where the file is that was there before; None if there was none.
    """

    rooms: int
    messages: int
    before: str | None


async def restore(backup: Path, log: Path, retention: Retention) -> Restored:
    """Put a backup in the place of a SQLite log that no process uses. Its rooms go on in new epochs.

    Raises:
        ConfigError: The backup is not whole; or a server uses the log.
    """
    rooms, messages = await asyncio.to_thread(check, backup)
    before = await asyncio.to_thread(_exchange, backup, log)
    store = SqliteStore(log, retention)
    await store.start()  # it finds out that it is an older one, and carries out what the journal has
    await store.purge()
    await store.close()
    return Restored(rooms, messages, before)


def _free_name(log: Path) -> Path:
    names = itertools.chain([""], (f"-{n}" for n in itertools.count(2)))
    paths = (Path(f"{log}-before-restore{name}") for name in names)
    return next(path for path in paths if not any(Path(f"{path}{suffix}").exists() for suffix in ("", "-wal", "-shm")))


def _exchange(backup: Path, log: Path) -> str | None:
    log = log.resolve()
    if not log.parent.is_dir():
        raise ConfigError(f"the folder {log.parent} does not exist")
    number = os.open(f"{log}-lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConfigError(f"{log} is in use by a server: stop it, then restore") from None
        new, before = Path(f"{log}-new"), None
        shutil.copyfile(backup, new)
        new.chmod(0o600)
        copied = os.open(new, os.O_RDONLY)
        os.fsync(copied)
        os.close(copied)
        if log.exists():
            before = _free_name(log)
            for suffix in ("", "-wal", "-shm"):
                if Path(f"{log}{suffix}").exists():
                    Path(f"{log}{suffix}").replace(f"{before}{suffix}")
        new.replace(log)
        return None if before is None else str(before)
    finally:
        os.close(number)
