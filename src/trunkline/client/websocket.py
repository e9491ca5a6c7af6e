"""A WebSocket to a server: commands out, events in."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

import aiohttp
from yarl import URL

from trunkline.client.json_text import Json, dumps

log = logging.getLogger("trunkline.client")


class Wire(NamedTuple):
    """What a connection needs of the client, and whom it tells."""

    http: aiohttp.ClientSession
    url: URL
    client_id: str
    attempt: Callable[[], str]
    token: str
    poll_ms: int
    random: Callable[[], float]
    event: Callable[[Json], None]
    down: Callable[[Json], None]
    heard: Callable[[], None]


class Driver(Protocol):
    """One connection: opened with rooms to join, it says what the server says, and ends once."""

    def send(self, command: Json) -> None:
        """Say this, as a frame or as a request of its own."""

    def auth(self, token: str) -> None:
        """Go on with a newer token."""

    def close(self) -> None:
        """End, silently."""

    async def wait_closed(self) -> None:
        """Wait until that is done."""


class WebSocketDriver:
    """The driver over one WebSocket."""

    def __init__(self, wire: Wire, joins: Sequence[Json]) -> None:
        self._wire = wire
        self._commands: asyncio.Queue[Json] = asyncio.Queue()  # bounded by the session: what it sends is paced
        if wire.token:
            self.auth(wire.token)
        for join in joins:
            self.send({"type": "join", "room": join["room"], **join["start"], "presence": join["presence"]})
        self._over = False
        self._closing = asyncio.Event()
        self._task = asyncio.ensure_future(self._run())

    def send(self, command: Json) -> None:
        self._commands.put_nowait(command)

    def auth(self, token: str) -> None:
        self.send({"type": "auth", "token": token})

    def close(self) -> None:
        self._over = True
        self._closing.set()

    async def wait_closed(self) -> None:
        await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        url = (self._wire.url / "connect").update_query(client=self._wire.client_id, attempt=self._wire.attempt())
        try:
            socket = await self._until_closed(
                self._wire.http.ws_connect(url, protocols=("trunkline.v1",), autoclose=True, max_msg_size=1 << 24)
            )
            if socket is not None:
                await self._talk(socket)
        except aiohttp.WSServerHandshakeError as error:
            # 404 may be a proxy's that knows no Upgrade: what the server thinks, the next transport will hear.
            self._ended({"reason": f"http {error.status}", "text": f"the handshake was answered with {error.status}"})
        except aiohttp.ClientConnectorError as error:
            self._ended({"reason": "network", "text": str(error), "unreachable": True})
        except (aiohttp.ClientError, OSError, ValueError) as error:
            self._ended({"reason": "network", "text": str(error) or type(error).__name__})
        except Exception as error:
            log.exception("the connection failed")  # a mistake of ours must not leave us deaf
            self._ended({"reason": "internal", "text": str(error) or type(error).__name__})

    async def _until_closed(self, work: Any) -> Any:
        """Return the outcome of *what*, or None if the driver is closed before."""
        task, closing = asyncio.ensure_future(work), asyncio.ensure_future(self._closing.wait())
        await asyncio.wait((task, closing), return_when=asyncio.FIRST_COMPLETED)
        closing.cancel()
        if not task.done():
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            return None
        return task.result()

    async def _talk(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        sender = asyncio.ensure_future(self._send_all(socket))
        try:
            while (frame := await self._until_closed(socket.receive())) is not None:
                if frame.type is not aiohttp.WSMsgType.TEXT:
                    break
                if not self._over:
                    self._wire.event(json.loads(frame.data))
        finally:
            if self._over:  # what was said in farewell may still leave
                await asyncio.wait((sender,), timeout=0 if self._commands.empty() else 1.0)
            sender.cancel()
            await asyncio.gather(sender, return_exceptions=True)
            code = socket.close_code or 1006
            reason = str(frame.extra or "") if frame is not None and frame.type is aiohttp.WSMsgType.CLOSE else ""
            with_patience = asyncio.ensure_future(socket.close())
            await asyncio.wait((with_patience,), timeout=1.0)
            with_patience.cancel()
        self._ended({"code": code, "reason": reason or f"closed with {code}"})

    async def _send_all(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        while not (self._over and self._commands.empty()):
            command = await self._commands.get()
            await socket.send_str(dumps(command).decode())

    def _ended(self, down: Json) -> None:
        if not self._over:
            self._over = True
            self._wire.down(down)
