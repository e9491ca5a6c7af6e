"""The commands of one connection, and what is decided on each.

A session takes a command and returns a decision; the transport carries it out and never decides by itself. It holds
no time, no socket and no room: the names of the rooms it joined are all it needs to know. The commands are the table
at the end of this file: a name, and what parses the fields and decides. A decision that must be permitted names the
action that it needs.

A session has a grant or it has none yet. Without one, the commands `auth` and `ping` are all that it may use.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import msgspec

from trunkline.core.call import check_call_name
from trunkline.core.grant import Action, Grant
from trunkline.core.limits import Limits
from trunkline.core.message import check_id, check_readable_room, check_room, check_rooms
from trunkline.core.position import NOW, Start, parse_start
from trunkline.core.presence_options import NO_PRESENCE, PresenceOptions, parse_presence
from trunkline.core.read_mark import check_offset
from trunkline.core.signal import check_signal
from trunkline.core.trace import Trace, parse_trace
from trunkline.errors import RequestError

BEFORE_GRANT = frozenset({"auth", "ping"})


class Command(msgspec.Struct):
    """What a client sends: one JSON object, read by its `type`. Unknown fields are ignored."""

    type: str
    room: str | None = None
    id: str | None = None
    data: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    text: str | None = None
    since: str | int | None = None
    last: str | int | None = None
    token: str | None = None
    presence: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    name: str | None = None
    offset: int | None = None
    rooms: list[str] | None = None
    traceparent: str | None = None
    tracestate: str | None = None

    def __repr__(self) -> str:
        return f"Command({self.type!r}, room={self.room!r}, id={self.id!r})"  # a log is no place for the rest


class Authenticate(msgspec.Struct, gc=False):
    """Verify a token."""

    token: str

    def __repr__(self) -> str:
        return "Authenticate()"  # a log is no place for it


class Join(msgspec.Struct):
    """Start reading *room* at *start*."""

    room: str
    start: Start
    presence: PresenceOptions = NO_PRESENCE


class Rejoin(msgspec.Struct, gc=False):
    """The room is joined already and no position was asked for: say again where it stands.

    Attributes:
        presence: None if the command does not mention it: then it stays as it is.
    """

    room: str
    presence: PresenceOptions | None = None


class Leave(msgspec.Struct, gc=False):
    """Stop reading *room*."""

    room: str


class Publish(msgspec.Struct, gc=False):
    """Append to *room*, if that is permitted and *json* is what it should be (`check_json`); ack once it is stored.

    The check costs more than all other decisions, so it comes after the permission.
    """

    needs: ClassVar[Action] = "write"
    name: ClassVar[str] = "message"

    room: str
    id: str | None
    json: bytes
    trace: Trace | None = None


class SendSignal(msgspec.Struct, gc=False):
    """Send a signal to the room's readers, if that is permitted."""

    needs: ClassVar[Action] = "signal"
    name: ClassVar[str] = "signal"

    room: str
    signal: str
    json: bytes


class MarkSeen(msgspec.Struct, gc=False):
    """Move the member's read mark forward, if they may read the room."""

    needs: ClassVar[Action] = "read"
    name: ClassVar[str] = "seen"

    room: str
    offset: int


class CountUnread(msgspec.Struct):
    """Count what the member has not seen of these rooms."""

    rooms: tuple[str, ...]


class MakeCall(msgspec.Struct, gc=False):
    """Have a handler of the application carry a call out."""

    call: str
    id: str
    json: bytes


class Pong(msgspec.Struct, gc=False):
    """Answer an application-level ping."""


class Refuse(msgspec.Struct):
    """Answer with an error; nothing else happens."""

    error: RequestError
    id: str | None = None
    room: str | None = None


Decision = (
    Authenticate | Join | Rejoin | Leave | Publish | SendSignal | MarkSeen | CountUnread | MakeCall | Pong | Refuse
)  # fmt: skip


class Session:
    """One connection's commands, in order.

    Args:
        id: A short random name for logs and `welcome`.
        grant: The user and the permissions; None until the client has authenticated itself.
    """

    __slots__ = ("_limits", "grant", "id", "rooms")

    def __init__(self, id: str, grant: Grant | None, limits: Limits) -> None:  # noqa: A002 - its name on the wire
        self.id = id
        self.grant = grant
        self.rooms: tuple[str, ...] = ()
        self._limits = limits

    def receive(self, command: Command) -> Decision:
        """Decide one command. Never raises for what a client can send."""
        decide = COMMANDS.get(command.type)
        try:
            if self.grant is None and command.type not in BEFORE_GRANT:
                raise RequestError("unauthorized", "authenticate first: auth {token}")
            if decide is None:
                known = ", ".join(COMMANDS)
                raise RequestError("unknown_type", f"no command has that type; there are {known}")
            return decide(self, command)
        except RequestError as error:
            return Refuse(error, command.id, command.room)

    def forget(self, room: str) -> None:
        """Forget a room that could not be joined after all, or was left."""
        self.rooms = tuple(name for name in self.rooms if name != room)

    # The commands. Each raises RequestError for what it will not do.

    def auth(self, command: Command) -> Decision:
        """Decide `auth {token}`: a token, or a newer one of the same user."""
        if not command.token:
            raise RequestError("bad_command", "auth has a token")
        return Authenticate(command.token)

    def join(self, command: Command) -> Decision:
        """Decide `join {room, since?|last?, presence?}`."""
        if command.room is None:
            raise RequestError("room_required", "join names a room")
        room = check_readable_room(command.room)
        start = parse_start(command.since, command.last, NOW)
        presence = None
        if command.presence is not msgspec.UNSET:
            presence = parse_presence(bytes(command.presence))
        if room in self.rooms and command.since is None and command.last is None:
            return Rejoin(room, presence)
        presence = presence or NO_PRESENCE
        if room in self.rooms:
            return Join(room, start, presence)
        if len(self.rooms) >= self._limits.rooms_per_connection_max:
            most = self._limits.rooms_per_connection_max
            raise RequestError("too_many_rooms", f"a connection joins at most {most} rooms; leave one first")
        self.rooms = (*self.rooms, room)
        return Join(room, start, presence)

    def leave(self, command: Command) -> Decision:
        """Decide `leave {room?}`."""
        room = self._room_of(command)
        if room not in self.rooms:
            raise RequestError("not_joined", "this connection has not joined that room")
        self.forget(room)
        return Leave(room)

    def message(self, command: Command) -> Decision:
        """Decide `message {room?, id?, data|text, traceparent?, tracestate?}`."""
        room = self._room_of(command)
        if command.id is not None:
            check_id(command.id, self._limits.id_bytes_max)
        if command.data is not msgspec.UNSET:
            text = bytes(command.data)
        elif command.text is not None:
            text = msgspec.json.encode({"text": command.text})
        else:
            raise RequestError("bad_command", "a message has data, or text as short for data: {text: …}")
        if command.traceparent is None:
            return Publish(room, command.id, text)
        return Publish(room, command.id, text, parse_trace(command.traceparent, command.tracestate))

    def signal(self, command: Command) -> Decision:
        """Decide `signal {room?, name, data?}`."""
        data = None if command.data is msgspec.UNSET else bytes(command.data)
        return SendSignal(self._room_of(command), *check_signal(command.name, data))

    def seen(self, command: Command) -> Decision:
        """Decide `seen {room?, offset}`."""
        offset = check_offset(command.offset)
        return MarkSeen(check_room(self._room_of(command)), offset)

    def unread(self, command: Command) -> Decision:
        """Decide `unread {rooms?}`: of the joined rooms, if none are named."""
        if command.rooms is None:
            return CountUnread(self.rooms)
        return CountUnread(check_rooms(command.rooms, self._limits.rooms_per_connection_max))

    def call(self, command: Command) -> Decision:
        """Decide `call {id, name, data?}`."""
        name = check_call_name(command.name)
        if command.id is None:
            raise RequestError("bad_id", "a call has an id, by which its result is told, and a repeat recognised")
        data = b"null" if command.data is msgspec.UNSET else bytes(command.data)
        return MakeCall(name, check_id(command.id, self._limits.id_bytes_max), data)

    def ping(self, command: Command) -> Decision:
        """Decide `ping`: for clients that cannot see WebSocket's own."""
        return Pong()

    def _room_of(self, command: Command) -> str:
        room = command.room
        if room is not None:
            return room if room in self.rooms else check_room(room)
        if len(self.rooms) != 1:
            raise RequestError(
                "room_required",
                f"name the room: it may be left out when one is joined, not {len(self.rooms)}",
            )
        return self.rooms[0]


COMMANDS: dict[str, Callable[[Session, Command], Decision]] = {
    "auth": Session.auth,
    "call": Session.call,
    "join": Session.join,
    "leave": Session.leave,
    "message": Session.message,
    "ping": Session.ping,
    "seen": Session.seen,
    "signal": Session.signal,
    "unread": Session.unread,
}
