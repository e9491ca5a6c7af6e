"""Several nodes: what is done with sockets of others, and requests that come to the wrong one."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import aiohttp
import pytest

import trunkline.socketio as ours
from tests.redis_servers import RedisServer, needs_redis
from tests.socketio.python_client import PythonClient
from tests.socketio.test_protocol import Raw, know_each_other, text_of
from tests.support import Server, eventually, until
from trunkline import Hub
from trunkline.hub import run_sync, stop_background
from trunkline.socketio.managers import AsyncRedisManager, RedisManager

COMMAND = [sys.executable, "-m", "trunkline", "run", "tests.socketio.app:app", "--port", "PORT"]
WEBSOCKET = {"transports": ["websocket"]}


@pytest.fixture(scope="module", params=["sqlite", pytest.param("redis", marks=needs_redis)])
def store(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder: Path = tmp_path_factory.mktemp("log")
    if request.param == "sqlite":
        yield f"sqlite:///{folder}/log.db?shared=1"
    else:
        with RedisServer(folder) as redis:
            yield redis.url


@pytest.fixture(scope="module")
def nodes(store: str) -> Iterator[tuple[Server, Server]]:
    with ExitStack() as stack:
        one, two = (stack.enter_context(Server(command=COMMAND, store=store)) for _ in range(2))
        until(lambda: know_each_other([one, two]), "the nodes know each other")
        yield one, two


async def test_rooms_reach_over_all_nodes(nodes: tuple[Server, Server]) -> None:
    async with PythonClient(nodes[0].url, **WEBSOCKET) as ana, PythonClient(nodes[1].url, **WEBSOCKET) as ben:
        await ana.call("join", "r")
        await ben.call("join", "r")
        await ana.call("say", "r", "news", 1)
        await ben.call("others", "r", 2)
        assert await ben.heard("news") == [1]
        assert await ana.heard("from another") == [2]
        await ana.call("volatile", "r", 3)
        assert await ben.heard("said") == [3]


async def test_a_socket_of_another_node(nodes: tuple[Server, Server]) -> None:
    """It is asked, put into a room, emitted to, and disconnected."""
    async with PythonClient(nodes[0].url, **WEBSOCKET) as ana, PythonClient(nodes[1].url, **WEBSOCKET) as ben:
        assert await ana.call("ask", ben.sid) == "hello"
        assert await ana.call("put", ben.sid, "put") == "done"
        assert await ben.call("rooms") == ["put"]
        await ana.call("say", "put", "news", 1)
        assert await ben.heard("news") == [1]
        await ana.call("say", ben.sid, "for you")
        assert await ben.heard("for you") == []
        await ana.call("kick", ben.sid)
        await eventually(lambda: not ben.socket.connected)


async def test_each_request_may_come_to_another_node(nodes: tuple[Server, Server]) -> None:
    async with aiohttp.ClientSession() as http:
        one, two = (Raw(node.url, http, "engine.io") for node in nodes)
        await one.open()
        two.sid = one.sid
        poll = asyncio.create_task(two.poll())
        assert await two.post("4hello\x1ebAQID") == (200, "ok")
        got = (await poll)[1]
        if got == "4hello":
            got += "\x1e" + (await one.poll())[1]
        assert got == "4hello\x1ebAQID"
        large = "4" + "x" * 200_000
        assert await two.post(large) == (200, "ok")
        assert (await two.poll())[1] == large
        ws = await two.websocket(tried=True)
        await ws.send_str("2probe")
        assert await text_of(ws) == "3probe"
        assert await one.poll() == (200, "6")
        await ws.send_str("5")
        for size in (1, 100_000):
            await ws.send_bytes(bytes(size))
            assert await text_of(ws) == bytes(size)
        assert (await one.poll())[0] == (await two.poll())[0] == 400
        await ws.close()


async def test_a_poll_that_was_passed_on_and_not_waited_for_ends_the_session(nodes: tuple[Server, Server]) -> None:
    async with aiohttp.ClientSession() as http:
        one, two = (Raw(node.url, http, "engine.io") for node in nodes)
        await one.open()
        two.sid = one.sid
        poll = asyncio.create_task(two.poll())
        await asyncio.sleep(0.2)
        poll.cancel()

        async def is_gone() -> bool:
            return (await one.post("3"))[0] == 400

        await eventually(is_gone)


async def test_a_session_of_a_node_that_is_gone_is_unknown(store: str, nodes: tuple[Server, Server]) -> None:
    async with aiohttp.ClientSession() as http:
        with Server(command=COMMAND, store=store) as third:
            raw = Raw(third.url, http, "engine.io")
            await raw.open()
            elsewhere = Raw(nodes[0].url, http, "engine.io")
            elsewhere.sid = raw.sid
            assert await elsewhere.post("4x") == (200, "ok")
            third.kill()
            assert (await elsewhere.poll())[0] == 400


async def test_a_process_without_clients_emits(store: str, nodes: tuple[Server, Server]) -> None:
    async with PythonClient(nodes[0].url, **WEBSOCKET) as ana:
        await ana.call("join", "r")
        async with Hub(store) as hub:
            await ours.AsyncServer(hub, plain_rooms=True).emit("from a job", {"done": 1}, room="r")
        assert await ana.heard("from a job") == [{"done": 1}]
        if store.startswith("redis"):
            manager = AsyncRedisManager(store, write_only=True)
            await manager.emit("to everyone", 2)
            assert await ana.heard("to everyone") == [2]
            await manager.hub.close()
            blocking = RedisManager(store, write_only=True)
            await asyncio.to_thread(blocking.emit, "to one", 3, room=ana.sid)
            assert await ana.heard("to one") == [3]
            await asyncio.to_thread(run_sync, blocking.hub, blocking.hub.close, 10)
            await asyncio.to_thread(stop_background, blocking.hub)


def test_a_manager_is_a_hub_of_redis() -> None:
    manager = AsyncRedisManager("redis://127.0.0.1:1/0", channel="ours", write_only=False)
    server = ours.AsyncServer(client_manager=manager, async_mode="asgi")
    assert server.hub is manager.hub
    assert server.owns_hub
