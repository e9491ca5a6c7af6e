"""Clients as processes, and a proxy that meddles with what they say."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import sys
import time
from asyncio.subprocess import PIPE
from collections.abc import Sequence
from contextlib import AsyncExitStack, suppress
from typing import Any, Self

from tests.support import ROOT, WAIT_S, Proxy

ALL = "websocket,sse,longpoll,shortpoll"
LANGUAGES = {
    "javascript": ["node", str(ROOT / "client/test/agent.mjs")],
    "python": [sys.executable, "-X", "dev", "-m", "tests.client.agent"],
}


class Agent:
    """One client of either language, reading a room from its start and publishing *count* messages."""

    def __init__(
        self, language: str, url: str, room: str, name: str, transports: str, count: int = 0, speed: int = 1
    ) -> None:
        self._command = [*LANGUAGES[language], url, room, name, transports, str(count)]
        self._environment = os.environ | {"SPEED": str(speed)}
        self.name = name
        self.said: list[dict[str, Any]] = []
        self.at: list[float] = []
        self._moved = asyncio.Event()

    async def __aenter__(self) -> Self:
        self._process = await asyncio.create_subprocess_exec(
            *self._command, stdin=PIPE, stdout=PIPE, stderr=PIPE, cwd=ROOT, env=self._environment, limit=1 << 22
        )
        self._reader = asyncio.ensure_future(self._read())
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._process.returncode is None:
            self._process.kill()
        await self._process.wait()
        await self._reader

    async def _read(self) -> None:
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            self.said.append(json.loads(line))
            self.at.append(time.monotonic())
            self._moved.set()

    def all(self, key: str) -> list[Any]:
        return [said[key] for said in self.said if key in said]

    @property
    def offsets(self) -> list[int]:
        return [said["offset"] for said in self.said if "data" in said]

    @property
    def messages(self) -> list[Any]:
        return [said["data"] for said in self.said if "data" in said]

    async def until(self, fact: Any, wait_s: float = WAIT_S) -> None:
        """Until *fact*(self) holds."""
        try:
            async with asyncio.timeout(wait_s):
                while not fact(self):
                    self._moved.clear()
                    await self._moved.wait()
        except TimeoutError:
            raise AssertionError(f"{self.name} came only to {self.said[-12:]}, {await self.errors()}") from None

    async def errors(self) -> str:
        """What it wrote to standard error, after it was ended."""
        with suppress(ProcessLookupError):  # it has ended by itself
            self._process.kill()
        assert self._process.stderr is not None
        return (await self._process.stderr.read()).decode()

    async def end(self) -> None:
        """Let it say goodbye; it must have nothing to complain about."""
        assert self._process.stdin is not None
        assert self._process.stderr is not None
        self._process.stdin.close()
        errors = await asyncio.wait_for(self._process.stderr.read(), WAIT_S)
        assert await asyncio.wait_for(self._process.wait(), WAIT_S) == 0, errors.decode()
        assert errors == b"", errors.decode()


class Meddler(Proxy):
    """A proxy that does not like something.

    Args:
        refuses: Knows no WebSockets.
        swallows: Lets the handshake of a WebSocket through, and nothing behind it.
        buffers: Keeps what an event stream brings.
        cut_after_s: Ends every WebSocket that lives so long.
    """

    def __init__(
        self,
        target: int,
        *,
        refuses: bool = False,
        swallows: bool = False,
        buffers: bool = False,
        cut_after_s: float = 0,
    ) -> None:
        super().__init__(target)
        self._refuses, self._swallows, self._keeps, self._cut_after_s = refuses, swallows, buffers, cut_after_s

    async def start(self) -> None:
        await super().start()
        if self._refuses:
            self.forget_upgrade()
        if self._keeps:
            self.buffer()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, first: bytes = b"") -> None:
        if first.startswith(b"HTTP/1.1 101"):
            if self._cut_after_s:
                asyncio.get_running_loop().call_later(self._cut_after_s, writer.transport.abort)
            if self._swallows:
                writer.write(first.split(b"\r\n\r\n")[0] + b"\r\n\r\n")
                await reader.read()
                writer.transport.abort()
                return
        await super()._pump(reader, writer, first)


class Balancer(Meddler):
    """A proxy in front of several servers: each connection goes to the next one."""

    def __init__(self, targets: Sequence[int]) -> None:
        self._targets = itertools.cycle(targets)
        super().__init__(0)

    @property
    def target(self) -> int:
        return next(self._targets)

    @target.setter
    def target(self, _: int) -> None:
        """There is not one."""


async def everybody(stack: AsyncExitStack, url: str, count: int) -> tuple[list[Agent], dict[str, int]]:
    """A client of each language on each transport, all in one room, and how many messages each will publish."""
    ways = [(language, transport) for language in LANGUAGES for transport in ALL.split(",")]
    counts = {f"{language}-{transport}": count for language, transport in ways}
    agents = [
        await stack.enter_async_context(Agent(language, url, "a", f"{language}-{transport}", transport, count))
        for language, transport in ways
    ]
    for agent in agents:
        await agent.until(lambda agent: agent.messages)
    return agents, counts


async def finish(agents: list[Agent], counts: dict[str, int]) -> None:
    """Until all have seen as many as were to be published, and know that theirs are stored; then end them."""
    total = sum(counts.values())
    for agent in agents:
        await agent.until(
            lambda agent: len(agent.offsets) >= total and len(agent.all("stored")) == counts.get(agent.name, 0), 40
        )
    for agent in agents:
        await agent.end()


def check(agents: list[Agent], counts: dict[str, int]) -> None:
    """All saw every message once, in the order of offsets, and each publisher's in the order of writing."""
    total = sum(counts.values())
    for agent in agents:
        assert agent.offsets == list(range(1, total + 1)), f"{agent.name}, told {agent.said}"
        assert agent.all("gap") == []
        assert agent.messages == agents[0].messages
        assert sorted(agent.all("stored")) == list(range(1, counts.get(agent.name, 0) + 1))
    for name, count in counts.items():
        assert [n for who, n in agents[0].messages if who == name] == list(range(1, count + 1))
