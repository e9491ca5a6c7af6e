"""One measurement: a server, a load, and what the server has used for it."""

from __future__ import annotations

import json
import select
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from .process import Server, cores
from .scenarios import Scenario
from .targets import BUILD, Target

READY_S, DONE_S = 100.0, 130.0


class Figure(NamedTuple):
    """What was measured.

    Attributes:
        cpu_us: Of the server, for each delivery, request, connection or second.
        p50_ms, p99_ms: Of the delay of a delivery or an answer.
        memory: Of connections: resident bytes for each.
        delay: How long the server was ready to run and did not, beside the time that it ran.
        wrong: What was lost, doubled or out of order, and connections that failed.
    """

    cpu_us: float
    p50_ms: float
    p99_ms: float
    memory: float
    delay: float
    wrong: int


def build() -> None:
    """Compile the load generator and the floors, if that was not done."""
    (BUILD / "logs").mkdir(parents=True, exist_ok=True)
    for name in ("load", "floor"):
        source, binary = Path(__file__).parent / f"{name}.c", BUILD / name
        if not binary.exists() or binary.stat().st_mtime < source.stat().st_mtime:
            subprocess.run(["gcc", "-O2", "-Wall", "-o", str(binary), str(source)], check=True)


def measure(target: Target, scenario: Scenario) -> Figure:
    """Start a server, put a load on it, and return what it has used.

    Raises:
        RuntimeError: The server did not start, or the load was not finished.
    """
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        server = Server(target.command, Path(folder), target.env, settle_s=target.settle_s)
        try:
            return drive(server, scenario, target.load[scenario.kind])
        finally:
            server.stop()


def drive(server: Server, scenario: Scenario, flags: Sequence[str]) -> Figure:
    """Put a load on a server, and return what it has used.

    Args:
        flags: How the generator talks to it.

    Raises:
        RuntimeError: The load was not finished.
    """
    command = ["taskset", "-c", str(cores()[1]), str(BUILD / "load"), "--port", str(server.port), "--sync"]
    empty = server.sample()
    load = subprocess.Popen(
        [*command, "--max-s", "90", *scenario.flags, *flags],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        bufsize=1,
    )
    assert load.stdin is not None
    try:
        _line(load, "READY", READY_S)
        before = server.sample()
        load.stdin.write("GO\n")
        load.stdin.flush()
        done = _line(load, "DONE", DONE_S)
        after = server.sample()
        load.stdin.write("EXIT\n")
        load.stdin.flush()
        load.wait(10)
    finally:
        if load.poll() is None:
            load.kill()
            load.wait()
        for stream in (load.stdin, load.stdout, load.stderr):
            if stream is not None:
                stream.close()
    wrong = abs(done["lost"]) + done["dup"] + done["ooo"] + done["http_bad"] + done["n"] - done["opened"]
    used, count = after.cpu_s - before.cpu_s, done["deliveries"]
    memory = 0.0
    if scenario.unit == "connection":
        used, count = before.cpu_s - empty.cpu_s, done["opened"]
        memory = (before.memory - empty.memory) / max(1, count)
    elif scenario.unit == "second":
        count = done["elapsed_s"]
    delay = (after.delay_s - empty.delay_s) / max(1e-9, after.cpu_s - empty.cpu_s)
    return Figure(
        used * 1e6 / max(1e-9, count), done["lat_p50_us"] / 1e3, done["lat_p99_us"] / 1e3, memory, delay, wrong
    )


def _line(load: subprocess.Popen[str], word: str, timeout_s: float) -> dict[str, Any]:
    """Return what the generator says behind a word."""
    assert load.stdout is not None
    end = time.monotonic() + timeout_s
    while select.select([load.stdout], [], [], max(0.0, end - time.monotonic()))[0]:
        line = load.stdout.readline()
        if not line:
            break
        if line.startswith(word):
            found: dict[str, Any] = json.loads(line[len(word) :])
            return found
    said = load.stderr.read()[-300:] if load.stderr is not None and load.poll() is not None else ""
    raise RuntimeError(f"the load generator did not say {word}: {said}")
