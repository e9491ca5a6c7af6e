"""Events as messages of a log, both ways."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkline.core.message import Message
from trunkline.transports.socketio.entry import Event, event_of, from_message, to_data


def message(data: bytes, **more: Any) -> Message:
    return Message("r", 1, "e.1", None, 0, msgspec.Raw(data), **more)


@pytest.mark.parametrize(
    ("event", "args", "data"),
    [
        ("message", ["hi"], "hi"),
        ("message", [{"text": "hi"}], {"text": "hi"}),
        ("message", [None], None),
        ("message", [], {"event": "message", "args": []}),
        ("message", [1, 2], {"event": "message", "args": [1, 2]}),
        ("news", [1, {"a": []}], {"event": "news", "args": [1, {"a": []}]}),
        ("message", [{"event": "x", "args": []}], {"event": "message", "args": [{"event": "x", "args": []}]}),
    ],
)
def test_what_stands_in_the_log(event: str, args: list[Any], data: Any) -> None:
    stored = to_data(event, args)
    assert json.loads(stored) == data
    found = from_message(message(stored))
    assert found is not None
    assert json.loads(found.json) == [event, *args]


def test_bytes_skips_and_several_rooms() -> None:
    stored = to_data("pic", [b"\x00\xff", 1], ["sid"], ["a", "b"], "name")
    assert json.loads(stored) == {
        "event": "pic",
        "args": [{"_placeholder": True, "num": 0}, 1],
        "attachments": ["AP8="],
        "skip": ["sid"],
        "rooms": ["a", "b"],
        "one": "name",
    }
    found = from_message(message(stored))
    assert found == Event(b'["pic",{"_placeholder":true,"num":0},1]', [b"\x00\xff"], ("sid",), "name")


@pytest.mark.parametrize(
    "data",
    [
        {"event": "x"},
        {"event": "x", "args": {}},
        {"event": 1, "args": []},
        {"event": "x", "args": [], "more": 1},
        {"event": "x", "args": [], "attachments": ["%"]},
        {"event": "connect", "args": []},
        {"event": "disconnect", "args": ["x"]},
        {"event": "x", "args": [{"_placeholder": True, "num": 9}], "attachments": ["AA=="]},
        {"event": "x", "args": [{"_placeholder": True, "num": 0}] * 2, "attachments": ["AA=="]},
        [1],
        "text",
        {},
    ],
)
def test_what_others_publish_is_a_message(data: Any) -> None:
    found = from_message(message(json.dumps(data).encode()))
    assert found is not None
    assert json.loads(found.json) == ["message", data]


def test_what_was_taken_away_is_no_event() -> None:
    assert from_message(message(b"null", redacted=True)) is None
    assert from_message(message(b"null", redacts=(1,))) is None


values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("ab"), inner, max_size=2),
    max_leaves=6,
)


@given(st.text(st.characters(exclude_categories=["Cs"])), st.lists(values, max_size=3))
def test_an_event_is_what_was_emitted(name: str, args: list[Any]) -> None:
    found = from_message(message(to_data(name, args)))
    assert found is not None
    assert found.json == event_of(name, args).json
