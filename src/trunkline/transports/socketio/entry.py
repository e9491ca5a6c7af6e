"""Events of Socket.IO as messages of a log, both ways.

    data of the message                              event
    {"event": NAME, "args": […]}                     that event, with those arguments
      "attachments": [base64, …]                     bytes; in the arguments are placeholders of Socket.IO
      "skip": [SID, …]                               sockets that are not given it
      "rooms": [ROOM, …], "one": NAME                it stands in several logs: who reads several is given it once
    anything else                                    `message`, with that as its one argument

An event `message` with one argument that is no such object is stored as that argument alone: so `emit("message", x)`
and `POST /rooms/general` with the data x are the same.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec

from trunkline.core.message import Message
from trunkline.wire import socketio as wire

MESSAGE = "message"


class Entry(msgspec.Struct, omit_defaults=True, forbid_unknown_fields=True):
    """An event, as a log has it."""

    event: str
    args: list[msgspec.Raw]
    attachments: tuple[str, ...] = ()
    skip: tuple[str, ...] = ()
    rooms: tuple[str, ...] = ()
    one: str = ""


_encode = msgspec.json.Encoder().encode
_decoder = msgspec.json.Decoder(Entry)


class Event(NamedTuple):
    """An event, as sockets are given it.

    Attributes:
        json: The array of its name and its arguments.
        attachments: Bytes, for the placeholders in it.
        skip: Sockets that are not given it.
        one: What it is called in all of the logs that it stands in, if there are several.
    """

    json: bytes
    attachments: Sequence[bytes] = ()
    skip: Sequence[str] = ()
    one: str = ""


def event_of(name: str, args: Sequence[Any]) -> Event:
    """Return an event that is in no log.

    Raises:
        TypeError, ValueError, RecursionError: An argument cannot be JSON.
    """
    attachments: list[bytes] = []
    return Event(_encode([name, *wire.take_out(list(args), attachments)]), attachments)


def to_data(
    event: str, args: Sequence[Any], skip: Sequence[str] = (), rooms: Sequence[str] = (), one: str = ""
) -> bytes:
    """Return an event as the data of a message.

    Args:
        rooms: The logs that it stands in, if there are several.
        one: What it is called in all of them.

    Raises:
        TypeError, ValueError, RecursionError: An argument cannot be JSON.
    """
    attachments: list[bytes] = []
    texts = [msgspec.Raw(_encode(wire.take_out(argument, attachments))) for argument in args]
    if event == MESSAGE and len(texts) == 1 and not (attachments or skip or rooms) and _entry_of(texts[0]) is None:
        return bytes(texts[0])
    encoded = tuple([base64.b64encode(piece).decode() for piece in attachments])
    return _encode(Entry(event, texts, encoded, tuple(skip), tuple(rooms), one))


def from_message(message: Message) -> Event | None:
    """Return the event that a message is; None of one that was redacted, and of a redaction."""
    if message.redacted or message.redacts:
        return None
    entry = _entry_of(message.json)
    if entry is None or entry.event in wire.RESERVED:  # which clients would take for the end of everything
        return Event(b'["message",%b]' % bytes(message.json))
    name = _encode(entry.event)
    json = b"[%b]" % b",".join([name, *map(bytes, entry.args)])
    try:
        attachments = [base64.b64decode(piece, validate=True) for piece in entry.attachments]
        if attachments:
            wire.check_placeholders(json, len(attachments))
    except (binascii.Error, ValueError):
        return Event(b'["message",%b]' % bytes(message.json))  # a client of another kind has made it up
    return Event(json, attachments, entry.skip, entry.one)


def _entry_of(json: msgspec.Raw) -> Entry | None:
    if bytes(memoryview(json)[:1]) != b"{":
        return None
    try:
        return _decoder.decode(json)
    except (msgspec.DecodeError, RecursionError):
        return None
