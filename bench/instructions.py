"""How many instructions a delivery takes, by callgrind: the same for the same code, however busy the machine is.

    python bench/instructions.py                   (needs valgrind)
    python bench/instructions.py --before COMMIT    (and that commit beside it)

A server with 64 readers of one room, in one process with its clients, publishes messages one at a time; so many, and
then so many more. The difference, divided by the deliveries in it, has nothing of the start in it. What the clients
cost is the same for both commits, and counts for both. What is done by the clock, every second or two, is left out:
under callgrind a second has fifty times less in it than it has, so that would seem to cost fifty times as much.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import re
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

READERS = 64
FEW, MANY = 100, 400
ROOT = Path(__file__).resolve().parents[1]


async def deliver(kind: str, messages: int) -> None:
    """Be the server, and its clients."""
    from trunkline import Hub, Tuning  # noqa: PLC0415 - of the commit that PYTHONPATH names
    from trunkline.engine.tasks import Tasks  # noqa: PLC0415
    from trunkline.hub import context_of  # noqa: PLC0415
    from trunkline.server.edge import Edge  # noqa: PLC0415
    from trunkline.server.gate import Gate  # noqa: PLC0415

    Tasks.every = lambda *_: None  # type: ignore[method-assign]
    loop = asyncio.get_running_loop()
    async with Hub("memory:", tuning=Tuning(slice_s=10.0)) as hub:
        gate = Gate(context_of(hub))
        server = await loop.create_server(lambda: Edge(gate), "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        await hub.publish("a", 0)
        clients = []
        for _ in range(READERS):
            client = socket.create_connection(("127.0.0.1", port))
            client.setblocking(False)
            more = (
                "Accept: text/event-stream\r\n"
                if kind == "sse"
                else "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
                "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
            )
            await loop.sock_sendall(client, f"GET /rooms/a HTTP/1.1\r\nHost: localhost\r\n{more}\r\n".encode())
            clients.append(client)
        rooms = context_of(hub).engine.rooms
        while (room := rooms.get("a")) is None or room.readers < READERS:  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0.01)
        for n in range(messages):
            await hub.publish("a", n)
            for client in clients:
                try:
                    client.recv(1 << 20)
                except BlockingIOError:
                    pass
        server.close()


def counted(tree: Path, kind: str, messages: int) -> int:
    """The instructions of all that."""
    command = [
        "setarch", "-R", "valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null",
        sys.executable, __file__, "--deliver", kind, str(messages),
    ]  # fmt: skip
    environment = os.environ | {"PYTHONPATH": str(tree / "src"), "PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": "1"}
    ended = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    found = re.search(r"Collected : (\d+)", ended.stderr)
    if found is None or ended.returncode:
        raise SystemExit(ended.stderr)
    return int(found[1])


def per_delivery(tree: Path, kind: str) -> float:
    """The instructions of one delivery."""
    return (counted(tree, kind, MANY) - counted(tree, kind, FEW)) / ((MANY - FEW) * READERS)


def main() -> None:
    """Count, and say what came of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--before", help="another commit")
    parser.add_argument("--deliver", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.deliver:
        import uvloop  # noqa: PLC0415 - which every server runs on

        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(deliver(arguments.deliver[0], int(arguments.deliver[1])))
        return
    with tempfile.TemporaryDirectory() as folder:
        if arguments.before:
            archive = subprocess.run(["git", "archive", arguments.before], cwd=ROOT, capture_output=True, check=True)
            subprocess.run(["tar", "-x", "-C", folder], input=archive.stdout, check=True)
        for kind in ("websocket", "sse"):
            now = per_delivery(ROOT, kind)
            said = f"{kind}: {now:,.0f} instructions a delivery"
            if arguments.before:
                before = per_delivery(Path(folder), kind)
                said += f"; before {before:,.0f}, {now / before - 1:+.1%}"
            print(said, flush=True)


if __name__ == "__main__":
    main()
