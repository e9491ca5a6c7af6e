"""What a connection, a delivery, a publish and a node more cost: the figures of docs/scaling.md.

    python bench/cost.py        (needs redis-server, and aiohttp: pip install trunkline[client,redis])

Three nodes share a Redis. What is counted is the CPU time of each process as the kernel has it, so that whoever makes
the load costs nothing here; memory is what the process has more than before.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from pathlib import Path

import aiohttp
import redis
from processes import free_port, memory

CONNECTIONS = 3000
MESSAGES = 3000
DATA = "x" * 128
TICKS_S = os.sysconf("SC_CLK_TCK")


class Process:
    """A process whose time and memory are looked at."""

    def __init__(self, stack: ExitStack, port: int, command: list[str]) -> None:
        self.port = port
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        stack.callback(self._process.wait)
        stack.callback(self._process.kill)
        end = time.monotonic() + 20
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
            except OSError:
                if time.monotonic() > end:
                    raise SystemExit(f"{command[0]} did not start") from None
                time.sleep(0.05)
            else:
                return

    @property
    def cpu_s(self) -> float:
        """User and system time so far, of all threads."""
        fields = Path(f"/proc/{self._process.pid}/stat").read_text("ascii").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS_S

    @property
    def memory(self) -> int:
        """Resident bytes."""
        return memory(self._process.pid)


async def spent(processes: list[Process], work: Callable[[], Awaitable[object]]) -> list[float]:
    """The CPU seconds that each process spent on it."""
    before = [process.cpu_s for process in processes]
    await work()
    await asyncio.sleep(0.3)  # what they still do about it
    return [process.cpu_s - at for process, at in zip(processes, before, strict=True)]


def row(what: str, figure: float, unit: str) -> None:
    print(f"| {what} | {figure:,.{0 if figure >= 20 else 1}f} {unit} |", flush=True)


class Load:
    """Readers and publishers, by WebSocket."""

    def __init__(self, http: aiohttp.ClientSession) -> None:
        self._http = http
        self.got = 0
        self._tasks: list[asyncio.Task[None]] = []

    async def read(self, node: Process, room: str, count: int) -> None:
        async def one() -> None:
            async with self._http.ws_connect(f"http://127.0.0.1:{node.port}/rooms/{room}", autoping=True) as ws:
                async for frame in ws:
                    if '"type":"joined"' in frame.data:
                        joined.release()
                    self.got += frame.data.count('"type":"message"')

        joined = asyncio.Semaphore(0)
        for n in range(count):
            self._tasks.append(asyncio.ensure_future(one()))
            if n % 100 == 99:
                await asyncio.sleep(0.01)
        for _ in range(count):
            await joined.acquire()

    async def publish(self, node: Process, room: str, count: int, in_flight: int, readers: int = 0) -> None:
        """Publish, so many at once; and wait until all readers have all of it."""
        self.got = 0
        async with self._http.ws_connect(f"http://127.0.0.1:{node.port}/connect") as ws:
            sent = acked = 0
            while acked < count:
                while sent < count and sent - acked < in_flight:
                    sent += 1
                    await ws.send_json(
                        {"type": "message", "room": room, "id": f"{time.time_ns()}-{sent}", "data": DATA}
                    )
                event = await ws.receive_json()
                acked += event["type"] == "ack"
                while readers and in_flight == 1 and self.got < acked * readers:  # noqa: ASYNC110
                    await asyncio.sleep(0)
        while self.got < count * readers:  # noqa: ASYNC110
            await asyncio.sleep(0.01)

    def end(self) -> None:
        for task in self._tasks:
            task.cancel()


async def measure(server: Process, nodes: list[Process]) -> None:
    client = redis.Redis(port=server.port)
    a, b, c = nodes
    timeout = aiohttp.ClientTimeout(total=None)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), timeout=timeout) as http:
        load = Load(http)
        await load.publish(a, "warm", 500, 50)
        print("| what | cost |\n| --- | --- |")

        before = a.memory
        [connect] = await spent([a], lambda: load.read(a, "lobby", CONNECTIONS))
        row("a connection, in a node", (a.memory - before) / CONNECTIONS, "bytes")
        row("connecting and joining, a node", connect / CONNECTIONS * 1e6, "µs")
        [idle] = await spent([a], lambda: asyncio.sleep(31))
        row("an idle connection, a node (a ping each 30 s)", idle / CONNECTIONS / 31 * 1e6, "µs a second")

        rounds = 100
        [one] = await spent([a], lambda: load.publish(a, "lobby", rounds, 1, CONNECTIONS))
        row("a delivery, one message in flight, a node", one / rounds / CONNECTIONS * 1e6, "µs")
        [many] = await spent([a], lambda: load.publish(a, "lobby", 10 * rounds, 50, CONNECTIONS))
        row("a delivery, fifty in flight, a node", many / (10 * rounds) / CONNECTIONS * 1e6, "µs")

        used = client.info("memory")["used_memory"]
        publish, at_redis = await spent([a, server], lambda: load.publish(a, "alone", MESSAGES, 1))
        row("an acked publish, one in flight, a node", publish / MESSAGES * 1e6, "µs")
        row("the same, Redis", at_redis / MESSAGES * 1e6, "µs")
        publish, at_redis_many = await spent([a, server], lambda: load.publish(a, "alone", 5 * MESSAGES, 100))
        row("an acked publish, a hundred in flight, a node", publish / MESSAGES / 5 * 1e6, "µs")
        row("the same, Redis", at_redis_many / MESSAGES / 5 * 1e6, "µs")
        row("a message of 128 bytes, in Redis", (client.info("memory")["used_memory"] - used) / MESSAGES / 6, "bytes")

        await load.read(b, "followed", 1)
        b_alone, redis_one = await spent([b, server], lambda: load.publish(a, "followed", MESSAGES, 1, 1))
        await load.read(c, "followed", 1)
        [redis_two] = await spent([server], lambda: load.publish(a, "followed", MESSAGES, 1, 2))
        row("a message followed by another node, that node", b_alone / MESSAGES * 1e6, "µs")
        row("the same, Redis, for each such node", (redis_two - redis_one) / MESSAGES * 1e6, "µs")
        [b_many] = await spent([b], lambda: load.publish(a, "followed", 5 * MESSAGES, 100, 2))
        row("a message followed, a hundred in flight, that node", b_many / MESSAGES / 5 * 1e6, "µs")
        load.end()


def main() -> None:
    """Measure processes of our own."""
    folder = Path(tempfile.mkdtemp(prefix="cost-"))
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        port = free_port()
        command = ["redis-server", "--port", str(port), "--dir", str(folder), "--appendonly", "yes", "--save", ""]
        server = Process(stack, port, command)
        nodes = []
        for _ in range(3):
            node_port = free_port()
            store = f"redis://127.0.0.1:{port}"
            command = [sys.executable, "-m", "trunkline", "serve", "--port", str(node_port), "--store", store]
            nodes.append(Process(stack, node_port, command))
        asyncio.run(measure(server, nodes))


if __name__ == "__main__":
    main()
