"""How somebody takes part in a room beside reading it: under which name, and whether others are told.

A *member* is who others are told of. Where users are known it is the user, with all of their tabs and devices. Where
nobody is asked it is made from the `client` id that a client gave itself, or from its connection if it gave none; the
id itself is never told, because whoever knows it can take that client's place.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from typing import NamedTuple

import msgspec

from trunkline.core.grant import Grant
from trunkline.core.json_text import check_json
from trunkline.errors import RequestError

CLIENT_ID = re.compile(r"[A-Za-z0-9_-]{8,64}\Z")
_ATTEMPT = re.compile(r"([A-Za-z0-9_-]{8,64})\.(0|[1-9][0-9]{0,14})\Z")
WISHES_MAX = 100  # one for each room
PRESENCE_BYTES_MAX = 1024  # a name, a colour and where somebody is in a document; more belongs in a room
_DEPTH_MAX = 8


class Attempt(NamedTuple):
    """Which of its connections a client says that this is.

    What was sent over a link that was cut, or to a server that was stopped, may arrive after whatever its client opened
    next: the time of arrival does not tell which of two streams is the newer one.
    """

    life: str  # of the client: what runs again counts anew
    number: int  # grows with each stream that it opens


def compare(one: Attempt | None, other: Attempt | None, unknown: int) -> int:
    """Whether *one* is older (negative), newer (positive), or the same (0): a request that somebody on its way has
    repeated, as proxies, browsers and HTTP clients do when a connection breaks. *unknown* if the client does not say.
    """
    if one is None or other is None or one.life != other.life:
        return unknown
    return one.number - other.number


class Attendance(msgspec.Struct, frozen=True, gc=False):
    """How somebody attends.

    Attributes:
        client_id: What the client calls itself, the same over all of its connections; None if it does not say.
        watch: Tell it who is there, who comes and goes, and what the others have seen.
        data: What others are told of it, as a JSON object; None if it does not want to be seen.
        rooms: Where that holds; None means everywhere.
        others: How it attends where this does not hold.
        attempt: Which of the client's connections this is, if it says so.
    """

    client_id: str | None = None
    watch: bool = False
    data: bytes | None = None
    rooms: tuple[str, ...] | None = None
    others: tuple[Attendance, ...] = ()
    attempt: Attempt | None = None

    @property
    def is_visible(self) -> bool:
        """Whether others are told of it, in some room at least."""
        return self.data is not None or any(other.data is not None for other in self.others)

    def within(self, room: str) -> Attendance:
        """How it attends this room."""
        if self.rooms is None or room in self.rooms:
            return self
        return next((other for other in self.others if room in (other.rooms or ())), Attendance(self.client_id))


NONE = Attendance()


def parse_attendance(query: Iterable[tuple[str, str]], rooms_max: int = 100) -> Attendance:
    """How a URL says that its client takes part.

    `presence=1`, `presence=watch` or `presence={"name":"Ana"}`, and behind it with `in=a,b` where that holds, if not
    everywhere. There may be several of both. `client=ID` says whose connection this is, and `attempt=LIFE.N` which one.

    Args:
        rooms_max: So many rooms may be named behind all `in=` together.

    Raises:
        RequestError: `bad_command`, `too_many_rooms`, `bad_json`, `too_large` or `too_deep`.
    """
    client_id = attempt = None
    wishes: list[tuple[str, list[str]]] = []
    for name, value in query:
        if name == "client":
            if client_id is not None:
                raise RequestError("bad_command", "client stands in the address more than once: give it once")
            client_id = value
        elif name == "attempt":
            if attempt is not None:
                raise RequestError("bad_command", "attempt stands in the address more than once: give it once")
            attempt = _parse_attempt(value)
        elif name == "presence" and value not in ("", "0", "false"):
            wishes.append((value, []))
        elif name == "in" and wishes:
            named = sum(len(rooms) for _, rooms in wishes) + value.count(",") + 1
            if named > rooms_max:
                raise RequestError("too_many_rooms", f"in names {named} rooms, at most {rooms_max} are allowed")
            wishes[-1][1].extend(value.split(","))
        if len(wishes) > WISHES_MAX:
            raise RequestError("bad_command", f"presence stands in the address more than {WISHES_MAX} times")
    if client_id is not None and CLIENT_ID.match(client_id) is None:
        raise RequestError("bad_command", "client is 8 to 64 of A-Z a-z 0-9 _ -")
    wanted = [
        Attendance(client_id, True, None if text == "watch" else check_presence(text.encode()), tuple(rooms) or None)
        for text, rooms in wishes
    ]
    if not wanted:
        return NONE if client_id is None else Attendance(client_id, attempt=attempt)
    return msgspec.structs.replace(wanted[0], others=tuple(wanted[1:]), attempt=attempt)


def _parse_attempt(text: str) -> Attempt:
    match = _ATTEMPT.match(text)
    if match is None:
        raise RequestError("bad_command", "attempt is 8 to 64 of A-Z a-z 0-9 _ -, a point, and a number")
    return Attempt(match[1], int(match[2]))


def parse_presence(text: bytes) -> Attendance:
    """The `presence` of a `join`: true, "watch", an object, or nothing.

    Raises:
        RequestError: `bad_command`.
    """
    if text in (b"false", b"null"):
        return NONE
    if text == b'"watch"':
        return Attendance(watch=True)
    return Attendance(watch=True, data=check_presence(text))


def check_presence(text: bytes) -> bytes:
    """What somebody wants others to know: a JSON object; `1` and `true` are an empty one.

    Raises:
        RequestError: `bad_command`, `bad_json`, `too_large` or `too_deep`.
    """
    text = text.strip()
    if text in (b"1", b"true"):
        return b"{}"
    text = check_json(text, PRESENCE_BYTES_MAX, _DEPTH_MAX)
    if not text.startswith(b"{"):
        raise RequestError("bad_command", 'presence is true, "watch", or an object that others are shown')
    return text


def member_of(grant: Grant, name: str) -> str:
    """What others are told of them.

    Args:
        name: The client id, or the connection's name.
    """
    return grant.user if grant.user is not None else "~" + hashlib.sha256(name.encode()).hexdigest()[:16]


def lasting_member(grant: Grant, attendance: Attendance) -> str:
    """The same for what outlives a connection.

    Raises:
        RequestError: `bad_command`: nobody could tell who this is when they are back.
    """
    if grant.user is None and attendance.client_id is None:
        raise RequestError("bad_command", "say who you are: by a token, or on an open server by ?client= in the URL")
    return member_of(grant, attendance.client_id or "")
