"""`trunkline dev`: a server to develop against, whose network can be made worse by hand."""

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support import WAIT_S, free_port, until
from trunkline.client import publish
from trunkline.testing.dev import HELP, FaultPrompt
from trunkline.testing.live_server import LiveServer
from trunkline.testing.proxy import FAULTS


@pytest.fixture(scope="module")
def server() -> Iterator[LiveServer]:
    with LiveServer() as running:
        yield running


def answers(server: LiveServer, *lines: str) -> list[str]:
    said: list[str] = []
    FaultPrompt(server, said.append).run(lines)
    return said


def test_faults_are_switched_by_their_names(server: LiveServer) -> None:
    assert answers(server, "cut", "status", "cut", "delay 0.01", "delay 0.02", "status", "mend", "status") == [
        "cut: until you type cut again",
        "wrong: cut; connections: 0",
        "cut is over",
        "delay 0.01: until you type delay again",
        "delay 0.02: until you type delay again",
        "wrong: delay; connections: 0",
        "all is well",
        "wrong: nothing; connections: 0",
    ]


def test_what_happens_once(server: LiveServer) -> None:
    assert answers(server, "reset", "restart", "kill", "") == [
        "all connections are broken",
        "the server is back",
        "the server is back",
    ]
    assert publish(server.url, "r", 1) >= 1


def test_what_is_not_understood_is_said(server: LiveServer) -> None:
    assert answers(server, "explode", "delay", "delay soon", "cut 3", "delay nan", "help", "quit", "status") == [
        "explode is no command: type help",
        "delay takes 1 argument: type help",
        "delay takes 1 argument: type help",
        "cut takes no arguments: type help",
        "a delay is 0 to 3600 seconds, not nan",
        HELP,
    ]
    assert all(name in HELP for name in FAULTS)


@contextmanager
def dev(*arguments: str, folder: Path) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [sys.executable, "-m", "trunkline", "dev", *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=folder,
    ) as process:
        try:
            yield process
        finally:
            process.terminate()


def test_the_command(tmp_path: Path) -> None:
    port = free_port()
    with dev("--faults", "--port", str(port), folder=tmp_path) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == f"Trunkline on http://127.0.0.1:{port}, with faults: type help\n"
        assert publish(f"http://127.0.0.1:{port}", "r", 1) == 1
        process.stdin.write("kill\nstatus\n")
        process.stdin.flush()
        assert process.stdout.readline() == "the server is back\n"
        assert process.stdout.readline() == "wrong: nothing; connections: 0\n"
        assert publish(f"http://127.0.0.1:{port}", "r", 2) == 2
        process.stdin.write("quit\n")
        process.stdin.flush()
        assert process.wait(WAIT_S) == 0
        assert process.stderr is not None
        assert process.stderr.read() == ""
    assert list(tmp_path.iterdir()) == []


def test_an_application_of_yours(tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text("from trunkline import Hub\napp = Hub('memory:').app\n")
    port = free_port()
    with dev("shop:app", "--port", str(port), folder=tmp_path) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == f"shop:app on http://127.0.0.1:{port}\n"
        assert publish(f"http://127.0.0.1:{port}", "r", 1) == 1
        process.terminate()
        assert process.wait(WAIT_S) == 0


def test_what_is_wrong_is_one_line(tmp_path: Path) -> None:
    with dev("no_such_module:app", "--port", str(free_port()), folder=tmp_path) as process:
        _, errors = process.communicate(timeout=WAIT_S)
        assert process.returncode == 2
        assert errors.startswith("trunkline: the server did not start:\n")
    with LiveServer() as server, dev("--port", str(server.proxy.port), folder=tmp_path) as process:
        _, errors = process.communicate(timeout=WAIT_S)
        assert process.returncode == 2
        assert errors == f"trunkline: cannot listen on 127.0.0.1:{server.proxy.port}: it is in use\n"


def test_ending_it_ends_its_server(tmp_path: Path) -> None:
    """No server is left behind, also if its terminal is gone."""
    port = free_port()
    with dev("--faults", "--port", str(port), folder=tmp_path) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdout.readline()
        began = time.monotonic()
        process.stdin.close()
        assert process.wait(WAIT_S) == 0
        assert time.monotonic() - began < WAIT_S
    until(lambda: not _answers(port), "the port is free again")


def _answers(port: int) -> bool:
    try:
        publish(f"http://127.0.0.1:{port}", "r", 1, timeout_s=0.1)
    except Exception:  # noqa: BLE001 - any failure is the fact
        return False
    return True
