"""Every setting of `trunkline serve`, from four places: flags beat environment, that beats file, that beats default.

A setting `ping_interval` is `--ping-interval`, `TRUNKLINE_PING_INTERVAL` and, in the TOML file, `ping_interval`.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import msgspec

from trunkline.auth import Issuer
from trunkline.core.door import LOOPBACK
from trunkline.core.grant import ACTIONS, Permissions
from trunkline.core.limits import Limits, Retention, Tuning
from trunkline.errors import ConfigError
from trunkline.wire.origin import is_loopback

PREFIX = "TRUNKLINE_"
WORKERS_MAX = 256


class Config(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The settings of one server.

    Attributes:
        host, port: Where to listen; port 0 takes a free one.
        store: `sqlite:///PATH`, `memory:`, or a URL of Redis.
        durable: SQLite: survive power loss too, not only kill -9.
        workers: So many processes behind one address, with one log.
        ping_interval, ping_timeout: Seconds; the timeout is the shorter one.
        presence_grace: Seconds after somebody's last connection is gone, until the others are told.
        drain_window: Seconds over which clients are told to come back when the server stops.
        allow_anonymous: Listen beyond loopback although nobody is asked who they are.
        auth: `jwt`: whoever comes must bring a token of one of the issuers; `none`: anybody may do anything.
        auth_cookie: Name of a cookie that may hold the token.
        jwt, issuers: Whose tokens count: one issuer, or several.
        permissions: What a token without a `rooms` claim permits.
        origins: Pages of other origins that may come, such as `https://app.example.com`; `*` is any.
        forwarded_allow_ips: Addresses of proxies whose `X-Forwarded-For` is believed, and of back ends that are not
            limited.
        tls_cert, tls_key: PEM files; the server then speaks https and wss, and nothing else.
        http2: Offer HTTP/2 to clients over TLS.
        deflate: Agree to permessage-deflate (RFC 7692) with WebSocket clients that offer it.
        echo: A path that echoes WebSocket messages, for conformance tests.
        limits, retention, tuning: Tables in the file; in the environment `TRUNKLINE_LIMITS__MESSAGE_BYTES_MAX`.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    store: str = "sqlite:///trunkline.db"
    durable: bool = False
    workers: int = 1
    ping_interval: float = 30.0
    ping_timeout: float = 10.0
    presence_grace: float = 5.0
    drain_window: float = 1.0
    allow_anonymous: bool = False
    auth: Literal["none", "jwt"] = "none"
    auth_cookie: str | None = None
    jwt: Issuer = Issuer()
    issuers: tuple[Issuer, ...] = ()
    permissions: Permissions = Permissions()
    origins: tuple[str, ...] = ()
    forwarded_allow_ips: tuple[str, ...] = LOOPBACK
    tls_cert: str | None = None
    tls_key: str | None = None
    http2: bool = False
    deflate: bool = False
    echo: str | None = None
    limits: Limits = Limits()
    retention: Retention = Retention()
    tuning: Tuning = Tuning()


# Settings that are lists. In the environment and on the command line their entries stand between commas.
LISTS = {"origins", "forwarded_allow_ips", *ACTIONS}


def load(path: Path | None, environment: Mapping[str, str], flags: Mapping[str, Any]) -> Config:
    """Put a Config together.

    Args:
        path: A TOML file, or None.
        flags: Settings from the command line; None means not given.

    Raises:
        ConfigError: A setting does not exist, has the wrong type, or does not go with another one.
    """
    settings: dict[str, Any] = {}
    if path is not None:
        try:
            settings = tomllib.loads(path.read_text("utf-8"))
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise ConfigError(f"{path}: {getattr(error, 'strerror', None) or error}") from None
        _convert(settings, f"{path}: ")  # so that what is wrong in the file is said of the file
    for name, value in environment.items():
        if name.startswith(PREFIX) and not _is_of_kubernetes(name, value):
            if name.removeprefix(PREFIX).lower().split("__")[0] not in Config.__struct_fields__:
                raise ConfigError(f"{name}: there is no such setting (docs/configuration.md lists them)")
            *tables, key = name.removeprefix(PREFIX).lower().split("__")
            place = settings
            for table in tables:
                place = place.setdefault(table, {})
                if not isinstance(place, dict):
                    raise ConfigError(f"{name}: {table} is no table")
            place[key] = _split(key, value)
    settings |= {name: _split(name, value) for name, value in flags.items() if value is not None}
    config = _convert(settings, "")
    _check(config)
    return config


def _convert(settings: dict[str, Any], where: str) -> Config:
    try:
        return msgspec.convert(settings, Config, strict=False)
    except msgspec.ValidationError as error:
        raise ConfigError(where + f"{error}".replace("`$.", "`")) from None


def _is_of_kubernetes(name: str, value: str) -> bool:
    """Whether it tells of a Service called `trunkline`, as every pod beside one is told in its environment."""
    return re.fullmatch(r"TRUNKLINE_(SERVICE_.+|PORT_\d+_.+)", name) is not None or (
        name == "TRUNKLINE_PORT" and "://" in value
    )


def _split(name: str, value: Any) -> Any:
    return [part.strip() for part in value.split(",") if part.strip()] if name in LISTS else value


def _check(config: Config) -> None:
    if not 0 <= config.port <= 65535:
        raise ConfigError(f"port {config.port} is not between 0 and 65535")
    if not 1 <= config.workers <= WORKERS_MAX:
        raise ConfigError(f"workers is 1 to {WORKERS_MAX}, not {config.workers}")
    if config.workers > 1 and config.store == "memory:":
        raise ConfigError(
            f"store memory: lives in one process, and {config.workers} workers would have a log each;"
            " use sqlite:///PATH, or --workers 1"
        )
    if not 0 < config.ping_timeout < config.ping_interval:
        raise ConfigError(
            f"ping_timeout ({config.ping_timeout:g}) must be more than 0 and less than ping_interval"
            f" ({config.ping_interval:g})"
        )
    if not 0 <= config.presence_grace <= 3600:
        raise ConfigError(f"presence_grace is 0 to 3600 s, not {config.presence_grace:g}")
    if not 0 <= config.drain_window <= 600:
        raise ConfigError(f"drain_window is 0 to 600 s, not {config.drain_window:g}")
    if config.echo is not None and not re.fullmatch(r"/[A-Za-z0-9_.~/-]+", config.echo):
        raise ConfigError(f"echo is a path such as /echo, not {config.echo!r}")
    for name in ("limits", "retention", "tuning"):
        for key, value in msgspec.structs.asdict(getattr(config, name)).items():
            if not 0 < value < 2**53:
                raise ConfigError(f"{name}.{key} must be more than 0 and less than 2**53, not {value}")
    if (config.tls_cert is None) is not (config.tls_key is None):
        raise ConfigError("tls_cert and tls_key go together")
    if config.http2 and config.tls_cert is None:
        raise ConfigError("http2 needs tls_cert and tls_key: browsers speak it over TLS only")
    if config.auth == "none" and (config.jwt != Issuer() or config.issuers):
        raise ConfigError(
            'keys are set (in the file, or as TRUNKLINE_JWT__…), but auth is "none": say --auth jwt, or take them out'
        )
    if not (is_loopback(config.host) or config.auth != "none" or config.allow_anonymous):
        raise ConfigError(
            f"host {config.host} can be reached from other machines, and nobody would be asked who they are;"
            " set --auth jwt (docs/authentication.md), or say --allow-anonymous if that is what you want"
        )
