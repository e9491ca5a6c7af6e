"""What the example applications of python-socketio do, written anew: with its own import, and with ours alone."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import pytest

from tests.socketio.python_client import PythonClient
from tests.support import ROOT, Server, eventually, free_port

ASYNC = """
import {module} as socketio

sio = socketio.AsyncServer(async_mode="asgi", cors_allowed_origins=["http://localhost:5000"])
sio.instrument(auth={{"username": "admin", "password": "a password for a test"}}) if {instrumented} else None
app = socketio.ASGIApp(sio, static_files={{"/": "app.html"}})
has_begun = False


async def tick():
    for number in range(3):
        await sio.sleep(0.05)
        await sio.emit("my_response", {{"data": f"tick {{number}}"}})


@sio.on("connect")
async def begin(sid, environ):
    global has_begun
    if not has_begun:
        has_begun = True
        sio.start_background_task(tick)
    await sio.emit("my_response", {{"data": "Connected", "count": 0}}, room=sid)


@sio.on("my_event")
async def to_me(sid, message):
    await sio.emit("my_response", {{"data": message["data"]}}, room=sid)


@sio.on("my_broadcast_event")
async def to_all(sid, message):
    await sio.emit("my_response", {{"data": message["data"]}})


@sio.on("join")
async def join(sid, message):
    await sio.enter_room(sid, message["room"])
    await sio.emit("my_response", {{"data": "in " + message["room"]}}, room=sid)


@sio.on("leave")
async def leave(sid, message):
    await sio.leave_room(sid, message["room"])
    await sio.emit("my_response", {{"data": "out of " + message["room"]}}, room=sid)


@sio.on("close room")
async def close(sid, message):
    await sio.emit("my_response", {{"data": "closing " + message["room"]}}, room=message["room"])
    await sio.close_room(message["room"])


@sio.on("my_room_event")
async def to_room(sid, message):
    await sio.emit("my_response", {{"data": message["data"]}}, room=message["room"])


@sio.on("disconnect request")
async def go(sid):
    await sio.disconnect(sid)


@sio.event
async def ping_from_client(sid):
    await sio.emit("pong_from_server", room=sid)


@sio.on("disconnect")
def gone(sid, reason):
    print("gone", reason, flush=True)
"""
SYNC = """
from flask import Flask
import {module} as socketio

sio = socketio.Server(async_mode=None)
sio.instrument(auth={{"username": "admin", "password": "a password for a test"}}) if {instrumented} else None
app = Flask(__name__)
app.wsgi_app = socketio.WSGIApp(sio, app.wsgi_app)
thread = None


def tick():
    for number in range(3):
        sio.sleep(0.05)
        sio.emit("my_response", {{"data": f"tick {{number}}"}})


@app.route("/")
def index():
    global thread
    if thread is None:
        thread = sio.start_background_task(tick)
    return "<p>"


@sio.event
def connect(sid, environ):
    sio.emit("my_response", {{"data": "Connected", "count": 0}}, room=sid)


@sio.event
def my_event(sid, message):
    sio.emit("my_response", {{"data": message["data"]}}, room=sid)


@sio.event
def my_broadcast_event(sid, message):
    sio.emit("my_response", {{"data": message["data"]}})


@sio.event
def join(sid, message):
    sio.enter_room(sid, message["room"])
    sio.emit("my_response", {{"data": "in " + message["room"]}}, room=sid)


@sio.event
def leave(sid, message):
    sio.leave_room(sid, message["room"])
    sio.emit("my_response", {{"data": "out of " + message["room"]}}, room=sid)


@sio.on("close room")
def close(sid, message):
    sio.emit("my_response", {{"data": "closing " + message["room"]}}, room=message["room"])
    sio.close_room(message["room"])


@sio.event
def my_room_event(sid, message):
    sio.emit("my_response", {{"data": message["data"]}}, room=message["room"])


@sio.on("disconnect request")
def go(sid):
    sio.disconnect(sid)


@sio.event
def ping_from_client(sid):
    sio.emit("pong_from_server", room=sid)


if __name__ == "__main__":
    assert sio.async_mode == "threading"
    import sys
    app.run(port=int(sys.argv[1]), threaded=True)
"""
# Theirs is run, too: so that what is asserted is what these applications do, and not what ours makes of them.
MODULES = ["socketio", "trunkline.socketio"]


@pytest.fixture(params=[(kind, module) for kind in ("async", "sync") for module in MODULES], ids="-".join)
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Server]:
    kind, module = request.param
    is_ours, port = module != "socketio", free_port()
    text = ASYNC if kind == "async" else SYNC
    (tmp_path / "example.py").write_text(text.format(module=module, instrumented=is_ours))
    (tmp_path / "app.html").write_text("<p>")
    serve = ["-m", "uvicorn", "example:app", "--port", str(port)] if kind == "async" else ["example.py", str(port)]
    environment = {"PYTHONPATH": str(ROOT)}
    with Server(command=[sys.executable, *serve], folder=tmp_path, environment=environment, port=port) as running:
        yield running


def said(client: PythonClient) -> list[str]:
    return [str(args[0]["data"]) for event, *args in client.events if event == "my_response"]


async def test_what_the_examples_do(server: Server) -> None:
    async with aiohttp.ClientSession() as http, http.get(server.url) as answer:
        assert await answer.text() == "<p>"
    async with PythonClient(server.url) as ana, PythonClient(server.url) as ben:
        await ana.socket.emit("my_event", {"data": "to me"})
        await eventually(lambda: "to me" in said(ana))
        assert "Connected" in said(ana)
        assert "to me" not in said(ben)
        await ana.socket.emit("my_broadcast_event", {"data": "to all"})
        await eventually(lambda: "to all" in said(ana) and "to all" in said(ben))
        await ana.socket.emit("join", {"room": "den"})
        await eventually(lambda: "in den" in said(ana))
        await ben.socket.emit("my_room_event", {"room": "den", "data": "to the den"})
        await eventually(lambda: "to the den" in said(ana))
        assert "to the den" not in said(ben)
        await ana.socket.emit("leave", {"room": "den"})
        await eventually(lambda: "out of den" in said(ana))
        await ana.socket.emit("join", {"room": "hall"})
        await eventually(lambda: "in hall" in said(ana))
        await ben.socket.emit("close room", {"room": "hall"})
        await eventually(lambda: "closing hall" in said(ana))
        await ben.socket.emit("my_room_event", {"room": "hall", "data": "into nothing"})
        await ana.socket.emit("ping_from_client")
        await ana.heard("pong_from_server")
        await eventually(lambda: "tick 2" in said(ana) or "tick 2" in said(ben))
        assert "into nothing" not in said(ana)
        await ana.socket.emit("disconnect request")
        await eventually(lambda: not ana.socket.connected)
