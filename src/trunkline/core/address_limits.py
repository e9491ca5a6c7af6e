"""How many connections and how many requests an address may have: decided before authentication.

An address that is trusted (a proxy of ours, a back end on this machine) is not one client's, so nothing is counted for
it alone: the client for which it speaks is named in `X-Forwarded-For`.

The name under which an address is counted is its *key*: an IPv4 address, or an IPv6 network of 64 bits, since one
subscriber has all of that to choose from. The key of a trusted address is None.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Protocol

from trunkline.core.limits import Limits
from trunkline.core.rate import Rate, too_fast
from trunkline.errors import RequestError

LOOPBACK = ("127.0.0.0/8", "::1")  # this machine, by whichever of its addresses: trusted by default

# Connections beyond the limit that are held until they have sent a request, so that they can be answered.
REFUSALS_MAX = 256
REFUSALS_PER_ADDRESS_MAX = 4


class Counted(Protocol):
    """An open connection, as it is counted.

    Attributes:
        key: Under which.
        address: Whose it is, for people.
    """

    key: str | None
    address: str

    def release(self) -> None:
        """Note that the connection has ended. Harmless if done twice."""


class Admission:
    """One open connection, as it is counted: once, from when it was accepted until `release`.

    Attributes:
        key: Under which it is counted.
        address: Whose it is, for people.
        error: What the client is to be told if there are too many connections already; None if there are not.
    """

    __slots__ = ("_limits", "_released", "address", "error", "key")

    def __init__(self, limits: AddressLimits, key: str | None, address: str, error: RequestError | None) -> None:
        self._limits = limits
        self._released = False
        self.key = key
        self.address = key or sys.intern(address)  # one text for all that come through the same proxy
        self.error = error

    @property
    def must_drop(self) -> bool:
        """Whether so many connections are beyond a limit that this one is not even to be answered."""
        return self.error is not None and self._limits.is_overrun(self.key)

    def is_counted_by(self, limits: AddressLimits) -> bool:
        """Return whether it is these limits that it is counted for."""
        return self._limits is limits

    def move(self, key: str | None, now: float) -> None:
        """Count the connection under another key: a proxy of ours has named its client.

        Raises:
            RequestError: `too_many_connections` or `rate_limited`; it is counted as before.
        """
        if self._released or key == self.key:
            return
        self._limits.release(self.key)
        error = self._limits.count(key, now)
        if error is not None:
            self._limits.release(key)
            self._limits.count(self.key, now)
            raise error
        self.key = key
        self.address = key or self.address

    def release(self) -> None:
        """Note that the connection has ended. Harmless if done twice."""
        if not self._released:
            self._released = True
            self._limits.release(self.key)


class AddressLimits:
    """The connections and requests of all clients of one process.

    Args:
        trusted: Addresses and networks, or `*` for all.

    Raises:
        ValueError: One of *trusted* is neither.
    """

    def __init__(self, limits: Limits, trusted: Sequence[str]) -> None:
        self._limits = limits
        self._trusts_all = "*" in trusted
        self._trusted: list[IPv4Network | IPv6Network] = [ip_network(entry) for entry in trusted if entry != "*"]
        self._keys: dict[str, str | None] = {}
        self._connections = 0
        self._by_key: Counter[str] = Counter()
        self._connects = Rate(limits.connects_per_address_per_s, limits.connects_per_address_burst)
        self._requests = Rate(limits.requests_per_address_per_s, limits.requests_per_address_burst)

    @property
    def connections(self) -> int:
        """How many connections are open, of all addresses."""
        return self._connections

    def key(self, peer: str, forwarded: str = "") -> str | None:
        """Return the key under which a client is counted; None if nothing is counted for it.

        Args:
            peer: The address at the other end of the socket.
            forwarded: The request's `X-Forwarded-For`: believed from its right end on, as far as trusted proxies have
                written it.
        """
        if not forwarded:
            return self._key_of(peer)
        address = peer
        for hop in reversed([*forwarded.split(","), peer]):
            if not hop.strip():
                continue
            address = hop.strip()
            if self._key_of(address) is not None:
                break
        return self._key_of(address)

    def admit(self, key: str | None, now: float, address: str = "") -> Admission:
        """Count a connection that was accepted, also if it is to be refused.

        Args:
            address: Of the peer, for people.
        """
        return Admission(self, key, address, self.count(key, now))

    def count(self, key: str | None, now: float) -> RequestError | None:
        """Count one connection more (for `Admission`); return why it is to be refused, if it is."""
        limits = self._limits
        self._connections += 1
        if key is not None:
            self._by_key[key] += 1
        if self._connections > limits.connections_max:
            return RequestError("server_full", "this server has all the connections it can hold", 5000)
        if key is None:
            return None
        if self._by_key[key] > limits.connections_per_address_max:
            most = limits.connections_per_address_max
            return RequestError("too_many_connections", f"at most {most} connections from one address", 5000)
        wait = self._connects.take(key, now)
        if wait:
            return too_fast("too many connections at once from one address", wait)
        return None

    def release(self, key: str | None) -> None:
        """Count one connection less (for `Admission`)."""
        self._connections -= 1
        if key is not None:
            self._by_key[key] -= 1
            if self._by_key[key] <= 0:
                del self._by_key[key]

    def is_overrun(self, key: str | None) -> bool:
        """Return whether so many connections are beyond a limit that they cannot all be answered."""
        limits = self._limits
        return self._connections > limits.connections_max + REFUSALS_MAX or (
            key is not None and self._by_key[key] > limits.connections_per_address_max + REFUSALS_PER_ADDRESS_MAX
        )

    def check_request_rate(self, key: str | None, now: float, pieces: int = 1) -> None:
        """Count a request that is so many pieces of work (`core.rate.work`).

        Raises:
            RequestError: `rate_limited`.
        """
        wait = 0.0 if key is None else self._requests.take(key, now, pieces)
        if wait:
            raise too_fast("too many requests from one address", wait)

    def _key_of(self, address: str) -> str | None:
        if len(address) > 64:
            return address[:64]  # no address is so long
        if address not in self._keys:
            if len(self._keys) > 10_000:
                self._keys.clear()
            self._keys[address] = self._classify(address)
        return self._keys[address]

    def _classify(self, address: str) -> str | None:
        if self._trusts_all:
            return None
        try:
            ip = ip_address(_without_port(address))
        except ValueError:
            return address
        ip = getattr(ip, "ipv4_mapped", None) or ip
        if any(ip in network for network in self._trusted if network.version == ip.version):
            return None
        return str(ip_network((ip, 64), strict=False)) if isinstance(ip, IPv6Address) else str(ip)


def _without_port(address: str) -> str:
    """Return an address as `X-Forwarded-For` has it, without the port that some proxies write behind it."""
    if address.startswith("["):
        return address[1:].partition("]")[0]
    host, colon, port = address.rpartition(":")
    if colon and port.isdigit() and ":" not in host:
        return host
    return address.partition("%")[0]
