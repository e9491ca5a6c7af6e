"""The metrics of all workers of a machine, in memory that all of them see: a scrape of any one gives all.

Each worker writes its own once a second. One that has died takes nothing with it but its last second, and one that is
stuck is told apart by how long it has written nothing.
"""

from __future__ import annotations

import contextlib
import logging
import mmap
import os
import struct
import time
import zlib
from collections.abc import Mapping

import msgspec

from trunkline.admin.figures import Family, Sample
from trunkline.server.board import make_memory

WRITE_S = 1.0
SLOT_BYTES = 1024 * 1024  # the metrics of a hundred hubs; memory is used only as far as it is written
PARENT = "parent"  # under which its figures stand, and the name of the worker that it is not
TRIES = 3  # a slot may be read while it is written

log = logging.getLogger("trunkline")

_HEAD = struct.Struct("=dII")  # when it was written (seconds, on the machine's monotonic clock), size, checksum
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(dict[str, list[Family]]).decode


def make_shared_figures(slots: int) -> int:
    """Return the file descriptor of empty memory for so many workers and their parent, for `SharedFigures`."""
    return make_memory("trunkline-figures", (slots + 1) * SLOT_BYTES)


class SharedFigures:
    """The metrics of all workers, as one of them sees them, or their parent.

    Args:
        file: From `make_shared_figures`.
        slot: The worker's own place; None for the parent, whose figures every scrape has, too.
    """

    def __init__(self, file: int, slot: int | None) -> None:
        size = os.fstat(file).st_size
        self._memory = mmap.mmap(file, size)
        self._slots = size // SLOT_BYTES - 1
        self._slot = self._slots if slot is None else slot

    def write(self, rooms: Mapping[str, list[Family]]) -> None:
        """Let the others see these: the metrics of each hub, by its path."""
        data = _encode(rooms)
        if len(data) > SLOT_BYTES - _HEAD.size:
            log.error("the metrics of this worker are too large for the others to see: %d bytes", len(data))
        else:
            at = self._slot * SLOT_BYTES
            self._memory[at + _HEAD.size : at + _HEAD.size + len(data)] = data
            _HEAD.pack_into(self._memory, at, time.monotonic(), len(data), zlib.crc32(data))

    def clear(self, slot: int | None = None) -> None:
        """Show nothing of a worker that has ended; of this one, by default."""
        at = (self._slot if slot is None else slot) * SLOT_BYTES
        _HEAD.pack_into(self._memory, at, 0.0, 0, 0)

    def write_of_parent(self, ends: int) -> None:
        """Let every scrape tell how many workers have ended that were not asked to."""
        text = "Workers that have ended without being asked to, and were replaced."
        self.write({PARENT: [Family("trunkline_worker_ends", "counter", text, [Sample((), float(ends))])]})

    def of_workers(self, path: str, own: list[Family]) -> dict[str, list[Family]]:
        """Return the metrics of all workers by their names, and for each how long it has been silent.

        Args:
            path: Of the hub.
            own: This worker's, as they are now.
        """
        found = {str(self._slot): [*own, _silence(0.0)]}
        for slot in range(self._slots):
            if slot != self._slot and (read := self._read(slot, path)):
                found[str(slot)] = read
        of_parent = self._read(self._slots, PARENT)[:-1]  # its silence says nothing: it writes when something happens
        return found | ({PARENT: of_parent} if of_parent else {})

    def _read(self, slot: int, path: str) -> list[Family]:
        begin = slot * SLOT_BYTES
        for _ in range(TRIES):
            at, size, checksum = _HEAD.unpack_from(self._memory, begin)
            if not size:
                break
            data = self._memory[begin + _HEAD.size : begin + _HEAD.size + size]
            if zlib.crc32(data) == checksum:
                with contextlib.suppress(msgspec.DecodeError):  # of another version, while workers are replaced
                    return [*_decode(data).get(path, []), _silence(max(0.0, time.monotonic() - at))]
        return []


def _silence(seconds: float) -> Family:
    text = "For how long this worker has not told its metrics: it is stuck if that grows."
    return Family("trunkline_worker_silent_seconds", "gauge", text, [Sample((), seconds)])
