"""The Python client of Socket.IO, as it is published, against ours."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest

import socketio  # type: ignore[import-untyped]
from tests.socketio.python_client import PythonClient
from tests.support import Server

COMMAND = [sys.executable, "-m", "trunkline", "run", "tests.socketio.app:app", "--port", "PORT"]


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with Server(command=COMMAND) as running:
        yield running


@pytest.mark.parametrize("transports", [["polling"], ["websocket"], ["polling", "websocket"]])
async def test_events_acknowledgements_and_bytes(server: Server, transports: list[str]) -> None:
    async with PythonClient(server.url, transports=transports, auth={"name": "Ana"}) as ana:
        assert await ana.heard("auth") == [{"name": "Ana"}]
        assert await ana.call("back", 1, "två", {"three": [None]}) == (1, "två", {"three": [None]})
        assert await ana.call("back", b"\x00\xff", {"deep": [b"more"]}) == (b"\x00\xff", {"deep": [b"more"]})
        assert await ana.call("join", "den") == "joined"
        assert await ana.call("say", "den", "news", "x", b"\x01") == "stored"
        assert await ana.heard("news") == ["x", b"\x01"]
        assert await ana.call("ask me", 5) == 5


async def test_who_is_refused_is_told_why(server: Server) -> None:
    client = socketio.AsyncClient(reconnection=False)
    told: list[object] = []
    client.on("connect_error", told.append)
    with pytest.raises(socketio.exceptions.ConnectionError):
        await client.connect(server.url, auth={"password": "wrong"})
    assert told == [{"message": "who are you?", "data": {"try": "right"}}]
