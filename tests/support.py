"""What the tests of running servers share: servers as processes, a proxy that cuts, and plain clients."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import itertools
import os
import random
import re
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Protocol, Self

import aiohttp
import redis

from trunkline.testing.hub import TRANSPORTS
from trunkline.testing.plain_readers import PLAIN_READERS, Item, Start, events
from trunkline.testing.plain_readers import Follower as PlainFollower
from trunkline.testing.proxy import Proxy

__all__ = ["TRANSPORTS", "Item", "Proxy", "events"]

ROOT = Path(__file__).parents[1]
WAIT_S = 20.0  # for facts that come at once unless something is broken


# Below those that outgoing connections are given, so that a server can come back to its own; never one twice.
_FIRST_PORT = 10_000 + 4000 * (int(os.environ.get("PYTEST_XDIST_WORKER", "gw0")[2:]) % 5)
_PORTS = itertools.cycle(random.sample(range(_FIRST_PORT, _FIRST_PORT + 4000), 4000))


def _is_free(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
        return True
    return False


def free_port() -> int:
    return next(port for port in _PORTS if _is_free(port))


def until(fact: Callable[[], Any], what: str, wait_s: float = WAIT_S) -> None:
    """Until *fact* holds; what a socket raises means that it does not yet."""
    end = time.monotonic() + wait_s
    while True:
        with contextlib.suppress(OSError, redis.RedisError):
            if fact():
                return
        if time.monotonic() > end:
            raise AssertionError(f"{what}: not within {wait_s:.0f} s")
        time.sleep(0.02)


async def eventually(fact: Callable[[], Any], wait_s: float = WAIT_S) -> Any:
    """Return what *fact* returns, awaited if need be, once it holds."""
    async with asyncio.timeout(wait_s):
        while True:
            found = fact()
            if inspect.isawaitable(found):
                found = await found
            if found:
                return found
            await asyncio.sleep(0.01)


class Serving(Protocol):
    """A server, or a proxy in front of some."""

    url: str


class Server:
    """A server as a process of its own. `trunkline serve` unless *command* says otherwise."""

    def __init__(
        self,
        *arguments: str,
        store: str = "memory:",
        command: list[str] | None = None,
        folder: Path = ROOT,
        environment: Mapping[str, str] | None = None,
        port: int | None = None,
    ) -> None:
        self._folder = folder
        self.port = port or free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.ours = command is None
        self.metrics_port = free_port()
        self._command = command or [
            sys.executable, "-m", "trunkline", "serve", "--port", "PORT", "--store", store, *arguments,
        ]  # fmt: skip
        self._environment = {k: v for k, v in os.environ.items() if not k.startswith("TRUNKLINE_")}
        self._environment |= {"STORE": store, "TRUNKLINE_LOG_LEVEL": "warning"}
        if self.ours:
            self._environment["TRUNKLINE_METRICS_PORT"] = str(self.metrics_port)
        for name, value in (environment or {}).items():
            self._environment[name] = str(self.port) if value == "PORT" else value
        self.process: subprocess.Popen[str]
        self.start()

    def start(self) -> None:
        """Start, or start again on the same port."""
        self.process = subprocess.Popen(
            [str(self.port) if word == "PORT" else word for word in self._command],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=self._environment,
            cwd=self._folder,
        )
        end = time.monotonic() + WAIT_S
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
            except OSError:
                if self.process.poll() is not None or time.monotonic() > end:
                    raise AssertionError(f"the server did not start: {self.process.communicate()}") from None
                time.sleep(0.02)
            else:
                return

    def kill(self) -> None:
        """kill -9."""
        self.process.kill()
        self.process.communicate()

    def stop(self, sig: int = signal.SIGTERM) -> tuple[int, str, str]:
        """Exit code, output and errors after a signal."""
        if self.process.poll() is None:
            self.process.send_signal(sig)
        out, errors = self.process.communicate(timeout=WAIT_S)
        return self.process.returncode, out, errors

    def line(self) -> str:
        """The next line of output."""
        assert self.process.stdout is not None
        assert select.select([self.process.stdout], [], [], WAIT_S)[0], "no output"
        return self.process.stdout.readline()

    def error_line(self) -> str:
        """The next line of errors."""
        assert self.process.stderr is not None
        assert select.select([self.process.stderr], [], [], WAIT_S)[0], "no error"
        return self.process.stderr.readline()

    async def statistics(self, http: aiohttp.ClientSession) -> dict[str, int]:
        """What it has and has done. Our own server says so by its metrics; an application of the tests by itself."""
        if not self.ours:
            async with http.get(f"{self.url}/statistics") as response:
                found: dict[str, int] = await response.json()
                return found
        async with http.get(f"http://127.0.0.1:{self.metrics_port}/metrics") as response:
            return statistics_of(await response.text())

    @property
    def metrics_said(self) -> str:
        """What our own server says of its metrics when it starts."""
        return f"metrics on http://127.0.0.1:{self.metrics_port}/metrics"

    def memory(self) -> int:
        """Resident bytes."""
        status = Path(f"/proc/{self.process.pid}/status").read_text("ascii")
        return int(re.findall(r"VmRSS:\s+(\d+) kB", status)[0]) * 1024

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.kill()
        for pipe in (self.process.stdout, self.process.stderr):
            if pipe is not None:
                pipe.close()


def statistics_of(text: str) -> dict[str, int]:
    """Metrics under the names that `Hub.statistics` has for them."""
    sums: dict[str, int] = {}
    series = re.findall(r"^trunkline_(\w+?)(?:_total)?(?:\{(.*)\})? ([0-9.e+]+)$", text, re.MULTILINE)
    for name, labels, value in series:
        name = "polls" if "longpoll" in labels and name == "connections" else name
        sums[name] = sums.get(name, 0) + round(float(value))
    return sums


def stream(transport: str, http: aiohttp.ClientSession, url: str, room: str, start: Start) -> AsyncIterator[Item]:
    """Items of a room over one connection (or, by poll, over any number), until it ends or fails."""
    return PLAIN_READERS[transport](http, url, room, start)


class Follower(PlainFollower):
    """A client that comes back with its position, whatever happens to its connection."""

    def __init__(self, transport: str, http: aiohttp.ClientSession, url: str, room: str, **start: str) -> None:
        super().__init__(lambda name, at: stream(transport, http, url, name, at), room, **start)


@asynccontextmanager
async def client() -> AsyncIterator[aiohttp.ClientSession]:
    timeout = aiohttp.ClientTimeout(total=None, connect=5)
    async with aiohttp.ClientSession(timeout=timeout, connector=aiohttp.TCPConnector(limit=0)) as http:
        yield http


async def parked(http: aiohttp.ClientSession, server: Server, count: int = 1) -> None:
    """Wait until a server has so many polls that wait."""
    async with asyncio.timeout(WAIT_S):
        while (await server.statistics(http))["polls"] < count:
            await asyncio.sleep(0.02)


async def publish(http: aiohttp.ClientSession, url: str, room: str, data: object, **fields: str) -> dict[str, Any]:
    """Publish by POST; the receipt."""
    async with http.post(f"{url}/rooms/{room}", json={"data": data, **fields}) as response:
        receipt: dict[str, Any] = await response.json()
        assert response.status in (200, 201), receipt
        return receipt


async def publish_surely(
    http: aiohttp.ClientSession, url: str, room: str, data: object, message_id: str
) -> dict[str, Any]:
    """Publish until it is acked, always with the same id, as a client does."""
    while True:
        try:
            return await publish(http, url, room, data, id=message_id)
        except (aiohttp.ClientError, OSError, AssertionError):
            await asyncio.sleep(0.02)


async def publish_many(http: aiohttp.ClientSession, url: str, room: str, items: list[Any]) -> list[dict[str, Any]]:
    """Publish a list by POST /publish; the receipts."""
    receipts: list[dict[str, Any]] = []
    for at in range(0, len(items), 1000):
        body = [{"room": room, "data": item} for item in items[at : at + 1000]]
        async with http.post(f"{url}/publish", json=body) as response:
            assert response.status == 201, await response.text()
            receipts += await response.json()
    return receipts
