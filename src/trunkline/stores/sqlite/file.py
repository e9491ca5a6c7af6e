"""The file of a SQLite log: who may use it, whether it is still there, and which life of the log this is.

Everything here runs on the store's writing thread, but for `look`. Beside `PATH` stand, readable by their owner only:

    PATH-wal, PATH-shm   SQLite's own
    PATH-lock            held by each process that uses the log: exclusively, or shared with the others that share it
    PATH-turn            held by the process that writes at the moment, which writes its pid into it
    PATH-place           up to where the log was stored here (place.py)
    PATH-wake            the sockets by which processes wake each other (unix_bus.py)

One file, although it is long: the checks around a commit need all of these at once.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import secrets
import signal
import sqlite3
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from importlib.resources import files
from pathlib import Path

import msgspec

from trunkline.core.epochs import LINEAGE_MAX, epoch_in
from trunkline.core.notes import REPLAY_DUE
from trunkline.errors import ConfigError
from trunkline.stores.base import WritesUnavailable
from trunkline.stores.sqlite.place import NONE, Beside, BesideFile, Newest, Place, Recorded, place_of, went_back

log = logging.getLogger("trunkline")

SCHEMA_VERSION = 6
# A new log is made by all of them, so that there is one description of each table.
_SCRIPTS = [
    "schema.sql", "schema_2_seen.sql", "schema_3_lives.sql", "schema_4_traces.sql", "schema_5_corrections.sql",
    "schema_6_records.sql",
]  # fmt: skip
GENERATION_S = 1.0  # how often the generation grows while messages are stored
STUCK_S = 5.0  # a turn to write takes milliseconds; a process that holds it for so long does not go on by itself
STATEMENTS_CACHED = 256


class LogFile:
    """One file, opened by one process.

    Args:
        path: Its folder must be there.
        durable: Wait for the disk at each commit.
        shared: Other processes of this machine use the file, too.
        siblings: They are workers of our own parent, which replaces those that end.
    """

    def __init__(self, path: Path, *, durable: bool, shared: bool, siblings: bool = False) -> None:
        self.path = Path(os.path.realpath(path))  # one file has one lock, whatever it is called
        self.lives: tuple[str, ...] = ()
        self.life = 0
        self.writer: sqlite3.Connection
        self.reader: sqlite3.Connection
        self._durable = durable
        self.shared = shared
        self._siblings = siblings
        self._opened = ExitStack()
        self._lock = self._turn_file = self._file = self._wal = -1
        self.raw = -1  # the file as its bytes
        self._beside: BesideFile | None = None
        self.newest: Newest | None = None  # that is being stored
        self._generation = 0
        self._generation_at = 0.0
        self._lost: str | None = None  # why the file is not ours to write to any more
        self._waits_since: float | None = None  # for the turn to write
        self._turns = 0

    # Opening.

    def open(self) -> None:
        """Lock the file, make or upgrade the database, and find out which life of the log this is.

        Raises:
            ConfigError: The file cannot be used.
        """
        if not self.path.parent.is_dir():
            raise ConfigError(f"store: the folder {self.path.parent} does not exist")
        try:
            if self.shared:
                self._turn_file = self._open_lock("-turn")
            with self.turn():  # one at a time: the first one decides which life this is
                alone = self._take_lock()
                self._open_database(alone=alone)
                if alone and self.shared:
                    fcntl.flock(self._lock, fcntl.LOCK_SH)
        except (sqlite3.Error, OSError) as error:
            raise ConfigError(f"store: {self.path} cannot be used as a log: {error}") from error

    def _open_lock(self, suffix: str) -> int:
        number = os.open(f"{self.path}{suffix}", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._opened.callback(os.close, number)
        if os.fstat(number).st_uid == os.geteuid():
            os.fchmod(number, 0o600)  # a user who can open a lock can hold it
        return number

    def _point_at(self, suffix: str = "") -> int:
        # Not the file itself: closing any handle of it would drop the locks that SQLite has on it in this process.
        number = os.open(f"{self.path}{suffix}", getattr(os, "O_PATH", os.O_RDONLY) | os.O_CLOEXEC)
        self._opened.callback(os.close, number)
        return number

    def _take_lock(self) -> bool:
        """Return whether no other process uses the log."""
        self._lock = self._open_lock("-lock")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            alone = True
        except BlockingIOError:
            alone = False
        try:
            if not alone and self.shared:
                fcntl.flock(self._lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            self._refuse_second()
        if not (alone or self.shared):
            self._refuse_second()
        os.ftruncate(self._lock, 0)
        os.pwrite(self._lock, str(os.getpid()).encode(), 0)
        return alone

    def _refuse_second(self) -> None:
        holder = os.pread(self._lock, 20, 0).decode("ascii", "replace").strip()
        raise ConfigError(
            f"store: {self.path} is in use by another Trunkline (pid {holder}); stop that one, use another file,"
            " or share it between all of them: sqlite:///PATH?shared=1"
        )

    def _open_database(self, *, alone: bool) -> None:
        with contextlib.suppress(FileExistsError):  # before SQLite, which would let the umask say who may read it
            os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        self._file = self._point_at()
        # Closed after SQLite's connections: closing any handle drops the locks that SQLite has in this process.
        self.raw = os.open(self.path, os.O_RDWR | os.O_CLOEXEC)
        self._opened.callback(os.close, self.raw)
        changed_ns = os.fstat(self._file).st_mtime_ns
        if os.fstat(self._file).st_nlink > 1:
            raise ConfigError(
                f"store: {self.path} has a second name (a hard link), under which another process could write to it"
                " unnoticed; make a copy of it, or remove the other name"
            )
        self.writer = self._connect(cached_statements=STATEMENTS_CACHED)
        self.writer.execute("PRAGMA busy_timeout = 10000")  # others may be opening it, too
        self.writer.execute(f"PRAGMA synchronous = {'FULL' if self._durable else 'NORMAL'}")
        self.writer.execute("PRAGMA journal_mode = WAL")
        self.writer.execute("PRAGMA secure_delete = ON")  # what is deleted is overwritten, also in pages that are free
        self._prepare()
        self._beside = BesideFile(Path(f"{self.path}-place"))
        self._opened.callback(self._beside.close)
        if alone:
            self._begin(changed_ns)
        life, lives, self._generation = self.writer.execute("SELECT life, lives, generation FROM log").fetchone()
        self.life, self.lives = life, tuple(lives.split(",")) if lives else ()
        self.writer.execute("PRAGMA busy_timeout = 1000")
        self.reader = self._connect()
        self.reader.execute("PRAGMA query_only = 1")
        self.reader.execute("SELECT 1 FROM log").fetchone()  # so that the WAL is there
        self._wal = self._point_at("-wal")

    def _connect(self, cached_statements: int = 128) -> sqlite3.Connection:
        connection = sqlite3.connect(
            self.path, isolation_level=None, check_same_thread=False, cached_statements=cached_statements
        )
        self._opened.callback(connection.close)
        return connection

    def _prepare(self) -> None:
        """Make the tables, or bring those of an earlier version up to date."""
        version = self.writer.execute("PRAGMA user_version").fetchone()[0]
        empty = version == 0 and not self.writer.execute("SELECT 1 FROM sqlite_schema").fetchone()
        if not empty and not 0 < version <= SCHEMA_VERSION:
            raise ConfigError(f"store: {self.path} is no Trunkline log of version {SCHEMA_VERSION} (it says {version})")
        if version == SCHEMA_VERSION:
            return
        if not empty:
            log.warning("store: %s is brought from version %d to %d", self.path, version, SCHEMA_VERSION)
            if os.fstat(self._file).st_uid == os.geteuid():
                self.path.chmod(0o600)  # earlier versions left that to the umask
        self.writer.execute("BEGIN EXCLUSIVE")
        try:
            for name in _SCRIPTS[version:]:
                for statement in _statements(name):
                    self._change(statement)
            if empty:
                self.writer.execute("INSERT INTO log (epoch) VALUES (?)", (secrets.token_hex(4),))
            self.writer.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
            self.writer.execute("COMMIT")
        except BaseException:
            if self.writer.in_transaction:  # SQLite may have rolled it back itself, as when the disk is full
                self.writer.execute("ROLLBACK")
            raise

    def _change(self, statement: str) -> None:
        """Carry out a statement of a script; one that changes `messages`, for each of the tables that hold messages."""
        self.writer.execute(statement)
        if "ALTER TABLE messages " in statement:
            others = "SELECT name FROM sqlite_schema WHERE type = 'table' AND name GLOB 'messages_[0-9]*'"
            for (table,) in self.writer.execute(others).fetchall():
                self.writer.execute(statement.replace("ALTER TABLE messages ", f"ALTER TABLE {table} "))

    def _begin(self, changed_ns: int) -> None:
        """Find out whether the log, which no other process has open, is what was left here."""
        assert self._beside is not None
        generation, place, stopped = self.writer.execute("SELECT generation, place, stopped FROM log").fetchone()
        here, beside = place_of(self.path), self._beside.read()
        recorded = Recorded(_parse_place(place), generation, bool(stopped), self._has(self._beside.read_newest()))
        why = went_back(recorded, beside, here, changed_ns=changed_ns, durable=self._durable)
        if why is not None:
            log.warning("store: %s: %s; each room goes on in a new epoch", self.path, why)
        self.writer.execute("BEGIN IMMEDIATE")
        try:
            if why is not None:
                self._begin_life()
                self.writer.execute("INSERT OR REPLACE INTO notes VALUES (?, x'')", (REPLAY_DUE,))
            self._generation = max(generation, 0 if beside is None else beside.generation) + 1
            self.writer.execute(
                "UPDATE log SET generation = ?, place = ?, stopped = 0",
                (self._generation, msgspec.json.encode(here).decode()),
            )
            self.writer.execute("COMMIT")
        except BaseException:
            if self.writer.in_transaction:  # SQLite may have rolled it back itself, as when the disk is full
                self.writer.execute("ROLLBACK")
            raise
        if why is not None:
            self._beside.write_newest(NONE)
        self._beside.write(Beside(self._generation), flush=True)

    def _has(self, newest: Newest) -> bool:
        found = self.writer.execute("SELECT head FROM rooms WHERE id = ?", (newest.room,)).fetchone()
        return newest == NONE or (found is not None and found[0] >= newest.offset)

    def _begin_life(self) -> None:
        life, lives = self.writer.execute("SELECT life, lives FROM log").fetchone()
        names = [*(lives.split(",") if lives else []), secrets.token_hex(4)][-LINEAGE_MAX:]
        self.writer.execute("UPDATE log SET life = ?, lives = ?", (life + 1, ",".join(names)))

    def begin_life(self) -> None:
        """Begin a new life of the log. Its rooms go on in new epochs from their next use on.

        Raises:
            ConfigError: Other processes use the log; they would not notice.
        """
        with self.turn():
            if self.shared:
                try:
                    fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    fcntl.flock(self._lock, fcntl.LOCK_SH)
                    self._refuse_second()
            self.writer.execute("BEGIN IMMEDIATE")
            self._begin_life()
            self.writer.execute("COMMIT")
            life, lives = self.writer.execute("SELECT life, lives FROM log").fetchone()
            self.life, self.lives = life, tuple(lives.split(","))
            if self.shared:
                fcntl.flock(self._lock, fcntl.LOCK_SH)

    def lives_since(self, life: int) -> tuple[str, ...]:
        """Return the lives that have begun since that one, the newest last; the earliest are forgotten."""
        return self.lives[-(self.life - life) :] if life < self.life else ()

    def first_epoch(self, connection: sqlite3.Connection) -> str:
        """Return the epoch of a room without any message yet."""
        (base,) = connection.execute("SELECT epoch FROM log").fetchone()
        return epoch_in(self.lives[-1], base) if self.lives else base

    # Writing.

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Write, as the only one of the processes that share the file."""
        if self._turn_file < 0:
            yield
            return
        self._waits_since = time.monotonic()
        fcntl.flock(self._turn_file, fcntl.LOCK_EX)
        self._waits_since = None
        self._turns += 1
        os.pwrite(self._turn_file, b"%-10d %-20d" % (os.getpid(), self._turns), 0)  # who, for those who wait too long
        try:
            yield
        finally:
            fcntl.flock(self._turn_file, fcntl.LOCK_UN)

    @contextmanager
    def _turn_soon(self) -> Iterator[bool]:
        """Take the turn to write, if it can be had within a second."""
        until = time.monotonic() + 1.0
        while self._turn_file >= 0:
            try:
                fcntl.flock(self._turn_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > until:
                    yield False
                    return
                time.sleep(0.02)
        try:
            yield True
        finally:
            if self._turn_file >= 0:
                fcntl.flock(self._turn_file, fcntl.LOCK_UN)

    def before_commit(self) -> int | None:
        """Prepare the commit of a transaction that stores messages; called within it.

        Returns:
            The generation that `after_commit` is to be told.

        Raises:
            WritesUnavailable: The file is not there any more.
        """
        if self._lost is not None:
            raise WritesUnavailable(self._lost)
        self._check_names()
        now = time.monotonic()
        if now < self._generation_at + GENERATION_S:
            return None
        self._generation_at = now
        found = self.writer.execute("UPDATE log SET generation = generation + 1 RETURNING generation").fetchone()
        return int(found[0])

    def after_commit(self, generation: int | None) -> None:
        """Let what was committed be acknowledged, if the file still has a name.

        Raises:
            WritesUnavailable: The file has no name any more; what was committed goes with this process.
        """
        self._check_names()
        assert self._beside is not None
        if self.newest is not None:
            self._beside.write_newest(self.newest)
            self.newest = None
        if generation is not None:
            self._beside.write(Beside(generation))

    def _check_names(self) -> None:
        if os.fstat(self._file).st_nlink == 0 or os.fstat(self._wal).st_nlink == 0:
            self._lost = f"the log's file {self.path.name} was deleted or replaced under this server"
            raise WritesUnavailable(self._lost)

    def before_forgetting(self) -> None:
        """Prepare the commit of a transaction that deletes rooms: the newest message's may be among them."""
        assert self._beside is not None
        self._beside.write_newest(NONE)
        self._generation_at = 0.0  # a log that goes back to before that is found out by the generation

    @property
    def wal_bytes(self) -> int:
        """The size of the WAL."""
        return os.fstat(self._wal).st_size

    def check_writable(self) -> None:
        """Find out whether anything can be stored.

        Raises:
            sqlite3.Error, WritesUnavailable: Nothing can be stored.
        """
        with self.turn():
            self.writer.execute("BEGIN IMMEDIATE")
            try:
                self._generation_at = 0.0
                generation = self.before_commit()
                self.writer.execute("COMMIT")
            except BaseException:
                if self.writer.in_transaction:
                    self.writer.execute("ROLLBACK")
                raise
            self.after_commit(generation)

    # Looking, from another thread.

    def look(self) -> None:
        """Find out whether what is stored now can be found again.

        Raises:
            WritesUnavailable: The file was deleted, replaced or moved, its disk is read-only or full, or a process
                that does not go on has the turn to write.
        """
        self._lost = self._missing()
        if self._lost is not None:
            raise WritesUnavailable(self._lost)
        disk = os.fstatvfs(self._file)
        if disk.f_flag & os.ST_RDONLY:
            raise WritesUnavailable(f"the disk of {self.path.name} is read-only")
        if self._waits_since is not None and time.monotonic() > self._waits_since + STUCK_S:
            raise WritesUnavailable(self._free_turn())

    def _missing(self) -> str | None:
        for suffix, number in (("", self._file), ("-wal", self._wal)):
            mine = os.fstat(number)
            try:
                found = Path(f"{self.path}{suffix}").stat()
            except OSError:
                found = None
            if mine.st_nlink == 0 or found is None or (found.st_dev, found.st_ino) != (mine.st_dev, mine.st_ino):
                return (
                    f"the log's file {self.path.name}{suffix} was deleted, moved or replaced under this server:"
                    " put it back, or restart"
                )
        return None

    def _free_turn(self) -> str:
        """Say which process keeps the turn to write. One of our own parent's workers that was stopped is ended."""
        pid = int(os.pread(self._turn_file, 10, 0) or b"0")
        with contextlib.suppress(OSError, ValueError, IndexError):
            state, parent = Path(f"/proc/{pid}/stat").read_text("ascii").rpartition(")")[2].split()[:2]
            if self._siblings and state == "T" and int(parent) == os.getppid():
                log.error("worker %d was stopped while it had the turn to write: it is ended", pid)
                os.kill(pid, signal.SIGKILL)
        return f"process {pid} has had the turn to write for more than {STUCK_S:g} s"

    # Closing.

    def stop(self) -> None:
        """Note that the log is closed in order, if we are the last to use it."""
        if self._wal < 0 or self._beside is None or self._missing() is not None:
            return  # it never was open, or is not there any more
        with self._turn_soon() as ours:
            if not ours:
                return
            if self.shared:
                try:
                    fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    fcntl.flock(self._lock, fcntl.LOCK_UN)  # before the next one asks
                    return
            self.writer.execute("BEGIN IMMEDIATE")
            self.writer.execute("UPDATE log SET generation = generation + 1, stopped = 1")
            (generation,) = self.writer.execute("SELECT generation FROM log").fetchone()
            self.writer.execute("COMMIT")
            self.reader.close()
            self.writer.close()  # which writes everything into the file itself, and waits for the disk
            self._beside.write(Beside(generation, os.fstat(self._file).st_mtime_ns), flush=True)

    def close(self) -> None:
        """Let go of everything. Idempotent."""
        self._opened.close()


def _parse_place(text: str) -> Place | None:
    with contextlib.suppress(msgspec.DecodeError):
        return msgspec.json.decode(text, type=Place)
    return None


def _statements(name: str) -> list[str]:
    """Return the statements of a script. `executescript` would commit what came before it."""
    statements, text = [], ""
    for line in files("trunkline.stores.sqlite").joinpath(name).read_text("utf-8").splitlines(keepends=True):
        text += line
        if sqlite3.complete_statement(text):
            statements.append(text)
            text = ""
    return statements
