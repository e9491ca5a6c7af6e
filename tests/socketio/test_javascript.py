"""Clients of Socket.IO in JavaScript, as they are published, against ours."""

from __future__ import annotations

import json
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import aiohttp
import pytest

from tests.socketio.node_clients import NodeClients, needs_node
from tests.support import Server, eventually

pytestmark = needs_node

COMMAND = [sys.executable, "-m", "trunkline", "run", "tests.socketio.app:app", "--port", "PORT"]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    store = f"sqlite:///{tmp_path_factory.mktemp('log')}/log.db"
    with Server(store=store, command=COMMAND) as running:
        yield running


@pytest.fixture
async def clients() -> AsyncIterator[NodeClients]:
    async with NodeClients() as running:
        yield running


@pytest.mark.parametrize("library", [3, 4])
@pytest.mark.parametrize("transports", [["polling"], ["websocket"], ["polling", "websocket"]])
async def test_events_acknowledgements_and_bytes(
    server: Server, clients: NodeClients, library: int, transports: list[str]
) -> None:
    ana = await clients.open("ana", server.url, library=library, transports=transports, auth={"name": "Ana"})
    assert await ana.event("auth") == [{"name": "Ana"}]
    assert await ana.call("back", 1, "två", {"three": [None, True]}) == [1, "två", {"three": [None, True]}]
    assert await ana.call("back", b"\x00\xff", {"deep": [b"more"]}) == [b"\x00\xff", {"deep": [b"more"]}]
    assert await ana.call("join", "den") == ["joined"]
    assert await ana.call("say", "den", "news", "x", b"\x01\x02") == ["stored"]
    assert await ana.event("news") == ["x", b"\x01\x02"]
    assert await ana.call("ask me", 5, b"five") == [5, b"five"]
    assert await ana.call("rooms") == [["den"]]
    if len(transports) == 2:
        await ana.until("upgrade")


async def test_a_client_of_an_older_protocol_is_told_so(server: Server, clients: NodeClients) -> None:
    clients.order("open", "old", url=server.url, library=2, options={"reconnection": False})
    refused = await clients.client("old").until("connect_error")
    assert "400" in json.dumps(refused)
    address = f"{server.url}/socket.io/?EIO=3&transport=polling"
    async with aiohttp.ClientSession() as http, http.get(address) as answer:
        assert answer.status == 400
        found = await answer.json()
    assert found["code"] == 5
    assert "speaks Engine.IO 4" in found["message"]


async def test_who_is_refused_is_told_why(server: Server, clients: NodeClients) -> None:
    options = {"auth": {"password": "wrong"}, "reconnection": False}
    clients.order("open", "eve", url=server.url, options=options)
    refused = await clients.client("eve").until("connect_error")
    assert (refused["message"], refused["data"]) == ("who are you?", {"try": "right"})


async def test_namespaces(server: Server, clients: NodeClients) -> None:
    ana = await clients.open("ana", f"{server.url}/custom")
    assert await ana.call("hello") == ["from /custom"]
    clients.order("open", "lost", url=f"{server.url}/nowhere", options={"reconnection": False})
    assert (await clients.client("lost").until("connect_error"))["message"] == "Invalid namespace"


async def test_rooms_are_logs_for_everyone_else(server: Server, clients: NodeClients) -> None:
    """What is emitted is in the room that polls, event streams and curl read; what they publish is an event."""
    ana = await clients.open("ana", server.url)
    await ana.call("join", "kitchen")
    async with aiohttp.ClientSession() as http:
        await http.post(f"{server.url}/rooms/kitchen", json={"data": {"text": "from curl"}})
        assert await ana.event("message") == [{"text": "from curl"}]
        await ana.call("say", "kitchen", "message", {"text": "from Socket.IO"})
        await ana.call("say", "kitchen", "soup", 1, 2)
        async with http.get(f"{server.url}/rooms/kitchen?since=start") as answer:
            data = [message["data"] for message in (await answer.json())["messages"]]
    assert data == [{"text": "from curl"}, {"text": "from Socket.IO"}, {"event": "soup", "args": [1, 2]}]


async def test_skip_and_leave(server: Server, clients: NodeClients) -> None:
    ana, ben = await clients.open("ana", server.url), await clients.open("ben", server.url)
    await ana.call("join", "hall")
    await ben.call("join", "hall")
    ana.emit("others", "hall", "psst")
    assert await ben.event("from another") == ["psst"]
    await ben.call("leave", "hall")
    await ana.call("say", "hall", "again")
    await ana.event("again")
    assert await ben.call("back") == []
    assert (ana.events("from another"), ben.events("again")) == ([], [])


async def test_a_client_that_is_disconnected_stays_away(server: Server, clients: NodeClients) -> None:
    ana, ben = await clients.open("ana", server.url), await clients.open("ben", server.url)
    ana.emit("kick", ben.id)
    assert (await ben.until("disconnect"))["reason"] == "io server disconnect"


async def test_a_client_that_leaves_is_heard_of(server: Server, clients: NodeClients) -> None:
    ana = await clients.open("ana", server.url)
    ana.leave()

    async def ends() -> list[object]:
        async with aiohttp.ClientSession() as http, http.get(f"{server.url}/rooms/ends?since=start") as answer:
            return [message["data"] for message in (await answer.json())["messages"]]

    async def is_heard_of() -> bool:
        return {"sid": ana.id, "reason": "client disconnect"} in await ends()

    await eventually(is_heard_of)


async def test_engine_io_by_itself(server: Server, clients: NodeClients) -> None:
    clients.order("engine", "raw", url=server.url)
    raw = clients.client("raw")
    await raw.until("upgrade")
    clients.order("send", "raw", data="hello")
    assert (await raw.until("message"))["data"] == "hello"
    clients.order("send", "raw", data=b"\x00\x01")
    await raw.until("message", data=b"\x00\x01")


def test_the_clients_are_there() -> None:
    """So that what is left out elsewhere is seen once."""
    assert (Path(__file__).parent / "node" / "node_modules").is_dir()
