"""Every setting of `trunkline serve`, from four places: flags beat environment, that beats file, that beats default.

A setting `ping_interval` is `--ping-interval`, `TRUNKLINE_PING_INTERVAL` and, in the TOML file, `ping_interval`.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from trunkline.core.limits import Limits, Retention, Tuning
from trunkline.errors import ConfigError

PREFIX = "TRUNKLINE_"


class Config(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The settings of one server.

    Attributes:
        host, port: Where to listen; port 0 takes a free one.
        store: `sqlite:///PATH` or `memory:`.
        durable: SQLite: survive power loss too, not only kill -9.
        ping_interval, ping_timeout: Seconds; the timeout is the shorter one.
        allow_anonymous: Listen beyond loopback although nobody is asked who they are.
        limits, retention, tuning: Tables in the file; in the environment `TRUNKLINE_LIMITS__MESSAGE_BYTES_MAX`.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    store: str = "sqlite:///trunkline.db"
    durable: bool = False
    ping_interval: float = 30.0
    ping_timeout: float = 10.0
    allow_anonymous: bool = False
    limits: Limits = Limits()
    retention: Retention = Retention()
    tuning: Tuning = Tuning()


LOOPBACK = ("localhost", "::1")


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
            raise ConfigError(f"{path}: {error}") from None
    for name, value in environment.items():
        if name.startswith(PREFIX):
            *tables, key = name.removeprefix(PREFIX).lower().split("__")
            place = settings
            for table in tables:
                place = place.setdefault(table, {})
                if not isinstance(place, dict):
                    raise ConfigError(f"{name}: {table} is no table")
            place[key] = value
    settings |= {name: value for name, value in flags.items() if value is not None}
    try:
        config = msgspec.convert(settings, Config, strict=False)
    except msgspec.ValidationError as error:
        raise ConfigError(f"{error}".replace("`$.", "`")) from None
    _check(config)
    return config


def _check(config: Config) -> None:
    if not 0 <= config.port <= 65535:
        raise ConfigError(f"port {config.port} is not between 0 and 65535")
    if not 0 < config.ping_timeout < config.ping_interval:
        raise ConfigError("ping_timeout must be more than 0 and less than ping_interval")
    for name in ("limits", "retention", "tuning"):
        for key, value in msgspec.structs.asdict(getattr(config, name)).items():
            if not 0 < value < 2**53:
                raise ConfigError(f"{name}.{key} must be more than 0 and less than 2**53, not {value}")
    if not (config.host in LOOPBACK or config.host.startswith("127.") or config.allow_anonymous):
        raise ConfigError(
            f"host {config.host} can be reached from other machines, and nobody would be asked who they are;"
            " say --allow-anonymous if that is what you want, or listen on 127.0.0.1 behind a proxy that asks"
        )
