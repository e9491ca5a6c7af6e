"""A socket: one client in one namespace, with its rooms. It reads their logs like any other reader."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from trunkline.core.batch import Batch, Notification
from trunkline.core.close_codes import ABNORMAL, CloseCode, code_of
from trunkline.core.cursor import Cursor
from trunkline.core.grant import Grant
from trunkline.core.position import Gap, Start
from trunkline.errors import TrunklineError
from trunkline.transports.context import Context
from trunkline.transports.socketio.connection_state import Progress
from trunkline.transports.socketio.entry import Event, event_of
from trunkline.transports.socketio.formats import Encoded, packets_of
from trunkline.transports.socketio.session import (
    CLIENT_DISCONNECT,
    SERVER_DISCONNECT,
    TRANSPORT_CLOSE,
    TRANSPORT_ERROR,
    Out,
    Session,
)
from trunkline.transports.socketio.websocket import PacketSocket, frames_of
from trunkline.transports.stream import Stream
from trunkline.wire import socketio as wire
from trunkline.wire.socketio import Packet, Type

NAMES_MAX = 1000  # of events that stand in several logs, which a socket remembers
ACKS_MAX = 1000  # that one client owes: the oldest is forgotten, as if it had not come in time

Ack = Callable[[list[Any]], None]


class Leaving(Protocol):
    """Who is told of the end of a socket.

    Attributes:
        rechecks_rooms: Whether clients join rooms by what they may read, and not by what the application decides.
    """

    rechecks_rooms: bool

    def socket_ended(self, socket: Socket, reason: str) -> None:
        """Note that it reads nothing any more."""

    def room_revoked(self, socket: Socket, room: str) -> None:
        """Let it be in a room no longer, because it may not."""

    def gap_found(self, socket: Socket) -> None:
        """Note that it has missed something for good."""


class Socket(Stream):
    """One client in one namespace.

    Args:
        session: What carries it.
        sid: Its id, which is also the name of its own room.
        encode: Encodes batches for it.

    Attributes:
        rooms: The cursors of its rooms, by their names in Socket.IO; the empty name is everyone's.
        data: What the application keeps with it.
        is_connected: Whether the client has been told that it is connected.
        is_gone: Whether it has ended, and its application was told so.
        is_recovered: Whether it goes on where another connection has ended.
        progress: What its client is told with each event; None if it could not go on.
    """

    __slots__ = (
        "_acks", "_encode", "_given_names", "_has_let_go", "_is_behind_gap", "_next_ack", "_server", "carried_by",
        "data", "is_connected", "is_gone", "is_recovered", "namespace", "progress", "rooms", "sid",
    )  # fmt: skip

    transport = "socketio"

    def __init__(
        self,
        context: Context,
        server: Leaving,
        session: Session,
        namespace: str,
        sid: str,
        grant: Grant,
        encode: Callable[[Batch], Encoded],
        key: str | None,
        address: str,
    ) -> None:
        super().__init__(context, key, address)
        self.session = context.engine.connections.new_session()
        self.grant = grant
        self._server = server
        self.carried_by = session
        self.namespace = namespace
        self.sid = sid
        self._encode = encode
        self.rooms: dict[str, Cursor] = {}
        self.data: Any = None
        self.is_connected = False
        self.is_gone = False
        self.is_recovered = False
        self.progress: Progress | None = None
        self._acks: dict[int, Ack] = {}
        self._next_ack = 0
        self._given_names: dict[str, None] | None = None  # of events that stand in several logs, the last ones
        self._has_let_go = False
        self._is_behind_gap = False

    # Rooms.

    def enter(self, room: str, cursor: Cursor) -> None:
        """Read a room from there on: at once, or when the client was told that it is connected."""
        self.rooms[room] = cursor
        if self.is_connected:
            self.attach([cursor])
        else:
            cursor.room.pins += 1  # until it is read, nothing else keeps it open

    def leave(self, room: str) -> None:
        """Read a room no longer. Harmless if it was not in it."""
        cursor = self.rooms.pop(room, None)
        if cursor is None:
            return
        if cursor in self.cursors:
            self._detach(cursor)
            self.cursors = tuple(other for other in self.cursors if other is not cursor)
        elif not (self.is_connected or self._has_let_go):
            cursor.room.pins -= 1

    def begin(self, told: Mapping[str, Any], start: Start) -> None:
        """Tell the client that it is connected, and then what its rooms hold.

        Args:
            told: What it is told.
            start: Whether it begins, or goes on.
        """
        self.is_connected = True
        self.full = self.carried_by.full
        self.send(Packet(Type.CONNECT, self.namespace, None, told))
        self.opened()
        self.joined(start)
        self.context.connected(self)
        self.attach(self.rooms.values())
        for cursor in self.rooms.values():
            cursor.room.pins -= 1

    def let_go(self) -> None:
        """End without having been connected: the application is told nothing."""
        self.is_gone = True
        if self._has_let_go:
            return
        self._has_let_go = True
        if not self.is_connected:
            for cursor in self.rooms.values():
                cursor.room.pins -= 1
        self.closed()

    # Packets.

    def send(self, packet: Packet) -> None:
        """Send a packet, outside of all logs."""
        self.carried_by.message(*wire.encode(packet))

    def emit(self, event: Event) -> None:
        """Send an event, outside of all logs."""
        last = b"" if self.progress is None else self.progress.json
        self.carried_by.send(packets_of(self.namespace, event, last))

    def ask(self, event: Event, ack: Ack) -> None:
        """Send an event; *ack* is called with the arguments of the client's acknowledgement, if it comes."""
        number, self._next_ack = self._next_ack, self._next_ack + 1
        while len(self._acks) >= ACKS_MAX:
            del self._acks[next(iter(self._acks))]
        self._acks[number] = ack
        self.carried_by.send(packets_of(self.namespace, event, number=number))

    def acknowledged(self, number: int, arguments: list[Any]) -> None:
        """Take an acknowledgement. Harmless if nobody waits for it."""
        ack = self._acks.pop(number, None)
        if ack is not None:
            ack(arguments)

    def end(self, reason: str) -> None:
        """Read nothing any more, and have the application told. Harmless if done twice."""
        if not self.is_gone:
            self._acks.clear()
            if self.end_code == ABNORMAL and reason in (CLIENT_DISCONNECT, SERVER_DISCONNECT):
                self.end_code = CloseCode.NORMAL
            self.let_go()
            self._server.socket_ended(self, reason)

    # What the engine calls.

    def deliver(self, cursor: Cursor, batch: Batch) -> None:
        encoded, carrier = batch.encoded(self._encode), self.carried_by.carrier
        if self._is_behind_gap:
            return
        if self.progress is not None:
            self._deliver_with_offsets(self.progress, cursor, encoded)
        elif encoded.is_for_all and type(carrier) is PacketSocket:
            carrier.write(encoded.frames)
        elif encoded.is_for_all:
            self.carried_by.send(encoded.packets)
        else:
            self.carried_by.send(encoded.packets_for(self._is_given))

    def _deliver_with_offsets(self, progress: Progress, cursor: Cursor, encoded: Encoded) -> None:
        packets: list[Out] = []
        for message, event in encoded.messages:
            progress.move(cursor.room.name, message.offset)
            if event is not None and self._is_given(event):
                packets += packets_of(self.namespace, event, progress.json)
        carrier = self.carried_by.carrier
        if type(carrier) is PacketSocket:
            carrier.write(frames_of(packets))
        else:
            self.carried_by.send(packets)

    def _is_given(self, event: Event) -> bool:
        """Return whether it is given an event: once, in whichever log it is found first."""
        if self.sid in event.skip:
            return False
        if event.one:
            names = self._given_names = self._given_names or {}
            if event.one in names:
                return False
            names[event.one] = None
            if len(names) > NAMES_MAX:
                del names[next(iter(names))]
        return True

    def gap(self, cursor: Cursor, gap: Gap) -> None:
        # The protocol has no word for it. A client whose connection ends comes back, and is told that it was not
        # recovered; one that went on would take what it has for everything.
        self.gaps += 1
        self._is_behind_gap = True
        self._server.gap_found(self)
        asyncio.get_running_loop().call_soon(self.carried_by.end, TRANSPORT_ERROR)

    def notify(self, notification: Notification) -> None:
        """Do nothing: signals and presence have no place in the protocol."""

    def ping(self) -> None:
        self.heard = True  # the session is kept alive in its own way

    def abort(self) -> None:
        self.end_code = CloseCode.GOING_AWAY
        self.carried_by.end(TRANSPORT_CLOSE)

    def drain(self, retry_after_ms: int) -> None:
        self.end_code = CloseCode.SERVICE_RESTART
        self.carried_by.end(TRANSPORT_CLOSE)  # no DISCONNECT packet: its client is to come back, and go on

    def dismiss(self, error: TrunklineError) -> None:
        self.end_code = code_of(error)
        if error.code == "token_expired":  # the client comes back, and asks for a newer one
            self.carried_by.end(TRANSPORT_CLOSE)
            return
        self.send(Packet(Type.DISCONNECT, self.namespace))
        self.end(SERVER_DISCONNECT)

    def read_revoked(self, cursor: Cursor, error: TrunklineError) -> None:
        for room, other in list(self.rooms.items()):
            if other is cursor and room not in ("", self.sid):
                self._server.room_revoked(self, room)
                about = {"room": room, "error": {"code": error.code, "message": str(error)}}
                self.emit(event_of("left", [about]))

    def presence_revoked(self, room: str, error: TrunklineError) -> None:
        """Do nothing: members are not watched."""

    async def recheck_rooms(self) -> None:
        """Do nothing where the application says which rooms a socket is in."""
        if self._server.rechecks_rooms:
            await super().recheck_rooms()
