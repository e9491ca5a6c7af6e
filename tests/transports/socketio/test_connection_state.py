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
    tag_of,
)

STATE = ConnectionState("sid", "/", "ana", "n.1", [Joined(0, "", "all", "e", 5), Joined(3, "news", "n", "f", 10)], 4)


def test_the_record_is_what_was_kept() -> None:
    assert decode(encode(STATE)) == STATE
    assert decode(b"\xc1") is None
    assert decode(encode(STATE)[:-1]) is None


def test_a_client_goes_on_behind_what_it_was_given() -> None:
    progress = Progress("tag")
    progress.join("log of all", 0, 5)
    progress.join("log of news", 3, 10)
    assert json.loads(progress.json) == "tag/"
    progress.move("log of news", 12)
    progress.move("log of all", 6)
    progress.move("another", 99)
    moved = parse_offset(json.loads(progress.json), "tag")
    assert moved == {3: 2, 0: 1}
    assert STATE.starts(moved) == {"": Start("after", 6, "e"), "news": Start("after", 12, "f")}
    progress.leave("log of news")
    assert json.loads(progress.json) == "tag/0:1"


def test_without_an_offset_it_goes_on_where_it_has_joined() -> None:
    assert parse_offset("", "tag") == {}
    assert STATE.starts({}) == {"": Start("after", 5, "e"), "news": Start("after", 10, "f")}


@pytest.mark.parametrize("text", ["x", "1", "1:", ":1", "1:2;3:4", "-1:2", "1:-2", "1:2,,3:4", "1:" + "9" * 20, "1:2 "])
def test_what_is_no_offset(text: str) -> None:
    assert parse_offset(f"tag/{text}", "tag") is None


@pytest.mark.parametrize("text", ["other/0:5", "hello", "0:5", "tagged/0:5", "/0:5"])
def test_what_a_client_was_told_of_another_socket_counts_as_nothing(text: str) -> None:
    """socket.io-client keeps the last offset when it is given another socket; any text may end an event."""
    assert parse_offset(text, "tag") == {}
    assert tag_of("a") != tag_of("b")


def test_an_offset_has_a_bound() -> None:
    assert parse_offset("tag/" + "1:1," * 2000, "tag") is None


@given(st.text())
def test_whatever_comes_is_an_offset_or_none(text: str) -> None:
    found = parse_offset(f"tag/{text}", "tag")
    assert found is None or all(number >= 0 and moved >= 0 for number, moved in found.items())
