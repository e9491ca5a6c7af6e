"""Corrections of a SQLite log: what is taken away is in no file, and a backup that is put back learns of it."""

import asyncio
import shutil
import sqlite3
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.stores.support import files_with, opened
from trunkline.core.message import Draft
from trunkline.core.redaction import Redaction
from trunkline.errors import ConfigError
from trunkline.stores.journal import Journal, Journalled
from trunkline.stores.sqlite import SqliteStore
from trunkline.stores.sqlite.corrections import Corrector
from trunkline.testing.correction_contract import draft, messages_of, stored

SECRET = "4111111111111111"


def copy_of(path: Path) -> Path:
    """A backup of a log that is closed."""
    backup = path.parent / "backup"
    backup.mkdir()
    return Path(shutil.copy(path, backup / "log.db"))


async def backed_up(path: Path, drafts: Sequence[Draft]) -> tuple[SqliteStore, Path]:
    """A log that has these; it is open again, and there is a backup of it."""
    store = await opened(path)
    await stored(store, drafts)
    await store.close()
    backup = copy_of(path)
    return await opened(path), backup


async def fill(store: SqliteStore, size: int) -> list[int]:
    """Messages of which every tenth holds the secret, in an order that makes pages split; return their offsets."""
    offsets = []
    for batch in range(20):
        drafts = []
        for n in range(50):
            number = batch * 50 + n
            text = (SECRET if number % 10 == 3 else "x" * 16) * size
            drafts.append(draft("r", text, id=f"id-{number * 7919 % 1000:04d}", sender=f"user-{number % 10}"))
            drafts.append(draft(f"other-{number % 3}", "y" * 300))
        receipts = await stored(store, drafts)
        offsets += [receipt.offset for receipt in receipts if receipt.room == "r" and receipt.offset % 10 == 4]
    return offsets


@pytest.mark.parametrize("size", [1, 40, 600])
@pytest.mark.parametrize("shared", [False, True])
async def test_redacted_data_is_in_no_file(tmp_path: Path, size: int, *, shared: bool) -> None:
    """While the store is open, and after it was closed; also of messages that fill several pages."""
    store = await opened(tmp_path / "log.db", shared=shared)
    offsets = await fill(store, size)
    assert "log.db-wal" in files_with(tmp_path, SECRET)
    redacted = await store.redact(Redaction("r", offsets, 2))
    assert redacted.offsets == offsets
    assert await store.purge() == []
    assert files_with(tmp_path, SECRET) == []
    assert await store.find_rooms("", "", 10)
    await store.close()
    assert files_with(tmp_path, SECRET) == []


async def test_data_that_was_written_into_the_file_before_is_not_in_it(tmp_path: Path) -> None:
    """A checkpoint, deletions by retention and a restart lie between publishing and redacting."""
    store = await opened(tmp_path / "log.db")
    offsets = await fill(store, 30)
    await store.close()
    assert files_with(tmp_path, SECRET) == ["log.db"]
    store = await opened(tmp_path / "log.db")
    await fill(store, 30)
    await store.redact(Redaction("r", [*offsets, *[n + 1000 for n in offsets]], 2))
    assert await store.purge() == []
    assert files_with(tmp_path, SECRET) == []
    await store.close()


async def test_an_erased_user_is_in_no_file(tmp_path: Path) -> None:
    """Neither the name nor the ids, which the tree of ids has, too."""
    store = await opened(tmp_path / "log.db")
    for at in range(0, 20_000, 1000):
        drafts = [draft("r", "x", id=f"secret-id-{n:06}", sender="ana-secret") for n in range(at, at + 1000)]
        await stored(store, drafts)
    assert files_with(tmp_path, "ana-secret")
    to = 0
    while True:
        sent = await store.sent("r", "ana-secret", to)
        for n in range(0, len(sent.offsets), 1000):
            await store.redact(Redaction("r", sent.offsets[n : n + 1000], 2, erases=True))
        if sent.to >= sent.head:
            break
        to = sent.to
    assert await store.purge() == []
    assert files_with(tmp_path, "ana-secret") == []
    assert files_with(tmp_path, "secret-id-") == []
    await store.close()


async def test_a_deleted_room_is_in_no_file(tmp_path: Path) -> None:
    """Nor its name as that of a room that has messages; its rows go in pieces, and the next start goes on with that."""
    path = tmp_path / "log.db"
    store = await opened(path)
    for _ in range(12):
        await stored(store, [draft("r", f"{SECRET}-{n}", id=f"i{n}-{_}") for n in range(1000)])
    await stored(store, [draft("stays", "x")])
    deleted = await store.delete("r", 5)
    assert deleted is not None
    assert deleted.messages == 12_000
    assert await store.purge() == []
    assert files_with(tmp_path, SECRET) == []
    await store.close()
    raw = sqlite3.connect(path)
    assert raw.execute("SELECT count(*) FROM messages").fetchone() == (1,)
    assert raw.execute("SELECT count(*) FROM message_ids").fetchone() == (0,)
    assert raw.execute("SELECT name FROM rooms ORDER BY name").fetchall() == [("r",), ("stays",)]
    raw.close()


async def test_what_a_killed_server_has_left_of_a_deleted_room_is_removed(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    store = await opened(path)
    await stored(store, [draft("r", SECRET, id=str(n)) for n in range(100)])
    await store._on(store._write_thread, lambda: store._corrector.delete("r", 5))
    assert await messages_of(store, "r") == []
    await store.close()
    store = await opened(path)
    assert await messages_of(store, "r") == []
    assert [info.room for info in await store.find_rooms("", "", 10)] == []
    await store.trim(10)
    assert await store.purge() == []
    await store.close()
    assert files_with(tmp_path, SECRET) == []


async def test_a_backup_that_is_put_back_is_redacted_again(tmp_path: Path) -> None:
    """By the journal beside it: what it has that was redacted, deleted or erased since, and nothing else."""
    path = tmp_path / "log.db"
    theirs = [Draft("r", f"k{n}", "ana", n, f'"{SECRET}"'.encode()) for n in range(5)]
    store, backup = await backed_up(path, [*theirs, draft("gone", SECRET), draft("other", "x")])
    await store.redact(Redaction("r", [2], 10))
    await store.redact(Redaction("r", [4], 11, erases=True))
    await store.delete("gone", 12)
    await stored(store, [draft("r", "since", at=13) for _ in range(5)])
    await store.redact(Redaction("r", [9], 14))
    await store.close()

    shutil.copy(backup, path)
    store = await opened(path)
    entries = await messages_of(store, "r")
    assert [entry.redacted for entry in entries[:5]] == [False, True, False, True, False]
    assert entries[3].sender is None
    assert [entry.redacts for entry in entries[5:]] == [(2,), (4,)]
    assert await messages_of(store, "gone") == []
    assert [entry.data for entry in await messages_of(store, "other")] == ["x"]
    # What gets the offsets of then is not theirs.
    await stored(store, [draft("r", "new", at=20) for _ in range(5)])
    await store.close()
    second = tmp_path / "second.db"
    shutil.copy(path, second)
    shutil.copy(f"{path}-redactions", f"{second}-redactions")
    store = await opened(second)
    assert [entry.redacted for entry in await messages_of(store, "r")][7:] == [False] * 5
    await store.close()


async def test_nothing_is_redacted_that_cannot_be_journalled(tmp_path: Path) -> None:
    """Else a backup would bring it back."""
    store = await opened(tmp_path / "log.db")
    await stored(store, [draft("r", "x")])
    (tmp_path / "log.db-redactions").mkdir()
    with pytest.raises(Exception, match="journal"):
        await store.redact(Redaction("r", [1], 2))
    assert [message.data for message in await messages_of(store, "r")] == ["x"]
    (tmp_path / "log.db-redactions").rmdir()
    assert (await store.redact(Redaction("r", [1], 2))).offsets == [1]
    await store.close()


async def test_a_line_that_reaches_past_a_backup_counts_for_what_the_backup_has(tmp_path: Path) -> None:
    """Also one whose messages are of two epochs."""
    path = tmp_path / "log.db"
    store, backup = await backed_up(path, [draft("r", SECRET, at=1) for _ in range(5)])
    await stored(store, [draft("r", "later", at=2) for _ in range(3)])
    await store.begin_epochs()
    await stored(store, [draft("r", "of another epoch", at=2) for _ in range(3)])
    await store.redact(Redaction("r", [2, 8, 10], 3))
    await store.close()
    shutil.copy(backup, path)
    store = await opened(path)
    assert [message.redacted for message in await messages_of(store, "r")][:5] == [False, True, False, False, False]
    await store.close()


async def test_a_replay_that_was_interrupted_is_taken_up_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "log.db"
    store, backup = await backed_up(path, [draft("r", SECRET, at=1)])
    await store.redact(Redaction("r", [1], 3))
    await store.close()
    shutil.copy(backup, path)

    def fails(_: object) -> int:
        raise OSError("the process ends here")

    with monkeypatch.context() as patched:
        patched.setattr(Corrector, "replay", fails)
        with pytest.raises(ConfigError):
            await opened(path)
    store = await opened(path)
    assert (await messages_of(store, "r"))[0].redacted
    await store.close()


async def test_a_line_that_was_cut_off_takes_no_other_with_it(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    store, backup = await backed_up(path, [draft("r", SECRET, at=1) for _ in range(3)])
    journal = Path(f"{path}-redactions")
    await store.redact(Redaction("r", [1], 3))
    with journal.open("r+b") as file:
        file.truncate(journal.stat().st_size - 10)
    await store.redact(Redaction("r", [3], 3))
    await store.close()
    shutil.copy(backup, path)
    store = await opened(path)
    assert [message.redacted for message in await messages_of(store, "r")][:3] == [False, False, True]
    await store.close()


async def test_a_deletion_that_was_not_carried_out_does_not_come_later(tmp_path: Path) -> None:
    """Its line is there; but the room has gone on since."""
    path = tmp_path / "log.db"
    store = await opened(path)
    [receipt] = await stored(store, [draft("r", "1", at=1)])
    Journal(Path(f"{path}-redactions")).add(Journalled(2, "r", [(receipt.epoch, 2**53)], deletes=True, head=1))
    await stored(store, [draft("r", "2", at=3)])
    await store.close()
    backup = copy_of(path)
    path.unlink()
    shutil.copy(backup, path)
    store = await opened(path)
    assert [message.data for message in await messages_of(store, "r")] == ["1", "2"]
    await store.close()


async def test_an_id_that_another_process_has_erased_is_not_known_any_more(tmp_path: Path) -> None:
    one, two = await opened(tmp_path / "log.db", shared=True), await opened(tmp_path / "log.db", shared=True)
    await stored(two, [draft("r", "x", id="k", sender="ana")])
    await one.redact(Redaction("r", [1], 2, erases=True))
    [again] = await stored(two, [draft("r", "again", id="k", sender="ana", at=3)])
    assert (again.duplicate, again.offset) == (False, 3)
    await one.close()
    await two.close()


async def test_a_reader_that_reads_for_long_holds_no_append_up(tmp_path: Path) -> None:
    """A purge cannot empty the WAL meanwhile; it waits, and publishing does not."""
    store = await opened(tmp_path / "log.db")
    await stored(store, [draft("r", SECRET)])
    reading = sqlite3.connect(tmp_path / "log.db", isolation_level=None)
    reading.execute("BEGIN")
    reading.execute("SELECT count(*) FROM messages").fetchone()
    await store.redact(Redaction("r", [1], 2))
    purging = asyncio.ensure_future(store.purge())
    for n in range(20):
        await stored(store, [draft("r", "x", at=n)])
    assert not purging.done()
    reading.execute("COMMIT")
    reading.close()
    assert await purging == []
    assert files_with(tmp_path, SECRET) == []
    await store.close()
