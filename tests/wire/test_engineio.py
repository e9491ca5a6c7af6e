"""Packets of Engine.IO 4, and payloads of them."""

from __future__ import annotations

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkline.wire import engineio as wire
from trunkline.wire.engineio import Address, BadPacket, BadRequest, Packet

BOTH = ("polling", "websocket")
texts = st.text(st.characters(exclude_characters=wire.SEPARATOR, exclude_categories=["Cs"]))
packets = st.one_of(
    st.builds(Packet, st.sampled_from("12345"), texts),
    st.builds(Packet, st.just(wire.MESSAGE), st.binary()),
)


@given(st.lists(packets, min_size=1, max_size=20))
def test_a_payload_is_what_was_put_in(sent: list[Packet]) -> None:
    assert wire.decode_payload(wire.encode_payload(sent), 20) == sent


@given(st.text())
def test_whatever_comes_is_a_payload_or_refused(text: str) -> None:
    try:
        found = wire.decode_payload(text, 10)
    except BadPacket:
        return
    assert all(packet.type in "12345" for packet in found)


@pytest.mark.parametrize("text", ["", "0", "0{}", "6", "7", "abc", "é", "b%%%", "bAQ", "4a\x1e", "\x1e4a"])
def test_what_no_client_sends(text: str) -> None:
    with pytest.raises(BadPacket):
        wire.decode_payload(text, 10)


def test_base64_may_have_line_breaks() -> None:
    """Java's client writes them (RFC 2045 section 6.8)."""
    data = bytes(range(256))
    assert wire.decode_payload(f"b{base64.encodebytes(data).decode()}", 1) == [Packet(wire.MESSAGE, data)]
    assert wire.decode_payload("bAQID/w==\r\n\x1e4x", 2) == [Packet("4", b"\x01\x02\x03\xff"), Packet("4", "x")]


def test_a_payload_has_only_so_many_packets() -> None:
    assert len(wire.decode_payload("\x1e".join(["3"] * 5), 5)) == 5
    with pytest.raises(BadPacket, match="more than 4"):
        wire.decode_payload("\x1e".join(["3"] * 5), 4)


def test_an_address_names_a_session_or_opens_one() -> None:
    assert wire.parse_address([("EIO", "4"), ("transport", "polling")], BOTH) == Address("polling", None)
    given_sid = [("transport", "websocket"), ("sid", "a.b"), ("EIO", "4"), ("sid", "c")]
    assert wire.parse_address(given_sid, BOTH) == Address("websocket", "a.b")
    assert wire.parse_address([("EIO", "4"), ("transport", "polling"), ("sid", "")], BOTH).sid is None


@pytest.mark.parametrize(
    ("parameters", "number"),
    [
        ([], 0),
        ([("EIO", "4")], 0),
        ([("EIO", "4"), ("transport", "carrier pigeon")], 0),
        ([("transport", "polling")], 5),
        ([("EIO", "3"), ("transport", "polling")], 5),
        ([("EIO", "4.0"), ("transport", "polling")], 5),
    ],
)
def test_an_address_of_something_else(parameters: list[tuple[str, str]], number: int) -> None:
    with pytest.raises(BadRequest) as raised:
        wire.parse_address(parameters, BOTH)
    assert raised.value.number == number
    assert json.loads(raised.value.body) == {"code": number, "message": str(raised.value)}


def test_a_transport_that_is_not_served_is_unknown() -> None:
    with pytest.raises(BadRequest, match="Transport unknown"):
        wire.parse_address([("EIO", "4"), ("transport", "polling")], ("websocket",))


def test_the_handshake_is_in_milliseconds() -> None:
    kind, text = wire.handshake("s", ["websocket"], 300, 200, 1000)
    assert kind == "0"
    assert isinstance(text, str)
    told = {"sid": "s", "upgrades": ["websocket"], "pingInterval": 300, "pingTimeout": 200, "maxPayload": 1000}
    assert json.loads(text) == told
