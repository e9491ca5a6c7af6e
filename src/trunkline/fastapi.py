"""Rooms in a FastAPI application: `trunkline.starlette`, and hooks that take FastAPI's dependencies.

A hook is asked as a route of its own, by FastAPI itself: so its dependencies are solved, overridden and closed as those
of an endpoint are, also for a WebSocket, whose request looks to them like one by HTTP.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from typing import Annotated, Any, TypeVar, get_args, get_origin, get_type_hints

from fastapi import APIRouter, FastAPI, params
from fastapi.exceptions import RequestValidationError
from fastapi.middleware.asyncexitstack import AsyncExitStackMiddleware
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection, Request
from starlette.responses import Response
from starlette.types import Message, Scope

from trunkline import starlette
from trunkline.core.grant import Action, Grant
from trunkline.errors import ConfigError, HookFailed, Refused, RequestError, TrunklineError
from trunkline.handlers.registry import PublishHook
from trunkline.hub import Hub
from trunkline.outbox.relay import Relay
from trunkline.starlette import called

FunctionT = TypeVar("FunctionT", bound=Callable[..., Any])


class Rooms(starlette.Rooms):
    """Mounts a hub in an application: `rooms = Rooms(app, hub)`, and lets hooks have FastAPI's dependencies.

    Without dependencies, and without a request, hooks are the hub's own. A dependency that raises `HTTPException`
    refuses the client: in `authenticate` with 401 and with redirects as one that is not known, with 429 for a moment,
    with 5xx as one that cannot be decided about now, and else as one that may not; in the other hooks always as the
    last.

    Args:
        app: The application.
        hub: Its rooms.
        path: Under which they are mounted.
        relay: Publishes the messages of an outbox for as long as the hub runs (docs/outbox.md).

    Attributes:
        hub: The hub.
    """

    _app: FastAPI

    def __init__(self, app: FastAPI, hub: Hub, path: str = "/realtime", *, relay: Relay | None = None) -> None:
        super().__init__(app, hub, path, relay=relay)

    def authenticate(self, hook: FunctionT) -> FunctionT:
        """Decorator: say who a client is, by FastAPI's dependencies: `def who(user: User = Depends(current_user))`.

        All parameters of the hook are dependencies, or the `Request`. It returns a `Grant`, or None if it does not know
        the client; it may be `async`. It is asked once for each connection and each poll.

        Raises:
            ConfigError: FastAPI cannot solve its parameters.
        """
        solved = _Solved(self._app, hook, 0)

        async def ask(request: Request) -> Grant | None:
            try:
                grant: Grant | None = await solved.call(dict(request.scope))
            except HTTPException as error:
                raise _refusal(error) from None
            except RequestValidationError as error:  # it lacks a header, a cookie
                raise RequestError("unauthorized", f"the request is not complete: {_missing(error)}") from None
            return grant

        self.hub.authenticate(self._with_request(ask))
        return hook

    def authorize(self, hook: FunctionT) -> FunctionT:
        """Decorator: decide what a client may do, as `hub.authorize`: `(grant, action, room)`, and dependencies.

        The dependencies are solved without the client's request, which is over: the grant says who it is.

        Raises:
            ConfigError: FastAPI cannot solve its parameters.
        """
        solved = _Solved(self._app, hook, 3)
        if not solved.has_dependencies:
            self.hub.authorize(hook)
            return hook

        async def may(grant: Grant, action: Action, room: str) -> bool:
            try:
                return bool(await solved.call(self._scope_of_no_request(), grant, action, room))
            except HTTPException:
                return False

        self.hub.authorize(may)
        return hook

    def before_publish(self, *patterns: str) -> Callable[[FunctionT], FunctionT]:
        """Decorator: as `hub.before_publish`: `(grant, message)`, and dependencies, as in `authorize`.

        Raises:
            ConfigError: As from `hub.before_publish`, or FastAPI cannot solve the parameters.
        """

        def register(hook: FunctionT) -> FunctionT:
            solved = _Solved(self._app, hook, 2)
            self.hub.before_publish(*patterns)(self._refusing(solved) if solved.has_dependencies else hook)
            return hook

        return register

    def call(self, name: str) -> Callable[[FunctionT], FunctionT]:
        """Decorator: as `hub.call`: the `Call`, perhaps its data, and dependencies, as in `authorize`.

        Raises:
            ConfigError: As from `hub.call`, or FastAPI cannot solve the parameters.
        """

        def register(function: FunctionT) -> FunctionT:
            solved = _Solved(self._app, function, 2)
            self.hub.call(name)(self._refusing(solved) if solved.has_dependencies else function)
            return function

        return register

    def _refusing(self, solved: _Solved) -> PublishHook:
        async def function(*arguments: Any) -> Any:
            try:
                return await solved.call(self._scope_of_no_request(), *arguments)
            except HTTPException as error:
                status = error.status_code if 400 <= error.status_code < 500 else 403
                raise Refused("refused", str(error.detail), status=status) from None

        function.__signature__ = inspect.Signature(solved.given)  # type: ignore[attr-defined]
        function.__qualname__ = solved.name
        return function


class _Call:
    """What a route is asked for."""

    def __init__(self, arguments: Sequence[Any]) -> None:
        self.arguments = arguments
        self.result: Any = None


_asked: ContextVar[_Call] = ContextVar("trunkline.asked")


class _Solved:
    """A function whose dependencies FastAPI solves.

    Args:
        given_max: How many parameters it is given at most; those behind them, and dependencies, are solved.

    Attributes:
        given: The parameters that it is given.
        has_dependencies: Whether there are any others.

    Raises:
        ConfigError: FastAPI cannot solve its parameters.
    """

    def __init__(self, app: FastAPI, function: Callable[..., Any], given_max: int) -> None:
        self.name = getattr(function, "__qualname__", repr(function))
        try:
            hints = get_type_hints(function, include_extras=True)
        except (NameError, TypeError) as error:
            raise ConfigError(
                f"the annotations of {self.name} cannot be resolved ({error}): the types must stand at the top of its"
                " module"
            ) from None
        parameters = [
            parameter.replace(annotation=hints.get(name, parameter.annotation))
            for name, parameter in inspect.signature(function).parameters.items()
        ]
        first = next((n for n, parameter in enumerate(parameters) if _is_solved(parameter)), len(parameters))
        first = min(first, given_max)
        self.given, others = parameters[:first], parameters[first:]
        self.has_dependencies = bool(others)
        as_keywords = [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in others]

        async def endpoint(**solved: Any) -> Response:
            call = _asked.get()
            call.result = await called(function, *call.arguments, **solved)
            return Response()

        endpoint.__signature__ = inspect.Signature(as_keywords)  # type: ignore[attr-defined]
        endpoint.__annotations__ = {parameter.name: parameter.annotation for parameter in as_keywords}
        router = APIRouter(dependency_overrides_provider=app)
        try:
            router.add_api_route("/", endpoint, response_model=None)
        except Exception as error:  # noqa: BLE001 - FastAPI has errors of several kinds for this
            raise ConfigError(f"FastAPI cannot solve the parameters of {self.name}: {error}") from None
        self._route = AsyncExitStackMiddleware(router.routes[0].handle)

    async def call(self, scope: Scope, *arguments: Any) -> Any:
        """Return what the function returns for these arguments; its dependencies are open until then.

        Raises:
            HTTPException: A dependency, or the function, does not let the client in.
        """
        call = _Call(arguments)
        asked = _asked.set(call)
        try:
            await self._route(scope, _no_body, _nowhere)
        finally:
            _asked.reset(asked)
        return call.result


def _refusal(error: HTTPException) -> TrunklineError:
    """Return what a client is told whose authentication a dependency has refused."""
    text = str(error.detail)
    if error.status_code >= 500:
        return HookFailed(text)
    if error.status_code == 429:
        after = str((error.headers or {}).get("Retry-After", ""))
        return RequestError("rate_limited", text, int(after) * 1000 if after.isdecimal() else 1000)
    return RequestError("unauthorized" if error.status_code <= 401 else "forbidden", text)


def _missing(error: RequestValidationError) -> str:
    return "; ".join(f"{' '.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors())[:500]


def _is_solved(parameter: inspect.Parameter) -> bool:
    """Return whether a parameter is for FastAPI: a dependency, a header, a cookie, the request."""
    hint = parameter.annotation
    marks: list[Any] = [parameter.default]
    if get_origin(hint) is Annotated:
        hint, *more = get_args(hint)
        marks += more
    if any(isinstance(mark, params.Depends | params.Param) for mark in marks):
        return True
    return isinstance(hint, type) and issubclass(hint, HTTPConnection)


async def _no_body() -> Message:
    return {"type": "http.request", "body": b"", "more_body": False}


async def _nowhere(message: Message) -> None:
    """Send nothing: the route's answer is its result."""
