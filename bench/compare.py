"""Trunkline beside C floors and other servers: every figure of README.md in this folder comes from here.

    python bench/compare.py                                              all scenarios, five rounds
    python bench/compare.py --scenarios w1,echo --targets trunkline,bun  some of them
    python bench/compare.py --before /path/to/.venv/bin/python           and another checkout in the same rounds

The server runs on one core, the load generator (rig/load.c) on another, over loopback. Each round measures everything
once; ratios are to a floor (rig/floor.c) of the same round, because the machines that this runs on are shared.
Exits with 1 if a budget is missed, or a message was lost.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

from rig.intervals import with_interval
from rig.measure import Figure, build, measure
from rig.scenarios import SCENARIOS
from rig.targets import TARGETS, Target, of_checkout

from trunkline.server.interpreter import is_optimised

ROUNDS = 5

_OTHERS = ("w1", "w50", "r200", "echo", "connect")
_FORMS = ("w1", "w50", "echo", "connect")
_HTTP = ("poll", "post", "long", "guide")
# What a target is asked; all that it can, if it is not here.
MEASURED: dict[str, tuple[str, ...]] = {
    "floor": ("w1", "r200", "echo", "connect", "sse-connect"),
    "coalescing": ("w50", "r200"),
    "trunkline-memory": ("echo", "post"),
    "trunkline-deflate": ("deflate-w1",),
    "trunkline-workers": _FORMS,
    "trunkline-redis": _FORMS,
    "mounted": (*_OTHERS, *_HTTP, "sse-w1", "sse-w50"),
    "run": (*_FORMS, *_HTTP, "sse-w50"),
    "run-wrapped": (*_FORMS, *_HTTP, "sse-w50"),
    "fastapi": (*_OTHERS, "sse-w1", "sse-w50"),
    "bun": _OTHERS,
    "ws": _FORMS[:3],
    "socket.io": _FORMS,
    "socketio": _FORMS,
    "socketio-memory": _FORMS,
    "socketio-recovery": _FORMS[:2],
    "python-socketio": _FORMS,
    "centrifugo": _OTHERS,
    "before": (*_OTHERS, *_HTTP),
}

# Of each scenario: what our figure is a ratio to, and what it is to be at most.
BUDGETS: dict[tuple[str, str], tuple[str, str, float]] = {
    ("trunkline", "w1"): ("floor", "w1", 1.3),
    ("trunkline", "w50"): ("bun", "w50", 1.0),
    ("trunkline", "sse-w1"): ("floor", "w1", 2.0),
    ("trunkline", "sse-w50"): ("coalescing", "w50", 2.0),
    ("trunkline", "echo"): ("floor", "echo", 4.0),
    ("socketio", "w1"): ("socket.io", "w1", 0.75),
    ("socketio", "w50"): ("socket.io", "w50", 0.5),
    ("trunkline", "connect"): ("floor", "connect", 5.5),
    ("trunkline", "poll"): ("floor", "echo", 9.5),
    ("trunkline", "post"): ("floor", "echo", 7.0),
    ("trunkline", "long"): ("floor", "echo", 13.5),
    ("mounted", "w1"): ("fastapi", "w1", 0.8),
    ("mounted", "w50"): ("fastapi", "w50", 0.15),
    ("mounted", "sse-w1"): ("fastapi", "sse-w1", 0.8),
    ("mounted", "sse-w50"): ("fastapi", "sse-w50", 0.15),
    ("run-wrapped", "w1"): ("trunkline", "w1", 1.05),
    ("run-wrapped", "w50"): ("trunkline", "w50", 1.05),
    ("run-wrapped", "echo"): ("trunkline", "echo", 1.05),
    ("run", "w1"): ("trunkline", "w1", 1.05),
    ("run", "echo"): ("trunkline", "echo", 1.05),
    ("run", "connect"): ("trunkline", "connect", 1.05),
    ("run", "poll"): ("trunkline", "poll", 1.05),
}
DELAY_BUDGET = ("trunkline", "r200", "bun", 1.3)  # of the median delay
MEMORY_MAX = 2500.0  # bytes for each connection

Key = tuple[str, str]  # target, scenario


def plan(targets: list[str], scenarios: list[str]) -> list[Key]:
    """Return what each round measures, in this order: floors stand before what is compared with them."""
    return [
        (target, name)
        for name in scenarios
        for target in targets
        if SCENARIOS[name].kind in TARGETS[target].load and name in MEASURED.get(target, SCENARIOS)
    ]


def main() -> int:
    """Measure, print the tables, and say whether all budgets were met."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--scenarios", default=",".join(SCENARIOS))
    parser.add_argument("--targets", default=",".join(TARGETS))
    parser.add_argument("--before", help="the Python of another checkout's environment")
    parser.add_argument("--save", type=Path, help="where the figures are written, as JSON")
    chosen = parser.parse_args()
    build()
    if chosen.before:
        TARGETS["before"] = of_checkout(chosen.before)
        chosen.targets += ",before"
    scenarios = _known(parser, "scenario", chosen.scenarios, SCENARIOS)
    targets = [name for name in _known(parser, "target", chosen.targets, TARGETS) if _is_here(name, TARGETS[name])]
    rounds: list[dict[Key, Figure]] = []
    python = f"CPython {sys.version.split()[0]}, built {'with' if is_optimised() else 'without'} optimisations"
    print(f"{time.strftime('%Y-%m-%d')}, {python}, {chosen.rounds} rounds", flush=True)
    keys = plan(targets, scenarios)
    for number in range(chosen.rounds):
        figures: dict[Key, Figure] = {}
        for target, scenario in keys:
            try:
                figure = figures[target, scenario] = measure(TARGETS[target], SCENARIOS[scenario])
            except (RuntimeError, OSError) as error:
                print(f"{number} {target} {scenario}: {error}", file=sys.stderr, flush=True)
                continue
            note = f", WRONG {figure.wrong}" if figure.wrong else ""
            print(
                f"{number} {target} {scenario}: {figure.cpu_us:.2f} µs, p50 {figure.p50_ms:.1f} ms,"
                f" {figure.memory:.0f} B, waited {figure.delay:.0%}{note}",
                flush=True,
            )
        rounds.append(figures)
        if chosen.save:
            rows = [[number, *key, *figure] for number, figures in enumerate(rounds) for key, figure in figures.items()]
            chosen.save.write_text(json.dumps(rows), "utf-8")
    _print_figures(keys, rounds)
    return 0 if _print_budgets(rounds) else 1


def _known(parser: argparse.ArgumentParser, what: str, names: str, known: Iterable[str]) -> list[str]:
    found = names.split(",")
    for name in found:
        if name not in known:
            parser.error(f"there is no {what} {name!r}; there are {', '.join(known)}")
    return found


def _is_here(name: str, target: Target) -> bool:
    if not target.is_here():
        print(f"left out: {name} is not installed (bench/README.md)")
        return False
    return True


def _print_figures(keys: list[Key], rounds: list[dict[Key, Figure]]) -> None:
    print(
        "\nCPU of the server for each delivery, request or connection (`guide`: second);"
        " wrong: lost, doubled, out of order\n\n"
        "| scenario | server | µs | delay p50, ms | bytes a connection | wrong |\n| --- | --- | --- | --- | --- | --- |"
    )
    for key in sorted(keys, key=lambda key: list(SCENARIOS).index(key[1])):
        found = [figures[key] for figures in rounds if key in figures]
        if found:
            cpu = with_interval([figure.cpu_us for figure in found])
            p50 = _or_none(statistics.median(figure.p50_ms for figure in found), "{:.3g}")
            memory = _or_none(statistics.median(figure.memory for figure in found), "{:,.0f}")
            print(f"| {key[1]} | {key[0]} | {cpu} | {p50} | {memory} | {sum(f.wrong for f in found)} |")


def _or_none(value: float, form: str) -> str:
    return form.format(value) if value else "–"


def _ratios(rounds: list[dict[Key, Figure]], key: Key, base: Key) -> list[float]:
    return [figures[key].cpu_us / figures[base].cpu_us for figures in rounds if key in figures and base in figures]


def _print_budgets(rounds: list[dict[Key, Figure]]) -> bool:
    rows: dict[str, tuple[list[float], float]] = {}
    for key, (base, base_scenario, most) in BUDGETS.items():
        rows[f"{key[0]} {key[1]} / {base} {base_scenario}"] = (_ratios(rounds, key, (base, base_scenario)), most)
    target, scenario, base, most = DELAY_BUDGET
    delays = [
        figures[target, scenario].p50_ms / figures[base, scenario].p50_ms
        for figures in rounds
        if (target, scenario) in figures and (base, scenario) in figures
    ]
    rows[f"{target} {scenario} / {base}, median delay"] = (delays, most)
    memory = [figures["trunkline", "connect"].memory for figures in rounds if ("trunkline", "connect") in figures]
    rows["trunkline connect, bytes"] = (memory, MEMORY_MAX)
    before: dict[str, list[float]] = defaultdict(list)
    for figures in rounds:
        for (name, scenario), figure in figures.items():
            if name == "trunkline" and ("before", scenario) in figures:
                before[scenario].append(figure.cpu_us / figures["before", scenario].cpu_us)
    if any(values for values, _ in rows.values()) or before:
        print("\n| ratio | at most | median and 95 % interval | |\n| --- | --- | --- | --- |")
    met = True
    for name, (values, most) in rows.items():
        if values:
            is_met = statistics.median(values) <= most
            met &= is_met or len(values) == 1  # one round is a look, and no verdict
            verdict = "" if len(values) == 1 else "met" if is_met else "MISSED"
            print(f"| {name} | {most:g} | {with_interval(values)} | {verdict} |")
    for scenario, values in before.items():
        print(f"| trunkline {scenario} / before | | {with_interval(values)} | |")
    wrong = sum(figure.wrong for figures in rounds for (name, _), figure in figures.items() if name == "trunkline")
    if wrong:
        print(f"not everything was delivered: {wrong}")
    return met and not wrong


if __name__ == "__main__":
    sys.exit(main())
