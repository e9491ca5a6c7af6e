"""The journal of corrections, beside a log and not in it: what a backup does not know that was made before.

Beside a SQLite log at PATH it is `PATH-redactions`; of one in Redis, what the URL says (`journal=`). It has a line of
JSON for each correction: where it was, and never what. When a log is found to be an older one than was stored at its
place, or is restored, the lines are carried out again. A line names the epochs in which its offsets were those
messages, so that it never redacts others that got the same offsets since.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import msgspec

from trunkline.core.position import OFFSET_MAX, Lineage


class Journalled(msgspec.Struct, omit_defaults=True):
    """A line of the journal.

    Attributes:
        at: When it was corrected, in ms since 1970 UTC.
        epochs: The epochs of the room, each with the offset up to which its messages were the present ones.
        offsets: Of the messages that were redacted.
        erases: Their senders were taken away, too.
        deletes: The room was deleted, when it stood at *head*.
    """

    at: int
    room: str
    epochs: list[tuple[str, int]]
    offsets: list[int] = []
    erases: bool = False
    deletes: bool = False
    head: int = 0


def epochs_of(epoch: str, lineage: Lineage) -> list[tuple[str, int]]:
    """Return the epochs of a room for a line."""
    return [(former.epoch, former.offset) for former in lineage if former.offset >= 0] + [(epoch, OFFSET_MAX)]


def still_there(line: Journalled, epoch: str, head: int, lineage: Lineage) -> list[int]:
    """Return which offsets of a line are, in a room that stands there, the messages that they were then. Of a line that
    deletes: one offset, if it is that room, and has nothing that was published after that."""
    now = epochs_of(epoch, lineage)

    def is_same(offset: int) -> bool:
        then = {name for name, to in line.epochs if to >= offset}
        return any(to >= offset and name in then for name, to in now)

    if line.deletes:
        return [0] if head <= line.head and is_same(0) else []
    return [offset for offset in line.offsets if is_same(offset)]


_decode = msgspec.json.Decoder(Journalled).decode


class Journal:
    """The journal of one log.

    Args:
        path: Of the journal.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def add(self, entry: Journalled) -> None:
        """Write a line, and wait for the disk.

        Raises:
            OSError: It could not be written; then nothing may be corrected.
        """
        text = msgspec.json.encode(entry) + b"\n"
        number = os.open(self._path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            size = os.fstat(number).st_size
            if size and os.pread(number, 1, size - 1) != b"\n":
                text = b"\n" + text  # behind a line that was cut off
            if os.write(number, text) != len(text):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            os.fdatasync(number)
        finally:
            os.close(number)

    def read(self) -> Iterator[Journalled]:
        """Iterate over the lines. One that was cut off is left out."""
        try:
            lines = self._path.read_bytes().splitlines()
        except FileNotFoundError:
            return
        for line in lines:
            try:
                yield _decode(line)
            except msgspec.DecodeError:
                continue
