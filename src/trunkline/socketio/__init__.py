"""Socket.IO over rooms that lose nothing: `import trunkline.socketio as socketio` (docs/socketio.md)."""

from trunkline.socketio import exceptions
from trunkline.socketio.app import ASGIApp
from trunkline.socketio.exceptions import ConnectionRefusedError  # noqa: A004 - its name in python-socketio
from trunkline.socketio.namespace import AsyncNamespace, Namespace
from trunkline.socketio.server import AsyncServer

__all__ = ["ASGIApp", "AsyncNamespace", "AsyncServer", "ConnectionRefusedError", "Namespace", "exceptions"]
