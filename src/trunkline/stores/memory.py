"""Logs in memory: for tests, and for rooms that may be forgotten.

They end with the process, so each start is a new epoch, and a second process could never see them.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence

import msgspec

from trunkline.core.limits import Retention
from trunkline.core.mark import Mark
from trunkline.core.message import Draft, Message, Receipt
from trunkline.core.position import Position
from trunkline.core.room import MESSAGE_OVERHEAD_BYTES, clip
from trunkline.errors import StoreUnavailable
from trunkline.stores.base import Bus, Head, Moved, Page


class _Log:
    __slots__ = ("bytes", "head", "ids", "messages")

    def __init__(self) -> None:
        # By offset, so that a resume costs the same in a short log and a long one; with the publisher's id.
        self.messages: dict[int, tuple[Message, str | None]] = {}
        self.ids: dict[tuple[str | None, str], Receipt] = {}
        self.head = 0
        self.bytes = 0

    @property
    def first(self) -> int:
        return self.head - len(self.messages) + 1

    def drop_first(self) -> None:
        message, key = self.messages.pop(self.first)
        self.bytes -= len(memoryview(message.json)) + MESSAGE_OVERHEAD_BYTES
        if key is not None:
            del self.ids[message.sender, key]


class MemoryStore:
    """A store that forgets everything when its process ends."""

    location = "memory (forgotten at the end of the process)"
    shared = False
    bus: Bus | None = None
    moved: Moved | None = None

    def __init__(self, retention: Retention, *, epoch: str | None = None) -> None:
        self._retention = retention
        self._epoch = epoch or secrets.token_hex(4)
        self._logs: dict[str, _Log] = {}
        self._marks: dict[str, dict[str, Mark]] = {}  # by room and member, in the order in which they moved

    async def start(self) -> None:
        """Nothing to open."""

    async def close(self) -> None:
        """Nothing to let go of."""

    async def follow(self, room: str) -> None:
        """Nobody else appends."""

    def unfollow(self, room: str) -> None:
        """Nobody else appends."""

    async def certain(self) -> bool:
        return True

    async def append(self, drafts: Sequence[Draft]) -> list[Receipt | StoreUnavailable]:
        return [self._append(draft) for draft in drafts]

    def _append(self, draft: Draft) -> Receipt:
        log = self._logs.get(draft.room)
        if log is None:
            log = self._logs[draft.room] = _Log()
        if draft.id is not None:
            first = log.ids.get((draft.sender, draft.id))
            if first is not None:
                return msgspec.structs.replace(first, duplicate=True)
        log.head += 1
        message_id = draft.id or f"{self._epoch}.{log.head}"
        receipt = Receipt(draft.room, self._epoch, log.head, message_id, draft.at, duplicate=False)
        message = Message(draft.room, log.head, message_id, draft.sender, draft.at, msgspec.Raw(draft.json))
        log.messages[log.head] = (message, draft.id)
        log.bytes += len(draft.json) + MESSAGE_OVERHEAD_BYTES
        if draft.id is not None:
            log.ids[draft.sender, draft.id] = receipt
        while len(log.messages) > self._retention.messages_max or log.bytes > self._retention.bytes_max:
            log.drop_first()
        return receipt

    async def read(self, room: str, after: int, messages_max: int, bytes_max: int) -> Page:
        log = self._logs.get(room)
        if log is None:
            return Page(self._epoch, 1, [])
        begin = max(after + 1, log.first)
        end = min(begin + messages_max, log.head + 1)
        wanted = [log.messages[offset][0] for offset in range(begin, end)]
        return Page(self._epoch, log.first, clip(wanted, bytes_max))

    async def head(self, room: str) -> Head:
        log = self._logs.get(room)
        return Head(self._epoch, 1, 0) if log is None else Head(self._epoch, log.first, log.head)

    async def heads(self, rooms: Sequence[str]) -> dict[str, Position]:
        return {room: Position(self._epoch, self._logs[room].head) for room in rooms if room in self._logs}

    async def mark(self, marks: Sequence[Mark]) -> None:
        for mark in marks:
            of_room = self._marks.setdefault(mark.room, {})
            before = of_room.get(mark.member)
            if before is None or before.offset < mark.offset:
                of_room.pop(mark.member, None)
                of_room[mark.member] = mark

    async def marks(self, room: str, marks_max: int) -> list[Mark]:
        return list(reversed(self._marks.get(room, {}).values()))[:marks_max]

    async def marks_of(self, member: str, rooms: Sequence[str]) -> dict[str, int]:
        found = {room: self._marks.get(room, {}).get(member) for room in rooms}
        return {room: mark.offset for room, mark in found.items() if mark is not None}

    async def trim(self, now_ms: int) -> dict[str, int]:
        oldest = now_ms - self._retention.age_s * 1000
        trimmed = {}
        for room, of_room in list(self._marks.items()):
            self._marks[room] = {member: mark for member, mark in of_room.items() if mark.at >= oldest}
            if not self._marks[room]:
                del self._marks[room]
        for name, log in self._logs.items():
            before = log.first
            while log.messages and log.messages[log.first][0].at < oldest:
                log.drop_first()
            if log.first != before:
                trimmed[name] = log.first
        return trimmed
