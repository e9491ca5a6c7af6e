"""Backups of logs in use, and their restoration."""

import asyncio
import sqlite3
import stat
from pathlib import Path

import pytest

from tests.stores.support import opened
from trunkline.core.notes import SESSION_KEY
from trunkline.core.redaction import Redaction
from trunkline.core.retention import Retention
from trunkline.errors import ConfigError
from trunkline.stores import MemoryStore
from trunkline.stores.backup import back_up, check, restore
from trunkline.testing.correction_contract import draft, messages_of, stored

SECRET = b"4111111111111111"


async def test_a_log_is_backed_up_while_it_is_written_to(tmp_path: Path) -> None:
    """The backup is one moment of it: whole, and without a hole."""
    store = await opened(tmp_path / "log.db")
    going = True

    async def publish() -> None:
        while going:
            await stored(store, [draft("a", "x"), draft("b", "x")])

    publisher = asyncio.ensure_future(publish())
    while (await store.head("b")).head < 200:
        await asyncio.sleep(0)
    done = await back_up(store, tmp_path / "backup.db")
    going = False
    await publisher
    assert (done.rooms, done.messages >= 400, done.bytes > 0) == (2, True, True)
    assert stat.S_IMODE(Path(done.path).stat().st_mode) == 0o600
    restored = await opened(tmp_path / "backup.db")
    for room in ("a", "b"):
        assert [message.offset for message in await messages_of(restored, room)] == list(
            range(1, done.messages // 2 + 1)
        )
    await restored.close()
    with pytest.raises(ConfigError, match="overwrites nothing"):
        await back_up(store, tmp_path / "backup.db")
    with pytest.raises(ConfigError, match="cannot be written"):
        await back_up(store, tmp_path / "nowhere" / "backup.db")
    await store.close()


async def test_a_log_in_memory_is_backed_up_as_a_file(tmp_path: Path) -> None:
    store = MemoryStore(Retention())
    await stored(store, [draft("a", str(n), id=str(n)) for n in range(10)])
    done = await back_up(store, tmp_path / "backup.db")
    assert (done.rooms, done.messages) == (1, 10)
    assert [path.name for path in tmp_path.iterdir()] == ["backup.db"]
    restored = await opened(tmp_path / "backup.db")
    assert await messages_of(restored, "a") == await messages_of(store, "a")
    await restored.close()


async def test_a_backup_is_put_back_without_what_was_redacted_since(tmp_path: Path) -> None:
    """Its rooms go on in new epochs, and what was there before is kept beside it."""
    path, backup = tmp_path / "log.db", tmp_path / "backup.db"
    store = await opened(path)
    await stored(store, [draft("r", SECRET.decode()), draft("r", "2"), draft("other", "x")])
    before = await store.head("r")
    await back_up(store, backup)
    await store.redact(Redaction("r", [1], 5))
    await stored(store, [draft("r", "later", at=6)])
    with pytest.raises(ConfigError, match="in use by a server"):
        await restore(backup, path, Retention())
    await store.close()
    done = await restore(backup, path, Retention())
    assert (done.rooms, done.messages, done.before) == (2, 3, f"{path}-before-restore")
    store = await opened(path)
    assert [message.data for message in await messages_of(store, "r")] == [None, "2", None]
    now = await store.head("r")
    assert now.epoch != before.epoch
    assert before.epoch in [former.epoch for former in now.lineage]
    assert SECRET not in path.read_bytes()
    await store.close()
    with_new = sqlite3.connect(f"{path}-before-restore")
    assert with_new.execute("SELECT count(*) FROM messages").fetchone() == (5,)
    with_new.close()


async def test_a_backup_is_put_where_nothing_was(tmp_path: Path) -> None:
    """On another machine: with the journal if it was moved, too."""
    store = await opened(tmp_path / "log.db")
    await stored(store, [draft("r", "1")])
    await back_up(store, tmp_path / "backup.db")
    await store.redact(Redaction("r", [1], 5))
    await store.close()
    (tmp_path / "new").mkdir()
    moved = tmp_path / "new" / "moved.db"
    (tmp_path / "log.db-redactions").rename(f"{moved}-redactions")
    done = await restore(tmp_path / "backup.db", moved, Retention())
    assert done.before is None
    store = await opened(moved)
    assert [message.data for message in await messages_of(store, "r")] == [None, None]
    await store.close()


async def test_what_is_no_backup_is_refused_and_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    store = await opened(path)
    for _ in range(20):
        await stored(store, [draft("r", "x" * 1000) for _ in range(100)])
    await back_up(store, tmp_path / "whole.db")
    await store.close()
    whole = (tmp_path / "whole.db").read_bytes()
    (tmp_path / "text.db").write_bytes(b"this is no database at all, but a long text" * 100)
    (tmp_path / "cut.db").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "damaged.db").write_bytes(whole[:40_960] + b"\xff" * 40_960 + whole[81_920:])
    other = sqlite3.connect(tmp_path / "other.db")
    other.execute("CREATE TABLE something (n)")
    other.close()
    for name in ("text", "cut", "damaged", "other", "missing"):
        with pytest.raises(ConfigError):
            await restore(tmp_path / f"{name}.db", path, Retention())
    assert check(tmp_path / "whole.db") == (1, 2000)
    store = await opened(path)
    assert (await store.head("r")).head == 2000
    await store.close()


async def test_what_was_there_before_two_restorations_is_kept_twice(tmp_path: Path) -> None:
    path, backup = tmp_path / "log.db", tmp_path / "backup.db"
    store = await opened(path)
    await stored(store, [draft("r", "1")])
    await back_up(store, backup)
    await stored(store, [draft("r", "2")])
    await store.close()
    first, second = [await restore(backup, path, Retention()) for _ in range(2)]
    assert first.before is not None
    assert second.before is not None
    assert (first.before, second.before) == (f"{path}-before-restore", f"{path}-before-restore-2")
    assert (check(Path(first.before)), check(Path(second.before))) == ((1, 2), (1, 1))


async def test_no_backup_makes_its_owner_an_administrator(tmp_path: Path) -> None:
    """The key that signs administrators' sessions is left out."""
    for store in (await opened(tmp_path / "log.db"), MemoryStore(Retention())):
        await stored(store, [draft("r", "1")])
        await store.note(SESSION_KEY, b"the key of administrators")
        await store.note("audit-key", b"kept")
        path = tmp_path / f"{type(store).__name__}.db"
        await back_up(store, path)
        assert b"the key of administrators" not in path.read_bytes()
        assert b"kept" in path.read_bytes()
        await store.close()
