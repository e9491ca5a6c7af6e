"""How a room's epoch follows from the lives of its log.

A log begins a new life when it is not sure that its end is still what was acknowledged: it was restored from a
backup, copied to another place, or its machine lost power. Each room then goes on in a new epoch from its first use in
that life on, and its lineage keeps, for every former epoch, the offset up to which the former messages are still there.

An epoch is computed from the room's first epoch (its *origin*) and the name of the life. So a process that only reads
comes to the same epoch as the one that writes, and lives in which a room was not written to need no row of their own:

    written in life 0    epoch o            lineage
    life 1 begins        epoch f(o, life1)  (o: head)
    life 2 begins        epoch f(o, life2)  (o: head) (f(o, life1): head)

Readers at the head of any of these epochs have lost nothing, however many lives have begun in between, as long as their
epoch is among the last LINEAGE_MAX.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from trunkline.core.position import DELETED, Former, Lineage

# Former epochs that a room remembers. A reader whose epoch is older is told that all of it is lost, which is safe.
LINEAGE_MAX = 64


def epoch_in(life: str, origin: str) -> str:
    """Return the epoch, in that life of the log, of a room whose first epoch was *origin*."""
    return hashlib.sha256(f"{origin} {life}".encode()).hexdigest()[:8]


def go_on(epoch: str, lineage: Lineage, head: int, origin: str, lives: Sequence[str]) -> tuple[str, Lineage]:
    """Return the epoch and the lineage of a room after some lives have begun.

    Args:
        epoch, lineage: As they were written when the room was used last.
        head: The newest offset that the log has now.
        lives: The names of the lives that have begun since, the newest last.
    """
    for life in lives:
        lineage = (*(Former(name, min(offset, head)) for name, offset in lineage), Former(epoch, head))
        epoch = epoch_in(life, origin)
    return epoch, lineage[-LINEAGE_MAX:]


def begin_again(epoch: str, lineage: Lineage) -> Lineage:
    """Return the lineage of a room that was deleted in *epoch*: nothing of what was read before is there."""
    return tuple(Former(name, DELETED) for name in (*(former.epoch for former in lineage), epoch))[-LINEAGE_MAX:]


def lineage_of_copy(epoch: str, head: int, lineage: Lineage) -> Lineage:
    """Return the lineage of a room whose messages were copied from one that stands at *head*."""
    return (*lineage, Former(epoch, head))[-LINEAGE_MAX:]


def epochs_with(offset: int, epoch: str, lineage: Lineage) -> list[str]:
    """Return the epochs in which the message of this offset is the present one."""
    return [former.epoch for former in lineage if former.offset >= offset] + [epoch]


def parse_lineage(text: str) -> Lineage:
    """Read what `format_lineage` wrote: `k3f9x2:42,p0q8:50`."""
    former = (one.partition(":") for one in text.split(",") if one)
    return tuple(Former(name, int(offset)) for name, _, offset in former)


def format_lineage(lineage: Lineage) -> str:
    """Write a lineage as one short text."""
    return ",".join(f"{name}:{offset}" for name, offset in lineage)
