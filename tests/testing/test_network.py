"""Lines: each client's own, with its own faults."""

import asyncio

import aiohttp
import pytest

from trunkline.testing.network import LineConnector, Network


class Hello(asyncio.Protocol):
    """Answers every request with one word."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")


async def ask(http: aiohttp.ClientSession) -> str:
    async with http.get("http://anywhere/") as response:
        return await response.text()


async def test_a_cut_line_is_one_clients_alone() -> None:
    network = Network(Hello)
    mine, others = network.line(), network.line()
    async with (
        aiohttp.ClientSession(connector=LineConnector(mine)) as http,
        aiohttp.ClientSession(connector=LineConnector(others)) as elsewhere,
    ):
        assert await ask(http) == "hello"
        with mine.cut():
            with pytest.raises(aiohttp.ClientConnectorError):
                await ask(http)
            assert await ask(elsewhere) == "hello"
        assert await ask(http) == "hello"
        network.reset()
        assert await ask(http) == "hello"


async def test_a_frozen_line_delivers_later() -> None:
    network = Network(Hello)
    line = network.line()
    async with aiohttp.ClientSession(connector=LineConnector(line)) as http:
        with line.freeze(), line.freeze():
            asking = asyncio.ensure_future(ask(http))
            for _ in range(50):
                await asyncio.sleep(0)
            assert not asking.done()
        assert await asking == "hello"


async def test_a_line_may_lead_elsewhere() -> None:
    network = Network(asyncio.Protocol)
    async with aiohttp.ClientSession(connector=LineConnector(network.line(Hello))) as http:
        assert await ask(http) == "hello"
