"""Engine.IO by itself, with the API of python-engineio: messages both ways, without events, rooms or a log.

`import trunkline.socketio.engineio as engineio`
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar, overload

from starlette.types import ASGIApp as Application

from trunkline.hub import Hub, context_of
from trunkline.socketio.app import ASGIApp as _ASGIApp
from trunkline.socketio.app import StaticFiles
from trunkline.socketio.handlers import fitting
from trunkline.transports.socketio.endpoint import Endpoint, environ_of
from trunkline.transports.socketio.session import SERVER_DISCONNECT, Session, Sessions, Settings

log = logging.getLogger("trunkline")

H = TypeVar("H", bound=Callable[..., Any])
WAITING_MAX = 100  # messages of one client that wait, or are being heard
EVENTS = ("connect", "message", "disconnect")


class _Owner:
    """What a session says (`session.Owner`): nothing is heard before the application has let it in."""

    def __init__(self, server: AsyncServer, session: Session) -> None:
        self._server = server
        self._session = session
        self._early: list[str | bytes] | None = []
        self._in_flight = 0

    def received(self, data: str | bytes) -> None:
        if self._early is not None:
            self._early.append(data)
            self._update_hold()
            return
        self._in_flight += 1
        self._update_hold()
        self._server.spawn(self._hear(data))

    async def _hear(self, data: str | bytes) -> None:
        try:
            await self._server.hear("message", self._session.sid, data)
        finally:
            self._in_flight -= 1
            self._update_hold()

    def let_in(self) -> None:
        """Have heard what it says."""
        early, self._early = self._early or [], None
        for data in early:
            self.received(data)

    def _update_hold(self) -> None:
        held = len(self._early or ()) >= WAITING_MAX or self._in_flight >= WAITING_MAX
        if self._session.is_open and held is not self._session.held:
            (self._session.hold if held else self._session.release)()

    def full_changed(self) -> None:
        """Do nothing: there is no log to wait in."""

    def ended(self, reason: str) -> None:
        self._server.spawn(self._server.hear("disconnect", self._session.sid, reason))


class AsyncServer:
    """A server of Engine.IO.

    Args:
        hub: Whose limits and origins count; without it, one in memory.
        ping_interval, ping_timeout: In seconds.
        max_http_buffer_size: The most bytes that a client may send at once.
        allow_upgrades: Whether clients that poll may go over to a WebSocket.
        name: The same on all nodes, and another one than other servers of the same hub have.
    """

    def __init__(
        self,
        hub: Hub | None = None,
        *,
        ping_interval: float = 25,
        ping_timeout: float = 20,
        max_http_buffer_size: int = 1_000_000,
        allow_upgrades: bool = True,
        name: str = "engineio",
    ) -> None:
        self.hub = hub or Hub("memory:")
        self.owns_hub = hub is None
        self._context = context_of(self.hub)
        self._handlers: dict[str, Callable[..., Any]] = {}
        settings = Settings(
            ping_interval_s=ping_interval,
            ping_timeout_s=ping_timeout,
            bytes_max=max_http_buffer_size,
            allow_upgrades=allow_upgrades,
        )
        context = self._context
        self._sessions = Sessions(settings, context.clock, self._node, self._begin, lambda: context.limits)
        context.on_drain.append(self._sessions.end_all)
        self.endpoint = Endpoint(self._context, self._sessions, name)

    def _node(self) -> str:
        return self._context.engine.name

    @overload
    def on(self, event: str, handler: None = None) -> Callable[[H], H]: ...

    @overload
    def on(self, event: str, handler: H) -> H: ...

    def on(self, event: str, handler: H | None = None) -> H | Callable[[H], H]:
        """Let a function hear `connect` (its id and the request), `message` (and the data) or `disconnect`.

        Raises:
            ValueError: There is no such event.
        """
        if event not in EVENTS:
            raise ValueError(f"an event of Engine.IO is one of {', '.join(EVENTS)}")

        def register(function: H) -> H:
            self._handlers[event] = function
            return function

        return register if handler is None else register(handler)

    async def send(self, sid: str, data: str | bytes) -> None:
        """Send a message to a client. Harmless if it is gone."""
        session = self._sessions.get(sid)
        if session is not None:
            session.message(data)

    async def disconnect(self, sid: str | None = None) -> None:
        """End a client's session; of all clients, without an id."""
        for session in [self._sessions.get(sid)] if sid is not None else list(self._sessions):
            if session is not None:
                session.end(SERVER_DISCONNECT)

    def transport(self, sid: str) -> str:
        """Return what carries a client: `polling` or `websocket`.

        Raises:
            KeyError: There is no such client.
        """
        session = self._sessions.get(sid)
        if session is None:
            raise KeyError(sid)
        return session.transport

    def close(self) -> None:
        """End all sessions."""
        self._sessions.end_all()
        self._sessions.stop()

    def spawn(self, work: Coroutine[Any, Any, Any]) -> None:
        """Run something beside."""
        self._context.engine.tasks.spawn(work)

    async def hear(self, event: str, *arguments: Any) -> Any:
        """Have an event heard; return what its handler returns."""
        handler = self._handlers.get(event)
        if handler is None:
            return None
        fewest = 1 if event == "disconnect" else len(arguments)
        try:
            answer = handler(*fitting(handler, arguments, fewest))
            return await answer if inspect.isawaitable(answer) else answer
        except Exception:
            log.exception("the application's handler of %s failed", event)
            return False

    def _begin(self, session: Session) -> _Owner:
        owner = _Owner(self, session)
        self.spawn(self._connected(session, owner))
        return owner

    async def _connected(self, session: Session, owner: _Owner) -> None:
        if await self.hear("connect", session.sid, environ_of(session.request)) is False:
            session.end(SERVER_DISCONNECT)
        else:
            owner.let_in()


class ASGIApp(_ASGIApp):
    """A server of Engine.IO as an ASGI application, beside another one: as `socketio.ASGIApp`."""

    def __init__(
        self,
        engineio_server: AsyncServer,
        other_asgi_app: Application | None = None,
        static_files: StaticFiles | None = None,
        engineio_path: str | None = "engine.io",
        on_startup: Callable[[], Any] | None = None,
        on_shutdown: Callable[[], Any] | None = None,
    ) -> None:
        super().__init__(engineio_server, other_asgi_app, static_files, engineio_path, on_startup, on_shutdown)
