"""A rolling restart (R41): four nodes behind HAProxy are updated in turn, with many clients and steady publishing.

    python bench/rolling.py --clients 9500        (needs haproxy, and redis-server with --store redis)

Every client is a WebSocket that comes back with its position. Says what was lost or doubled, how long each client was
away at each move, and how often anybody was moved onto the node that was next to be restarted.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import cast

import uvloop
from processes import free_port

from trunkline.client import publish

ROOT = Path(__file__).parents[1]
NODES = 4
ROOM = "rolling"
CONNECTS_AT_ONCE = 200
KEY = base64.b64encode(bytes(16)).decode()
FAILED_AFTER_S = 5.0
MESSAGE = re.compile(rb'\{"type":"message","room":"\w+","offset":(\d+),"id":"[^"]*","from":null,"at":(\d+)')  # quicker


class Fleet:
    """All clients, and what came of them."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.gaps_s: list[float] = []
        self.late_ms: list[int] = []
        self.lost = self.doubled = self.told = self.failures = 0
        self.deliveries = 0
        self.next_to_drain = ""


class Client(asyncio.Protocol):
    """One reader. Its protocol is just enough of RFC 6455: the server's frames are short, whole and unmasked."""

    def __init__(self, fleet: Fleet) -> None:
        self.fleet = fleet
        self.epoch = ""
        self.offset = 0
        self.node = ""
        self.wrong_moves = 0
        self.joined = asyncio.Event()
        self._away_since = 0.0
        self._again_s = 0.0
        self._over = False
        self._buffer = b""
        self._transport: asyncio.Transport | None = None

    async def connect(self) -> None:
        while True:
            try:
                await asyncio.get_running_loop().create_connection(lambda: self, "127.0.0.1", self.fleet.port)
            except OSError:
                self.fleet.failures += 1
                await asyncio.sleep(random.random())
            else:
                return

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport = self._transport = cast("asyncio.Transport", transport)  # uvloop's is none by descent
        self._buffer = b""
        self._upgraded = False
        since = f"{self.epoch}.{self.offset}" if self.epoch else "start"
        transport.write(
            f"GET /rooms/{ROOM}?since={since} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n"
            f"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n\r\n".encode()
        )
        self._patience = asyncio.get_running_loop().call_later(FAILED_AFTER_S, transport.abort)

    def data_received(self, data: bytes) -> None:
        buffer = self._buffer + data
        if not self._upgraded:
            head, end, buffer = buffer.partition(b"\r\n\r\n")
            if not end:
                self._buffer = head
                return
            if b" 101 " not in head[:16]:
                self.fleet.failures += 1
                assert self._transport is not None
                self._transport.abort()
                return
            self._upgraded = True
            node = re.findall(rb"(?i)x-server: (\S+)", head)[0].decode()
            if self.node and node == self.fleet.next_to_drain:
                self.wrong_moves += 1
            self.node = node
        while len(buffer) >= 2:
            begin, size = 2, buffer[1]
            if size == 126:
                begin, size = 4, int.from_bytes(buffer[2:4], "big")
            if len(buffer) < begin + size:
                break
            self._frame(buffer[0] & 15, buffer[begin : begin + size])
            buffer = buffer[begin + size :]
        self._buffer = buffer

    def _frame(self, opcode: int, payload: bytes) -> None:
        assert self._transport is not None
        if opcode == 9:
            self._transport.write(bytes((0x8A, 0x80 | len(payload))) + bytes(4) + payload)
        if opcode != 1:
            return
        fleet = self.fleet
        if (message := MESSAGE.match(payload)) is not None:
            offset = int(message[1])
            fleet.deliveries += 1
            fleet.late_ms.append(round(time.time() * 1000) - int(message[2]))
            if offset <= self.offset:
                fleet.doubled += 1
            fleet.lost += max(0, offset - self.offset - 1)
            self.offset = offset
            return
        event = json.loads(payload)
        if event["type"] == "joined":
            self._patience.cancel()
            self.epoch = event["epoch"]
            if self._away_since:
                fleet.gaps_s.append(time.monotonic() - self._away_since)
                self._away_since = 0.0
            self.joined.set()
        elif event["type"] == "closing":
            self._again_s = event["retry_after_ms"] / 1000
            self._transport.abort()
        elif event["type"] == "gap":
            fleet.told += 1

    def connection_lost(self, exc: Exception | None) -> None:
        self._patience.cancel()
        self._away_since = self._away_since or time.monotonic()
        if self._over:
            return
        wait_s, self._again_s = self._again_s or 0.5 * random.random(), 0.0
        asyncio.get_running_loop().call_later(wait_s, lambda: asyncio.ensure_future(self.connect()))

    def end(self) -> None:
        self._over = True
        if self._transport is not None:
            self._transport.abort()


class Node:
    """One server as a process."""

    def __init__(self, store: str, window_s: float) -> None:
        self.port = free_port()
        self._command = [
            sys.executable, "-m", "trunkline", "serve", "--port", str(self.port), "--store", store,
            "--drain-window", str(window_s),
        ]  # fmt: skip
        self.start()

    def start(self) -> None:
        environment = os.environ | {"TRUNKLINE_LIMITS__CONNECTIONS_MAX": "20000"}
        self.process = subprocess.Popen(
            self._command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment
        )

    def ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/readyz", timeout=1) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def end(self) -> None:
        self.process.kill()
        self.process.wait()


def front(nodes: list[Node], folder: Path, clients: int, balance: str) -> tuple[int, subprocess.Popen[bytes]]:
    """HAProxy with the configuration that we ship."""
    port = free_port()
    text = (ROOT / "deploy/haproxy.cfg").read_text("utf-8")
    for n, node in enumerate(nodes):
        text = text.replace(f"127.0.0.1:{8001 + n}", f"127.0.0.1:{node.port}")
    text = text.replace("bind :8080", f"bind 127.0.0.1:{port}").replace("maxconn 100000", f"maxconn {clients + 100}")
    text = text.replace("balance roundrobin", f"balance {balance}\n    http-response set-header X-Server %s")
    (folder / "haproxy.cfg").write_text(text)
    return port, subprocess.Popen(["haproxy", "-db", "-f", str(folder / "haproxy.cfg")], stderr=subprocess.DEVNULL)


async def until(fact: object, wait_s: float, what: str) -> None:
    assert callable(fact)
    end = time.monotonic() + wait_s
    while not await asyncio.to_thread(fact):
        if time.monotonic() > end:
            raise SystemExit(f"{what}: not within {wait_s:.0f} s")
        await asyncio.sleep(0.05)


async def publish_steadily(url: str, rate: float, ended: asyncio.Event) -> int:
    """Publish so often, each until it is acked; how many there were."""
    n = 0
    while not ended.is_set():
        n += 1
        due = time.monotonic() + 1 / rate
        await asyncio.to_thread(publish, url, ROOM, n, id=f"n-{n}")
        await asyncio.sleep(max(0.0, due - time.monotonic()))
    return n


def figures(values: list[float]) -> str:
    values = sorted(values) or [0.0]
    return f"p50 {values[len(values) // 2]:.2f} s, p99 {values[int(len(values) * 0.99)]:.2f} s, max {values[-1]:.2f} s"


async def run(arguments: argparse.Namespace, nodes: list[Node], port: int) -> bool:
    for node in nodes:
        await until(node.ready, 20, "a node starts")
    url = f"http://127.0.0.1:{port}"
    await asyncio.sleep(2)  # HAProxy has looked twice
    fleet = Fleet(port)
    clients = [Client(fleet) for _ in range(arguments.clients)]
    began = time.monotonic()
    for first in range(0, len(clients), CONNECTS_AT_ONCE):
        some = clients[first : first + CONNECTS_AT_ONCE]
        await asyncio.gather(*[client.connect() for client in some])
        async with asyncio.timeout(60):
            await asyncio.gather(*[client.joined.wait() for client in some])
    print(f"{len(clients)} clients, connected in {time.monotonic() - began:.1f} s", flush=True)
    ended = asyncio.Event()
    publishing = asyncio.ensure_future(publish_steadily(url, arguments.rate, ended))
    await asyncio.sleep(3)
    fleet.gaps_s.clear()
    names = ("one", "two", "three", "four")
    for n, node in enumerate(nodes):
        moved, fleet.next_to_drain = len(fleet.gaps_s), names[n + 1] if n + 1 < NODES else ""
        held = Counter(client.node for client in clients)[names[n]]
        node.process.send_signal(signal.SIGTERM)
        await asyncio.to_thread(node.process.wait)
        node.start()
        await until(node.ready, 20, "a node starts again")
        await asyncio.sleep(arguments.rest)
        print(f"node {names[n]} restarted, {held} clients on it; {figures(fleet.gaps_s[moved:])}", flush=True)
    ended.set()
    count = await publishing
    end = time.monotonic() + 30
    while time.monotonic() < end and any(client.offset < count for client in clients):  # noqa: ASYNC110
        await asyncio.sleep(0.1)
    missing = sum(count - client.offset for client in clients)
    print(
        f"\n{fleet.deliveries:,} deliveries of {count} messages; lost {fleet.lost + missing}, doubled {fleet.doubled},"
        f" gaps told {fleet.told}; {fleet.failures} attempts failed"
        f"\naway: {len(fleet.gaps_s)} times, {figures(fleet.gaps_s)}"
        f"\nmessages were late by: {figures([late / 1000 for late in fleet.late_ms])}"
        f"\nmoved onto the next to be restarted (times: clients): {dict(Counter(one.wrong_moves for one in clients))}"
    )
    for client in clients:
        client.end()
    return fleet.lost + missing + fleet.doubled == 0


def main() -> int:
    """Restart a fleet of our own."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--clients", type=int, default=9500, help="HAProxy needs two open files for each")
    parser.add_argument("--rate", type=float, default=1.0, help="messages a second to all of them")
    parser.add_argument("--rest", type=float, default=5.0, help="seconds between two restarts")
    parser.add_argument("--window", type=float, default=1.0, help="drain_window of the nodes")
    parser.add_argument("--balance", default="leastconn", choices=["leastconn", "roundrobin"])
    parser.add_argument("--store", default="sqlite", choices=["sqlite", "redis"])
    arguments = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="rolling-"))
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, folder)
        store = f"sqlite:///{folder}/log.db?shared=1"
        if arguments.store == "redis":
            redis_port = free_port()
            store = f"redis://127.0.0.1:{redis_port}"
            command = ["redis-server", "--port", str(redis_port), "--dir", str(folder), "--appendonly", "yes"]
            redis = subprocess.Popen(command, stdout=subprocess.DEVNULL)
            stack.callback(redis.wait)
            stack.callback(redis.kill)
        nodes = [Node(store, arguments.window) for _ in range(NODES)]
        for node in nodes:
            stack.callback(node.end)
        port, proxy = front(nodes, folder, arguments.clients, arguments.balance)
        stack.callback(proxy.wait)
        stack.callback(proxy.kill)
        return 0 if uvloop.run(run(arguments, nodes, port)) else 1


if __name__ == "__main__":
    sys.exit(main())
