"""What one process knows of a room's log: the epoch, the first and the newest offset, and the newest messages."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from trunkline.core.message import Message
from trunkline.core.position import Lineage
from trunkline.core.redaction import without_data

# What a message costs in memory beside its data: the object, its id and sender. For the byte bound.
MESSAGE_OVERHEAD_BYTES = 200
# How many times its bounds a tail may hold while LIVE readers still need it.
BURST = 8


class Tail:
    """Invariant: `messages` holds the offsets head - len(messages) + 1 … head, without holes.

    Attributes:
        name: The room's.
        first: The earliest retained offset; head + 1 if nothing is retained.
        head: The newest offset; 0 if there never was a message.
        lineage: Former epochs that the present one goes on from.
        messages: The newest ones.
        messages_bytes: What they cost in memory.
        arrived: When this process had each of `messages`, in seconds of a clock that only goes forward.
        redacted_to: The offset of the newest redaction that `messages` have suffered.
    """

    __slots__ = ("arrived", "epoch", "first", "head", "lineage", "messages", "messages_bytes", "name", "redacted_to")

    def __init__(self, name: str, epoch: str, first: int, head: int, lineage: Lineage = ()) -> None:
        self.name = name
        self.epoch = epoch
        self.lineage = lineage
        self.first = first
        self.head = head
        self.messages: list[Message] = []
        self.messages_bytes = 0
        self.arrived: list[float] = []
        self.redacted_to = 0

    def extend(
        self,
        messages: Sequence[Message],
        messages_max: int,
        bytes_max: int,
        slowest: Callable[[], int | None],
        now: float = 0.0,
    ) -> None:
        """Add what the log has appended. Messages behind a hole that this process has not seen make a new tail.

        Args:
            messages_max, bytes_max: Beyond these the oldest messages are dropped.
            slowest: Returns the smallest offset at which a LIVE reader stands, or None. Such readers are at most a few
                steps behind; dropping what they need next would send each of them to the store alone, so the tail may
                grow to BURST times its bounds for them.
            now: In seconds, as for `arrived`.
        """
        if messages[-1].offset - messages[0].offset != len(messages) - 1:  # others have appended in between
            begin = next(n for n in range(len(messages) - 1, 0, -1) if messages[n].offset != messages[n - 1].offset + 1)
            messages = messages[begin:]
        if messages[0].offset != self.head + 1:
            self._clear()
        self.head = messages[-1].offset
        self.messages.extend(messages)
        self.arrived.extend([now] * len(messages))
        self.messages_bytes += sum(map(_size, messages))
        for message in messages:
            if message.redacts:
                self._redact(message)
        if len(self.messages) > messages_max or self.messages_bytes > bytes_max:
            is_burst_over = len(self.messages) > BURST * messages_max or self.messages_bytes > BURST * bytes_max
            needed = None if is_burst_over else slowest()
            keep_after = self.head if needed is None else needed
            self._shrink(messages_max, bytes_max, keep_after)

    def change_epoch(self, epoch: str, first: int, head: int, lineage: Lineage) -> None:
        """Go on under another epoch, whose newest offset may be another one than was known."""
        self.epoch, self.first, self.head, self.lineage = epoch, first, head, lineage
        self.redacted_to = min(self.redacted_to, head)
        self._clear()

    def halve(self) -> None:
        """Give memory back; readers that wanted it are served by the store."""
        self._shrink(len(self.messages) // 2, self.messages_bytes // 2, self.head)

    def since(self, after: int, messages_max: int, bytes_max: int) -> list[Message] | None:
        """Return the messages after offset *after*, at least one, as many as fit; None if the tail begins later."""
        begin = after - (self.head - len(self.messages))
        if begin < 0:
            return None
        return clip(self.messages[begin : begin + messages_max], bytes_max)

    def arrived_at(self, offset: int) -> float | None:
        """Return when this process had a message; None if it is not among `messages`."""
        begin = offset - self.head - 1
        return self.arrived[begin] if -len(self.arrived) <= begin < 0 else None

    def _redact(self, redaction: Message) -> None:
        self.redacted_to = max(self.redacted_to, redaction.offset)
        before = self.head - len(self.messages) + 1
        for offset in redaction.redacts:
            if offset >= before:
                known = self.messages[offset - before]
                left = without_data(known, self.epoch, erased=redaction.erased)
                self.messages[offset - before] = left
                self.messages_bytes += _size(left) - _size(known)

    def _clear(self) -> None:
        self.messages.clear()
        self.arrived.clear()
        self.messages_bytes = 0

    def _shrink(self, messages_max: int, bytes_max: int, keep_after: int) -> None:
        # To three quarters, so that the list is cut once in a while and not at every message.
        most = max(0, keep_after - (self.head - len(self.messages)))
        cut = min(most, max(0, len(self.messages) - messages_max * 3 // 4))
        size = self.messages_bytes - sum(map(_size, self.messages[:cut]))
        while cut < most and size > bytes_max * 3 // 4:
            size -= _size(self.messages[cut])
            cut += 1
        del self.messages[:cut]
        del self.arrived[:cut]
        self.messages_bytes = size


def clip(messages: list[Message], bytes_max: int) -> list[Message]:
    """Return as many of the first messages as fit into *bytes_max*, but at least one."""
    size = 0
    for index, message in enumerate(messages):
        size += _size(message)
        if size > bytes_max and index:
            return messages[:index]
    return messages


def _size(message: Message) -> int:
    return len(memoryview(message.json)) + MESSAGE_OVERHEAD_BYTES
