"""Hosts in network namespaces of their own, and a switch between them that cuts and delays links.

Each host has one interface, a TUN device, whose other end the switch holds: every packet between two hosts passes
through it. All of it ends with the process that made it. Needs root or user namespaces, `unshare`, `nsenter` and `ip`.
"""

from __future__ import annotations

import fcntl
import heapq
import os
import select
import struct
import subprocess
import threading
import time
from typing import Self

NET = "10.77.0"
HERE = "here"  # the host that we are on ourselves

_TUNSETIFF = 0x400454CA
_IFF_TUN_NO_PI = 0x1001
_MTU = 9000  # fewer packets


class Network:
    """Hosts with a name each, and links between all of them.

    The process that makes it must be in a network namespace of its own (see `alone`); it is the host `HERE`.
    """

    def __init__(self, names: list[str]) -> None:
        self.addresses = {name: f"{NET}.{n}" for n, name in enumerate([HERE, *names], 1)}
        self._holders: dict[str, subprocess.Popen[bytes]] = {}
        self._devices: dict[str, int] = {}
        self._ways: dict[bytes, int] = {}
        self._cut: set[frozenset[bytes]] = set()
        self._delays: dict[frozenset[bytes], float] = {}
        self._waiting: list[tuple[float, int, int, bytes]] = []
        self._ended = threading.Event()
        for name, address in self.addresses.items():
            self._attach(name, address)
        self._switch = threading.Thread(target=self._pass_on, name="switch", daemon=True)
        self._switch.start()

    def command(self, host: str, command: list[str]) -> list[str]:
        """A command as it is run on a host; the process is then the command's own."""
        if host == HERE:
            return command
        return ["nsenter", f"--net=/proc/{self._holders[host].pid}/ns/net", "--", *command]

    def cut(self, one: str, *others: str) -> None:
        """Nothing passes between these any more, and neither end is told."""
        self._cut |= {self._link(one, other) for other in others}

    def delay(self, one: str, *others: str, seconds: float) -> None:
        """Every packet between these takes so long, each way."""
        self._delays |= {self._link(one, other): seconds for other in others}

    def mend(self) -> None:
        """All links are as they should be."""
        self._cut = set()
        self._delays = {}

    def _link(self, one: str, other: str) -> frozenset[bytes]:
        return frozenset(self._number(self.addresses[name]) for name in (one, other))

    @staticmethod
    def _number(address: str) -> bytes:
        return bytes(int(part) for part in address.split("."))

    def _attach(self, name: str, address: str) -> None:
        device = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
        interface = f"tk{len(self._devices)}"
        fcntl.ioctl(device, _TUNSETIFF, struct.pack("16sH22x", interface.encode(), _IFF_TUN_NO_PI))
        if name != HERE:
            holder = subprocess.Popen(["unshare", "--net", "sh", "-c", "echo; read _"], stdin=-1, stdout=-1)
            assert holder.stdout is not None
            holder.stdout.readline()  # it is in its namespace now
            self._holders[name] = holder
            _run("ip", "link", "set", interface, "netns", str(holder.pid))
        for words in (
            ["addr", "add", f"{address}/24", "dev", interface],
            ["link", "set", interface, "mtu", str(_MTU), "up"],
            ["link", "set", "lo", "up"],
        ):
            _run(*self.command(name, ["ip", *words]))
        self._devices[name] = device
        self._ways[self._number(address)] = device

    def _pass_on(self) -> None:
        """The switch: what comes in at one device goes out at the one whose address it bears."""
        poll = select.epoll()
        for device in self._devices.values():
            poll.register(device, select.EPOLLIN)
        number = 0
        while not self._ended.is_set():
            wait_s = max(0.0, self._waiting[0][0] - time.monotonic()) if self._waiting else 0.2
            for device, _ in poll.poll(wait_s):
                for _ in range(64):
                    try:
                        packet = os.read(device, 65536)
                    except BlockingIOError:
                        break
                    way = self._ways.get(packet[16:20])
                    if way is None:
                        continue  # nobody's: broadcasts, IPv6
                    link = frozenset((packet[12:16], packet[16:20]))
                    if link in self._cut:
                        continue
                    delay_s = self._delays.get(link, 0.0)
                    if delay_s:
                        number += 1
                        heapq.heappush(self._waiting, (time.monotonic() + delay_s, number, way, packet))
                    else:
                        _put(way, packet)
            now = time.monotonic()
            while self._waiting and self._waiting[0][0] <= now:
                _, _, way, packet = heapq.heappop(self._waiting)
                _put(way, packet)
        poll.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._switch.join()
        for device in self._devices.values():
            os.close(device)
        for holder in self._holders.values():
            holder.kill()
            holder.communicate()


def _put(device: int, packet: bytes) -> None:
    try:
        os.write(device, packet)
    except OSError:
        pass  # a full queue, or a host that is going: a packet is lost, as packets are


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)


def alone(command: list[str]) -> list[str]:
    """A command as it is run in a network namespace of its own."""
    return ["unshare", *([] if os.geteuid() == 0 else ["--map-root-user"]), "--net", "--", *command]


def possible() -> bool:
    """Whether this machine lets us make namespaces and devices."""
    try:
        done = subprocess.run(
            alone(["ip", "tuntap", "add", "dev", "tk0", "mode", "tun"]), capture_output=True, check=False
        )
    except FileNotFoundError:
        return False
    return done.returncode == 0
