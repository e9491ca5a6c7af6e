"""Rooms for clients of Socket.IO without an application: events that join rooms, leave them, and publish.

    emit("join", "general")                            or {room, since?, last?}: what it holds comes as events
    emit("leave", "general")
    emit("message", {room, data, id?})                 or {room, text, id?}

Each is acknowledged: with what it has led to, or with `{"error": {"code", "message"}}`. What a room holds comes as
`message` with its data and what the log knows of it: `{room, offset, id, from, at}`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from trunkline.core.json_text import check_json
from trunkline.core.message import Draft, Message, Receipt, check_id, check_room
from trunkline.core.position import NOW, parse_start
from trunkline.core.rate import work
from trunkline.errors import RequestError, TrunklineError
from trunkline.transports.context import Context
from trunkline.transports.socketio.client import in_turn
from trunkline.transports.socketio.edge import Edge, Options, Refusal
from trunkline.transports.socketio.entry import Event, from_message
from trunkline.transports.socketio.session import Settings
from trunkline.transports.socketio.socket import Socket
from trunkline.wire.socketio import ROOT

_encode = msgspec.json.Encoder().encode
NAMES = ("join", "leave", "message")


class _Join(msgspec.Struct, forbid_unknown_fields=True):
    room: str
    since: str | int | None = None
    last: int | None = None


class _Publish(msgspec.Struct, forbid_unknown_fields=True):
    room: str
    data: Any = msgspec.UNSET
    text: str | msgspec.UnsetType = msgspec.UNSET
    id: str | None = None


def event_with_origin(message: Message) -> Event | None:
    """Return the event that a message is, with what the log knows of it as the last argument."""
    event = from_message(message)
    if event is None:
        return None
    known: dict[str, Any] = {"room": message.room, "offset": message.offset, "id": message.id}
    known |= {"from": message.sender, "at": message.at}
    return event._replace(json=b"%b,%b]" % (event.json[:-1], _encode(known)))


class RoomEvents:
    """The events of one edge."""

    def __init__(self, edge: Edge) -> None:
        self._edge = edge
        self._context = edge.context

    async def handle(self, socket: Socket, event: str, arguments: list[Any]) -> list[Any]:
        """Carry out one of the events; return what is acknowledged."""
        context = self._context
        try:
            with in_turn():
                return [await self._carry_out(socket, event, arguments)]
        except TrunklineError as error:
            context.access.refused(error, socket.who)
            return [{"error": {"code": error.code, "message": str(error)}}]

    async def _carry_out(self, socket: Socket, event: str, arguments: list[Any]) -> dict[str, Any]:
        if len(arguments) != 1:
            raise RequestError("bad_command", f"{event} takes one argument (docs/socketio.md)")
        if socket.namespace != ROOT:
            raise RequestError("bad_command", f"{event} is an event of the default namespace")
        if event == "join":
            return await self._join(socket, arguments[0])
        if event == "leave":
            return await self._leave(socket, arguments[0])
        return _acknowledged(await self._publish(socket, arguments[0]))

    async def _join(self, socket: Socket, argument: Any) -> dict[str, Any]:
        wanted = _convert({"room": argument} if isinstance(argument, str) else argument, _Join)
        name = check_room(wanted.room)
        start = parse_start(wanted.since, wanted.last, NOW)
        await socket.check_needs([("read", name)])
        cursor, gap = await self._edge.enter_from(socket, name, start)
        joined: dict[str, Any] = {"room": name, "epoch": cursor.room.epoch, "head": cursor.room.head}
        return joined if gap is None else {**joined, "gap": msgspec.to_builtins(gap)}

    async def _leave(self, socket: Socket, argument: Any) -> dict[str, Any]:
        room = _convert(argument, str)
        await self._edge.leave(socket, room)
        return {"room": room}

    async def _publish(self, socket: Socket, argument: Any) -> Receipt:
        context, limits = self._context, self._context.limits
        wanted = _convert(argument, _Publish)
        room = check_room(wanted.room)
        if (wanted.data is msgspec.UNSET) is (wanted.text is msgspec.UNSET):
            raise RequestError("bad_command", "a message has data or text")
        json = _encode({"text": wanted.text} if wanted.data is msgspec.UNSET else wanted.data)
        json = check_json(json, limits.message_bytes_max, limits.json_depth_max)
        if wanted.id is not None:
            check_id(wanted.id, limits.id_bytes_max)
        await socket.check_needs([("write", room)])
        context.access.check_publish_rate(socket.grant, socket.key, work(len(json)))
        draft = Draft(room, wanted.id, socket.grant.user, context.clock.wall_ms(), json)
        return await context.publishing.publish(socket, draft)


def _convert(value: Any, kind: Any) -> Any:
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        raise RequestError("bad_command", f"{error} (docs/socketio.md)") from None


def _acknowledged(receipt: Receipt) -> dict[str, Any]:
    return {
        "room": receipt.room,
        "epoch": receipt.epoch,
        "offset": receipt.offset,
        "id": receipt.id,
        "duplicate": receipt.duplicate,
    }


class _Rooms:
    """Rooms alone (`edge.Application`)."""

    def __init__(self) -> None:
        self.events: RoomEvents

    def accepts(self, namespace: str) -> bool:
        return namespace == ROOT

    async def connecting(self, socket: Socket, auth: Any) -> Refusal | None:
        return None

    async def handle(self, socket: Socket, event: str, arguments: Sequence[Any]) -> list[Any]:
        if event in NAMES:
            return await self.events.handle(socket, event, [*arguments])
        message = f"there is no event {event[:100]!r}: emit join, leave or message (docs/socketio.md)"
        return [{"error": {"code": "bad_command", "message": message}}]

    async def disconnected(self, socket: Socket, reason: str) -> None:
        """Do nothing."""


def serve_rooms(context: Context, settings: Settings, recovery_s: float | None) -> Edge:
    """Return an edge whose clients join rooms and publish, without an application."""
    rooms = _Rooms()
    options = Options(plain_rooms=True, recovery_s=recovery_s, recovers_all=False, event_of=event_with_origin)
    edge = Edge(context, rooms, settings, options)
    edge.rechecks_rooms = True
    rooms.events = RoomEvents(edge)
    return edge
