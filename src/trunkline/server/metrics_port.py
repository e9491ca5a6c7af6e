"""A port for `/metrics` alone: open to this machine, or to administrators if others can reach it."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import uvicorn
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.routing import Route

from trunkline.access.policy import ADMIN
from trunkline.errors import ConfigError, TrunklineError
from trunkline.transports.admission import admit
from trunkline.transports.app import on_error, serve
from trunkline.transports.context import Context
from trunkline.transports.endpoints import metrics
from trunkline.transports.exchange import Answer, Exchange
from trunkline.wire.origin import is_loopback

LOOPBACK_HOSTS = ["localhost", "127.0.0.1", "[::1]"]  # no page whose name was made to lead here can read them
STOP_S = 1


class MetricsPort:
    """A server of its own, on the same event loop.

    Args:
        listener: Where it listens.
        rooms: Whose metrics: the hubs of an application by their paths.
    """

    def __init__(self, listener: socket.socket, rooms: Mapping[str, Context]) -> None:
        self._listener = listener
        app = metrics_app(rooms, is_open=is_loopback(listener.getsockname()[0]))
        config = uvicorn.Config(
            app, log_config=None, access_log=False, lifespan="off", timeout_graceful_shutdown=STOP_S
        )
        self._server = _Server(config)
        self._task: asyncio.Task[None] | None = None

    @property
    def url(self) -> str:
        """Where the metrics are."""
        host, port = self._listener.getsockname()[:2]
        return f"http://[{host}]:{port}/metrics" if ":" in host else f"http://{host}:{port}/metrics"

    def start(self) -> None:
        """Begin to serve."""
        self._task = asyncio.get_running_loop().create_task(self._server.serve([self._listener]))

    async def stop(self) -> None:
        """Serve no more."""
        self._server.should_exit = True
        if self._task is not None:
            with contextlib.suppress(asyncio.CancelledError):
                await self._task


class _Server(uvicorn.Server):
    """uvicorn's server, which leaves the signals to the one whose process it is."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def check_metrics_host(host: str, *, is_authenticated: bool) -> None:
    """Check that nobody on another machine reads metrics without a token.

    Raises:
        ConfigError: Anybody could.
    """
    if not (is_loopback(host) or is_authenticated):
        raise ConfigError(
            f"metrics_host {host} can be reached from other machines, and there is no authentication by which to tell"
            " an administrator: set --auth jwt (docs/authentication.md), or leave metrics_host on loopback"
        )


def metrics_app(rooms: Mapping[str, Context], *, is_open: bool) -> Starlette:
    """Return an application that serves `/metrics`.

    Args:
        is_open: To whoever asks; else to administrators, of the first of the hubs.
    """
    first = next(iter(rooms.values()))

    async def scrape(context: Context, request: Exchange) -> Answer:
        if not is_open:
            await admit(context, request, ADMIN)
        return metrics.metrics_of(rooms, request)

    hosts = [Middleware(TrustedHostMiddleware, allowed_hosts=LOOPBACK_HOSTS)] if is_open else []
    return Starlette(
        routes=[Route("/metrics", serve(first, {"GET": scrape}, starts=False), methods=["GET"])],
        middleware=hosts,
        exception_handlers={TrunklineError: on_error(first)},
    )
