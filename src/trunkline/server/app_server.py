"""An application of yours on our server: `trunkline run module:app`.

A request goes through the application, as on every ASGI server. Only a stream of rooms, once the application has let it
in and answered it, leaves ASGI and goes on straight on its socket (transports/handover.py). Where nothing of the
application stands around the rooms, or where the settings say so, requests for them do not go through it at all.
"""

from __future__ import annotations

import logging
import socket
import sys
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any

import uvicorn
from uvicorn.importer import ImportFromStringError, import_from_string
from uvicorn.supervisors import ChangeReload

from trunkline.config import Config
from trunkline.errors import ConfigError
from trunkline.hub import Hub, context_of
from trunkline.server.app_front import AppFront
from trunkline.server.gate import Gate
from trunkline.server.log import OUR_LOGGERS, set_up_log
from trunkline.server.metrics_port import check_metrics_host
from trunkline.server.mounts import Mounted, find_mounts, routes_of
from trunkline.server.server import Inherited, Server, listener_of, run
from trunkline.transports.context import Context
from trunkline.wire.origin import is_loopback

log = logging.getLogger("trunkline")

_IMPORTERS = ("trunkline", "uvicorn", "importlib")  # whose frames say nothing of a module that cannot be imported

Announce = Callable[[str, str], None]


class AppServer(Server):
    """The server of an application.

    Args:
        app: The ASGI application.
        direct: Path under which rooms are mounted whose requests do not go through the application.
        keep_streams: Leave streams with the application, which wants to see what they carry.

    Raises:
        ConfigError: There are no rooms under such a path, or they have no log that workers could share.
    """

    shutdown_s = 20  # less than a supervisor waits (workers.STOP_S)
    unread_s = 19.0  # what an application's requests wait for is not known here

    def __init__(
        self,
        config: Config,
        app: Any,
        announce: Announce,
        inherited: Inherited | None = None,
        *,
        direct: str | None = None,
        keep_streams: bool = False,
    ) -> None:
        self._drain_ms = round(config.drain_window * 1000)
        self._mounts = find_mounts(app)
        self._direct = None if keep_streams else _choose_direct(self._mounts, direct)
        # Of rooms that were found bare; where the operator says --direct, other routes are no matter.
        self._routes = None if direct is not None or self._direct is None else routes_of(self._direct, app)
        path = "" if self._direct is None else self._direct.path
        front = AppFront(config.limits)
        gate = Gate(None, front, path=path, deflate=config.deflate, hands_over=not keep_streams)
        if config.metrics_port is not None:
            if not self._mounts:
                raise ConfigError("metrics_port: no rooms are mounted that can be seen, so there are no metrics")
            required = all(rooms.access.is_required for rooms in self.rooms.values())
            check_metrics_host(config.metrics_host, is_authenticated=required)
        super().__init__(config, app, gate, announce, inherited)
        for mounted in self._mounts:
            context = context_of(mounted.hub)
            if self._board is not None and not context.engine.store.shared:
                raise ConfigError(
                    f"several workers need a log that they share, and the rooms under {mounted.path}/ have"
                    f' {context.engine.store.location}: give the hub "sqlite:///PATH?shared=1", or Redis'
                )
            if not context.access.is_required and not is_loopback(config.host):
                log.warning(
                    "the rooms under %s/ let every client in, and clients on other machines can reach %s: unless your"
                    " application asks who they are, give the hub `auth=` or @hub.authenticate",
                    mounted.path,
                    config.host,
                )

    @property
    def rooms(self) -> dict[str, Context]:
        return {mounted.path: context_of(mounted.hub) for mounted in self._mounts}

    @property
    def data(self) -> str:
        if self._direct is not None:
            return f"requests under {self._direct.path}/ go to the rooms without passing the application"
        paths = ", ".join(f"{mounted.path}/" for mounted in self._mounts)
        if not paths:
            return "no rooms are mounted that can be seen"
        if not self._gate.hands_over:
            return f"requests under {paths} pass the application, streams too"
        return f"requests under {paths} pass the application, and streams leave it when they have begun"

    async def app_started(self) -> None:
        if self._direct is None:
            return
        if self._routes is not None and routes_of(self._direct, self.config.app) != self._routes:
            self._direct = None  # its lifespan has added routes, and one of them may be a guard
        else:
            context = context_of(self._direct.hub)
            await context.ensure_started()  # mostly the application's lifespan has done it
            self._gate.answer_for(context)

    async def drain(self) -> None:
        for mounted in self._mounts:
            await mounted.hub.drain(retry_after_ms=self._drain_ms)

    def hurry(self) -> None:
        for mounted in self._mounts:
            context_of(mounted.hub).engine.connections.abort_all()


def _choose_direct(mounts: list[Mounted], wanted: str | None) -> Mounted | None:
    if wanted is None:
        return next((mounted for mounted in mounts if mounted.is_bare and not _needs_application(mounted)), None)
    path = "/" + wanted.strip("/") if wanted.strip("/") else ""
    for mounted in mounts:
        if mounted.path == path:
            if _needs_application(mounted):
                raise ConfigError(
                    f"direct: the authenticate hook of the rooms under {path or '/'} takes the request, which only the"
                    " application has: leave --direct out, or give the hub `auth=` or @hub.authenticate"
                )
            return mounted
    found = ", ".join(mounted.path or "/" for mounted in mounts) or "none that can be seen"
    raise ConfigError(f"direct: no rooms are mounted under {path or '/'} (there are: {found})")


def _needs_application(mounted: Mounted) -> bool:
    return context_of(mounted.hub).access.needs_scope


def load_app(name: str) -> Any:
    """Return the application that `module:attribute` names, of a module in the present folder or an installed one.

    Raises:
        ConfigError: There is none.
    """
    if "" not in sys.path and str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    module = name.partition(":")[0]
    hint = f": {module.removesuffix('.py')}:app?" if module.endswith(".py") else f", in {Path.cwd()}"
    try:
        app = import_from_string(name)
    except ImportFromStringError as error:
        raise ConfigError(f"{name}: {error}{hint}") from None
    except Exception as error:  # noqa: BLE001 - whatever a module does, its author is told in its own words
        own = _below_import(error)
        if own is None:
            raise ConfigError(f'{name}: Could not import module "{module}"{hint}') from None
        traceback.print_exception(type(error), error, own)
        raise ConfigError(f"{name}: the module cannot be imported") from None
    if isinstance(app, Hub):
        raise ConfigError(f"{name} is a Hub, and no application: run {name}.app")
    if not callable(app):
        raise ConfigError(f"{name} is of type {type(app).__name__}, and no ASGI application")
    return app


def _below_import(error: BaseException) -> TracebackType | None:
    """Return the part of an error's traceback that is the module's own; None if it was not even found."""
    frame = error.__traceback__
    while frame is not None and frame.tb_frame.f_globals.get("__name__", "").partition(".")[0] in _IMPORTERS:
        frame = frame.tb_next
    return frame


def serve_app(
    config: Config, name: str, announce: Announce, *, direct: str | None = None, keep_streams: bool = False
) -> None:
    """Run an application until SIGTERM or Ctrl-C.

    Args:
        name: `module:attribute`.
        announce: Called once with the address, and what is special about it, when requests are answered.
        direct, keep_streams: See `AppServer`.

    Raises:
        ConfigError: A setting cannot be used, or there is no such application.
    """
    run(AppServer(config, load_app(name), announce, direct=direct, keep_streams=keep_streams))


def serve_app_reloading(
    load_config: Callable[[], Config], name: str, announce: Announce, *, direct: str | None, keep_streams: bool
) -> None:
    """Run an application in a process that is replaced whenever a file of Python in this folder has changed.

    Args:
        load_config: Called in each process anew; it has to be picklable, and so has *announce*.
    """
    config = load_config()
    listener = listener_of(config)
    target = partial(_serve_in_child, load_config, name, announce, direct, keep_streams)
    watched = uvicorn.Config(name, reload=True, log_level="warning")
    ChangeReload(watched, target=target, sockets=[listener]).run()


def _serve_in_child(
    load_config: Callable[[], Config],
    name: str,
    announce: Announce,
    direct: str | None,
    keep_streams: bool,
    sockets: list[socket.socket],
) -> None:
    try:
        config = load_config()
        set_up_log(config.log_format, config.log_level, OUR_LOGGERS)
        app = load_app(name)
        run(AppServer(config, app, announce, Inherited(sockets[0]), direct=direct, keep_streams=keep_streams))
    except ConfigError as error:
        log.error("%s", error)
        sys.exit(1)
