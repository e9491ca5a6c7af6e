"""How many connections each worker of a machine has: a page of memory that all of them see.

The kernel gives a connection to whichever worker asks first, and one that is awake asks again at once: of four workers
one had three times as many as another. So each of them posts how many it has, and one that has clearly more than its
share leaves the next ones to the others. Only those that have posted just now count: one that is stuck must not stop
all.
"""

from __future__ import annotations

import mmap
import os
import struct
import tempfile

SLOTS = 1024  # of the page: three for each of the workers that there can be
POSTED_S = 0.5  # a worker that has not posted for so long does not answer
POST_S = 0.05
SLACK = 8  # connections, and
SLACK_SHARE = 0.05  # of the share, that are nothing to wait for

_ENTRY = struct.Struct("=dQ?7x")  # when it was posted (seconds, on the machine's monotonic clock), connections, full


def make_board() -> int:
    """Return the file descriptor of an empty board, for `Board`."""
    return make_memory("trunkline-board", SLOTS * _ENTRY.size)


def make_memory(name: str, size: int) -> int:
    """Return the file descriptor of so many bytes of memory, all 0, that processes can share.

    Args:
        name: For people who look for what uses memory.
    """
    if hasattr(os, "memfd_create"):
        file = os.memfd_create(name)
    else:
        with tempfile.TemporaryFile() as made:
            file = os.dup(made.fileno())
    os.ftruncate(file, size)
    return file


class Board:
    """The board, as one worker sees it.

    Args:
        file: From `make_board`; it can be closed afterwards.
        slot: The worker's own place.
        slots: How many places are used.
    """

    def __init__(self, file: int, slot: int, slots: int) -> None:
        self._memory = mmap.mmap(file, SLOTS * _ENTRY.size)
        self._slot = slot
        self._slots = slots

    def post(self, connections: int, now: float, *, full: bool) -> None:
        """Say how many connections we have, and whether we can take no more."""
        _ENTRY.pack_into(self._memory, self._slot * _ENTRY.size, now, connections, full)

    def leave(self) -> None:
        """Take no more: what this process has counts for none of the others."""
        _ENTRY.pack_into(self._memory, self._slot * _ENTRY.size, 0.0, 0, True)

    def may_accept(self, connections: int, now: float, *, full: bool) -> bool:
        """Return whether the next connection is for us. If all are full it is, so that the client is told so."""
        others = self._others(now)
        if full:
            return all(other_full for _, other_full in others)
        open_others = [count for count, other_full in others if not other_full]
        if not open_others:
            return True
        share = (connections + sum(open_others)) / (1 + len(open_others))
        return connections <= share * (1 + SLACK_SHARE) + SLACK

    def _others(self, now: float) -> list[tuple[int, bool]]:
        others = []
        for slot in range(self._slots):
            at, count, full = _ENTRY.unpack_from(self._memory, slot * _ENTRY.size)
            if slot != self._slot and now - at < POSTED_S:
                others.append((count, full))
        return others
