"""The proxy with faults, in front of a real server."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator

import aiohttp
import pytest

from tests.support import WAIT_S, Server, publish
from trunkline.testing.proxy import FAULTS, Proxy


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with Server() as running:
        yield running


@pytest.fixture
async def proxy(server: Server) -> AsyncIterator[Proxy]:
    async with Proxy(server.port) as running:
        yield running


async def test_it_passes_everything_on(proxy: Proxy, http: aiohttp.ClientSession) -> None:
    receipt = await publish(http, proxy.url, "plain", "x" * 60_000)
    assert receipt["offset"] == 1
    async with http.get(f"{proxy.url}/rooms/plain") as response:
        assert (await response.json())["messages"][0]["data"] == "x" * 60_000
    async with http.ws_connect(f"{proxy.url}/rooms/plain?since=start") as socket:
        assert [(await socket.receive_json())["type"] for _ in range(3)] == ["welcome", "joined", "message"]
    assert proxy.requests[0] == "POST /rooms/plain HTTP/1.1"


async def test_a_cut_lets_nothing_through(proxy: Proxy, http: aiohttp.ClientSession) -> None:
    async with http.ws_connect(f"{proxy.url}/rooms/r") as socket:
        await socket.receive()
        assert proxy.connections == 1
        with proxy.cut():
            while (frame := await socket.receive()).type != aiohttp.WSMsgType.CLOSED:
                assert frame.type is aiohttp.WSMsgType.TEXT
            with pytest.raises((aiohttp.ClientError, OSError)):
                await http.get(f"{proxy.url}/livez")
    async with http.get(f"{proxy.url}/livez") as response:
        assert response.status == 200


async def test_a_hang_ends_with_everything_in_order(proxy: Proxy, http: aiohttp.ClientSession, server: Server) -> None:
    async with http.ws_connect(f"{proxy.url}/rooms/hang") as socket:
        assert (await socket.receive_json())["type"] == "welcome"
        assert (await socket.receive_json())["type"] == "joined"
        with proxy.hang():
            for n in range(3):
                await publish(http, server.url, "hang", n)
            with pytest.raises(TimeoutError):
                await socket.receive(timeout=0.2)
        assert [(await socket.receive_json())["data"] for _ in range(3)] == [0, 1, 2]


async def test_a_delay_is_that_of_each_direction(proxy: Proxy, http: aiohttp.ClientSession) -> None:
    async with http.ws_connect(f"{proxy.url}/rooms/r") as socket:
        await socket.receive()
        await socket.receive()
        with proxy.delay(0.1), proxy.delay(0.05):
            began = time.monotonic()
            for _ in range(5):
                await socket.send_json({"type": "ping"})
            for _ in range(5):
                assert (await socket.receive_json())["type"] == "pong"
            assert 0.3 <= time.monotonic() - began < WAIT_S  # once there and back, however many there are


async def test_it_forgets_upgrade(proxy: Proxy, http: aiohttp.ClientSession) -> None:
    with proxy.forget_upgrade():
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await http.ws_connect(f"{proxy.url}/rooms/r")
        assert refused.value.status != 101
        async with http.get(f"{proxy.url}/rooms/r", headers={"Accept": "text/event-stream"}) as response:
            assert await response.content.readline() == b": trunkline\n"
    async with http.ws_connect(f"{proxy.url}/rooms/r") as socket:
        assert (await socket.receive_json())["type"] == "welcome"


async def test_it_keeps_what_an_event_stream_brings(proxy: Proxy, http: aiohttp.ClientSession, server: Server) -> None:
    buffering = proxy.buffer()
    asking = asyncio.ensure_future(
        http.get(f"{proxy.url}/rooms/kept?since=start", headers={"Accept": "text/event-stream"})
    )
    async with http.get(f"{proxy.url}/livez") as response:  # what is no stream gets through
        assert response.status == 200
    await publish(http, server.url, "kept", "at last")
    await asyncio.wait([asking], timeout=0.2)
    assert not asking.done()
    buffering.end()
    async with asyncio.timeout(WAIT_S), await asking as response:
        while b"at last" not in await response.content.readline():
            pass


async def test_a_new_request_waits_like_all_others(proxy: Proxy, http: aiohttp.ClientSession, server: Server) -> None:
    with proxy.hang():
        asking = asyncio.ensure_future(publish(http, proxy.url, "waits", 1))
        await asyncio.wait([asking], timeout=0.2)
        async with http.get(f"{server.url}/rooms/waits") as response:
            assert (await response.json())["head"] == 0
    assert (await asking)["offset"] == 1
    for wrong in (-5, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="a delay is 0 to"):
            proxy.delay(wrong)


async def test_a_server_that_resets_is_passed_on() -> None:
    async def reset(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.transport.abort()

    listening = await asyncio.start_server(reset, "127.0.0.1", 0)
    async with Proxy(listening.sockets[0].getsockname()[1]) as proxy, aiohttp.ClientSession() as http:
        with pytest.raises(aiohttp.ClientError):
            await asyncio.wait_for(http.post(proxy.url, data=b"x"), WAIT_S)
    listening.close()
    await listening.wait_closed()


async def test_a_head_in_two_pieces_is_looked_at(http: aiohttp.ClientSession) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-")
        await asyncio.sleep(0.05)
        writer.write(b"Type: text/event-stream\r\n\r\ndata: 1\n\n")
        await reader.read()
        writer.close()

    listening = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with Proxy(listening.sockets[0].getsockname()[1]) as proxy:
        with proxy.buffer():
            asking = asyncio.ensure_future(http.get(proxy.url))
            await asyncio.wait([asking], timeout=0.3)
            assert not asking.done()
        async with await asking as response:
            assert await response.content.readline() == b"data: 1\n"
    listening.close()


async def test_a_server_that_is_not_there(http: aiohttp.ClientSession) -> None:
    async with Proxy(1) as proxy:
        with pytest.raises((aiohttp.ClientError, OSError)):
            await http.get(proxy.url)


def test_every_fault_has_a_name_for_people() -> None:
    verbs = {verb for verb, _, _ in FAULTS.values()}
    assert verbs == {Proxy.cut, Proxy.hang, Proxy.delay, Proxy.buffer, Proxy.forget_upgrade}
