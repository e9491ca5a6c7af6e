"""`trunkline doctor` at a server, directly and through proxies that do what proxies do wrong."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import aiohttp
import pytest

from tests.redis_servers import RedisServer, needs_redis
from tests.support import WAIT_S, Server
from trunkline.core.finding import Finding
from trunkline.remote_doctor import Visit


def findings(url: str, idle_s: float = 0.0, token: str | None = None) -> dict[str, Finding]:
    return {found.what: found for found in Visit(url, token).findings(idle_s, lambda _: None)}


@contextlib.contextmanager
def wrong(behaviour: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    """A proxy, or another server, that behaves so."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), behaviour)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


class Quiet(BaseHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def answer(self, status: int, body: bytes = b"") -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


class NoUpgrade(Quiet):
    """Passes no `Upgrade` on, and holds back the body of what it answers."""

    def do_GET(self) -> None:
        if self.path == "/readyz":
            self.answer(200, b"{}")
        elif self.headers.get("Upgrade"):
            self.answer(400)
        else:
            threading.Event().wait(5)  # a proxy that gathers the answer


class Cuts(Quiet):
    """Ends streams that are idle."""

    def do_GET(self) -> None:
        if self.path == "/readyz":
            self.answer(503, b'{"status":"draining"}')
        else:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b": trunkline\n\n")
            threading.Event().wait(0.3)


def test_a_server_that_is_well() -> None:
    with Server() as server:
        found = findings(server.url, idle_s=0.5)
    assert {what: finding.level for what, finding in found.items()} == {
        "the server": "ok", "the server's clock": "ok", "WebSocket": "ok", "event streams": "ok", "idle streams": "ok",
    }  # fmt: skip


def test_a_proxy_that_passes_no_upgrade_and_gathers_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trunkline.remote_doctor.FIRST_BYTES_S", 0.3)
    with wrong(NoUpgrade) as url:
        found = findings(url)
    assert (found["WebSocket"].level, "Upgrade" in found["WebSocket"].advice) == ("warning", True)
    assert (found["event streams"].level, "proxy_buffering" in found["event streams"].advice) == ("fault", True)


def test_a_proxy_that_cuts_idle_streams() -> None:
    with wrong(Cuts) as url:
        found = findings(url, idle_s=5.0)
    assert found["the server"].level == "fault"
    assert "draining" in found["the server"].text
    assert (found["idle streams"].level, "ping_interval" in found["idle streams"].advice) == ("fault", True)


def test_no_server_at_all() -> None:
    with wrong(Quiet) as url:
        pass
    assert findings(url)["the server"].level == "fault"
    assert findings("ftp://nowhere")["the address"].level == "fault"


def trunkline(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "trunkline", "doctor", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=WAIT_S, check=False, cwd=folder)


async def test_the_command_line(tmp_path: Path, http: aiohttp.ClientSession) -> None:
    with Server() as server:
        ended = trunkline("--url", server.url, "--idle", "0.2", folder=tmp_path)
        assert (ended.returncode, ended.stderr) == (0, "waiting 0 s, to see whether an idle stream is cut …\n")
        assert "ok       WebSocket: `Upgrade` passes" in ended.stdout
    ended = trunkline("--store", f"sqlite:///{tmp_path}/nowhere/log.db", folder=tmp_path)
    assert ended.returncode == 1
    assert "FAULT    the log's folder" in ended.stdout


@needs_redis
def test_redis(tmp_path: Path) -> None:
    with RedisServer(tmp_path) as redis:
        ended = trunkline("--store", redis.url, folder=tmp_path)
        assert ended.returncode == 0
        assert "ok       Redis' files: an append-only file" in ended.stdout
        redis.client.config_set("maxmemory", "100mb")
        redis.client.config_set("maxmemory-policy", "allkeys-lru")
        redis.client.config_set("appendonly", "no")
        ended = trunkline("--store", redis.url, folder=tmp_path)
        assert ended.returncode == 1
        assert "FAULT    Redis' memory" in ended.stdout
        assert "warning  Redis' files" in ended.stdout
    ended = trunkline("--store", redis.url, folder=tmp_path)
    assert ended.returncode == 1
    assert "does not answer" in ended.stdout
