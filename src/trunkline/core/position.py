"""Positions: the whole state of a reader, in one short text.

Why an offset alone is not enough: a reader has 1, 2 and 3. The log is lost, a new one begins, and by the time the
reader is back it holds other messages 1 to 5. "After 3" would answer 4 and 5, and the reader would never learn that
1 to 3 of the new log exist, nor that the old log's 4 is gone. So a position carries the epoch, the name of this life
of the log, and a reader from another life is told with a gap.

A log need not be lost as a whole: the machine that takes over from one that died may lack its last messages. Then the
new life goes on where the former one is still known (`Former`), and only readers who have read further are told.
"""

from __future__ import annotations

import re
from typing import Literal, NamedTuple

import msgspec

from trunkline.errors import RequestError, TrunklineError

OFFSET_MAX = 2**53 - 1  # what a JavaScript number holds exactly

_POSITION = re.compile(r"(?:([a-z0-9]{1,16})\.)?(0|[1-9][0-9]{0,15})\Z")


class Position(NamedTuple):
    """`epoch.offset`: everything up to and including *offset* is known to the reader."""

    epoch: str
    offset: int

    def __str__(self) -> str:
        return f"{self.epoch}.{self.offset}"


DELETED = -1


class Former(NamedTuple):
    """A former epoch, and the offset up to which its messages are those of the present one; DELETED if the room was
    deleted then."""

    epoch: str
    offset: int


Lineage = tuple[Former, ...]
Reason = Literal["trimmed", "epoch", "future", "slow", "deleted"]


class Gap(msgspec.Struct, frozen=True):
    """Messages that a reader asked for and cannot have. Never sent without need, never left out.

    Attributes:
        room: Name of the room.
        epoch: The log's epoch now.
        first, last: The lost offsets, `from` and `to` on the wire, both inclusive. With the reason `epoch` there are
            two cases. Either the log has lost its newest messages: the messages of these offsets are lost, and others
            come under the same offsets. Or it is another log: these offsets of it are gone already (none, `last` = 0,
            if it is complete), and of the former log everything after the reader's position is lost.
        reason: `trimmed`: retention removed them while the reader was away. `slow`: the same while it was connected
            and did not read. `epoch`: the position is of another life of the log. `future`: the log ends before it.
            `deleted`: the room was deleted; what there is now was written since.
        next: The position to go on from; the next message that arrives is the first after it.
    """

    room: str
    epoch: str
    first: int = msgspec.field(name="from")
    last: int = msgspec.field(name="to")
    reason: Reason
    next: str


class GapError(TrunklineError):
    """Messages that the reader asked for are gone. `gap` names them; go on from `gap.next`."""

    code = "gap"

    def __init__(self, gap: Gap) -> None:
        super().__init__(
            f"messages {gap.first} to {gap.last} of {gap.room} are gone ({gap.reason}); go on after {gap.next}"
        )
        self.gap = gap


class Start(msgspec.Struct, frozen=True):
    """Where a reader wants to begin.

    Attributes:
        kind: `start` is the earliest message there is, `now` is after the newest, `last` is the *number* newest,
            `after` is after the offset *number*, of *epoch* if that is given.
    """

    kind: Literal["start", "now", "last", "after"]
    number: int = 0
    epoch: str | None = None

    def __str__(self) -> str:
        """Return the start as `since` spells it; of `after` only."""
        return str(self.number) if self.epoch is None else f"{self.epoch}.{self.number}"


NOW = Start("now")
BEGINNING = Start("start")


def parse_since(text: str | int) -> Start:
    """Parse `start`, `now`, an offset or a position.

    Raises:
        RequestError: `bad_position`.
    """
    text = str(text)
    if text == "now":
        return NOW
    if text == "start":
        return BEGINNING
    match = _POSITION.match(text)
    if match is None or int(match[2]) > OFFSET_MAX:
        raise RequestError("bad_position", "since is start, now, an offset, or epoch.offset")
    return Start("after", int(match[2]), match[1])


def parse_last(text: str | int) -> Start:
    """Parse the number of newest messages to begin with.

    Raises:
        RequestError: `bad_position`.
    """
    text = str(text)
    number = int(text) if len(text) <= 16 and text.isascii() and text.isdigit() else -1
    if not 0 <= number <= OFFSET_MAX:
        raise RequestError("bad_position", "last is a number of messages, 0 or more")
    return Start("last", number)


def parse_start(since: str | int | None, last: str | int | None, default: Start) -> Start:
    """Parse a request's `since` or `last`; return *default* if it has neither.

    Raises:
        RequestError: `bad_position`, also if both are given.
    """
    if since is not None:
        if last is not None:
            raise RequestError("bad_position", "give since or last, not both")
        return parse_since(since)
    return default if last is None else parse_last(last)


def resolve(
    start: Start, room: str, epoch: str, first: int, head: int, lineage: Lineage = ()
) -> tuple[int, Gap | None]:
    """Return the offset after which reading goes on, and the gap in front of it, if any.

    Args:
        first: The earliest retained offset; head + 1 if nothing is retained.
        head: The newest offset; 0 if there never was a message.
        lineage: Former epochs that the present one goes on from.
    """
    match start.kind:
        case "now":
            return head, None
        case "start":
            return first - 1, None
        case "last":
            return max(first - 1, head - start.number), None
    if start.epoch is not None and start.epoch != epoch:
        known = next((former.offset for former in lineage if former.epoch == start.epoch), None)
        if known is None or known == DELETED:
            if start.number == 0 and first == 1:
                return 0, None  # nothing that it has read is lost
            reason: Reason = "epoch" if known is None else "deleted"
            return first - 1, Gap(room, epoch, 1, first - 1, reason, f"{epoch}.{first - 1}")
        if start.number > known:
            after = max(known, first - 1)
            return after, Gap(room, epoch, known + 1, max(start.number, after), "epoch", f"{epoch}.{after}")
    if start.number > head:
        return head, Gap(room, epoch, head + 1, start.number, "future", f"{epoch}.{head}")
    if start.number < first - 1:
        return first - 1, trimmed(room, epoch, start.number, first)
    return start.number, None


def overtaken(gap: Gap | None, room: str, epoch: str, after: int, earliest: int) -> Gap | None:
    """Return the gap in front of *earliest*, the first offset that a read after *after* found.

    Retention may trim between the moment a start is resolved and the moment the log is read: the gap, if there was
    one, then reaches further, and if there was none there is one now.
    """
    if earliest == after + 1:
        return gap
    if gap is None:
        return trimmed(room, epoch, after, earliest)
    return Gap(room, epoch, gap.first, earliest - 1, gap.reason, f"{epoch}.{earliest - 1}")


def trimmed(room: str, epoch: str, after: int, first: int, reason: Reason = "trimmed") -> Gap:
    """Return the gap between a reader's offset and the earliest retained one."""
    return Gap(room, epoch, after + 1, first - 1, reason, f"{epoch}.{first - 1}")
