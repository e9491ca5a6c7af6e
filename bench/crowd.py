"""Many connections: rooms of a hundred readers each, heartbeats, a message now and then, and a rolling restart.

    python bench/crowd.py                                            100,000 connections, 1,000 rooms, 8 workers
    python bench/crowd.py --connections 500000 --workers 32 --idle   as many as that, without rooms

A process may have 20,000 open files here, so both the server and the load are many processes, on all cores together.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import resource
import select
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from rig.measure import build
from rig.process import Sample, Server
from rig.targets import BUILD

READERS_OF_ROOM = 100
PER_PROCESS = 19_500
SETTLE_S = 5.0
RESTART_S = 150.0  # for all to be back


class Readers:
    """One process of the load."""

    def __init__(self, server: Server, number: int, count: int, rooms: int, hold_s: float, rate: float) -> None:
        where = ["--path", "/rooms/crowd-{r}?since=now", "--wait-open", '"joined"']
        if not rooms:
            where = ["--path", "/connect", "--wait-open", '"welcome"']
        flags = [
            "--mode",
            "crowd",
            "--n",
            str(count),
            "--rooms",
            str(max(1, rooms)),
            "--first",
            str(number * PER_PROCESS),
        ]
        flags += [*where, "--hold", str(hold_s), "--conpar", "64", "--srcs", "40"]
        if rate:
            message = '{"type":"message","room":"crowd-{r}","data":"{P}"}'
            flags += ["--rate", str(rate), "--m", str(int(rate * hold_s) + 100), "--tmpl", message]
            flags += ["--pub-path", "/connect", "--pub-wait", '"welcome"']
        command = [str(BUILD / "load"), "--port", str(server.port), "--sync", "--max-s", "900", *flags]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, bufsize=1
        )

    def wait_for(self, word: str, timeout_s: float) -> dict[str, Any]:
        """Return what it says behind a word."""
        assert self._process.stdout is not None
        if not select.select([self._process.stdout], [], [], timeout_s)[0]:
            raise SystemExit(f"the load did not say {word}")
        line = self._process.stdout.readline()
        if not line.startswith(word):
            raise SystemExit(f"the load ended: {line}")
        found: dict[str, Any] = json.loads(line[len(word) :])
        return found

    def go(self) -> None:
        """Let it go on."""
        assert self._process.stdin is not None
        self._process.stdin.write("GO\n")
        self._process.stdin.flush()

    def stop(self) -> None:
        """End it."""
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                stream.close()


def main() -> None:
    """Connect, wait, restart, and print what it took."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--connections", type=int, default=100_000)
    parser.add_argument("--workers", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=60.0, help="how long all of them are held")
    parser.add_argument("--rate", type=float, default=100.0, help="messages a second, to all rooms in turn")
    parser.add_argument("--ping", type=float, default=30.0, help="seconds between two pings of a connection")
    parser.add_argument("--idle", action="store_true", help="no rooms, no messages, and no restart")
    chosen = parser.parse_args()
    build()
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="crowd-")))
        command = [
            sys.executable, "-m", "trunkline", "serve", "--port", "{port}", "--store", "sqlite:///{folder}/log.db",
            "--workers", str(chosen.workers), "--ping-interval", str(chosen.ping),
        ]  # fmt: skip
        server = Server(command, folder, {}, settle_s=SETTLE_S, core=None)
        stack.callback(server.stop)
        empty, slab = server.sample(shared=True), _kernel_bytes()
        print(f"{chosen.workers} workers, empty: {empty.shared / 2**20:,.0f} MiB", flush=True)
        rooms = 0 if chosen.idle else max(1, chosen.connections // READERS_OF_ROOM)
        restart_s = 0.0 if chosen.idle else RESTART_S
        readers: list[Readers] = []
        began = time.monotonic()
        left = chosen.connections
        while left:
            count = min(PER_PROCESS, left)
            rate = 0.0 if readers or chosen.idle else chosen.rate
            readers.append(Readers(server, len(readers), count, rooms, chosen.seconds + restart_s, rate))
            stack.callback(readers[-1].stop)
            left -= count
        opened = sum(process.wait_for("READY", 900)["opened"] for process in readers)
        connected_s = time.monotonic() - began
        full = server.sample(shared=True)
        _row("connections", f"{opened:,} of {chosen.connections:,}")
        _row("connecting", f"{connected_s:.0f} s, {(full.cpu_s - empty.cpu_s) / max(1, opened) * 1e6:.0f} µs each")
        _row("memory of the workers", f"{full.shared / 2**20:,.0f} MiB, {_each(full, empty, opened):,.0f} bytes each")
        _row("of the kernel, both ends", f"{(_kernel_bytes() - slab) / max(1, opened):,.0f} bytes each")
        for process in readers:
            process.go()
        before = server.sample()
        time.sleep(chosen.seconds)
        after = server.sample()
        _row("cores that the server uses", f"{(after.cpu_s - before.cpu_s) / chosen.seconds:.2f}")
        if not chosen.idle:
            os.kill(server.pid, signal.SIGHUP)  # all workers are replaced, one after the other
            print("rolling restart …", flush=True)
        results = [process.wait_for("DONE", chosen.seconds + restart_s + 120) for process in readers]
        _row("still connected at the end", f"{sum(result['still_open'] for result in results):,}")
        if not chosen.idle:
            _row("deliveries", f"{sum(result['deliveries'] for result in results):,}")
            for name, key in (("delay p50", "lat_p50_us"), ("delay p99", "lat_p99_us")):
                values = sorted(result[key] / 1e3 for result in results)
                _row(f"{name}, of each load process", f"{values[0]:.1f} to {values[-1]:.1f} ms")
            _row("sent away by the restart", f"{sum(result['disc'] for result in results):,}")
            away = max(result["all_p99_us"] for result in results) / 1e6
            _row("away p50, p99", f"{results[0]['all_p50_us'] / 1e6:.2f} s, {away:.2f} s")


def _row(name: str, value: str) -> None:
    print(f"| {name} | {value} |", flush=True)


def _each(full: Sample, empty: Sample, count: int) -> float:
    return (full.shared - empty.shared) / max(1, count)


def _kernel_bytes() -> int:
    """Return what the kernel keeps in its own structures, on the whole machine."""
    found = dict(line.split(":") for line in Path("/proc/meminfo").read_text("ascii").splitlines())
    return int(found["Slab"].split()[0]) * 1024


if __name__ == "__main__":
    main()
