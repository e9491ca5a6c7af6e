"""Batches as packets: who is given what, once."""

from __future__ import annotations

import msgspec

from trunkline.core.batch import Batch
from trunkline.core.message import Message
from trunkline.transports.socketio.entry import Event, to_data
from trunkline.transports.socketio.formats import format_of, packets_of


def batch(*data: bytes) -> Batch:
    return Batch("e", [Message("r", n, f"e.{n}", None, 0, msgspec.Raw(one)) for n, one in enumerate(data, 1)])


def test_all_sockets_of_a_namespace_share_one_encoding() -> None:
    assert format_of("/a") is format_of("/a")
    assert format_of("/a") is not format_of("/b")
    both = batch(to_data("x", [1]), to_data("y", [b"z"]))
    encoded = both.encoded(format_of("/a"))
    assert both.encoded(format_of("/a")) is encoded
    assert encoded.is_for_all
    assert encoded.packets == ['42/a,["x",1]', '451-/a,["y",{"_placeholder":true,"num":0}]', b"z"]
    assert encoded.frames.startswith(b"\x81\x0c42/a,")


def test_some_are_left_out() -> None:
    encoded = batch(to_data("x", [], skip=["me"]), to_data("y", [])).encoded(format_of("/"))
    assert not encoded.is_for_all
    assert encoded.packets_for(lambda event: "me" not in event.skip) == ['42["y"]']
    assert encoded.packets_for(lambda event: "you" not in event.skip) == ['42["x"]', '42["y"]']


def test_one_more_argument_and_an_acknowledgement() -> None:
    assert packets_of("/", Event(b'["x",1]'), b'"0:5"') == ['42["x",1,"0:5"]']
    assert packets_of("/n", Event(b'["x"]'), number=7) == ['42/n,7["x"]']
