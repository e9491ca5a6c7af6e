"""Rooms of Socket.IO as rooms of ours."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkline.core.message import check_room
from trunkline.transports.socketio.names import is_sid, log_room

SID = "1a2b3c4d.ABCDEFGHIJKLMNOPQRS_"


@pytest.mark.parametrize(
    ("namespace", "room", "plain", "name"),
    [
        ("/", "general", False, "sio::general"),
        ("/", "general", True, "general"),
        ("/", "", True, "sio::"),
        ("/chat", "", False, "sio:chat:"),
        ("/chat", "general", True, "sio:chat:general"),
        ("/a/b", "c:d", False, "sio:a~2Fb:c~3Ad"),
        ("/", "c:d", True, "c:d"),
        ("/", "två rum", True, "sio::tv~C3~A5~20rum"),
        ("/", "sio::general", True, "sio::sio~3A~3Ageneral"),
        ("/", "$overview", True, "sio::~24overview"),
        ("/", "..", True, "sio::.."),
        ("/", SID, True, f"$sio::{SID}"),
        ("/chat", SID, False, f"$sio:chat:{SID}"),
    ],
)
def test_names(namespace: str, room: str, plain: bool, name: str) -> None:
    assert log_room(namespace, room, plain=plain) == name


rooms = st.text(st.characters(exclude_categories=["Cs"]), max_size=300)


@given(rooms, rooms)
def test_every_name_is_one_of_ours(namespace: str, room: str) -> None:
    check_room(log_room(f"/{namespace}", room).removeprefix("$"))


@given(rooms, rooms, rooms, rooms)
def test_two_rooms_are_never_one(namespace: str, room: str, other_namespace: str, other: str) -> None:
    same = (namespace, room) == (other_namespace, other)
    assert (log_room(f"/{namespace}", room) == log_room(f"/{other_namespace}", other)) is same


def test_ids_of_sockets() -> None:
    assert is_sid(SID)
    assert not any(map(is_sid, ["", "general", "1a2b.short", f"{SID}x", SID.replace("1a", "zz"), f"x{SID}"]))
