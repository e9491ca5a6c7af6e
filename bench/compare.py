"""Trunkline beside C floors and other servers, on the rig that all figures of this project come from.

    python bench/compare.py [--rounds 3] [--rig ../shared/bench] [--peers bun,ws,socket.io]

The rig (a C load generator pinned to one core, the server pinned to the other) is not part of this repository; its
README says how to install the peers. Peers that are not there are left out, and said to be. Ratios are to what was
measured in the same round. Exits with 1 if a budget is missed.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

BUILD = Path(os.environ.get("BENCH_BUILD", "/tmp/bench"))
SCENARIOS = "w1,w50,r200,n5k,echo,idle"
FLOORS = ["limit-loop", "limit-coalesce"]
OURS = ["trunkline", "trunkline-sse"]

Run = dict[str, Any]


def available(peer: str) -> bool:
    """Whether the rig can start this peer here."""
    modules = BUILD / "npm" / "node_modules"
    return (modules / peer).is_dir() if peer in ("bun", "ws", "socket.io") else shutil.which(peer) is not None


def measure(rig: Path, peers: list[str], rounds: int) -> list[Run]:
    """Run the rig; one record per run."""
    tag = time.strftime("trunkline-%m%d-%H%M%S")
    command = [sys.executable, "run.py", "--peers", ",".join(peers), "--scen", SCENARIOS, "--rounds", str(rounds)]
    subprocess.run([*command, "--tag", tag], cwd=rig, check=True)
    runs: list[Run] = json.loads((BUILD / "results" / f"{tag}.json").read_text("utf-8"))["runs"]
    return runs


def ratios(runs: list[Run], peer: str, scenario: str, floor: str) -> list[float]:
    """CPU of a peer against a floor of the same round; the floor `ctl` is the C loop measured just before."""
    found = []
    for run in runs:
        if (run["peer"], run["scen"]) == (peer, scenario):
            if floor == "ctl":
                found.append(run["cpu_us"] / run["ctl_us"])
            else:
                same = (other for other in runs if other["round"] == run["round"])
                base = next(o for o in same if (o["peer"], o["scen"]) == (floor, scenario))
                found.append(run["cpu_us"] / base["cpu_us"])
    return found


def values(runs: list[Run], peer: str, scenario: str, key: str) -> list[float]:
    return [run[key] for run in runs if (run["peer"], run["scen"]) == (peer, scenario)]


def main() -> int:
    """Measure, print the budgets, and say whether all were met."""
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    arguments.add_argument("--rounds", type=int, default=3)
    arguments.add_argument("--rig", type=Path, default=Path(__file__).parents[2] / "shared" / "bench")
    arguments.add_argument("--peers", default="bun,ws,socket.io")
    chosen = arguments.parse_args()
    peers = [peer for peer in chosen.peers.split(",") if available(peer)]
    for peer in set(chosen.peers.split(",")) - set(peers):
        print(f"left out: {peer} is not installed (see the rig's README)")
    runs = measure(chosen.rig, [*FLOORS, *OURS, *peers], chosen.rounds)
    wrong = [run for run in runs if not run["delivered_ok"]]
    budgets = [
        ("w1: CPU per delivery, × C loop", ratios(runs, "trunkline", "w1", "ctl"), 1.3),
        ("w50: CPU per delivery, × C coalescing", ratios(runs, "trunkline", "w50", "limit-coalesce"), 1.6),
        ("SSE w1: the same, × C loop", ratios(runs, "trunkline-sse", "w1", "ctl"), 2.0),
        ("SSE w50: the same, × C coalescing", ratios(runs, "trunkline-sse", "w50", "limit-coalesce"), 2.0),
        ("stored and acked publish, × C echo", ratios(runs, "trunkline", "echo", "limit-loop"), 4.5),
        ("idle: bytes per connection", values(runs, "trunkline", "idle", "rss_per_conn"), 2500.0),
        ("idle: µs per connect", values(runs, "trunkline", "idle", "conn_cpu_us"), 200.0),
    ]
    print("\n| budget | at most | median | range | |\n| --- | --- | --- | --- | --- |")
    met = not wrong
    for name, found, most in budgets:
        median = statistics.median(found)
        met &= median <= most
        verdict = "met" if median <= most else "MISSED"
        print(f"| {name} | {most:g} | {median:.4g} | {min(found):.4g} to {max(found):.4g} | {verdict} |")
    for run in wrong:
        print(f"not everything was delivered: {run['peer']} {run['scen']}")
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
