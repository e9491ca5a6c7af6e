"""Autobahn's WebSocket cases against our codec: `make conformance`, or with globs, `bench/conformance.py '1.*' 9.7.1`.

The package kosoku runs the case files of the Autobahn test suite. Prints one line a group, as docs/conformance.md has
it, and every case that is not OK. Exit code 1 if a case failed, or was judged less than strict.
"""

from __future__ import annotations

import argparse
import asyncio
import re
import subprocess
import sys
import time
from collections import Counter, defaultdict
from typing import Any

import kosoku

GROUPS = {
    1: "framing",
    2: "ping and pong",
    3: "reserved bits",
    4: "opcodes",
    5: "fragmentation",
    6: "UTF-8",
    7: "closing",
    9: "limits and performance",
    10: "fragmentation by the network",
    12: "compression",
    13: "compression, other parameters",
}
# Outside these a case that is not OK is a fault. The standard leaves open what they look at.
HARMLESS = {"OK", "INFORMATIONAL"}


def verdict(result: Any) -> str:
    """The worse of how the messages went and how the closing went."""
    behaviors: list[str] = [result.behavior.value, result.behavior_close.value]
    return next((behavior for behavior in behaviors if behavior not in HARMLESS), behaviors[0])


async def run(url: str, cases: list[str] | None) -> list[Any]:
    """All cases' results, also if some failed."""
    try:
        return list(await kosoku.run_fuzzingclient(url, cases, concurrency=1))
    except kosoku.FailureError as error:
        return list(error.results)


def table(results: list[Any]) -> list[str]:
    """The summary, in Markdown."""
    groups: defaultdict[int, Counter[str]] = defaultdict(Counter)
    for result in results:
        groups[int(result.case_id.split(".")[0])][verdict(result)] += 1
    lines = ["| group | cases | OK | informational | other |", "| --- | --- | --- | --- | --- |"]
    for group, counts in sorted(groups.items()):
        other = counts.total() - counts["OK"] - counts["INFORMATIONAL"]
        name = f"{group} {GROUPS.get(group, '')}".strip()
        lines.append(f"| {name} | {counts.total()} | {counts['OK']} | {counts['INFORMATIONAL']} | {other} |")
    return lines


def main() -> int:
    """Run against a server of our own, or one that is named."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("cases", nargs="*", help="case ids or globs; all if left out")
    parser.add_argument("--url", help="a WebSocket echo that runs already")
    arguments = parser.parse_args()
    command = [sys.executable, "-m", "trunkline", "serve", "--port", "0", "--store", "memory:"]
    server = None
    url = arguments.url
    if url is None:
        server = subprocess.Popen([*command, "--echo", "/echo", "--deflate"], stdout=subprocess.PIPE, text=True)
        assert server.stdout is not None
        match = re.search(r"http://(\S+?),", server.stdout.readline())
        if match is None:
            print("the server did not start", file=sys.stderr)
            return 1
        url = f"ws://{match[1]}/echo"
    began = time.monotonic()
    try:
        results = asyncio.run(run(url, arguments.cases or None))
    finally:
        if server is not None:
            server.terminate()
            server.wait()
    print("\n".join(table(results)))
    print(f"\n{len(results)} cases in {time.monotonic() - began:.0f} s")
    faults = [result for result in results if verdict(result) not in HARMLESS]
    for result in faults:
        print(f"{result.case_id}: {verdict(result)}: {result.result} {result.result_close}")
    return 1 if faults or not results else 0


if __name__ == "__main__":
    sys.exit(main())
