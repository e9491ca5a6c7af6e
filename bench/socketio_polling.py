"""What an event costs clients of Socket.IO that poll, beside socket.io and python-socketio: CPU of the server for each.

    python bench/socketio_polling.py        (needs aiohttp and python-socketio, and socket.io as in README.md)

CLIENTS clients poll and are in one room; a WebSocket emits there, one event at a time, each when all have had the one
before. Servers take turns, ROUNDS times, so that what else the machine does counts for all of them.
"""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import tempfile
from contextlib import ExitStack
from pathlib import Path

import aiohttp
from cost import Process, spent
from processes import free_port
from rig.targets import TARGETS

CLIENTS = 100
EVENTS = 60
ROUNDS = 3
SERVERS = ("socketio", "socketio-memory", "socket.io", "python-socketio")
PEERS = Path(__file__).parent / "rig" / "peers"


class Client:
    """One client that polls."""

    def __init__(self, http: aiohttp.ClientSession, url: str) -> None:
        self._http = http
        self._url = f"{url}/socket.io/?EIO=4&transport=polling"
        self.events = 0
        self.told = asyncio.Event()

    async def open(self) -> None:
        """Open a session, and be in the default namespace."""
        async with self._http.get(self._url) as answer:
            self._url += "&sid=" + json.loads((await answer.text())[1:])["sid"]
        await self._post("40")
        while "40{" not in await self._get():
            pass

    async def poll_for_ever(self) -> None:
        """Poll, and count the events."""
        while True:
            for packet in (await self._get()).split("\x1e"):
                if packet.startswith("42"):
                    self.events += 1
                    self.told.set()
                elif packet == "2":
                    await self._post("3")

    async def _get(self) -> str:
        async with self._http.get(self._url) as answer:
            if answer.status != 200:
                raise SystemExit(f"a poll was answered with {answer.status}: {await answer.text()}")
            return await answer.text()

    async def _post(self, body: str) -> None:
        async with self._http.post(self._url, data=body) as answer:
            await answer.read()


async def measure(name: str) -> float:
    """Return the microseconds of CPU that the server needs for each event and client."""
    with ExitStack() as stack, tempfile.TemporaryDirectory() as folder:
        target, port = TARGETS[name], free_port()
        environment = {key: value.format(folder=folder) for key, value in target.env.items()}
        os.environ.update(environment)
        for key in environment:
            stack.callback(os.environ.pop, key)
        command = [word.format(port=port, folder=folder) for word in target.command]
        stack.callback(os.chdir, os.getcwd())  # noqa: PTH109 - as it is now
        os.chdir(PEERS)
        server = Process(stack, port, command)
        url = f"http://127.0.0.1:{port}"
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as http:
            clients = [Client(http, url) for _ in range(CLIENTS)]
            await asyncio.gather(*(client.open() for client in clients))
            polling = [asyncio.ensure_future(client.poll_for_ever()) for client in clients]
            publisher = await http.ws_connect(f"{url}/socket.io/?EIO=4&transport=websocket&pub=1")
            await publisher.send_str("40")
            await asyncio.sleep(0.5)

            async def emit_all() -> None:
                for number in range(1, EVENTS + 1):
                    await publisher.send_str('42["pub","%s"]' % ("x" * 100))
                    for client in clients:
                        while client.events < number:
                            client.told.clear()
                            await client.told.wait()

            async with asyncio.timeout(120):
                [cpu_s] = await spent([server], emit_all)
            for task in polling:
                task.cancel()
            await asyncio.gather(*polling, return_exceptions=True)
            await publisher.close()
        return cpu_s / (EVENTS * CLIENTS) * 1e6


def main() -> None:
    """Measure, and print a table."""
    seen: dict[str, list[float]] = {name: [] for name in SERVERS if TARGETS[name].is_here()}
    for _ in range(ROUNDS):
        for name, figures in seen.items():
            figures.append(asyncio.run(measure(name)))
            print(f"{name}: {figures[-1]:.0f} µs", flush=True)
    print("\n| server | µs for each event and client, median | of socket.io |\n| --- | --- | --- |")
    for name, figures in seen.items():
        ratios = [own / other for own, other in zip(figures, seen.get("socket.io", figures), strict=True)]
        print(f"| {name} | {statistics.median(figures):,.0f} | {statistics.median(ratios):.2f} |")


if __name__ == "__main__":
    main()
