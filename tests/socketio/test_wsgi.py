"""`socketio.Server`, whose methods are not awaited: by polling below gunicorn, with WebSockets by `trunkline run`."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import aiohttp
import pytest

import socketio  # type: ignore[import-untyped]
from tests.socketio.python_client import PythonClient
from tests.support import Server, eventually, free_port

GUNICORN = [
    sys.executable,
    "-m",
    "gunicorn",
    "--threads",
    "16",
    "--bind",
    "127.0.0.1:PORT",
    "tests.socketio.wsgi_app:app",
]
RUN = [sys.executable, "-m", "trunkline", "run", "tests.socketio.wsgi_app:asgi", "--port", "PORT"]


@pytest.fixture(scope="module", params=["gunicorn", "trunkline run"])
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    port = free_port()
    command = [word.replace("PORT", str(port)) for word in (GUNICORN if request.param == "gunicorn" else RUN)]
    with Server(command=command, port=port) as running:
        running.has_websockets = request.param != "gunicorn"  # type: ignore[attr-defined]
        yield running


async def test_handlers_that_do_not_await(server: Server) -> None:
    async with PythonClient(server.url, auth={"name": "Ana"}) as ana, PythonClient(server.url) as ben:
        assert await ana.call("say", "hi") == "stored"
        assert await ben.heard("said") == [{"from": "Ana", "text": "hi"}]
        assert await ana.call("back", [1, b"two"]) == [1, b"two"]
        assert await ana.call("ask_me", b"bytes") == b"bytes"
        await ana.socket.emit("later")
        assert await ana.heard("message") == ["done"]
        about = await ana.call("about")
        assert about["rooms"] == sorted(["all", ana.sid])
        assert about["session"] == {"name": "Ana", "said": "hi"}
        if server.has_websockets:  # type: ignore[attr-defined]
            await eventually(lambda: ana.socket.transport() == "websocket")
        else:
            assert about["transport"] == "polling"
        await ana.socket.emit("leave")
        await ana.socket.emit("kick")
        await eventually(lambda: not ana.socket.connected)


async def test_namespaces_as_classes(server: Server) -> None:
    client = socketio.AsyncClient()
    heard: list[str] = []
    client.on("greeted", heard.append, namespace="/chat")
    await client.connect(server.url, namespaces=["/chat"])
    await eventually(lambda: client.get_sid("/chat"))
    assert await client.call("hello", "Ana", namespace="/chat") == "hello Ana"
    await eventually(lambda: heard == ["Ana"])
    await client.disconnect()


async def test_who_is_refused(server: Server) -> None:
    client = socketio.AsyncClient(reconnection=False)
    with pytest.raises(socketio.exceptions.ConnectionError):
        await client.connect(server.url, auth={"password": "wrong"})


async def test_everything_else_is_the_other_application_s(server: Server) -> None:
    async with aiohttp.ClientSession() as http:
        async with http.get(f"{server.url}/x") as answer:
            assert await answer.text() == "page /x"
        async with http.get(f"{server.url}/app.py") as answer:
            assert "def pages" in await answer.text()
        async with http.get(f"{server.url}/socket.io/?EIO=3&transport=polling") as answer:
            assert answer.status == 400
