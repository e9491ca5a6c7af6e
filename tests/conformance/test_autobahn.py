"""Autobahn's cases: those that take seconds. `make conformance` runs all 517."""

import asyncio
from collections.abc import Iterator

import kosoku
import pytest
from bench.conformance import HARMLESS, run, verdict

from tests.support import Server

# Per group: how many cases match. A glob that matches nothing would be a test that cannot fail.
QUICK = {
    "framing to closing": (["1.*", "2.*", "3.*", "4.*", "5.*", "6.*", "7.*", "10.*"], 247),
    "limits": (["9.1.1", "9.1.6", "9.2.6", "9.3.1", "9.4.9", "9.5.1", "9.6.6", "9.7.6", "9.8.1"], 9),
    "compression": (["12.*.2", "13.*.2", "12.1.11"], 13),
}


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with Server("--echo", "/echo", "--deflate") as running:
        yield running


@pytest.mark.parametrize("group", QUICK)
async def test_cases(server: Server, group: str) -> None:
    globs, count = QUICK[group]
    async with asyncio.timeout(110):
        results = await run(f"ws://127.0.0.1:{server.port}/echo", globs)
    assert len(results) == count
    assert {result.case_id: verdict(result) for result in results if verdict(result) not in HARMLESS} == {}


async def test_it_would_notice(server: Server) -> None:
    """Against something that is no echo, a case fails."""
    with pytest.raises(kosoku.FailureError):
        await kosoku.run_fuzzingclient(f"ws://127.0.0.1:{server.port}/connect", ["1.1.2"])
