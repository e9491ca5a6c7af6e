"""A message: one entry of a room's log, the same on every transport."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from trunkline.core.trace import Trace
from trunkline.errors import RequestError

# 255 fits a path segment, a file name and an index key, and there is no need to raise it.
# "." and ".." would be other paths.
ROOM_NAME = re.compile(r"(?!\.{1,2}\Z)[A-Za-z0-9_.:~-]{1,255}\Z")


_EPOCH = re.compile(r"[a-z0-9]{1,16}\Z")

SYSTEM_PREFIX = "$"  # of rooms that the system keeps for itself: no application's room can have such a name
SENDER_MAX = 1024  # a user's name of 255 characters, behind the prefix of its issuer


class Message(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """One entry of a log. The fields stand in the order in which they stand on the wire.

    Attributes:
        room: Name of the room.
        offset: 1, 2, 3 … without holes within one epoch.
        id: What the publisher called it, or its position if the publisher gave no id.
        sender: The user who published it (`from` on the wire), or None.
        at: When it was published, in ms since 1970 UTC.
        json: `data` as JSON text, exactly one value, without line breaks.
        traceparent, tracestate: The trace that it was published in (`Trace`), or None.
        redacted: Its data was taken away: `data` is null.
        redacts: It is no message but a redaction (`core/redaction.py`), of the messages with these offsets.
        erased: With *redacts*: their senders were taken away, too.
    """

    room: str
    offset: int
    id: str
    sender: str | None = msgspec.field(name="from")
    at: int
    json: msgspec.Raw = msgspec.field(name="data")
    traceparent: str | None = None
    tracestate: str | None = None
    redacted: bool = False
    redacts: tuple[int, ...] = ()
    erased: bool = False

    @property
    def data(self) -> Any:
        """The decoded `data`."""
        return msgspec.json.decode(self.json)


class Draft(msgspec.Struct, frozen=True, gc=False):
    """A message that the log does not have yet.

    Attributes:
        room: Name of the room.
        id: The idempotency key within (room, sender), or None to be stored without one.
        sender: The user who publishes, or None.
        at: ms since 1970 UTC.
        json: `data`, checked, as JSON text without line breaks.
        trace: The trace that it is published in, or None.
    """

    room: str
    id: str | None
    sender: str | None
    at: int
    json: bytes
    trace: Trace | None = None


class Receipt(msgspec.Struct, frozen=True, gc=False):
    """What the log says of a message once it has it.

    Attributes:
        room: Name of the room.
        epoch: The epoch of its log.
        offset: The message's place in it.
        id: The id that it was published with, or its position if there was none.
        at: When it was published, in ms since 1970 UTC.
        duplicate: True if the same id was there already: the other fields are those of the first.
    """

    room: str
    epoch: str
    offset: int
    id: str
    at: int
    duplicate: bool


def publisher_id(message: Message) -> tuple[str | None, str | None]:
    """Return the id that a message was published with; or None, and the epoch that its id names."""
    epoch, _, offset = message.id.rpartition(".")
    if offset == str(message.offset) and _EPOCH.match(epoch):
        return None, epoch
    return message.id, None


def with_trace(message: Message, trace: Trace) -> Message:
    """Return a message as one of that trace."""
    return msgspec.structs.replace(message, traceparent=trace.parent, tracestate=trace.state)


def check_room(name: str) -> str:
    """Check a room's name; return it.

    Raises:
        RequestError: `bad_room`.
    """
    if ROOM_NAME.match(name) is None:
        raise RequestError("bad_room", "a room name is 1 to 255 of A-Z a-z 0-9 _ . : ~ - and neither . nor ..")
    return name


def check_readable_room(name: str) -> str:
    """Check the name of a room that is to be read: an application's, or one of the system's (core/system_rooms.py).

    Raises:
        RequestError: `bad_room`.
    """
    check_room(name.removeprefix(SYSTEM_PREFIX))
    return name


def check_rooms(names: Iterable[str], rooms_max: int, check: Callable[[str], str] = check_room) -> tuple[str, ...]:
    """Check several rooms' names; return them, each once.

    Args:
        check: Checks one of them.

    Raises:
        RequestError: `bad_room` or `too_many_rooms`.
    """
    rooms = tuple(dict.fromkeys(check(name) for name in names))
    if len(rooms) > rooms_max:
        raise RequestError("too_many_rooms", f"at most {rooms_max} rooms at once")
    return rooms


def check_id(message_id: str, bytes_max: int) -> str:
    """Check a message's id: visible ASCII, so that it can travel in a header (`Idempotency-Key`). Return it.

    Raises:
        RequestError: `bad_id`.
    """
    if not (0 < len(message_id) <= bytes_max and message_id.isascii() and message_id.isprintable()):
        raise RequestError("bad_id", f"an id is 1 to {bytes_max} printable ASCII characters")
    return message_id


def check_sender(sender: str | None) -> str | None:
    """Check that every store and every client can hold a user's name; return it.

    Raises:
        RequestError: `bad_command`.
    """
    if sender is not None and not (0 < len(sender) <= SENDER_MAX and sender.isprintable()):
        raise RequestError("bad_command", f"a sender is 1 to {SENDER_MAX} printable characters")
    return sender
