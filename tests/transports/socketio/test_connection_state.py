"""What is kept of a socket, and how far its client says that it has come."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkline.core.position import Start
from trunkline.transports.socketio.connection_state import (
    ConnectionState,
    Joined,
    Progress,
    decode,
    encode,
    parse_offset,
)

STATE = ConnectionState("sid", "/", "ana", "n.1", [Joined(0, "", "e", 5), Joined(3, "news", "f", 10)], 4)


def test_the_record_is_what_was_kept() -> None:
    assert decode(encode(STATE)) == STATE
    assert decode(b"\xc1") is None
    assert decode(encode(STATE)[:-1]) is None


def test_a_client_goes_on_behind_what_it_was_given() -> None:
    progress = Progress()
    progress.join("log of all", 0, 5)
    progress.join("log of news", 3, 10)
    assert json.loads(progress.json) == ""
    progress.move("log of news", 12)
    progress.move("log of all", 6)
    progress.move("another", 99)
    moved = parse_offset(json.loads(progress.json))
    assert moved == {3: 2, 0: 1}
    assert STATE.starts(moved) == {"": Start("after", 6, "e"), "news": Start("after", 12, "f")}
    progress.leave("log of news")
    assert json.loads(progress.json) == "0:1"


def test_without_an_offset_it_goes_on_where_it_has_joined() -> None:
    assert parse_offset("") == {}
    assert STATE.starts({}) == {"": Start("after", 5, "e"), "news": Start("after", 10, "f")}


@pytest.mark.parametrize("text", ["x", "1", "1:", ":1", "1:2;3:4", "-1:2", "1:-2", "1:2,,3:4", "1:" + "9" * 20, "1:2 "])
def test_what_is_no_offset(text: str) -> None:
    assert parse_offset(text) is None


def test_an_offset_has_a_bound() -> None:
    assert parse_offset("1:1," * 2000) is None


@given(st.text())
def test_whatever_comes_is_an_offset_or_none(text: str) -> None:
    found = parse_offset(text)
    assert found is None or all(number >= 0 and moved >= 0 for number, moved in found.items())
