"""Processes of one machine that wake one another: datagrams, one per process and commit.

Each process has a socket in a folder that all of them know. What is sent is a hint, never the truth: nothing waits for
it, it may be lost, and whoever is told looks at the log. Whoever has more hints than it can read is given one more, an
empty one, when it can. A socket whose process is gone is removed by whoever notices.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import secrets
import socket
import stat
import sys
import time
from collections.abc import Callable
from pathlib import Path

log = logging.getLogger("trunkline")

DATAGRAM_BYTES_MAX = 32 * 1024
PEERS_S = 1.0  # how long we may not know of a new process; it looks at the log by itself meanwhile
AGAIN_S = 0.01


class Wake:
    """One process among others.

    Args:
        folder: Made if it is not there; for our user alone.
        woken: Called on the event loop with each datagram.
    """

    def __init__(self, folder: Path, woken: Callable[[bytes], None]) -> None:
        self._folder = folder
        self._woken = woken
        self._name = f"{os.getpid()}-{secrets.token_hex(4)}"
        self._peers: list[str] = []
        self._untold: set[str] = set()
        self._looked_at = float("-inf")
        self._socket: socket.socket | None = None
        self._directory = -1

    def start(self) -> None:
        """Listen, on the running event loop.

        Raises:
            OSError: The folder cannot be used.
        """
        with contextlib.suppress(FileExistsError):
            self._folder.mkdir(0o700)
        self._directory = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        found = os.fstat(self._directory)
        if found.st_uid != os.geteuid() or stat.S_IMODE(found.st_mode) & 0o022:
            raise PermissionError(f"{self._folder} is not ours alone")
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self._socket.bind(self._address(self._name))
        asyncio.get_running_loop().add_reader(self._socket, self._receive)

    def send(self, data: bytes) -> None:
        """Tell the others, as far as they listen."""
        now = time.monotonic()
        if now > self._looked_at + PEERS_S:
            self._looked_at = now
            self._peers = [path.name for path in self._folder.iterdir() if path.name != self._name]
        if self._socket is None:
            return
        for peer in tuple(self._peers):
            self._send(peer, data)

    def _send(self, peer: str, data: bytes) -> None:
        assert self._socket is not None
        try:
            self._socket.sendto(data, self._address(peer))
        except BlockingIOError:
            if not self._untold:
                asyncio.get_running_loop().call_later(AGAIN_S, self._send_again)
            self._untold.add(peer)
        except (ConnectionRefusedError, FileNotFoundError):  # its process has died, or ended
            self._peers.remove(peer)
            self._remove(peer)
        except OSError as error:
            log.debug("%s was not told: %s", peer, error)  # it looks at the log by itself within a second

    def _send_again(self) -> None:
        untold, self._untold = self._untold, set()
        for peer in untold.intersection(self._peers):
            if self._socket is not None:
                self._send(peer, b"")

    def close(self) -> None:
        """Listen no more."""
        if self._socket is not None:
            asyncio.get_running_loop().remove_reader(self._socket)
            self._socket.close()
            self._socket = None
            self._remove(self._name)
        if self._directory >= 0:
            os.close(self._directory)
            self._directory = -1

    def _receive(self) -> None:
        while self._socket is not None:
            try:
                data = self._socket.recv(DATAGRAM_BYTES_MAX)
            except OSError:
                return
            self._woken(data)

    def _address(self, name: str) -> str:
        # A socket's address has 107 characters at most, and folders may be deep.
        return f"/proc/self/fd/{self._directory}/{name}" if sys.platform == "linux" else str(self._folder / name)

    def _remove(self, name: str) -> None:
        with contextlib.suppress(OSError):
            os.unlink(name, dir_fd=self._directory)
