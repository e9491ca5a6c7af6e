"""Packets of Socket.IO, protocol 5: events, acknowledgements, and the way into namespaces and out.

Sections are those of the Socket.IO protocol, version 5 (repository socketio/socket.io, docs/socket.io-protocol).
"""

from __future__ import annotations

import re
from enum import IntEnum
from typing import Any, Final, NamedTuple

import msgspec

from trunkline.core.json_text import deeper_than

Data = str | bytes
ROOT: Final = "/"


class Type(IntEnum):
    """What a packet is (section "Exchange protocol")."""

    CONNECT = 0
    DISCONNECT = 1
    EVENT = 2
    ACK = 3
    CONNECT_ERROR = 4
    BINARY_EVENT = 5
    BINARY_ACK = 6


RESERVED = frozenset(("connect", "connect_error", "disconnect", "disconnecting", "newListener", "removeListener"))
"""Events that say what happens to a connection, so no client may send one."""

ID_MAX = 2**53 - 1
PLACEHOLDER = "_placeholder"

_HEAD = re.compile(r"([0-6])(?:([0-9]{1,9})-)?(?:(/[^,]{0,255})(?:,|\Z))?([0-9]{1,16})?(?=[\[{]|\Z)")
_BINARY = (Type.BINARY_EVENT, Type.BINARY_ACK)
_decode_json = msgspec.json.Decoder().decode
_encode_json = msgspec.json.Encoder().encode


class BadPacket(ValueError):
    """What a client has sent is no packet."""


class Packet(NamedTuple):
    """One packet.

    Attributes:
        type: Never one of the binary ones: whether there are bytes in the data is for `encode` to see.
        namespace: With the slash in front.
        id: What an acknowledgement is to name, or names; None if there is to be none.
        data: An object or None, or of events and acknowledgements a list of arguments, the event's name first.
    """

    type: Type
    namespace: str = ROOT
    id: int | None = None
    data: Any = None


class Decoder:
    """Puts packets together again whose bytes come in frames of their own.

    Args:
        bytes_max: Of one packet with its attachments.
        attachments_max: Of one packet.
        depth_max: How many levels of arrays and objects are allowed.
    """

    __slots__ = ("_attachments", "_attachments_max", "_bytes_left", "_bytes_max", "_depth_max", "_expected", "_packet")

    def __init__(self, bytes_max: int, attachments_max: int, depth_max: int) -> None:
        self._bytes_max = bytes_max
        self._attachments_max = attachments_max
        self._depth_max = depth_max
        self._packet: Packet | None = None  # one whose attachments are still to come
        self._expected = 0
        self._bytes_left = 0
        self._attachments: list[bytes] = []

    def feed(self, data: Data) -> Packet | None:
        """Take a message of Engine.IO; return the packet that is complete with it, if one is.

        Raises:
            BadPacket: It is none, or none that a client may send.
        """
        if isinstance(data, bytes):
            return self._take_attachment(data)
        if self._packet is not None:
            raise BadPacket("a packet has come before all attachments of the one before")
        packet, attachments = self._decode(data)
        if packet.type not in _BINARY:
            return packet
        self._packet, self._expected, self._attachments = packet, attachments, []
        self._bytes_left = self._bytes_max - len(data)
        return self._complete() if attachments == 0 else None

    def _take_attachment(self, data: bytes) -> Packet | None:
        if self._packet is None:
            raise BadPacket("bytes have come that belong to no packet")
        self._bytes_left -= len(data)
        if self._bytes_left < 0:
            raise BadPacket(f"a packet and its attachments are larger than {self._bytes_max} bytes")
        self._attachments.append(data)
        return self._complete() if len(self._attachments) == self._expected else None

    def _complete(self) -> Packet:
        packet, self._packet = self._packet, None
        assert packet is not None
        attachments, self._attachments = self._attachments, []
        kind = Type.EVENT if packet.type is Type.BINARY_EVENT else Type.ACK
        return packet._replace(type=kind, data=_filled(packet.data, [*attachments]))

    def _decode(self, text: str) -> tuple[Packet, int]:
        match = _HEAD.match(text)
        if match is None:
            raise BadPacket("no packet begins so")
        kind, namespace = Type(int(match[1])), match[3] or ROOT
        if (match[2] is not None) is not (kind in _BINARY):
            raise BadPacket("a number of attachments belongs to binary packets, and to them alone")
        attachments = int(match[2] or 0)
        if attachments > self._attachments_max:
            raise BadPacket(f"at most {self._attachments_max} attachments")
        number = None if match[4] is None else int(match[4])
        if number is not None and number > ID_MAX:
            raise BadPacket("the id is too large")
        data = self._decode_data(text[match.end() :])
        _check(kind, number, data)
        return Packet(kind, namespace.partition("?")[0], number, data), attachments

    def _decode_data(self, text: str) -> Any:
        if not text:
            return None
        try:
            data = _decode_json(text)
        except (msgspec.DecodeError, RecursionError, UnicodeError) as error:
            raise BadPacket(f"the data is not JSON: {error}") from None
        if deeper_than(text.encode(), self._depth_max):
            raise BadPacket(f"the data is deeper than {self._depth_max} levels")
        return data


def _check(kind: Type, number: int | None, data: Any) -> None:
    if kind in (Type.EVENT, Type.BINARY_EVENT):
        if not isinstance(data, list) or not data or not isinstance(data[0], str | int):
            raise BadPacket("an event is an array that begins with its name")
        if data[0] in RESERVED:
            raise BadPacket(f"{data[0]} is no event that a client may send")
    elif kind in (Type.ACK, Type.BINARY_ACK):
        if not isinstance(data, list) or number is None:
            raise BadPacket("an acknowledgement is an array, and has an id")
    elif kind is Type.CONNECT:
        if not (data is None or isinstance(data, dict)) or number is not None:
            raise BadPacket("what a client says of itself is an object")
    elif kind is Type.DISCONNECT:
        if data is not None or number is not None:
            raise BadPacket("there is nothing to say with a goodbye")
    else:
        raise BadPacket("a client refuses no connection")


def _filled(value: Any, attachments: list[bytes | None]) -> Any:
    """Return a value with the attachments where their placeholders are (section "Packet encoding").

    Each has one place: a client that names one a thousand times would have us make a thousand of it.
    """
    if isinstance(value, list):
        return [_filled(one, attachments) for one in value]
    if not isinstance(value, dict):
        return value
    if value.get(PLACEHOLDER) is True:
        number = value.get("num")
        if not isinstance(number, int) or not 0 <= number < len(attachments):
            raise BadPacket("a placeholder names no attachment")
        found, attachments[number] = attachments[number], None
        if found is None:
            raise BadPacket("an attachment has one place")
        return found
    return {key: _filled(one, attachments) for key, one in value.items()}


def check_placeholders(json: bytes, attachments: int) -> None:
    """Check that the placeholders in a text that is JSON name one attachment each.

    Raises:
        BadPacket: One does not.
    """
    _filled(_decode_json(json), [b""] * attachments)


def take_out(value: Any, attachments: list[bytes]) -> Any:
    """Return a value with placeholders where bytes were, which are added to *attachments*."""
    if isinstance(value, bytes | bytearray | memoryview):
        attachments.append(bytes(value))
        return {PLACEHOLDER: True, "num": len(attachments) - 1}
    if isinstance(value, list | tuple):
        return [take_out(one, attachments) for one in value]
    if isinstance(value, dict):
        return {key: take_out(one, attachments) for key, one in value.items()}
    return value


def head(kind: Type, namespace: str, number: int | None, attachments: int) -> str:
    """Return the beginning of a packet's text, up to its data."""
    if attachments:
        binary = Type.BINARY_EVENT if kind is Type.EVENT else Type.BINARY_ACK
        begin = f"{binary.value}{attachments}-"
    else:
        begin = str(kind.value)
    if namespace != ROOT:
        begin += f"{namespace},"
    return begin if number is None else f"{begin}{number}"


def encode(packet: Packet) -> list[Data]:
    """Return the messages of Engine.IO that a packet is: a text, and its attachments.

    Raises:
        TypeError, ValueError, RecursionError: The data cannot be JSON.
    """
    attachments: list[bytes] = []
    data = take_out(packet.data, attachments)
    text = head(packet.type, packet.namespace, packet.id, len(attachments))
    if data is not None:
        text += _encode_json(data).decode()
    return [text, *attachments]
