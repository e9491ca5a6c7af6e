"""What is fuzzed: every parser that a stranger's bytes reach, each with what it may and must do with them.

A target takes bytes and returns; what it raises is a finding. What it asserts is more than "does not crash": what
comes in pieces means the same as what comes whole, what is bounded is bounded, what is accepted can be used.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from tests.wire.heads import parse_head
from trunkline import Issuer, JwtAuth
from trunkline.core.grant import PATTERN, UNAUTHENTICATED, matches
from trunkline.core.joins import parse_positions
from trunkline.core.json_text import check_json
from trunkline.core.limits import Limits
from trunkline.core.message import check_id, check_room
from trunkline.core.position import NOW, parse_start
from trunkline.core.session import Session
from trunkline.errors import RequestError
from trunkline.wire import engineio as engineio_wire
from trunkline.wire import envelope
from trunkline.wire import socketio as socketio_wire
from trunkline.wire import websocket as ws
from trunkline.wire.credentials import cookies, credentials
from trunkline.wire.deflate import Corrupt, Inflater, TooLarge, agree
from trunkline.wire.origin import Origins, cors_headers

SIZE_MAX = 2000
LIMITS = Limits(message_bytes_max=1000)
ORIGINS = [Origins(), Origins(allowed=("https://a.example",)), Origins(loopback_only=True)]
AUTH = JwtAuth([Issuer(secret="0123456789abcdef0123456789abcdef")])


def _fed(receiver: ws.Receiver, pieces: list[bytes]) -> list[ws.Event]:
    return [event for piece in pieces for event in receiver.feed(piece)]


def _plain(event: ws.Event) -> object:
    # A deflated message can be wrong in two ways at once; which one is seen first depends on how it came.
    return ws.Failed if isinstance(event, ws.Failed) else event


def frames(data: bytes) -> None:
    """The frames of a peer: in pieces as in one, and never more than is allowed."""
    step = data[0] % 7 + 1 if data else 1
    flags = data[1] if len(data) > 1 else 0
    rest = data[2:]
    arguments = {"masked": not flags & 1, "inflates": bool(flags & 2)}
    whole = _fed(ws.Receiver(SIZE_MAX, **arguments), [rest])
    pieces = [rest[at : at + step] for at in range(0, len(rest), step)]
    assert [_plain(e) for e in _fed(ws.Receiver(SIZE_MAX, **arguments), pieces)] == [_plain(e) for e in whole]
    for event in whole:
        if isinstance(event, ws.Text):
            event.data.decode()
        if isinstance(event, (ws.Text, ws.Binary)):
            assert len(event.data) <= SIZE_MAX
        if isinstance(event, (ws.Closed, ws.Failed)):
            assert event is whole[-1]
            ws.close_frame(event.code, event.reason)


def inflate(data: bytes) -> None:
    """Deflated data: bounded, whatever it is."""
    inflater = Inflater(SIZE_MAX)
    try:
        out = inflater.feed(data[: len(data) // 2]) + inflater.feed(data[len(data) // 2 :]) + inflater.finish()
    except (TooLarge, Corrupt):
        return
    assert len(out) <= SIZE_MAX


def handshake(data: bytes) -> None:
    """A request's head, and everything that is read out of it."""
    head = parse_head(data)
    if head is None:
        head = parse_head(b"GET /rooms/a HTTP/1.1\r\nHost: localhost\r\n" + data)
        if head is None:
            return
    agreement = agree(head.headers.get(b"sec-websocket-extensions", b""))
    try:
        response = ws.accept(head, agreement)
        assert response.endswith(b"\r\n\r\n")
        assert response.count(b"\r\n\r\n") == 1
    except ws.BadHandshake:
        pass
    brought = credentials(head, "address", "cookie")
    assert (brought.token or "x") not in repr(brought) or len(brought.token or "") < 20
    cookies(head)
    for origins in ORIGINS:
        try:
            origins.check(head)
        except RequestError as error:
            envelope.problem(error)
        for name, value in cors_headers(origins, head):
            assert "\n" not in name + value


def commands(data: bytes) -> None:
    """What a WebSocket client says, before and after it is known."""
    for grant in (None, UNAUTHENTICATED):
        session = Session("s", grant, LIMITS)
        for line in data.split(b"\0"):
            try:
                command = envelope.decode_command(line)
            except RequestError as error:
                envelope.error_event(error)
                continue
            repr(session.receive(command))
        assert len(session.rooms) <= LIMITS.rooms_per_connection_max


def positions(data: bytes) -> None:
    """Where a reader wants to begin."""
    text = data.decode("utf-8", "surrogateescape")
    first, _, second = text.partition("\0")
    for parse in (lambda: parse_positions(text), lambda: parse_start(first, second or None, NOW)):
        try:
            str(parse())
        except RequestError as error:
            envelope.problem(error)


def names(data: bytes) -> None:
    """Room names, ids and patterns: no two of them can be taken for one another (R56)."""
    text = data.decode("utf-8", "surrogateescape")
    for check in (check_room, lambda name: check_id(name, 128)):
        try:
            assert check(text) == text
        except RequestError:
            continue
        assert not set(text) & set("\0\r\n")
    pattern, _, room = text.partition("\0")
    if PATTERN.match(pattern) and matches(pattern, room):
        assert room.startswith(pattern.removesuffix("*"))


def json(data: bytes) -> None:
    """The data of a message: whatever is accepted fits on one line, and is what it was."""
    try:
        text = check_json(data, 1000, 8)
    except RequestError:
        return
    assert b"\n" not in text
    assert b"\r" not in text
    assert msgspec.json.encode(msgspec.json.decode(text)) == msgspec.json.encode(msgspec.json.decode(data))


def tokens(data: bytes) -> None:
    """Tokens: nothing but a signature lets anybody in, and no answer quotes what was brought."""
    text = data.decode("utf-8", "surrogateescape")
    for candidate in (text, f"eyJhbGciOiJIUzI1NiJ9.{text}", f"eyJhbGciOiJIUzI1NiJ9.e30.{text}"):
        grant, said = None, ""
        try:
            grant = AUTH.verify_now(candidate)
        except RequestError as error:
            said = str(error)
        assert said
        assert grant is None
        assert len(text) < 20 or text not in said


def engineio(data: bytes) -> None:
    """The body of a POST of Engine.IO: what is taken can be sent back, and is the same."""
    text = data.decode("utf-8", "replace")
    try:
        packets = engineio_wire.decode_payload(text, 100)
    except engineio_wire.BadPacket:
        return
    assert len(packets) <= 100
    assert engineio_wire.decode_payload(engineio_wire.encode_payload(packets), 100) == packets


def socketio(data: bytes) -> None:
    """Messages of Socket.IO: never more than is allowed is held, and what is taken can be sent back."""
    decoder = socketio_wire.Decoder(SIZE_MAX, 5, 8)
    for part in data.split(b"\0"):
        try:
            found = decoder.feed(part[1:] if part[:1] == b"b" else part.decode("utf-8", "replace"))
        except socketio_wire.BadPacket:
            return
        if found is not None:
            sent = socketio_wire.encode(found)
            if not any(isinstance(piece, bytes) for piece in sent):
                assert socketio_wire.Decoder(10 * SIZE_MAX, 5, 16).feed(sent[0]) == found


TARGETS: dict[str, Callable[[bytes], None]] = {
    "frames": frames,
    "inflate": inflate,
    "handshake": handshake,
    "commands": commands,
    "positions": positions,
    "names": names,
    "json": json,
    "tokens": tokens,
    "engineio": engineio,
    "socketio": socketio,
}

# Where the search begins: one good input each, so that it is not spent on finding out what JSON is.
SEEDS: dict[str, list[bytes]] = {
    "frames": [
        b"\x01\x02" + ws.masked_frame(ws.Opcode.TEXT, b"hello", b"abcd"),
        b"\x03\x02\xc1\x87abcd\x93*\xaa\xac\xa8bd",
        b"\x02\x01" + ws.frame(ws.Opcode.TEXT, b"a", fin=False) + ws.frame(ws.Opcode.CONTINUATION, b"b"),
    ],
    "inflate": [b"\xf2H\xcd\xc9\xc9\x07\x00"],
    "handshake": [
        (
            b"GET /rooms/a?token=x HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
            b"Sec-WebSocket-Extensions: permessage-deflate; server_max_window_bits=10\r\n"
            b"Sec-WebSocket-Protocol: trunkline.v1, trunkline.token.x\r\nOrigin: https://a.example:443\r\n"
            b"Cookie: a=b; cookie=c\r\nAuthorization: Bearer x"
        )
    ],
    "commands": [
        b'{"type":"join","room":"a","since":"e.1"}\0{"type":"message","data":{"a":[1]},"id":"i"}\0{"type":"leave"}',
        b'{"type":"auth","token":"x"}\0{"type":"ping"}',
    ],
    "positions": [b"a=k3f9x2.42,b=p0q8.7", b"start", b"\x0050", b"k3f9x2.42"],
    "names": [b"chat:1", b"chat:*\0chat:1"],
    "json": [b'{"a":[1,2.5e3,"\\u00e4",null]}'],
    "engineio": [b"4hello\x1ebAQIDBA==\x1e3", b"2probe"],
    "socketio": [
        b'0/n,{"token":"x"}',
        b'2/n,5["a",{"b":[1]}]',
        b'51-["a",{"_placeholder":true,"num":0}]\0bxyz',
        b"31[]",
    ],
    "tokens": [b"eyJzdWIiOiJhIiwiZXhwIjo5OTk5OTk5OTk5fQ.c2lnbmF0dXJl"],
}
