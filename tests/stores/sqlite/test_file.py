"""The file of a SQLite log: whether it is what was acknowledged, whether it is still there, and who may use it."""

import asyncio
import os
import shutil
import signal
import sqlite3
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from tests.stores.support import opened
from trunkline.core.position import Gap, Start, resolve
from trunkline.core.retention import Retention
from trunkline.errors import ConfigError, StoreUnavailable
from trunkline.stores import SqliteStore
from trunkline.stores.base import WritesUnavailable
from trunkline.stores.sqlite import file as sqlite_file
from trunkline.stores.sqlite import place as sqlite_place
from trunkline.stores.sqlite.place import Beside, Place, Recorded, went_back
from trunkline.testing.correction_contract import AMPLE, draft, traced
from trunkline.testing.store_contract import PARENT


async def publish(store: SqliteStore, count: int) -> str:
    """The epoch of the last of them."""
    receipts = await store.append([draft("r", f"{n}") for n in range(count)])
    assert not isinstance(receipts[-1], StoreUnavailable)
    return receipts[-1].epoch


def left_running(path: Path, folder: Path) -> Path:
    """The files of a log as a process that was killed leaves them, in another folder."""
    folder.mkdir()
    for name in ("", "-wal", "-place"):
        shutil.copy(f"{path}{name}", folder / f"log.db{name}")
    return folder / "log.db"


def kill(store: SqliteStore) -> None:
    """What kill -9 does: nothing is noted as closed. The kernel takes the locks away."""
    store._file._beside = None


async def standing(store: SqliteStore, epoch: str, offset: int) -> tuple[int, Gap | None]:
    """Where a reader with this position goes on, and what it is told."""
    return resolve(Start("after", offset, epoch), "r", *await store.head("r"))


async def test_a_clean_restart_keeps_the_epoch(tmp_path: Path) -> None:
    store = await opened(tmp_path / "log.db")
    epoch = await publish(store, 3)
    for _ in range(3):
        await store.close()
        store = await opened(tmp_path / "log.db")
        assert (await store.head("r"))[0:3] == (epoch, 1, 3)
    await store.close()


async def test_kill_9_on_a_machine_that_stayed_up_keeps_the_epoch(tmp_path: Path) -> None:
    code = (
        "import asyncio, os, signal, sys\n"
        "from trunkline.core.retention import Retention\n"
        "from trunkline.stores import SqliteStore\n"
        "from trunkline.testing.correction_contract import draft\n"
        "async def main():\n"
        "    store = SqliteStore(sys.argv[1], Retention())\n"
        "    await store.start()\n"
        "    print((await store.append([draft('r', 'x')]))[0].epoch, flush=True)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
        "asyncio.run(main())\n"
    )
    epochs = []
    for _ in range(3):
        done = subprocess.run(
            [sys.executable, "-c", code, tmp_path / "log.db"], check=False, capture_output=True, text=True
        )
        assert done.returncode == -signal.SIGKILL, done.stderr
        epochs.append(done.stdout.strip())
    assert len(set(epochs)) == 1


async def test_a_backup_that_was_put_back_is_told(tmp_path: Path) -> None:
    """A reader at 8 whose log is back at 5 and has grown to 9 is told what it has lost, and gets what is new."""
    path = tmp_path / "log.db"
    store = await opened(path)
    epoch = await publish(store, 5)
    with sqlite3.connect(path) as running, sqlite3.connect(tmp_path / "backup.db") as backup:
        running.backup(backup)
    running.close()
    backup.close()
    await publish(store, 3)
    await store.close()
    for name in tmp_path.glob("log.db*"):
        name.unlink()
    shutil.copy(tmp_path / "backup.db", path)
    store = await opened(path)
    new = await publish(store, 4)
    after, gap = await standing(store, epoch, 8)
    assert gap == Gap("r", new, 6, 8, "epoch", f"{new}.5")
    assert after == 5
    assert await standing(store, epoch, 5) == (5, None)
    await store.close()


@pytest.mark.parametrize("apart", ["a second", "no time"])
async def test_a_backup_that_was_written_over_a_killed_log_is_told(tmp_path: Path, apart: str) -> None:
    """The same file, the same boot, and nothing was closed: only the generation tells, or the newest message."""
    path = tmp_path / "log.db"
    store = await opened(path)
    epoch = await publish(store, 5)
    left_running(path, tmp_path / "backup")
    if apart == "a second":
        store._file._generation_at = 0.0
    await publish(store, 3)
    kill(store)
    await store.close()
    for name in ("", "-wal"):
        shutil.copyfile(tmp_path / "backup" / f"log.db{name}", f"{path}{name}")
    store = await opened(path)
    assert (await store.head("r")).epoch != epoch
    after, gap = await standing(store, epoch, 8)
    assert gap is not None
    assert (after, gap.first, gap.last) == (5, 6, 8)
    await store.close()


async def test_a_backup_from_before_an_upgrade_is_told(tmp_path: Path) -> None:
    """It says nothing of where it was used, but the file beside it does."""
    path = tmp_path / "log.db"
    store = await opened(path)
    epoch = await publish(store, 5)
    await store.close()
    edit = sqlite3.connect(path)
    edit.execute("UPDATE log SET place = '', generation = 0, stopped = 0")  # as an upgrade finds it
    edit.commit()
    edit.close()
    store = await opened(path)
    assert (await store.head("r")).epoch != epoch
    await store.close()


@pytest.mark.parametrize("text", ["{", "[]", '{"generation":9223372036854775807}', '{"generation":-1}', "x" * 5000])
async def test_nonsense_beside_the_log_says_nothing(tmp_path: Path, text: str) -> None:
    """It costs one new epoch, and is written over."""
    path = tmp_path / "log.db"
    store = await opened(path)
    await publish(store, 1)
    await store.close()
    Path(f"{path}-place").write_text(text)
    for lives in (1, 1):
        store = await opened(path)
        assert len(store._file.lives) == lives
        await store.close()
    edit = sqlite3.connect(path)
    edit.execute("UPDATE log SET place = '{bad'")
    edit.commit()
    edit.close()
    await (await opened(path)).close()


async def test_a_wal_that_lost_its_tail_is_told(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    store = await opened(path)
    epoch = await publish(store, 5)
    size = Path(f"{path}-wal").stat().st_size
    await publish(store, 3)
    folder = tmp_path / "killed"
    kill(store)
    left_running(path, folder)
    await store.close()
    shutil.copyfile(folder / "log.db", path)
    Path(f"{path}-wal").write_bytes((folder / "log.db-wal").read_bytes()[:size])
    store = await opened(path)
    after, gap = await standing(store, epoch, 8)
    assert gap is not None
    assert (after, gap.first, gap.last) == (5, 6, 8)
    await store.close()


async def test_forgetting_a_room_is_no_step_back(tmp_path: Path) -> None:
    """Also if it had the newest message of all, and the process was killed right after that."""
    path = tmp_path / "log.db"
    store = await opened(path)
    await store.append([draft("old", "1")])
    await store.trim(2**50)
    assert await store.forget(["old"]) == ["old"]
    kill(store)
    await store.close()
    before = await opened(path)
    assert before._file.lives == ()
    await before.close()


async def test_a_copy_that_goes_on_elsewhere_is_another_log(tmp_path: Path) -> None:
    """From where both are alike on. The original goes on as it was."""
    path = tmp_path / "log.db"
    store = await opened(path)
    epoch = await publish(store, 5)
    copy = left_running(path, tmp_path / "copy")
    other = await opened(copy)
    assert await publish(other, 1) != epoch
    assert await publish(store, 2) == epoch
    after, gap = await standing(other, epoch, 7)
    assert gap is not None
    assert (after, gap.first, gap.last, gap.reason) == (5, 6, 7, "epoch")
    assert await standing(other, epoch, 5) == (5, None)
    await other.close()
    await store.close()


async def test_power_that_failed_is_another_epoch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the default durability. With `durable`, and after a stop in order, nothing can have been lost."""
    for durable, ends, another in ((False, kill, True), (True, kill, False), (False, lambda _: None, False)):
        path = tmp_path / f"{durable}{another}.db"
        monkeypatch.setattr(sqlite_place, "boot_id", lambda: "one")
        store = await opened(path, durable=durable)
        epoch = await publish(store, 3)
        ends(store)
        await store.close()
        monkeypatch.setattr(sqlite_place, "boot_id", lambda: "two")
        store = await opened(path, durable=durable)
        assert ((await store.head("r")).epoch != epoch) is another
        assert await standing(store, epoch, 3) == (3, None)
        await store.close()


async def test_fifty_unclean_starts_cost_a_reader_at_the_head_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether something is written in between or not."""
    path = tmp_path / "log.db"
    told = []
    for n in range(50):
        monkeypatch.setattr(sqlite_place, "boot_id", lambda n=n: f"boot {n}")
        store = await opened(path)
        if n % 7 == 0:
            epoch = await publish(store, 1)
        else:
            epoch = (await store.head("r")).epoch
        head = await store.head("r")
        told.append((epoch, head.head))
        kill(store)
        await store.close()
    store = await opened(path)
    head = await store.head("r")
    assert len({epoch for epoch, _ in told}) == 50
    for epoch, offset in told:
        assert await standing(store, epoch, offset) == (offset, None)
    ids = [message.id for message in (await store.read("r", 0, 100, AMPLE)).messages]
    assert ids == [f"{told[7 * n][0]}.{n + 1}" for n in range(8)]  # each as its receipt had it
    await store.close()


HERE = Place(boot="b", device=1, inode=2, path="/data/log.db")


@pytest.mark.parametrize(
    ("recorded", "beside", "why"),
    [
        (Recorded(None, 0, False), None, None),
        (Recorded(HERE, 5, True), Beside(5, 77), None),
        (Recorded(HERE, 5, True), Beside(5, 76), "changed after it was closed"),
        (Recorded(HERE, 5, False), Beside(5), None),
        (Recorded(HERE, 6, False), Beside(5), None),  # killed between the commit and the note
        (Recorded(HERE, 4, False), Beside(5), "older than what was stored"),
        (Recorded(HERE, 5, True), None, "missing"),
        (Recorded(Place(boot="b", device=1, inode=2, path="/old/log.db"), 5, True), Beside(5, 77), "/old/log.db"),
        (Recorded(Place(boot="b", device=1, inode=3, path="/data/log.db"), 5, True), Beside(5, 77), "another file"),
        (Recorded(Place(boot="b", device=9, inode=2, path="/data/log.db"), 5, True), Beside(5, 77), "another file"),
        (Recorded(Place(boot="a", device=1, inode=2, path="/data/log.db"), 5, True), Beside(5, 77), None),
        (Recorded(Place(boot="a", device=1, inode=2, path="/data/log.db"), 5, False), Beside(5), "booted"),
        (Recorded(Place(boot=None, device=1, inode=2, path="/data/log.db"), 5, False), Beside(5), "booted"),
    ],
)
def test_what_is_evidence(recorded: Recorded, beside: Beside | None, why: str | None) -> None:
    found = went_back(recorded, beside, HERE, changed_ns=77, durable=False)
    assert (found is None) is (why is None)
    assert why is None or why in (found or "")


# An earlier version's file.

OLD = """
    CREATE TABLE log (epoch TEXT NOT NULL);
    CREATE TABLE rooms (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, head INTEGER NOT NULL,
        first INTEGER NOT NULL, bytes INTEGER NOT NULL, indexed INTEGER NOT NULL);
    CREATE TABLE messages (key INTEGER PRIMARY KEY, id TEXT, sender TEXT NOT NULL, at INTEGER NOT NULL,
        data BLOB NOT NULL);
    CREATE TABLE message_ids (room INTEGER NOT NULL, sender TEXT NOT NULL, id TEXT NOT NULL, offset INTEGER NOT NULL,
        PRIMARY KEY (room, sender, id)) WITHOUT ROWID;
    CREATE TABLE seen (room TEXT NOT NULL, member TEXT NOT NULL, offset INTEGER NOT NULL, at INTEGER NOT NULL,
        PRIMARY KEY (room, member)) WITHOUT ROWID;
    CREATE INDEX seen_at ON seen (at);
    CREATE INDEX seen_moved ON seen (room, at);
    INSERT INTO log VALUES ('0ld0ld00');
    INSERT INTO rooms VALUES (1, 'r', 3, 2, 600, 0);
    INSERT INTO messages VALUES (1 << 40 | 2, NULL, '', 50, CAST('"two"' AS BLOB)),
        (1 << 40 | 3, 'k', 'ana', 60, CAST('"three"' AS BLOB));
    INSERT INTO seen VALUES ('r', 'ana', 3, 70);
    PRAGMA user_version = 2;
"""


async def test_a_log_of_the_version_before_opens(tmp_path: Path) -> None:
    """Its epoch, messages, ids and marks are what they were, and nobody else can read it any more."""
    path = tmp_path / "log.db"
    old = sqlite3.connect(path)
    old.executescript(OLD)
    old.close()
    path.chmod(0o644)
    store = await opened(path)
    assert (await store.head("r"))[:3] == ("0ld0ld00", 2, 3)
    messages = (await store.read("r", 0, 10, AMPLE)).messages
    assert [(m.offset, m.id, m.data) for m in messages] == [(2, "0ld0ld00.2", "two"), (3, "k", "three")]
    known, new = await store.append([draft("r", "x", id="k", sender="ana"), draft("r", "four", at=55)])
    assert not isinstance(known, StoreUnavailable)
    assert not isinstance(new, StoreUnavailable)
    assert (known.offset, known.duplicate, known.epoch) == (3, True, "0ld0ld00")
    assert (new.offset, new.epoch, new.at) == (4, "0ld0ld00", 60)
    assert await store.marks_of("ana", ["r"]) == {"r": 3}
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    await store.close()


BEFORE_TRACES = """
    INSERT INTO log (epoch) VALUES ('0ld0ld00');
    CREATE TABLE messages_1 (key INTEGER PRIMARY KEY, id TEXT, sender TEXT NOT NULL, at INTEGER NOT NULL,
        data BLOB NOT NULL, epoch TEXT, stored INTEGER);
    INSERT INTO rooms (id, name, head, first, bytes, indexed, epoch, origin, at)
        VALUES (1, 'r', 1, 1, 300, 0, '0ld0ld00', '0ld0ld00', 50),
        (1 << 23 | 1, 's', 1, 1, 300, 0, '0ld0ld00', '0ld0ld00', 60);
    INSERT INTO messages VALUES (1 << 40 | 1, 'k', '', 50, CAST('"in r"' AS BLOB), NULL, 40);
    INSERT INTO messages_1 VALUES (1 << 40 | 1, NULL, 'ana', 60, CAST('"in s"' AS BLOB), NULL, NULL);
    PRAGMA user_version = 3;
"""


async def test_a_log_of_before_there_were_traces_opens(tmp_path: Path) -> None:
    """With all that it holds, in each table of messages; what comes now may have a trace."""
    path = tmp_path / "log.db"
    old = sqlite3.connect(path)
    for name in ("schema.sql", "schema_2_seen.sql", "schema_3_lives.sql"):
        old.executescript("\n".join(sqlite_file._statements(name)))
    old.executescript(BEFORE_TRACES)
    old.close()
    store = await opened(path)
    expected = {"r": ("k", None, 50), "s": ("0ld0ld00.1", "ana", 60)}
    for room, (message_id, sender, at) in expected.items():
        await store.append([traced(draft(room, "new", id="k", at=70), PARENT, "a=1"), draft(room, "last", at=80)])
        old_one, *new = (await store.read(room, 0, 10, AMPLE)).messages
        assert (old_one.id, old_one.sender, old_one.at, old_one.data) == (message_id, sender, at, f"in {room}")
        assert (old_one.traceparent, old_one.tracestate) == (None, None)
        traces = [(m.offset, m.data, m.traceparent, m.tracestate) for m in new]
        new_one = [] if room == "r" else [(2, "new", PARENT, "a=1")]  # in r its id is that of the old one
        assert traces == [*new_one, (2 + len(new_one), "last", None, None)]
    await store.close()
    with sqlite3.connect(path) as file:
        columns = [list(file.execute(f"PRAGMA table_info({table})")) for table in ("messages", "messages_1")]
    file.close()
    assert columns[0] == columns[1]


async def test_a_log_of_a_later_version_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    await (await opened(path)).close()
    later = sqlite3.connect(path)
    later.execute("PRAGMA user_version = 99")
    later.close()
    with pytest.raises(ConfigError, match="version 6 \\(it says 99\\)"):
        await opened(path)


@pytest.mark.parametrize("number", [2**23 - 2, 2**23 - 1, 2**40, 2**62])
async def test_rooms_whose_numbers_are_large(tmp_path: Path, number: int) -> None:
    """There is room for as many as a 63-bit number counts; old and new ones share batches, ids and retention."""
    path = tmp_path / "log.db"
    store = await opened(path)
    await store.append([draft("old", "1", id="k")])
    await store.close()
    edit = sqlite3.connect(path)
    edit.execute(
        "INSERT INTO rooms (id, name, head, first, bytes, indexed) VALUES (?, 'filler', 0, 1, 0, 0)", (number,)
    )
    edit.commit()
    edit.close()
    store = SqliteStore(path, Retention(messages_max=100, age_s=10))
    await store.start()
    for n in range(3):
        drafts = [draft("old", f"{n}"), *(draft(f"new{room}", f"{n}", id=f"{n}") for room in range(3))]
        outcomes = await store.append([*drafts, *drafts[1:]])
        assert [(o.offset, o.duplicate) for o in outcomes if not isinstance(o, StoreUnavailable)] == [
            (n + 2, False), *[(n + 1, False)] * 3, *[(n + 1, True)] * 3,
        ]  # fmt: skip
    for room in range(3):
        assert [m.data for m in (await store.read(f"new{room}", 1, 10, AMPLE)).messages] == ["1", "2"]
    await store.append([draft("new2", "x", id=f"x{n}") for n in range(400)])
    assert (await store.head("new2")).first > 300
    assert set(await store.trim(1_000_000)) == {"old", "new0", "new1", "new2"}
    assert set(await store.empty_rooms(1_000_000, 10)) == {"filler", "old", "new0", "new1", "new2"}
    await store.close()


async def test_one_bad_draft_fails_alone(tmp_path: Path) -> None:
    """What no log can take (here a stamp of 70 bits, and half a character) costs its neighbours nothing."""
    store = await opened(tmp_path / "log.db")
    drafts = [draft("r", "1"), draft("r", "2", at=2**70), draft("s", "3", sender="\ud800"), draft("r", "4")]
    outcomes = await store.append(drafts)
    assert [isinstance(outcome, StoreUnavailable) for outcome in outcomes] == [False, True, True, False]
    assert [m.data for m in (await store.read("r", 0, 10, AMPLE)).messages] == ["1", "4"]
    await store.close()


# Whether it is still there.


@pytest.mark.parametrize("what", ["log.db", "log.db-wal", "replaced"])
async def test_nothing_is_acknowledged_into_a_file_that_is_gone(tmp_path: Path, what: str) -> None:
    path = tmp_path / "log.db"
    store = await opened(path)
    await publish(store, 1)
    if what == "replaced":
        shutil.copy(path, tmp_path / "other.db")
        (tmp_path / "other.db").rename(path)
    else:
        (tmp_path / what).unlink()
    with pytest.raises(WritesUnavailable, match="deleted or replaced"):
        await publish(store, 1)
    assert [m.data for m in (await store.read("r", 0, 10, AMPLE)).messages] == ["0"]  # who reads does not see it either
    with pytest.raises(WritesUnavailable, match="put it back, or restart"):
        await store.is_current()
    with pytest.raises(WritesUnavailable):
        await store.check_writable()
    await store.close()


async def test_a_file_that_was_moved_and_comes_back(tmp_path: Path) -> None:
    """Until then nothing is stored, because whoever starts the next server would not find it."""
    path = tmp_path / "log.db"
    store = await opened(path)
    await publish(store, 1)
    path.rename(tmp_path / "elsewhere.db")
    with pytest.raises(WritesUnavailable):
        await store.is_current()
    with pytest.raises(WritesUnavailable):
        await publish(store, 1)
    (tmp_path / "elsewhere.db").rename(path)
    await store.is_current()
    await publish(store, 1)
    assert (await store.head("r")).head == 2
    await store.close()


async def test_a_disk_that_takes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = await opened(tmp_path / "log.db")
    disk = os.statvfs(tmp_path)
    fields = list(disk)
    fields[8] |= os.ST_RDONLY
    monkeypatch.setattr(os, "fstatvfs", lambda _: os.statvfs_result(fields))
    with pytest.raises(WritesUnavailable, match="read-only"):
        await store.is_current()
    monkeypatch.undo()
    await store.is_current()
    await store.close()


# Who may use it.


async def test_one_file_has_one_lock_whatever_it_is_called(tmp_path: Path) -> None:
    store = await opened(tmp_path / "log.db")
    (tmp_path / "other.db").symlink_to(tmp_path / "log.db")
    with pytest.raises(ConfigError, match="in use by another Trunkline"):
        await opened(tmp_path / "other.db")
    (tmp_path / "folder").symlink_to(tmp_path, target_is_directory=True)
    with pytest.raises(ConfigError, match="in use by another Trunkline"):
        await opened(tmp_path / "folder" / "log.db")
    await store.close()
    (tmp_path / "second.db").hardlink_to(tmp_path / "log.db")
    for name in ("log.db", "second.db"):
        with pytest.raises(ConfigError, match="second name"):
            await opened(tmp_path / name)


@pytest.mark.parametrize("shared", [False, True])
async def test_only_its_owner_may_read_it_or_hold_its_locks(tmp_path: Path, shared: bool) -> None:
    before = os.umask(0)
    try:
        store = await opened(tmp_path / "log.db", shared=shared)
    finally:
        os.umask(before)
    await publish(store, 1)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    assert modes.pop("log.db-wake", 0o700) == 0o700
    assert set(modes.values()) == {0o600}
    assert len(modes) == 5 + shared
    await store.close()


async def test_a_clean_stop_of_several_is_the_last_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As long as one of them uses the file, it is not closed."""
    monkeypatch.setattr(sqlite_place, "boot_id", lambda: "one")
    stores = [await opened(tmp_path / "log.db", shared=True) for _ in range(3)]
    epoch = await publish(stores[0], 1)
    for store in stores:
        await store.close()
    monkeypatch.setattr(sqlite_place, "boot_id", lambda: "two")
    store = await opened(tmp_path / "log.db", shared=True)
    assert (await store.head("r")).epoch == epoch
    await store.close()


async def test_a_new_epoch_by_hand_waits_for_the_others_to_stop(tmp_path: Path) -> None:
    one = await opened(tmp_path / "log.db", shared=True)
    other = await opened(tmp_path / "log.db", shared=True)
    with pytest.raises(ConfigError, match="in use"):
        await one.begin_epochs()
    await other.close()
    epoch = await publish(one, 1)
    await one.begin_epochs()
    assert (await one.head("r")).epoch != epoch
    await one.close()


async def test_a_stopped_sibling_that_has_the_turn_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody could write as long as it has. One that is not ours is named, and left alone."""
    monkeypatch.setattr(sqlite_file, "STUCK_S", 0.1)
    code = (
        "import fcntl, os, signal, sys\n"
        "file = os.open(sys.argv[1], os.O_RDWR)\n"
        "fcntl.flock(file, fcntl.LOCK_EX)\n"
        "os.pwrite(file, b'%-10d' % os.getpid(), 0)\n"
        "print('locked', flush=True)\n"
        "os.kill(os.getpid(), signal.SIGSTOP)\n"
    )
    monkeypatch.setattr(os, "getppid", os.getpid)  # its parent is the one that we have, too
    for siblings in (False, True):
        path = tmp_path / f"{siblings}.db"
        store = await opened(path, shared=True, siblings=siblings)
        holder = subprocess.Popen([sys.executable, "-c", code, f"{path}-turn"], stdout=subprocess.PIPE)
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"locked\n"
        os.waitpid(holder.pid, os.WUNTRACED)
        writing = asyncio.ensure_future(publish(store, 1))
        while store._file._waits_since is None:
            await asyncio.sleep(0.01)
        store._file._waits_since -= 1.0
        with pytest.raises(WritesUnavailable, match=f"process {holder.pid} has had the turn"):
            await store.is_current()
        if not siblings:
            assert not writing.done()
            holder.kill()
        assert holder.wait() == -signal.SIGKILL
        holder.stdout.close()
        await writing
        await store.close()
