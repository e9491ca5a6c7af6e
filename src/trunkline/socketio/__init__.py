"""Socket.IO over rooms that lose nothing: `import trunkline.socketio as socketio` (docs/socketio.md)."""

from typing import NoReturn

from trunkline.socketio import exceptions
from trunkline.socketio.app import ASGIApp
from trunkline.socketio.exceptions import ConnectionRefusedError  # noqa: A004 - its name in python-socketio
from trunkline.socketio.managers import AsyncRedisManager, RedisManager
from trunkline.socketio.namespace import AsyncNamespace, Namespace
from trunkline.socketio.server import AsyncServer
from trunkline.socketio.threaded import Server
from trunkline.socketio.wsgi import WSGIApp

__all__ = [
    "ASGIApp",
    "AsyncNamespace",
    "AsyncRedisManager",
    "AsyncServer",
    "ConnectionRefusedError",
    "Namespace",
    "RedisManager",
    "Server",
    "WSGIApp",
    "exceptions",
]


def __getattr__(name: str) -> NoReturn:
    what = "the clients are python-socketio's own: import socketio" if name.endswith("Client") else "docs/socketio.md"
    raise AttributeError(f"trunkline.socketio has no {name} ({what})")
