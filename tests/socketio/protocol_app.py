"""What the public protocol suites ask of a server: heartbeats of 0.3 and 0.2 s, an echo, a word at connecting."""

import os
from typing import Any

import trunkline.socketio as socketio
from trunkline import Hub
from trunkline.socketio import engineio

hub = Hub(os.environ.get("STORE", "memory:"))
sio = socketio.AsyncServer(hub, ping_interval=0.3, ping_timeout=0.2, namespaces=["/", "/custom"])


@sio.on("connect", namespace="*")
async def connect(namespace: str, sid: str, environ: dict[str, Any], auth: Any) -> None:
    await sio.emit("auth", auth or {}, to=sid, namespace=namespace)


@sio.on("message", namespace="*")
async def message(namespace: str, sid: str, *args: Any) -> None:
    await sio.emit("message-back", args, to=sid, namespace=namespace)


@sio.on("message-with-ack", namespace="*")
async def message_with_ack(namespace: str, sid: str, *args: Any) -> tuple[Any, ...]:
    return args


eio = engineio.AsyncServer(hub, ping_interval=0.3, ping_timeout=0.2)


@eio.on("message")
async def echo(sid: str, data: Any) -> None:
    await eio.send(sid, data)


app = engineio.ASGIApp(eio, socketio.ASGIApp(sio, hub.app))
