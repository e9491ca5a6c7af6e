"""Processes of one machine that wake one another, and talk beside the log: datagrams.

Each process has a socket in a folder that all of them know. A hint that the log has moved is never the truth: nothing
waits for it, it may be lost, and its receiver reads the log. A process that has more hints than it can read is given
one more, an empty one, when it can. A socket whose process is gone is removed by the next sender.
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
from collections import deque
from collections.abc import Callable
from pathlib import Path

log = logging.getLogger("trunkline")

DATAGRAM_BYTES_MAX = 64 * 1024
HINT, SAID = b"h", b"s"
PEERS_S = 1.0  # how long we may not know of a new process that says nothing; it looks at the log by itself meanwhile
AGAIN_S = 0.01
UNSAID_MAX = 1000


class UnixBus:
    """One process among others.

    Args:
        folder: Made if it is not there; for our user alone.
        woken: Called on the event loop with each hint; one that is empty says that any room may have moved.
    """

    def __init__(self, folder: Path, woken: Callable[[bytes], None]) -> None:
        self.name = secrets.token_hex(4)
        self.on_message: Callable[[bytes], None] | None = None
        self._folder = folder
        self._woken = woken
        self._peers: list[str] = []
        self._untold: set[str] = set()
        self._unsaid: dict[str, deque[bytes]] = {}
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
            raise PermissionError(f"{self._folder} must be owned by this user and writable by no other: chmod 700")
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self._socket.bind(self._address(self.name))
        asyncio.get_running_loop().add_reader(self._socket, self._receive)

    def hint(self, data: bytes) -> None:
        """Tell the others that the log has moved; those that cannot be told now, as soon as they can."""
        data = HINT + (data if len(data) < DATAGRAM_BYTES_MAX else b"")
        for peer in self._others():
            self._hint(peer, data)

    def send(self, data: bytes, *, to: str | None = None, room: str | None = None) -> bool:
        if len(data) >= DATAGRAM_BYTES_MAX:  # it would arrive without its end
            log.error("a message to other nodes is too large and is not sent: %d bytes", len(data))
            return False
        return min((self._say(peer, SAID + data) for peer in (self._others() if to is None else [to])), default=True)

    def is_alive(self, name: str) -> bool:
        """Return whether a process still has the socket of this name open; it may be stopped, or have no time."""
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as probe:
            probe.connect(self._address(name))
            return True
        return False

    def _say(self, peer: str, data: bytes) -> bool:
        """Return whether the message was sent, or will be: a socket takes ten datagrams on many machines."""
        unsaid = self._unsaid.get(peer)
        if unsaid is None:
            if self._send(peer, data):
                return True
            unsaid = self._unsaid[peer] = deque()
            asyncio.get_running_loop().call_later(AGAIN_S, self._say_again, peer)
        if len(unsaid) >= UNSAID_MAX:
            return False
        unsaid.append(data)
        return True

    def _say_again(self, peer: str) -> None:
        unsaid = self._unsaid[peer]
        while unsaid and self._send(peer, unsaid[0]):
            unsaid.popleft()
        if unsaid:
            asyncio.get_running_loop().call_later(AGAIN_S, self._say_again, peer)
        else:
            del self._unsaid[peer]

    def _others(self) -> list[str]:
        now = time.monotonic()
        if now > self._looked_at + PEERS_S:
            self._looked_at = now
            self._peers = [path.name for path in self._folder.iterdir() if path.name != self.name]
        return list(self._peers)

    def _hint(self, peer: str, data: bytes) -> None:
        if not self._send(peer, data):
            if not self._untold:
                asyncio.get_running_loop().call_later(AGAIN_S, self._hint_again)
            self._untold.add(peer)

    def _hint_again(self) -> None:
        untold, self._untold = self._untold, set()
        for peer in untold.intersection(self._peers):
            self._hint(peer, HINT)

    def _send(self, peer: str, data: bytes) -> bool:
        """Return whether the message was sent, or can never be."""
        if self._socket is None:
            return True
        try:
            self._socket.sendto(data, self._address(peer))
        except BlockingIOError:
            return False
        except (ConnectionRefusedError, FileNotFoundError):  # its process has died, or ended
            if peer in self._peers:
                self._peers.remove(peer)
            self._remove(peer)
        except OSError as error:
            log.debug("%s was not told: %s", peer, error)  # it looks at the log by itself within a second
        return True

    def close(self) -> None:
        """Listen no more."""
        if self._socket is not None:
            asyncio.get_running_loop().remove_reader(self._socket)
            self._socket.close()
            self._socket = None
            self._remove(self.name)
        if self._directory >= 0:
            os.close(self._directory)
            self._directory = -1

    def _receive(self) -> None:
        while self._socket is not None:
            try:
                data, address = self._socket.recvfrom(DATAGRAM_BYTES_MAX)
            except OSError:
                return
            sender = address.rpartition("/")[2] if isinstance(address, str) else ""  # it need not have one
            if sender and sender not in self._peers:
                self._peers.append(sender)
            if data[:1] == HINT:
                self._woken(data[1:])
            elif self.on_message is not None:
                self.on_message(data[1:])

    def _address(self, name: str) -> str:
        # A socket's address has 107 characters at most, and folders may be deep.
        return f"/proc/self/fd/{self._directory}/{name}" if sys.platform == "linux" else str(self._folder / name)

    def _remove(self, name: str) -> None:
        with contextlib.suppress(OSError):
            os.unlink(name, dir_fd=self._directory)
