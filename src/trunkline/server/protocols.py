"""Our edge for those who start uvicorn themselves: `uvicorn.run(app, http=protocols.http, ws=protocols.ws)`."""

from __future__ import annotations

import asyncio
from typing import Any

from trunkline.core.limits import Limits
from trunkline.server.app_front import AppFront
from trunkline.server.edge import Edge
from trunkline.server.gate import Gate
from trunkline.server.uvicorn_websocket import counted_websocket


class Protocols:
    """uvicorn's protocol classes with our edge in front: streams of mounted rooms leave ASGI, as in `trunkline run`.

    One for each server, whose event loop watches its connections. How the sockets are opened, workers, and draining
    stay uvicorn's and the application's.

    Args:
        limits: Of all connections: `connections_max`, `handshake_s` and `head_bytes_max`. What a client of the rooms
            may do, the hub's own limits say.
        deflate: Compress WebSocket messages for clients that offer it.
    """

    def __init__(self, *, limits: Limits | None = None, deflate: bool = False) -> None:
        self._gate = Gate(None, AppFront(limits or Limits()), deflate=deflate, hands_over=True)
        self._watch: asyncio.Task[None] | None = None
        self.ws = counted_websocket(self._gate)

    def http(self, **arguments: Any) -> asyncio.Protocol:
        """Return the protocol of a connection that uvicorn has accepted."""
        if self._watch is None:
            self._watch = asyncio.get_running_loop().create_task(self._gate.expire_for_ever())
        return Edge(self._gate, **arguments)
