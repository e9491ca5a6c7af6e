"""A run: clients, faults, and what the checker says. See `--help`."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import msgspec

from tests.chaos.checker import History, Said, check
from tests.chaos.faults import FAULTS
from tests.chaos.house import NODES, House
from tests.chaos.network import alone
from tests.client.support import ALL
from tests.support import ROOT, TRANSPORTS, until
from trunkline.client import ClientError, publish

ROOMS = ("a", "b", "c", "d")
OURS = ALL.split(",")
PLAIN = [f"plain-{transport}" for transport in TRANSPORTS]
PACE_MS = 250
REST_S = 3.0  # between two faults
SETTLE_S = 90.0  # for everybody to have everything, when all is mended


class Crowd:
    """Clients as processes, and their histories, which are read while they are written."""

    def __init__(self, stack: ExitStack, house: House, folder: Path, count: int, copies: int) -> None:
        self.histories: dict[str, History] = {}
        self.counts: dict[str, int] = {}
        self._files: list[tuple[Any, str]] = []
        self._processes: list[subprocess.Popen[bytes]] = []
        self._moved = (0, time.monotonic())
        plan = [
            {"name": f"{room}-python-{transport}-{n}", "room": room, "transport": transport, "count": count}
            for room in ROOMS for transport in OURS for n in range(copies)
        ]  # fmt: skip
        plain = [
            {"name": f"{room}-{transport}", "room": room, "transport": transport, "count": 0}
            for room in ROOMS for transport in PLAIN
        ]  # fmt: skip
        command = [sys.executable, "-m", "tests.chaos.crowd", house.url, str(PACE_MS), json.dumps(plan + plain)]
        self._start(stack, folder / "python.jsonl", command, "")
        for room, transport in zip(ROOMS, OURS, strict=True):
            name = f"{room}-javascript-{transport}"
            plan.append({"name": name, "room": room, "transport": transport, "count": count})
            command = ["node", str(ROOT / "client/test/agent.mjs"), house.url, room, name, transport, str(count)]
            self._start(stack, folder / f"{name}.jsonl", command, name)
        for client in plan + plain:
            name, number = str(client["name"]), client["count"]
            assert isinstance(number, int)
            self.histories[name] = History(name, str(client["room"]))
            self.counts[name] = number

    def _start(self, stack: ExitStack, path: Path, command: list[str], who: str) -> None:
        with path.open("wb") as file, path.with_suffix(".log").open("wb") as errors:
            environment = os.environ | {"PACE_MS": str(PACE_MS)}
            process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=file, stderr=errors, cwd=ROOT, env=environment
            )
        stack.callback(process.communicate)
        stack.callback(process.kill)
        self._processes.append(process)
        self._files.append((stack.enter_context(path.open("rb")), who))

    def read(self) -> None:
        """What they have said since the last time."""
        assert all(process.poll() is None for process in self._processes), "a client has ended: see its log"
        decode = msgspec.json.decode
        for file, who in self._files:
            while line := file.readline():
                if not line.endswith(b"\n"):
                    file.seek(-len(line), os.SEEK_CUR)
                    break
                record = decode(line)
                self.histories[record.get("who", who)].feed(record)

    def stuck(self, wait_s: float) -> bool:
        """Whether nobody has got anything for so long."""
        if self.deliveries > self._moved[0]:
            self._moved = (self.deliveries, time.monotonic())
        return time.monotonic() > self._moved[1] + wait_s

    @property
    def deliveries(self) -> int:
        return sum(history.deliveries for history in self.histories.values())

    @property
    def acked(self) -> int:
        return sum(len(history.stored) for history in self.histories.values())

    @property
    def violations(self) -> list[str]:
        return [violation for history in self.histories.values() for violation in history.violations]


def log_of(url: str, room: str) -> list[Said]:
    """A room's whole log, as a node tells it."""
    log: list[Said] = []
    since = "start"
    while True:
        with urllib.request.urlopen(f"{url}/rooms/{room}?since={since}&limit=1000", timeout=20) as answer:
            page = json.load(answer)
        assert page["gap"] is None, page["gap"]
        log += [(message["data"][0], message["data"][1]) for message in page["messages"]]
        since = page["next"]
        if not page["messages"]:
            return log


def figures(numbers: list[int]) -> str:
    """Median, 99th percentile and largest, in ms."""
    numbers = sorted(numbers)
    if not numbers:
        return "nothing"
    return f"{numbers[len(numbers) // 2]:>7,} {numbers[int(len(numbers) * 0.99)]:>7,} {numbers[-1]:>7,}"


def recovery(histories: list[History], since_ms: int) -> list[tuple[int, str]]:
    """How long each client had to wait for the first message that was stored after a moment, in ms, and its name."""
    waits = []
    for history in histories:
        first = next(((at, late) for at, late in history.late if at >= since_ms), None)
        if first is not None:
            waits.append((first[0] + first[1] - since_ms, history.name))
    return waits


def run(seconds: float, chosen: list[str], seed: int, copies: int, folder: Path) -> int:
    """The number of violations. It ends after so many *seconds*, and not before each *chosen* fault; none means any."""
    names = chosen or list(FAULTS)
    rng = random.Random(seed)
    mended: list[tuple[str, int]] = []
    with House(folder) as house, ExitStack() as stack:
        count = round(seconds * 1000 / PACE_MS)
        crowd = Crowd(stack, house, folder, count, copies)
        print(f"{len(crowd.histories)} clients, {sum(crowd.counts.values()):,} messages, seed {seed}", flush=True)

        def begun() -> bool:
            crowd.read()
            return all(history.deliveries for history in crowd.histories.values())

        until(begun, "everybody's first message", 60)
        began = time.monotonic()
        order: list[str] = []
        while time.monotonic() - began < seconds or len(mended) < len(chosen):
            if not order:
                order = rng.sample(names, len(names)) if len(names) == len(FAULTS) else names[:]
            name = order.pop(0)
            FAULTS[name](house, rng)
            mended.append((name, round(time.time() * 1000)))
            end = time.monotonic() + REST_S
            while time.monotonic() < end:
                crowd.read()
                time.sleep(0.2)
            print(
                f"{time.monotonic() - began:5.0f} s  {crowd.deliveries:>9,} deliveries, {crowd.acked:>7,} acked,"
                f" {len(crowd.violations)} violations; {name}",
                flush=True,
            )

        def settled() -> bool:
            crowd.read()
            return all(len(history.stored) >= crowd.counts[name] for name, history in crowd.histories.items())

        def ended() -> bool:
            crowd.read()
            return all(history.ended for history in crowd.histories.values())

        with contextlib.suppress(AssertionError, ClientError):  # the checker will say who lacks what
            while not settled() and not crowd.stuck(SETTLE_S):
                time.sleep(0.2)
            for room in ROOMS:
                publish(house.url, room, ["end", 1], id="end")
            until(ended, "all have the last message", SETTLE_S)
        nodes = [f"http://{house.addresses[name]}:8000" for name in NODES]
        logs = {room: log_of(nodes[0], room) for room in ROOMS}
        histories = list(crowd.histories.values())
        violations = check(histories, logs, crowd.counts)
        for node in nodes[1:]:
            violations += [f"{room}: {node} has another log" for room in ROOMS if log_of(node, room) != logs[room]]
        taken_back = sum(history.taken_back for history in histories)
        gaps = sum(sum(history.gaps.values()) for history in histories)
        print(
            f"\n{crowd.deliveries:,} deliveries of {sum(map(len, logs.values())):,} messages; {crowd.acked:,} acked;"
            f" {len(mended)} faults; {gaps} gaps, {taken_back} messages taken back before they were acked;"
            f" {len(violations)} violations"
        )
        print(f"\n{'waited after it was mended, ms':<58} median    p99     max")
        for name in FAULTS:
            waits = [wait for fault, at in mended if fault == name for wait in recovery(histories, at)]
            if waits:
                print(f"{name:<58}{figures([wait for wait, _ in waits])}  {max(waits)[1]}")
        for violation in violations[:50]:
            print(f"VIOLATION {violation}")
    return len(violations)


def main() -> int:
    """In a network namespace of its own."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--seed", type=int, default=random.randrange(1_000_000))
    parser.add_argument("--copies", type=int, default=2, help="Python clients for each room and transport")
    parser.add_argument(
        "--fault", action="append", choices=list(FAULTS), help="only this one, and once at least; may be repeated"
    )
    parser.add_argument("--folder", type=Path, help="where logs and histories are kept")
    parser.add_argument("--alone", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if not arguments.alone:
        command = [sys.executable, "-m", "tests.chaos", *sys.argv[1:], "--seed", str(arguments.seed), "--alone"]
        return subprocess.run(alone(command), check=False).returncode
    folder = arguments.folder or Path(tempfile.mkdtemp(prefix="chaos-"))
    folder.mkdir(exist_ok=True)
    violations = run(arguments.seconds, arguments.fault or [], arguments.seed, arguments.copies, folder)
    if arguments.folder is None and not violations:
        shutil.rmtree(folder)
    elif violations:
        print(f"histories and logs are in {folder}")
    return min(violations, 1)


if __name__ == "__main__":
    sys.exit(main())
