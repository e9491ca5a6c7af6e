"""What the operating system says of this process."""

from __future__ import annotations

import os
import time
from typing import NamedTuple

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]

_STARTED_AT = time.time()
_LIST_FILES_MAX = 2000  # so many open files are listed one by one; of more the number is left out


class ProcessFigures(NamedTuple):
    """Figures of a process; None where the system does not tell them.

    Attributes:
        started_at: Seconds since 1970 UTC.
        cpu_s: Seconds of processors that it has used, in itself and in the kernel.
        memory_bytes: What it holds in memory.
        files: How many files and sockets it has open.
        files_max: How many it may have open.
    """

    started_at: float
    cpu_s: float
    memory_bytes: int | None
    files: int | None
    files_max: int | None


def process_figures(sockets: int) -> ProcessFigures:
    """Return the figures of this process.

    Args:
        sockets: How many connections it has, as far as it knows: with very many its files are not listed, which would
            hold everything up.
    """
    times = os.times()
    files_max = None if resource is None else resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return ProcessFigures(_STARTED_AT, times.user + times.system, _memory_bytes(), _files(sockets), files_max)


def _memory_bytes() -> int | None:
    try:
        with open("/proc/self/statm", "rb") as file:  # noqa: PTH123 - once a second, and Path costs more than the read
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return None


def _files(sockets: int) -> int | None:
    try:
        counted = os.stat("/proc/self/fd").st_size  # noqa: PTH116 - as above; Linux 6.2 and newer
        if counted or sockets > _LIST_FILES_MAX:
            return counted or None
        return len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - as above
    except OSError:
        return None
