"""What may be published."""

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkline.core.message import Message, check_id, check_json, check_room
from trunkline.errors import RequestError

FLOATS = st.floats(allow_nan=False, allow_infinity=False)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | FLOATS | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)  # fmt: skip


@given(JSON, st.sampled_from([None, 2]))
def test_all_json_is_welcome(value: object, indent: int | None) -> None:
    """Whatever json writes is accepted, keeps its meaning, and comes out in one line."""
    text = json.dumps(value, indent=indent, ensure_ascii=False).encode()
    checked = check_json(text, 1 << 20, 32)
    assert b"\n" not in checked
    assert json.loads(checked) == json.loads(text)


@pytest.mark.parametrize(
    ("text", "code"),
    [
        (b"", "bad_json"), (b"nope", "bad_json"), (b'"a', "bad_json"), (b"[1,]", "bad_json"), (b"01", "bad_json"),
        (b"NaN", "bad_json"), (b"1e999", "bad_json"), (b'"\xff"', "bad_json"), (b'"\\ud800"', "bad_json"),
        (b"1 2", "bad_json"), (b'"a\nb"', "bad_json"), (b"\xef\xbb\xbf1", "bad_json"),
        (b"[" * 33 + b"]" * 33, "too_deep"), (b"[" * 100_000, "too_large"), (b"[" * 60_000, "too_deep"),
        (b'{"a":' * 40 + b"1" + b"}" * 40, "too_deep"), (b'"' + b"x" * 65_536 + b'"', "too_large"),
    ],
)  # fmt: skip
def test_what_is_refused(text: bytes, code: str) -> None:
    """What some reader's parser could choke on never gets into a log."""
    with pytest.raises(RequestError) as caught:
        check_json(text, 65_536, 32)
    assert caught.value.code == code


def test_brackets_in_strings_are_not_depth() -> None:
    text = json.dumps(["[{" * 40, '\\"[[[' * 20]).encode()
    assert check_json(text, 65_536, 32) == text
    assert check_json(b"[" * 32 + b"]" * 32, 65_536, 32)


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
