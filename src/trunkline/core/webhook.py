"""Webhooks: their settings, their signatures (Standard Webhooks), and which addresses they may be sent to."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import ipaddress
from collections.abc import Sequence
from typing import Literal

import msgspec

SECRET_PREFIX = "whsec_"  # noqa: S105 - it is in front of each secret
SECRET_BYTES = (24, 64)  # from and to, as Standard Webhooks has them

IpAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_IPV4_COMPATIBLE = ipaddress.IPv6Network("::/96")

_NOT_PUBLIC = [
    ipaddress.ip_network(text)
    for text in (
        "192.0.0.0/24",  # RFC 6890
        "168.63.129.16/32",  # a cloud's own services, as its machines see them
        "::/96",
        "::ffff:0:0:0/96",  # RFC 2765
        "64:ff9b:1::/48",  # RFC 8215
        "fec0::/10",  # RFC 3879
    )
]
"""What may lead into a network, beside what the registries of special addresses list."""


class WebhookSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where messages are posted to.

    Attributes:
        url: An https address; one of http only in one of *networks*.
        rooms: Names of rooms, or beginnings of them and `*`.
        events: What is posted beside messages.
        secret, secret_file: Signs what is posted: `whsec_` and 24 to 64 bytes in Base64; or the file that it stands in.
        former_secret: One that signs, too, while the receiver changes over from it.
        name: Of its consumer; by default made of the address. Under another name it begins anew.
        since: Where it begins: `now`, or `start`.
        networks: Private addresses that it may be sent to, such as `10.1.0.0/16`.
        timeout_s: How long an answer may take.
        batch_messages: How many messages a request has at most.
        give_up_s: For how long a batch is tried.
    """

    url: str
    rooms: tuple[str, ...] = ()
    events: tuple[Literal["presence", "connections"], ...] = ()
    secret: str | None = None
    secret_file: str | None = None
    former_secret: str | None = None
    name: str | None = None
    since: Literal["start", "now"] = "now"
    networks: tuple[str, ...] = ()
    timeout_s: float = 15.0
    batch_messages: int = 100
    give_up_s: float = 86_400.0

    def __repr__(self) -> str:
        return f"WebhookSettings({self.consumer!r})"  # a log is no place for a secret

    @property
    def consumer(self) -> str:
        """The name of its consumer."""
        return self.name or f"webhook-{hashlib.sha256(self.url.encode()).hexdigest()[:12]}"


class HooksSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An application next door that is asked by requests.

    Attributes:
        url: Where it is. Private addresses are its normal case.
        secret, secret_file, former_secret: As of a webhook.
        authenticate: Ask it who a client is, if it brings no token that is known otherwise.
        authorize: Ask it what a client may do.
        before_publish: Have it look at the messages of these rooms, before they are stored.
        calls: Have it answer the calls of these names.
        timeout_s: How long an answer to the first three may take. A call may take `limits.call_s`.
        cache_s: How long its answers to the first two are kept.
    """

    url: str = ""
    secret: str | None = None
    secret_file: str | None = None
    former_secret: str | None = None
    authenticate: bool = False
    authorize: bool = False
    before_publish: tuple[str, ...] = ()
    calls: tuple[str, ...] = ()
    timeout_s: float = 5.0
    cache_s: float = 10.0

    def __repr__(self) -> str:
        return f"HooksSettings({self.url!r})"  # as above


def parse_secret(text: str) -> bytes:
    """Return the key of a secret.

    Raises:
        ValueError: It is none; the message does not repeat it.
    """
    low, high = SECRET_BYTES
    try:
        key = base64.b64decode(text.strip().removeprefix(SECRET_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if not (text.strip().startswith(SECRET_PREFIX) and low <= len(key) <= high):
        raise ValueError(f"a webhook's secret is {SECRET_PREFIX} and {low} to {high} bytes in Base64")
    return key


def signing_keys(secret: str | None, former: str | None) -> list[bytes]:
    """Return the keys that sign.

    Raises:
        ValueError: There is no secret, or one is not valid.
    """
    if secret is None:
        raise ValueError("set its secret; `trunkline secret` makes one")
    return [parse_secret(one) for one in (secret, former) if one is not None]


def new_secret(key: bytes) -> str:
    """Return a key as the text of a secret."""
    return SECRET_PREFIX + base64.b64encode(key).decode()


def signature(keys: Sequence[bytes], message_id: str, at_s: int, body: bytes) -> dict[str, str]:
    """Return the headers that sign a request.

    Args:
        keys: Each of them signs.
        message_id: The same each time the request is sent.
        at_s: When it is sent, in seconds since 1970 UTC.
    """
    signed = f"{message_id}.{at_s}.".encode() + body
    signatures = [base64.b64encode(hmac.digest(key, signed, "sha256")).decode() for key in keys]
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(at_s),
        "webhook-signature": " ".join(f"v1,{one}" for one in signatures),
    }


def parse_networks(texts: Sequence[str]) -> list[Network]:
    """Return networks, or single addresses as such.

    Raises:
        ValueError: One of them is none.
    """
    return [ipaddress.ip_network(text, strict=False) for text in texts]


def is_listed(address: str, networks: Sequence[Network]) -> bool:
    """Return whether an address is one of these networks."""
    return _is_in(_meant(address), networks)


def is_allowed(address: str, networks: Sequence[Network]) -> bool:
    """Return whether a webhook may be sent to an address: a public one, or one of these networks."""
    meant = _meant(address)
    if not meant or _is_in(meant, networks):
        return bool(meant)
    return meant[-1].is_global and not meant[-1].is_multicast and not _is_in(meant, _NOT_PUBLIC)


def _is_in(addresses: Sequence[IpAddress], networks: Sequence[Network]) -> bool:
    return any(address in network for address in addresses for network in networks)


def _meant(address: str) -> list[IpAddress]:
    """Return an address, and the one that it stands for, if it does; nothing if it is none."""
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return []
    inner = embedded(found)
    return [found] if inner is None else [found, inner]


def embedded(address: IpAddress) -> IpAddress | None:
    """Return the IPv4 address that an IPv6 address stands for, if it does (RFC 4291, 6052, 3056, 4380)."""
    if isinstance(address, ipaddress.IPv4Address):
        return None
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address.sixtofour is not None:
        return address.sixtofour
    if address.teredo is not None:
        return address.teredo[1]
    if address in _NAT64 or (address in _IPV4_COMPATIBLE and int(address) > 0xFFFF):
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return None
