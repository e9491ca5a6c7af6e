"""The edge of Socket.IO: sessions below, rooms of ours above, and an application that is asked about both."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, Protocol

import msgspec
from starlette.requests import HTTPConnection

from trunkline.core.cursor import Cursor
from trunkline.core.grant import UNAUTHENTICATED, Grant
from trunkline.core.json_text import check_json
from trunkline.core.message import Message, Receipt, check_id
from trunkline.core.position import NOW, Gap, Start
from trunkline.engine.engine import Engine
from trunkline.errors import HookFailed, Overloaded, RequestError, ShuttingDown, StoreUnavailable, TrunklineError
from trunkline.transports.app import head_of
from trunkline.transports.context import Context
from trunkline.transports.socketio.client import Client, in_turn
from trunkline.transports.socketio.deadlines import Deadlines
from trunkline.transports.socketio.endpoint import Endpoint
from trunkline.transports.socketio.entry import Event, from_message, to_data
from trunkline.transports.socketio.formats import format_of
from trunkline.transports.socketio.names import is_sid, log_room
from trunkline.transports.socketio.orders import Order, Orders
from trunkline.transports.socketio.recovery import REFRESH_S, Recovery, Resumed
from trunkline.transports.socketio.session import (
    SERVER_DISCONNECT,
    TRANSPORT_CLOSE,
    TRANSPORT_ERROR,
    Session,
    Sessions,
    Settings,
)
from trunkline.transports.socketio.socket import Ack, Socket
from trunkline.wire.socketio import Packet, Type

log = logging.getLogger("trunkline")

RESUMED = Start("after", 0)
GIVE_S = 1.0
TRANSIENT = (StoreUnavailable, Overloaded, ShuttingDown, HookFailed)
NAMESPACES_MAX = 20  # of one session
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
        recovery_s: How long after its connection has ended a socket can go on; None if it never can.
        recovers_all: Whether that is so for clients that do not say `{recovery: true}` or false.
        event_of: Returns the event that a message is.
    """

    service: str = "socketio"
    connect_s: float = 45.0
    async_handlers: bool = True
    always_connect: bool = False
    plain_rooms: bool = False
    recovery_s: float | None = None
    recovers_all: bool = True
    event_of: Callable[[Message], Event | None] = from_message


class Entered(NamedTuple):
    """A room that a socket reads: its place, and the gap in front of it."""

    cursor: Cursor
    gap: Gap | None


class Edge:
    """The clients of Socket.IO of one hub.

    Attributes:
        rechecks_rooms: Whether clients join rooms by what they may read, and not by what the application decides.
    """

    def __init__(self, context: Context, application: Application, settings: Settings, options: Options) -> None:
        self.context = context
        self.options = options
        self._application = application
        self.sessions = Sessions(settings, context.clock, self._node, self._begin, lambda: context.limits)
        context.on_drain.append(self.sessions.end_all)
        self.endpoint = Endpoint(context, self.sessions, options.service, self._engine_began)
        self.rechecks_rooms = False
        self._orders = Orders(self, f"{options.service}.orders")
        self._sockets: dict[tuple[str, str], Socket] = {}
        self._members: dict[tuple[str, str], dict[str, Socket]] = {}
        self._unconnected: Deadlines[Client] = Deadlines(options.connect_s)
        self._looking: asyncio.TimerHandle | None = None
        self._recovery = None if options.recovery_s is None else Recovery(context, options.recovery_s)

    @property
    def async_handlers(self) -> bool:
        """Whether events of one client are handled side by side."""
        return self.options.async_handlers

    def _node(self) -> str:
        return self.context.engine.name

    def _begin(self, session: Session) -> Client:
        client = Client(self, session)
        self._unconnected.add(client, self.context.clock.monotonic())
        self._look_later()
        return client

    def _look_later(self) -> None:
        """Look at those that are in no namespace, when the first of them should be."""
        at = self._unconnected.next_at
        if at is not None and self._looking is None:
            delay = max(0.0, at - self.context.clock.monotonic())
            self._looking = asyncio.get_running_loop().call_later(delay, self._end_unconnected)

    def _end_unconnected(self) -> None:
        self._looking = None
        for late in self._unconnected.take_due(self.context.clock.monotonic()):
            if not late.sockets and not late.is_connecting:
                late.session.end(TRANSPORT_ERROR)
        self._look_later()

    def _engine_began(self, engine: Engine) -> None:
        self._orders.attach(engine)
        if self._recovery is not None:
            engine.tasks.every(REFRESH_S, self._recovery.refresh)

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
        if self.context.engine.is_draining:
            client.session.end(TRANSPORT_CLOSE)
            return
        if len(client.sockets) >= NAMESPACES_MAX:
            client.refuse(namespace, {"message": f"At most {NAMESPACES_MAX} namespaces at once"})
            return
        if not self._application.accepts(namespace):
            client.refuse(namespace, {"message": "Invalid namespace"})
            return
        try:
            socket = await self._make_socket(client, namespace, auth)
            if self.options.always_connect and client.end_reason is None:
                await self._begin_socket(socket)
        except TrunklineError as error:
            self._refuse(client, namespace, error)
            return
        refusal = await self._application.connecting(socket, auth if self._recovery is None else _without_state(auth))
        if refusal is not None:
            await self._turn_away(client, socket, refusal)
        elif client.end_reason is not None:
            socket.end(client.end_reason)
        elif not socket.is_connected:
            try:
                await self._begin_socket(socket)
            except TrunklineError as error:
                self._refuse(client, namespace, error)
                socket.end(TRANSPORT_ERROR)

    def _refuse(self, client: Client, namespace: str, error: TrunklineError) -> None:
        self.context.access.refused(error, client.address)
        if isinstance(error, TRANSIENT) or error.code == "rate_limited":
            client.session.end(TRANSPORT_ERROR)  # a refusal would be for good: the client comes back from an end
            return
        client.refuse(namespace, {"message": str(error), "data": {"code": error.code}})

    async def _turn_away(self, client: Client, socket: Socket, refusal: Refusal) -> None:
        if client.end_reason is None:
            if socket.is_connected:
                socket.send(Packet(Type.DISCONNECT, socket.namespace, None, refusal))
            else:
                client.refuse(socket.namespace, refusal)
        socket.let_go()
        await self._clean_up(socket, SERVER_DISCONNECT)

    async def _begin_socket(self, socket: Socket) -> None:
        told = {"sid": socket.sid}
        kept = None if self._recovery is None else self._recovery.of(socket)
        if self._recovery is not None and kept is not None:
            await self._recovery.save(socket)
            told["pid"] = kept.pid
        owner = socket.carried_by.owner
        if isinstance(owner, Client) and owner.end_reason is not None:
            socket.end(owner.end_reason)
        elif not socket.is_gone:
            socket.begin(told, RESUMED if socket.is_recovered else NOW)

    async def _make_socket(self, client: Client, namespace: str, auth: Any) -> Socket:
        grant = await self._authenticate(client, auth)
        resumed = None
        if self._recovery is not None:
            resumed = await self._recovery.resume(auth, namespace, grant.user)
        if resumed is not None:
            self._end_former(namespace, resumed.state.sid, resumed.state.owner)
            socket = await self._resume_socket(client, namespace, grant, resumed)
            if socket is not None:
                return socket
        socket = self._new_socket(client, namespace, self.sessions.new_sid(), grant)
        with self._letting_go(socket):
            if self._recovery is not None and _wants_recovery(auth, unless_said=self.options.recovers_all):
                socket.progress = self._recovery.begin(socket, None).progress
            for room in (EVERYONE, socket.sid):
                await self._enter(socket, room, NOW)
                if self._recovery is not None:
                    self._recovery.joined(socket, room)
        return self._admit(client, socket)

    async def _resume_socket(self, client: Client, namespace: str, grant: Grant, resumed: Resumed) -> Socket | None:
        """Return a socket that goes on where another has ended; None if something that it has missed is gone."""
        assert self._recovery is not None
        socket = self._new_socket(client, namespace, resumed.state.sid, grant)
        with self._letting_go(socket):
            socket.progress = self._recovery.begin(socket, resumed).progress
            for one in resumed.state.joined:
                may_read = not self.rechecks_rooms or await self._may_read(socket, one.room)
                joined = may_read and await self._enter(socket, one.room, resumed.starts[one.room], one.log)
                if not joined or joined.gap is not None:
                    break
                self._recovery.joined(socket, one.room, resumed)
            else:
                socket.is_recovered = True
                if resumed.state.data is not None:
                    socket.data = msgspec.json.decode(resumed.state.data)
                return self._admit(client, socket)
        socket.let_go()
        self._leave_all(socket)
        self._recovery.forget(socket)
        await self._recovery.give_up(resumed)
        return None

    async def _may_read(self, socket: Socket, room: str) -> bool:
        if room in (EVERYONE, socket.sid):
            return True
        try:
            await self.context.access.check(socket.grant, "read", room)
        except TrunklineError:
            return False
        return True

    def _new_socket(self, client: Client, namespace: str, sid: str, grant: Grant) -> Socket:
        encode = format_of(namespace, self.options.event_of)
        return Socket(self.context, self, client.session, namespace, sid, grant, encode, client.key, client.address)

    @contextmanager
    def _letting_go(self, socket: Socket) -> Iterator[None]:
        """Let go of a socket that cannot be made."""
        try:
            self.context.access.register(socket)
            yield
        except BaseException:
            socket.let_go()
            self._leave_all(socket)
            if self._recovery is not None:
                self._recovery.forget(socket)
            raise

    def _admit(self, client: Client, socket: Socket) -> Socket:
        client.sockets[socket.namespace] = socket
        self._sockets[socket.namespace, socket.sid] = socket
        return socket

    def _end_former(self, namespace: str, sid: str, owner: str) -> None:
        """End the connections that a socket had before.

        Args:
            owner: The one that it has now.
        """
        former = self._sockets.get((namespace, sid))
        if former is not None:
            if self._recovery is not None:
                self._recovery.lose(former)
            former.carried_by.end(TRANSPORT_CLOSE)
        self._orders.send(Order("fence", namespace, sid, owner), None)

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
        self._let_namespace_go(socket)
        self.context.engine.tasks.spawn(self._disconnected(socket, reason))

    async def _disconnected(self, socket: Socket, reason: str) -> None:
        try:
            await self._application.disconnected(socket, reason)
        finally:
            await self._clean_up(socket, reason)

    def _let_namespace_go(self, socket: Socket) -> None:
        """Let its client connect to the namespace anew."""
        owner = socket.carried_by.owner
        if isinstance(owner, Client) and owner.sockets.get(socket.namespace) is socket:
            del owner.sockets[socket.namespace]

    async def _clean_up(self, socket: Socket, reason: str) -> None:
        """Forget a socket that has ended, and its own log if it cannot go on."""
        if self._sockets.get((socket.namespace, socket.sid)) is socket:
            del self._sockets[socket.namespace, socket.sid]
        self._let_namespace_go(socket)
        own = socket.rooms.get(socket.sid)
        has_own_log = own is not None and own.room.head > 0
        self._leave_all(socket)
        name = self.room_name(socket.namespace, socket.sid)
        pid = None if self._recovery is None else await self._recovery.ended(socket, reason)
        if has_own_log and pid is None:
            await self._delete_log(name)
        elif has_own_log and self._recovery is not None and pid:
            self._recovery.when_over(pid, lambda: self._delete_log(name))

    async def _delete_log(self, name: str) -> None:
        """Delete the log of a socket that nobody will read any more, so that retention forgets it at once."""
        engine = self.context.engine
        room = engine.rooms.get(name)
        if room is not None and room.is_idle:
            engine.rooms.close_room(name)
        with contextlib.suppress(StoreUnavailable):
            await engine.store.delete(name, 0)

    def _leave_all(self, socket: Socket) -> None:
        for room in list(socket.rooms):
            self._leave(socket, room)

    # Rooms.

    def room_name(self, namespace: str, room: str) -> str:
        """Return the name of our room for a room of Socket.IO."""
        return log_room(namespace, room, plain=self.options.plain_rooms)

    async def enter(self, socket: Socket, room: str) -> None:
        """Let a socket be in a room: it is given what is emitted there from now on.

        Raises:
            RequestError: `bad_room`, `too_many_rooms`.
            StoreUnavailable: The log is away.
        """
        if is_sid(room) and room != socket.sid:
            raise RequestError("bad_room", "the own room of another client is for that client alone")
        if room in socket.rooms:
            await self._save(socket)  # which may have failed before
            return
        self._check_rooms(socket)
        if await self._enter(socket, room, NOW):
            await self._note_joined(socket, room)

    def _check_rooms(self, socket: Socket) -> None:
        most = self.context.limits.rooms_per_connection_max
        if len(socket.rooms) >= most + 2:  # everyone's, and its own
            raise RequestError("too_many_rooms", f"at most {most} rooms at once")

    async def enter_from(self, socket: Socket, room: str, start: Start) -> tuple[Cursor, Gap | None]:
        """Let a socket read a room of ours from there on, or anew; return its place, and the gap in front of it.

        Raises:
            RequestError: `too_many_rooms`.
            StoreUnavailable: The log is away.
        """
        if room not in socket.rooms:
            self._check_rooms(socket)
        joined = await self._enter(socket, room, start, room, anew=True)
        assert joined is not None
        await self._note_joined(socket, room)
        return joined.cursor, joined.gap

    async def _note_joined(self, socket: Socket, room: str) -> None:
        if self._recovery is not None:
            self._recovery.joined(socket, room)
            await self._save(socket)

    async def _save(self, socket: Socket) -> None:
        if self._recovery is not None and socket.is_connected:
            await self._recovery.save(socket)

    async def _enter(
        self, socket: Socket, room: str, start: Start, log: str | None = None, *, anew: bool = False
    ) -> Entered | None:
        """Let a socket read a room; return its place there, or None if it has read it already.

        Args:
            log: Our room, if that does not follow from the name.
            anew: Begin again, if it has.
        """
        engine = self.context.engine
        opened = await engine.follower.open(log or self.room_name(socket.namespace, room))
        if socket.is_gone:
            raise RequestError("not_found", "the client is not connected any more")
        if room in socket.rooms:
            if not anew:
                return None
            if self._recovery is not None:
                self._recovery.left(socket, room, socket.rooms[room].room.name)
            self._leave(socket, room)
        cursor, gap = engine.delivery.join(socket, opened, start)
        socket.enter(room, cursor)
        self._members.setdefault((socket.namespace, room), {})[socket.sid] = socket
        return Entered(cursor, gap)

    async def leave(self, socket: Socket, room: str) -> None:
        """Let a socket be in a room no longer. Harmless if it was not.

        Raises:
            StoreUnavailable: It is not in it any more; if its connection dies now, it may be in it again.
        """
        cursor = socket.rooms.get(room)
        if cursor is not None:
            await self._give_all(socket, [cursor])
        self._leave(socket, room)
        if self._recovery is not None and cursor is not None:
            self._recovery.left(socket, room, cursor.room.name)
            await self._save(socket)

    async def _give_all(self, socket: Socket, cursors: Sequence[Cursor]) -> None:
        """Wait until a socket that reads was given what its rooms hold now, also what other nodes have just stored."""
        engine = self.context.engine
        with contextlib.suppress(StoreUnavailable, TimeoutError):
            async with asyncio.timeout(GIVE_S):
                if engine.store.shared:
                    for cursor in cursors:
                        await engine.follower.refresh(cursor.room.name)
                while socket.is_connected and not (socket.is_gone or socket.full):
                    if not any(cursor.lag for cursor in cursors if cursor in socket.cursors):
                        break
                    await asyncio.sleep(0)

    def _leave(self, socket: Socket, room: str) -> None:
        socket.leave(room)
        members = self._members.get((socket.namespace, room))
        if members is not None and members.get(socket.sid) is socket:
            del members[socket.sid]
            if not members:
                del self._members[socket.namespace, room]

    def gap_found(self, socket: Socket) -> None:
        if self._recovery is not None:
            self._recovery.spoil(socket)

    def room_revoked(self, socket: Socket, room: str) -> None:
        self.context.engine.tasks.spawn(self._leave_revoked(socket, room))

    async def _leave_revoked(self, socket: Socket, room: str) -> None:
        with contextlib.suppress(StoreUnavailable):
            await self.leave(socket, room)

    async def keep_data(self, socket: Socket, data: Any) -> None:
        """Keep something with a socket, also for when it goes on elsewhere, if it can be JSON."""
        socket.data = data
        if self._recovery is not None:
            self._recovery.keep_data(socket)
            await self._save(socket)

    async def enter_any(self, namespace: str, sid: str, room: str) -> bool:
        """Let a socket of whichever node be in a room; return False if no node has it. Raises like `enter`."""
        return await self._do(Order("enter", namespace, sid, room))

    async def leave_any(self, namespace: str, sid: str, room: str) -> None:
        """Let a socket of whichever node be in a room no longer."""
        await self._do(Order("leave", namespace, sid, room))

    async def disconnect_any(self, namespace: str, sid: str) -> None:
        """Disconnect a socket of whichever node: its client does not come back by itself."""
        await self._do(Order("disconnect", namespace, sid))

    async def close_room(self, namespace: str, room: str) -> None:
        """Let all sockets of all nodes leave a room."""
        order = Order("close", namespace, "", room)
        await self.endpoint.attach()
        with in_turn():
            await self.obey(order, None)
            await self._orders.ask(order)

    async def _do(self, order: Order) -> bool:
        """Do something with a socket: it is here, or on one of the other nodes."""
        await self.endpoint.attach()
        with in_turn():
            return await self.obey(order, None) or await self._orders.ask(order)

    async def obey(self, order: Order, ack: Ack | None) -> bool:
        if order.what == "send":
            return bool(self._send_here(order.namespace, order.rooms, order.event, order.skip, ack))
        if order.what == "close":
            found = self.members(order.namespace, [order.room])
            failed: StoreUnavailable | None = None
            for member in found:
                try:
                    await self.leave(member, order.room)
                except StoreUnavailable as error:
                    failed = error
            if failed is not None:
                raise failed
            return bool(found)
        socket = self.socket(order.namespace, order.sid)
        if socket is None:
            return False
        if order.what == "enter":
            await self.enter(socket, order.room)
        elif order.what == "leave":
            await self.leave(socket, order.room)
        elif order.what == "disconnect":
            await self._give_all(socket, list(socket.rooms.values()))
            socket.send(Packet(Type.DISCONNECT, socket.namespace))
            socket.end(SERVER_DISCONNECT)
        elif self._recovery is None or self._recovery.owner(socket) != order.room:
            if self._recovery is not None:
                self._recovery.lose(socket)
            socket.carried_by.end(TRANSPORT_CLOSE)
        return True

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
        several = (names, secrets.token_hex(8)) if len(names) > 1 else ((), "")
        data = to_data(event, arguments, skip, *several)
        json = check_json(data, limits.message_bytes_max, limits.json_depth_max)
        if message_id is not None:
            check_id(message_id, limits.id_bytes_max)
        await self.context.ensure_started()
        with in_turn():
            return [await self.context.engine.appender.append(name, message_id, sender, json) for name in names]

    async def send_now(
        self, namespace: str, rooms: Sequence[str], event: Event, skip: Sequence[str] = (), ack: Ack | None = None
    ) -> Callable[[], None]:
        """Send an event to the sockets of all nodes in these rooms that are connected now, outside of all logs.

        Args:
            ack: Called with each acknowledgement. Without it, sockets that take no more are left out.

        Returns:
            What stops waiting for acknowledgements of other nodes.
        """
        await self.endpoint.attach()
        here = self._send_here(namespace, rooms, event, skip, ack)
        if here and len(rooms) == 1 and (namespace, rooms[0]) in self._sockets:
            return lambda: None  # it was for that socket alone
        order = Order("send", namespace, "", "", rooms, skip, event.json, event.attachments, ack is not None)
        return self._orders.send(order, ack)

    def _send_here(
        self, namespace: str, rooms: Sequence[str], event: Event, skip: Sequence[str], ack: Ack | None
    ) -> int:
        found = [socket for socket in self.members(namespace, rooms) if socket.sid not in skip and socket.is_connected]
        for socket in found:
            if ack is not None:
                socket.ask(event, ack)
            elif not socket.full:
                socket.emit(event)
        return len(found)

    def close(self) -> None:
        """End all sessions."""
        self.sessions.end_all()
        self.sessions.stop()
        if self._looking is not None:
            self._looking.cancel()
            self._looking = None


def _without_state(auth: Any) -> Any:
    """Return what a client says of itself, for the application: not what it has from this server."""
    if not isinstance(auth, dict) or "pid" not in auth:
        return auth
    return {key: value for key, value in auth.items() if key not in ("pid", "offset")} or None


def _wants_recovery(auth: Any, *, unless_said: bool) -> bool:
    said = auth.get("recovery") if isinstance(auth, dict) else None
    return said if isinstance(said, bool) else unless_said
