"""Who is there: every way to bring a token, on every transport, on our server and another one."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import aiohttp
import pytest
from starlette.applications import Starlette
from starlette.routing import Mount

from tests.access.support import (
    ADMIN,
    COOKIE,
    SECRET,
    bearer,
    closed,
    knock,
    stream_of,
    token,
)
from tests.support import Server, parked, publish
from trunkline import Hub, Issuer, JwtAuth
from trunkline.testing.hub import TestHub

PLACES: dict[str, Callable[[str], dict[str, Any]]] = {
    "header": lambda text: {"headers": bearer(text)},
    "query": lambda text: {"params": {"token": text}},
    "cookie": lambda text: {"headers": {"Cookie": f"other=1; {COOKIE}={text}"}},
    "subprotocol": lambda text: {"protocols": ("trunkline.v1", f"trunkline.token.{text}")},
    "message": lambda text: {"say": {"type": "auth", "token": text}},
}
ON_WEBSOCKET_ONLY = ("subprotocol", "message")
BAD = {
    "nothing": "",
    "nonsense": "nonsense",
    "three parts": "a.b.c",
    "another key": token(key="another secret that has 32 bytes too"),
    "expired": token(lifetime_s=-1),
    "no end": token(exp=None),
    "the end of time": token(exp=1e30),
    "no user": token(sub=None),
    "a user of two lines": token(sub="new\nline"),
    "not yet": token(nbf=time.time() + 3600),
    "no list of rooms": token(rooms={"read": "*"}),
    "a star within": token(rooms={"read": ["a*b"]}),
    "an unknown action": token(rooms={"fly": ["*"]}),
    "unsigned": token(key=None, algorithm="none"),
    "too long": "x" * 10_000,
}


@pytest.mark.parametrize("place", PLACES)
async def test_a_token_in_every_place(server: Server, http: aiohttp.ClientSession, transport: str, place: str) -> None:
    if place in ON_WEBSOCKET_ONLY and transport != "websocket":
        return
    room = f"{server.url}/rooms/general"
    assert await knock(http, transport, room, **PLACES[place](token())) == "ok"
    assert await knock(http, transport, room, **PLACES[place](token(key="x" * 40))) == "unauthorized"
    assert await knock(http, transport, room, **PLACES[place](token(lifetime_s=-5))) == "token_expired"


@pytest.mark.parametrize("why", BAD)
async def test_bad_tokens(server: Server, http: aiohttp.ClientSession, transport: str, why: str) -> None:
    bad = BAD[why]
    headers = bearer(bad) if bad else {}
    if len(bad) > 8000 and not server.ours and transport == "websocket":
        return  # uvicorn's WebSocket class does not answer such a head
    if not bad and transport == "websocket":
        return  # a WebSocket may say who it is later
    assert await knock(http, transport, f"{server.url}/rooms/general", headers=headers) == (
        "token_expired" if why == "expired" else "unauthorized"
    )


async def test_close_codes(server: Server, http: aiohttp.ClientSession) -> None:
    """A browser's WebSocket cannot see an HTTP status, so it is let in to be told why not."""
    for text, code in ((token(lifetime_s=-5), 4101), ("x", 4100)):
        async with http.ws_connect(f"{server.url}/rooms/general", headers=bearer(text)) as socket:
            said, number = await closed(socket)
            assert [event["type"] for event in said] == ["error"]
            assert number == code


async def test_whoever_says_nothing(server: Server, http: aiohttp.ClientSession) -> None:
    """limits.auth_s is a second here."""
    async with http.ws_connect(f"{server.url}/connect") as socket:
        await socket.send_json({"type": "ping"})
        assert await socket.receive_json() == {"type": "pong"}
        await socket.send_json({"type": "join", "room": "general"})
        assert (await socket.receive_json())["code"] == "unauthorized"
        said, code = await closed(socket)
        assert ([event["code"] for event in said], code) == (["unauthorized"], 4100)


async def test_first_message_then_the_rooms_of_the_url(server: Server, http: aiohttp.ClientSession) -> None:
    async with http.ws_connect(f"{server.url}/rooms/later") as socket:
        await socket.send_json({"type": "auth", "token": token("ben")})
        await socket.send_json({"type": "message", "text": "hi"})
        welcome = await socket.receive_json()
        assert (welcome["type"], welcome["user"]) == ("welcome", "ben")
        assert welcome["expires_at"] > time.time() * 1000
        kinds = [await socket.receive_json() for _ in range(3)]
        assert sorted(event["type"] for event in kinds) == ["ack", "joined", "message"]
        assert next(event for event in kinds if event["type"] == "message")["from"] == "ben"


async def test_who_published(server: Server, http: aiohttp.ClientSession) -> None:
    """`from` is the token's user, whatever the body says; ids of two users are two ids (R2)."""
    for user, offset, duplicate in (("ana", 1, False), ("ben", 2, False), ("ana", 1, True)):
        body = {"data": 1, "id": "same", "from": "somebody"}
        url = f"{server.url}/rooms/two-users"
        async with http.post(url, json=body, headers=bearer(token(user))) as response:
            receipt = await response.json()
            assert (receipt["offset"], receipt["duplicate"]) == (offset, duplicate)
    async with http.get(f"{server.url}/rooms/two-users?since=start", headers=bearer(token())) as response:
        assert [message["from"] for message in (await response.json())["messages"]] == ["ana", "ben"]


@pytest.fixture(params=["edge", "asgi"])
async def near(request: pytest.FixtureRequest) -> AsyncIterator[TestHub]:
    """The same two servers in this process, so that minutes pass at once."""
    own = Hub("memory:", auth=JwtAuth([Issuer(secret=SECRET)]))
    app = Starlette(routes=[Mount("/", own.app)], lifespan=own.lifespan) if request.param == "asgi" else None
    async with TestHub(own, app) as hub:
        yield hub


async def test_expiry_on_living_connections(near: TestHub) -> None:
    """Within 5 s on every transport, with a reason (R23)."""
    headers = bearer(token(lifetime_s=8))  # before the first ping, which this test would not answer
    events = {"Accept": "text/event-stream"}
    async with near.http() as http:
        closing = asyncio.ensure_future(closed(await http.ws_connect("/rooms/general", headers=headers)))
        poll = asyncio.ensure_future(http.get("/rooms/general?since=now&wait=90", headers=headers))
        stream = await http.get("/rooms/general", headers=headers | events)
        await near.clock.tick(5)
        assert [poll.done(), closing.done()] == [False, False]
        await near.clock.tick(5)
        said, code = await closing
        assert (said[-1]["code"], code) == ("token_expired", 4101)
        text = await stream.text()
        assert [line for line in text.splitlines() if line.startswith("event")] == ["event: welcome", "event: closed"]
        assert '"code":"token_expired"' in text
        async with await poll as response:
            assert (response.status, (await response.json())["error"]["code"]) == (401, "token_expired")
            assert response.headers["WWW-Authenticate"] == "Bearer"


async def test_refresh_without_a_drop(near: TestHub) -> None:
    """A newer token on a living WebSocket and a living event stream: both outlive the first one."""
    room, old, new = "/rooms/refresh", token(lifetime_s=10), token(lifetime_s=600)
    async with near.http() as http:
        socket = await http.ws_connect(room, headers=bearer(old))
        async with stream_of(http, room, old, since="start") as stream:
            session = ""
            async for event in stream:
                if event.get("event") == "welcome":
                    session = event["data"].split('"session":"')[1].split('"')[0]
                    break
            await socket.send_json({"type": "auth", "token": new})
            async with http.post(f"/sessions/{session}/auth", headers=bearer(new)) as response:
                assert (response.status, (await response.json())["type"]) == (200, "authenticated")
            async with http.post(f"/sessions/{session}/auth", headers=bearer(token("eve"))) as response:
                assert response.status == 404
            await near.clock.tick(20)
            async with http.post(room, json={"data": "still here"}, headers=bearer(new)) as response:
                assert response.status == 201
            async for event in stream:
                if "still here" in event.get("data", ""):
                    break
            kinds = []
            while "message" not in kinds:
                kinds.append((await socket.receive_json())["type"])
        assert kinds == ["welcome", "joined", "authenticated", "message"]
        await socket.close()


async def test_refresh_keeps_the_user(server: Server, http: aiohttp.ClientSession) -> None:
    async with http.ws_connect(f"{server.url}/connect", headers=bearer(token("ana"))) as socket:
        await socket.receive_json()
        for text in (token("eve"), "nonsense"):
            await socket.send_json({"type": "auth", "token": text})
            assert (await socket.receive_json())["code"] == "unauthorized"
        await socket.send_json({"type": "ping"})
        assert (await socket.receive_json())["type"] == "pong"


async def test_refresh_takes_permissions_away(server: Server, http: aiohttp.ClientSession) -> None:
    """What the newer token does not permit any more is left at once (R26)."""
    async with http.ws_connect(f"{server.url}/connect?room=a&room=b", headers=bearer(token())) as socket:
        for _ in range(3):
            await socket.receive_json()
        await socket.send_json({"type": "auth", "token": token(rooms={"read": ["b"]})})
        assert (await socket.receive_json())["type"] == "authenticated"
        denied = await socket.receive_json()
        assert (denied["code"], denied["room"]) == ("forbidden", "a")
        for room in ("a", "b"):
            async with http.post(f"{server.url}/rooms/{room}", json={"data": 1}, headers=bearer(token())) as response:
                assert response.status == 201
        assert (await socket.receive_json())["room"] == "b"


async def test_tickets(server: Server, http: aiohttp.ClientSession, transport: str) -> None:
    """Worth what the token is worth, once (R25)."""
    async with http.post(f"{server.url}/tickets", headers=bearer(token("ana", rooms={"read": ["a"]}))) as response:
        assert response.status == 201
        ticket = await response.json()
    assert ticket["expires_in_s"] == 30
    room = f"{server.url}/rooms/a"
    params = {"ticket": ticket["ticket"]}
    assert await knock(http, transport, room, params=params) == "ok"
    assert await knock(http, transport, room, params=params) == "unauthorized"
    async with http.post(f"{server.url}/tickets") as response:
        assert response.status == 401
    async with http.post(f"{server.url}/tickets", headers=bearer(token("ana", rooms={"read": ["a"]}))) as response:
        params = {"ticket": (await response.json())["ticket"]}
    assert await knock(http, "shortpoll", f"{server.url}/rooms/b", params=params) == "forbidden"


async def test_disconnect_and_revoke(server: Server, http: aiohttp.ClientSession) -> None:
    """All connections of a user, on all transports, a parked long poll too (R26)."""
    room = f"{server.url}/rooms/general"
    for path, code, number, status in (
        ("disconnect", "disconnected", 4200, 403),
        ("revoke", "revoked", 4102, 401),
    ):
        text = token(f"leaver-{path}")
        socket = await http.ws_connect(room, headers=bearer(text))
        await socket.receive_json()
        poll = asyncio.ensure_future(http.get(f"{room}?since=now&wait=30", headers=bearer(text)))
        async with stream_of(http, room, text) as stream:
            await anext(stream)
            await parked(http, server)
            began = time.monotonic()
            order = {"user": f"leaver-{path}"}
            async with http.post(f"{server.url}/{path}", json=order, headers=bearer(text)) as response:
                assert response.status == 403
            admin = bearer(token("admin", rooms=ADMIN))
            async with http.post(f"{server.url}/{path}", json=order, headers=admin) as response:
                assert await response.json() == {"connections": 3, "missing_nodes": []}
            last = [event async for event in stream][-1]
        assert (last["event"], f'"code":"{code}"' in last["data"]) == ("closed", True)
        assert (await closed(socket))[1] == number
        async with await poll as response:
            assert response.status == status
        assert time.monotonic() - began < 2
        after = "ok" if path == "disconnect" else "revoked"
        assert await knock(http, "shortpoll", room, headers=bearer(text)) == after
    assert await knock(http, "shortpoll", room, headers=bearer(token("leaver-revoke", iat=time.time() + 5))) == "ok"


async def test_a_token_of_its_own(server: Server, http: aiohttp.ClientSession) -> None:
    """Revoking by `jti` ends one token, not its user's others."""
    room = f"{server.url}/rooms/general"
    one, other = token("twin", jti="one"), token("twin", jti="other")
    admin = bearer(token("admin", rooms=ADMIN))
    async with http.post(f"{server.url}/revoke", json={"token_id": "one"}, headers=admin) as response:
        assert response.status == 200
    assert await knock(http, "shortpoll", room, headers=bearer(one)) == "revoked"
    assert await knock(http, "shortpoll", room, headers=bearer(other)) == "ok"


async def test_nobody_sees_the_counters(server: Server, http: aiohttp.ClientSession) -> None:
    async with http.get(f"{server.url}/healthz") as response:
        assert await response.json() == {"status": "ok"}
    async with http.get(f"{server.url}/healthz", headers=bearer(token("admin", rooms=ADMIN))) as response:
        assert (await response.json())["refusals"]["unauthorized"] > 0


async def test_what_is_revoked_stays_revoked(http: aiohttp.ClientSession, tmp_path: object) -> None:
    """Through kill -9: it stands in the log."""
    from tests.access.conftest import ours

    text = token("gone")
    with ours(f"sqlite:///{tmp_path}/log.db", tmp_path) as server:  # type: ignore[arg-type]
        admin = bearer(token("admin", rooms=ADMIN))
        async with http.post(f"{server.url}/revoke", json={"user": "gone"}, headers=admin) as response:
            assert response.status == 200
        server.kill()
        server.start()
        assert await knock(http, "shortpoll", f"{server.url}/rooms/a", headers=bearer(text)) == "revoked"
        for name in ("$revocations", "%24revocations"):
            url = f"{server.url}/rooms/{name}"  # a room of the system: administrators read it, and write nothing
            assert (
                await knock(http, "shortpoll", url, headers=bearer(token("ana", rooms={"read": ["*"]}))) == "forbidden"
            )
            assert await knock(http, "shortpoll", url, headers=admin) == "ok"
            async with http.post(url, json={"data": 1}, headers=admin) as response:
                assert (await response.json())["error"]["code"] == "bad_room"


async def test_without_tokens_nothing_has_changed(http: aiohttp.ClientSession) -> None:
    with Server() as server:
        await publish(http, server.url, "a", 1)
        async with http.post(f"{server.url}/revoke", json={"user": "a"}) as response:
            assert response.status == 403  # nobody is an administrator
