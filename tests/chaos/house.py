"""What suffers: three nodes behind HAProxy, Redis with a replica, three sentinels, each on a host of its own."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

import redis

from tests.chaos.network import HERE, Network
from tests.support import ROOT, WAIT_S, until

NODES = ("node1", "node2", "node3")
REDIS = ("redis1", "redis2")
SENTINELS = ("sentinel1", "sentinel2", "sentinel3")
FRONT_PORT = 8080
DOWN_AFTER_MS = 2000  # so long a Redis may be silent until another one takes over


class Program:
    """A process that is started, ended and started again.

    Args:
        folder: Where what it writes is kept.
        there: Whether it serves.
    """

    def __init__(self, name: str, command: list[str], folder: Path, there: Callable[[], Any]) -> None:
        self.name = name
        self._command, self._log, self._there = command, folder / f"{name}.log", there
        self.process: subprocess.Popen[bytes]
        self.start()

    def start(self) -> None:
        """Start, or start again, and wait until it serves."""
        with self._log.open("ab") as log:
            environment = {key: value for key, value in os.environ.items() if not key.startswith("TRUNKLINE_")}
            self.process = subprocess.Popen(self._command, stdout=log, stderr=log, cwd=ROOT, env=environment)
        until(self._there, f"{self.name} starts, see {self._log}")

    def kill(self) -> None:
        """kill -9."""
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        """As an update does it."""
        self.process.terminate()
        self.process.wait(WAIT_S)

    def pause(self) -> None:
        self.process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        self.process.send_signal(signal.SIGCONT)


class House:
    """All of it, in *folder*.

    Attributes:
        url: Where its clients go.
    """

    url = f"http://127.0.0.1:{FRONT_PORT}"

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        with ExitStack() as self._stack:
            self.network = self._stack.enter_context(Network([*NODES, *REDIS, *SENTINELS]))
            self.addresses = self.network.addresses
            self.redis = {name: self._redis(name) for name in REDIS}
            self.sentinels = {name: self._sentinel(name) for name in SENTINELS}
            until(self.whole, "the replica follows")
            self.nodes = {name: self._node(name) for name in NODES}
            self._front()
            self._stack = self._stack.pop_all()

    def _program(self, host: str, command: list[str], there: Callable[[], Any]) -> Program:
        program = Program(host, self.network.command(host, command), self._folder, there)
        self._stack.callback(program.kill)
        self._stack.callback(program.go_on)
        return program

    def _redis(self, name: str) -> Program:
        folder = self._folder / name
        folder.mkdir()
        path = folder / "redis.conf"  # sentinels have written into it who follows whom
        path.write_text(
            f'bind 0.0.0.0\nprotected-mode no\ndir {folder}\nsave ""\nappendonly yes\nappendfsync always\n'
            "min-replicas-to-write 1\nmin-replicas-max-lag 2\nrepl-timeout 5\nrepl-diskless-sync-delay 0\n"
            + (f"replicaof {self.addresses[REDIS[0]]} 6379\n" if name != REDIS[0] else "")
        )
        return self._program(name, ["redis-server", str(path)], self.client(name).ping)

    def _sentinel(self, name: str) -> Program:
        path = self._folder / f"{name}.conf"
        path.write_text(
            "port 26379\nbind 0.0.0.0\nprotected-mode no\n"
            f"sentinel monitor house {self.addresses[REDIS[0]]} 6379 2\n"
            f"sentinel down-after-milliseconds house {DOWN_AFTER_MS}\n"
            "sentinel failover-timeout house 6000\n"
        )
        return self._program(name, ["redis-server", str(path), "--sentinel"], self.client(name, 26379).ping)

    def _node(self, name: str) -> Program:
        sentinels = ",".join(self.addresses[sentinel] for sentinel in SENTINELS)
        command = [
            sys.executable, "-m", "trunkline", "serve", "--host", "0.0.0.0", "--port", "8000", "--allow-anonymous",
            "--store", f"redis+sentinel://{sentinels}/house?wait_replicas=1",
            "--ping-interval", "5", "--ping-timeout", "3", "--forwarded-allow-ips", self.addresses[HERE],
        ]  # fmt: skip
        return self._program(name, command, lambda: _accepts(self.addresses[name], 8000))

    def _front(self) -> None:
        text = (ROOT / "deploy/haproxy.cfg").read_text("utf-8")
        for n, (server, port) in enumerate((("one", 8001), ("two", 8002), ("three", 8003))):
            text = text.replace(f"server {server} 127.0.0.1:{port}", f"server {server} {self.addresses[NODES[n]]}:8000")
        text = text.replace("    server four 127.0.0.1:8004\n", "").replace(
            "bind :8080", f"bind 127.0.0.1:{FRONT_PORT}"
        )
        text = text.replace("maxconn 100000", "maxconn 4000")
        # The servers speak every 5 s here, on all streams; polls may be silent for 25 s.
        text = text.replace("timeout tunnel 45s", "timeout tunnel 10s").replace(
            "timeout server 45s", "timeout server 30s"
        )
        path = self._folder / "haproxy.cfg"
        path.write_text(text)
        self._program(HERE, ["haproxy", "-db", "-f", str(path)], lambda: _accepts("127.0.0.1", FRONT_PORT))

    def client(self, host: str, port: int = 6379) -> Any:
        """For commands to a Redis or a sentinel."""
        return redis.Redis(host=self.addresses[host], port=port, socket_timeout=1, socket_connect_timeout=1)

    @property
    def master(self) -> str:
        """The Redis that sentinels name."""
        for sentinel in SENTINELS:
            with contextlib.suppress(redis.RedisError):
                address = self.client(sentinel, 26379).sentinel_get_master_addr_by_name("house")
                host = address[0].decode() if isinstance(address[0], bytes) else address[0]
                return next(name for name in REDIS if self.addresses[name] == host)
        raise AssertionError("no sentinel answers")

    @property
    def replica(self) -> str:
        return next(name for name in REDIS if name != self.master)

    def whole(self) -> bool:
        """The master has a replica that follows, and every sentinel knows of both and of each other."""
        facts = self.client(self.master).info("replication")
        states = [self.client(name, 26379).sentinel_master("house") for name in SENTINELS]
        return (
            facts["role"] == "master"
            and any(facts.get(f"slave{n}", {}).get("state") == "online" for n in range(len(REDIS)))
            and all(state["num-slaves"] >= 1 and state["num-other-sentinels"] == 2 for state in states)
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()


def _accepts(host: str, port: int) -> bool:
    """Whether something listens there; raises OSError if not."""
    socket.create_connection((host, port), 1).close()
    return True
