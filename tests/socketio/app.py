"""An application of Socket.IO, for clients of all kinds: `trunkline run tests.socketio.app:app`."""

import os
from typing import Any

import trunkline.socketio as socketio
from trunkline import Hub
from trunkline.socketio import engineio

INTERVAL_S, TIMEOUT_S = float(os.environ.get("PING_INTERVAL", "25")), float(os.environ.get("PING_TIMEOUT", "20"))
recovery = os.environ.get("RECOVERY")

hub = Hub(os.environ.get("STORE", "memory:"), origins=["*"])
sio = socketio.AsyncServer(
    hub,
    namespaces=["/custom"],
    ping_interval=INTERVAL_S,
    ping_timeout=TIMEOUT_S,
    plain_rooms=True,
    recovery=float(recovery) if recovery else None,
)
heard: list[Any] = []


@sio.event
async def connect(sid: str, environ: dict[str, Any], auth: Any) -> None:
    if isinstance(auth, dict) and auth.get("password") == "wrong":
        raise socketio.ConnectionRefusedError("who are you?", {"try": "right"})
    if not os.environ.get("QUIET"):
        await sio.emit("auth", auth or {}, to=sid)


@sio.event
async def disconnect(sid: str, reason: str) -> None:
    await hub.publish("ends", {"sid": sid, "reason": reason})


@sio.event
async def join(sid: str, room: str) -> str:
    await sio.enter_room(sid, room)
    return "joined"


@sio.event
async def leave(sid: str, room: str) -> None:
    await sio.leave_room(sid, room)


@sio.event
async def say(sid: str, room: str, event: str, *args: Any) -> str:
    await sio.emit(event, args, room=room)
    return "stored"


@sio.event
async def say_once(sid: str, room: str, message_id: str, *args: Any) -> str:
    await sio.emit("said", args, room=room, id=message_id)
    return "stored"


@sio.event
async def others(sid: str, room: str, *args: Any) -> None:
    await sio.emit("from another", args, room=room, skip_sid=sid)


@sio.event
async def rooms(sid: str) -> list[str]:
    return sorted(room for room in sio.rooms(sid) if room != sid)


@sio.on("back")
async def back(sid: str, *args: Any) -> tuple[Any, ...]:
    return args


@sio.on("ask me")
async def ask_me(sid: str, *args: Any) -> Any:
    return await sio.call("echo", args, to=sid, timeout=5)


@sio.event
async def ask(sid: str, whom: str) -> Any:
    return await sio.call("echo", "hello", to=whom, timeout=5)


@sio.event
async def kick(sid: str, whom: str) -> None:
    await sio.disconnect(whom)


@sio.event
async def put(sid: str, whom: str, room: str) -> str:
    await sio.enter_room(whom, room)
    return "done"


@sio.event
async def volatile(sid: str, room: str, *args: Any) -> None:
    await sio.emit("said", args, room=room, volatile=True)


@sio.event
async def process(sid: str) -> int:
    return os.getpid()


@sio.event(namespace="/custom")
async def hello(sid: str) -> str:
    return "from /custom"


eio = engineio.AsyncServer(hub, ping_interval=INTERVAL_S, ping_timeout=TIMEOUT_S)


@eio.on("message")
async def echo(sid: str, data: Any) -> None:
    await eio.send(sid, data)


app = engineio.ASGIApp(eio, socketio.ASGIApp(sio, hub.app))
