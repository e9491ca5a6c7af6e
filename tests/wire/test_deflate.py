"""permessage-deflate: what is agreed on, what comes out, and what is too much."""

import random
import zlib
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkline.core.close_codes import CloseCode
from trunkline.wire import websocket as ws
from trunkline.wire.deflate import RATIO_FROM_BYTES, Corrupt, Inflater, TooLarge, agree, deflate

MASK = b"\x01\x02\x03\x04"
DECLINED = None


@pytest.mark.parametrize(
    ("offers", "bits"),
    [
        (b"permessage-deflate", 15),
        (b"permessage-deflate; client_max_window_bits", 15),
        (b"permessage-deflate; client_max_window_bits=8; server_max_window_bits=12", 12),
        (b'Permessage-Deflate; server_max_window_bits="9"', 9),
        (b"permessage-deflate;server_no_context_takeover;client_no_context_takeover", 15),
        (b"x-webkit-deflate-frame, permessage-deflate", 15),
        (b"permessage-deflate; server_max_window_bits=8, permessage-deflate", 15),
        (b"", DECLINED),
        (b"permessage-bzip2", DECLINED),
        (b"permessage-deflate; server_max_window_bits=8", DECLINED),
        (b"permessage-deflate; server_max_window_bits", DECLINED),
        (b"permessage-deflate; server_max_window_bits=16", DECLINED),
        (b"permessage-deflate; server_max_window_bits=010", DECLINED),
        (b"permessage-deflate; client_max_window_bits=7", DECLINED),
        (b"permessage-deflate; client_no_context_takeover=1", DECLINED),
        (b"permessage-deflate; server_max_window_bits=10; server_max_window_bits=10", DECLINED),
        (b"permessage-deflate; colour=blue", DECLINED),
        (b"permessage-deflate;", DECLINED),
        (b"permessage-deflate; =", DECLINED),
    ],
)
def test_offers(offers: bytes, bits: int | None) -> None:
    agreement = agree(offers)
    assert (agreement.bits if agreement else DECLINED) == bits
    if agreement is not None and agreement.bits < 15:
        assert agreement.header.endswith(b"; server_max_window_bits=%d" % agreement.bits)


@given(st.binary(max_size=200))
def test_any_offer_is_answered(offers: bytes) -> None:
    agree(offers)


@given(st.binary(max_size=2000), st.integers(9, 15), st.lists(st.integers(0, 2000), max_size=5))
def test_there_and_back(data: bytes, bits: int, cuts: list[int]) -> None:
    """Whatever window it was deflated with, however it is cut."""
    small = deflate(data, bits)
    edges = [0, *sorted(min(cut, len(small)) for cut in cuts), len(small)]
    inflater = Inflater(len(data))
    pieces = [inflater.feed(small[a:b]) for a, b in pairwise(edges)]
    assert b"".join([*pieces, inflater.finish()]) == data


@given(st.binary(max_size=500))
def test_nonsense_is_refused_or_inflated_but_bounded(data: bytes) -> None:
    inflater = Inflater(1000)
    try:
        assert len(inflater.feed(data)) + len(inflater.finish()) <= 1000
    except (TooLarge, Corrupt):
        pass


def test_a_bomb_is_told_before_it_has_burst() -> None:
    """Never more than one byte over the limit is inflated."""
    bomb = deflate(b"\0" * 50_000_000, 15)
    assert len(bomb) < 60_000
    with pytest.raises(TooLarge, match="larger than 1000"):
        Inflater(1000).feed(bomb)
    with pytest.raises(TooLarge, match="times its size"):
        Inflater(1 << 30).feed(bomb)
    fine = b"[" + b"1," * (RATIO_FROM_BYTES // 2 - 10) + b"1]"
    inflater = Inflater(1 << 20)
    assert inflater.feed(deflate(fine, 15)) + inflater.finish() == fine


def test_cut_off_messages() -> None:
    small = deflate(random.Random(1).randbytes(300) + b"x" * 300, 15)
    for end in range(1, len(small)):
        inflater = Inflater(1000)
        inflater.feed(small[:end])
        with pytest.raises(Corrupt):
            inflater.finish()


def test_several_streams_in_one_message() -> None:
    """Section 7.2.3.4: a stream may be finished and another begun, but not for ever."""

    def finished(data: bytes) -> bytes:
        deflater = zlib.compressobj(wbits=-15)
        return deflater.compress(data) + deflater.flush(zlib.Z_FINISH)

    inflater = Inflater(100)
    assert inflater.feed(finished(b"Hel") + finished(b"lo") + b"\x00") + inflater.finish() == b"Hello"
    with pytest.raises(Corrupt, match="streams"):
        Inflater(1000).feed(finished(b"") * 1000)


# ── In frames ──


def receiver(size_max: int = 1000) -> ws.Receiver:
    return ws.Receiver(size_max, inflates=True)


def compressed(text: bytes, **kwargs: bool) -> bytes:
    return ws.masked_frame(ws.Opcode.TEXT, deflate(text, 15), MASK, deflated=True, **kwargs)


def test_deflated_messages() -> None:
    text = "Grüße, Grüße, Grüße".encode()
    assert receiver().feed(compressed(text)) == [ws.Text(text)]
    small = deflate(text, 15)
    frames = ws.masked_frame(ws.Opcode.TEXT, small[:5], MASK, fin=False, deflated=True)
    frames += ws.masked_frame(ws.Opcode.PING, b"", MASK)
    frames += ws.masked_frame(ws.Opcode.CONTINUATION, small[5:], MASK)
    assert receiver().feed(frames) == [ws.Ping(b""), ws.Text(text)]
    made = receiver()
    events: list[ws.Event] = []
    for byte in frames:
        events += made.feed(bytes([byte]))
    assert events == [ws.Ping(b""), ws.Text(text)]
    assert receiver().feed(ws.masked_frame(ws.Opcode.TEXT, b"", MASK, deflated=True) + b"") != []
    # What is not deflated may come in between.
    assert receiver().feed(ws.masked_frame(ws.Opcode.TEXT, b"x", MASK)) == [ws.Text(b"x")]


@pytest.mark.parametrize(
    ("frames", "code"),
    [
        (compressed(b"x" * 1001), CloseCode.TOO_BIG),
        (compressed(b"\xff\xfe" * 10), CloseCode.INVALID_PAYLOAD),
        (ws.masked_frame(ws.Opcode.TEXT, b"\x07" * 10, MASK, deflated=True), CloseCode.INVALID_PAYLOAD),
        (ws.masked_frame(ws.Opcode.PING, b"x", MASK, deflated=True), CloseCode.PROTOCOL_ERROR),
        (
            compressed(b"abc", fin=False) + ws.masked_frame(ws.Opcode.CONTINUATION, b"", MASK, deflated=True),
            CloseCode.PROTOCOL_ERROR,
        ),
        (bytes([0xE1, 0x80, *MASK]), CloseCode.PROTOCOL_ERROR),
        (ws.masked_frame(ws.Opcode.BINARY, b"x" * 1200, MASK, deflated=True), CloseCode.TOO_BIG),
    ],
)
def test_violations(frames: bytes, code: CloseCode) -> None:
    [failed] = receiver().feed(frames)
    assert isinstance(failed, ws.Failed)
    assert failed.code == code


def test_rsv1_without_an_agreement() -> None:
    """CVE-2026-59881: a deflated frame that was never agreed on is a violation, not a message."""
    [failed] = ws.Receiver(1000).feed(compressed(b"x"))
    assert isinstance(failed, ws.Failed)
    assert failed.code == CloseCode.PROTOCOL_ERROR


def test_what_cannot_be_made_smaller_is_not_deflated() -> None:
    noise = random.Random(2).randbytes(500)
    assert ws.data_frame(ws.Opcode.BINARY, noise, 15) == ws.frame(ws.Opcode.BINARY, noise)
    assert ws.data_frame(ws.Opcode.TEXT, b"short", 15) == ws.frame(ws.Opcode.TEXT, b"short")
    # And what a peer deflated all the same may be a little larger than what comes out of it.
    assert receiver(500).feed(ws.masked_frame(ws.Opcode.BINARY, deflate(noise, 15), MASK, deflated=True)) == [
        ws.Binary(noise)
    ]
