"""Who may see who is there, signal, and mark; and that nobody can do it in another one's name."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import aiohttp
import pytest

from tests.access.support import ADMIN, SECRET, bearer, closed, knock, serving, stream_of, token
from tests.support import WAIT_S, Server
from trunkline import Grant, Hub, Issuer, JwtAuth

READ = {"read": ["*"], "write": ["*"]}
WATCH = READ | {"presence": ["*"], "signal": ["*"]}


async def until(socket: aiohttp.ClientWebSocketResponse, kind: str) -> dict[str, Any]:
    """The next event of this kind."""
    async with asyncio.timeout(WAIT_S):
        while True:
            event: dict[str, Any] = await socket.receive_json()
            if event["type"] == kind:
                return event


async def test_who_may_be_told(server: Server, http: aiohttp.ClientSession, transport: str) -> None:
    """Without `presence` nobody is told who is there, nor how far they have seen; with it they are."""
    url = f"{server.url}/rooms/a"
    may, may_not = bearer(token("ana", rooms=WATCH)), bearer(token("ben", rooms=READ))
    if transport == "websocket":
        async with http.ws_connect(url, headers=may_not, params={"presence": "1"}) as socket:
            error = await until(socket, "error")
            assert (error["code"], error["room"]) == ("forbidden", "a")
            await socket.send_json({"type": "ping"})
            await until(socket, "pong")
        async with http.ws_connect(url, headers=may, params={"presence": "1"}) as socket:
            assert [member["member"] for member in (await until(socket, "presence"))["members"]] == ["ana"]
    else:
        params = {"presence": "1", "live": "0"}
        assert await knock(http, transport, url, headers=may_not, params=params) == "forbidden"
        assert await knock(http, transport, url, headers=may, params=params) == "ok"
    for path in ("presence", "seen"):
        async with http.get(f"{url}/{path}", headers=may_not) as response:
            assert response.status == 403
        async with http.get(f"{url}/{path}", headers=may) as response:
            assert response.status == 200
    for path in ("presence", "seen"):
        async with http.get(f"{url}/{path}") as response:
            assert response.status == 401


async def test_who_may_signal(server: Server, http: aiohttp.ClientSession) -> None:
    """`signal` to signal, `read` to mark; both in one's own name, whatever is said."""
    url = f"{server.url}/rooms/b"
    await publish_as_admin(http, server, "b")
    async with http.ws_connect(url, headers=bearer(token("eva", rooms=WATCH)), params={"presence": "watch"}) as watcher:
        await until(watcher, "presence")
        async with http.post(
            f"{url}/signals", json={"name": "x"}, headers=bearer(token("ben", rooms=READ))
        ) as response:
            assert response.status == 403
        signal = {"name": "x", "from": "root", "member": "root"}
        ana = bearer(token("ana", rooms=WATCH))
        async with http.post(f"{url}/signals?client=somebody-else", json=signal, headers=ana) as response:
            assert response.status == 204
        told = await until(watcher, "signal")
        assert (told["from"], told["member"]) == ("ana", "ana")
        async with http.post(f"{url}/seen", json={"offset": 1, "member": "root"}, headers=ana) as response:
            assert response.status == 200
        assert [mark["member"] for mark in (await until(watcher, "seen"))["marks"]] == ["ana"]
        async with http.ws_connect(url, headers=bearer(token("ben", rooms=READ))) as socket:
            await socket.send_json({"type": "signal", "name": "x"})
            assert (await until(socket, "error"))["code"] == "forbidden"
    nothing = bearer(token("ben", rooms={"read": ["other"]}))
    for path in ("rooms/b/seen", "unread?room=b"):
        method, body = ("POST", {"offset": 1}) if path.endswith("seen") else ("GET", None)
        async with http.request(method, f"{server.url}/{path}", json=body, headers=nothing) as response:
            assert response.status == 403


async def test_whose_place(server: Server, http: aiohttp.ClientSession) -> None:
    """A `client` id is worth something only to the same user."""
    url = f"{server.url}/rooms/c?client=the-same-id"
    async with http.ws_connect(url, headers=bearer(token("ana", rooms=WATCH))) as ana:
        await until(ana, "joined")
        async with http.ws_connect(url, headers=bearer(token("eva", rooms=WATCH))) as eva:
            await until(eva, "joined")
            await ana.send_json({"type": "ping"})
            await until(ana, "pong")
        async with http.ws_connect(url, headers=bearer(token("ana", rooms=WATCH))) as again:
            await until(again, "joined")
            _, code = await closed(ana)
            assert code == 4201


async def test_taken_back(http: aiohttp.ClientSession) -> None:
    """The application changes its mind while somebody watches: nothing more is told, and they are seen no more."""
    hub = Hub("memory:", auth=JwtAuth([Issuer(secret=SECRET)]), presence_grace_s=0)
    allowed = {"ana", "ben"}

    @hub.authorize
    async def decide(grant: Grant, action: str, room: str) -> bool:
        return action != "presence" or grant.user in allowed

    async def nobody() -> None:
        async with asyncio.timeout(WAIT_S):
            while hub.members("a"):
                await asyncio.sleep(0.01)

    async with serving(hub) as urls:
        for url in urls:
            await nobody()
            allowed |= {"ana", "ben"}
            address = f"{url}/rooms/a"
            async with (
                http.ws_connect(address, headers=bearer(token("ana")), params={"presence": "1"}) as ana,
                http.ws_connect(address, headers=bearer(token("eva"))) as eva,
            ):
                await until(ana, "presence")
                allowed.remove("ana")
                await hub.recheck("ana")
                await nobody()
                await eva.send_json({"type": "join", "room": "a", "presence": True})
                assert (await until(eva, "error"))["code"] == "forbidden"
                async with stream_of(http, address, token("ben"), presence="1") as ben:
                    async for event in ben:
                        if event.get("event") == "presence":
                            assert [member["member"] for member in json.loads(event["data"])["members"]] == ["ben"]
                            break
                await hub.publish("a", "end")
                events = []
                while (event := await ana.receive_json())["type"] != "message":
                    events.append(event)
                assert not [event for event in events if "ben" in json.dumps(event)]


async def publish_as_admin(http: aiohttp.ClientSession, server: Server, room: str) -> None:
    headers = bearer(token("root", rooms=ADMIN))
    async with http.post(f"{server.url}/rooms/{room}", json={"data": 1}, headers=headers) as response:
        assert response.status == 201


@pytest.mark.parametrize("presence", ["1", "watch"])
async def test_a_stream_that_may_not_is_refused(server: Server, http: aiohttp.ClientSession, presence: str) -> None:
    """On /connect, too; and for those rooms alone that `in` names."""
    headers = bearer(token("ana", rooms=READ | {"presence": ["open"]})) | {"Accept": "text/event-stream"}
    url = f"{server.url}/connect?room=open&room=shut&presence={presence}"
    async with http.get(url, headers=headers) as response:
        assert response.status == 403
    async with http.get(f"{url}&in=open", headers=headers) as response:
        assert response.status == 200
