"""The Python client of Socket.IO (python-socketio), as tests use it."""

from __future__ import annotations

from typing import Any, Self

import socketio  # type: ignore[import-untyped]
from tests.support import eventually


class PythonClient:
    """One client."""

    def __init__(self, url: str, **options: Any) -> None:
        self._url = url
        self._options = options
        self.socket = socketio.AsyncClient(reconnection_delay=0.1)
        self.events: list[list[Any]] = []
        self.socket.on("*", self._heard)
        self.socket.on("message", self._heard_message)

    async def _heard(self, event: str, *args: Any) -> Any:
        self.events.append([event, *args])
        return args if event == "echo" else None

    async def _heard_message(self, *args: Any) -> Any:
        return await self._heard("message", *args)

    @property
    def sid(self) -> str:
        return str(self.socket.get_sid("/"))

    async def call(self, event: str, *args: Any) -> Any:
        return await self.socket.call(event, args, timeout=10)

    async def heard(self, event: str) -> list[Any]:
        """The arguments of the first event of this name."""
        found: list[Any] = await eventually(lambda: next((one for one in self.events if one[0] == event), None))
        return found[1:]

    async def __aenter__(self) -> Self:
        await self.socket.connect(self._url, **self._options)
        await eventually(lambda: self.socket.get_sid("/"))
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.socket.disconnect()
