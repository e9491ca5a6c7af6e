"""The journal of corrections, beside a log and not in it: what a backup does not know that was made before.

Beside a SQLite log at PATH it is `PATH-redactions`; of one in Redis, what the URL says (`journal=`). It has a line of
JSON for each correction: where it was, and never what. When a log is found to be an older one than was stored at its
place, or is restored, the lines are carried out again. A line names the epochs in which its offsets were those
messages, so that it never redacts others that got the same offsets since.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import msgspec

KEEP_MS = 400 * 86_400_000  # longer than backups are kept
LINES_CHECKED = 10_000  # with more lines than this, those that are too old are left out at a start


class Journalled(msgspec.Struct, omit_defaults=True):
    """A line of the journal.

    Attributes:
        at: When it was corrected, in ms since 1970 UTC.
        epochs: The epochs of the room in which *offsets* were these messages.
        offsets: Of the messages that were redacted.
        erases: Their senders were taken away, too.
        deletes: The room was deleted.
    """

    at: int
    room: str
    epochs: list[str]
    offsets: list[int] = []
    erases: bool = False
    deletes: bool = False


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
        number = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            os.write(number, msgspec.json.encode(entry) + b"\n")
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

    def shorten(self, now_ms: int) -> None:
        """Leave out lines that are too old, if there are many."""
        entries = list(self.read())
        if len(entries) < LINES_CHECKED:
            return
        kept = [entry for entry in entries if entry.at > now_ms - KEEP_MS]
        if len(kept) == len(entries):
            return
        shorter = Path(f"{self._path}-new")
        number = os.open(shorter, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            os.write(number, b"".join(msgspec.json.encode(entry) + b"\n" for entry in kept))
            os.fsync(number)
        finally:
            os.close(number)
        shorter.replace(self._path)
