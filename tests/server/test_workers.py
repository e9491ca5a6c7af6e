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

from tests.client.support import check, everybody, finish
from tests.support import ROOT, WAIT_S, Server

WORKERS = 3


def workers_of(server: Server) -> list[int]:
    """The processes that serve."""
    pid = server.process.pid
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text("ascii").split()]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with Server("--workers", str(WORKERS), store=f"sqlite:///{tmp_path}/log.db", folder=tmp_path) as server:
        said = f"Trunkline on {server.url}, {WORKERS} workers, data in {tmp_path}/log.db; {server.metrics_said}\n"
        assert server.line() == said
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
    # That it died is noticed by the others, too.
    said = [line for line in errors.splitlines() if " node " not in line]
    assert len(said) == 1, said
    assert f"worker {before[1]} has ended (-9): another one is started" in said[0]
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
                return int((await response.json())["count"])

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


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("delay_s", [0.0, 0.1, 0.3, 0.6])
async def test_a_stop_while_workers_are_replaced_leaves_none(server: Server, number: int, delay_s: float) -> None:
    """Neither the old one, nor the new one, nor one of which only the process has been made."""
    known = set(workers_of(server))
    server.process.send_signal(signal.SIGHUP)
    end = time.monotonic() + delay_s
    while time.monotonic() < end:
        known |= set(workers_of(server))
        await asyncio.sleep(0.01)
    server.process.send_signal(number)
    while server.process.poll() is None:
        known |= set(workers_of(server))
        await asyncio.sleep(0.001)
        assert time.monotonic() < end + WAIT_S
    code, _, errors = server.stop()
    assert (code, "Traceback" in errors) == (0, False), errors
    assert not [pid for pid in known if Path(f"/proc/{pid}").exists()]


async def test_a_second_signal_waits_for_nobody(server: Server, http: aiohttp.ClientSession) -> None:
    """Also not for polls that wait and streams that do not read; the log is closed in order all the same."""
    async with AsyncExitStack() as stack:
        for _ in range(6):
            await stack.enter_async_context(http.get(f"{server.url}/rooms/a", headers={"Accept": "text/event-stream"}))
        began = time.monotonic()
        for _ in range(3):
            server.process.send_signal(signal.SIGINT)
            await asyncio.sleep(0.1)  # as a person does
        code, _, errors = await asyncio.to_thread(server.stop)
        assert time.monotonic() - began < 3
        assert (code, "Traceback" in errors) == (0, False), errors


async def test_a_second_signal_ends_a_worker_that_hears_none(server: Server) -> None:
    stopped = workers_of(server)[0]
    os.kill(stopped, signal.SIGSTOP)
    server.process.send_signal(signal.SIGTERM)
    async with asyncio.timeout(WAIT_S):
        while len(workers_of(server)) > 1:
            await asyncio.sleep(0.05)
    began = time.monotonic()
    code, _, errors = await asyncio.to_thread(server.stop)
    assert time.monotonic() - began < 9
    assert (code, "Traceback" in errors) == (0, False), errors
    assert not Path(f"/proc/{stopped}").exists()


async def test_connections_are_shared_out_evenly(server: Server) -> None:
    """However they come; and a worker that is stopped takes none, and holds nobody up."""

    async def connect(count: int) -> list[asyncio.StreamWriter]:
        writers = []
        for _ in range(count):
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            writer.write(b"GET /rooms/a HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n")
            async with asyncio.timeout(WAIT_S):
                await reader.readuntil(b"\n\n")
            writers.append(writer)
        return writers

    def counts_of(pid: int) -> int:
        return sum(link.readlink().name.startswith("socket:") for link in Path(f"/proc/{pid}/fd").iterdir())

    def counts() -> list[int]:
        return sorted(map(counts_of, workers_of(server)))

    writers = await connect(600)
    few, *_, many = counts()
    assert many - few < 0.3 * 600 / WORKERS
    stopped = workers_of(server)[0]
    os.kill(stopped, signal.SIGSTOP)
    try:
        await asyncio.sleep(1)  # a worker that does not post for so long does not count
        before = counts_of(stopped)
        writers += await connect(300)
        assert counts_of(stopped) == before
    finally:
        os.kill(stopped, signal.SIGCONT)
    for writer in writers:
        writer.transport.abort()


async def test_full_is_said_when_all_are_full(tmp_path: Path) -> None:
    """As long as one worker has room, nobody is refused."""
    config = tmp_path / "trunkline.toml"
    config.write_text("[limits]\nconnections_max = 40\n")
    arguments = ("--workers", str(WORKERS), "--config", str(config))
    with Server(*arguments, store=f"sqlite:///{tmp_path}/log.db") as server:
        server.line()
        writers, answers = [], []
        for _ in range(WORKERS * 40 + 10):
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            writer.write(b"GET /rooms/a HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n")
            async with asyncio.timeout(WAIT_S):
                answers.append(int((await reader.readline()).split()[1]))
            writers.append(writer)
        served = answers.index(503)
        assert served >= WORKERS * 40 - 2  # what the parent's own questions took
        assert set(answers[served:]) == {503}
        for writer in writers:
            writer.transport.abort()
