"""Logs in Redis or Valkey: for several machines.

Theory of operation
===================

A room is a stream, whose ids are its offsets, with a hash that says where it stands and one that finds ids. One script
(`lua/append.lua`) does an append as a whole: look-up of ids, offsets, entries, retention by size, and the hint to those
who follow the room. A room's keys have one hash tag, so all of this works in a cluster, room by room.

Publish/subscribe carries hints only (`bus.py`): a node subscribes to the rooms that are read there, is told
of a room's new head, and reads the stream.

What is guaranteed is what Redis guarantees: see docs/scaling.md for what `appendfsync`, replicas and `wait_replicas`
make of it. Redis acknowledges before its replicas have a message, so a failover may take back the newest ones. That is
never silent: every process that takes over is known by its replication id, each room goes on in a new epoch, and its
lineage tells whose position is still good.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
from redis.exceptions import AuthenticationError, OutOfMemoryError, RedisError

from trunkline.core.message import Draft, Message, Receipt, with_trace
from trunkline.core.position import Former, Position
from trunkline.core.read_mark import ReadMark, by_room
from trunkline.core.redaction import Redacted, Redaction, stored_redaction
from trunkline.core.retention import Retention
from trunkline.core.trace import trace_from_text
from trunkline.errors import ConfigError, StoreUnavailable
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
from trunkline.stores.redis.address import ANSWER_S, parse_address
from trunkline.stores.redis.bus import RedisBus
from trunkline.stores.redis.client import CONNECT_S, Call, RedisClient, Script
from trunkline.stores.redis.corrections import REDACTED, REDACTION, ROOMS_AT_ONCE, RedisCorrections
from trunkline.stores.redis.records import RedisRecords

log = logging.getLogger("trunkline")

START_S = 30.0  # how long it may be away when we start
AGAIN_S = 0.5
DRAFTS_PER_CALL = 500  # a script holds up all other calls: two milliseconds are long enough
BYTES_PER_CALL = 1024 * 1024
ROOMS_PER_TRIM = 100
FORGET_S = int(ANSWER_S + CONNECT_S) + 1  # longer than a call that was begun with the old epoch can take
EMPTY_ROOMS_MAX = 100_000
ROOMS_KNOWN_MAX = 100_000


# No life has this name, so that the next server that uses the room takes it for one of a former life.
_AGE = "return redis.call('EXISTS', KEYS[1]) == 1 and redis.call('HSET', KEYS[1], 'life', '-')"


class RedisStore:
    """A store in Redis 6.2 or later, or Valkey; in one server, behind Sentinel, or in a cluster.

    Args:
        url: See `parse_address`.
    """

    shared = True

    def __init__(self, url: str, retention: Retention) -> None:
        self.on_append: OnAppend | None = None
        self._address = parse_address(url)
        self._retention = retention
        self._prefix = self._address.prefix
        self._client = RedisClient(self._address)
        # Publish/subscribe knows nothing of databases.
        channels = f"{self._prefix}/{db}" if (db := self._address.options.get("db")) else self._prefix
        self._bus = RedisBus(channels, self._client.connect, self._publish, self._on_hint)
        self.bus: Bus | None = self._bus
        self._append_script = Script("room", "append")
        self._read_script = Script("room", "read")
        self._head_script = Script("room", "head")
        self._find_script = Script("room", "find")
        self._trim_script = Script("room", "trim")
        self._forget_script = Script("room", "forget")
        self._corrections = RedisCorrections(
            self._client,
            self._bus,
            self._prefix,
            self._about,
            cluster=self._address.kind == "cluster",
            journal=self._address.journal,
        )
        self._mark_script = Script("mark")
        self._records = RedisRecords(self._client, self._prefix)
        self._trimmed: dict[str, int] = {}
        self._looked_at: int | None = 0  # how far all rooms were looked at since the start; None at the end
        self._known: set[str] = set()  # rooms that are on the list of those to trim
        self._empty: set[str] = set()  # rooms that were found to hold no message

    @property
    def location(self) -> str:
        return str(self._address)

    async def start(self) -> None:
        self._client.open()
        end = asyncio.get_running_loop().time() + START_S
        while True:
            try:
                self._check_memory(await self._client.prepare())
                break
            except ConfigError:
                await self._client.close()
                raise
            except (RedisError, OSError, TimeoutError) as error:
                text = f"{self.location} cannot be used: {error or 'no answer'}"
                if isinstance(error, AuthenticationError) or asyncio.get_running_loop().time() > end:
                    await self._client.close()
                    raise ConfigError(f"store: {text}") from None
                log.warning("%s; trying again", text)  # both may be starting, or it is away for a moment
                await asyncio.sleep(AGAIN_S)
        self._bus.start()

    def _check_memory(self, memory: dict[str, Any]) -> None:
        policy = str(memory.get("maxmemory_policy", "noeviction"))
        if policy.startswith("allkeys") and int(memory.get("maxmemory", 0)):
            raise ConfigError(
                f"store: {self.location} throws messages away when its memory is full (maxmemory-policy {policy});"
                " set it to noeviction: then publishing fails and is tried again"
            )

    async def close(self) -> None:
        if self._client.is_open:
            await self._bus.close()
            await self._client.close()

    # Other processes.

    async def subscribe(self, room: str) -> None:
        await self._bus.subscribe(room)

    def unsubscribe(self, room: str) -> None:
        self._bus.unsubscribe(room)

    async def subscribe_matching(self, pattern: str) -> None:
        await self._bus.subscribe_matching(pattern)

    def unsubscribe_matching(self, pattern: str) -> None:
        self._bus.unsubscribe_matching(pattern)

    async def is_current(self) -> bool:
        await self._bus.echo()
        return self._address.kind != "cluster"  # there, hints come by other links than our echo

    def _on_hint(self, room: str | None, head: int) -> None:
        if self.on_append is not None:
            self.on_append(None if room is None else {room: head})

    async def _publish(self, messages: Iterable[tuple[str, bytes]]) -> None:
        if self._client.is_open:
            await self._client.pipeline([["PUBLISH", channel, data] for channel, data in messages])

    # The log.

    async def append(self, drafts: Sequence[Draft]) -> list[Receipt | StoreUnavailable]:
        outcomes: list[Any] = [None] * len(drafts)
        calls = _chunks(drafts)
        while calls:
            # Of each room one call at a time: what is of one room stays in its order.
            now = {room: chunks.popleft() for room, chunks in calls.items()}
            answers = await self._append_calls(now, drafts)
            for (room, numbers), answer in zip(now.items(), answers, strict=True):
                if isinstance(answer, StoreUnavailable):
                    for number in [*numbers, *(number for chunk in calls[room] for number in chunk)]:
                        outcomes[number] = answer
                    calls[room].clear()
                else:
                    for number, receipt in zip(numbers, answer, strict=True):
                        outcomes[number] = receipt
            calls = {room: chunks for room, chunks in calls.items() if chunks}
        if all(isinstance(outcome, StoreUnavailable) for outcome in outcomes) and outcomes:
            raise outcomes[0]
        return outcomes

    async def _append_calls(
        self, now: dict[str, list[int]], drafts: Sequence[Draft]
    ) -> list[list[Receipt] | StoreUnavailable]:
        names = list(now)
        chunks = [[drafts[number] for number in numbers] for numbers in now.values()]
        calls = [self._appending(name, chunk) for name, chunk in zip(names, chunks, strict=True)]
        answers = await self._client.call_all(calls, wait=True)
        listed = {
            name: min(draft.at for draft in chunk)
            for name, chunk, answer in zip(names, chunks, answers, strict=True)
            if isinstance(answer, list) and (answer[2] or name not in self._known)
        }
        if listed:
            await self._list(listed)
        return [
            answer if isinstance(answer, StoreUnavailable) else self._receipts(name, chunk, answer)
            for name, chunk, answer in zip(names, chunks, answers, strict=True)
        ]

    def _appending(self, room: str, drafts: list[Draft]) -> Call:
        bounds = self._retention.for_room(room)
        arguments: list[Any] = [
            bounds.messages_max, bounds.bytes_max,
            self._bus.channel(room), self._bus.name, int(self._address.wait_replicas > 0),
        ]  # fmt: skip
        traces = [(n, draft.trace.text) for n, draft in enumerate(drafts, 1) if draft.trace is not None]
        arguments.append(len(traces))
        for trace in traces:
            arguments += trace
        for draft in drafts:
            arguments += (draft.id or "", draft.sender or "", draft.at, draft.json)
        return self._about(room, self._append_script, arguments)

    def _receipts(self, room: str, drafts: list[Draft], answer: list[Any]) -> list[Receipt]:
        epoch = answer[0].decode()
        if answer[1]:
            self._trimmed[room] = answer[1]
        receipts = []
        for draft, offset, at, duplicate in zip(drafts, answer[3::3], answer[4::3], answer[5::3], strict=True):
            message_id = draft.id or f"{epoch}.{offset}"
            receipts.append(Receipt(room, epoch, offset, message_id, at, bool(duplicate)))
        return receipts

    async def _list(self, times: dict[str, int]) -> None:
        """Return the rooms that retention by age must look at, with the time of their oldest message."""
        if not times:
            return
        pairs = [value for name, at in times.items() for value in (at, name)]
        try:
            await self._client.pipeline([["ZADD", self._list_key, "LT", *pairs], self._corrections.listing(times)])
        except (RedisError, OSError, TimeoutError) as error:
            log.warning("rooms cannot be listed for retention now: %s", error)  # their next append tries again
        else:
            if len(self._known) > ROOMS_KNOWN_MAX:
                self._known.clear()  # they are listed once more, which changes nothing
            self._known.update(times)

    async def read(self, room: str, after: int, messages_max: int, bytes_max: int) -> Page:
        [found] = await self._client.call([self._about(room, self._read_script, [after, messages_max, bytes_max])])
        epoch, first, entries = found
        epoch = epoch.decode()
        return Page(epoch, first, [_message(room, *entry) for entry in entries])

    async def head(self, room: str) -> Head:
        [found] = await self._client.call([self._about(room, self._head_script, [])])
        epoch, first, head, lineage = found
        former = [one.rpartition(":") for one in lineage.decode().split(",") if one]
        return Head(epoch.decode(), first, head, tuple(Former(name, int(offset)) for name, _, offset in former))

    async def heads(self, rooms: Sequence[str]) -> dict[str, Position]:
        answers = await self._client.call([self._about(room, self._head_script, []) for room in rooms])
        return {room: Position(answer[0].decode(), answer[2]) for room, answer in zip(rooms, answers, strict=True)}

    async def find_id(self, room: str, sender: str | None, message_id: str) -> Receipt | None:
        [found] = await self._client.call([self._about(room, self._find_script, [sender or "", message_id])])
        epoch, offset, at = found
        return Receipt(room, epoch.decode(), offset, message_id, at, True) if offset else None

    # Records.

    async def swap(self, swaps: Sequence[Swap]) -> list[bool]:
        return await self._records.swap(swaps)

    async def record(self, space: str, kind: str, key: str) -> bytes | None:
        return await self._records.get(space, kind, key)

    async def records(self, space: str, kind: str) -> dict[str, bytes]:
        return await self._records.all(space, kind)

    async def forget_records(self, space: str, kinds: Sequence[str]) -> None:
        await self._records.forget(space, kinds)

    # Corrections.

    async def find_rooms(self, prefix: str, after: str, rooms_max: int) -> list[RoomInfo]:
        return await self._corrections.find_rooms(prefix, after, rooms_max, self._list_key)

    async def redact(self, redaction: Redaction) -> Redacted:
        return await self._corrections.redact(redaction)

    async def sent(self, room: str, sender: str, after: int) -> Sent:
        return await self._corrections.sent(room, sender, after)

    async def delete(self, room: str, at: int) -> Deleted | None:
        return await self._corrections.delete(room, at)

    async def erase_marks(self, member: str) -> int:
        return await self._corrections.erase_marks(member, self._list_key)

    async def purge(self) -> list[str]:
        return await self._corrections.purge()

    async def put_room(self, room: RoomCopy) -> None:
        await self._corrections.put_room(room)

    async def put_messages(self, room: str, messages: Sequence[Message]) -> None:
        await self._corrections.put_messages(room, messages)
        if messages:
            await self._list({room: min(message.at for message in messages)})

    async def notes(self) -> dict[str, bytes]:
        return await self._corrections.notes()

    async def note(self, name: str, value: bytes | None) -> None:
        await self._corrections.note(name, value)

    # Read marks.

    async def mark(self, marks: Sequence[ReadMark]) -> None:
        rooms = by_room(marks)
        calls = [
            Call(
                self._mark_script,
                self._keys(room, "seen", "seen-at"),
                [value for mark in some for value in (mark.member, mark.offset, mark.at)],
            )
            for room, some in rooms.items()
        ]
        await self._client.call(calls)
        await self._list({room: min(mark.at for mark in some) for room, some in rooms.items()})

    async def marks(self, room: str, marks_max: int) -> list[ReadMark]:
        seen, seen_at = self._keys(room, "seen", "seen-at")
        [newest] = await self._client.ask([["ZREVRANGE", seen_at, 0, marks_max - 1, "WITHSCORES"]])
        if not newest:
            return []
        pairs = [(member, int(at)) for member, at in zip(newest[::2], newest[1::2], strict=True)]
        [offsets] = await self._client.ask([["HMGET", seen, *(member for member, _ in pairs)]])
        return [
            ReadMark(room, member.decode(), int(offset), at)
            for (member, at), offset in zip(pairs, offsets, strict=True)
            if offset is not None
        ]

    async def marks_of(self, member: str, rooms: Sequence[str]) -> dict[str, int]:
        if not rooms:
            return {}
        offsets = await self._client.ask([["HGET", *self._keys(room, "seen"), member] for room in rooms])
        return {room: int(offset) for room, offset in zip(rooms, offsets, strict=True) if offset is not None}

    async def trim(self, now_ms: int) -> dict[str, int]:
        oldest_ms = now_ms - round(self._retention.shortest_age_s * 1000)
        await self._look_at_some(now_ms)
        # Rooms whose oldest message seems to be of the future: that it is known to be there counts from now on.
        [ahead] = await self._client.ask(
            [["ZRANGEBYSCORE", self._list_key, now_ms + AHEAD_MS, "+inf", "LIMIT", 0, 1000]]
        )
        if ahead:
            await self._trim(ahead, now_ms)
        passed = 0
        while True:
            [due] = await self._client.ask(
                [["ZRANGEBYSCORE", self._list_key, "-inf", f"({oldest_ms}", "LIMIT", passed, ROOMS_PER_TRIM]]
            )
            if not due:
                break
            if not await self._trim(due, now_ms):
                passed += len(due)  # they are looked at again next time; what there is to free is behind them
        trimmed, self._trimmed = self._trimmed, {}
        return trimmed

    async def _look_at_some(self, now_ms: int) -> None:
        """Trim a page of rooms, whatever the list says: after a start, the settings may be other ones."""
        if self._looked_at is not None:
            after, names = await self._client.scan(self._list_key, self._looked_at, ROOMS_PER_TRIM)
            if names:
                await self._trim(names, now_ms, notes=False)
            self._looked_at = after or None

    async def _trim(self, rooms: list[bytes], now_ms: int, *, notes: bool = True) -> bool:
        """Trim these rooms, and note when they are to be looked at again; False if there is no memory for that."""
        names = [name.decode() for name in rooms]
        all_bounds = [self._retention.for_room(name) for name in names]
        calls = []
        for name, bounds in zip(names, all_bounds, strict=True):
            ages = [bounds.oldest_ms(now_ms), now_ms, AHEAD_MS, bounds.oldest_ms(now_ms, EMPTY_AGES)]
            sizes = [bounds.messages_max, bounds.bytes_max]
            calls.append(self._about(name, self._trim_script, [*ages, *sizes], "seen", "seen-at"))
        scores: list[Any] = []
        answers = await self._client.call(calls)
        for name, bounds, (first, time, empty) in zip(names, all_bounds, answers, strict=True):
            if first:
                self._trimmed[name] = first
            if empty and len(self._empty) < EMPTY_ROOMS_MAX:
                self._empty.add(name)
            # A room that is empty now is looked at again when what comes next may be too old.
            later_ms = (bounds.age_s - self._retention.shortest_age_s) * 1000
            scores += (int(min(now_ms, int(time) + later_ms)) if time else now_ms, name)
        if not notes:
            return True
        try:
            await self._client.ask([["ZADD", self._list_key, "XX", *scores]])
        except StoreUnavailable as error:
            if not isinstance(error.__cause__, OutOfMemoryError):
                raise
            return False
        return True

    async def empty_rooms(self, now_ms: int, rooms_max: int) -> list[str]:
        return sorted(self._empty)[:rooms_max]

    async def forget(self, rooms: Sequence[str]) -> list[str]:
        if not rooms:
            return []
        self._empty.difference_update(rooms)
        # First the epoch of new rooms: one that is forgotten must not begin again in an epoch in which it was read.
        await self._client.ask([["SET", f"{self._prefix}:epoch", secrets.token_hex(4)]])
        calls = [self._about(room, self._forget_script, [FORGET_S], "seen", "seen-at") for room in rooms]
        answers = await self._client.call(calls)
        forgotten = [room for room, gone in zip(rooms, answers, strict=True) if gone]
        if forgotten:
            await self._client.ask([["ZREM", self._list_key, *forgotten], self._corrections.unlisting(forgotten)])
            self._known.difference_update(forgotten)
            await self._list(await self._corrections.begun_again(forgotten))
        return forgotten

    async def check_writable(self) -> None:
        await self._client.ask([["SET", f"{self._prefix}:writable", "1", "EX", 60]])

    async def begin_epochs(self) -> None:
        async for names in self._client.scan_all(self._list_key, ROOMS_AT_ONCE):
            await self._client.ask([["EVAL", _AGE, 1, *self._keys(name.decode(), "room")] for name in names])
        await self._client.ask([["SET", f"{self._prefix}:epoch", secrets.token_hex(4)]])

    # Redis.

    def _keys(self, room: str, *what: str) -> list[str]:
        return [f"{self._prefix}:{{{room}}}:{one}" for one in what]

    @property
    def _list_key(self) -> str:
        return f"{self._prefix}:rooms"

    def _about(self, room: str, script: Script, arguments: list[Any], *more_keys: str) -> Call:
        """Return a call of a script that begins with `room.lua`."""
        keys = self._keys(room, "room", "log", "ids", "moved", *more_keys)
        return Call(script, keys, ["", *arguments])


def _message(
    room: str,
    offset: int,
    message_id: bytes,
    sender: bytes,
    at: int,
    data: bytes,
    written: bytes,
    kind: bytes,
    trace: bytes | None = None,
) -> Message:
    shown = message_id.decode() or f"{written.decode()}.{offset}"
    if kind == REDACTION:
        return stored_redaction(room, offset, shown, at, data)
    redacted = kind == REDACTED
    message = Message(room, offset, shown, sender.decode() or None, at, msgspec.Raw(data), redacted=redacted)
    return message if trace is None else with_trace(message, trace_from_text(trace.decode()))


def _chunks(drafts: Sequence[Draft]) -> dict[str, deque[list[int]]]:
    """Return the numbers of the drafts of each room, in pieces of what one call may hold."""
    chunks: dict[str, deque[list[int]]] = {}
    sizes: dict[str, int] = {}
    for number, draft in enumerate(drafts):
        of_room = chunks.setdefault(draft.room, deque())
        size = sizes.get(draft.room, 0) + len(draft.json)
        if not of_room or len(of_room[-1]) >= DRAFTS_PER_CALL or size > BYTES_PER_CALL:
            of_room.append([])
            size = len(draft.json)
        of_room[-1].append(number)
        sizes[draft.room] = size
    return chunks
