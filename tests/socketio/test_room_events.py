"""`trunkline serve --socketio /socket.io`: rooms without an application, for clients of Socket.IO and all others."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import aiohttp
import pytest

from tests.access.support import SECRET, token
from tests.socketio.node_clients import NodeClients, needs_node
from tests.support import Server, eventually

pytestmark = needs_node


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    store = f"sqlite:///{tmp_path_factory.mktemp('log')}/log.db"
    with Server("--socketio", "/socket.io", store=store) as running:
        yield running


@pytest.fixture
async def clients() -> AsyncIterator[NodeClients]:
    async with NodeClients() as running:
        yield running


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


async def test_join_publish_and_read(server: Server, clients: NodeClients, http: aiohttp.ClientSession) -> None:
    ana = await clients.open("ana", server.url)
    [joined] = await ana.call("join", "general")
    assert (joined["room"], joined["head"]) == ("general", 0)
    [ack] = await ana.call("message", {"room": "general", "text": "Hello!", "id": "one"})
    assert (ack["room"], ack["offset"], ack["id"], ack["duplicate"]) == ("general", 1, "one", False)
    data, known = await ana.event("message")
    assert data == {"text": "Hello!"}
    assert (known["room"], known["offset"], known["id"], known["from"]) == ("general", 1, "one", None)
    [ack] = await ana.call("message", {"room": "general", "text": "Hello!", "id": "one"})
    assert ack["duplicate"] is True
    await http.post(f"{server.url}/rooms/general", json={"data": [1, 2]})
    await eventually(lambda: len(ana.events("message")) == 2)
    assert ana.events("message")[1][0] == [1, 2]


async def test_history_comes_from_where_one_joins(
    server: Server, clients: NodeClients, http: aiohttp.ClientSession
) -> None:
    for n in range(5):
        await http.post(f"{server.url}/rooms/past", json={"data": n})
    ana = await clients.open("ana", server.url)
    await ana.call("join", {"room": "past", "last": 2})
    await eventually(lambda: len(ana.events("message")) == 2)
    [joined] = await ana.call("join", {"room": "past", "since": "start"})
    assert joined["head"] == 5
    await eventually(lambda: len(ana.events("message")) == 7)
    assert [args[0] for args in ana.events("message")] == [3, 4, 0, 1, 2, 3, 4]
    assert await ana.call("leave", "past") == [{"room": "past"}]
    await http.post(f"{server.url}/rooms/past", json={"data": "not for Ana"})
    [joined] = await ana.call("join", "past")
    assert joined["head"] == 6
    assert len(ana.events("message")) == 7


@pytest.mark.parametrize(
    ("event", "argument", "code"),
    [
        ("join", "a b", "bad_room"),
        ("join", {"room": "a", "since": "yesterday"}, "bad_position"),
        ("join", {"rooms": ["a"]}, "bad_command"),
        ("join", 5, "bad_command"),
        ("leave", {}, "bad_command"),
        ("message", {"room": "a"}, "bad_command"),
        ("message", {"room": "a", "text": "b", "data": 1}, "bad_command"),
        ("message", {"room": "a", "text": "b", "id": "\n"}, "bad_id"),
        ("message", {"room": "a", "text": "x" * 70_000}, "too_large"),
    ],
)
async def test_what_is_wrong_is_acknowledged_as_wrong(
    server: Server, clients: NodeClients, event: str, argument: object, code: str
) -> None:
    ana = await clients.open("ana", server.url, transports=["websocket"])
    [answer] = await ana.call(event, argument)
    assert answer["error"]["code"] == code
    assert answer["error"]["message"]
    assert await ana.call("leave", "nothing") == [{"room": "nothing"}]  # it is still connected


async def test_tokens_say_who_may_do_what(tmp_path: Path, clients: NodeClients, http: aiohttp.ClientSession) -> None:
    config = tmp_path / "c.toml"
    config.write_text(f'auth = "jwt"\n[jwt]\nsecret = "{SECRET}"\n')
    with Server("--socketio", "/socket.io", "--config", str(config)) as server:
        clients.order("open", "nobody", url=server.url, options={"reconnection": False})
        refused = await clients.client("nobody").until("connect_error")
        assert refused["data"] == {"code": "unauthorized"}
        may = {"read": ["general"], "write": ["general"]}
        ana = await clients.open("ana", server.url, auth={"token": token("ana", rooms=may)})
        assert "error" not in (await ana.call("join", "general"))[0]
        assert (await ana.call("join", "secret"))[0]["error"]["code"] == "forbidden"
        assert (await ana.call("message", {"room": "secret", "text": "x"}))[0]["error"]["code"] == "forbidden"
        await ana.call("message", {"room": "general", "text": "hi"})
        assert (await ana.event("message"))[1]["from"] == "ana"
        header = {"Authorization": f"Bearer {token('ben', rooms=may)}"}
        ben = await clients.open("ben", server.url, extraHeaders=header)
        assert (await ben.call("message", {"room": "general", "text": "hi"}))[0]["offset"] == 2
        boss = {"Authorization": f"Bearer {token('boss', rooms={'admin': ['*']})}"}
        async with http.post(f"{server.url}/disconnect", json={"user": "ana"}, headers=boss) as answer:
            assert answer.status == 200
        assert (await ana.until("disconnect"))["reason"] == "io server disconnect"


async def test_a_client_that_wants_to_goes_on_where_it_was(
    server: Server, clients: NodeClients, http: aiohttp.ClientSession
) -> None:
    """Clients that do not say so are not given the offset, which is one more argument."""
    ana = await clients.open("ana", server.url, auth={"recovery": True}, reconnectionDelay=50)
    ben = await clients.open("ben", server.url, reconnectionDelay=50)
    for client in (ana, ben):
        await client.call("join", "again")
    await http.post(f"{server.url}/rooms/again", json={"data": 0})
    assert [len(await ana.event("message")), len(await ben.event("message"))] == [3, 2]
    now = ana.now
    for client in (ana, ben):
        client.cut()
    for client in (ana, ben):
        await client.until("disconnect", now)
    await http.post(f"{server.url}/rooms/again", json={"data": 1})
    assert [(await client.connected(now))["recovered"] for client in (ana, ben)] == [True, False]
    await eventually(lambda: [args[0] for args in ana.events("message")] == [0, 1])
