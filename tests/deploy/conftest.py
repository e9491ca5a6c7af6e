"""The real nginx and HAProxy, with the configurations that deploy/ ships."""

import shutil
import signal
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.browser.conftest import browser  # noqa: F401 - a fixture
from tests.support import ROOT, WAIT_S, Server, free_port, until

NODES = 4
IDLE_S = 3  # what is 45 s in the files


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    missing = [program for program in ("nginx", "haproxy") if shutil.which(program) is None]
    for item in items:
        if "front" in getattr(item, "fixturenames", ()) and missing:
            item.add_marker(pytest.mark.skip(reason=f"{missing} not installed"))


class Front:
    """A proxy in front of several nodes, as a process.

    Args:
        upstream: Which file says where nginx finds the nodes.
    """

    def __init__(self, kind: str, ports: list[int], folder: Path, upstream: str = "upstream.conf") -> None:
        self.kind = kind
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._folder = folder
        self._file = folder / kind
        name = {"nginx": "nginx.conf", "haproxy": "haproxy.cfg"}[kind]
        text = (ROOT / "deploy" / name).read_text("utf-8")
        servers = (ROOT / "deploy" / upstream).read_text("utf-8")
        for n, port in enumerate(ports):
            text = text.replace(f"127.0.0.1:{8001 + n}", f"127.0.0.1:{port}")
            for address in (f"127.0.0.1:{8001 + n}", f"node{n + 1}:8000"):
                servers = servers.replace(address, f"127.0.0.1:{port}")
        (folder / "upstream.conf").write_text(servers)
        temporary = "".join(f"    {what}_temp_path {folder}/{what};\n" for what in ("client_body", "proxy"))
        for shipped, here in {
            "45s": f"{IDLE_S}s",
            "worker_shutdown_timeout 10s": "worker_shutdown_timeout 1s",
            "hard-stop-after 10s": "hard-stop-after 1s",
            "maxconn 100000": "maxconn 4000",
            "listen 8080": f"listen 127.0.0.1:{self.port}",
            "bind :8080": f"bind 127.0.0.1:{self.port}",
            "/run/nginx.pid": f"{folder}/nginx.pid",
            "http {\n": "http {\n" + temporary,
        }.items():
            text = text.replace(shipped, here)
        self._file.write_text(text)
        self.process = self._start()

    def _start(self, *more: str) -> subprocess.Popen[bytes]:
        command = {
            "nginx": ["nginx", "-c", str(self._file), "-p", str(self._folder), "-g", "daemon off;"],
            "haproxy": ["haproxy", "-db", "-f", str(self._file), *more],
        }[self.kind]
        return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def reload(self) -> None:
        """As its users do: a new process takes over, and the old one ends when it may."""
        if self.kind == "nginx":
            self.process.send_signal(signal.SIGHUP)
        else:
            old, self.process = self.process, self._start("-sf", str(self.process.pid))
            old.wait(WAIT_S)

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(WAIT_S)


class House(NamedTuple):
    """Nodes that share a log, and what is in front of them."""

    front: Front
    nodes: list[Server]


@pytest.fixture(params=["nginx", "haproxy"])
def front(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[House]:
    store = f"sqlite:///{tmp_path}/log.db?shared=1"
    with ExitStack() as stack:
        nodes = [
            stack.enter_context(Server("--ping-interval", "1", "--ping-timeout", "0.9", store=store))
            for _ in range(NODES)
        ]
        proxy = Front(request.param, [node.port for node in nodes], tmp_path)
        stack.callback(proxy.stop)
        wait_for(f"{proxy.url}/readyz")
        yield House(proxy, nodes)


def wait_for(url: str) -> None:
    """Until something answers there with 200."""

    def answers() -> bool:
        with urllib.request.urlopen(url, timeout=1) as response:
            return int(response.status) == 200

    until(answers, url)
