"""Applications whose middleware does what ours does not expect, and requests that take their time: as on uvicorn."""

import asyncio
import errno
import json
import socket
import sys
import time
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.support import WAIT_S, Server, until

ODD = "tests.server.odd_app:app"
RUN = [sys.executable, "-m", "trunkline", "run", ODD, "--port", "PORT"]
UVICORN = [sys.executable, "-m", "uvicorn", ODD, "--port", "PORT", "--log-level", "critical"]
EVENTS = {"Accept": "text/event-stream"}


def odd(name: str, *arguments: str, command: list[str] = RUN) -> Server:
    return Server(command=[*command, *arguments], environment={"ODD": name})


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=WAIT_S)) as session:
        yield session


async def sockets(http: aiohttp.ClientSession, server: Server) -> int:
    return (await server.statistics(http))["sockets"]


async def publish(http: aiohttp.ClientSession, server: Server, data: Any) -> None:
    async with http.post(f"{server.url}/realtime/rooms/r", json={"data": data}) as answer:
        assert answer.status == 201


@pytest.mark.parametrize("name", ["Buffering", "Swallowing"])
async def test_a_stream_whose_beginning_never_comes_out_is_let_go_with_its_client(
    http: aiohttp.ClientSession, name: str
) -> None:
    with odd(name) as server:
        for _ in range(3):
            _, writer = await asyncio.open_connection("127.0.0.1", server.port)
            writer.write(b"GET /realtime/rooms/r HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n")
            while not await sockets(http, server):
                await asyncio.sleep(0.01)
            writer.transport.abort()
            while await sockets(http, server):
                await asyncio.sleep(0.01)


async def test_what_a_middleware_says_behind_the_handshake_arrives(http: aiohttp.ClientSession) -> None:
    with odd("Greeting") as server:
        async with http.ws_connect(f"{server.url}/realtime/rooms/r") as reader:
            kinds = {json.loads(await reader.receive_str())["type"] for _ in range(3)}
            assert kinds == {"welcome", "joined", "greeting"}
            assert await sockets(http, server) == 1
        while await sockets(http, server):
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("transport", ["sse", "websocket"])
async def test_a_failure_after_the_handover_is_no_end_of_the_stream(
    http: aiohttp.ClientSession, transport: str
) -> None:
    with odd("FailingAfterwards") as server:
        if transport == "sse":
            async with http.get(f"{server.url}/realtime/rooms/r", headers=EVENTS) as reader:
                assert reader.status == 200
                while b"retry" not in await reader.content.readline():
                    pass
                async with http.post(f"{server.url}/realtime/rooms/r", json={"data": "said"}):
                    while b"said" not in await reader.content.readline():
                        pass
        else:
            async with http.ws_connect(f"{server.url}/realtime/rooms/r") as socket_:
                await socket_.send_json({"type": "message", "data": "said"})
                while "said" not in await socket_.receive_str():
                    pass


async def test_streams_that_are_kept_pass_what_looks_at_them(http: aiohttp.ClientSession) -> None:
    with odd("Redacting", "--keep-streams") as server:
        assert "streams too" in server.line()
        async with http.ws_connect(f"{server.url}/realtime/rooms/r") as socket_:
            async with http.get(f"{server.url}/realtime/rooms/r", headers=EVENTS) as reader:
                assert await sockets(http, server) == 0
                while b"id: " not in await reader.content.readline():
                    pass
                await publish(http, server, "a secret")
                while b"data: " not in (line := await reader.content.readline()):
                    pass
                assert b"a ******" in line
            while '"message"' not in (text := await socket_.receive_str()):
                pass
            assert "a ******" in text


@pytest.mark.parametrize("accept", [b"text/event-stream", b"*/*\r\nUpgrade: websocket"])
async def test_a_client_that_has_ended_its_side_before_it_was_let_in_gets_no_stream(
    http: aiohttp.ClientSession, accept: bytes
) -> None:
    with odd("Slow") as server:
        client = socket.create_connection(("127.0.0.1", server.port), 10)
        more = b"Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
        client.sendall(b"GET /realtime/rooms/slow HTTP/1.1\r\nHost: h\r\nAccept: %b\r\n%b\r\n" % (accept, more))
        client.shutdown(socket.SHUT_WR)
        async with http.get(f"{server.url}/let-in") as answer:
            assert answer.status == 404  # the application has no such page, its middleware has heard it
        client.settimeout(WAIT_S)
        while await asyncio.to_thread(client.recv, 65536):
            pass
        assert await sockets(http, server) == 0
        client.close()


# Requests of the application that take their time.


@pytest.fixture
def impatient(tmp_path: Path) -> list[str]:
    """A server that gives the head of a request a second."""
    config = tmp_path / "trunkline.toml"
    config.write_text("[limits]\nhandshake_s = 1.0\n")
    return ["--config", str(config)]


def test_a_slow_upload_is_taken(impatient: list[str]) -> None:
    with odd("Wrapping", *impatient) as server, socket.create_connection(("127.0.0.1", server.port), 10) as client:
        client.sendall(b"POST /upload HTTP/1.1\r\nHost: h\r\nContent-Length: 26\r\nConnection: close\r\n\r\n")
        for _ in range(13):
            client.sendall(b"xx")
            time.sleep(0.2)  # slow on purpose
        assert client.recv(65536).endswith(b"26")


def test_a_download_that_is_read_slowly_is_whole(impatient: list[str]) -> None:
    with odd("Wrapping", *impatient) as server, socket.create_connection(("127.0.0.1", server.port), 10) as client:
        client.sendall(b"GET /download HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
        time.sleep(2.5)  # a client that does something else meanwhile
        size = 0
        while piece := client.recv(1 << 20):
            size += len(piece)
        assert size > 200 * 100_000


async def test_a_large_message_on_a_websocket_of_the_application(http: aiohttp.ClientSession) -> None:
    with odd("Wrapping") as server:
        async with http.ws_connect(f"{server.url}/echo") as socket_:
            await socket_.send_str("x" * 200_000)
            assert len(await socket_.receive_str()) == 200_000


def is_refused(port: int) -> bool:
    with socket.socket() as knocking:
        return knocking.connect_ex(("127.0.0.1", port)) == errno.ECONNREFUSED


def test_a_request_that_runs_at_a_stop_is_answered() -> None:
    with odd("Wrapping") as server, socket.create_connection(("127.0.0.1", server.port), WAIT_S) as client:
        client.sendall(b"POST /slow HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n")
        assert client.recv(65536).startswith(b"HTTP/1.1 100 ")  # the application waits for the body
        server.process.terminate()
        until(lambda: is_refused(server.port), "the stop has begun")
        client.sendall(b"body")
        assert b"".join(iter(partial(client.recv, 65536), b"")).endswith(b"done")
        assert server.stop()[0] == 0
