"""Packets of Socket.IO 5, with bytes in them."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkline.wire import socketio as wire
from trunkline.wire.socketio import BadPacket, Decoder, Packet, Type


def decoder() -> Decoder:
    return Decoder(10_000, 10, 32)


def decode(*messages: str | bytes) -> Packet | None:
    one, found = decoder(), None
    for message in messages:
        assert found is None, "it was complete before"
        found = one.feed(message)
    return found


numbers = st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False)
plain = st.none() | st.booleans() | numbers | st.text(st.characters(exclude_categories=["Cs"]))
keys = st.text(st.characters(exclude_categories=["Cs"])).filter(lambda key: key != wire.PLACEHOLDER)
values = st.recursive(
    plain | st.binary(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3),
    max_leaves=8,
)
namespaces = st.sampled_from(["/", "/chat", "/a/b", "/ü-1"])
events = st.builds(
    lambda name, args: [name, *args],
    st.text(st.characters(exclude_categories=["Cs"])).filter(lambda name: name not in wire.RESERVED),
    st.lists(values, max_size=3),
)
packets = st.one_of(
    st.builds(Packet, st.just(Type.EVENT), namespaces, st.none() | st.integers(0, 2**53 - 1), events),
    st.builds(Packet, st.just(Type.ACK), namespaces, st.integers(0, 2**53 - 1), st.lists(values, max_size=3)),
    st.builds(Packet, st.just(Type.DISCONNECT), namespaces, st.none(), st.none()),
    st.builds(Packet, st.just(Type.CONNECT), namespaces, st.none(), st.none() | st.dictionaries(keys, plain)),
)


@given(packets)
def test_a_packet_is_what_was_put_in(packet: Packet) -> None:
    messages = wire.encode(packet)
    assert decode(*messages) == packet


@given(st.lists(st.text() | st.binary(), max_size=4))
def test_whatever_comes_is_a_packet_or_refused(messages: list[str | bytes]) -> None:
    one = decoder()
    for message in messages:
        try:
            found = one.feed(message)
        except BadPacket:
            return
        assert found is None or found.type in (Type.CONNECT, Type.DISCONNECT, Type.EVENT, Type.ACK)


@pytest.mark.parametrize(
    ("text", "packet"),
    [
        ("0", Packet(Type.CONNECT)),
        ('0{"a":1}', Packet(Type.CONNECT, "/", None, {"a": 1})),
        ("0/admin,", Packet(Type.CONNECT, "/admin")),
        ("0/admin", Packet(Type.CONNECT, "/admin")),
        ('0/admin?token=x,{"a":1}', Packet(Type.CONNECT, "/admin", None, {"a": 1})),
        ("1/admin,", Packet(Type.DISCONNECT, "/admin")),
        ('2["a",1]', Packet(Type.EVENT, "/", None, ["a", 1])),
        ('2/admin,456["b"]', Packet(Type.EVENT, "/admin", 456, ["b"])),
        ('212["a"]', Packet(Type.EVENT, "/", 12, ["a"])),
        ("3/admin,0[]", Packet(Type.ACK, "/admin", 0, [])),
        ('50-["a"]', Packet(Type.EVENT, "/", None, ["a"])),
    ],
)
def test_texts(text: str, packet: Packet) -> None:
    assert decode(text) == packet


def test_attachments_take_their_places() -> None:
    text = '52-/n,7["a",{"_placeholder":true,"num":1},{"b":[{"_placeholder":true,"num":0}]}]'
    assert decode(text, b"zero", b"one") == Packet(Type.EVENT, "/n", 7, ["a", b"one", {"b": [b"zero"]}])
    assert wire.encode(Packet(Type.ACK, "/", 3, [b"x"])) == ['61-3[{"_placeholder":true,"num":0}]', b"x"]


@pytest.mark.parametrize(
    "messages",
    [
        [""],
        ["7"],
        ["abc"],
        ["2"],
        ["2{}"],
        ["2[]"],
        ["2[null]"],
        ['2["connect"]'],
        ['2["disconnect"]'],
        ['2["a"'],
        ['2abc["a"]'],
        ["21"],
        ["3[]"],
        ["3{}"],
        ["30"],
        ["0[]"],
        ['05{"a":1}'],
        ["1[1]"],
        ["11"],
        ['4{"message":"no"}'],
        ['5["a"]'],
        ['21-["a"]'],
        ['511-["a"]'],
        ['51-["a",{"_placeholder":true,"num":1}]', b"x"],
        ['51-["a",{"_placeholder":true,"num":-1}]', b"x"],
        ['51-["a",{"_placeholder":true,"num":"0"}]', b"x"],
        ['51-["a",{"_placeholder":true,"num":0}]', '2["b"]'],
        ['51-["a",{"_placeholder":true,"num":0},{"_placeholder":true,"num":0}]', b"x"],
        ['51-["a",{"_placeholder":true,"num":0}]', b"x" * 10_001],
        [b"bytes"],
        ['2["a",' + "[" * 33 + "]" * 33 + "]"],
        ['2["a",' + "[" * 100_000],
        ['29999999999999999["a"]'],
    ],
)
def test_what_no_client_sends(messages: list[str | bytes]) -> None:
    one = decoder()

    def feed() -> None:
        for message in messages:
            one.feed(message)

    with pytest.raises(BadPacket):
        feed()


def test_a_decoder_goes_on_after_bytes() -> None:
    one = decoder()
    assert one.feed('51-["a",{"_placeholder":true,"num":0}]') is None
    assert one.feed(b"x") == Packet(Type.EVENT, "/", None, ["a", b"x"])
    assert one.feed('2["b"]') == Packet(Type.EVENT, "/", None, ["b"])


@pytest.mark.parametrize("data", [[object()], [{1, 2, object()}]])
def test_what_cannot_be_json_is_said_to_the_caller(data: Any) -> None:
    with pytest.raises(TypeError):
        wire.encode(Packet(Type.EVENT, "/", None, ["a", data]))


def test_what_contains_itself_is_said_to_the_caller() -> None:
    loop: list[Any] = []
    loop.append(loop)
    with pytest.raises(RecursionError):
        wire.encode(Packet(Type.EVENT, "/", None, ["a", loop]))
