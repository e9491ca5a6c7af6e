"""Durable consumers: a named cursor in each of many rooms, which several processes share.

Rooms are dealt into SLOTS slots by their names. A slot belongs to one instance of the consumer at a time, by a lease;
each tenure has a fencing number, which is larger than that of every tenure before. A cursor moves only by a swap whose
guard is the lease, so an instance that has lost its slot moves nothing any more, whatever it believes.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Collection, Mapping, Sequence

import msgspec

from trunkline.core.grant import check_pattern, matches
from trunkline.core.message import SYSTEM_PREFIX
from trunkline.core.system_rooms import is_consumed_system_room
from trunkline.errors import RequestError

SLOTS = 64
NAME = re.compile(r"[A-Za-z0-9_.~-]{1,64}\Z")
PATTERNS_MAX = 20
REASON_MAX = 500  # characters of why a message could not be handled

LEASE, MEMBER = "lease", "member"


class ConsumerNote(msgspec.Struct, kw_only=True):
    """What all instances of a consumer share: a note of the log.

    Attributes:
        rooms: The patterns of its rooms, as they were given last.
        since: Where it begins in a room that it has no cursor in: `start`, or `now`, which is *created_at*.
        created_at: When it was begun, in ms since 1970 UTC.
    """

    rooms: tuple[str, ...]
    since: str
    created_at: int

    def is_before_begin(self, at: int) -> bool:
        """Return whether what was published then, in ms since 1970 UTC, is not for the consumer."""
        return self.since == "now" and at < self.created_at


class Lease(msgspec.Struct, array_like=True, frozen=True):
    """Who has a slot.

    Attributes:
        owner: An instance; empty if it was given back.
        fence: The fencing number of this tenure, or of the last one.
    """

    owner: str
    fence: int


class Member(msgspec.Struct, array_like=True, frozen=True):
    """One instance of a consumer.

    Attributes:
        beat: Another number each time, as long as it lives.
        began_at: When it was begun, in ms since 1970 UTC.
        rooms: The patterns of its rooms.
    """

    beat: int
    began_at: int
    rooms: tuple[str, ...]


class Progress(msgspec.Struct, array_like=True, frozen=True):
    """How far a consumer is in a room.

    Attributes:
        epoch, offset: The position up to which everything was handled.
        tries: How often the message behind it could not be handled.
    """

    epoch: str
    offset: int
    tries: int = 0

    @property
    def position(self) -> str:
        """The position, as readers have it."""
        return f"{self.epoch}.{self.offset}"


class SetAside(msgspec.Struct, frozen=True, kw_only=True):
    """A message that could not be handled, and was left out: an entry of the room of those.

    Attributes:
        room, epoch, offset: The message. It stays where it is, as long as it is retained.
        tries: How often it was tried.
        reason: Why it failed the last time, as the consumer has said it.
        fence: The fencing number of the tenure that has given up.
    """

    consumer: str
    room: str
    epoch: str
    offset: int
    tries: int
    reason: str
    fence: int


_encode = msgspec.msgpack.Encoder().encode
_decode_lease = msgspec.msgpack.Decoder(Lease).decode
_decode_member = msgspec.msgpack.Decoder(Member).decode
_decode_progress = msgspec.msgpack.Decoder(Progress).decode


def encoded(value: Lease | Member | Progress) -> bytes:
    """Return a lease, an instance or a cursor as its record has it."""
    return _encode(value)


def decode_lease(record: bytes) -> Lease:
    """Return what the record of a lease says."""
    return _decode_lease(record)


def decode_member(record: bytes) -> Member:
    """Return what the record of an instance says."""
    return _decode_member(record)


def decode_progress(record: bytes) -> Progress:
    """Return what the record of a cursor says."""
    return _decode_progress(record)


def space_of(name: str) -> str:
    """Return the space of a consumer's records."""
    return f"consumer:{name}"


def slot_of(room: str) -> int:
    """Return the slot of a room: the same in every process."""
    return zlib.crc32(room.encode()) % SLOTS


def cursor_kind(slot: int) -> str:
    """Return the kind of the records of the cursors in a slot's rooms."""
    return f"cursor:{slot}"


ALL_KINDS = (LEASE, MEMBER, *(cursor_kind(slot) for slot in range(SLOTS)))


def next_fence(before: Lease | None, now_ms: int) -> int:
    """Return the fencing number of a new tenure: larger than the last one, also if a store has lost that."""
    return max(now_ms, 1 if before is None else before.fence + 1)


def share(me: str, members: Collection[str]) -> int:
    """Return how many slots an instance is to have, which is one of these."""
    ordered = sorted(members)
    return SLOTS // len(ordered) + (ordered.index(me) < SLOTS % len(ordered))


def in_charge(members: Mapping[str, Member]) -> set[str]:
    """Return the instances that are to have slots: those with the patterns of the one that was begun last."""
    newest = max(members, key=lambda name: (members[name].began_at, name))
    return {name for name, member in members.items() if set(member.rooms) == set(members[newest].rooms)}


def free_slots(leases: Mapping[int, Lease], alive: Collection[str]) -> list[int]:
    """Return the slots that no living instance has."""
    return [slot for slot in range(SLOTS) if slot not in leases or leases[slot].owner not in alive]


def check_beginning(since: str) -> str:
    """Check where a consumer is to begin; return it.

    Raises:
        RequestError: `bad_position`.
    """
    if since not in ("start", "now"):
        raise RequestError("bad_position", "a consumer begins at start or now")
    return since


def check_consumer_name(name: str) -> str:
    """Check a consumer's name; return it.

    Raises:
        RequestError: `bad_command`.
    """
    if NAME.match(name) is None:
        raise RequestError("bad_command", "a consumer's name is 1 to 64 of A-Z a-z 0-9 _ . ~ -")
    return name


def check_patterns(rooms: str | Sequence[str]) -> tuple[str, ...]:
    """Check the patterns of a consumer's rooms; return them, each once.

    Raises:
        RequestError: `bad_room`.
    """
    patterns = tuple(dict.fromkeys([rooms] if isinstance(rooms, str) else rooms))
    if not 0 < len(patterns) <= PATTERNS_MAX:
        raise RequestError("bad_room", f"a consumer has 1 to {PATTERNS_MAX} patterns of rooms")
    for pattern in patterns:
        if not is_consumed_system_room(pattern):
            try:
                check_pattern(pattern)
            except ValueError as error:
                raise RequestError("bad_room", str(error)) from None
    return patterns


def is_consumed(patterns: Sequence[str], room: str) -> bool:
    """Return whether a room is one of those of a consumer. The system's own take a pattern that names them."""
    is_system = room.startswith(SYSTEM_PREFIX)
    return any(matches(pattern, room) and pattern.startswith(SYSTEM_PREFIX) == is_system for pattern in patterns)


def lag_of(first: int, head: int, progress: Progress | None) -> int:
    """Return how many messages of a room are not handled yet.

    Args:
        first, head: The earliest and the newest offset.
    """
    return max(0, head - max(first - 1, 0 if progress is None else progress.offset))
