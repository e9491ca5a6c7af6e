"""Clients of Socket.IO in Java and Go; and a hundred nodes that die with a socket of socket.io-client."""

from __future__ import annotations

import asyncio
import base64
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.deploy.conftest import Front
from tests.redis_servers import RedisServer, needs_redis
from tests.socketio.killing import kill_again_and_again
from tests.socketio.node_clients import NodeClients, needs_node
from tests.support import Server, until

FOLDER = Path(__file__).parent / "socketio"
RUN = [sys.executable, "-m", "trunkline", "run", "tests.socketio.app:app", "--port", "PORT"]
DATA = base64.b64encode(bytes(n % 256 for n in range(300))).decode()
KILLS = 100
needs_java = pytest.mark.skipif(not (FOLDER / "java/out").is_dir(), reason="Talker.java was not compiled")
needs_go = pytest.mark.skipif(not (FOLDER / "go/talker").is_file(), reason="the Go client was not built")


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with Server(command=RUN) as running:
        yield running


async def lines_of(*command: str, folder: Path = FOLDER) -> list[str]:
    process = await asyncio.create_subprocess_exec(*command, cwd=folder, stdout=asyncio.subprocess.PIPE)
    async with asyncio.timeout(60):
        return (await process.communicate())[0].decode().splitlines()


@needs_java
@pytest.mark.parametrize("transports", ["polling", "websocket", "polling,websocket"])
async def test_java(server: Server, transports: str) -> None:
    said = await lines_of("java", "-cp", "out:lib/*", "Talker", server.url, transports, folder=FOLDER / "java")
    assert said == [f"echo hé 7 {DATA}", f"news hé {DATA}"]


@needs_go
async def test_go(server: Server) -> None:
    assert await lines_of("go/talker", server.url) == [f"echo hé 7 {DATA}", f"news hé {DATA}"]


@needs_node
@needs_redis
@pytest.mark.timeout(900)
async def test_the_node_that_has_a_socket_is_killed_a_hundred_times(tmp_path: Path) -> None:
    """Behind a proxy, on Redis: every acknowledged emit comes once, in order, to a client that was recovered."""
    environment = {"RECOVERY": "60", "PING_INTERVAL": "2", "PING_TIMEOUT": "1"}
    with ExitStack() as stack:
        redis = stack.enter_context(RedisServer(tmp_path))
        nodes = [stack.enter_context(Server(command=RUN, store=redis.url, environment=environment)) for _ in range(3)]
        front = Front("haproxy", [node.port for node in nodes], tmp_path)
        stack.callback(front.stop)
        until(lambda: front.process.poll() is None, "the proxy runs")
        async with NodeClients() as clients:
            seen = await kill_again_and_again(clients, front.url, KILLS, lambda: restart(nodes))
    assert seen.heard == list(range(seen.emitted))
    assert seen.recovered == [True] * len(seen.recovered)
    assert len(seen.recovered) >= KILLS


def restart(nodes: list[Server]) -> None:
    """Start the nodes again that were killed."""
    for node in nodes:
        if node.process.poll() is not None:
            node.process.communicate()
            node.start()
