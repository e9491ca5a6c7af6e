"""Rooms in a FastAPI application: one call mounts them, and hooks have the application's own dependencies."""

import functools
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

import aiohttp
import pytest
from fastapi import BackgroundTasks, Depends, FastAPI, Header, HTTPException, Request
from fastapi.security import OAuth2PasswordBearer
from starlette.middleware.sessions import SessionMiddleware

from trunkline import Call, ConfigError, Grant, Hub, IncomingMessage, Permissions, Refused
from trunkline.client import ClientError, RoomError
from trunkline.config import Config
from trunkline.errors import StoreUnavailable
from trunkline.fastapi import Rooms
from trunkline.server.app_server import AppServer
from trunkline.testing import TestHub

TRANSPORTS = ["websocket", "sse", "longpoll", "shortpoll"]
opened: list[str] = []  # of the database, by dependencies


class Database:
    """One session of it."""

    def __init__(self) -> None:
        self.members = {"chat:1": {"ada"}}


def database() -> Iterator[Database]:
    opened.append("opened")
    try:
        yield Database()
    finally:
        opened.append("closed")


def current_user(request: Request) -> str | None:
    return request.session.get("user")


def signed_in(user: Annotated[str | None, Depends(current_user)]) -> str:
    if user is None:
        raise HTTPException(401, "sign in first")
    return user


def make() -> tuple[FastAPI, Hub, Rooms]:
    app, hub = FastAPI(), Hub("memory:", pages=False)
    app.add_middleware(SessionMiddleware, secret_key="of the test")
    rooms = Rooms(app, hub)

    @app.post("/sign-in")
    async def sign_in(request: Request, user: str) -> None:
        request.session["user"] = user

    return app, hub, rooms


async def sign_in(http: aiohttp.ClientSession, user: str) -> dict[str, str]:
    async with http.post(f"/sign-in?user={user}") as response:
        return {"session": response.cookies["session"].value}


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_dependency_says_who_a_client_is_on_every_transport(transport: str) -> None:
    app, hub, rooms = make()

    @rooms.authenticate
    async def who(user: Annotated[str, Depends(signed_in)]) -> Grant:
        return Grant(user=user, permissions=Permissions(read=(f"inbox:{user}",), write=(f"inbox:{user}",)))

    async with TestHub(hub, app) as test, test.http() as http:
        cookies = await sign_in(http, "ada")
        ada = await test.reader("inbox:ada", cookies=cookies, transport=transport)
        await hub.publish("inbox:ada", "hello")
        await ada.expect("hello")
        await ada.publish("and back")
        await ada.expect("and back", sender="ada")
        with pytest.raises(RoomError, match="may not read"):
            await test.reader("inbox:bob", cookies=cookies, transport=transport)
        with pytest.raises(ClientError, match="sign in first|authenticate first"):
            await test.reader("inbox:ada", transport=transport)


async def test_dependencies_are_closed_when_the_question_is_answered_and_can_be_overridden() -> None:
    app, hub, rooms = make()
    held: list[int] = []

    @rooms.authenticate
    def who(db: Annotated[Database, Depends(database)], user: Annotated[str, Depends(signed_in)]) -> Grant:
        held.append(len(opened))
        return Grant(user=user, permissions=Permissions(read=("*",)))

    app.dependency_overrides[signed_in] = lambda: "eve"
    opened.clear()
    async with TestHub(hub, app) as test:
        reader = await test.reader("r")
        assert reader.client.user == "eve"
    assert opened == ["opened", "closed"]
    assert held == [1], "it was open while the hook ran"


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_bearer_token_comes_to_a_dependency_by_whatever_way_it_was_sent(transport: str) -> None:
    """A browser's WebSocket says its token in its first message; FastAPI's own scheme looks for a header."""
    app, hub, rooms = make()
    scheme = OAuth2PasswordBearer(tokenUrl="token")

    @rooms.authenticate
    async def who(token: Annotated[str, Depends(scheme)]) -> Grant | None:
        return Grant(user="ada", permissions=Permissions(read=("*",))) if token == "good" else None

    async with TestHub(hub, app) as test:
        reader = await test.reader("r", token="good", transport=transport)
        await hub.publish("r", 1)
        await reader.expect(1)
        with pytest.raises(ClientError, match="did not accept"):
            await test.reader("r", token="bad", transport=transport)


async def test_what_a_client_may_do_is_decided_with_dependencies() -> None:
    app, hub, rooms = make()

    @rooms.authenticate
    async def who(x_user: Annotated[str, Header()]) -> Grant:
        return Grant(user=x_user)

    @rooms.authorize
    async def may(grant: Grant, action: str, room: str, db: Annotated[Database, Depends(database)]) -> bool:
        if room == "locked":
            raise HTTPException(403)
        return grant.user in db.members.get(room, set())

    @rooms.before_publish("chat:*")
    def shorten(grant: Grant, message: IncomingMessage, db: Annotated[Database, Depends(database)]) -> None:
        if grant.user not in db.members[message.room]:
            raise AssertionError
        if message.data == "bad":
            raise HTTPException(422, "not here")
        message.data = message.data.strip()

    opened.clear()
    async with TestHub(hub, app) as test:
        ada = await test.reader("chat:1", headers={"X-User": "ada"})
        await ada.publish("  hello ")
        await ada.expect("hello")
        with pytest.raises(ClientError, match="not here"):
            await ada.publish("bad")
        for room in ("chat:2", "locked"):
            with pytest.raises(RoomError, match="may not read"):
                await test.reader(room, headers={"X-User": "ada"})
    assert opened.count("opened") == opened.count("closed") >= 4


@pytest.mark.parametrize("is_async", [True, False])
async def test_a_hook_may_take_the_request_itself(is_async: bool) -> None:
    app, hub, rooms = make()

    def who(request: Request, user: Annotated[str | None, Depends(current_user)]) -> Grant | None:
        return Grant(user=user or request.headers["x-user"], permissions=Permissions(read=("*",)))

    async def who_async(request: Request) -> Grant | None:
        return who(request, None)

    rooms.authenticate(who_async if is_async else who)
    async with TestHub(hub, app) as test:
        for transport in TRANSPORTS:
            reader = await test.reader("r", headers={"X-User": "ada"}, transport=transport)
            assert reader.client.user == "ada"


@pytest.mark.parametrize(
    ("status", "answered", "code"),
    [
        (401, 401, "unauthorized"),
        (303, 401, "unauthorized"),
        (403, 403, "forbidden"),
        (429, 429, "rate_limited"),
        (503, 500, "internal"),
    ],
)
async def test_what_a_dependency_refuses_with_is_what_the_client_is_told(status: int, answered: int, code: str) -> None:
    app, hub, rooms = make()

    def refuse() -> str:
        raise HTTPException(status, "in the application's words", {"Retry-After": "7"})

    @rooms.authenticate
    async def who(user: Annotated[str, Depends(refuse)]) -> None:
        return None

    @app.get("/me")
    async def me(grant: Annotated[Grant, Depends(rooms.grant)]) -> None:
        return None

    async with TestHub(hub, app) as test, test.http() as http:
        for path in ("/me", "/realtime/rooms/r"):
            async with http.get(path) as response:
                error = (await response.json())["error"]
                assert (response.status, error["code"]) == (answered, code)
                assert error["message"] == "in the application's words"
                if status == 429:
                    assert error["retry_after_ms"] == 7000


async def test_a_coroutine_behind_a_plain_decorator_is_awaited() -> None:
    app, hub, rooms = make()

    def logged(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def inner(*arguments: Any, **more: Any) -> Any:
            return function(*arguments, **more)

        return inner

    @rooms.authenticate
    @logged
    async def who(x_user: Annotated[str, Header()]) -> Grant:
        return Grant(user=x_user, permissions=Permissions(write=("*",)))

    @rooms.authorize
    @logged
    async def may(grant: Grant, action: str, room: str, db: Annotated[Database, Depends(database)]) -> bool:
        return action == "write"

    @rooms.before_publish()
    @logged
    async def refuse(grant: Grant, message: IncomingMessage, db: Annotated[Database, Depends(database)]) -> None:
        raise Refused("never", "never")

    async with TestHub(hub, app) as test:
        with pytest.raises(RoomError, match="may not read"):
            await test.reader("r", headers={"X-User": "ada"})
        with pytest.raises(ClientError, match="never"):
            await test.publish("r", 1, headers={"X-User": "ada"})
        with pytest.raises(ClientError, match="x-user|authenticate first"):
            await test.reader("r", headers={"X-Other": "ada"}, transport="sse")


async def test_calls_have_dependencies_beside_their_data() -> None:
    app, hub, rooms = make()

    @rooms.call("members")
    def members(call: Call, room: str, db: Annotated[Database, Depends(database)]) -> list[str]:
        return sorted(db.members.get(room, ()))

    @rooms.call("ping")
    def ping(call: Call, db: Annotated[Database, Depends(database)]) -> str:
        return "pong"

    @rooms.call("plain")
    async def plain(call: Call, number: int) -> int:
        return number + 1

    async with TestHub(hub, app) as test:
        ada = await test.reader("r", user="ada")
        assert await ada.call("members", "chat:1") == ["ada"]
        assert await ada.call("ping") == "pong"
        assert await ada.call("plain", 1) == 2
        with pytest.raises(ClientError, match="str"):
            await ada.call("members", 7)


async def test_the_grant_is_a_dependency_of_endpoints() -> None:
    app, hub, rooms = make()

    @rooms.authenticate
    async def who(user: Annotated[str, Depends(signed_in)]) -> Grant:
        return Grant(user=user, permissions=Permissions(read=("inbox:ada",)))

    @app.get("/me")
    async def me(grant: Annotated[Grant, Depends(rooms.grant)]) -> str | None:
        return grant.user

    @app.get("/may/{room}")
    async def may(room: str, grant: Annotated[Grant, Depends(rooms.grant)]) -> bool:
        await rooms.check(grant, "read", room)
        return True

    async with TestHub(hub, app) as test, test.http() as http:
        async with http.get("/me") as response:
            assert response.status == 401
            assert (await response.json())["error"]["message"] == "sign in first"
        cookies = await sign_in(http, "ada")
        async with http.get("/me", cookies=cookies) as response:
            assert await response.json() == "ada"
        async with http.get("/may/inbox:ada", cookies=cookies) as response:
            assert response.status == 200
        async with http.get("/may/inbox:bob", cookies=cookies) as response:
            assert response.status == 403


async def test_an_endpoint_returns_the_event_stream_of_a_room() -> None:
    app, hub, rooms = make()

    @rooms.authenticate
    async def nobody() -> None:
        return None

    @app.get("/orders/{order}/events")
    async def events(order: int, request: Request) -> Any:
        return hub.sse(f"orders:{order}", request, user="ada")

    @app.get("/orders/{order}/closed")
    def closed(order: int, request: Request) -> Any:
        return hub.sse(f"orders:{order}", request)

    async with TestHub(hub, app) as test, test.http() as http:
        await hub.publish("orders:7", {"status": "packed"})
        async with http.get("/orders/7/closed") as response:
            assert response.status == 401
        async with http.get("/orders/7/events?since=start") as response:
            assert response.headers["Content-Type"].startswith("text/event-stream")
            line = b""
            while b"packed" not in line:
                line = await response.content.readline()
            assert (await hub.disconnect("ada")).connections == 1


async def test_publishing_from_endpoints_and_background_tasks_waits_no_longer_than_its_time() -> None:
    app, hub, rooms = make()

    @app.post("/sync")
    def sync() -> int:
        return rooms.publish_sync("r", "sync").offset

    @app.post("/late")
    async def late(tasks: BackgroundTasks) -> None:
        tasks.add_task(rooms.publish, "r", "in the background")
        tasks.add_task(rooms.publish_sync, "r", "on a thread")

    @app.post("/async")
    async def in_time() -> int:
        return (await rooms.publish("r", "async")).offset

    async with TestHub(hub, app) as test, test.http() as http:
        for path in ("/sync", "/late", "/async"):
            async with http.post(path) as response:
                assert response.status == 200
        reader = await test.reader("r", since="start", user="ada")
        await test.until(lambda: len(reader.messages) == 4)
        assert sorted(reader.data) == ["async", "in the background", "on a thread", "sync"]
        with test.store.away():
            before = test.clock.monotonic()
            with pytest.raises((TimeoutError, StoreUnavailable)):
                await rooms.publish("r", "never")
            assert test.clock.monotonic() - before <= 2.01


async def test_the_hub_starts_before_the_lifespan_of_the_application_and_ends_behind_it() -> None:
    said: list[str] = []
    hub = Hub("memory:")

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[dict[str, str]]:
        said.append(f"begins with {(await hub.publish('r', 1)).offset}")
        yield {"of": "the application"}
        said.append(f"ends with {(await hub.publish('r', 2)).offset}")

    app = FastAPI(lifespan=lifespan)
    rooms = Rooms(app, hub)

    @app.get("/state")
    async def state(request: Request) -> str:
        return str(request.state.of)

    def of_the_state(request: Request) -> str:
        return str(request.state.of)

    @rooms.authorize
    async def may(grant: Grant, action: str, room: str, of: Annotated[str, Depends(of_the_state)]) -> bool:
        return of == "the application"

    async with TestHub(hub, app) as test, test.http() as http, http.get("/state") as response:
        assert await response.json() == "the application"
        await test.reader("r", user="ada")
    assert said == ["begins with 1", "ends with 2"]


async def test_parameters_that_cannot_be_solved_are_refused_at_once() -> None:
    _, _, rooms = make()

    class Odd:
        pass

    with pytest.raises(ConfigError, match="solve the parameters|cannot be resolved"):

        @rooms.authenticate
        async def who(odd: Odd) -> None:
            return None


def test_a_hook_that_takes_the_request_is_not_asked_past_the_application() -> None:
    """On `trunkline run`: plain rooms are asked directly, and these cannot be."""
    app, hub = FastAPI(), Hub("memory:")
    rooms = Rooms(app, hub)
    assert "without passing the application" in AppServer(Config(port=0), app, lambda *_: None).data

    @rooms.authenticate
    async def who(user: Annotated[str | None, Header()] = None) -> Grant | None:
        return None

    assert "pass the application" in AppServer(Config(port=0), app, lambda *_: None).data
    with pytest.raises(ConfigError, match="takes the request"):
        AppServer(Config(port=0), app, lambda *_: None, direct="/realtime")


async def test_a_grant_that_a_middleware_has_put_into_the_scope_is_the_client_s() -> None:
    app, hub, _ = make()

    class Gatekeeper:
        def __init__(self, app: Any) -> None:
            self.app = app

        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            if dict(scope.get("headers", [])).get(b"x-user"):
                user = dict(scope["headers"])[b"x-user"].decode()
                scope["trunkline.grant"] = Grant(user=user, permissions=Permissions(read=(f"of:{user}",)))
            await self.app(scope, receive, send)

    app.add_middleware(Gatekeeper)
    async with TestHub(hub, app) as test:
        for transport in TRANSPORTS:
            reader = await test.reader("of:ada", headers={"X-User": "ada"}, transport=transport)
            assert reader.client.user == "ada"
            with pytest.raises(RoomError, match="may not read"):
                await test.reader("of:bob", headers={"X-User": "ada"}, transport=transport)


async def test_errors_of_the_hub_in_endpoints_are_answered_as_the_protocol_has_them() -> None:
    app, hub, _ = make()

    @app.get("/bad")
    async def bad() -> None:
        await hub.publish("no room", 1)

    async with TestHub(hub, app) as test, test.http() as http, http.get("/bad") as response:
        assert (response.status, (await response.json())["error"]["code"]) == (400, "bad_room")
