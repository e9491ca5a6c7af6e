"""The chaos run, shortened (`make chaos` is the long one), and a checker that finds what it is for."""

import re
import subprocess
import sys
from typing import Any

import pytest

from tests.chaos.checker import History, Said, check
from tests.chaos.network import possible
from tests.redis_servers import needs_redis
from tests.support import ROOT

FAULTS = (
    "Redis dies, a replica takes over that lacks the end", "two nodes are killed",
    "the link between a node and Redis is cut", "all links to clients are slow",
)  # fmt: skip


@needs_redis
@pytest.mark.skipif(not possible(), reason="no network namespaces or TUN devices can be made here")
@pytest.mark.timeout(300)
def test_nothing_is_lost() -> None:
    """A fault of each kind, while 36 clients publish and read: nothing lost, repeated, reordered or unexplained."""
    command = [sys.executable, "-m", "tests.chaos", "--seconds", "25", "--copies", "1", "--seed", "5"]
    for name in FAULTS:
        command += ["--fault", name]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=280)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    deliveries, faults, violations = re.findall(
        r"([\d,]+) deliveries .*? (\d+) faults; .*? (\d+) violations", ended.stdout
    )[-1]
    assert int(deliveries.replace(",", "")) > 5000
    assert int(faults) >= len(FAULTS)
    assert violations == "0"


def message(offset: int, name: str, n: int) -> dict[str, Any]:
    return {"offset": offset, "data": [name, n], "at": 0, "seen": 0}


def gap(first: int, last: int, reason: str = "epoch") -> dict[str, Any]:
    return {"gap": {"epoch": "f", "from": first, "to": last, "reason": reason, "next": f"f.{first - 1}"}}


GOOD = [{"joined": {"epoch": "e", "head": 0}}, message(1, "a", 1), message(2, "b", 1), message(3, "a", 2)]
LOG: list[Said] = [("a", 1), ("b", 1), ("a", 2)]
STORED = [{"stored": 1, "offset": 1}, {"stored": 2, "offset": 3}]


def judged(records: list[dict[str, Any]], log: list[Said] = LOG) -> list[str]:
    history = History("a", "r")
    for record in records:
        history.feed(record)
    return check([history], {"r": log}, {"a": 2, "b": 1})


def test_the_checker_is_content() -> None:
    assert judged(GOOD + STORED) == []
    assert judged([*GOOD, gap(3, 3), message(3, "a", 2), *STORED]) == []  # taken back, and there again
    assert judged([*GOOD[:2], gap(1, 0), *GOOD, *STORED]) == []  # the whole room


@pytest.mark.parametrize(
    ("records", "log", "complaint"),
    [
        (GOOD[:-1] + STORED, LOG, "its end is at 2"),
        ([*GOOD[:2], message(3, "a", 2), *STORED], LOG, "came as 3 behind 1"),
        ([*GOOD, message(3, "a", 2), *STORED], LOG, "came as 3 behind 3"),
        ([*GOOD, message(4, "b", 1), *STORED], [*LOG, ("b", 1)], "came as 4 and as 2"),
        ([*GOOD, message(4, "b", 1), *STORED], [*LOG, ("b", 1)], "is in the log 2 times"),
        ([*GOOD[:2], message(2, "a", 2), *STORED], LOG, r"it holds \[\('a', 2\)\]"),
        (GOOD + STORED, [("a", 1), ("a", 2), ("b", 1)], "it holds"),
        ([*GOOD, *STORED], [("a", 2), ("b", 1), ("a", 1)], "a's 2 is in the log behind its 0"),
        (GOOD + STORED[:1], LOG, "1 of 2 were acked"),
        ([*GOOD, STORED[0], {"stored": 2, "offset": 2}], LOG, "its 2 was acked at 2, and is not there"),
        ([*GOOD, *STORED, {"stored": 1, "offset": 2}], LOG, "was acked at 1, then"),
        ([*GOOD, *STORED, {"refused": 2, "code": "x"}], LOG, "it was refused"),
        ([*GOOD, gap(3, 3, "trimmed"), *STORED], LOG, "nothing explains"),
        ([*GOOD, gap(4, 5), *STORED], LOG, "nothing explains"),
        ([*GOOD, gap(2, 2), *STORED], LOG, "nothing explains"),
        ([*GOOD, gap(3, 3), *STORED], LOG, "its end is at 2"),
    ],
)  # fmt: skip
def test_the_checker_complains(records: list[dict[str, Any]], log: list[Said], complaint: str) -> None:
    """Of everything that must not be."""
    assert any(re.search(complaint, violation) for violation in judged(records, log)), judged(records, log)
