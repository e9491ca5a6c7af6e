"""Logs in memory: for tests, and for rooms that may be forgotten.

They end with the process, so each start is a new epoch, and a second process could never see them.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from itertools import islice
from typing import NamedTuple

import msgspec

from trunkline.core.epochs import begin_again, epoch_in, go_on, lineage_of_copy
from trunkline.core.message import Draft, Message, Receipt, publisher_id, with_trace
from trunkline.core.position import Lineage, Position
from trunkline.core.read_mark import ReadMark
from trunkline.core.redaction import Redacted, Redaction, redaction_entry, without_data
from trunkline.core.retention import Retention
from trunkline.core.tail import MESSAGE_OVERHEAD_BYTES, clip
from trunkline.errors import StoreUnavailable
from trunkline.stores.base import (
    AHEAD_MS,
    EMPTY_AGES,
    Bus,
    Deleted,
    Head,
    OnAppend,
    Page,
    RoomCopy,
    RoomInfo,
    Sent,
    Swap,
)
from trunkline.stores.memory_records import MemoryRecords

TRIM_AT_ONCE = 5000
SENT_AT_ONCE = 5000


class _Entry(NamedTuple):
    message: Message
    id: str | None  # the publisher's
    stored: int  # when it was stored, in ms, by the clock of then


class _Log:
    __slots__ = ("ahead", "at", "bytes", "epoch", "head", "ids", "lineage", "messages", "origin")

    def __init__(self, epoch: str) -> None:
        # By offset, so that a resume costs the same in a short log and a long one.
        self.messages: dict[int, _Entry] = {}
        self.ids: dict[tuple[str | None, str], Receipt] = {}
        self.head = 0
        self.at = 0  # the newest stamp
        self.bytes = 0
        self.epoch = self.origin = epoch
        self.lineage: Lineage = ()
        self.ahead: tuple[int, int] | None = (
            None  # since when, and up to where, it is known to hold stamps of the future
        )

    @property
    def first(self) -> int:
        return self.head - len(self.messages) + 1

    def drop_first(self) -> None:
        message, key, _ = self.messages.pop(self.first)
        self.bytes -= len(memoryview(message.json)) + MESSAGE_OVERHEAD_BYTES
        if key is not None:
            del self.ids[message.sender, key]

    def expired(self, oldest_ms: int, now_ms: int) -> int:
        """Return how many of the first messages are too old."""
        stamps = [entry.stored for entry in islice(self.messages.values(), TRIM_AT_ONCE)]
        if not stamps or oldest_ms <= stamps[0] <= now_ms + AHEAD_MS:
            return 0
        # What stands before an old message was stored before it, whatever its own stamp says.
        count = max((n for n, at in enumerate(stamps, 1) if at < oldest_ms), default=0)
        if count:
            return count
        if self.ahead is None or self.ahead[1] < self.first or self.ahead[0] > now_ms:
            self.ahead = (now_ms, self.head)
        since, to = self.ahead
        ahead = next((n for n, at in enumerate(stamps) if at <= now_ms + AHEAD_MS), len(stamps))
        return min(ahead, to - self.first + 1) if since < oldest_ms else 0


class MemoryStore:
    """A store that forgets everything when its process ends."""

    location = "memory (forgotten at the end of the process)"
    shared = False
    bus: Bus | None = None
    on_append: OnAppend | None = None

    def __init__(self, retention: Retention, *, epoch: str | None = None) -> None:
        self._retention = retention
        self._first_epoch = epoch
        self._forget_all()

    def _forget_all(self) -> None:
        self._epoch = self._first_epoch or secrets.token_hex(4)
        self._logs: dict[str, _Log] = {}
        self._notes: dict[str, bytes] = {}
        self._records = MemoryRecords()
        self._marks: dict[str, dict[str, ReadMark]] = {}  # by room and member, in the order in which they moved

    async def start(self) -> None:
        """Do nothing: there is nothing to open."""

    async def close(self) -> None:
        self._forget_all()

    async def subscribe(self, room: str) -> None:
        """Do nothing: no other process can use a log in memory."""

    def unsubscribe(self, room: str) -> None:
        """Do nothing: no other process can use a log in memory."""

    async def subscribe_matching(self, pattern: str) -> None:
        """Do nothing: no other process can use a log in memory."""

    def unsubscribe_matching(self, pattern: str) -> None:
        """Do nothing: no other process can use a log in memory."""

    async def is_current(self) -> bool:
        return True

    async def check_writable(self) -> None:
        """Do nothing: there is always memory, or no process."""

    async def begin_epochs(self) -> None:
        life = secrets.token_hex(4)
        for log in self._logs.values():
            log.epoch, log.lineage = go_on(log.epoch, log.lineage, log.head, log.origin, [life])
        self._epoch = epoch_in(life, self._epoch)

    async def append(self, drafts: Sequence[Draft]) -> list[Receipt | StoreUnavailable]:
        return [self._append(draft) for draft in drafts]

    def _append(self, draft: Draft) -> Receipt:
        log = self._logs.get(draft.room)
        if log is None:
            log = self._logs[draft.room] = _Log(self._epoch)
        if draft.id is not None:
            first = log.ids.get((draft.sender, draft.id))
            if first is not None:
                return _repeat(first, log.epoch)
        log.at = at = max(draft.at, log.at)
        log.head += 1
        message_id = draft.id or f"{log.epoch}.{log.head}"
        receipt = Receipt(draft.room, log.epoch, log.head, message_id, at, duplicate=False)
        message = Message(draft.room, log.head, message_id, draft.sender, at, msgspec.Raw(draft.json))
        if draft.trace is not None:
            message = with_trace(message, draft.trace)
        self._add(log, _Entry(message, draft.id, draft.at))
        if draft.id is not None:
            log.ids[draft.sender, draft.id] = receipt
        return receipt

    def _add(self, log: _Log, entry: _Entry) -> None:
        log.messages[log.head] = entry
        log.bytes += len(memoryview(entry.message.json)) + MESSAGE_OVERHEAD_BYTES
        bounds = self._retention.for_room(entry.message.room)
        while len(log.messages) > bounds.messages_max or log.bytes > bounds.bytes_max:
            log.drop_first()

    async def find_id(self, room: str, sender: str | None, message_id: str) -> Receipt | None:
        log = self._logs.get(room)
        first = None if log is None else log.ids.get((sender, message_id))
        return None if log is None or first is None else _repeat(first, log.epoch)

    async def find_rooms(self, prefix: str, after: str, rooms_max: int) -> list[RoomInfo]:
        names = sorted(name for name, log in self._logs.items() if name.startswith(prefix) and log.head)
        logs = [(name, self._logs[name]) for name in names if name > after][:rooms_max]
        return [RoomInfo(name, log.epoch, log.first, log.head, log.bytes, log.at) for name, log in logs]

    async def redact(self, redaction: Redaction) -> Redacted:
        log = self._logs.get(redaction.room)
        if log is None:
            return Redacted(self._epoch, 0, [])
        known = {offset: log.messages[offset] for offset in sorted(redaction.offsets) if offset in log.messages}
        going = [
            offset
            for offset, entry in known.items()
            if not entry.message.redacts
            and (not entry.message.redacted or (redaction.erases and entry.message.sender is not None))
        ]
        if not going:
            return Redacted(log.epoch, 0, [])
        for offset in going:
            message, message_id, stored = known[offset]
            left = without_data(message, log.epoch, erased=redaction.erases)
            log.bytes += len(memoryview(left.json)) - len(memoryview(message.json))
            if redaction.erases and message_id is not None:
                del log.ids[message.sender, message_id]
                message_id = None
            log.messages[offset] = _Entry(left, message_id, stored)
        log.at = at = max(redaction.at, log.at)
        log.head += 1
        entry = redaction_entry(redaction.room, log.epoch, log.head, at, going, erases=redaction.erases)
        self._add(log, _Entry(entry, None, redaction.at))
        return Redacted(log.epoch, log.head, going)

    async def sent(self, room: str, sender: str, after: int) -> Sent:
        log = self._logs.get(room)
        if log is None:
            return Sent([], 0, 0)
        to = min(log.head, max(after, log.first - 1) + SENT_AT_ONCE)
        looked_at = range(max(after + 1, log.first), to + 1)
        return Sent([offset for offset in looked_at if log.messages[offset].message.sender == sender], to, log.head)

    async def delete(self, room: str, at: int) -> Deleted | None:
        log = self._logs.get(room)
        if log is None or not log.head:
            return None
        begun = self._logs[room] = _Log(secrets.token_hex(4))
        begun.lineage, begun.at = begin_again(log.epoch, log.lineage), at
        self._marks.pop(room, None)
        return Deleted(begun.epoch, len(log.messages))

    async def erase_marks(self, member: str) -> int:
        return sum([of_room.pop(member, None) is not None for of_room in self._marks.values()])

    async def purge(self) -> list[str]:
        return []

    async def put_room(self, room: RoomCopy) -> None:
        log = self._logs[room.room] = _Log(secrets.token_hex(4))
        log.head = room.first - 1
        log.lineage, log.at = lineage_of_copy(room.epoch, room.head, room.lineage), room.at

    async def put_messages(self, room: str, messages: Sequence[Message]) -> None:
        log = self._logs[room]
        for message in messages:
            log.head, log.at = message.offset, message.at
            message_id, _ = publisher_id(message)
            self._add(log, _Entry(message, message_id, message.at))
            if message_id is not None:
                log.ids[message.sender, message_id] = Receipt(
                    room, log.epoch, message.offset, message_id, message.at, duplicate=False
                )

    async def notes(self) -> dict[str, bytes]:
        return dict(self._notes)

    async def note(self, name: str, value: bytes | None) -> None:
        if value is None:
            self._notes.pop(name, None)
        else:
            self._notes[name] = value

    async def swap(self, swaps: Sequence[Swap]) -> list[bool]:
        return self._records.swap(swaps)

    async def record(self, space: str, kind: str, key: str) -> bytes | None:
        return self._records.get(space, kind, key)

    async def records(self, space: str, kind: str) -> dict[str, bytes]:
        return self._records.all(space, kind)

    async def forget_records(self, space: str, kinds: Sequence[str]) -> None:
        self._records.forget(space, kinds)

    async def read(self, room: str, after: int, messages_max: int, bytes_max: int) -> Page:
        log = self._logs.get(room)
        if log is None:
            return Page(self._epoch, 1, [])
        begin = max(after + 1, log.first)
        end = min(begin + messages_max, log.head + 1)
        wanted = [log.messages[offset].message for offset in range(begin, end)]
        return Page(log.epoch, log.first, clip(wanted, bytes_max))

    async def head(self, room: str) -> Head:
        log = self._logs.get(room)
        return Head(self._epoch, 1, 0) if log is None else Head(log.epoch, log.first, log.head, log.lineage)

    async def heads(self, rooms: Sequence[str]) -> dict[str, Position]:
        return {room: Position(self._logs[room].epoch, self._logs[room].head) for room in rooms if room in self._logs}

    async def mark(self, marks: Sequence[ReadMark]) -> None:
        for mark in marks:
            of_room = self._marks.setdefault(mark.room, {})
            before = of_room.get(mark.member)
            if before is None or before.offset < mark.offset:
                of_room.pop(mark.member, None)
                of_room[mark.member] = mark

    async def marks(self, room: str, marks_max: int) -> list[ReadMark]:
        return list(reversed(self._marks.get(room, {}).values()))[:marks_max]

    async def marks_of(self, member: str, rooms: Sequence[str]) -> dict[str, int]:
        found = {room: self._marks.get(room, {}).get(member) for room in rooms}
        return {room: mark.offset for room, mark in found.items() if mark is not None}

    async def trim(self, now_ms: int) -> dict[str, int]:
        trimmed = {}
        self._records.expire(now_ms)
        for room, of_room in list(self._marks.items()):
            oldest = self._retention.for_room(room).oldest_ms(now_ms)
            self._marks[room] = {member: mark for member, mark in of_room.items() if mark.at >= oldest}
            if not self._marks[room]:
                del self._marks[room]
        for name, log in self._logs.items():
            bounds = self._retention.for_room(name)
            oldest = bounds.oldest_ms(now_ms)
            while len(log.messages) > bounds.messages_max or log.bytes > bounds.bytes_max:
                log.drop_first()
                trimmed[name] = log.first
            while expired := log.expired(oldest, now_ms):
                for _ in range(expired):
                    log.drop_first()
                trimmed[name] = log.first
        return trimmed

    async def empty_rooms(self, now_ms: int, rooms_max: int) -> list[str]:
        def kept(name: str, at: int) -> bool:
            return self._retention.for_room(name).oldest_ms(now_ms, EMPTY_AGES) <= at <= now_ms + AHEAD_MS

        empty = (name for name, log in self._logs.items() if not log.messages and not kept(name, log.at))
        return list(islice(empty, rooms_max))

    async def forget(self, rooms: Sequence[str]) -> list[str]:
        forgotten = [name for name in rooms if name in self._logs and not self._logs[name].messages]
        for name in forgotten:
            del self._logs[name]
            self._marks.pop(name, None)
        if forgotten:
            self._epoch = secrets.token_hex(4)
        return forgotten


def _repeat(first: Receipt, epoch: str) -> Receipt:
    return msgspec.structs.replace(first, epoch=epoch, duplicate=True)
