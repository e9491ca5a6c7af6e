"""Copies of logs: from one store to another, room by room, compared at the end; and what a journal adds to them."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Callable, Iterable
from typing import NamedTuple

import msgspec

from trunkline.core.consumer import SLOTS, cursor_kind, space_of
from trunkline.core.message import Message
from trunkline.core.notes import CONSUMER, SESSION_KEY
from trunkline.core.redaction import Redaction
from trunkline.errors import ConfigError, StoreUnavailable
from trunkline.stores.base import Head, RoomCopy, Store, Swap
from trunkline.stores.journal import Journalled, still_there

PIECE_MESSAGES = 500
PIECE_BYTES = 1024 * 1024
ROOMS_AT_ONCE = 100
MARKS_MAX = 1_000_000  # of a room
NOT_COPIED = (SESSION_KEY,)  # with it, the owner of a copy could sign themselves in

_encode = msgspec.json.Encoder().encode


class Copied(NamedTuple):
    """What was copied, and compared.

    Attributes:
        messages: Messages, and redactions.
        sha256: Of all entries, in the order of the rooms' names and of their offsets.
    """

    rooms: int
    messages: int
    marks: int
    sha256: str


Progress = Callable[[str, int, int], None]
"""Called with a room's name, and how many rooms and messages are done."""


async def copy_log(source: Store, target: Store, progress: Progress | None = None) -> Copied:
    """Copy all rooms, with their ids, redactions, traces and read marks, and the notes of the system; compare both.

    What is published in the source meanwhile may be copied or not. In the target each room goes on in an epoch of its
    own, whose lineage has the source's: readers go on where they were.

    Args:
        source, target: Started. Nothing else may write to the target.

    Raises:
        ConfigError: The target has rooms already.
        StoreUnavailable: One of them did not answer, or they differ in the end.
    """
    if await target.find_rooms("", "", 1):
        raise ConfigError(f"{target.location} has rooms already: it must be a log without any")
    rooms = messages = marks = 0
    hashed = hashlib.sha256()
    async for name, at in _rooms(source):
        head = await source.head(name)
        await target.put_room(RoomCopy(name, *head, at))
        of_source, of_target = hashlib.sha256(), hashlib.sha256()
        async for some in _entries(source, name, head):
            await target.put_messages(name, some)
            _hash(of_source, some)
            messages += len(some)
        async for some in _entries(target, name, head):
            _hash(of_target, some)
        if of_source.digest() != of_target.digest():
            raise StoreUnavailable(f"room {name} is not the same in {target.location} as in {source.location}")
        known = await source.marks(name, MARKS_MAX)
        if known:
            await target.mark(list(reversed(known)))
        hashed.update(f"{name} {of_source.hexdigest()} ".encode())
        rooms, marks = rooms + 1, marks + len(known)
        if progress is not None:
            progress(name, rooms, messages)
    for note, value in (await source.notes()).items():
        if note not in NOT_COPIED:
            await target.note(note, value)
        if note.startswith(CONSUMER):
            await _copy_cursors(source, target, note.removeprefix(CONSUMER))
    return Copied(rooms, messages, marks, hashed.hexdigest())


async def _copy_cursors(source: Store, target: Store, consumer: str) -> None:
    """Copy how far a durable consumer is. Its positions are of the source's epochs, which the target's go on from."""
    space = space_of(consumer)
    for slot in range(SLOTS):
        records = await source.records(space, cursor_kind(slot))
        await target.swap([Swap(space, cursor_kind(slot), room, None, record) for room, record in records.items()])


async def replay(store: Store, lines: Iterable[Journalled]) -> int:
    """Carry out what a journal has, as far as the log lacks it; return how many messages and rooms that were.

    Raises:
        StoreUnavailable: The log did not answer; try again.
    """
    done = 0
    for line in lines:
        head = await store.head(line.room)
        offsets = still_there(line, head.epoch, head.head, head.lineage)
        if offsets and line.deletes:
            done += await store.delete(line.room, line.at) is not None
        elif offsets:
            done += len((await store.redact(Redaction(line.room, offsets, line.at, line.erases))).offsets)
    return done


async def _rooms(store: Store) -> AsyncIterator[tuple[str, int]]:
    after = ""
    while page := await store.find_rooms("", after, ROOMS_AT_ONCE):
        for info in page:
            yield info.room, info.at
        after = page[-1].room


async def _entries(store: Store, room: str, head: Head) -> AsyncIterator[list[Message]]:
    after = head.first - 1
    while after < head.head:
        page = await store.read(room, after, min(PIECE_MESSAGES, head.head - after), PIECE_BYTES)
        if not page.messages or page.messages[0].offset != after + 1:
            raise StoreUnavailable(f"retention has cut {room} while it was read: copy again")
        after = page.messages[-1].offset
        yield page.messages


def _hash(hashed: hashlib._Hash, entries: Iterable[Message]) -> None:
    for entry in entries:
        hashed.update(_encode(entry) + b"\n")
