"""The URL of a log in Redis."""

from __future__ import annotations

from typing import Any, NamedTuple
from urllib.parse import parse_qsl, unquote, urlsplit

from trunkline.errors import ConfigError

ANSWER_S = 3.0  # a call that is not answered for so long has failed
WAIT_MS = 1000


class Address(NamedTuple):
    """What a URL says.

    Attributes:
        kind: `redis`, `sentinel` or `cluster`.
        hosts: (host, port) of the server, the sentinels, or some of the cluster.
        service: Of sentinels: the name of what they watch.
        options: Of every connection.
        sentinel: Of connections to sentinels: their own credentials.
        journal: The file of this machine in which corrections are written down, for backups that do not know of them.
    """

    kind: str
    hosts: list[tuple[str, int]]
    service: str
    options: dict[str, Any]
    sentinel: dict[str, str]
    prefix: str
    wait_replicas: int
    wait_ms: int
    journal: str | None = None

    def __str__(self) -> str:
        hosts = ",".join(f"{host}:{port}" for host, port in self.hosts)
        return f"Redis at {hosts}" + (f" ({self.service})" if self.service else "")


def parse_address(url: str) -> Address:
    """Take a URL apart: `redis[s]://[user:password@]host[:port][/database]`, `redis[s]+sentinel://host,host/service`,
    `redis[s]+cluster://host,host`; behind a `?`: `prefix`, `wait_replicas`, `wait_ms`, `journal`,
    `ssl_ca_certs`, and of sentinels `sentinel_username` and `sentinel_password`.

    Raises:
        ConfigError: It is none of them. The message does not repeat it, since there may be a password in it.
    """
    scheme, _, rest = url.partition("://")
    parts = urlsplit("//" + rest)
    secure, _, kind = scheme.partition("+")
    credentials, _, hosts = parts.netloc.rpartition("@")
    user, _, password = credentials.partition(":")
    options: dict[str, Any] = {}
    if credentials:
        options |= {"username": unquote(user) or None, "password": unquote(password) or None}
    try:
        addresses = []
        for host in hosts.split(","):
            one = urlsplit(f"//{host}")
            addresses.append((one.hostname or "localhost", one.port or (26379 if kind == "sentinel" else 6379)))
        path = [part for part in parts.path.split("/") if part]
        service = path.pop(0) if kind == "sentinel" else ""
        if path:
            options["db"] = int(path.pop(0))
        query = dict(parse_qsl(parts.query, strict_parsing=bool(parts.query)))
        prefix, wait_replicas = query.pop("prefix", "trunkline"), int(query.pop("wait_replicas", "0"))
        journal = query.pop("journal", None)
        wait_ms = int(query.pop("wait_ms", str(WAIT_MS)))
        own = [name for name in ("username", "password") if kind == "sentinel" and f"sentinel_{name}" in query]
        sentinel = {name: query.pop(f"sentinel_{name}") for name in own}
    except (ValueError, IndexError):
        raise ConfigError(f"store: that is no URL of {scheme}:// (docs/configuration.md shows them)") from None
    if secure == "rediss":
        options["ssl"] = True
        if "ssl_ca_certs" in query:
            options["ssl_ca_certs"] = query.pop("ssl_ca_certs")
    if path or query:
        raise ConfigError(f"store: there is nothing called {', '.join([*path, *query])} in a URL of {scheme}://")
    if not kind and len(addresses) > 1:
        raise ConfigError("store: redis:// is one server; several are redis+sentinel:// or redis+cluster://")
    if kind == "cluster" and (wait_replicas or options.get("db")):
        raise ConfigError("store: a cluster has one database, and wait_replicas is for one server or sentinels")
    if wait_replicas < 0 or not 0 < wait_ms < ANSWER_S * 1000:
        raise ConfigError(f"store: wait_replicas is 0 or more, and wait_ms less than {ANSWER_S * 1000:.0f}")
    return Address(kind or "redis", addresses, service, options, sentinel, prefix, wait_replicas, wait_ms, journal)
