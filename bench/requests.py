"""What a poll and a POST cost the server, in CPU time for each, as the kernel counts it.

    python bench/requests.py                                     this checkout alone
    python bench/requests.py --against /path/to/bin/trunkline    beside another one: rounds of both in turn, and ratios

Scenarios: `short` (a poll of a room with nothing new), `long` (a poll that waits, and the message that ends it), `post`
(a message of 128 bytes by POST, confirmed), `guide` (the guide's chat: 40 people who poll, one request a second each,
and one message a second; per second), each by HTTP/1.1 connections that stay.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import random
import selectors
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from processes import free_port

CONNECTIONS = 40
ROUNDS = 7
GUIDE_S = 5.0
DATA = json.dumps({"data": "x" * 128}).encode()

Scenario = Callable[["Load", int], int]


def cpu_s(pid: int) -> float:
    """Return the seconds that all threads of a process have run."""
    return sum(int(path.read_text().split()[0]) for path in Path(f"/proc/{pid}/task").glob("*/schedstat")) / 1e9


class Load:
    """Connections to a server, and requests on them."""

    def __init__(self, port: int) -> None:
        self._selector = selectors.DefaultSelector()
        self._sockets = [socket.create_connection(("127.0.0.1", port)) for _ in range(CONNECTIONS + 1)]
        for connection in self._sockets:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def close(self) -> None:
        """Close them."""
        for connection in self._sockets:
            connection.close()
        self._selector.close()

    def send(self, n: int, head: str, body: bytes = b"") -> None:
        """Send a request on one of the connections."""
        more = f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n" if body else ""
        self._sockets[n].sendall(f"{head} HTTP/1.1\r\nHost: localhost\r\n{more}\r\n".encode() + body)

    def receive(self, n: int) -> bytes:
        """Return the body of the answer on one of them."""
        data = b""
        while b"\r\n\r\n" not in data:
            data += self._sockets[n].recv(65536)
        head, _, body = data.partition(b"\r\n\r\n")
        assert head.startswith((b"HTTP/1.1 200", b"HTTP/1.1 201")), head
        length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
        while len(body) < length:
            body += self._sockets[n].recv(65536)
        return body

    def position(self) -> str:
        """Return where the room stands."""
        self.send(0, "GET /rooms/r?since=now")
        position: str = json.loads(self.receive(0))["next"]
        return position


def short(load: Load, count: int) -> int:
    """Polls of a room with nothing new."""
    since = load.position()
    for _ in range(count // CONNECTIONS):
        for n in range(CONNECTIONS):
            load.send(n, f"GET /rooms/r?since={since}")
        for n in range(CONNECTIONS):
            load.receive(n)
    return count // CONNECTIONS * CONNECTIONS


def post(load: Load, count: int) -> int:
    """Messages by POST."""
    for _ in range(count // CONNECTIONS):
        for n in range(CONNECTIONS):
            load.send(n, "POST /rooms/r", DATA)
        for n in range(CONNECTIONS):
            load.receive(n)
    return count // CONNECTIONS * CONNECTIONS


def long(load: Load, count: int) -> int:
    """Polls that wait, all of which one message ends."""
    since = load.position()
    for _ in range(count // CONNECTIONS):
        for n in range(CONNECTIONS):
            load.send(n, f"GET /rooms/r?since={since}&wait=20")
        load.send(CONNECTIONS, "POST /rooms/r", DATA)
        load.receive(CONNECTIONS)
        for n in range(CONNECTIONS):
            since = json.loads(load.receive(n))["next"]
    return count // CONNECTIONS * CONNECTIONS


def guide(load: Load, count: int) -> int:
    """Forty people who ask once a second, for some seconds; returns the seconds."""
    since = [load.position()] * CONNECTIONS
    seconds = GUIDE_S if count else 1.0
    end, turn = time.monotonic() + seconds, 0
    while time.monotonic() < end:
        n = turn % CONNECTIONS
        load.send(n, f"GET /rooms/r?since={since[n]}")
        since[n] = json.loads(load.receive(n))["next"]
        if n == 0:
            load.send(CONNECTIONS, "POST /rooms/r", DATA)
            load.receive(CONNECTIONS)
        turn += 1
        time.sleep(1 / CONNECTIONS)
    return round(seconds)


SCENARIOS: dict[str, tuple[Scenario, int]] = {
    "short": (short, 8000),
    "long": (long, 6000),
    "post": (post, 6000),
    "guide": (guide, 1),
}


def measure(command: list[str], scenario: Scenario, count: int) -> float:
    """Return the server's microseconds of CPU for each request, or second of `guide`."""
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        arguments = ["serve", "--port", str(port), "--store", f"sqlite:///{folder}/log.db"]
        server = subprocess.Popen([*command, *arguments], stdout=subprocess.PIPE)
        try:
            assert server.stdout is not None
            server.stdout.readline()
            load = Load(port)
            scenario(load, count // 10)  # warm
            before = cpu_s(server.pid)
            done = scenario(load, count)
            used = cpu_s(server.pid) - before
            load.close()
        finally:
            server.terminate()
            server.wait()
            assert server.stdout is not None
            server.stdout.close()
    return used / done * 1e6


def interval(values: list[float]) -> tuple[float, float]:
    """Return the 95 % interval of the median, by bootstrap."""
    rng = random.Random(1)
    medians = sorted(statistics.median(rng.choices(values, k=len(values))) for _ in range(2000))
    return medians[math.floor(0.025 * len(medians))], medians[math.ceil(0.975 * len(medians)) - 1]


def main() -> None:
    """Measure, and print a line for each scenario."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--against", help="the command of another checkout")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--scenarios", default=",".join(SCENARIOS))
    options = parser.parse_args()
    here = [sys.executable, "-m", "trunkline"]
    os.sched_setaffinity(0, {0, 1} & os.sched_getaffinity(0) or os.sched_getaffinity(0))
    for name in options.scenarios.split(","):
        scenario, count = SCENARIOS[name]
        ours, theirs = [], []
        for _ in range(options.rounds):
            ours.append(measure(here, scenario, count))
            if options.against:
                theirs.append(measure([options.against], scenario, count))
        line = f"{name:6} {statistics.median(ours):8.1f} µs"
        if theirs:
            ratios = [a / b for a, b in zip(ours, theirs, strict=True)]
            low, high = interval(ratios)
            line += f"   before {statistics.median(theirs):8.1f} µs   ratio {statistics.median(ratios):.2f}"
            line += f" [{low:.2f}, {high:.2f}]"
        sys.stdout.write(line + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
