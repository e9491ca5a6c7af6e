"""Connection state recovery with socket.io-client: cut connections, killed servers, killed nodes."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.socketio.killing import kill_again_and_again
from tests.socketio.node_clients import NodeClient, NodeClients, needs_node
from tests.support import Server, eventually

pytestmark = needs_node

COMMAND = [sys.executable, "-m", "trunkline", "run", "tests.socketio.app:app", "--port", "PORT"]
SHORT = {"RECOVERY": "60", "PING_INTERVAL": "2", "PING_TIMEOUT": "1"}
QUICK: dict[str, Any] = {"reconnectionDelay": 50, "reconnectionDelayMax": 200, "timeout": 5000}


async def publish(url: str, room: str, data: object) -> None:
    async with aiohttp.ClientSession() as http, http.post(f"{url}/rooms/{room}", json={"data": data}) as answer:
        assert answer.status == 201


def numbers(client: NodeClient) -> list[int]:
    return [args[0] for args in client.events("message")]


@pytest.mark.parametrize("transports", [["websocket"], ["polling"]])
async def test_what_was_missed_comes_once_and_in_order(tmp_path: Path, transports: list[str]) -> None:
    store = f"sqlite:///{tmp_path}/log.db"
    async with NodeClients() as clients:
        with Server(store=store, command=COMMAND, environment=SHORT) as server:
            ana = await clients.open("ana", server.url, transports=transports, **QUICK)
            await ana.call("join", "news")
            first = ana.id
            for n in range(3):
                await publish(server.url, "news", n)
            await eventually(lambda: numbers(ana) == [0, 1, 2])
            now = ana.now
            ana.cut()
            await ana.until("disconnect", now)
            for n in range(3, 6):
                await publish(server.url, "news", n)
            again = await ana.connected(now)
            assert (again["recovered"], again["id"]) == (True, first)
            await eventually(lambda: len(numbers(ana)) >= 6)
            assert numbers(ana) == list(range(6))
            assert await ana.call("rooms") == [["news"]]


async def test_a_server_that_is_killed_and_comes_back(tmp_path: Path) -> None:
    store = f"sqlite:///{tmp_path}/log.db"
    async with NodeClients() as clients:
        with Server(store=store, command=COMMAND, environment=SHORT) as server:
            ana = await clients.open("ana", server.url, transports=["websocket"], **QUICK)
            await ana.call("join", "news")
            first = ana.id
            await publish(server.url, "news", 0)
            await ana.event("message")
            for n in range(1, 6):
                now = ana.now
                server.kill()
                server.start()
                await publish(server.url, "news", n)
                again = await ana.connected(now)
                assert (again["recovered"], again["id"]) == (True, first)
                await eventually(lambda: numbers(ana) == list(range(n + 1)))  # noqa: B023 - awaited at once
            assert numbers(ana) == list(range(6))


async def test_a_server_that_is_restarted_sends_its_clients_away_to_go_on(tmp_path: Path) -> None:
    store = f"sqlite:///{tmp_path}/log.db"
    async with NodeClients() as clients:
        with Server(store=store, command=COMMAND, environment=SHORT) as server:
            ana = await clients.open("ana", server.url, transports=["websocket"], **QUICK)
            ben = await clients.open("ben", server.url, transports=["polling"], **QUICK)
            for client in (ana, ben):
                await client.call("join", "news")
            now = ana.now
            assert server.stop()[0] == 0
            server.start()
            await publish(server.url, "news", "meanwhile")
            for client in (ana, ben):
                assert (await client.connected(now))["recovered"] is True
                assert (await client.event("message"))[0] == "meanwhile"


async def test_before_the_first_event(tmp_path: Path) -> None:
    """A client that was never told an offset goes on from where it has joined."""
    store = f"sqlite:///{tmp_path}/log.db"
    async with NodeClients() as clients:
        with Server(store=store, command=COMMAND, environment={**SHORT, "QUIET": "1"}) as server:
            ana = await clients.open("ana", server.url, transports=["websocket"], **QUICK)
            await ana.call("join", "news")
            assert ana.lines("event") == []
            now = ana.now
            server.kill()
            server.start()
            await publish(server.url, "news", "first")
            assert (await ana.connected(now))["recovered"] is True
            assert (await ana.event("message"))[0] == "first"


async def test_what_is_gone_makes_it_a_new_connection(tmp_path: Path) -> None:
    """The log of a room was deleted meanwhile: the client is not told that it has everything."""
    async with NodeClients() as clients:
        with Server(store="memory:", command=COMMAND, environment=SHORT) as server:
            ana = await clients.open("ana", server.url, transports=["websocket"], **QUICK)
            await ana.call("join", "news")
            first, now = ana.id, ana.now
            server.kill()
            server.start()
            again = await ana.connected(now)
            assert again["recovered"] is False
            assert again["id"] != first
            assert await ana.call("rooms") == [[]]


async def test_another_client_cannot_take_it(tmp_path: Path) -> None:
    """The id of a socket is no secret, and is worth nothing."""
    async with NodeClients() as clients:
        with Server(store="memory:", command=COMMAND, environment=SHORT) as server:
            ana = await clients.open("ana", server.url, transports=["websocket"], **QUICK)
            eve = await clients.open("eve", server.url, transports=["websocket"], auth={"pid": ana.id}, **QUICK)
            assert eve.id != ana.id
            assert await ana.call("back") == []


async def test_the_worker_that_has_a_socket_is_killed_ten_times(tmp_path: Path) -> None:
    """Every acknowledged emit comes once, in order, to a client that says that it was recovered."""
    store = f"sqlite:///{tmp_path}/log.db?shared=1"
    command = [*COMMAND, "--workers", "2"]
    async with NodeClients() as clients:
        with Server(store=store, command=command, environment=SHORT) as server:
            seen = await kill_again_and_again(clients, server.url, 10)
    assert seen.heard == list(range(seen.emitted))
    assert seen.recovered == [True] * len(seen.recovered)
    assert len(seen.recovered) >= 10
