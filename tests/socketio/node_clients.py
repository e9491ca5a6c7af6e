"""Clients of Socket.IO that others have written, in one process of Node."""

from __future__ import annotations

import asyncio
import base64
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import pytest

from tests.support import WAIT_S

FOLDER = Path(__file__).parent / "node"
needs_node = pytest.mark.skipif(
    shutil.which("node") is None or not (FOLDER / "node_modules").is_dir(),
    reason="node, or what tests/socketio/node/package.json names, is not there",
)
LINE_MAX = 16 * 1024 * 1024


def _out(value: Any) -> Any:
    if isinstance(value, bytes):
        return {"$bytes": base64.b64encode(value).decode()}
    raise TypeError(type(value))


def _in(value: dict[str, Any]) -> Any:
    return base64.b64decode(value["$bytes"]) if set(value) == {"$bytes"} else value


class NodeClients:
    """The process."""

    process: asyncio.subprocess.Process

    def __init__(self) -> None:
        self.said: list[dict[str, Any]] = []
        self._news = asyncio.Event()
        self._reading: asyncio.Task[None]
        self._acks = 0

    async def __aenter__(self) -> Self:
        self.process = await asyncio.create_subprocess_exec(
            "node",
            "clients.mjs",
            cwd=FOLDER,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=LINE_MAX,
        )
        self._reading = asyncio.create_task(self._read())
        await self.until(lambda line: line["is"] == "ready")
        return self

    async def __aexit__(self, *_: object) -> None:
        self._reading.cancel()
        if self.process.returncode is None:
            self.process.kill()
        await self.process.wait()

    async def _read(self) -> None:
        assert self.process.stdout is not None
        while line := await self.process.stdout.readline():
            self.said.append(json.loads(line, object_hook=_in))
            self._news.set()

    async def until(self, fact: Callable[[dict[str, Any]], Any], begin: int = 0) -> dict[str, Any]:
        """The first line, from *begin* on, of which the fact holds."""
        at = begin
        async with asyncio.timeout(WAIT_S):
            while True:
                while at < len(self.said):
                    if fact(self.said[at]):
                        return self.said[at]
                    at += 1
                self._news.clear()
                await self._news.wait()

    def order(self, what: str, name: str, **more: Any) -> None:
        """Order something; what comes of it is said."""
        assert self.process.stdin is not None
        line = json.dumps({"do": what, "name": name, **more}, default=_out)
        self.process.stdin.write(line.encode() + b"\n")

    async def open(self, name: str, url: str, *, library: int = 4, **options: Any) -> NodeClient:
        """A client that is connected."""
        client = self.client(name)
        self.order("open", name, url=url, library=library, options=options)
        await client.connected()
        return client

    def client(self, name: str) -> NodeClient:
        return NodeClient(self, name)

    def next_ack(self) -> int:
        self._acks += 1
        return self._acks


class NodeClient:
    """One of them."""

    def __init__(self, clients: NodeClients, name: str) -> None:
        self._clients = clients
        self.name = name
        self.id = ""

    def lines(self, kind: str, begin: int = 0) -> list[dict[str, Any]]:
        """What it has said of one kind."""
        return [line for line in self._clients.said[begin:] if line.get("name") == self.name and line["is"] == kind]

    @property
    def now(self) -> int:
        """Where the lines end now."""
        return len(self._clients.said)

    async def until(self, kind: str, begin: int = 0, **fields: Any) -> dict[str, Any]:
        """The first line of a kind with these fields, from *begin* on."""
        return await self._clients.until(
            lambda line: (
                line.get("name") == self.name
                and line["is"] == kind
                and all(line.get(name) == value for name, value in fields.items())
            ),
            begin,
        )

    async def connected(self, begin: int = 0) -> dict[str, Any]:
        line = await self.until("connect", begin)
        self.id = line["id"]
        return line

    def emit(self, event: str, *args: Any) -> None:
        self._clients.order("emit", self.name, event=event, args=args)

    async def call(self, event: str, *args: Any, timeout_ms: int | None = None) -> list[Any]:
        """Emit, and return what the acknowledgement has."""
        line = await self.acked(self.send(event, *args, timeout_ms=timeout_ms))
        assert line["error"] is None, line["error"]
        found: list[Any] = line["args"]
        return found

    def send(self, event: str, *args: Any, timeout_ms: int | None = None) -> int:
        """Emit, and return the number of the acknowledgement that will be said."""
        number = self._clients.next_ack()
        self._clients.order("emit", self.name, event=event, args=args, ack=number, timeout=timeout_ms)
        return number

    async def acked(self, number: int) -> dict[str, Any]:
        return await self._clients.until(lambda line: line["is"] == "ack" and line["ack"] == number)

    async def event(self, event: str, begin: int = 0) -> list[Any]:
        """The arguments of the first event of this name."""
        found: list[Any] = (await self.until("event", begin, event=event))["args"]
        return found

    def events(self, event: str) -> list[list[Any]]:
        """The arguments of all events of this name so far."""
        return [line["args"] for line in self.lines("event") if line["event"] == event]

    def cut(self) -> None:
        self._clients.order("cut", self.name)

    def leave(self) -> None:
        self._clients.order("leave", self.name)
