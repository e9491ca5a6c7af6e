"""What python-socketio calls client managers, for applications that come from there: a hub on Redis."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

from trunkline.hub import Hub
from trunkline.socketio.namespace import Rooms
from trunkline.socketio.server import AsyncServer
from trunkline.socketio.threaded import Server


class AsyncRedisManager:
    """A hub on Redis, for `AsyncServer(client_manager=…)`; or by itself, in a process that only emits.

    Args:
        url: Of Redis.
        channel, write_only, more: What python-socketio knows, and what has no meaning here: rooms are logs, which any
            process may append to.

    Attributes:
        origins: Those of the hub, until it is asked for.
    """

    origins: Sequence[str] = ()

    def __init__(
        self,
        url: str = "redis://localhost:6379/0",
        channel: str = "socketio",
        write_only: bool = False,
        **more: Any,
    ) -> None:
        self._url = url

    @cached_property
    def hub(self) -> Hub:
        """The hub."""
        return Hub(self._url, origins=self.origins)

    async def emit(
        self,
        event: str,
        data: Any = None,
        namespace: str | None = None,
        room: Rooms = None,
        skip_sid: Rooms = None,
        to: Rooms = None,
    ) -> None:
        """Emit an event, as `AsyncServer.emit`."""
        await AsyncServer(self.hub).emit(event, data, to=to or room, skip_sid=skip_sid, namespace=namespace)


class RedisManager(AsyncRedisManager):
    """The manager of a `Server`, which runs in threads: the methods of `AsyncRedisManager`, called without `await`."""

    def emit(  # type: ignore[override]  # it is not awaited
        self,
        event: str,
        data: Any = None,
        namespace: str | None = None,
        room: Rooms = None,
        skip_sid: Rooms = None,
        to: Rooms = None,
    ) -> None:
        """Emit an event, as `Server.emit`."""
        Server(self.hub).emit(event, data, to=to or room, skip_sid=skip_sid, namespace=namespace)
