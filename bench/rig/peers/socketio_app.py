"""One application for python-socketio and for ours: BENCH_SOCKETIO names the module that it imports."""

import importlib
import os
from typing import Any
from urllib.parse import parse_qs

socketio: Any = importlib.import_module(os.environ["BENCH_SOCKETIO"])
other: Any = None
settings: dict[str, Any] = {"cors_allowed_origins": "*"}
if os.environ["BENCH_SOCKETIO"] != "socketio":
    from trunkline import Hub

    hub = Hub(os.environ.get("BENCH_STORE", "memory:"))
    settings = {"hub": hub, "recovery": float(os.environ.get("BENCH_RECOVERY", "0")) or None}
    other = hub.app
sio: Any = socketio.AsyncServer(async_mode="asgi", **settings)


async def connect(sid: str, environ: dict[str, Any]) -> None:
    query = parse_qs(environ.get("QUERY_STRING", ""))
    if "pub" not in query and "echo" not in query:
        await sio.enter_room(sid, "room")


async def pub(_: str, data: str) -> None:
    await sio.emit("m", data, room="room")


async def echo(sid: str, data: str) -> None:
    await sio.emit("m", data, to=sid)


for handler in (connect, pub, echo):
    sio.on(handler.__name__, handler)
app = socketio.ASGIApp(sio, other)
