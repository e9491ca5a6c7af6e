"""`--workers`: several processes behind one address, with one log (R33)."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import aiohttp
import pytest

from tests.clients.support import check, everybody, finish
from tests.support import ROOT, WAIT_S, Server

WORKERS = 3


def workers_of(server: Server) -> list[int]:
    """The processes that serve."""
    pid = server.process.pid
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text("ascii").split()]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with Server("--workers", str(WORKERS), store=f"sqlite:///{tmp_path}/log.db", folder=tmp_path) as server:
        assert server.line() == (f"Trunkline on {server.url}, {WORKERS} workers, data in {tmp_path}/log.db\n")
        yield server


async def until_workers(server: Server, others_than: list[int]) -> list[int]:
    """As many as there should be, none of them one of these."""
    end = time.monotonic() + WAIT_S
    while True:
        pids = workers_of(server)
        if len(pids) == WORKERS and not set(pids) & set(others_than):
            return pids
        assert time.monotonic() < end, pids
        await asyncio.sleep(0.05)


async def test_any_worker_serves_anybody(server: Server, http: aiohttp.ClientSession) -> None:
    """All clients on all transports, a worker killed, all of them replaced in turn: each message once, in order."""
    async with AsyncExitStack() as stack:
        agents, counts = await everybody(stack, server.url, 40)
        before = workers_of(server)
        os.kill(before[1], signal.SIGKILL)
        await until_workers(server, before[1:2])
        server.process.send_signal(signal.SIGHUP)
        await until_workers(server, before)
        await finish(agents, counts)
    check(agents, counts)
    pids = workers_of(server)
    code, _, errors = server.stop()
    assert code == 0
    said = [line for line in errors.splitlines() if not line.startswith("node ")]  # that died is noticed by the others
    assert said == [f"worker {before[1]} has ended (-9): another one is started"]
    assert not [pid for pid in pids if Path(f"/proc/{pid}").exists()]


async def test_presence_of_all_workers(server: Server, http: aiohttp.ClientSession) -> None:
    """Whoever asks is told of everybody, whichever worker they are at; and who was at one that died is gone."""
    async with AsyncExitStack() as stack:
        for n in range(12):
            await stack.enter_async_context(
                http.ws_connect(
                    f"{server.url}/rooms/a?client=client-{n:02}&presence=1", headers={"Connection": "Upgrade"}
                )
            )

        async def count() -> int:
            async with aiohttp.ClientSession() as other, other.get(f"{server.url}/rooms/a/presence") as response:
                return (await response.json())["count"]

        async with asyncio.timeout(WAIT_S):
            while [await count() for _ in range(6)] != [12] * 6:
                await asyncio.sleep(0.05)
    async with asyncio.timeout(WAIT_S):
        while [await count() for _ in range(6)] != [0] * 6:
            await asyncio.sleep(0.1)


async def test_workers_end_with_their_parent(server: Server) -> None:
    pids = workers_of(server)
    server.process.kill()
    end = time.monotonic() + WAIT_S
    while any(Path(f"/proc/{pid}").exists() for pid in pids):
        assert time.monotonic() < end
        await asyncio.sleep(0.05)


def run(*arguments: str, **environment: str) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-m", "trunkline", "serve", "--port", "0", *arguments],
        check=False,
        capture_output=True,
        text=True,
        timeout=WAIT_S,
        cwd=ROOT,
        env=os.environ | environment,
    )
    return done.returncode, done.stderr


def test_what_cannot_be() -> None:
    """Said in one line, before anything is served."""
    code, errors = run("--workers", "2", "--store", "memory:")
    assert (code, len(errors.splitlines())) == (2, 1)
    assert "memory: lives in one process" in errors
    code, errors = run("--workers", "2", "--store", "sqlite:////nowhere/log.db")
    assert (code, len(errors.splitlines())) == (2, 1)
    assert "does not exist" in errors
    assert run("--workers", "0")[0] == 2
    assert run(TRUNKLINE_WORKER="77,x")[0] == 2


async def test_a_worker_that_cannot_be_started(tmp_path: Path) -> None:
    """Its place is not given up: when the interpreter is there again, as after an upgrade, so is the worker."""
    interpreter = tmp_path / "python"
    interpreter.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    interpreter.chmod(0o755)
    code = "import sys; sys.executable = sys.argv.pop(1); from trunkline.cli import main; sys.exit(main())"
    store = f"sqlite:///{tmp_path}/log.db"
    command = [sys.executable, "-c", code, str(interpreter), "serve", "--port", "PORT", "--workers", str(WORKERS)]
    with Server(command=[*command, "--store", store]) as server:
        before = await until_workers(server, [])
        interpreter.rename(tmp_path / "away")
        os.kill(before[0], signal.SIGKILL)
        while "cannot be started" not in (line := await asyncio.to_thread(server.error_line)):
            assert line
        (tmp_path / "away").rename(interpreter)
        await until_workers(server, before[:1])
        assert server.stop()[0] == 0
