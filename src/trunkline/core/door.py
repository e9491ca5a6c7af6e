"""How many and how often, by address: what is decided before anybody is asked who they are.

An address that is trusted (a proxy of ours, a back end on this machine) is not one client's, so nothing is counted
for it alone: whom it speaks for, it says in `X-Forwarded-For`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from trunkline.core.limits import Limits
from trunkline.core.rate import Rate, too_fast
from trunkline.errors import RequestError

LOOPBACK = ("127.0.0.0/8", "::1")  # this machine, by whichever of its addresses: trusted by default

# Connections beyond the limit that are held until they have asked something, so that they can be answered.
REFUSALS_MAX = 256
REFUSALS_PER_ADDRESS_MAX = 4


class Door:
    """Everybody who comes in by one listener.

    Args:
        trusted: Addresses and networks, or `*` for all.

    Raises:
        ValueError: One of *trusted* is neither.
    """

    def __init__(self, limits: Limits, trusted: Sequence[str]) -> None:
        self._limits = limits
        self._everybody = "*" in trusted
        self._trusted: list[IPv4Network | IPv6Network] = [ip_network(entry) for entry in trusted if entry != "*"]
        self._keys: dict[str, str | None] = {}
        self._connections = 0
        self._by_address: Counter[str] = Counter()
        self._connects = Rate(limits.connects_per_address_s, limits.connects_per_address_burst)
        self._requests = Rate(limits.requests_per_address_s, limits.requests_per_address_burst)

    @property
    def connections(self) -> int:
        """All that are open."""
        return self._connections

    def client(self, peer: str, forwarded: str = "") -> str | None:
        """Under which name the client's limits are counted; None if nothing is counted for it.

        Args:
            peer: Who is at the other end of the socket.
            forwarded: The request's `X-Forwarded-For`: believed from its right end on, as far as it was written by
                somebody trusted.
        """
        address = peer
        for hop in reversed([*forwarded.split(","), peer]):
            if not hop.strip():
                continue
            address = hop.strip()
            if not self._trusts(address):
                break
        return self._key(address)

    def arrive(self, client: str | None, now: float) -> RequestError | None:
        """A connection was opened: it counts until it leaves, also if it is refused."""
        limits = self._limits
        self._connections += 1
        if client is not None:
            self._by_address[client] += 1
        if self._connections > limits.connections_max:
            return RequestError("server_full", "this server has all the connections it can hold", 5000)
        if client is None:
            return None
        if self._by_address[client] > limits.connections_per_address_max:
            most = limits.connections_per_address_max
            return RequestError("too_many_connections", f"at most {most} connections from one address", 5000)
        wait = self._connects.take(client, now)
        if wait:
            return too_fast("too many connections at once from one address", wait)
        return None

    def overrun(self, client: str | None) -> bool:
        """So many are beyond a limit that there is no answering them."""
        limits = self._limits
        return self._connections > limits.connections_max + REFUSALS_MAX or (
            client is not None
            and self._by_address[client] > limits.connections_per_address_max + REFUSALS_PER_ADDRESS_MAX
        )

    def leave(self, client: str | None) -> None:
        """A connection has ended."""
        self._connections -= 1
        if client is not None:
            self._by_address[client] -= 1
            if self._by_address[client] <= 0:
                del self._by_address[client]

    def request(self, client: str | None, now: float, pieces: int = 1) -> None:
        """A client asks for something that is so many pieces of work.

        Raises:
            RequestError: `rate_limited`.
        """
        wait = 0.0 if client is None else self._requests.take(client, now, pieces)
        if wait:
            raise too_fast("too many requests from one address", wait)

    def _trusts(self, address: str) -> bool:
        return self._key(address) is None

    def _key(self, address: str) -> str | None:
        if len(address) > 64:
            return address[:64]  # no address is so long
        if address not in self._keys:
            if len(self._keys) > 10_000:
                self._keys.clear()
            self._keys[address] = self._classify(address)
        return self._keys[address]

    def _classify(self, address: str) -> str | None:
        if self._everybody:
            return None
        try:
            ip = ip_address(_without_port(address))
        except ValueError:
            return address
        ip = getattr(ip, "ipv4_mapped", None) or ip
        if any(ip in network for network in self._trusted if network.version == ip.version):
            return None
        # One subscriber has a whole /64 to choose addresses from.
        return str(ip_network((ip, 64), strict=False)) if isinstance(ip, IPv6Address) else str(ip)


def _without_port(address: str) -> str:
    """Some proxies write ports into X-Forwarded-For: `203.0.113.7:4711`, `[2001:db8::7]:4711`."""
    if address.startswith("["):
        return address[1:].partition("]")[0]
    host, colon, port = address.rpartition(":")
    if colon and port.isdigit() and ":" not in host:
        return host
    return address.partition("%")[0]
