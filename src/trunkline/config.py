"""Every setting of `trunkline serve`, from four places: flags beat environment, that beats file, that beats default.

A setting `ping_interval` is `--ping-interval`, `TRUNKLINE_PING_INTERVAL` and, in the TOML file, `ping_interval`.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, TypeVar, get_args, get_origin

import msgspec

from trunkline.access.issuer import Issuer
from trunkline.core.address_limits import LOOPBACK
from trunkline.core.grant import ACTIONS, Permissions
from trunkline.core.limits import Limits, Tuning, current_name
from trunkline.core.retention import Retention
from trunkline.core.webhook import HooksSettings, WebhookSettings
from trunkline.errors import ConfigError
from trunkline.wire.origin import is_loopback

PREFIX = "TRUNKLINE_"
# In a worker's environment: the file descriptors of its listener, of the pipe to its parent, of the listener of metrics
# (-1 without), of the board and of the metrics that workers share, the worker's slot in both, and how many there are.
WORKER_VARIABLE = "TRUNKLINE_WORKER"
# An administrator's, for the command line. No flag: what stands there can be seen by every user of the machine.
TOKEN_VARIABLE = "TRUNKLINE_TOKEN"  # noqa: S105
OWN_VARIABLES = ("TRUNKLINE_URL", TOKEN_VARIABLE, WORKER_VARIABLE)  # no settings of the server
WORKERS_MAX = 256


def environment() -> dict[str, str]:
    """Return the environment, without what is no setting of a server."""
    return {name: value for name, value in os.environ.items() if name not in OWN_VARIABLES}


def _flag(text: str) -> msgspec.Meta:
    """Describe a setting that is also an option of `trunkline serve`."""
    return msgspec.Meta(description=text)


class Config(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The settings of one server. Those with a description are options of `trunkline serve`, too.

    Attributes:
        jwt, issuers: The issuers whose tokens are accepted: one, or several.
        permissions: What a token without a `rooms` claim permits.
        webhooks: Where messages are posted to.
        hooks: An application that is asked by requests.
        limits, retention, tuning: Tables in the file; in the environment `TRUNKLINE_LIMITS__MESSAGE_BYTES_MAX`.
    """

    host: Annotated[str, _flag("address to listen on")] = "127.0.0.1"
    port: Annotated[int, _flag("port to listen on; 0 takes a free one")] = 8000
    store: Annotated[str, _flag("sqlite:///PATH, memory: or redis://HOST")] = "sqlite:///trunkline.db"
    durable: Annotated[bool, _flag("SQLite: survive power loss too, not only kill -9")] = False
    workers: Annotated[int, _flag("number of processes behind one address, with one log between them")] = 1
    ping_interval: Annotated[float, _flag("seconds between two pings of a connection")] = 30.0
    ping_timeout: Annotated[float, _flag("seconds to wait for any byte after a ping")] = 10.0
    metrics_port: Annotated[
        int | None, _flag("a port for /metrics alone, which on loopback asks for no token; 0 takes a free one")
    ] = None
    metrics_host: Annotated[
        str, _flag("address of metrics_port; beyond loopback an administrator's token is needed")
    ] = "127.0.0.1"
    log_format: Annotated[Literal["console", "json"], _flag("console for people, json for machines")] = "console"
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"], _flag("the least important lines of the log")
    ] = "info"
    presence_grace: Annotated[float, _flag("seconds after a member's last connection ends until others are told")] = 5.0
    drain_window: Annotated[float, _flag("seconds over which clients are told to reconnect at a stop")] = 1.0
    allow_anonymous: Annotated[bool, _flag("listen beyond loopback without authentication")] = False
    auth: Annotated[
        Literal["none", "jwt"], _flag("jwt: clients must send a token of an issuer; none: no authentication")
    ] = "none"
    auth_cookie: Annotated[str | None, _flag("name of a cookie that may hold the token")] = None
    jwt: Issuer = Issuer()
    issuers: tuple[Issuer, ...] = ()
    permissions: Permissions = Permissions()
    origins: Annotated[
        tuple[str, ...], _flag("pages of other origins that may use the rooms: https://a.example.com,https://b.example")
    ] = ()
    forwarded_allow_ips: Annotated[
        tuple[str, ...], _flag("trusted addresses: proxies that set X-Forwarded-For, and back ends without limits")
    ] = LOOPBACK
    tls_cert: Annotated[str | None, _flag("certificate chain in a PEM file: serve https and wss")] = None
    tls_key: Annotated[str | None, _flag("the certificate's key in a PEM file")] = None
    http2: Annotated[bool, _flag("offer HTTP/2 over TLS")] = False
    deflate: Annotated[bool, _flag("compress WebSocket messages (RFC 7692) for clients that offer it")] = False
    echo: Annotated[str | None, _flag("a path that echoes WebSocket messages, for conformance tests")] = None
    socketio: Annotated[str | None, _flag("a path for clients of Socket.IO, such as /socket.io")] = None
    socketio_recovery: Annotated[
        float, _flag("seconds after its connection has ended in which a client of Socket.IO can go on; 0 for never")
    ] = 120.0
    backup_folder: Annotated[
        str | None, _flag("where backups go that an administrator orders over HTTP; without it, none can be")
    ] = None
    webhooks: tuple[WebhookSettings, ...] = ()
    hooks: HooksSettings = HooksSettings()
    limits: Limits = Limits()
    retention: Retention = Retention()
    tuning: Tuning = Tuning()


class Flag(NamedTuple):
    """An option of `trunkline serve`.

    Attributes:
        name: Of the setting.
        kind: `bool`, `int`, `float` or `str`, which a list is given as, with commas.
        help: What it sets.
        default: As it is shown.
    """

    name: str
    kind: type
    help: str
    default: str


def flags() -> list[Flag]:
    """Return the options of `trunkline serve`, one for each setting that has a description."""
    found = []
    for field in msgspec.structs.fields(Config):
        if get_origin(field.type) is not Annotated:
            continue
        wanted, meta = get_args(field.type)
        default = ",".join(field.default) if isinstance(field.default, tuple) else field.default
        kind = wanted if wanted in (bool, int, float) else str
        shown = "" if default in (None, False, "") else f"{default:g}" if kind is float else str(default)
        found.append(Flag(field.name, kind, meta.description, shown))
    return found


# Settings that are lists. In the environment and on the command line their entries stand between commas.
LISTS = {"origins", "forwarded_allow_ips", "before_publish", "calls", *ACTIONS}


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
        _rename(settings, f"{path}: ")
        _convert(settings, f"{path}: ")  # so that what is wrong in the file is said of the file
    given: dict[tuple[str, ...], str] = {}
    for name, value in environment.items():
        if name.startswith(PREFIX) and not _is_of_kubernetes(name, value):
            if name.removeprefix(PREFIX).lower().split("__")[0] not in Config.__struct_fields__:
                raise ConfigError(f"{name}: there is no such setting (docs/configuration.md lists them)")
            *tables, key = name.removeprefix(PREFIX).lower().split("__")
            if tables == ["limits"]:
                key = current_name(key)
            other = given.setdefault((*tables, key), name)
            if other != name:
                raise ConfigError(f"{name} and {other} are one setting: give one of them")
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


S = TypeVar("S", WebhookSettings, HooksSettings)


def with_secret(settings: S, where: str) -> S:
    """Return settings with the secret that stands in their file, if they name one.

    Raises:
        ConfigError: The file cannot be read, or there are two secrets.
    """
    if settings.secret_file is None:
        return settings
    if settings.secret is not None:
        raise ConfigError(f"{where}: set secret or secret_file, not both")
    try:
        secret = Path(settings.secret_file).read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{where}: secret_file {settings.secret_file}: {error}") from None
    return msgspec.structs.replace(settings, secret=secret)


OF_RUN = frozenset({
    "host", "port", "log_format", "log_level", "metrics_port", "metrics_host", "workers", "drain_window",
    "allow_anonymous", "forwarded_allow_ips", "tls_cert", "tls_key", "http2", "deflate", "limits",
})  # fmt: skip
LIMITS_OF_RUN = frozenset({"connections_max", "handshake_s", "head_bytes_max"})


def check_for_run(config: Config) -> None:
    """Check that all settings are such as `trunkline run` knows: the others are the hub's, which an application makes.

    Raises:
        ConfigError: Some are not.
    """
    plain = Config()
    wrong = [
        name
        for name in Config.__struct_fields__
        if name not in OF_RUN and getattr(config, name) != getattr(plain, name)
    ]
    wrong += [
        f"limits.{name}"
        for name in Limits.__struct_fields__
        if name not in LIMITS_OF_RUN and getattr(config.limits, name) != getattr(plain.limits, name)
    ]
    if wrong:
        raise ConfigError(f"{', '.join(wrong)}: of an application that is the hub's: give it to Hub(…) in your code")


def _convert(settings: dict[str, Any], where: str) -> Config:
    retention = settings.get("retention")
    if isinstance(retention, dict):  # [retention."chat:*"] is a table of its own in the file
        rooms = {name: rule for name, rule in retention.items() if isinstance(rule, dict) and name != "rooms"}
        bounds = {name: value for name, value in retention.items() if name not in rooms}
        settings = settings | {"retention": bounds | {"rooms": bounds.get("rooms", {}) | rooms}}
    try:
        return msgspec.convert(settings, Config, strict=False)
    except msgspec.ValidationError as error:
        raise ConfigError(where + f"{error}".replace("`$.", "`")) from None


def _rename(settings: dict[str, Any], where: str) -> None:
    """Give settings their present names, before those of another source are put over them."""
    limits = settings.get("limits")
    if not isinstance(limits, dict):
        return
    for name in list(limits):
        if current_name(name) != name:
            if current_name(name) in limits:
                raise ConfigError(f"{where}{name} and {current_name(name)} are one setting: give one of them")
            limits[current_name(name)] = limits.pop(name)


def _is_of_kubernetes(name: str, value: str) -> bool:
    """Return whether Kubernetes has set this variable for a Service called `trunkline`."""
    return re.fullmatch(r"TRUNKLINE_(SERVICE_.+|PORT_\d+_.+)", name) is not None or (
        name == "TRUNKLINE_PORT" and "://" in value
    )


def _split(name: str, value: Any) -> Any:
    return [part.strip() for part in value.split(",") if part.strip()] if name in LISTS else value


def _check(config: Config) -> None:
    if not 0 <= config.port <= 65535:
        raise ConfigError(f"port {config.port} is not between 0 and 65535")
    if config.metrics_port is not None and not 0 <= config.metrics_port <= 65535:
        raise ConfigError(f"metrics_port {config.metrics_port} is not between 0 and 65535")
    if not 1 <= config.workers <= WORKERS_MAX:
        raise ConfigError(f"workers is 1 to {WORKERS_MAX}, not {config.workers}")
    if config.workers > 1 and config.store == "memory:":
        raise ConfigError(
            f"store memory: lives in one process, and {config.workers} workers would have a log each;"
            " use sqlite:///PATH, or --workers 1"
        )
    if not 0 < config.ping_timeout < config.ping_interval:
        raise ConfigError(
            f"ping_timeout ({config.ping_timeout:g} s) must be more than 0 and less than ping_interval"
            f" ({config.ping_interval:g} s)"
        )
    if not 0 <= config.presence_grace <= 3600:
        raise ConfigError(f"presence_grace is 0 to 3600 s, not {config.presence_grace:g}")
    if not 0 <= config.drain_window <= 600:
        raise ConfigError(f"drain_window is 0 to 600 s, not {config.drain_window:g}")
    if config.echo is not None and not re.fullmatch(r"/[A-Za-z0-9_.~/-]+", config.echo):
        raise ConfigError(f"echo is a path such as /echo, not {config.echo!r}")
    if config.socketio is not None and not re.fullmatch(r"(/[A-Za-z0-9_.~-]+)+/?", config.socketio):
        raise ConfigError(f"socketio is a path such as /socket.io, not {config.socketio!r}")
    if not 0 <= config.socketio_recovery <= 86_400:
        raise ConfigError(f"socketio_recovery is 0 to 86400 s, not {config.socketio_recovery:g}")
    for name in ("limits", "retention", "tuning"):
        for key, value in msgspec.structs.asdict(getattr(config, name)).items():
            if value is not None and key != "rooms" and not 0 < value < 2**53:
                raise ConfigError(f"{name}.{key} must be more than 0 and less than 2**53, not {value}")
    if (config.tls_cert is None) is not (config.tls_key is None):
        raise ConfigError("tls_cert and tls_key must be set together: one of them is missing")
    if config.http2 and config.tls_cert is None:
        raise ConfigError("http2 needs tls_cert and tls_key: browsers speak it over TLS only")
    if config.auth == "none" and (config.jwt != Issuer() or config.issuers):
        raise ConfigError(
            'keys are set (in the file, or as TRUNKLINE_JWT__…), but auth is "none": say --auth jwt, or take them out'
        )
    if config.hooks != HooksSettings() and not config.hooks.url:
        raise ConfigError("hooks: set its url: where the application is that is asked")
    is_asked = config.auth != "none" or config.hooks.authenticate
    if not (is_loopback(config.host) or is_asked or config.allow_anonymous):
        raise ConfigError(
            f"host {config.host} can be reached from other machines, and there would be no authentication;"
            " set --auth jwt (docs/authentication.md), or --allow-anonymous if that is what you want"
        )
