"""Connections, found on whichever node they are."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from pathlib import Path
from typing import Any

import aiohttp

from tests.access.support import EVERYWHERE, bearer, token
from tests.admin.support import OPERATOR, got, guarded
from tests.server.test_workers import workers_of
from tests.support import WAIT_S


async def test_a_user_a_room_and_a_session_are_found_on_all_workers(tmp_path: Path) -> None:
    with guarded(tmp_path, "--workers", "2") as server:
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=WAIT_S)) as http:
            ana = bearer(token("ana", rooms=EVERYWHERE))
            sockets = [await http.ws_connect(f"{server.url}/connect?room=a&room=b", headers=ana) for _ in range(6)]
            sessions = {json.loads((await socket.receive()).data)["session"] for socket in sockets}
            events = await http.get(f"{server.url}/rooms/a", headers=ana | {"Accept": "text/event-stream"})
            await events.content.readany()
            found = await got(http, f"{server.url}/admin/connections", params={"user": "ana"})
            assert sessions < {one["session"] for one in found["connections"]}
            assert {one["transport"] for one in found["connections"]} == {"websocket", "sse"}
            assert found["missing_nodes"] == []
            assert {one["node"] for one in found["connections"]} == {s.partition("-")[0] for s in sessions} | {
                one["node"] for one in found["connections"] if one["transport"] == "sse"
            }
            for session in sessions:
                one = (await got(http, f"{server.url}/admin/connections", params={"session": session}))["connections"]
                assert [room["room"] for room in one[0]["rooms"]] == ["a", "b"]
            room = await got(http, f"{server.url}/admin/rooms/a")
            assert len(room["readers"]) == 7
            assert (room["head"], room["messages"]) == (0, [])
            query = {"user": "ana", "room": "elsewhere"}
            assert (await got(http, f"{server.url}/admin/connections", params=query))["connections"] == []
            assert await got(http, f"{server.url}/admin/connections", params={"user": "nobody"}) == {
                "connections": [],
                "missing_nodes": [],
                "has_more": False,
            }
            events.close()


async def test_a_room_is_shown_with_its_newest_messages(tmp_path: Path) -> None:
    with guarded(tmp_path) as server:
        async with aiohttp.ClientSession() as http:
            for n in range(30):
                async with http.post(f"{server.url}/rooms/a", json={"data": n}, headers=OPERATOR) as response:
                    assert response.status == 201
            found = await got(http, f"{server.url}/admin/rooms/a", params={"last": "3"})
            assert [message["offset"] for message in found["messages"]] == [28, 29, 30]
            assert found["head"] == 30
            assert len((await got(http, f"{server.url}/admin/rooms/a"))["messages"]) == 20
            assert (await got(http, f"{server.url}/admin/rooms/$revocations"))["messages"] == []


async def asked(url: str, path: str, **params: str) -> Any:
    """What whichever worker takes the connection answers; None if it does not."""
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=3)) as http:
        try:
            return await got(http, f"{url}/admin/{path}", params=params)
        except TimeoutError:
            return None


async def test_a_node_that_hangs_is_named(tmp_path: Path) -> None:
    with guarded(tmp_path, "--workers", "2") as server:
        async with asyncio.timeout(WAIT_S):
            knowing: set[str] = set()
            while len(knowing) < 2:  # both know each other
                overview = await asked(server.url, "overview")
                if len(overview["nodes"]) == 2:
                    knowing.add(overview["node"])
        stuck = workers_of(server)[0]
        os.kill(stuck, signal.SIGSTOP)
        try:
            async with asyncio.timeout(WAIT_S):
                while not (found := await asked(server.url, "connections", user="ana")):
                    pass  # the one that hangs was given the request
        finally:
            os.kill(stuck, signal.SIGCONT)
        assert len(found["missing_nodes"]) == 1
        assert found["missing_nodes"][0] in knowing
