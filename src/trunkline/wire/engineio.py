"""Packets of Engine.IO, protocol 4: the layer below Socket.IO, on WebSocket and in the bodies of polls.

Sections are those of the Engine.IO protocol, version 4 (repository socketio/socket.io, docs/engine.io-protocol).
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Sequence
from typing import Final, Literal, NamedTuple

import msgspec

OPEN: Final = "0"
CLOSE: Final = "1"
PING: Final = "2"
PONG: Final = "3"
MESSAGE: Final = "4"
UPGRADE: Final = "5"
NOOP: Final = "6"

PROTOCOL = "4"
SEPARATOR = "\x1e"  # between the packets of a payload
PROBE = "probe"  # the data of the ping and the pong with which a WebSocket is tried

Data = str | bytes
Transport = Literal["polling", "websocket"]

_NO_LINE_BREAKS = str.maketrans("", "", "\r\n")
_BY_CLIENT = frozenset((CLOSE, PING, PONG, MESSAGE, UPGRADE))


class BadPacket(ValueError):
    """What a client has sent is no packet."""


class BadRequest(ValueError):
    """A request that opens no session, and belongs to none.

    Attributes:
        number: As reference servers number it, in the body of the answer.
    """

    def __init__(self, number: int, message: str) -> None:
        super().__init__(message)
        self.number = number

    @property
    def body(self) -> bytes:
        """What such a request is answered with, by status 400."""
        return msgspec.json.encode({"code": self.number, "message": str(self)})


class Packet(NamedTuple):
    """One packet.

    Attributes:
        type: Its first character, one of the constants above.
        data: The rest; bytes of a binary message.
    """

    type: str
    data: Data = ""


class Address(NamedTuple):
    """What the URL of a request says.

    Attributes:
        sid: Of the session that it belongs to; None for one that is to be opened.
    """

    transport: Transport
    sid: str | None


def parse_address(parameters: Iterable[tuple[str, str]], transports: Sequence[str]) -> Address:
    """Parse the query of a request (section "Handshake").

    Args:
        parameters: Decoded pairs.
        transports: Those that are served.

    Raises:
        BadRequest: It speaks another version, or by another transport.
    """
    given: dict[str, str] = {}
    for name, value in parameters:
        given.setdefault(name, value)
    transport = given.get("transport", "")
    if transport not in transports or transport not in ("polling", "websocket"):
        raise BadRequest(0, "Transport unknown")
    if given.get("EIO") != PROTOCOL:
        raise BadRequest(5, "Unsupported protocol version: this server speaks Engine.IO 4 (Socket.IO clients 3 and 4)")
    sid = given.get("sid")
    return Address("polling" if transport == "polling" else "websocket", sid or None)


def handshake(
    sid: str, upgrades: Sequence[Transport], ping_interval_ms: int, ping_timeout_ms: int, bytes_max: int
) -> Packet:
    """Return the packet that opens a session (section "Handshake").

    Args:
        upgrades: To which transports the client may go over.
        bytes_max: The most that the client may send at once.
    """
    told = {
        "sid": sid,
        "upgrades": upgrades,
        "pingInterval": ping_interval_ms,
        "pingTimeout": ping_timeout_ms,
        "maxPayload": bytes_max,
    }
    return Packet(OPEN, msgspec.json.encode(told).decode())


def decode(text: str) -> Packet:
    """Return the packet of a text frame, as a client may send it (section "Packet encoding").

    Raises:
        BadPacket: It is none.
    """
    if text[:1] not in _BY_CLIENT:
        raise BadPacket("no packet begins so")
    return Packet(text[0], text[1:])


def decode_payload(body: str, packets_max: int) -> list[Packet]:
    """Return the packets of a POST's body (section "HTTP long-polling").

    Raises:
        BadPacket: It is no payload, or has more packets than that.
    """
    if body.count(SEPARATOR) >= packets_max:
        raise BadPacket(f"more than {packets_max} packets at once")
    return [_decode_in_payload(text) for text in body.split(SEPARATOR)]


def _decode_in_payload(text: str) -> Packet:
    if not text.startswith("b"):
        return decode(text)
    try:
        # Java's client ends its lines (RFC 2045 section 6.8), and servers have always taken that.
        return Packet(MESSAGE, base64.b64decode(text[1:].translate(_NO_LINE_BREAKS), validate=True))
    except (binascii.Error, ValueError) as error:
        raise BadPacket(f"a binary packet is no base64: {error}") from None


def encode_in_payload(packet: Packet) -> str:
    """Return a packet as a part of a payload."""
    kind, data = packet
    return f"b{base64.b64encode(data).decode()}" if isinstance(data, bytes) else kind + data


def encode_payload(packets: Iterable[Packet]) -> str:
    """Return the body of a poll's answer."""
    return SEPARATOR.join(map(encode_in_payload, packets))
