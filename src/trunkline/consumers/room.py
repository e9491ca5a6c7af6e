"""One room, as one instance of a consumer handles it.

idle ──news──► ready ──begin──► busy ──ack──► ready, until nothing is new: idle
                 ▲                │
                 └──time── paused ◄┘ fail
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Literal

from trunkline.core.consumer import Progress, lag_of
from trunkline.core.message import Message

State = Literal["idle", "ready", "busy", "paused", "lost"]

TRANSITIONS: dict[State, dict[str, State]] = {
    "idle": {"news": "ready", "lost": "lost"},
    "ready": {"news": "ready", "begin": "busy", "nothing": "idle", "lost": "lost"},
    "busy": {"news": "busy", "ack": "ready", "fail": "paused", "lost": "lost"},
    "paused": {"news": "paused", "time": "ready", "ack": "ready", "lost": "lost"},
    "lost": {"news": "lost", "ack": "lost", "fail": "lost", "time": "lost", "nothing": "lost", "lost": "lost"},
}
"""Each state's ways out. What is not here cannot happen."""


class ConsumedRoom:
    """A room of a slot that this instance has.

    Attributes:
        progress: How far it is, as the log has it; None if there is no cursor yet.
        record: The record of that; None if there is none.
        first, head: The earliest and the newest offset that are known.
        epoch, read: Messages and redactions that were read, and not begun yet; and of which epoch they are.
        redactions_seen: How many redactions this process knew when they were read.
        has_news: It may have moved since it was read last.
        is_complete: Everything was handled when that was seen last, and nothing has been heard of it since.
        reads_from: The position behind which reading goes on; empty for the cursor.
        busy, busy_to: The first message that is being handled, since when, and up to which offset there are others.
        is_careful: Tries are noted before they begin, since an instance has died that may have begun them.
        turn: Who changes its record.
    """

    __slots__ = (
        "busy", "busy_to", "epoch", "first", "has_news", "head", "is_careful", "is_complete", "name", "progress",
        "read", "reads_from", "record", "redactions_seen", "slot", "state", "turn",
    )  # fmt: skip

    def __init__(self, name: str, slot: int) -> None:
        self.name = name
        self.slot = slot
        self.state: State = "idle"
        self.progress: Progress | None = None
        self.record: bytes | None = None
        self.first, self.head = 1, 0
        self.read: deque[Message] = deque()
        self.reads_from = ""
        self.redactions_seen = 0
        self.busy: tuple[Message, float] | None = None
        self.busy_to = 0
        self.epoch = ""
        self.has_news = self.is_complete = False
        self.is_careful = False
        self.turn = asyncio.Lock()

    def go(self, why: str) -> State:
        """Change the state; return it."""
        self.state = TRANSITIONS[self.state][why]
        return self.state

    def has_handled(self, entry: Message) -> bool:
        """Return whether the cursor is behind an entry that was read."""
        progress = self.progress
        return progress is not None and progress.epoch == self.epoch and progress.offset >= entry.offset

    def forget_read(self) -> None:
        """Read again from the cursor on."""
        self.read.clear()
        self.reads_from = ""

    @property
    def lag(self) -> int:
        """How many messages are not handled yet, as far as is known."""
        return lag_of(self.first, self.head, self.progress)
