"""Where a SQLite log stands, and whether it is still what this place has acknowledged.

A log that went back looks like any other file: a restored backup, a WAL whose tail a power failure took, a copy that
goes on elsewhere. So three things are written down, in the database and beside it (`PATH-place`):

    place        the machine's boot, the file's device and inode, and its path
    generation   a number that grows at each start and stop, and at least once a second while messages are stored; the
                 file beside the database has it only after the database has it
    newest       one message of the last commit, beside it only: at a start the database must have it
    stopped      whether the last process that used the file ended in order; beside it, when the file changed last

What follows from them:

    what is found at a start                              what it means
    another path, device or inode                         a copy, or a backup that was put back
    a smaller generation than beside it, or none beside   a backup that was put back, or a copy
    not the newest message                                the same, or a WAL without its tail
    another boot, not stopped, not durable                power may have taken the last commits
    stopped, and the file was changed since               another program wrote to it, or a backup was put over it
    the same boot, not stopped                            kill -9: everything is there

A snapshot of the disk that is put back together with the file beside the database cannot be told from the original,
unless the machine has booted since: that is what `trunkline epoch new` is for.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Annotated

import msgspec

GENERATION_MAX = 2**53
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """Where a file is.

    Attributes:
        boot: The boot of the machine; None where that cannot be known.
        device, inode: Of the file.
        path: Absolute, with all symbolic links resolved.
    """

    boot: str | None
    device: int
    inode: int
    path: str


class Beside(msgspec.Struct, frozen=True):
    """What `PATH-place` says.

    Attributes:
        generation: The last one that was stored.
        changed_ns: When the database file had changed last after it was closed in order; None while it is open.
    """

    generation: Annotated[int, msgspec.Meta(ge=0, le=GENERATION_MAX)]
    changed_ns: int | None = None


class Newest(msgspec.Struct, frozen=True, array_like=True):
    """A message that was stored: the number of its room, and its offset there. The room's is 0 for none."""

    room: int
    offset: int


NONE = Newest(0, 0)


class Recorded(msgspec.Struct, frozen=True):
    """What the database says of its last use.

    Attributes:
        place: None if it never was used by this version.
        has_newest: Whether it has the newest message of which the file beside it says that it was stored.
    """

    place: Place | None
    generation: int
    stopped: bool
    has_newest: bool = True


def boot_id() -> str | None:
    """Return the name of this boot of the machine; None where there is none."""
    try:
        return _BOOT_ID.read_text("ascii").strip() or None
    except OSError:
        return None


def place_of(path: Path) -> Place:
    """Return where this file is. Its path must be resolved already."""
    found = path.stat()
    return Place(boot=boot_id(), device=found.st_dev, inode=found.st_ino, path=str(path))


def went_back(recorded: Recorded, beside: Beside | None, here: Place, *, changed_ns: int, durable: bool) -> str | None:
    """Return why the log may not be what was acknowledged here; None if there is no evidence of that.

    Args:
        changed_ns: When the database file was changed last (`st_mtime_ns`).
        durable: Whether every commit waits for the disk.
    """
    before = recorded.place
    if before is None and (beside is None or not beside.generation):
        return None  # a new log, or one of a version that wrote nothing down
    if before is None:
        return "it is older than what was stored here, and was written by an earlier version"
    if here.path != before.path:
        return f"it was last used as {before.path}"
    if (here.device, here.inode) != (before.device, before.inode):
        return "it is another file than the one that was used here"
    if beside is None:
        return "the file beside it that says up to where it was stored is missing"
    if recorded.generation < beside.generation or not recorded.has_newest:
        return "it is older than what was stored here"
    if recorded.stopped and beside.changed_ns is not None and beside.changed_ns != changed_ns:
        return "it was changed after it was closed"
    if not recorded.stopped and not durable and (here.boot is None or here.boot != before.boot):
        return "the machine has booted since it was last used, and it was not closed in order"
    return None


_WIDTH = 64  # of each of the two texts: always of one length, so that it is never half of one and half of another


class BesideFile:
    """`PATH-place`, kept open as long as the log is. Two texts stand in it, since they are written at different times.

    Raises:
        OSError: It cannot be made.
    """

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        if os.fstat(self._file).st_size > 2 * _WIDTH:  # it is not from us
            os.ftruncate(self._file, 0)

    def read(self) -> Beside | None:
        """Return what it says; None if it says nothing."""
        with contextlib.suppress(msgspec.DecodeError):
            return msgspec.json.decode(os.pread(self._file, _WIDTH, 0), type=Beside)
        return None

    def read_newest(self) -> Newest:
        """Return the message that was written down last."""
        with contextlib.suppress(msgspec.DecodeError):
            return msgspec.json.decode(os.pread(self._file, _WIDTH, _WIDTH), type=Newest)
        return NONE

    def write(self, beside: Beside, *, flush: bool = False) -> None:
        """Write it; with *flush*, wait for the disk."""
        os.pwrite(self._file, msgspec.json.encode(beside).ljust(_WIDTH), 0)
        if flush:
            os.fsync(self._file)

    def write_newest(self, newest: Newest) -> None:
        """Write down a message that was stored, or none."""
        os.pwrite(self._file, msgspec.json.encode(newest).ljust(_WIDTH), _WIDTH)

    def close(self) -> None:
        """Let go of the file."""
        os.close(self._file)
