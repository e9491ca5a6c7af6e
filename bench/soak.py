"""Does anything stay behind? 100,000 connections that end in every bad way: `make soak`, or `bench/soak.py --cycles N`.

Each cycle is one of: a WebSocket that closes, that is reset, whose handshake stops half way, that is refused by a
hook, whose hook crashes; an event stream and a waiting poll that are reset; a bare TCP probe; nonsense. At the end the
server must hold no connection but the one that asks, and must not have grown by more than 5 % since the first tenth.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import socket
import struct
import subprocess
import sys
import time
import urllib.request

from processes import memory

AT_ONCE = 40
HEAD = "GET /rooms/soak{} HTTP/1.1\r\nHost: 127.0.0.1\r\nCookie: user={}\r\n"
UPGRADE = (
    "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)
CLOSE = bytes((0x88, 0x82, 0, 0, 0, 0, 0x03, 0xE8))


def server() -> None:
    """The server that is soaked: with a hook that knows some, refuses some and crashes for some."""
    from trunkline import Credentials, Grant, Permissions  # noqa: PLC0415 - in the server's own process only
    from trunkline.config import Config  # noqa: PLC0415
    from trunkline.server import build_hub, serve  # noqa: PLC0415

    config = Config(port=0, store="memory:")
    hub = build_hub(config)

    @hub.authenticate
    async def who(credentials: Credentials) -> Grant | None:
        user = credentials.cookies.get("user", "")
        if user == "crash":
            raise RuntimeError("as planned")
        everything = Permissions(read=("*",), write=("*",), admin=("*",))
        return None if user == "nobody" else Grant(user=None, permissions=everything)

    serve(config, lambda url, _: print(url, flush=True), hub)


async def cycle(port: int, kind: int, number: int) -> None:
    """One connection from its beginning to its end."""
    loop = asyncio.get_running_loop()
    sock = socket.socket()
    sock.setblocking(False)
    try:
        await loop.sock_connect(sock, ("127.0.0.1", port))
        user = {4: "nobody", 5: "crash"}.get(kind, "ana")
        head = HEAD.format(number % 7, user)
        if kind <= 5:
            text = head + UPGRADE
            if kind == 2:
                text = text[: random.randrange(1, len(text) - 4)]
            await loop.sock_sendall(sock, text.encode())
            if kind != 2:
                await loop.sock_recv(sock, 4096)
            if kind in (0, 3):
                await loop.sock_sendall(sock, CLOSE)
                while await loop.sock_recv(sock, 4096):
                    pass
        elif kind == 6:
            await loop.sock_sendall(sock, (head + "Accept: text/event-stream\r\n\r\n").encode())
            await loop.sock_recv(sock, 4096)
        elif kind == 7:
            await loop.sock_sendall(sock, head.replace(" HTTP", "?since=now&wait=1 HTTP").encode() + b"\r\n")
        elif kind == 8:
            await loop.sock_sendall(sock, bytes(random.randrange(256) for _ in range(50)))
        if kind not in (0, 9):  # a reset instead of an end
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    except OSError:
        pass
    finally:
        sock.close()


async def soak(port: int, cycles: int) -> None:
    """So many cycles, some at a time."""
    numbers = iter(range(cycles))

    async def worker() -> None:
        for number in numbers:
            async with asyncio.timeout(30):
                await cycle(port, number % 10, number)

    await asyncio.gather(*[worker() for _ in range(AT_ONCE)])


def rest(url: str, wait_s: float = 30.0) -> dict[str, int]:
    """What the server holds when everything has had time to end."""
    end = time.monotonic() + wait_s
    while True:
        request = urllib.request.Request(f"{url}/healthz", headers={"Connection": "close"})
        with urllib.request.urlopen(request) as response:
            held: dict[str, int] = json.load(response)
        if (held["sockets"], held["connections"], held["guests"]) == (1, 0, 0):
            return held
        if time.monotonic() > end:
            return held
        time.sleep(0.2)


def main() -> int:
    """Soak a server of our own."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cycles", type=int, default=100_000)
    parser.add_argument("--growth", type=float, default=0.05, help="how much larger the server may become")
    parser.add_argument("--server", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.server:
        server()
        return 0
    command = [sys.executable, __file__, "--server"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert process.stdout is not None
    url = process.stdout.readline().strip()
    port = int(url.rpartition(":")[2])
    try:
        began = time.monotonic()
        asyncio.run(soak(port, arguments.cycles // 10))
        rest(url)
        before = memory(process.pid)
        for tenth in range(2, 11):
            asyncio.run(soak(port, arguments.cycles // 10))
            print(f"{arguments.cycles * tenth // 10} connections, {memory(process.pid) / 1e6:.1f} MB", flush=True)
        held = rest(url)
        growth = memory(process.pid) / before - 1
        print(
            f"{arguments.cycles} connections in {time.monotonic() - began:.0f} s; held: {held['sockets']} socket"
            f" (ours), {held['connections']} streams, {held['guests']} guests; grown by {growth:.1%}"
        )
        empty = (held["sockets"], held["connections"], held["guests"]) == (1, 0, 0)
        return 0 if empty and growth < arguments.growth else 1
    finally:
        process.terminate()
        process.wait()


if __name__ == "__main__":
    sys.exit(main())
