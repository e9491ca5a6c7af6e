"""Rooms in a Starlette application: mounted, started and stopped with it, and asking it who its clients are."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import HTTPConnection, Request
from starlette.types import Scope

from trunkline.access.policy import AuthenticateHook
from trunkline.core.grant import Action, Grant
from trunkline.core.message import Receipt
from trunkline.hub import Hub, context_of
from trunkline.outbox.relay import Relay
from trunkline.transports.app import head_of, key_of
from trunkline.wire.credentials import Credentials

FunctionT = TypeVar("FunctionT", bound=Callable[..., Any])

PUBLISH_S = 2.0  # a request waits no longer for the log, unless it says so

# What Starlette and FastAPI have put there while they found the endpoint of the rooms.
_OF_THE_ROUTE = ("endpoint", "route", "path_params", "extensions", "subprotocols", "starlette.exception_handlers")


class Rooms:
    """Mounts a hub in an application: `rooms = Rooms(app, hub)`.

    The hub starts before the application's own lifespan begins, and is drained and closed behind its end; a relay runs
    between the two. Errors of the hub in the application's endpoints are answered as PROTOCOL.md has them.

    Args:
        app: The application.
        hub: Its rooms.
        path: Under which they are mounted.
        relay: Publishes the messages of an outbox for as long as the hub runs (docs/outbox.md).

    Attributes:
        hub: The hub.
    """

    def __init__(self, app: Starlette, hub: Hub, path: str = "/realtime", *, relay: Relay | None = None) -> None:
        self.hub = hub
        self._app = app
        self._context = context_of(hub)
        app.mount(path, hub.app)
        for kind, handler in hub.exception_handlers.items():
            app.add_exception_handler(kind, handler)
        self._lifespan_state: Mapping[str, Any] = {}
        own = app.router.lifespan_context

        @asynccontextmanager
        async def lifespan(app: Any) -> AsyncIterator[Any]:
            async with hub.lifespan(), own(app) as state, _running(relay):
                self._lifespan_state = state or {}
                yield state

        app.router.lifespan_context = lifespan

    # Who is it, and what may it do.

    def authenticate(self, hook: FunctionT) -> FunctionT:
        """Decorator: say who a client is, by its request.

        The hook gets the request of a client (`request.session`, `request.user`, `request.cookies`), also of one that
        opens a WebSocket, and returns a `Grant`, or None if it does not know the client. It may be `async`; if it is
        not, it runs on a thread. It is asked once for each connection and each poll.

        A token that a WebSocket sends later (its first message, or a newer one) comes to it as the header
        `Authorization`; a newer one without the cookies and the session of the connection's beginning.
        """
        self.hub.authenticate(self._with_request(lambda request: called(hook, request)))
        return hook

    async def grant(self, request: HTTPConnection) -> Grant:
        """Return the grant of a request to the application, by the hub's own rules: the hook, a token, a cookie.

        Raises:
            RequestError: It has none: `unauthorized`, `token_expired` or `revoked`; such an error that an endpoint
                raises is answered with 401.
            HookFailed: The application could not decide.
        """
        access = self._context.access
        head = head_of(request)
        key = key_of(self._context, request)  # type: ignore[arg-type]
        return await access.authenticate(access.credentials(head, key, request.scope))

    async def check(self, grant: Grant, action: Action, room: str) -> None:
        """Check that a client may do something, by the hub's own rules.

        Args:
            action: `read`, `write`, `signal`, `presence`, `redact`, `redact_own`, `call`, `consume` or `admin`.

        Raises:
            RequestError: `forbidden`; an endpoint's answer is 403 then.
            HookFailed: The application could not decide.
        """
        await self._context.access.check(grant, action, room)

    def _scope_of_no_request(self) -> Scope:
        """Return the scope of what is asked when the client's request is over."""
        return request_scope(self._app) | {"state": dict(self._lifespan_state)}

    def _with_request(self, ask: Callable[[Request], Awaitable[Grant | None]]) -> AuthenticateHook:
        return _RequestHook(self._app, ask)

    # Publishing from requests.

    async def publish(
        self,
        room: str,
        data: Any,
        *,
        id: str | None = None,  # noqa: A002 - its name on the wire
        sender: str | None = None,
        timeout_s: float = PUBLISH_S,
    ) -> Receipt:
        """`hub.publish` for endpoints and background tasks: it gives up after *timeout_s* seconds.

        Raises:
            TimeoutError: It is not known whether it was stored; publish it again with the same *id*.
            TrunklineError: As from `hub.publish`.
        """
        async with asyncio.timeout(timeout_s):
            return await self.hub.publish(room, data, id=id, sender=sender)

    def publish_sync(
        self,
        room: str,
        data: Any,
        *,
        id: str | None = None,  # noqa: A002 - its name on the wire
        sender: str | None = None,
        timeout_s: float = PUBLISH_S,
    ) -> Receipt:
        """`publish` for endpoints and background tasks that are not `async`.

        Raises:
            TimeoutError, TrunklineError: As from `publish`.
        """
        return self.hub.publish_sync(room, data, id=id, sender=sender, timeout_s=timeout_s)


class _RequestHook:
    """An `authenticate` hook that gets the request of the application (`AuthenticateHook`)."""

    needs_scope = True

    def __init__(self, app: Starlette, ask: Callable[[Request], Awaitable[Grant | None]]) -> None:
        self._app = app
        self._ask = ask

    async def __call__(self, credentials: Credentials) -> Grant | None:
        return await self._ask(Request(request_scope(self._app, credentials)))


def request_scope(app: Starlette, credentials: Credentials | None = None) -> dict[str, Any]:
    """Return the scope of a request to *app* that brings these credentials, also if they came on a WebSocket.

    What is made for a request (a dependency, `request.user`) then works for all transports.
    """
    scope: dict[str, Any] = {"path": "/", "query_string": b"", "headers": [], "http_version": "1.1"}
    if credentials is not None:
        scope.update(credentials.scope or {})
        if credentials.token is not None and not any(name == b"authorization" for name, _ in scope["headers"]):
            token = credentials.token.encode("latin-1", "replace")
            scope["headers"] = [*scope["headers"], (b"authorization", b"Bearer " + token)]
    for name in _OF_THE_ROUTE:
        scope.pop(name, None)
    scope.update(type="http", method="GET", app=app)
    return scope


@asynccontextmanager
async def _running(relay: Relay | None) -> AsyncIterator[None]:
    if relay is None:
        yield
        return
    relay.start()
    try:
        yield
    finally:
        await asyncio.to_thread(relay.stop)  # which publishes by the event loop that runs here


async def called(function: Callable[..., Any], *arguments: Any, **more: Any) -> Any:
    """Return what a function of the application returns: a coroutine's here, another one's from a thread.

    A function that is no coroutine may still return one, behind a decorator: what is not awaited is no answer.
    """
    if asyncio.iscoroutinefunction(function):
        answer = function(*arguments, **more)
    else:
        answer = await run_in_threadpool(function, *arguments, **more)
    return await answer if inspect.isawaitable(answer) else answer
