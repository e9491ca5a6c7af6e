"""What a reader that never reads costs the others: memory, and their p99.

    python bench/slow_reader.py [--seconds 60] [--rate 1000]

Twice the same load, 1,000 messages a second to 20 WebSocket readers; the second time two more readers have joined, one
by SSE and one by WebSocket, that never read. Prints how much the server grew in each, and the readers' delays.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import socket
import subprocess
import sys
import tempfile
import time

import aiohttp
from processes import memory

READERS = 20
TICK_S = 0.02


async def load(url: str, rate: int, seconds: float) -> list[float]:
    """Publish at a rate and follow with READERS; the delays in ms."""
    delays: list[float] = []
    async with aiohttp.ClientSession() as http:
        sockets = [await http.ws_connect(f"{url}/rooms/load") for _ in range(READERS)]

        async def follow(reader: aiohttp.ClientWebSocketResponse) -> None:
            async for frame in reader:
                at = frame.data.find('"sent":')
                if at > 0:
                    delays.append((time.perf_counter() - float(frame.data[at + 7 : at + 24].split(",")[0])) * 1000)

        following = [asyncio.ensure_future(follow(reader)) for reader in sockets]
        publisher = await http.ws_connect(f"{url}/connect")

        async def swallow() -> None:
            async for _ in publisher:
                pass

        acks = asyncio.ensure_future(swallow())
        begin, count = time.perf_counter(), 0
        while (now := time.perf_counter() - begin) < seconds:
            for _ in range(int(now * rate) - count):
                data = f'{{"sent":{time.perf_counter():.9f},"pad":"{"x" * 200}"}}'
                await publisher.send_str(f'{{"type":"message","room":"load","data":{data}}}')
                count += 1
            await asyncio.sleep(TICK_S)
        await asyncio.sleep(1)
        for task in (*following, acks):
            task.cancel()
        for reader in (*sockets, publisher):
            await reader.close()
    return sorted(delays)


def stuck(port: int, head: str) -> socket.socket:
    """A reader that asks and then never reads."""
    made = socket.create_connection(("127.0.0.1", port))
    made.sendall(f"GET /rooms/load HTTP/1.1\r\nHost: h\r\n{head}\r\n".encode())
    return made


def main() -> None:
    """Run both loads and print what differs."""
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--seconds", type=float, default=60)
    arguments.add_argument("--rate", type=int, default=1000)
    chosen = arguments.parse_args()
    with tempfile.TemporaryDirectory() as folder, socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
        free.close()
        command = [
            sys.executable,
            "-m",
            "trunkline",
            "serve",
            "--port",
            str(port),
            "--store",
            f"sqlite:///{folder}/log.db",
        ]
        server = subprocess.Popen(command, stdout=subprocess.PIPE)
        try:
            assert server.stdout is not None
            server.stdout.readline()
            url = f"http://127.0.0.1:{port}"
            asyncio.run(load(url, chosen.rate, 5))  # fills the tail and warms up
            upgrade = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            results = []
            for name in ("without", "with two stuck readers"):
                held = []
                if name != "without":
                    held.append(stuck(port, "Accept: text/event-stream\r\n"))
                    held.append(stuck(port, f"{upgrade}Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"))
                before = memory(server.pid)
                delays = asyncio.run(load(url, chosen.rate, chosen.seconds))
                grown = memory(server.pid) - before
                p50, p99 = (delays[int(len(delays) * share)] for share in (0.5, 0.99))
                results.append(
                    {"load": name, "grown_kb": grown // 1024, "p50_ms": round(p50, 2), "p99_ms": round(p99, 2)}
                )
                results[-1]["deliveries"] = len(delays)
                print(json.dumps(results[-1]), flush=True)
                for reader in held:
                    reader.close()
        finally:
            server.terminate()
            server.wait(10)
            if server.stdout is not None:
                server.stdout.close()


if __name__ == "__main__":
    main()
