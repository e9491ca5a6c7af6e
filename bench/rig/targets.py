"""What is measured: how each server is started, and in which words the load generator talks to it.

Flags are those of `load.c`; a target that lacks a kind of load is not measured under it.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

BUILD = Path(os.environ.get("BENCH_BUILD", "/tmp/bench"))
NPM = BUILD / "npm" / "node_modules"
SERVED = [sys.executable, "-m", "trunkline", "serve", "--host", "127.0.0.1", "--port", "{port}"]
UVICORN = [
    sys.executable, "-m", "uvicorn", "--host", "127.0.0.1", "--port", "{port}", "--loop", "uvloop",
    "--http", "httptools", "--log-level", "warning", "--no-access-log", "--backlog", "4096",
]  # fmt: skip


RUN = [sys.executable, "-m", "trunkline", "run", "mounted_app:app", "--port", "{port}"]


class Target(NamedTuple):
    """A server.

    Attributes:
        load: By kind of load, the flags of the generator.
        is_here: Returns whether it can be started on this machine.
    """

    command: Sequence[str]
    load: Mapping[str, Sequence[str]]
    env: Mapping[str, str] = {}
    settle_s: float = 0.5
    is_here: Callable[[], bool] = lambda: True


def _ours(prefix: str = "") -> dict[str, list[str]]:
    """Return how to talk to Trunkline under a path."""
    room, connect = f"{prefix}/rooms/bench", f"{prefix}/connect"
    publisher = [
        "--pub-path",
        f"{room}?since=now",
        "--pub-wait",
        '"joined"',
        "--tmpl",
        '{"type":"message","data":"{P}"}',
    ]
    joined = ["--path", f"{room}?since=now", "--wait-open", '"joined"']
    events = ["--sse", "--path", f"{room}?since=now"]
    json = ["--header", "Content-Type: application/json", "--tmpl", '{"data":"{P}"}']
    message = '{"type":"message","room":"bench","id":"{i}-{n}","data":"{P}"}'
    return {
        "websocket": joined + publisher,
        "connect": joined,
        "sse": events + publisher,
        "sse-connect": events,
        "echo": ["--path", connect, "--wait-open", '"welcome"', "--echo-tmpl", message, "--ack", '"type":"ack"'],
        "deflate": [*joined, *publisher, "--header", "Sec-WebSocket-Extensions: permessage-deflate", "--opaque"],
        "poll": ["--path", room],
        "post": ["--path", room, "--method", "POST", *json],
        "long": ["--path", room, "--poll", *publisher],
        "guide": ["--path", room, "--pub-path", room, "--pub-header", "Content-Type: application/json", *json[2:]],
    }


def trunkline(*flags: str, command: Sequence[str] = SERVED) -> Target:
    """Return our server with these flags, its log in SQLite unless they say something else."""
    store = [] if "--store" in flags else ["--store", "sqlite:///{folder}/log.db"]
    return Target([*command, *store, *flags], _ours(), settle_s=1.0)


def of_checkout(python: str) -> Target:
    """Return the server of another checkout, by the Python that has it installed."""
    return trunkline(command=[python, *SERVED[1:]])


def _floor(mode: str) -> Target:
    publisher = ["--pub-path", "/pub"]
    load = {
        "websocket": ["--path", "/ws", *publisher],
        "connect": ["--path", "/ws"],
        "sse": ["--sse", "--path", "/sse", *publisher],
        "sse-connect": ["--sse", "--path", "/sse"],
        "echo": ["--path", "/echo"],
    }
    return Target([str(BUILD / "floor"), "{port}", mode], load, settle_s=0.1)


def _peer(command: Sequence[str], needs: Path | str, **load: Sequence[str]) -> Target:
    def is_here() -> bool:
        return shutil.which(needs) is not None if isinstance(needs, str) else needs.exists()

    return Target(command, load, {"BENCH_NPM": str(NPM)}, is_here=is_here)


_PLAIN: dict[str, Sequence[str]] = {
    "websocket": ["--path", "/ws", "--pub-path", "/pub"],
    "connect": ["--path", "/ws"],
    "echo": ["--path", "/echo"],
}
_PLAIN_SSE = ["--sse", "--path", "/sse", "--pub-path", "/pub"]
_SOCKET_IO_OPEN = ["--open", "40", "--wait-open", "40{", "--pong", "2", "3"]
_SOCKET_IO_PATH = "/socket.io/?EIO=4&transport=websocket"
_SOCKET_IO: dict[str, Sequence[str]] = {
    "websocket": [
        *_SOCKET_IO_OPEN, "--path", _SOCKET_IO_PATH, "--pub-path", f"{_SOCKET_IO_PATH}&pub=1",
        "--pub-open", "40", "--pub-wait", "40{", "--tmpl", '42["pub","{P}"]',
    ],
    "connect": [*_SOCKET_IO_OPEN, "--path", _SOCKET_IO_PATH],
    "echo": [*_SOCKET_IO_OPEN, "--path", f"{_SOCKET_IO_PATH}&echo=1", "--echo-tmpl", '42["echo","{P}"]'],
}  # fmt: skip
_CENTRIFUGO_OPEN = ["--path", "/connection/websocket", "--open", '{"id":1,"connect":{}}']
_CENTRIFUGO_WAIT = ["--wait-open", '"connect":{', "--pong", "{}", "{}"]
_CENTRIFUGO_JOIN = [
    *_CENTRIFUGO_OPEN, "--open", '{"id":2,"subscribe":{"channel":"room"}}', "--wait-open", '"subscribe":{',
    "--pong", "{}", "{}",
]  # fmt: skip
_CENTRIFUGO: dict[str, Sequence[str]] = {
    "websocket": [
        *_CENTRIFUGO_JOIN, "--pub-path", "/connection/websocket", "--pub-open", '{"id":1,"connect":{}}',
        "--pub-wait", '"connect":{', "--tmpl", '{"id":9{n},"publish":{"channel":"room","data":"{P}"}}',
    ],
    "connect": _CENTRIFUGO_JOIN,
    "echo": [
        *_CENTRIFUGO_OPEN, *_CENTRIFUGO_WAIT,
        "--echo-tmpl", '{"id":9{n},"publish":{"channel":"e{i}","data":"{P}"}}', "--ack", '"publish":{}',
    ],
}  # fmt: skip

_REDIS = "redis-server --port {other} --dir {folder} --appendonly yes --save '' --loglevel warning"
_MOUNTED = {"BENCH_DB": "{folder}/log.db"}

_IN_FOLDER = "sqlite:///{folder}/log.db"


def _socketio(**env: str) -> Target:
    """Return our server of Socket.IO."""
    command = [sys.executable, "-m", "trunkline", "run", "socketio_app:app", "--port", "{port}"]
    return Target(command, _SOCKET_IO, {"BENCH_SOCKETIO": "trunkline.socketio", **env}, settle_s=1.0)


TARGETS: dict[str, Target] = {
    "floor": _floor("loop"),
    "coalescing": _floor("coalesce"),
    "trunkline": trunkline(),
    "trunkline-memory": trunkline("--store", "memory:"),
    "trunkline-deflate": trunkline("--deflate"),
    "trunkline-workers": trunkline("--workers", "2"),
    "trunkline-redis": Target(
        ["sh", "-c", f"{_REDIS} & exec {' '.join(SERVED)} --store redis://127.0.0.1:{{other}}"],
        _ours(),
        settle_s=2.0,
        is_here=lambda: shutil.which("redis-server") is not None,
    ),
    "mounted": Target([*UVICORN, "mounted_app:app"], _ours("/realtime"), _MOUNTED, settle_s=1.0),
    "run": Target(RUN, _ours("/realtime"), _MOUNTED, settle_s=1.0),
    "run-wrapped": Target(RUN, _ours("/realtime"), {**_MOUNTED, "BENCH_WRAPPED": "1"}, settle_s=1.0),
    "fastapi": Target([*UVICORN, "--ws", "websockets", "fastapi_app:app"], {**_PLAIN, "sse": _PLAIN_SSE}, settle_s=1.0),
    "bun": _peer([str(NPM / ".bin" / "bun"), "bun_uws.js", "{port}"], NPM / ".bin" / "bun", **_PLAIN),
    "ws": _peer(["node", "ws_node.js", "{port}"], NPM / "ws", **_PLAIN, sse=_PLAIN_SSE),
    "socket.io": _peer(["node", "socketio_node.js", "{port}"], NPM / "socket.io", **_SOCKET_IO),
    "socketio": _socketio(BENCH_STORE=_IN_FOLDER),
    "socketio-memory": _socketio(),
    "socketio-recovery": _socketio(BENCH_STORE=_IN_FOLDER, BENCH_RECOVERY="120"),
    "python-socketio": Target(
        [*UVICORN, "socketio_app:app"],
        _SOCKET_IO,
        {"BENCH_SOCKETIO": "socketio"},
        settle_s=1.0,
        is_here=lambda: find_spec("socketio") is not None,
    ),
    "centrifugo": _peer(
        ["centrifugo", "-c", "centrifugo.json", "--http_server.port", "{port}"], "centrifugo", **_CENTRIFUGO
    ),
}
"""By name."""
