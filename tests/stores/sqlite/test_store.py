"""What only the SQLite store promises: the file, its lock, its ids, and its failures."""

import os
import random
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from tests.stores.support import opened, stored
from trunkline.core.message import Draft
from trunkline.core.retention import Retention
from trunkline.errors import ConfigError, StoreUnavailable
from trunkline.stores.sqlite import writer as sqlite
from trunkline.testing.correction_contract import AMPLE, draft


async def test_second_server_is_refused_in_one_line(tmp_path: Path) -> None:
    """Two processes on one file would give the same offset twice; the second is told who has it."""
    store = await opened(tmp_path / "log.db")
    with pytest.raises(ConfigError, match=f"in use by another Trunkline \\(pid {os.getpid()}\\)"):
        await opened(tmp_path / "log.db")
    await store.close()
    again = await opened(tmp_path / "log.db")
    await again.close()


async def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="folder .* does not exist"):
        await opened(tmp_path / "no" / "log.db")


async def test_a_file_that_is_no_log(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("not a database, but long enough to be taken for one " * 100)
    with pytest.raises(ConfigError, match="cannot be used as a log"):
        await opened(path)


async def test_a_database_of_somebody_else(tmp_path: Path) -> None:
    """A database without our version is left alone."""
    path = tmp_path / "other.db"
    with sqlite3.connect(path) as other:
        other.execute("CREATE TABLE users (name TEXT)")
    other.close()
    with pytest.raises(ConfigError, match="no Trunkline log"):
        await opened(path)
    check = sqlite3.connect(path)
    assert check.execute("SELECT name FROM sqlite_schema").fetchall() == [("users",)]
    check.close()


async def test_ids_that_were_merged_and_ids_that_were_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Duplicates are found in the tree, in memory, after a restart, and after a room was forgotten and opened again."""
    monkeypatch.setattr(sqlite, "MERGE_IDS", 50)
    monkeypatch.setattr(sqlite, "ROOMS_CACHED", 3)
    rng = random.Random(7)
    known: dict[tuple[str, str], int] = {}
    store = await opened(tmp_path / "log.db")
    for _ in range(120):
        names = [(rng.choice("abcde"), str(rng.randrange(400))) for _ in range(rng.randrange(1, 30))]
        for (room, key), receipt in zip(
            names, stored(await store.append([draft(room, "x", id=key) for room, key in names])), strict=True
        ):
            assert receipt.duplicate is ((room, key) in known)
            assert known.setdefault((room, key), receipt.offset) == receipt.offset
        if rng.random() < 0.1:
            await store.close()
            store = await opened(tmp_path / "log.db")
    await store.close()


async def test_trimming_forgets_ids_in_the_tree_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The tree of ids does not outgrow the messages (R8)."""
    monkeypatch.setattr(sqlite, "MERGE_IDS", 50)
    store = await opened(tmp_path / "log.db", Retention(messages_max=100))
    for n in range(500):
        await store.append([draft("r", "x", id=str(n))])
    await store.close()
    check = sqlite3.connect(tmp_path / "log.db")
    (ids,), (messages,) = (check.execute(f"SELECT count(*) FROM {t}").fetchone() for t in ("message_ids", "messages"))
    check.close()
    assert messages <= 101
    assert ids <= messages


async def test_file_reaches_a_flat_size(tmp_path: Path) -> None:
    """With retention reached, appending ten times as much does not make the file larger (R8)."""
    store = await opened(tmp_path / "log.db", Retention(messages_max=500))
    sizes = []
    for n in range(40):
        await store.append([draft("r", "x" * 500, id=f"{n}-{i}") for i in range(200)])
        store._file.writer.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        sizes.append((tmp_path / "log.db").stat().st_size)
    await store.close()
    assert sizes[-1] <= max(sizes[:10]) * 1.2


async def test_a_failed_commit_stores_nothing_and_the_next_one_works(tmp_path: Path) -> None:
    """When the disk is full, publishers are told, nothing is half stored, and offsets have no hole afterwards."""
    store = await opened(tmp_path / "log.db")
    await store.append([draft("r", "before")])
    store._file.writer.execute("PRAGMA max_page_count = 12")
    with pytest.raises(StoreUnavailable, match="full"):
        await store.append([Draft("r", f"big-{n}", None, 1, b'"' + b"x" * 60_000 + b'"') for n in range(5)])
    store._file.writer.execute("PRAGMA max_page_count = 1000000")
    [receipt] = stored(await store.append([draft("r", "after", id="big-0")]))
    assert (receipt.offset, receipt.duplicate) == (2, False)
    assert [m.offset for m in (await store.read("r", 0, 10, AMPLE)).messages] == [1, 2]
    await store.close()


async def test_calls_on_a_closed_store(tmp_path: Path) -> None:
    store = await opened(tmp_path / "log.db")
    await store.close()
    with pytest.raises(StoreUnavailable):
        await store.append([draft("r", "x")])


CRASHER = """
import asyncio, sys
from trunkline.core.retention import Retention
from trunkline.core.message import Draft
from trunkline.stores import SqliteStore

async def main():
    store = SqliteStore(sys.argv[1], Retention())
    await store.start()
    n = 0
    while True:
        receipts = await store.append([Draft("r", f"{n}-{i}", None, 1, b"%d" % n) for i in range(20)])
        print(receipts[-1].offset, flush=True)
        n += 1

asyncio.run(main())
"""


async def test_nothing_acknowledged_is_lost_on_kill_9(tmp_path: Path) -> None:
    """Killed at five random moments: every receipt that was given is in the file, and offsets stay dense."""
    path, rng, acked = tmp_path / "log.db", random.Random(3), 0
    for _ in range(5):
        process = subprocess.Popen([sys.executable, "-c", CRASHER, path], stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        for _ in range(rng.randrange(5, 60)):
            line = process.stdout.readline()
            acked = max(acked, int(line))
        process.send_signal(signal.SIGKILL)
        rest = process.stdout.read()
        process.wait()
        process.stdout.close()
        acked = max([acked, *(int(line) for line in rest.splitlines(keepends=True) if line.endswith("\n"))])
        store = await opened(path)
        _, first, head, _ = await store.head("r")
        assert first == 1
        assert head >= acked
        offsets: list[int] = []
        while len(offsets) < head:
            offsets += [m.offset for m in (await store.read("r", len(offsets), 5000, AMPLE)).messages]
        assert offsets == list(range(1, head + 1))
        await store.close()
