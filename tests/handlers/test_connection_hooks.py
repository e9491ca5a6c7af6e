"""on_connect and on_disconnect: once for each connection, in order, with why and how long."""

from __future__ import annotations

import asyncio
import logging
from functools import partial

import aiohttp
import pytest

from tests.access.support import SECRET, bearer, serving, token
from tests.support import eventually
from trunkline import ConnectionEvent, Hub, Issuer, JwtAuth
from trunkline.core.grant import UNAUTHENTICATED
from trunkline.handlers import connection_hooks as module
from trunkline.hub import context_of


def watched() -> tuple[Hub, list[ConnectionEvent]]:
    hub = Hub("memory:", auth=JwtAuth([Issuer(secret=SECRET)]))
    told: list[ConnectionEvent] = []

    @hub.on_connect
    async def came(event: ConnectionEvent) -> None:
        await asyncio.sleep(0.01)
        told.append(event)

    @hub.on_disconnect
    def gone(event: ConnectionEvent) -> None:
        told.append(event)

    return hub, told


async def test_a_connection_is_told_of_when_it_is_let_in_and_when_it_is_gone(http: aiohttp.ClientSession) -> None:
    """By WebSocket and by event stream, on our server and on another; not of one that is refused."""
    hub, told = watched()
    async with serving(hub) as urls:
        for url in urls:
            for transport in ("websocket", "sse"):
                told.clear()
                if transport == "websocket":
                    async with http.ws_connect(f"{url}/rooms/r", headers=bearer(token())) as socket:
                        session = (await socket.receive_json())["session"]
                else:
                    headers = bearer(token()) | {"Accept": "text/event-stream"}
                    async with http.get(f"{url}/rooms/r", headers=headers) as response:
                        await response.content.readuntil(b"\n\n")
                        session = None
                await eventually(lambda: len(told) == 2)
                came, gone = told
                assert came.session == gone.session == (session or came.session)
                assert (came.user, came.transport, came.address) == ("ana", transport, "127.0.0.1")
                assert (came.reason, came.seconds, gone.reason) == (None, None, "closed")
                assert gone.seconds is not None
                assert 0 <= gone.seconds < 5
            told.clear()
            async with http.ws_connect(f"{url}/rooms/r?token=wrong") as socket:
                async for _ in socket:
                    pass
            await asyncio.sleep(0.05)
            assert told == []


async def test_why_it_is_gone(http: aiohttp.ClientSession) -> None:
    hub, told = watched()
    async with serving(hub) as urls, http.ws_connect(f"{urls[0]}/rooms/r", headers=bearer(token())) as socket:
        await socket.receive_json()
        await hub.disconnect("ana")
        await eventually(lambda: len(told) == 2)
        assert (told[1].reason, told[1].code) == ("disconnected", 4200)


async def test_a_hook_that_fails_is_logged_and_the_next_event_comes(
    http: aiohttp.ClientSession, caplog: pytest.LogCaptureFixture
) -> None:
    hub = Hub("memory:")
    told: list[str] = []

    @hub.on_connect
    async def came(event: ConnectionEvent) -> None:
        told.append(event.session)
        raise RuntimeError("the database is away")

    def heard(count: int) -> bool:
        return len(told) == count

    async with serving(hub) as urls:
        with caplog.at_level(logging.WARNING, "trunkline"):
            for n in range(2):
                async with http.ws_connect(f"{urls[0]}/rooms/r"):
                    await eventually(partial(heard, n + 1))
        assert sum("came failed" in record.getMessage() for record in caplog.records) == 2


async def test_events_that_wait_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest go, and are counted: the process does not grow by a hook that hangs."""
    monkeypatch.setattr(module, "WAITING_MAX", 3)
    monkeypatch.setattr(module, "LINES", 1)
    hub = Hub("memory:")

    @hub.on_connect
    async def hang(_: ConnectionEvent) -> None:
        await asyncio.sleep(3600)

    async with hub:
        hooks = context_of(hub).parts.connection_hooks
        for n in range(10):
            hooks.connected(ConnectionEvent(f"s{n}", UNAUTHENTICATED, "", "sse", 0))
            await asyncio.sleep(0)
        assert 5 <= hooks.dropped <= 7
