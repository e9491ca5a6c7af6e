"""The rooms of Socket.IO as rooms of ours: their names, both ways.

    sio:NAMESPACE:ROOM    the room of a namespace; NAMESPACE without its slash, so the default one is empty
    sio:NAMESPACE:        everyone in that namespace
    $sio:NAMESPACE:SID    one socket alone: its id is the name of a room, which nobody else may read

With plain names a room of the default namespace is the room of that name: `general` is `general`.

A room of Socket.IO may have any name. What a room of ours may not have in its name is written as `~` and two hex digits
for each byte of UTF-8, and so is `~`; of a name that is too long then, the end is a hash.
"""

from __future__ import annotations

import hashlib
import re

from trunkline.core.message import ROOM_NAME, SYSTEM_PREFIX

PREFIX = "sio:"
OWN_PREFIX = f"{SYSTEM_PREFIX}{PREFIX}"
NAME_MAX = 255

_SID = re.compile(r"[0-9a-f]{1,64}\.[A-Za-z0-9_-]{20}\Z")
_ESCAPED = re.compile(r"[^A-Za-z0-9_.-]")
_HASH_CHARACTERS = 32


def is_sid(room: str) -> bool:
    """Return whether a name has the form of a socket's id: its node, and 120 random bits."""
    return _SID.match(room) is not None


def log_room(namespace: str, room: str, *, plain: bool = False) -> str:
    """Return the name of our room for a room of Socket.IO.

    Args:
        namespace: With its slash.
        room: Its name; empty for everyone in the namespace.
        plain: Name rooms of the default namespace as they are named there, where that is possible.
    """
    if is_sid(room):
        return _short(f"{OWN_PREFIX}{_escape(namespace[1:])}:{room}")
    if plain and namespace == "/" and room and _is_plain(room):
        return room
    return _short(f"{PREFIX}{_escape(namespace[1:])}:{_escape(room)}")


def _is_plain(room: str) -> bool:
    return ROOM_NAME.match(room) is not None and not room.startswith(PREFIX)


def _escape(text: str) -> str:
    return _ESCAPED.sub(lambda found: "".join(f"~{byte:02X}" for byte in found[0].encode("utf-8", "replace")), text)


def _short(name: str) -> str:
    if len(name) <= NAME_MAX:
        return name
    digest = hashlib.sha256(name.encode()).hexdigest()[:_HASH_CHARACTERS]
    return f"{name[: NAME_MAX - _HASH_CHARACTERS - 1]}~{digest}"
