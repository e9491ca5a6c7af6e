"""A server of Socket.IO with the API of python-socketio's `AsyncServer`, whose rooms are rooms of a hub."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Literal, Protocol, TypeVar, overload

from trunkline.errors import ConfigError, TrunklineError
from trunkline.hub import Hub, context_of
from trunkline.socketio import exceptions
from trunkline.socketio.handlers import ANY, Handler, Handlers, fitting
from trunkline.socketio.namespace import AsyncNamespace, Namespace, Rooms
from trunkline.transports.socketio.edge import EVERYONE, Edge, Options, Refusal
from trunkline.transports.socketio.endpoint import environ_of
from trunkline.transports.socketio.entry import event_of, from_message
from trunkline.transports.socketio.room_events import NAMES as ROOM_EVENTS
from trunkline.transports.socketio.room_events import RoomEvents, event_with_origin
from trunkline.transports.socketio.session import (
    CLIENT_DISCONNECT,
    PING_TIMEOUT,
    SERVER_DISCONNECT,
    TRANSPORT_CLOSE,
    TRANSPORT_ERROR,
    Settings,
)
from trunkline.transports.socketio.socket import Socket
from trunkline.wire.socketio import RESERVED

log = logging.getLogger("trunkline")
H = TypeVar("H", bound=Handler)

CALL_S = 60.0
RECOVERED = "socketio.recovered"
"""In the environment of a `connect` handler: whether the client goes on where it was."""
FAILED = {"message": "The server could not let you in: its application failed"}


class Reason:
    """Why a socket has ended, as its `disconnect` handler is told."""

    CLIENT_DISCONNECT = CLIENT_DISCONNECT
    SERVER_DISCONNECT = SERVER_DISCONNECT
    PING_TIMEOUT = PING_TIMEOUT
    TRANSPORT_CLOSE = TRANSPORT_CLOSE
    TRANSPORT_ERROR = TRANSPORT_ERROR


class HasHub(Protocol):
    """What has a hub (managers.py).

    Attributes:
        origins: Those of the hub, until it is asked for.
    """

    origins: Sequence[str]

    @property
    def hub(self) -> Hub:
        """The hub."""


class BaseServer:
    """What the servers with and without awaiting have in common: settings, handlers, and what needs no waiting.

    Args:
        hub: Whose rooms they are, or the URL of a store; without it, one of the server's own.
        client_manager: In place of *hub*, as python-socketio has it: what `AsyncRedisManager` and the like return.
        async_handlers: Handle the events of one client side by side; else one after the other.
        always_connect: Tell clients that they are connected before `connect` has let them in.
        namespaces: Further namespaces that have no handlers; `*` for any.
        ping_interval, ping_timeout: Seconds between two pings, and for the answer. A pair's second number is added.
        max_http_buffer_size: The most bytes that a client may send at once.
        allow_upgrades: Whether clients that poll may go over to a WebSocket.
        transports: Those that are served.
        connect_timeout: Seconds that a client may take until it is in a namespace.
        recovery: For how many seconds after its connection has ended a client can go on with its socket, on any node;
            None for never. Listeners of clients then get one more argument, an offset.
        plain_rooms: Rooms of the default namespace are the rooms of the same names, for all clients.
        name: The same on all nodes, and another one than other servers of the same hub have.
        room_events: Let clients join rooms, leave them and publish by events of their own: `join`, `leave`, `message`.
            Implies *plain_rooms*; recovery is for clients that say `{recovery: true}`.
        cors_allowed_origins: As `Hub(origins=…)`, for a hub of the server's own; `*` for all, `[]` for all, too.
        more: What python-socketio knows and what has no meaning here: `async_mode`, `logger`, `engineio_logger`,
            `json`, `serializer`, `cookie`, `cors_credentials`, `http_compression`, `compression_threshold`,
            `monitor_clients`.

    Raises:
        ConfigError: A setting cannot be used.
    """

    reason = Reason

    def __init__(
        self,
        hub: Hub | str | None = None,
        *,
        client_manager: HasHub | None = None,
        async_handlers: bool = True,
        always_connect: bool = False,
        namespaces: Sequence[str] | Literal["*"] | None = None,
        ping_interval: float | tuple[float, float] = 25,
        ping_timeout: float = 20,
        max_http_buffer_size: int = 1_000_000,
        allow_upgrades: bool = True,
        transports: Sequence[str] | None = None,
        connect_timeout: float = 45,
        plain_rooms: bool = False,
        recovery: float | None = None,
        name: str = "socketio",
        room_events: bool = False,
        cors_allowed_origins: str | Sequence[str] | None = None,
        **more: Any,
    ) -> None:
        _check_more(more)
        if hub is not None and client_manager is not None:
            raise ConfigError("hub and client_manager are two names of the same thing: give one of them")
        if isinstance(hub, Hub) and cors_allowed_origins is not None:
            raise ConfigError("cors_allowed_origins: a hub has origins of its own; give them to Hub(origins=…)")
        if recovery is not None and not (isinstance(recovery, int | float) and recovery > 0):
            raise ConfigError(f"recovery is a number of seconds, or None for never, not {recovery!r}")
        self.hub = _hub_of(hub, client_manager, _origins(cors_allowed_origins))
        self.owns_hub = not isinstance(hub, Hub)
        self.handlers = Handlers()
        self.namespaces = namespaces if namespaces is not None else ["/"]
        self.async_mode = "asgi" if self.is_asyncio_based() else "threading"
        interval, grace = ping_interval if isinstance(ping_interval, tuple) else (ping_interval, 0)
        served = tuple(transports) if transports is not None else ("polling", "websocket")
        if not served or not {*served} <= {"polling", "websocket"}:
            raise ConfigError("transports is a list of polling and websocket")
        settings = Settings(
            ping_interval_s=interval + grace,
            ping_timeout_s=ping_timeout,
            bytes_max=max_http_buffer_size,
            transports=served,
            allow_upgrades=allow_upgrades,
        )
        options = Options(
            connect_s=connect_timeout,
            async_handlers=async_handlers,
            always_connect=always_connect,
            plain_rooms=plain_rooms or room_events,
            recovery_s=recovery,
            recovers_all=not room_events,
            event_of=event_with_origin if room_events else from_message,
            service=name,
        )
        try:
            self.edge = Edge(context_of(self.hub), self, settings, options)
        except ValueError as error:
            raise ConfigError(str(error)) from None
        self.endpoint = self.edge.endpoint
        self.edge.rechecks_rooms = room_events
        self._room_events = RoomEvents(self.edge) if room_events else None

    # Handlers.

    @overload
    def on(self, event: str, handler: None = None, namespace: str | None = None) -> Callable[[H], H]: ...

    @overload
    def on(self, event: str, handler: H, namespace: str | None = None) -> H: ...

    def on(self, event: str, handler: H | None = None, namespace: str | None = None) -> H | Callable[[H], H]:
        """Let a function hear an event; as a decorator, without *handler*.

        Args:
            event: Its name; `*` for every event that nothing else hears.
            namespace: With its slash; `*` for any.
        """

        def register(function: H) -> H:
            self.handlers.on(event, function, namespace or "/")
            return function

        return register if handler is None else register(handler)

    @overload
    def event(self, handler: H, /) -> H: ...

    @overload
    def event(self, *, namespace: str | None = None) -> Callable[[H], H]: ...

    def event(self, *args: Any, **kwargs: Any) -> Any:
        """Let a function hear the event of its own name: `@sio.event`, or `@sio.event(namespace="/chat")`."""
        if len(args) == 1 and not kwargs and callable(args[0]):
            return self.on(args[0].__name__, args[0])

        def register(function: Handler) -> Handler:
            self.on(function.__name__, function, *args, **kwargs)
            return function

        return register

    def register_namespace(self, namespace_handler: AsyncNamespace | Namespace) -> None:
        """Let the methods of an object hear the events of its namespace.

        Raises:
            ValueError: It is one for the other kind of server.
        """
        if not isinstance(namespace_handler, AsyncNamespace | Namespace):
            raise ValueError(f"register_namespace takes an object of a class of yours, not {namespace_handler!r}")
        if self.is_asyncio_based() is not namespace_handler.is_asyncio_based():
            raise ValueError("a Server takes a Namespace, and an AsyncServer an AsyncNamespace")
        namespace_handler.server = self  # the one that it is for
        self.handlers.namespaces[namespace_handler.namespace] = namespace_handler

    def instrument(self, *_: Any, **__: Any) -> None:
        """Do nothing: Socket.IO's own admin UI is not served. The hub's dashboard is `/admin` of `hub.app`."""
        log.info("Socket.IO's admin UI is not served: the dashboard is /admin of hub.app")

    def close(self) -> None:
        """End all connections; the hub goes on."""
        self.edge.close()

    def is_asyncio_based(self) -> bool:
        """Return whether the server's methods are awaited."""
        raise NotImplementedError

    async def run(self, handler: Handler, arguments: Sequence[Any]) -> Any:
        """Call a handler; return what it returns."""
        raise NotImplementedError

    # What is known at once.

    def rooms(self, sid: str, namespace: str | None = None) -> list[str]:
        """Return the rooms that a client is in; one of them is its own, named by its id.

        Raises:
            KeyError: There is no such client here.
        """
        return [room for room in self._socket(sid, namespace).rooms if room != EVERYONE]

    def transport(self, sid: str, namespace: str | None = None) -> str:
        """Return what carries a client: `polling` or `websocket`.

        Raises:
            KeyError: There is no such client here.
        """
        return self._socket(sid, namespace).carried_by.transport

    def get_environ(self, sid: str, namespace: str | None = None) -> dict[str, Any] | None:
        """Return the request with which a client has connected, as WSGI has it; None if there is no such client."""
        socket = self.edge.socket(namespace or "/", sid)
        return None if socket is None else environ_of(socket.carried_by.request)

    def _socket(self, sid: str, namespace: str | None) -> Socket:
        socket = self.edge.socket(namespace or "/", sid)
        if socket is None:
            raise KeyError(sid)
        return socket

    # What the edge asks (`edge.Application`).

    def accepts(self, namespace: str) -> bool:
        return namespace in self.handlers or self.namespaces == ANY or namespace in self.namespaces

    async def connecting(self, socket: Socket, auth: Any) -> Refusal | None:
        found = self.handlers.find("connect", socket.namespace)
        if found is None:
            return None
        before = found.before
        environ = environ_of(socket.carried_by.request)
        environ[RECOVERED] = socket.is_recovered
        arguments = [*before, socket.sid, environ, auth]
        try:
            answer = await self.run(found.handler, self._fit(found.handler, arguments, len(before) + 2))
        except exceptions.ConnectionRefusedError as refused:
            return refused.error_args
        except ConnectionRefusedError:
            return {"message": "Connection refused by server"}
        except TrunklineError as error:
            return {"message": str(error), "data": {"code": error.code}}
        except Exception:
            log.exception("the application's handler of connect failed")
            return FAILED
        return exceptions.ConnectionRefusedError().error_args if answer is False else None

    async def handle(self, socket: Socket, event: str, arguments: Sequence[Any]) -> list[Any] | None:
        found = self.handlers.find(event, socket.namespace)
        if self._room_events is not None and event in ROOM_EVENTS and (found is None or found.before):
            return await self._room_events.handle(socket, event, [*arguments])
        if found is None:
            return None
        try:
            answer = await self.run(found.handler, [*found.before, socket.sid, *arguments])
        except Exception:
            log.exception("the application's handler of the event %r failed: it is not acknowledged", event)
            return None
        if answer is None:
            return []
        return list(answer) if isinstance(answer, tuple) else [answer]

    async def disconnected(self, socket: Socket, reason: str) -> None:
        found = self.handlers.find("disconnect", socket.namespace)
        if found is None:
            return
        arguments = [*found.before, socket.sid, reason]
        try:
            await self.run(found.handler, self._fit(found.handler, arguments, len(found.before) + 1))
        except Exception:
            log.exception("the application's handler of disconnect failed")

    def _fit(self, handler: Handler, arguments: Sequence[Any], fewest: int) -> Sequence[Any]:
        is_method = inspect.ismethod(handler) and isinstance(handler.__self__, AsyncNamespace | Namespace)
        return arguments if is_method else fitting(handler, arguments, fewest)

    # What servers with and without awaiting both do.

    async def _emit(
        self,
        event: str,
        data: Any,
        rooms: Rooms,
        skip_sid: Rooms,
        namespace: str | None,
        callback: Callable[..., Any] | None,
        message_id: str | None,
        *,
        volatile: bool,
    ) -> None:
        if event in RESERVED:
            raise ValueError(f"{event} says what happens to a connection: no event of yours can be called so")
        space, arguments = namespace or "/", _arguments(data)
        names, skip = _listed(rooms) or [EVERYONE], _listed(skip_sid)
        if callback is None and not volatile:
            await self.edge.emit(space, names, event, arguments, skip, message_id)
            return
        ack = None if callback is None else self._acknowledge(callback)
        await self.edge.send_now(space, names, event_of(event, arguments), skip, ack)

    def _acknowledge(self, callback: Callable[..., Any]) -> Callable[[list[Any]], None]:
        def acknowledge(arguments: list[Any]) -> None:
            self.edge.context.engine.tasks.spawn(self._call_back(callback, arguments))

        return acknowledge

    async def _call_back(self, callback: Callable[..., Any], arguments: Sequence[Any]) -> None:
        try:
            await self.run(callback, arguments)
        except Exception:
            log.exception("the application's callback of an acknowledgement failed")

    async def _call(self, event: str, data: Any, sid: str, namespace: str | None, timeout: float) -> Any:
        space, arguments = namespace or "/", _arguments(data)
        sent = event_of(event, arguments)
        answered: asyncio.Future[list[Any]] = asyncio.get_running_loop().create_future()

        def acknowledge(arguments: list[Any]) -> None:
            if not answered.done():
                answered.set_result(arguments)

        stop = await self.edge.send_now(space, [sid], sent, (), acknowledge)
        try:
            async with asyncio.timeout(timeout):
                found = await answered
        except TimeoutError:
            raise exceptions.TimeoutError(f"the client has not acknowledged {event!r} within {timeout:g} s") from None
        finally:
            stop()
        return tuple(found) if len(found) > 1 else found[0] if found else None

    async def _enter_room(self, sid: str, room: str, namespace: str | None) -> None:
        if not await self.edge.enter_any(namespace or "/", sid, str(room)):
            raise ValueError(f"the client {sid} is not connected to the namespace {namespace or '/'}")

    async def _leave_room(self, sid: str, room: str, namespace: str | None) -> None:
        await self.edge.leave_any(namespace or "/", sid, str(room))

    async def _close_room(self, room: str, namespace: str | None) -> None:
        await self.edge.close_room(namespace or "/", str(room))

    async def _get_session(self, sid: str, namespace: str | None) -> Any:
        socket = self._socket(sid, namespace)
        if socket.data is None:
            socket.data = {}
        return socket.data

    async def _save_session(self, sid: str, session: Any, namespace: str | None) -> None:
        await self.edge.keep_data(self._socket(sid, namespace), session)

    async def _disconnect(self, sid: str, namespace: str | None) -> None:
        await self.edge.disconnect_any(namespace or "/", sid)


class AsyncServer(BaseServer):
    """A server of Socket.IO for asyncio. What it takes, and what is different from python-socketio's: docs/socketio.md.

    Attributes:
        hub: The hub whose rooms its rooms are.
    """

    def is_asyncio_based(self) -> bool:
        return True

    async def run(self, handler: Handler, arguments: Sequence[Any]) -> Any:
        answer = handler(*arguments)
        return await answer if inspect.isawaitable(answer) else answer

    # Emitting.

    async def emit(
        self,
        event: str,
        data: Any = None,
        to: Rooms = None,
        room: Rooms = None,
        skip_sid: Rooms = None,
        namespace: str | None = None,
        callback: Callable[..., Any] | None = None,
        ignore_queue: bool = False,
        *,
        id: str | None = None,  # noqa: A002 - its name on the wire
        volatile: bool = False,
    ) -> None:
        """Emit an event; return when it is stored.

        Args:
            data: The argument, or a tuple of several; None for none.
            to, room: The id of a client, the name of a room, or a list of them; everyone in the namespace if left out.
            skip_sid: Clients that are not given it.
            callback: Called with a client's acknowledgement. Such an event is sent to those who are connected now, and
                not stored.
            id: Stores it once, however often it is emitted to the same room with this id.
            volatile: Send it to those who are connected now and take it, and do not store it.

        Raises:
            RequestError: It is too large or too deep, or a name is not valid.
            StoreUnavailable, Overloaded: It may be stored or not: emit it again, with the same id.
            TypeError, ValueError: *data* cannot be JSON with bytes.
        """
        await self._emit(event, data, to or room, skip_sid, namespace, callback, id, volatile=volatile)

    async def send(
        self,
        data: Any,
        to: Rooms = None,
        room: Rooms = None,
        skip_sid: Rooms = None,
        namespace: str | None = None,
        callback: Callable[..., Any] | None = None,
        ignore_queue: bool = False,
    ) -> None:
        """Emit the event `message`; as `emit`."""
        await self.emit("message", data, to, room, skip_sid, namespace, callback, ignore_queue)

    async def call(
        self,
        event: str,
        data: Any = None,
        to: str | None = None,
        sid: str | None = None,
        namespace: str | None = None,
        timeout: float = CALL_S,
        ignore_queue: bool = False,
    ) -> Any:
        """Emit an event to one client; return what its acknowledgement has: None, a value, or a tuple of several.

        Raises:
            ValueError: It is not said to whom.
            exceptions.TimeoutError: There was none within *timeout* seconds.
        """
        client = to or sid
        if client is None:
            raise ValueError("call: say which client, by to= or sid=")
        return await self._call(event, data, client, namespace, timeout)

    # Rooms and sessions.

    async def enter_room(self, sid: str, room: str, namespace: str | None = None) -> None:
        """Let a client be in a room: it is given what is emitted there from now on.

        Raises:
            ValueError: The client is not connected.
            RequestError: It is in too many rooms.
            StoreUnavailable: The log is away.
        """
        await self._enter_room(sid, room, namespace)

    async def leave_room(self, sid: str, room: str, namespace: str | None = None) -> None:
        """Let a client be in a room no longer."""
        await self._leave_room(sid, room, namespace)

    async def close_room(self, room: str, namespace: str | None = None) -> None:
        """Let all clients leave a room."""
        await self._close_room(room, namespace)

    async def get_session(self, sid: str, namespace: str | None = None) -> Any:
        """Return what the application keeps with a client; an empty dict at first.

        Raises:
            KeyError: There is no such client here.
        """
        return await self._get_session(sid, namespace)

    async def save_session(self, sid: str, session: Any, namespace: str | None = None) -> None:
        """Keep something with a client, until it is gone.

        Raises:
            KeyError: There is no such client here.
        """
        await self._save_session(sid, session, namespace)

    @asynccontextmanager
    async def session(self, sid: str, namespace: str | None = None) -> AsyncIterator[Any]:
        """Get what is kept with a client, and save it at the end: `async with sio.session(sid) as session: …`."""
        session = await self.get_session(sid, namespace)
        try:
            yield session
        finally:
            await self.save_session(sid, session, namespace)

    async def disconnect(
        self,
        sid: str,
        namespace: str | None = None,
        ignore_queue: bool = False,
    ) -> None:
        """Disconnect a client; it does not come back by itself. Harmless if it is not connected."""
        await self._disconnect(sid, namespace)

    async def shutdown(self) -> None:
        """End all connections; the hub goes on."""
        self.close()

    # Tasks.

    def start_background_task(
        self, target: Callable[..., Coroutine[Any, Any, Any]], *args: Any, **kwargs: Any
    ) -> asyncio.Task[Any]:
        """Run a coroutine function as a task; return the task."""
        return asyncio.ensure_future(target(*args, **kwargs))

    async def sleep(self, seconds: float = 0) -> None:
        """Wait."""
        await asyncio.sleep(seconds)


_WITHOUT_MEANING = frozenset(
    (
        "async_mode", "logger", "engineio_logger", "json", "serializer", "cookie", "cors_credentials",
        "http_compression", "compression_threshold", "monitor_clients", "websocket_compression",
    )
)  # fmt: skip


def _check_more(more: Mapping[str, Any]) -> None:
    unknown = sorted(set(more) - _WITHOUT_MEANING)
    if unknown:
        raise ConfigError(f"a server of Socket.IO has no setting {unknown[0]} (docs/socketio.md)")
    if more.get("json") is not None or more.get("serializer", "default") != "default":
        raise ConfigError("json and serializer: packets are JSON, in the encoding of the log")


def _hub_of(hub: Hub | str | None, manager: HasHub | None, origins: Sequence[str]) -> Hub:
    if manager is not None:
        if origins:
            manager.origins = origins
        return manager.hub
    if isinstance(hub, Hub):
        return hub
    return Hub(origins=origins) if hub is None else Hub(hub, origins=origins)


def _origins(given: str | Sequence[str] | None) -> Sequence[str]:
    if given is None:
        return ()
    if isinstance(given, str):
        return [given]
    return list(given) or ["*"]


def _arguments(data: Any) -> list[Any]:
    if data is None:
        return []
    return list(data) if isinstance(data, tuple) else [data]


def _listed(names: Rooms) -> list[str]:
    if names is None:
        return []
    return [str(names)] if isinstance(names, str | int) else [str(name) for name in names]
