"""The edge of Socket.IO: sessions below, rooms of ours above, and an application that is asked about both."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple, Protocol

from starlette.requests import HTTPConnection

from trunkline.core.cursor import Cursor
from trunkline.core.grant import UNAUTHENTICATED, Grant
from trunkline.core.json_text import check_json
from trunkline.core.message import Message, Receipt, check_id
from trunkline.core.position import NOW, Start
from trunkline.errors import RequestError, TrunklineError
from trunkline.socketio.client import Client
from trunkline.socketio.deadlines import Deadlines
from trunkline.socketio.endpoint import Endpoint
from trunkline.socketio.entry import Event, from_message, to_data
from trunkline.socketio.formats import format_of
from trunkline.socketio.names import log_room
from trunkline.socketio.session import SERVER_DISCONNECT, TRANSPORT_ERROR, Session, Sessions, Settings
from trunkline.socketio.socket import Ack, Socket
from trunkline.transports.app import head_of
from trunkline.transports.context import Context
from trunkline.wire import socketio as wire
from trunkline.wire.socketio import Packet, Type

log = logging.getLogger("trunkline")

EVERYONE = ""
"""The room of all sockets of a namespace."""

Refusal = dict[str, Any]


class Application(Protocol):
    """What is asked, and told, about the clients of Socket.IO."""

    def accepts(self, namespace: str) -> bool:
        """Return whether there is such a namespace."""

    async def connecting(self, socket: Socket, auth: Any) -> Refusal | None:
        """Return what a client is refused with; None to let it in.

        Args:
            auth: What it says of itself.
        """

    async def handle(self, socket: Socket, event: str, arguments: Sequence[Any]) -> list[Any] | None:
        """Hear an event; return what the client's acknowledgement is to have, or None if there is to be none."""

    async def disconnected(self, socket: Socket, reason: str) -> None:
        """Hear that a socket has ended."""


class Options(NamedTuple):
    """How an edge works.

    Attributes:
        service: The server's name, the same on all nodes, and another one than other servers of the same hub have.
        connect_s: How long a client may take until it is in a namespace.
        async_handlers: Whether events of one client are handled side by side.
        always_connect: Whether a client is told that it is connected before the application has let it in.
        plain_rooms: Whether rooms of the default namespace have their own names as rooms of ours.
        event_of: Returns the event that a message is.
    """

    service: str = "socketio"
    connect_s: float = 45.0
    async_handlers: bool = True
    always_connect: bool = False
    plain_rooms: bool = False
    event_of: Callable[[Message], Event | None] = from_message


class Edge:
    """The clients of Socket.IO of one hub."""

    def __init__(self, context: Context, application: Application, settings: Settings, options: Options) -> None:
        self.context = context
        self.options = options
        self._application = application
        self.sessions = Sessions(settings, context.clock, self._node, self._begin)
        self.endpoint = Endpoint(context, self.sessions, options.service)
        self._sockets: dict[tuple[str, str], Socket] = {}
        self._members: dict[tuple[str, str], dict[str, Socket]] = {}
        self._unconnected: Deadlines[Client] = Deadlines(options.connect_s)

    @property
    def async_handlers(self) -> bool:
        """Whether events of one client are handled side by side."""
        return self.options.async_handlers

    def _node(self) -> str:
        return self.context.engine.name if self.context.engine.store.bus is not None else ""

    def _begin(self, session: Session) -> Client:
        client = Client(self, session)
        now = self.context.clock.monotonic()
        for late in self._unconnected.take_due(now):
            if not late.sockets and not late.is_connecting:
                late.session.end(TRANSPORT_ERROR)
        self._unconnected.add(client, now)
        return client

    # Sockets.

    def socket(self, namespace: str, sid: str) -> Socket | None:
        """Return a socket of this process by its id."""
        return self._sockets.get((namespace, sid))

    def members(self, namespace: str, rooms: Iterable[str]) -> list[Socket]:
        """Return the sockets of this process that are in any of these rooms, each once."""
        found: dict[str, Socket] = {}
        for room in rooms:
            found |= self._members.get((namespace, room), {})
        return list(found.values())

    async def connect(self, client: Client, namespace: str, auth: Any) -> None:
        """Let a client into a namespace, if the application does."""
        if namespace in client.sockets:
            return
        if not self._application.accepts(namespace):
            client.refuse(namespace, {"message": "Invalid namespace"})
            return
        try:
            socket = await self._make_socket(client, namespace, auth)
        except TrunklineError as error:
            self.context.access.refused(error, client.address)
            client.refuse(namespace, {"message": str(error), "data": {"code": error.code}})
            return
        told = {"sid": socket.sid}
        if self.options.always_connect and client.end_reason is None:
            socket.begin(told, NOW)
        refusal = await self._application.connecting(socket, auth)
        if refusal is not None:
            self._forget(socket)
            if client.end_reason is None:
                if socket.is_connected:
                    socket.send(Packet(Type.DISCONNECT, namespace, None, refusal))
                else:
                    client.refuse(namespace, refusal)
            socket.let_go()
        elif client.end_reason is not None:
            socket.end(client.end_reason)
        elif not socket.is_connected:
            socket.begin(told, NOW)

    async def _make_socket(self, client: Client, namespace: str, auth: Any) -> Socket:
        grant = await self._authenticate(client, auth)
        socket = Socket(
            self.context,
            self,
            client.session,
            namespace,
            self.sessions.new_sid(),
            grant,
            format_of(namespace, self.options.event_of),
            client.key,
            client.address,
        )
        try:
            self.context.access.register(socket)
            for room in (EVERYONE, socket.sid):
                await self._enter(socket, room, NOW)
        except BaseException:
            socket.let_go()
            raise
        client.sockets[namespace] = socket
        self._sockets[namespace, socket.sid] = socket
        return socket

    async def _authenticate(self, client: Client, auth: Any) -> Grant:
        access, scope = self.context.access, client.session.request
        brought = access.credentials(head_of(HTTPConnection(dict(scope))), client.key, scope)
        token = auth.get("token") if isinstance(auth, dict) else None
        if isinstance(token, str) and token:
            brought = brought._replace(token=token, ticket=None)
        return await access.authenticate(brought) if access.asks(brought) else UNAUTHENTICATED

    async def handle(self, socket: Socket, event: str, arguments: Sequence[Any], number: int | None) -> None:
        """Have an event heard, and its client told of the answer, if it wants one."""
        answer = await self._application.handle(socket, event, arguments)
        if number is not None and answer is not None and not socket.is_gone:
            try:
                socket.send(Packet(Type.ACK, socket.namespace, number, answer))
            except (TypeError, ValueError, RecursionError) as error:
                log.error("the answer of the handler of %r cannot be sent: %s", event, error)

    def socket_ended(self, socket: Socket, reason: str) -> None:
        self.context.engine.tasks.spawn(self._disconnected(socket, reason))

    async def _disconnected(self, socket: Socket, reason: str) -> None:
        try:
            await self._application.disconnected(socket, reason)
        finally:
            self._forget(socket)

    def _forget(self, socket: Socket) -> None:
        self._sockets.pop((socket.namespace, socket.sid), None)
        owner = socket.carried_by.owner
        if isinstance(owner, Client) and owner.sockets.get(socket.namespace) is socket:
            del owner.sockets[socket.namespace]
        for room in list(socket.rooms):
            self.leave(socket, room)

    # Rooms.

    def room_name(self, namespace: str, room: str) -> str:
        """Return the name of our room for a room of Socket.IO."""
        is_own = (namespace, room) in self._sockets
        return log_room(namespace, room, plain=self.options.plain_rooms and not is_own)

    async def enter(self, socket: Socket, room: str, start: Start = NOW) -> Cursor:
        """Let a socket be in a room: it is given what is emitted there from now on, or from the start.

        Raises:
            RequestError: `bad_room`, `too_many_rooms`.
            StoreUnavailable: The log is away.
        """
        if room in socket.rooms:
            return socket.rooms[room]
        most = self.context.limits.rooms_per_connection_max
        if len(socket.rooms) >= most + 2:
            raise RequestError("too_many_rooms", f"at most {most} rooms at once")
        return await self._enter(socket, room, start)

    async def _enter(self, socket: Socket, room: str, start: Start) -> Cursor:
        engine = self.context.engine
        name = log_room(socket.namespace, room, plain=self.options.plain_rooms and room != socket.sid)
        opened = await engine.follower.open(name)
        if socket.is_gone:
            raise RequestError("not_found", "the client is not connected any more")
        if room in socket.rooms:
            return socket.rooms[room]
        cursor, gap = engine.delivery.join(socket, opened, start)
        socket.enter(room, cursor)
        self._members.setdefault((socket.namespace, room), {})[socket.sid] = socket
        if gap is not None:
            socket.gap(cursor, gap)
        return cursor

    def leave(self, socket: Socket, room: str) -> None:
        """Let a socket be in a room no longer. Harmless if it was not."""
        socket.leave(room)
        members = self._members.get((socket.namespace, room))
        if members is not None:
            members.pop(socket.sid, None)
            if not members:
                del self._members[socket.namespace, room]

    def close_room(self, namespace: str, room: str) -> None:
        """Let all sockets of this process leave a room."""
        for socket in self.members(namespace, [room]):
            self.leave(socket, room)

    def disconnect(self, socket: Socket) -> None:
        """Disconnect a socket: its client does not come back by itself."""
        socket.send(Packet(Type.DISCONNECT, socket.namespace))
        socket.end(SERVER_DISCONNECT)

    # Events.

    async def emit(
        self,
        namespace: str,
        rooms: Sequence[str],
        event: str,
        arguments: Sequence[Any],
        skip: Sequence[str] = (),
        message_id: str | None = None,
        sender: str | None = None,
    ) -> list[Receipt]:
        """Store an event in the logs of rooms, from which every socket in them is given it, once.

        Args:
            rooms: Their names in Socket.IO.
            skip: The ids of sockets that are not given it.
            message_id: Stores it once, however often it is emitted with this id.
            sender: The user in whose name it is.

        Raises:
            RequestError: `too_large`, `too_deep`, `bad_id`.
            StoreUnavailable, Overloaded, ShuttingDown: Emit it again, with the same id.
        """
        limits = self.context.limits
        names = list(dict.fromkeys(self.room_name(namespace, room) for room in rooms))
        data = to_data(event, arguments, skip, names if len(names) > 1 else ())
        json = check_json(data, limits.message_bytes_max, limits.json_depth_max)
        if message_id is not None:
            check_id(message_id, limits.id_bytes_max)
        await self.context.ensure_started()
        return [await self.context.engine.appender.append(name, message_id, sender, json) for name in names]

    def send_now(
        self,
        namespace: str,
        rooms: Sequence[str],
        event: str,
        arguments: Sequence[Any],
        skip: Sequence[str] = (),
        ack: Ack | None = None,
    ) -> int:
        """Send an event to the sockets of this process in these rooms, outside of all logs; return how many there are.

        Args:
            ack: Called with each acknowledgement. Without it, sockets that take no more are left out.
        """
        packet = Packet(Type.EVENT, namespace, None, [event, *arguments])
        found = [socket for socket in self.members(namespace, rooms) if socket.sid not in skip and socket.is_connected]
        for socket in found:
            if ack is not None:
                socket.ask(packet, ack)
            elif not socket.full:
                socket.send(packet)
        return len(found)

    def check_arguments(self, event: str, arguments: Sequence[Any]) -> None:
        """Check that an event can be sent at all.

        Raises:
            TypeError, ValueError: An argument cannot be JSON.
        """
        wire.encode(Packet(Type.EVENT, wire.ROOT, None, [event, *arguments]))

    def close(self) -> None:
        """End all sessions."""
        self.sessions.end_all()
        self.sessions.stop()
