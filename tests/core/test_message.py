"""What may be published."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkline.core.message import Message, check_id, check_room, check_sender, with_trace
from trunkline.core.trace import Trace
from trunkline.errors import RequestError


@given(st.text())
def test_room_names(name: str) -> None:
    """Exactly 1 to 255 of the allowed characters; a path that means another one is no name."""
    allowed = 0 < len(name) <= 255 and all(c.isascii() and (c.isalnum() or c in "_.:~-") for c in name)
    if allowed and name not in (".", ".."):
        assert check_room(name) == name
    else:
        with pytest.raises(RequestError, match="room name"):
            check_room(name)


def test_ids() -> None:
    assert check_id("x" * 128, 128)
    for bad in ("", "x" * 129, "é", "a\nb", "\x7f"):
        with pytest.raises(RequestError):
            check_id(bad, 128)


def test_a_message_on_the_wire() -> None:
    """The fields, their names and their order are the protocol."""
    message = Message("general", 42, "k", None, 1763830000123, msgspec.Raw(b'{"a":1}'))
    expected = b'{"room":"general","offset":42,"id":"k","from":null,"at":1763830000123,"data":{"a":1}}'
    assert msgspec.json.encode(message) == expected
    assert message.data == {"a": 1}


def test_a_message_of_a_trace_on_the_wire() -> None:
    """Its trace stands behind what every message has."""
    message = Message("general", 42, "k", None, 5, msgspec.Raw(b"1"))
    body = '{"room":"general","offset":42,"id":"k","from":null,"at":5,"data":1,"traceparent":"p"'
    assert msgspec.json.encode(with_trace(message, Trace("p"))).decode() == body + "}"
    assert msgspec.json.encode(with_trace(message, Trace("p", "s=1"))).decode() == body + ',"tracestate":"s=1"}'


def test_senders() -> None:
    """What some store or some client could not hold is nobody's name."""
    assert check_sender(None) is None
    assert check_sender("ana é") == "ana é"
    for bad in ("", "x" * 2000, "a\nb", "\ud800"):
        with pytest.raises(RequestError, match="printable"):
            check_sender(bad)
