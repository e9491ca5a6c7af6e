"""The codec, against RFC 6455's own examples, every violation, and every way to cut the bytes."""

import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.wire.heads import parse_head
from trunkline.core.batch import Batch
from trunkline.core.close_codes import CloseCode
from trunkline.wire import websocket as ws
from trunkline.wire.batches import text_frames

MASK = bytes.fromhex("37fa213d")
SIZE_MAX = 70_000


def receive(data: bytes, *cuts: int, masked: bool = True, size_max: int = SIZE_MAX) -> list[ws.Event]:
    """What a receiver makes of *data*, fed in pieces that end at *cuts*."""
    receiver, events = ws.Receiver(size_max, masked=masked), []
    for begin, end in zip((0, *cuts), (*cuts, len(data)), strict=True):
        events += receiver.feed(data[begin:end])
    return events


def every_way(data: bytes, masked: bool = True) -> list[ws.Event]:
    """Whole and byte by byte give the same, and bytes behind it change nothing of it."""
    whole = receive(data, masked=masked)
    assert receive(data, *range(1, len(data)), masked=masked) == whole
    tail = ws.masked_frame(ws.Opcode.PONG, b"tail", MASK) if masked else ws.frame(ws.Opcode.PONG, b"tail")
    behind = receive(data + tail, masked=masked)
    assert behind[: len(whole)] == whole
    return whole


# ── Section 5.7: the examples ──


def test_the_examples_of_the_rfc() -> None:
    assert every_way(bytes.fromhex("810548656c6c6f"), masked=False) == [ws.Text(b"Hello")]
    assert every_way(bytes.fromhex("818537fa213d7f9f4d5158")) == [ws.Text(b"Hello")]
    assert every_way(bytes.fromhex("010348656c80026c6f"), masked=False) == [ws.Text(b"Hello")]
    assert every_way(bytes.fromhex("890548656c6c6f"), masked=False) == [ws.Ping(b"Hello")]
    assert every_way(bytes.fromhex("8a8537fa213d7f9f4d5158")) == [ws.Pong(b"Hello")]
    assert ws.frame(ws.Opcode.TEXT, b"Hello") == bytes.fromhex("810548656c6c6f")
    assert ws.frame(ws.Opcode.TEXT, b"Hel", fin=False) == bytes.fromhex("010348656c")
    assert ws.masked_frame(ws.Opcode.TEXT, b"Hello", MASK) == bytes.fromhex("818537fa213d7f9f4d5158")
    assert ws.frame(ws.Opcode.BINARY, bytes(256))[:4] == bytes.fromhex("827e0100")
    assert ws.frame(ws.Opcode.BINARY, bytes(65536))[:10] == bytes.fromhex("827f0000000000010000")


@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 65_535, 65_536, SIZE_MAX])
@pytest.mark.parametrize("opcode", [ws.Opcode.TEXT, ws.Opcode.BINARY])
def test_every_length(size: int, opcode: ws.Opcode) -> None:
    """The three forms of the length, at their borders."""
    payload = b"x" * size
    data = ws.masked_frame(opcode, payload, MASK)
    expected = ws.Text(payload) if opcode is ws.Opcode.TEXT else ws.Binary(payload)
    assert receive(data) == receive(data, len(data) // 2) == receive(data, 1, 2, 3, len(data) - 1) == [expected]
    assert receive(ws.frame(opcode, payload), masked=False) == [expected]


# ── Round trips ──

MESSAGES = st.lists(
    st.tuples(st.sampled_from([ws.Opcode.TEXT, ws.Opcode.BINARY]), st.text(max_size=300), st.integers(1, 5)), max_size=5
)


@given(MESSAGES, st.binary(min_size=4, max_size=4), st.data())
def test_fragments_pings_and_cuts(messages: list[tuple[ws.Opcode, str, int]], mask: bytes, data: st.DataObject) -> None:
    """However a message is fragmented, whatever stands between its fragments, and however the bytes are cut."""
    stream = b""
    expected: list[object] = []
    for opcode, text, fragments in messages:
        payload = text.encode()
        step = len(payload) // fragments + 1
        pieces = [payload[at : at + step] for at in range(0, len(payload), step)] or [b""]
        for index, piece in enumerate(pieces):
            last = index == len(pieces) - 1
            stream += ws.masked_frame(opcode if index == 0 else ws.Opcode.CONTINUATION, piece, mask, fin=last)
            if not last and data.draw(st.booleans()):
                stream += ws.masked_frame(ws.Opcode.PING, piece[:125], mask)
                expected.append(ws.Ping(piece[:125]))
        expected.append(ws.Text(payload) if opcode is ws.Opcode.TEXT else ws.Binary(payload))
    cuts = sorted(data.draw(st.sets(st.integers(1, max(1, len(stream) - 1)), max_size=8))) if stream else []
    assert receive(stream, *cuts) == expected


@given(st.binary(max_size=200), st.lists(st.integers(0, 200), max_size=4))
def test_any_bytes_end_in_events(data: bytes, cuts: list[int]) -> None:
    """Whatever a peer sends: values, or one Failed or Closed as the last of them; never an exception (R53)."""
    events = receive(data, *sorted(min(cut, len(data)) for cut in cuts))
    assert all(not isinstance(event, (ws.Failed, ws.Closed)) for event in events[:-1])


@given(st.binary(max_size=300), st.binary(min_size=4, max_size=4))
def test_unmask_is_its_own_inverse(data: bytes, mask: bytes) -> None:
    masked = ws.unmask(data, mask)
    assert masked == bytes(byte ^ mask[i % 4] for i, byte in enumerate(data))
    assert ws.unmask(masked, mask) == data


# ── Violations ──


def masked(first: int, length: int, payload: bytes = b"", extended: bytes = b"") -> bytes:
    return bytes((first, 0x80 | length)) + extended + MASK + ws.unmask(payload, MASK)


PROTOCOL = CloseCode.PROTOCOL_ERROR
BAD_CLOSE_CODES = (0, 999, 1004, 1005, 1006, 1015, 2999, 5000, 65535)


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (masked(0xC1, 1, b"x"), PROTOCOL),  # RSV1 without an extension
        (masked(0xA1, 1, b"x"), PROTOCOL),
        (masked(0x91, 1, b"x"), PROTOCOL),
        *[(masked(0x80 | opcode, 0), PROTOCOL) for opcode in (3, 4, 5, 6, 7, 11, 12, 13, 14, 15)],
        (b"\x81\x01x", PROTOCOL),  # not masked
        (masked(0x09, 0), PROTOCOL),  # a fragmented ping
        (masked(0x89, 126, b"x" * 126, (126).to_bytes(2, "big")), PROTOCOL),  # a ping of 126 bytes
        (masked(0x80, 0), PROTOCOL),  # nothing to continue
        (masked(0x01, 1, b"x") + masked(0x81, 1, b"y"), PROTOCOL),  # a new message within another
        (masked(0x81, 126, b"x" * 125, (125).to_bytes(2, "big")), PROTOCOL),  # not the shortest length
        (masked(0x81, 127, b"", (65_535).to_bytes(8, "big")), PROTOCOL),
        (masked(0x81, 127, b"", (1 << 63).to_bytes(8, "big")), PROTOCOL),
        (masked(0x81, 127, b"", (SIZE_MAX + 1).to_bytes(8, "big")), CloseCode.TOO_BIG),
        (masked(0x02, 126, b"x" * 65_000, b"\xfd\xe8") + masked(0x80, 126, b"", b"\x20\x00"), CloseCode.TOO_BIG),
        (masked(0x88, 1, b"x"), PROTOCOL),  # half a close code
        *[(masked(0x88, 2, n.to_bytes(2, "big")), PROTOCOL) for n in BAD_CLOSE_CODES],
        (masked(0x88, 3, b"\x03\xe8\xff"), CloseCode.INVALID_PAYLOAD),
        (masked(0x81, 1, b"\xff"), CloseCode.INVALID_PAYLOAD),
        (masked(0x81, 3, "\ud800".encode("utf-8", "surrogatepass")), CloseCode.INVALID_PAYLOAD),
        (masked(0x81, 4, b"\xf4\x90\x80\x80"), CloseCode.INVALID_PAYLOAD),  # beyond U+10FFFF
        (masked(0x81, 2, b"\xc0\xaf"), CloseCode.INVALID_PAYLOAD),  # not the shortest form
        (masked(0x01, 2, b"\xe2\x82") + masked(0x80, 0), CloseCode.INVALID_PAYLOAD),  # ends within a character
    ],
)  # fmt: skip
def test_violations(data: bytes, code: CloseCode) -> None:
    """Each has its close code, as soon as it can be seen, however the bytes come."""
    for cuts in ((), tuple(range(1, min(len(data), 300)))):
        *before, last = receive(data, *cuts)
        assert before == []
        assert isinstance(last, ws.Failed)
        assert last.code == code


def test_what_came_before_a_violation_counts() -> None:
    data = ws.masked_frame(ws.Opcode.TEXT, b"good", MASK) + b"\x81\x00" + ws.masked_frame(ws.Opcode.TEXT, b"late", MASK)
    assert receive(data) == [ws.Text(b"good"), ws.Failed(PROTOCOL, "frames must be masked")]


def test_text_is_judged_as_it_arrives() -> None:
    """The first bad byte fails, though the frame has 60,000 more to come (section 8.1)."""
    receiver = ws.Receiver(SIZE_MAX)
    head = bytes((0x81, 0xFE)) + (60_000).to_bytes(2, "big") + MASK
    assert receiver.feed(head + ws.unmask(b"good so far \xe2\x82", MASK)) == []
    [failed] = receiver.feed(ws.unmask(b"\xff", MASK[2:] + MASK[:2]))
    assert isinstance(failed, ws.Failed)
    assert failed.code == CloseCode.INVALID_PAYLOAD


def test_too_big_is_said_before_it_comes() -> None:
    """The head alone decides: nothing of a frame that is too large is kept."""
    receiver = ws.Receiver(100)
    [failed] = receiver.feed(bytes((0x82, 0xFF)) + (1 << 40).to_bytes(8, "big"))
    assert failed == ws.Failed(CloseCode.TOO_BIG, f"message of {1 << 40} bytes, at most 100 allowed")


def test_a_byte_a_frame_is_not_an_object_a_byte() -> None:
    """A message of 10,000 fragments costs its bytes, not its fragments."""
    receiver = ws.Receiver(SIZE_MAX)
    receiver.feed(ws.masked_frame(ws.Opcode.BINARY, b"x", MASK, fin=False))
    fragment = ws.masked_frame(ws.Opcode.CONTINUATION, b"x", MASK, fin=False)
    tracemalloc.start()
    for _ in range(10_000):
        receiver.feed(fragment)
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert held < 30_000
    assert receiver.feed(ws.masked_frame(ws.Opcode.CONTINUATION, b"", MASK)) == [ws.Binary(b"x" * 10_001)]


# ── Closing ──


@pytest.mark.parametrize("code", [1000, 1001, 1003, 1007, 1012, 1014, 3000, 4999])
def test_close_codes_that_may_travel(code: int) -> None:
    data = masked(0x88, 5, code.to_bytes(2, "big") + b"bye")
    assert every_way(data) == [ws.Closed(code, "bye")]


def test_close_without_a_code() -> None:
    assert every_way(masked(0x88, 0)) == [ws.Closed(1005, "")]


def test_our_close_frame_fits_a_control_frame() -> None:
    """A long reason is cut, and not within a character."""
    frame = ws.close_frame(1008, "é" * 100)
    [closed] = receive(frame, masked=False)
    assert closed == ws.Closed(1008, "é" * 61)
    assert len(frame) <= 127


# ── The handshake ──


def head(**changes: str) -> bytes:
    headers = {
        "Host": "example.com",
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
        "Sec-WebSocket-Version": "13",
    } | {name.replace("_", "-"): value for name, value in changes.items()}
    return b"\r\n".join([b"GET /chat HTTP/1.1", *(f"{n}: {v}".encode() for n, v in headers.items())])


def test_the_handshake_of_the_rfc() -> None:
    """Section 1.3: this key is answered with this accept."""
    request = parse_head(head())
    assert request is not None
    assert request.is_websocket
    assert b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n" in ws.accept(request)


def test_the_subprotocol_is_optional() -> None:
    offered = parse_head(head(Sec_WebSocket_Protocol="other, trunkline.v1"))
    other = parse_head(head(Sec_WebSocket_Protocol="other"))
    assert offered is not None
    assert other is not None
    assert b"Sec-WebSocket-Protocol: trunkline.v1\r\n" in ws.accept(offered)
    assert b"Sec-WebSocket-Protocol" not in ws.accept(other)


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"Sec_WebSocket_Version": "8"}, 426),
        ({"Sec_WebSocket_Version": ""}, 426),
        ({"Sec_WebSocket_Key": ""}, 400),
        ({"Sec_WebSocket_Key": "dG9vIHNob3J0"}, 400),
        ({"Sec_WebSocket_Key": "not base64 at all!!!!!=="}, 400),
        ({"Sec_WebSocket_Key": "dGhlIHNhbXBsZSBub25jZQ==, dGhlIHNhbXBsZSBub25jZQ=="}, 400),
    ],
)
def test_bad_handshakes(changes: dict[str, str], status: int) -> None:
    request = parse_head(head(**changes))
    assert request is not None
    with pytest.raises(ws.BadHandshake) as caught:
        ws.accept(request)
    assert caught.value.status == status


def test_a_batch_is_frames() -> None:
    assert text_frames(Batch("e", [])) == b""
