"""An application of WSGI with Socket.IO beside it, whose handlers do not await."""

import os
from collections.abc import Callable, Iterable
from typing import Any

import trunkline.socketio as socketio
from trunkline import Hub

sio = socketio.Server(Hub(os.environ.get("STORE", "memory:")))


@sio.event
def connect(sid: str, environ: dict[str, Any], auth: Any) -> None:
    if auth == {"password": "wrong"}:
        raise socketio.ConnectionRefusedError("no")
    sio.enter_room(sid, "all")
    sio.save_session(sid, {"name": (auth or {}).get("name")})


@sio.event
def say(sid: str, text: str) -> str:
    with sio.session(sid) as session:
        session["said"] = text
    sio.emit("said", {"from": sio.get_session(sid)["name"], "text": text}, room="all")
    return "stored"


@sio.event
def back(sid: str, data: Any) -> Any:
    return data


@sio.event
def ask_me(sid: str, data: Any) -> Any:
    return sio.call("echo", data, to=sid, timeout=10)


@sio.event
def about(sid: str) -> dict[str, Any]:
    return {"rooms": sorted(sio.rooms(sid)), "session": sio.get_session(sid), "transport": sio.transport(sid)}


@sio.event
def later(sid: str) -> None:
    def work() -> None:
        sio.sleep(0.01)
        sio.send("done", to=sid)

    sio.start_background_task(work)


@sio.event
def leave(sid: str) -> None:
    sio.leave_room(sid, "all")
    sio.close_room("all")


@sio.event
def kick(sid: str) -> None:
    sio.disconnect(sid)


class Chat(socketio.Namespace):
    def on_hello(self, sid: str, name: str) -> str:
        self.emit("greeted", name, to=sid)
        return f"hello {name}"


sio.register_namespace(Chat("/chat"))


def pages(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [f"page {environ['PATH_INFO']}".encode()]


app = socketio.WSGIApp(sio, pages, static_files={"/app.py": __file__})
asgi = app.asgi
