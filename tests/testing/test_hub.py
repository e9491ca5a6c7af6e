"""A hub in a test: alone and in an application, with its faults."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Mount, Route

from tests.access.support import SECRET
from trunkline import Credentials, Grant, Hub, Issuer, JwtAuth, Permissions
from trunkline.access.jwt import sign
from trunkline.client import ClientError, RoomError
from trunkline.errors import ShuttingDown, StoreUnavailable
from trunkline.testing.hub import TRANSPORTS, TestHub, find_mount

ISSUER = Issuer(secret=SECRET)


@pytest.mark.transports
async def test_what_is_published_while_a_reader_is_cut_is_heard_once_and_in_order(hub: TestHub) -> None:
    """The tunnel."""
    reader = await hub.reader("r", user="ada")
    await hub.publish("r", 1)
    await reader.expect(1)
    with reader.cut():
        for n in range(2, 30):
            await hub.publish("r", n)
        with pytest.raises(AssertionError, match="is cut off: whatever comes, it does not hear it"):
            await reader.refute()
    await reader.expect(*range(2, 30))
    await reader.refute()
    assert reader.data == list(range(1, 30))


@pytest.mark.transports
async def test_a_tunnel_that_is_longer_than_every_timeout(hub: TestHub) -> None:
    """An hour: the server has given the client up long ago."""
    reader = await hub.reader("r")
    with reader.cut():
        await hub.clock.tick(1800)
        await hub.publish("r", "late")
        await hub.clock.tick(1800)
    await reader.expect("late")


@pytest.mark.transports
async def test_a_slow_reader_holds_nobody_up_and_gets_everything(hub: TestHub) -> None:
    slow, quick = await hub.reader("r"), await hub.reader("r")
    with slow.slow():
        for n in range(20):
            await hub.publish("r", [n, "x" * 30_000])
        await quick.expect(*([n, ...] for n in range(20)))
    await slow.expect(*([n, ...] for n in range(20)))


@pytest.mark.transports
@pytest.mark.parametrize("kill", [False, True])
async def test_a_restart_loses_nothing(hub: TestHub, *, kill: bool) -> None:
    reader = await hub.reader("r")
    await hub.publish("r", 1)
    await reader.expect(1)
    await hub.restart(kill=kill)
    await hub.publish("r", 2)
    await reader.expect(2)
    await reader.refute()
    assert [message.data for message in hub.stored("r")] == [1, 2]


@pytest.mark.transports
async def test_a_lost_log_is_told(hub: TestHub) -> None:
    reader = await hub.reader("r")
    await hub.publish("r", 1)
    await reader.expect(1)
    await hub.restart(lose_log=True)
    await hub.publish("r", "another life")
    await reader.expect_gap("epoch")
    await reader.expect("another life")


@pytest.mark.transports
async def test_what_retention_took_is_told(hub: TestHub) -> None:
    reader = await hub.reader("r")
    await hub.publish("r", 1)
    await reader.expect(1)
    with reader.cut():
        for n in range(2, 10):
            await hub.publish("r", n)
        hub.trim("r", keep=2)
    gap = await reader.expect_gap("trimmed")
    assert (gap["from"], gap["to"]) == (2, 7)
    await reader.expect(8, 9)
    assert [message.offset for message in hub.stored("r")] == [8, 9]


@pytest.mark.transports
async def test_a_log_that_is_away_refuses_and_then_goes_on(hub: TestHub) -> None:
    reader = await hub.reader("r")
    with hub.store.away(), pytest.raises(StoreUnavailable):
        await hub.publish("r", "lost?")
    await hub.publish("r", "here")
    await reader.expect("here")


async def test_a_lost_answer_of_the_log_stores_nothing_twice(hub: TestHub) -> None:
    reader = await hub.reader("r")
    with hub.store.away("answers"), pytest.raises(StoreUnavailable):
        await hub.publish("r", 1, id="k")
    receipt = await hub.publish("r", 1, id="k")
    assert receipt.duplicate
    await reader.expect(1)
    await reader.refute()


@pytest.mark.transports
async def test_a_client_publishes_until_it_is_confirmed(hub: TestHub) -> None:
    """Its log is away at first; it goes on trying, and it is stored once."""
    reader = await hub.reader("r", user="ada")
    away = hub.store.away()
    publishing = asyncio.ensure_future(reader.publish("persistent", within_s=60))
    await hub.clock.settle()
    away.end()
    assert await publishing == 1
    await reader.expect("persistent", sender="ada")
    assert (await reader.repeat()).duplicate
    await reader.refute()


@pytest.mark.transports
async def test_traces(hub: TestHub) -> None:
    """Whoever publishes it, and however, a message has the trace that it was published in."""
    parents = [f"00-{n:032x}-{n:016x}-01" for n in range(1, 4)]
    reader = await hub.reader("r", user="ada")
    await hub.publish("r", 1, traceparent=parents[0], tracestate="a=1")
    await hub.publish("r", 2, traceparent=parents[1], user="bob")
    await reader.publish(3, traceparent=parents[2], tracestate="a=3")
    await reader.publish(4, traceparent="nonsense")
    await reader.expect(1, 2, 3)
    last = await reader.expect(4)
    expected = [(parents[0], "a=1"), (parents[1], None), (parents[2], "a=3"), (None, None)]
    assert [(m.traceparent, m.tracestate) for m in hub.store.messages("r")] == expected
    assert [(m.traceparent, m.tracestate) for m in await reader.room.before(5)] == expected
    assert (last.traceparent, last.tracestate) == (None, None)


@pytest.mark.transports
async def test_a_token_that_expires_is_renewed_and_nothing_is_lost(hub: TestHub) -> None:
    reader = await hub.reader("r", user="ada", expires_in_s=60)
    for n in range(5):
        await hub.clock.tick(45)
        await hub.publish("r", n)
        await reader.expect(n)
    reader.expire_token()
    await hub.publish("r", "after")
    await reader.expect("after")


@pytest.mark.transports
async def test_a_token_that_expires_for_good_ends_the_reader(hub: TestHub) -> None:
    reader = await hub.reader("r", user="ada", expires_in_s=60, renews=False)
    await hub.clock.tick(90)
    await reader.expect_error("unauthorized")
    assert reader.state == "closed"


@pytest.mark.transports
async def test_whoever_may_not_read_is_refused(hub: TestHub) -> None:
    permissions = Permissions(read=("mine:{user}",), write=("shared",))
    await hub.reader("mine:ada", user="ada", permissions=permissions)
    with pytest.raises(RoomError, match="you may not read other") as refused:
        await hub.reader("other", user="ada", permissions=permissions)
    assert refused.value.code == "forbidden"
    with pytest.raises(ClientError, match="you may not publish to other"):
        await hub.publish("other", 1, user="ada", permissions=permissions)
    await hub.publish("shared", 1, user="ada", permissions=permissions)
    assert [message.sender for message in hub.stored("shared")] == ["ada"]


@pytest.mark.transports
async def test_presence(hub: TestHub) -> None:
    watcher = await hub.reader("r", presence="watch")
    await watcher.expect_presence()
    ada = await hub.reader("r", user="ada", presence={"mood": "good"})
    await watcher.expect_presence("ada")
    assert watcher.room.members["ada"]["data"] == {"mood": "good"}
    bob = await hub.reader("r", user="bob", presence=True)
    await watcher.expect_presence("ada", "bob")
    await bob.close()
    ada.cut()
    await watcher.expect_presence(within_s=120)


@pytest.mark.transports
async def test_signals(hub: TestHub) -> None:
    reader = await hub.reader("r")
    await hub.hub.signal("r", "typing", {"on": True})
    assert (await reader.expect_signal("typing", {"on": True}))["name"] == "typing"
    with pytest.raises(AssertionError, match="the signals that came are: typing"):
        await reader.expect_signal("typing", within_s=1)


# Applications.


@asynccontextmanager
async def _lifespan(app: Starlette) -> AsyncIterator[dict[str, Any]]:
    async with app.state.hub.lifespan():
        app.state.events.append("up")
        yield {"greeting": "hello"}
        app.state.events.append("down")


def _starlette(hub: Hub) -> Starlette:
    async def greet(request: Request) -> JSONResponse:
        receipt = await hub.publish("r", request.state.greeting)
        return JSONResponse({"offset": receipt.offset})

    app = Starlette(
        routes=[Route("/greet", greet, methods=["POST"]), Mount("/live/v1", hub.app)],
        middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=["testserver"])],
        lifespan=_lifespan,
    )
    app.state.hub, app.state.events = hub, []
    return app


@pytest.mark.parametrize("transport", ["websocket", "sse", "longpoll", "shortpoll"])
async def test_in_an_application(transport: str, tmp_path: Path) -> None:
    """Through its middleware and routes, with its lifespan; and its own log is left alone."""
    file = tmp_path / "log.db"
    own = Hub(f"sqlite:///{file}")
    app = _starlette(own)
    for _ in range(2):  # the hub is given back, so it can be taken again
        async with TestHub(own, app, transport=transport) as hub:
            assert hub.url == "http://testserver/live/v1"
            reader = await hub.reader("r", user="ada")
            async with hub.http() as http, http.post("/greet") as answer:
                assert await answer.json() == {"offset": 1}
            await reader.expect("hello")
            with reader.cut():
                await own.publish("r", "again")
            await reader.expect("again")
        assert app.state.events.pop() == "down"
    assert not file.exists()
    async with own:
        assert (await own.page("r")).messages == []


async def test_readers_meet_the_applications_middleware() -> None:
    refused: list[str] = []

    def gatekeeper(app: Any) -> Any:
        async def guarded(scope: Any, receive: Any, send: Any) -> None:
            if scope["type"] in ("http", "websocket"):
                refused.append(scope["path"])
            await app(scope, receive, send)

        return guarded

    own = Hub("memory:")
    app = FastAPI(lifespan=own.lifespan)
    app.mount("/realtime", own.app)
    app.add_middleware(gatekeeper)
    async with TestHub(own, app) as hub:
        await hub.reader("r")
    assert refused == ["/realtime/connect"]


async def test_the_applications_own_authentication() -> None:
    """A reader with `user=` is whoever the test says; all others are asked as always."""
    own = Hub("memory:", auth=JwtAuth([ISSUER], Permissions(read=("*",))))
    async with TestHub(own) as hub:
        await hub.reader("r", user="ada")
        await hub.reader("r", token=sign(ISSUER, "bob", 60))
        await hub.reader("r", token=lambda: sign(ISSUER, "bob", 60))
        with pytest.raises(ClientError, match="authentication|token") as refused:
            await hub.reader("r", transport="longpoll")
        assert refused.value.code == "unauthorized"
        with pytest.raises(ClientError, match="not a JWT"):
            await hub.reader("r", token="nonsense", transport="sse")
        with pytest.raises(TypeError, match="user= is whoever you say"):
            await hub.reader("r", user="ada", token="x")


async def test_the_applications_hooks_stay() -> None:
    own = Hub("memory:")
    seen: list[Any] = []

    @own.authenticate
    async def who(credentials: Credentials) -> Grant | None:
        seen.append(credentials.token)
        return Grant(user="cookie", permissions=Permissions(read=("*",))) if credentials.token == "mine" else None

    @own.authorize
    def may(grant: Grant, action: str, room: str) -> bool:
        return room != "secret"

    @own.on_presence
    def changed(room: str, member: str, joined: bool) -> None:
        seen.append((room, member, joined))

    async with TestHub(own) as hub:
        await hub.reader("r", token="mine")
        await hub.reader("r", user="ada", presence=True)
        await hub.until(lambda: ("r", "ada", True) in seen)
        with pytest.raises(RoomError, match="you may not read secret"):
            await hub.reader("secret", user="ada")
    assert "mine" in seen


async def test_an_application_that_does_not_start() -> None:
    @asynccontextmanager
    async def fails(_: Any) -> AsyncIterator[None]:
        raise ZeroDivisionError("no database")
        yield

    own = Hub("memory:")
    hub = TestHub(own, Starlette(routes=[Mount("/", own.app)], lifespan=fails))
    with pytest.raises(RuntimeError, match="no database"):
        await hub.start()
    await hub.close()


async def test_an_application_that_does_not_stop() -> None:
    """Its error is the test's, and the hub is given back all the same."""

    @asynccontextmanager
    async def fails(_: Any) -> AsyncIterator[None]:
        async with own.lifespan():
            yield
            raise ZeroDivisionError("nothing to close")

    own = Hub("memory:")
    with pytest.raises(RuntimeError, match="nothing to close"):
        async with TestHub(own, Starlette(routes=[Mount("/", own.app)], lifespan=fails)) as hub:
            await hub.reader("r")
    async with TestHub(own):
        pass


async def test_a_shutdown_that_takes_real_time() -> None:
    @asynccontextmanager
    async def slow(_: Any) -> AsyncIterator[None]:
        yield
        await asyncio.to_thread(time.sleep, 0.5)
        ended.append(True)

    own = Hub("memory:")
    ended: list[bool] = []
    async with TestHub(own, Starlette(routes=[Mount("/", own.app)], lifespan=slow)):
        pass
    assert ended == [True]


async def test_a_hub_that_runs_is_not_taken() -> None:
    async with Hub("memory:") as own:
        with pytest.raises(RuntimeError, match="the hub runs already: take it over before"):
            TestHub(own)
    hub = TestHub(own)
    with pytest.raises(RuntimeError, match="another test has this hub"):
        TestHub(own)
    await hub.close()
    async with TestHub(own):
        pass


def test_a_hub_whose_loop_has_ended_is_taken() -> None:
    """A test without the fixture has started it, and nothing has closed it."""
    own = Hub("memory:")
    asyncio.run(own.start())

    async def main() -> None:
        async with TestHub(own) as hub:
            await own.publish("r", 1)
            assert len(hub.stored("r")) == 1

    asyncio.run(main())


async def test_what_comes_too_late_does_not_reach_the_applications_own_log(tmp_path: Path) -> None:
    """A task of the application that goes on, a fixture that cleans up: the hub is closed until it is started."""
    file = tmp_path / "shop.db"
    own = Hub(f"sqlite:///{file}")
    async with TestHub(own) as hub:
        await own.publish("r", 1)
    with pytest.raises(ShuttingDown, match="the test that had this hub has ended"):
        await own.publish("r", 2)
    with pytest.raises(RuntimeError, match="this hub's test has ended"):
        await hub.publish("r", 3)
    with pytest.raises(RuntimeError, match="this hub's test has ended"):
        await hub.reader("r")
    assert not file.exists()
    async with own:
        assert (await own.publish("r", 4)).offset == 1


async def test_wrong_arguments_are_told() -> None:
    with pytest.raises(ValueError, match="'carrier' is no transport: there are websocket"):
        TestHub(transport="carrier")
    with pytest.raises(TypeError, match="cookie go with a new one"):
        TestHub(Hub("memory:"), cookie="x")
    async with TestHub(presence_grace_s=1.0) as hub:
        with pytest.raises(ValueError, match="no transport"):
            await hub.reader("r", transport="pigeon")
        with pytest.raises(AssertionError, match=r"not within 2 s: .*never"):
            await hub.until(never, within_s=2)


def never() -> bool:
    return False


def _nested(hub: Hub) -> Starlette:
    return Starlette(routes=[Mount("/a", routes=[Mount("/b", hub.app)])])


async def test_hooks_that_a_test_was_the_first_to_import_stay() -> None:
    own = Hub("memory:")
    async with TestHub(own):

        @own.authorize
        def nobody(grant: Grant, action: str, room: str) -> bool:
            return False

    async with TestHub(own) as hub:
        with pytest.raises(RoomError, match="may not read"):
            await hub.reader("r", user="ada")


async def test_an_application_without_its_hub() -> None:
    """It is found by itself; and where it cannot be, nothing is tested instead of it."""
    own = Hub("memory:")
    app = Starlette(routes=[Mount("/realtime", own.app)], lifespan=own.lifespan)
    async with TestHub(app=app) as hub:
        assert hub.hub is own
        assert hub.url == "http://testserver/realtime"
    with pytest.raises(TypeError, match="no hub can be seen"):
        TestHub(app=Starlette())
    two = Starlette(routes=[Mount("/a", own.app), Mount("/b", Hub("memory:").app)])
    with pytest.raises(TypeError, match="several hubs are mounted"):
        TestHub(app=two)
    with pytest.raises(TypeError, match="cannot be seen from the application's routes"):
        TestHub(own, Starlette(lifespan=own.lifespan))
    async with TestHub(own, Starlette(lifespan=own.lifespan), alone=True) as hub:
        await hub.reader("r")
    for wrong in (app, "shop:hub"):
        with pytest.raises(TypeError, match="is no Hub"):
            TestHub(wrong)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="is no ASGI application"):
        TestHub(own, "shop:app")  # type: ignore[arg-type]


async def test_readers_meet_the_middleware_of_the_mount() -> None:
    seen: list[str] = []

    class Deny:
        def __init__(self, app: Any) -> None:
            self.app = app

        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            seen.append(scope.get("path", ""))
            await self.app(scope, receive, send)

    own = Hub("memory:")
    app = Starlette(routes=[Mount("/rt", app=own.app, middleware=[Middleware(Deny)])], lifespan=own.lifespan)
    async with TestHub(own, Deny(app)) as hub:
        await hub.reader("r")
    assert seen.count("/rt/connect") == 2


async def test_a_hub_for_this_machine_alone() -> None:
    async with TestHub(Hub("memory:", loopback_only=True)) as hub:
        assert hub.url == "http://localhost"
        await hub.reader("r")


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_cookies_and_headers_of_the_applications_own(transport: str) -> None:
    own = Hub("memory:")

    @own.authenticate
    async def who(credentials: Credentials) -> Grant | None:
        user = credentials.cookies.get("sessionid") or credentials.head.headers.get(b"x-user", b"").decode()
        permissions = Permissions(read=("*",), write=("*",))
        return Grant(user=user, permissions=permissions) if user else None

    async with TestHub(own, transport=transport) as hub:
        reader = await hub.reader("r", cookies={"sessionid": "ada"})
        await hub.publish("r", 1, headers={"X-User": "bob"})
        await reader.expect(1, sender="bob")
        with pytest.raises(ClientError) as refused:
            await hub.reader("r")
        assert refused.value.code == "unauthorized"
        with pytest.raises(TypeError, match="say user=, too"):
            await hub.reader("r", permissions=Permissions())


@pytest.mark.transports("websocket", "sse", "longpoll")
async def test_disconnecting_a_user(hub: TestHub) -> None:
    reader = await hub.reader("r", user="ada")
    await hub.hub.disconnect("ada")
    await reader.expect_error("disconnected")


@pytest.mark.transports
async def test_an_error_is_expected_once(hub: TestHub) -> None:
    reader = await hub.reader("r", user="ada", permissions=Permissions(read=("r",)))
    reader.room.signal("typing")
    await reader.expect_error("forbidden")
    with pytest.raises(AssertionError, match="the error forbidden"):
        await reader.expect_error("forbidden", within_s=1)


@pytest.mark.transports
async def test_refuting_needs_a_reader_that_reads(hub: TestHub) -> None:
    """One that is on its way back would not have heard it, and one that is gone never will."""
    reader = await hub.reader("r")
    await hub.restart()
    await hub.publish("r", 1)
    with pytest.raises(AssertionError, match="there is #1 1"):
        await reader.refute()
    with reader.slow(), pytest.raises(AssertionError, match="is slow"):
        await reader.refute()
    await reader.close()
    with pytest.raises(AssertionError, match="it does not read, so it would hear nothing"):
        await reader.refute(2)


async def test_refuting_waits_for_threads(hub: TestHub) -> None:
    reader = await hub.reader("r")

    def later() -> None:
        time.sleep(0.02)
        hub.hub.publish_sync("r", 1)

    working = asyncio.ensure_future(asyncio.to_thread(later))
    with pytest.raises(AssertionError, match="there is #1 1"):
        await reader.refute()
    await working


async def test_a_hook_that_asks_a_thread() -> None:
    own = Hub("memory:")

    @own.authenticate
    async def who(credentials: Credentials) -> Grant | None:
        await asyncio.to_thread(time.sleep, 0.05)
        return Grant(user="ada", permissions=Permissions(read=("*",)))

    async with TestHub(own) as hub:
        await hub.reader("r", token="x")


async def test_what_a_publish_waited_for_is_told(hub: TestHub) -> None:
    reader = await hub.reader("r")
    with reader.cut(), pytest.raises(TimeoutError, match=r"not confirmed within 5 s .* the reader is cut off"):
        await reader.publish(1)
    with pytest.raises(ValueError, match="nowhere has no messages"):
        hub.trim("nowhere")


async def test_a_restart_is_not_taken_for_a_hub_without_a_lifespan(caplog: pytest.LogCaptureFixture) -> None:
    own = Hub("memory:")
    app = Starlette(routes=[Mount("/", own.app)], lifespan=own.lifespan)
    async with TestHub(own, app, transport="longpoll") as hub:
        reader = await hub.reader("r")
        await hub.restart()
        await hub.publish("r", 1)
        await reader.expect(1)
    assert "started by its first request" not in caplog.text


MOUNTS: dict[str, tuple[Callable[[Hub], Any], str | None]] = {
    "alone": (lambda hub: hub.app, ""),
    "nested": (_nested, "/a/b"),
    "elsewhere": (lambda hub: Starlette(routes=[Mount("/a", Hub("memory:").app)]), None),
    "no Starlette": (lambda hub: object(), None),
}


@pytest.mark.parametrize("name", MOUNTS)
def test_the_mount_is_found(name: str) -> None:
    make, path = MOUNTS[name]
    own = Hub("memory:")
    assert find_mount(make(own), own) == path


async def test_a_thousand_readers_and_one_clock() -> None:
    """Large enough to see that nothing in it costs the square."""
    async with TestHub() as hub:
        readers = [await hub.reader("r") for _ in range(200)]
        await hub.publish("r", "all of you")
        for reader in readers:
            await reader.expect("all of you")
