"""Rooms in a Starlette application: hooks that take the request, whichever way it came."""

from __future__ import annotations

from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.authentication import AuthCredentials, AuthenticationBackend, SimpleUser
from starlette.middleware import Middleware
from starlette.middleware.authentication import AuthenticationMiddleware
from starlette.middleware.sessions import SessionMiddleware
from starlette.requests import HTTPConnection, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from trunkline import Grant, Hub, Permissions
from trunkline.client import ClientError
from trunkline.starlette import Rooms
from trunkline.testing import TestHub

TRANSPORTS = ["websocket", "sse", "longpoll", "shortpoll"]


class ByHeader(AuthenticationBackend):
    """Who the header names."""

    async def authenticate(self, conn: HTTPConnection) -> tuple[AuthCredentials, SimpleUser] | None:
        name = conn.headers.get("x-user")
        return None if name is None else (AuthCredentials(["signed in"]), SimpleUser(name))


async def sign_in(request: Request) -> Response:
    request.session["role"] = "clerk"
    return JSONResponse({})


def make() -> tuple[Starlette, Hub, Rooms]:
    middleware = [
        Middleware(SessionMiddleware, secret_key="of the test"),
        Middleware(AuthenticationMiddleware, backend=ByHeader()),
    ]
    app = Starlette(routes=[Route("/sign-in", sign_in, methods=["POST"])], middleware=middleware)
    hub = Hub("memory:")
    return app, hub, Rooms(app, hub)


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("is_async", [True, False])
async def test_a_hook_sees_the_user_and_the_session_of_the_request(transport: str, is_async: bool) -> None:
    app, hub, rooms = make()

    def who(request: Request) -> Grant | None:
        assert request.app is app
        if not request.user.is_authenticated:
            return None
        role = request.session.get("role", "customer")
        return Grant(user=request.user.display_name, permissions=Permissions(read=(f"{role}s:*",)))

    async def who_async(request: Request) -> Grant | None:
        return who(request)

    rooms.authenticate(who_async if is_async else who)
    async with TestHub(hub, app) as test, test.http() as http:
        ada = await test.reader("customers:1", headers={"X-User": "ada"}, transport=transport)
        assert ada.client.user == "ada"
        async with http.post("/sign-in") as response:
            cookies = {"session": response.cookies["session"].value}
        clerk = await test.reader("clerks:1", headers={"X-User": "bob"}, cookies=cookies, transport=transport)
        await hub.publish("clerks:1", "hello")
        await clerk.expect("hello")
        with pytest.raises(ClientError, match="log in again|authenticate first"):
            await test.reader("customers:1", transport=transport)


async def test_a_newer_token_of_a_websocket_comes_as_a_header() -> None:
    app, hub, rooms = make()
    seen: list[tuple[str | None, bool]] = []

    @rooms.authenticate
    def who(request: Request) -> Grant | None:
        token = request.headers.get("authorization")
        if token is None:  # a browser's WebSocket says its token in its first message
            return None
        seen.append((token, "session" in request.scope))
        return Grant(user="ada", permissions=Permissions(read=("*",)), expires_at=test.clock.wall_s() + 60)

    tokens = iter("abc")
    test = TestHub(hub, app)
    async with test:
        ada = await test.reader("r", token=lambda: next(tokens))
        await test.clock.tick(45)
        await hub.publish("r", 1)
        await ada.expect(1)
    assert seen == [("Bearer a", True), ("Bearer b", False)]


async def test_the_path_is_the_application_s_choice() -> None:
    app, hub = Starlette(), Hub("memory:")
    Rooms(app, hub, path="/live")
    async with TestHub(hub, app) as test:
        assert test.url.endswith("/live")
        ada = await test.reader("r", user="ada")
        await ada.publish(1)
        await ada.expect(1)


async def test_the_state_of_a_lifespan_reaches_the_requests() -> None:
    async def show(request: Request) -> Any:
        return JSONResponse(request.state.number)

    from contextlib import asynccontextmanager

    @asynccontextmanager
    async def lifespan(app: Starlette) -> Any:
        yield {"number": 7}

    app, hub = Starlette(routes=[Route("/", show)], lifespan=lifespan), Hub("memory:")
    Rooms(app, hub)
    async with TestHub(hub, app) as test, test.http() as http, http.get("/") as response:
        assert await response.json() == 7
