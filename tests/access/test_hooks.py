"""The application decides: who somebody is, and what they may do."""

from __future__ import annotations

import asyncio

import aiohttp
import pytest

from tests.access.support import SECRET, bearer, closed, knock, serving, stream_of, token
from tests.support import TRANSPORTS
from trunkline import Credentials, Grant, Hub, Issuer, JwtAuth, Permissions

Urls = dict[str, str]


def session_hub() -> Hub:
    """As a web framework has it: a session cookie, and a database that is asked."""
    hub = Hub("memory:", auth=JwtAuth([Issuer(secret=SECRET)]))
    sessions = {"s1": "ana", "s2": "ben"}

    @hub.authenticate
    async def who(credentials: Credentials) -> Grant | None:
        await asyncio.sleep(0)
        session = credentials.cookies.get("sessionid")
        if session == "crash":
            raise RuntimeError("the database is away")
        user = sessions.get(session or "")
        return None if user is None else Grant(user=user, permissions=Permissions(read=("*",), write=("*",)))

    return hub


async def test_who_by_a_session_cookie(http: aiohttp.ClientSession) -> None:
    async with serving(session_hub()) as urls:
        for url in urls:
            for transport in TRANSPORTS:
                for cookie, outcome in (("s1", "ok"), ("s9", "unauthorized"), ("crash", "internal")):
                    if (transport, cookie) == ("websocket", "s9"):
                        continue  # may still say who it is
                    headers = {"Cookie": f"sessionid={cookie}"}
                    assert await knock(http, transport, f"{url}/rooms/a", headers=headers) == outcome, transport
                # What the hook does not know may be a token.
                assert await knock(http, transport, f"{url}/rooms/a", headers=bearer(token())) == "ok"
            async with http.ws_connect(f"{url}/rooms/a", headers={"Cookie": "sessionid=crash"}) as socket:
                assert (await closed(socket))[1] == 1011
            async with http.ws_connect(f"{url}/rooms/a") as socket:
                await socket.send_json({"type": "auth", "token": token("late")})
                assert (await socket.receive_json())["user"] == "late"


async def test_what_by_a_hook(http: aiohttp.ClientSession) -> None:
    """Asked at each join, publish and poll; and again for who is reading, when the application says so."""
    hub = Hub("memory:", auth=JwtAuth([Issuer(secret=SECRET)]))
    members = {"ana"}
    asked: list[tuple[str | None, str, str]] = []

    @hub.authorize
    async def may(grant: Grant, action: str, room: str) -> bool:
        asked.append((grant.user, action, room))
        await asyncio.sleep(0.01)
        if room == "crash":
            raise RuntimeError("the database is away")
        return grant.user in members

    async with serving(hub) as urls:
        for url in urls:
            members.add("ana")
            headers = bearer(token("ana", rooms=None))
            for transport in ("sse", "longpoll", "shortpoll"):
                assert await knock(http, transport, f"{url}/rooms/a", headers=headers) == "ok"
                assert await knock(http, transport, f"{url}/rooms/crash", headers=headers) == "internal"
                stranger = bearer(token("eve"))
                assert await knock(http, transport, f"{url}/rooms/a", headers=stranger) == "forbidden"
            async with http.ws_connect(f"{url}/rooms/a", headers=headers) as socket:
                assert [(await socket.receive_json())["type"] for _ in range(2)] == ["welcome", "joined"]
                # Slow hooks keep the order of what one connection says.
                for n in range(10):
                    await socket.send_json({"type": "message", "id": f"{url}{n}", "text": str(n)})
                acks: list[str] = []
                while len(acks) < 10:
                    event = await socket.receive_json()
                    if event["type"] == "ack":
                        acks.append(event["id"])
                assert acks == [f"{url}{n}" for n in range(10)]
                await socket.send_json({"type": "message", "room": "crash", "text": "x"})
                while (event := await socket.receive_json())["type"] != "error":
                    pass
                assert event["code"] == "internal"
                async with stream_of(http, f"{url}/rooms/a", token("ana")) as stream:
                    await anext(stream)
                    members.discard("ana")
                    assert await hub.recheck("ana") == (2, [])
                    last = [event async for event in stream][-1]
                    assert '"code":"forbidden"' in last["data"]
                event = await socket.receive_json()
                assert (event["code"], event["room"]) == ("forbidden", "a")
            async with http.post(f"{url}/rooms/a", json={"data": 1}, headers=headers) as response:
                assert response.status == 403
    assert ("ana", "write", "a") in asked


@pytest.mark.parametrize("answer", [True, False])
async def test_a_plain_function_will_do(http: aiohttp.ClientSession, answer: bool) -> None:
    hub = Hub("memory:")

    @hub.authenticate
    def who(_: Credentials) -> Grant | None:
        return Grant(user="x", permissions=Permissions(read=("a",))) if answer else None

    async with serving(hub) as urls:
        for url in urls:
            outcome = await knock(http, "sse", f"{url}/rooms/a", headers={"Cookie": "x=1"})
            assert outcome == ("ok" if answer else "unauthorized")
            assert await knock(http, "shortpoll", f"{url}/rooms/b") == ("forbidden" if answer else "unauthorized")
