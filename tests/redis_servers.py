"""Real Redis servers, as processes."""

from __future__ import annotations

import contextlib
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Any, Self

import pytest
import redis

from tests.support import WAIT_S, free_port, until

needs_redis = pytest.mark.skipif(shutil.which("redis-server") is None, reason="redis-server is not installed")


class RedisServer:
    """A redis-server with its data in *folder*. What it has answered survives kill -9 (appendfsync always)."""

    def __init__(self, folder: Path, *arguments: str, program: str = "redis-server") -> None:
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}"
        self._folder = folder / str(self.port)
        self._folder.mkdir()
        self._program = program
        self._arguments = arguments or ("--appendonly", "yes", "--appendfsync", "always", "--save", "")
        self.process: subprocess.Popen[bytes]
        self.start()

    def start(self) -> None:
        """Start, or start again on the same port with the same data."""
        common = ("--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self._folder))
        self.process = subprocess.Popen(
            [self._program, *self._arguments_of_file(), *common, *self._arguments],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        end = time.monotonic() + WAIT_S
        while True:
            with contextlib.suppress(redis.RedisError):
                if self.client.ping():
                    return
            assert self.process.poll() is None, "redis-server has ended"
            assert time.monotonic() < end, "redis-server does not answer"
            time.sleep(0.02)

    def _arguments_of_file(self) -> list[str]:
        return []

    @property
    def client(self) -> Any:
        """For commands of the test."""
        return redis.Redis(port=self.port, socket_timeout=WAIT_S)

    def kill(self) -> None:
        """kill -9."""
        self.process.kill()
        self.process.wait()

    def pause(self) -> None:
        self.process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        self.process.send_signal(signal.SIGCONT)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.go_on()
        self.kill()


class SentinelServer(RedisServer):
    """A redis-sentinel that watches one server."""

    def __init__(self, folder: Path, master: RedisServer, quorum: int) -> None:
        self._master, self._quorum = master, quorum
        super().__init__(folder, "--sentinel", program="redis-server")

    def _arguments_of_file(self) -> list[str]:
        path = self._folder / "sentinel.conf"
        if not path.exists():
            path.write_text(
                f"sentinel monitor house 127.0.0.1 {self._master.port} {self._quorum}\n"
                "sentinel down-after-milliseconds house 500\n"
                "sentinel failover-timeout house 2000\n"
            )
        return [str(path)]


class Cluster:
    """Three Redis servers, each with a third of the slots, and no replicas."""

    def __init__(self, folder: Path) -> None:
        self.servers: list[RedisServer] = []
        buses = [free_port() for _ in range(3)]
        try:
            for bus in buses:
                arguments = (
                    "--cluster-enabled yes --cluster-node-timeout 1000 --cluster-require-full-coverage no"
                    f" --cluster-port {bus} --appendonly yes --appendfsync always"
                )
                self.servers.append(RedisServer(folder, *arguments.split(), "--save", ""))
            for n, (server, bus) in enumerate(zip(self.servers, buses, strict=True)):
                server.client.execute_command("CLUSTER", "ADDSLOTSRANGE", 16384 * n // 3, 16384 * (n + 1) // 3 - 1)
                self.servers[0].client.execute_command("CLUSTER", "MEET", "127.0.0.1", server.port, bus)
            until(lambda: all(self._knows_all(server) for server in self.servers), "the cluster comes together")
        except BaseException:
            self.__exit__()
            raise
        self.url = "redis+cluster://" + ",".join(f"127.0.0.1:{server.port}" for server in self.servers)

    @staticmethod
    def _knows_all(server: RedisServer) -> bool:
        info = server.client.cluster("INFO")
        return (info["cluster_state"], info["cluster_slots_ok"], info["cluster_known_nodes"]) == ("ok", "16384", "3")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for server in self.servers:
            server.__exit__()
