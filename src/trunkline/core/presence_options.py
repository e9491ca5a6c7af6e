"""What a client asks of presence in the rooms that it reads: whether it is shown, and whether it watches.

A *member* is the name under which clients are shown to others. With authentication it is the user, with all of their
tabs and devices. Without it, it is made from the `client` id that a client gave itself, or from its session; the id
itself is never told, because a client that knows it could take the other's place.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable

import msgspec

from trunkline.core.attempt import Attempt, parse_attempt
from trunkline.core.grant import Grant
from trunkline.core.json_text import check_json
from trunkline.errors import RequestError

CLIENT_ID = re.compile(r"[A-Za-z0-9_-]{8,64}\Z")
OPTIONS_MAX = 100  # in one URL: one for each room
PRESENCE_BYTES_MAX = 1024  # a name, a colour and a place in a document; more belongs in a room
_DEPTH_MAX = 8


class PresenceOptions(msgspec.Struct, frozen=True, gc=False):
    """What a URL or a command asks of presence, and the names that the client gives itself.

    Attributes:
        client_id: The client's own name, the same over all of its connections; None if it gives none.
        watch: Tell the client who is present, who joins and leaves, and the read marks of the members.
        data: The JSON object that the members are shown of this client; None if it is not to be shown.
        rooms: The rooms for which this holds; None means all.
        other_rooms: The options for rooms that are not in *rooms*.
        attempt: Which of the client's streams this is, if it says so.
    """

    client_id: str | None = None
    watch: bool = False
    data: bytes | None = None
    rooms: tuple[str, ...] | None = None
    other_rooms: tuple[PresenceOptions, ...] = ()
    attempt: Attempt | None = None

    @property
    def is_visible(self) -> bool:
        """Whether the members of a room are told of this client."""
        return self.data is not None or any(options.data is not None for options in self.other_rooms)

    def for_room(self, room: str) -> PresenceOptions:
        """Return the options for one room."""
        if self.rooms is None or room in self.rooms:
            return self
        return next(
            (options for options in self.other_rooms if room in (options.rooms or ())), PresenceOptions(self.client_id)
        )


NO_PRESENCE = PresenceOptions()


def parse_presence_options(query: Iterable[tuple[str, str]], rooms_max: int = 100) -> PresenceOptions:
    """Parse what a URL asks of presence.

    `presence=1`, `presence=watch` or `presence={"name":"Ana"}`, and behind it with `in=a,b` the rooms for which that
    holds, if not for all. There may be several of both. `client=ID` names the client, and `attempt=LIFE.N` the stream.

    Args:
        rooms_max: How many rooms all `in=` together may name.

    Raises:
        RequestError: `bad_command`, `too_many_rooms`, `bad_json`, `too_large` or `too_deep`.
    """
    client_id = attempt = None
    wanted_in: list[tuple[str, list[str]]] = []
    for name, value in query:
        if name == "client":
            client_id = value
        elif name == "attempt":
            attempt = parse_attempt(value)
        elif name == "presence" and value not in ("", "0", "false"):
            wanted_in.append((value, []))
        elif name == "in" and wanted_in:
            named = sum(len(rooms) for _, rooms in wanted_in) + value.count(",") + 1
            if named > rooms_max:
                raise RequestError("too_many_rooms", f"in names {named} rooms, at most {rooms_max} are allowed")
            wanted_in[-1][1].extend(value.split(","))
        if len(wanted_in) > OPTIONS_MAX:
            raise RequestError("bad_command", f"presence stands in the address more than {OPTIONS_MAX} times")
    if client_id is not None and CLIENT_ID.match(client_id) is None:
        raise RequestError("bad_command", "client is 8 to 64 of A-Z a-z 0-9 _ -")
    options = [
        PresenceOptions(
            client_id, True, None if text == "watch" else check_presence(text.encode()), tuple(rooms) or None
        )
        for text, rooms in wanted_in
    ]
    if not options:
        return NO_PRESENCE if client_id is None else PresenceOptions(client_id, attempt=attempt)
    return msgspec.structs.replace(options[0], other_rooms=tuple(options[1:]), attempt=attempt)


def parse_presence(text: bytes) -> PresenceOptions:
    """Parse the `presence` of a `join`: true, "watch", an object, or nothing.

    Raises:
        RequestError: `bad_command`.
    """
    if text in (b"false", b"null"):
        return NO_PRESENCE
    if text == b'"watch"':
        return PresenceOptions(watch=True)
    return PresenceOptions(watch=True, data=check_presence(text))


def check_presence(text: bytes) -> bytes:
    """Return what the members are to be shown: a JSON object; `1` and `true` are an empty one.

    Raises:
        RequestError: `bad_command`, `bad_json`, `too_large` or `too_deep`.
    """
    text = text.strip()
    if text in (b"1", b"true"):
        return b"{}"
    text = check_json(text, PRESENCE_BYTES_MAX, _DEPTH_MAX)
    if not text.startswith(b"{"):
        raise RequestError("bad_command", 'presence is true, "watch", or an object that members are shown')
    return text


def member_of(grant: Grant, name: str) -> str:
    """Return the member's name.

    Args:
        name: The client id, or the session's name.
    """
    return grant.user if grant.user is not None else "~" + hashlib.sha256(name.encode()).hexdigest()[:16]


def lasting_member(grant: Grant, client_id: str | None) -> str:
    """Return the member's name for what outlives a connection.

    Raises:
        RequestError: `bad_command`: neither a user nor a client id would name the member when the client is back.
    """
    if grant.user is None and client_id is None:
        raise RequestError("bad_command", "name the client by a token or, without authentication, by ?client=ID")
    return member_of(grant, client_id or "")
