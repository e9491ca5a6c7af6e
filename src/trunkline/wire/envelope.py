"""The JSON of the protocol: commands in, events out, in the order of PROTOCOL.md."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from trunkline.core.batch import Batch, Notification
from trunkline.core.grant import Grant
from trunkline.core.json_text import too_deep
from trunkline.core.limits import Limits
from trunkline.core.message import Message, Receipt
from trunkline.core.position import Gap
from trunkline.core.presence import Member
from trunkline.core.read_mark import ReadMark, Seen, Unread
from trunkline.core.session import Command
from trunkline.core.signal import Signal
from trunkline.errors import RequestError, TrunklineError

VERSION = "trunkline.v1"

_encode = msgspec.json.Encoder().encode
_decode_command = msgspec.json.Decoder(Command).decode


class _Welcome(msgspec.Struct):
    session: str
    user: str | None
    member: str
    expires_at: int | None
    expires_in_ms: int | None
    retry_max_ms: int
    heartbeat: msgspec.Raw
    limits: msgspec.Raw


class _Authenticated(msgspec.Struct, tag_field="type", tag="authenticated"):
    user: str | None
    expires_at: int | None
    expires_in_ms: int | None


class _Joined(msgspec.Struct, tag_field="type", tag="joined"):
    room: str
    epoch: str
    head: int


class _Left(msgspec.Struct, tag_field="type", tag="left"):
    room: str


class _Error(msgspec.Struct, tag_field="type", tag="error", omit_defaults=True):
    code: str
    message: str
    id: str | None = None
    room: str | None = None
    about: str | None = None
    retry_after_ms: int | None = None


class _Presence(msgspec.Struct, omit_defaults=True):
    room: str
    count: int
    members: list[Member] | None = None
    joined: list[Member] | None = None
    left: list[str] | None = None
    missing_nodes: list[str] | None = None


class _SeenOfRoom(msgspec.Struct):
    room: str
    marks: list[Seen]


class _UnreadOfRooms(msgspec.Struct):
    rooms: list[Unread]


class _Closing(msgspec.Struct, tag_field="type", tag="closing"):
    retry_after_ms: int


class _Problem(msgspec.Struct, omit_defaults=True):
    code: str
    message: str
    retry_after_ms: int | None = None


PONG = b'{"type":"pong"}'


def decode_command(text: bytes) -> Command:
    """Decode one command.

    Raises:
        RequestError: `bad_json` if it is no JSON, `too_deep` if it cannot be read at all, `bad_command` if it is no
            object with a `type`, or a field has the wrong type.
    """
    try:
        return _decode_command(text)
    except msgspec.ValidationError as error:
        raise RequestError("bad_command", f"a command is an object with a type: {error}") from None
    except RecursionError:
        raise too_deep() from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise RequestError("bad_json", f"a command is a JSON object: {error}") from None


def message_body(message: Message) -> bytes:
    """Return a message as JSON, as polls and SSE carry it."""
    return _encode(message)


def message_event(message: Message) -> bytes:
    """Return a message, or a redaction, as WebSocket carries it: the same with its type in front."""
    if message.redacts:
        return b'{"type":"redacted",' + _encode(message)[1:]
    return b'{"type":"message",' + _encode(message)[1:]


def message_events(batch: Batch) -> list[bytes]:
    """Return a batch's messages as WebSocket texts."""
    return [message_event(message) for message in batch.messages]


def welcome(body: bytes) -> bytes:
    """Return the first event of every WebSocket that is let in."""
    return b'{"type":"welcome",' + body[1:]


class Expected(NamedTuple):
    """What a server expects of all its clients, as `welcome` carries it."""

    heartbeat: msgspec.Raw
    limits: msgspec.Raw


def expected_of(interval_s: float, timeout_s: float, limits: Limits) -> Expected:
    """Encode what a server expects of its clients.

    Args:
        interval_s, timeout_s: How often a stream is pinged, and how long an answer may take.
    """
    heartbeat = {"interval_s": interval_s, "timeout_s": timeout_s}
    sizes = {
        "message_bytes": limits.message_bytes_max,
        "rooms": limits.rooms_per_connection_max,
        "id_bytes": limits.id_bytes_max,
        "json_depth": limits.json_depth_max,
    }
    return Expected(msgspec.Raw(_encode(heartbeat)), msgspec.Raw(_encode(sizes)))


def welcome_body(
    session: str,
    grant: Grant,
    member: str,
    now_ms: int,
    retry_max_ms: int,
    expected: Expected,
) -> bytes:
    """Return `welcome` as SSE carries it: the client's user and member, and what the server expects of it.

    Args:
        retry_max_ms: Over how long clients are to spread their attempts to come back if the server dies.
    """
    return _encode(
        _Welcome(
            session,
            grant.user,
            member,
            in_ms(grant.expires_at),
            left_ms(grant.expires_at, now_ms),
            retry_max_ms,
            expected.heartbeat,
            expected.limits,
        )
    )


def authenticated(grant: Grant, now_ms: int) -> bytes:
    """Return the event: the newer token counts from now on."""
    return _encode(_Authenticated(grant.user, in_ms(grant.expires_at), left_ms(grant.expires_at, now_ms)))


def in_ms(seconds: float | None) -> int | None:
    """Return a time as the wire has it."""
    return None if seconds is None else round(seconds * 1000)


def left_ms(end: float | None, now_ms: int) -> int | None:
    """Return how long it is until then: what a client can count on whose clock is wrong."""
    return None if end is None else max(0, round(end * 1000) - now_ms)


def joined(room: str, epoch: str, head: int) -> bytes:
    """Return the event: reading has begun, and *head* is the offset that the log had at that moment."""
    return _encode(_Joined(room, epoch, head))


def left(room: str) -> bytes:
    """Return the event: reading has ended; nothing of this room follows."""
    return _encode(_Left(room))


def ack(receipt: Receipt) -> bytes:
    """Return the event: the message is stored."""
    return b'{"type":"ack",' + _encode(receipt)[1:]


class _Result(msgspec.Struct, tag_field="type", tag="result"):
    id: str
    data: msgspec.Raw


class _ResultBody(msgspec.Struct):
    id: str | None
    data: msgspec.Raw


def result_event(call_id: str, json: bytes) -> bytes:
    """Return the event: a call was carried out, and this is its result."""
    return _encode(_Result(call_id, msgspec.Raw(json)))


def result_body(call_id: str | None, json: bytes) -> bytes:
    """Return the result of a call as HTTP carries it."""
    return _encode(_ResultBody(call_id, msgspec.Raw(json)))


def gap_body(gap: Gap) -> bytes:
    """Return a gap as JSON, as polls and SSE carry it."""
    return _encode(gap)


def gap_event(gap: Gap) -> bytes:
    """Return a gap as WebSocket carries it."""
    return b'{"type":"gap",' + _encode(gap)[1:]


def signal_body(signal: Signal) -> bytes:
    """Return a signal as JSON."""
    return _encode(signal)


def members_body(room: str, count: int, members: list[Member], missing_nodes: Sequence[str] = ()) -> bytes:
    """Return the full list of members, which replaces earlier ones; *missing_nodes* have not sent theirs yet."""
    return _encode(_Presence(room, count, members, missing_nodes=list(missing_nodes) or None))


def changes_body(room: str, count: int, joined: list[Member], left: list[str]) -> bytes:
    """Return the members who joined or changed their data, and those who left."""
    return _encode(_Presence(room, count, joined=joined or None, left=left or None))


def seen_body(room: str, marks: Sequence[ReadMark]) -> bytes:
    """Return how far members have seen a room: what is new, or all of it."""
    return _encode(_SeenOfRoom(room, [Seen(mark.member, mark.offset, mark.at) for mark in marks]))


def unread_body(rooms: list[Unread]) -> bytes:
    """Return one member's unread counts of these rooms, as JSON."""
    return _encode(_UnreadOfRooms(rooms))


def unread_event(rooms: list[Unread]) -> bytes:
    """Return unread counts as WebSocket carries them."""
    return b'{"type":"unread",' + unread_body(rooms)[1:]


def notification_events(notification: Notification) -> list[bytes]:
    """Return a notification's events as WebSocket texts."""
    return [b'{"type":"%b",' % kind.encode() + body[1:] for kind, body in notification.events]


def error_event(
    error: TrunklineError, message_id: str | None = None, room: str | None = None, about: str | None = None
) -> bytes:
    """Return the event: a command was refused; the connection stays.

    Args:
        about: The command that was refused; None for what the server does by itself.
    """
    return _encode(_Error(error.code, str(error), message_id, room, about, error.retry_after_ms))


def closing(retry_after_ms: int) -> bytes:
    """Return the event: the server will close this connection; come back after this long."""
    return _encode(_Closing(retry_after_ms))


def problem(error: TrunklineError) -> bytes:
    """Return an error as the body of an HTTP response."""
    return b'{"error":%b}' % problem_body(error)


def problem_body(error: TrunklineError) -> bytes:
    """Return an error by itself, as SSE carries it."""
    return _encode(_Problem(error.code, str(error), error.retry_after_ms))
