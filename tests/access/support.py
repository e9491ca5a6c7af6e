"""Tokens, and clients that bring them in every way there is."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import jwt
import uvicorn

from tests.support import WAIT_S, events, eventually, free_port
from trunkline import Hub
from trunkline.config import Config
from trunkline.server import RoomsServer

SECRET = "a secret for tests, of 32 bytes or more"
COOKIE = "tl_token"
ORIGIN = "https://app.example.com"
EVERYWHERE = {"read": ["*"], "write": ["*"]}
ADMIN = {**EVERYWHERE, "admin": ["*"]}


def token(
    user: str = "ana", lifetime_s: float = 3600, key: Any = SECRET, algorithm: str = "HS256", **claims: Any
) -> str:
    """A token that permits everything but administration, unless *claims* say otherwise."""
    now = time.time()
    headers = claims.pop("headers", None)
    body = {"sub": user, "iat": now, "exp": now + lifetime_s, "rooms": EVERYWHERE} | claims
    return jwt.encode({k: v for k, v in body.items() if v is not None}, key, algorithm=algorithm, headers=headers)


def bearer(text: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {text}"}


async def knock(
    http: aiohttp.ClientSession,
    transport: str,
    url: str,
    *,
    headers: dict[str, str] | None = None,
    params: dict[str, str] | None = None,
    protocols: tuple[str, ...] = (),
    say: dict[str, Any] | None = None,
) -> str:
    """`ok`, or the code of the error that answers. *url* is a room's."""
    async with asyncio.timeout(WAIT_S):
        if transport == "websocket":
            try:
                async with http.ws_connect(url, headers=headers, params=params, protocols=protocols) as socket:
                    if say is not None:
                        await socket.send_json(say)
                    first = await socket.receive_json()
                    return "ok" if first["type"] == "welcome" else str(first["code"])
            except aiohttp.WSServerHandshakeError as error:
                return str(error.status)
        query = dict(params or {}) | ({"wait": "1"} if transport == "longpoll" else {})
        accept = {"Accept": "text/event-stream"} if transport == "sse" else {}
        async with http.get(url, headers=accept | (headers or {}), params=query) as response:
            if response.status == 200:
                return "ok"
            return str((await response.json())["error"]["code"])


@asynccontextmanager
async def stream_of(
    http: aiohttp.ClientSession, url: str, text: str, **params: str
) -> AsyncIterator[AsyncIterator[dict[str, str]]]:
    """An event stream's events."""
    headers = bearer(text) | {"Accept": "text/event-stream"}
    async with http.get(url, headers=headers, params=params) as response:
        assert response.status == 200, await response.text()
        yield events(response.content)


async def closed(socket: aiohttp.ClientWebSocketResponse) -> tuple[list[dict[str, Any]], int | None]:
    """What a WebSocket says until it is closed, and with which code it is."""
    async with asyncio.timeout(WAIT_S):
        return [json.loads(frame.data) async for frame in socket], socket.close_code


@asynccontextmanager
async def serving(hub: Hub) -> AsyncIterator[list[str]]:
    """The hub under our server and under plain uvicorn, at once, in this event loop."""
    port = free_port()
    server = RoomsServer(Config(port=port), hub, lambda *_: None)
    plain = uvicorn.Server(uvicorn.Config(hub.app, port=free_port(), log_level="error", lifespan="off"))
    await hub.start()
    server.install_signal_handlers = lambda: None  # type: ignore[attr-defined]
    tasks = [
        asyncio.ensure_future(server._serve([server._listener])),
        asyncio.ensure_future(plain._serve()),
    ]
    await eventually(lambda: server.started and plain.started)
    try:
        yield [f"http://127.0.0.1:{port}", f"http://127.0.0.1:{plain.config.port}"]
    finally:
        plain.should_exit = server.should_exit = True
        await asyncio.gather(*tasks)
