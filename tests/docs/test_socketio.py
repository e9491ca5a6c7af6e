"""docs/socketio.md: its snippets, as they stand."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import aiohttp
import pytest

from tests.docs.test_frameworks import blocks
from tests.socketio.node_clients import FOLDER, needs_node
from tests.socketio.python_client import PythonClient
from tests.support import ROOT, Server, free_port


def snippet(has: str) -> str:
    [code] = [code for _, _, code in blocks("socketio.md") if has in code]
    return code


@needs_node
def test_rooms_without_code(tmp_path: Path) -> None:
    with Server("--socketio", "/socket.io") as server:
        assert "trunkline serve --socketio /socket.io" in snippet("--socketio")
        (tmp_path / "node_modules").symlink_to(FOLDER / "node_modules")
        code = snippet("emitWithAck").replace("http://localhost:8000", server.url)
        (tmp_path / "page.mjs").write_text(code + "setTimeout(() => process.exit(), 300);\n")
        done = subprocess.run(
            ["node", "page.mjs"], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=True
        )
        assert sorted(done.stdout.splitlines()) == ["1", "general 1 { text: 'Hello!' }"]


def served(folder: Path, code: str, what: str = "app:app", *, gunicorn: bool = False) -> Server:
    (folder / "app.py").write_text(code)
    port = free_port()
    how = ["gunicorn", "--threads", "9", "--bind", f"127.0.0.1:{port}"] if gunicorn else ["trunkline", "run"]
    options = [] if gunicorn else ["--port", str(port)]
    command = [sys.executable, "-m", *how, what, *options]
    return Server(command=command, folder=folder, environment={"PYTHONPATH": str(ROOT)}, port=port)


async def test_one_line_in_an_application(tmp_path: Path) -> None:
    with served(tmp_path, snippet('hub.socketio("/socket.io")')) as server:
        async with PythonClient(server.url) as ana:
            assert (await ana.call("join", "general"))["room"] == "general"
            assert (await ana.call("message", {"room": "general", "text": "hi"}))["offset"] == 1
            data, about = await ana.heard("message")
            assert (data, about["offset"]) == ({"text": "hi"}, 1)


async def test_an_application(tmp_path: Path) -> None:
    with served(tmp_path, snippet("async def chat(")) as server:
        async with PythonClient(server.url, auth={"name": "Ana"}) as ana:
            await ana.call("join", "general")
            assert await ana.call("chat", "general", "hi") == "stored"
            assert await ana.heard("chat") == [{"from": "Ana", "text": "hi"}]
    assert (tmp_path / "trunkline.db").exists()


@pytest.mark.parametrize("what", ["app:app.asgi", "app:app"])
async def test_an_application_that_does_not_await(tmp_path: Path, what: str) -> None:
    with served(tmp_path, snippet("def greet("), what, gunicorn=what == "app:app") as server:
        async with PythonClient(server.url) as ana:
            assert await ana.call("greet", "Ana") == "done"
            assert await ana.heard("greeted") == ["Ana"]


async def test_a_job_publishes_an_event(tmp_path: Path) -> None:
    application = (
        "import trunkline.socketio as socketio\nfrom trunkline import Hub\nhub = Hub('memory:')\n"
        "sio = socketio.AsyncServer(hub)\napp = socketio.ASGIApp(sio, hub.app)\n"
        "@sio.event\nasync def join(sid, room):\n    await sio.enter_room(sid, room)\n"
    )
    with served(tmp_path, application) as server:
        async with PythonClient(server.url) as ana, aiohttp.ClientSession() as http:
            await ana.call("join", "general")
            code = snippet("from trunkline.client import publish").replace("http://localhost:8000", server.url)
            subprocess.run([sys.executable, "-c", code], cwd=tmp_path, timeout=60, check=True)
            assert await ana.heard("done") == [{"job": 7}]
            async with http.get(f"{server.url}/rooms/sio::general?since=start") as answer:
                assert len((await answer.json())["messages"]) == 1
