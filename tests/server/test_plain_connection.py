"""Requests of ours on one connection: how long it stays, and what comes right behind another."""

import asyncio
import socket
from collections.abc import AsyncIterator

import pytest
import uvicorn

from trunkline import Hub
from trunkline.hub import context_of
from trunkline.server.edge import Edge
from trunkline.server.gate import Gate
from trunkline.server.uvicorn_websocket import counted_websocket

POLL = b"GET /rooms/r?since=now HTTP/1.1\r\nHost: localhost\r\n\r\n"
ASGI = b"GET /rooms/r?since=now HTTP/1.1\r\nHost: localhost\r\nTE: trailers\r\n\r\n"
STAYS_S = 0.3


@pytest.fixture
async def hub() -> AsyncIterator[Hub]:
    async with Hub("memory:") as running:
        yield running


@pytest.fixture
async def port(hub: Hub) -> AsyncIterator[int]:
    """A server whose connections stay for a moment only."""
    gate = Gate(context_of(hub))
    config = uvicorn.Config(hub.app, ws=counted_websocket(gate), log_level="error", lifespan="off")
    config.timeout_keep_alive = STAYS_S  # type: ignore[assignment]  # whole seconds are too long for a test
    state = uvicorn.server.ServerState()
    loop = asyncio.get_running_loop()
    config.load()
    server = await loop.create_server(
        lambda: Edge(gate, config=config, server_state=state, app_state={}), "127.0.0.1", 0
    )
    yield server.sockets[0].getsockname()[1]
    server.close()


async def answers(reader: asyncio.StreamReader, count: int) -> list[bytes]:
    found = []
    for _ in range(count):
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
        await reader.readexactly(length)
        found.append(head)
    return found


async def closed_after_s(reader: asyncio.StreamReader) -> float:
    began = asyncio.get_running_loop().time()
    assert await reader.read() == b""
    return asyncio.get_running_loop().time() - began


@pytest.mark.parametrize("last", [POLL, ASGI])
async def test_a_connection_is_closed_when_nothing_is_asked_for(port: int, last: bytes) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for request in (POLL, last):
        writer.write(request)
        await answers(reader, 1)
    assert await closed_after_s(reader) > STAYS_S / 2
    writer.close()


async def test_each_request_keeps_the_connection_open(port: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    end = asyncio.get_running_loop().time() + 3 * STAYS_S
    while asyncio.get_running_loop().time() < end:
        writer.write(POLL)
        await answers(reader, 1)
        await asyncio.sleep(STAYS_S / 5)
    assert await closed_after_s(reader) > STAYS_S / 2
    writer.close()


async def test_a_poll_that_waits_keeps_the_connection_open(port: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(POLL + POLL.replace(b"now", b"now&wait=1"))
    assert len(await answers(reader, 2)) == 2
    writer.close()


async def test_requests_one_behind_the_other_are_answered_in_order(port: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    body = b'{"data":1}'
    post = (
        b"POST /rooms/r HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b"
    )
    writer.write((POLL + post % (len(body), body)) * 40)
    heads = await answers(reader, 80)
    assert [head.split()[1] for head in heads] == [b"200", b"201"] * 40
    writer.close()


async def test_a_body_that_comes_in_pieces_is_waited_for(port: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    head = b"POST /rooms/r HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 10\r\n\r\n"
    for piece in (head[:20], head[20:] + b'{"da', b'ta":1}' + POLL[:9], POLL[9:]):
        writer.write(piece)
        await writer.drain()
        await asyncio.sleep(0.02)  # so that each is a read of its own
    heads = await answers(reader, 2)
    assert [head.split()[1] for head in heads] == [b"201", b"200"]
    writer.close()


async def test_polls_of_a_client_that_is_gone_end_whatever_it_has_sent_behind_them(hub: Hub, port: int) -> None:
    waiting = POLL.replace(b"now", b"now&wait=60")
    for behind in (b"", b"G", waiting):
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(waiting + behind)
        await writer.drain()
        while not hub.statistics()["polls"]:
            await asyncio.sleep(0.01)
        writer.transport.abort()
        while hub.statistics()["polls"]:
            await asyncio.sleep(0.01)
