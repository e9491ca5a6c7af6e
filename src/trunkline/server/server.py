"""The composition root: config → store → hub → edge → uvicorn, and back down in the opposite order.

Shutting down, on SIGTERM or Ctrl-C: stop accepting, take no new messages, finish the acks, say `closing` and close
every stream (1012), let running requests end, close the store, exit with 0. A second signal waits for no client,
and still closes the store.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, Literal, NamedTuple

import msgspec
import uvicorn

from trunkline.access.issuer import Issuer
from trunkline.access.jwt import JwtAuth
from trunkline.config import Config, with_secret
from trunkline.core.address_limits import AddressLimits, Admission
from trunkline.engine.tasks import Tasks
from trunkline.errors import ConfigError
from trunkline.hub import Hub, add_webhooks, context_of, use_http_hooks
from trunkline.server.app_front import connections_max
from trunkline.server.board import POST_S, Board
from trunkline.server.edge import Edge
from trunkline.server.gate import Gate
from trunkline.server.metrics_port import MetricsPort, check_metrics_host
from trunkline.server.shared_figures import WRITE_S, SharedFigures
from trunkline.server.tls import Certificate
from trunkline.server.uvicorn_http2 import http2_class
from trunkline.server.uvicorn_websocket import counted_websocket
from trunkline.stores import open_store
from trunkline.transports.context import Context
from trunkline.wire.origin import is_loopback

log = logging.getLogger("trunkline")

ACCEPT_AGAIN_S = 0.1
TURN_S = 0.01
TICK_S = 1.0  # how often the date in all answers is made anew
STOPPING = (signal.SIGINT, signal.SIGTERM)
BACKLOG = 4096  # connections that wait to be accepted: a reconnect storm arrives within a second
GC_THRESHOLD = 20_000  # CPython's 700 is for programs that do not hold 15,000 connections
SHUTDOWN_S = 2  # per phase; with the drain's own it stays under 5 s
UNSENT_BYTES_MAX = 128 * 1024  # per socket, in the kernel: a reader who does not read is noticed, and costs little


def build_hub(config: Config) -> Hub:
    """Make the hub that a Config describes."""
    limits = msgspec.structs.replace(config.limits, connections_max=connections_max(config.limits.connections_max))
    hub = Hub(
        open_store(config.store, config.retention, durable=config.durable, shared=config.workers > 1),
        limits=limits,
        tuning=config.tuning,
        ping_interval_s=config.ping_interval,
        ping_timeout_s=config.ping_timeout,
        auth=auth_of(config),
        cookie=config.auth_cookie,
        origins=config.origins,
        presence_grace_s=config.presence_grace,
        backup_folder=config.backup_folder,
        loopback_only=config.auth == "none" and not config.hooks.authenticate and is_loopback(config.host),
        trusted=config.forwarded_allow_ips,
    )
    if config.socketio is not None:
        hub.socketio(config.socketio, recovery_s=config.socketio_recovery or None)
    add_webhooks(hub, [with_secret(settings, f"webhook {settings.consumer}") for settings in config.webhooks])
    if config.hooks.url:
        use_http_hooks(hub, with_secret(config.hooks, "hooks"))
    return hub


def auth_of(config: Config) -> JwtAuth | None:
    """Return what verifies tokens; None without authentication.

    Raises:
        ConfigError: A key cannot be used.
    """
    if config.auth == "none":
        return None
    issuers = [config.jwt] if config.jwt != Issuer() else []
    return JwtAuth([*issuers, *config.issuers], config.permissions)


def listen(host: str, port: int, dead_after_s: float) -> socket.socket:
    """Open a listening socket. What is set on it, accepted sockets inherit: one system call, not one per connection.

    Raises:
        ConfigError: The address cannot be had.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if sys.platform == "linux":
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT_BYTES_MAX)
            # A peer that is gone without a word, and has been sent something, is given up after this long. Event
            # streams have no pong; their keep-alive comments make this their liveness check.
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, round(dead_after_s * 1000))
        listener.bind(address)
        listener.listen(BACKLOG)
    except OSError as error:
        raise ConfigError(f"cannot listen on {host}:{port}: {error.strerror or error}") from None
    listener.setblocking(False)
    return listener


def listener_of(config: Config) -> socket.socket:
    """Return where the server listens; raises like `listen`."""
    return listen(config.host, config.port, config.ping_interval + config.ping_timeout)


def metrics_listener_of(config: Config) -> socket.socket | None:
    """Return where metrics alone are asked for; None if nowhere. Raises like `listen`."""
    if config.metrics_port is None:
        return None
    return listen(config.metrics_host, config.metrics_port, config.ping_interval + config.ping_timeout)


class Inherited(NamedTuple):
    """What a process is given by the one that has started it.

    Attributes:
        listener: Where to listen.
        metrics: Where to listen for metrics, if anywhere.
        board, figures: Of several workers.
    """

    listener: socket.socket
    metrics: socket.socket | None = None
    board: Board | None = None
    figures: SharedFigures | None = None


class Server(uvicorn.Server):
    """uvicorn with our edge in front, and our way of stopping.

    Args:
        app: The ASGI application.
        announce: Called once with the address and the place of the data, when requests are answered.
        inherited: What is there already.
    """

    def __init__(
        self,
        config: Config,
        app: Any,
        gate: Gate,
        announce: Callable[[str, str], None],
        inherited: Inherited | None = None,
    ) -> None:
        self._board = None if inherited is None else inherited.board
        self._figures = None if inherited is None else inherited.figures
        self._announce = announce
        self._certificate = None
        if config.tls_cert is not None and config.tls_key is not None:
            self._certificate = Certificate(config.tls_cert, config.tls_key, http2=config.http2)
            if config.http2:
                http2_class()  # what it needs is an extra
        self._gate = gate
        self._tasks = Tasks()
        self._ending: asyncio.Event | None = None
        self._listener = listener_of(config) if inherited is None else inherited.listener
        self._metrics_listener = metrics_listener_of(config) if inherited is None else inherited.metrics
        self._metrics: MetricsPort | None = None
        logging.getLogger("uvicorn.error").addFilter(_is_worth_a_line)

        def protocol(**arguments: Any) -> Edge:
            return Edge(self._gate, **arguments)

        super().__init__(
            uvicorn.Config(
                app,
                http=protocol,  # type: ignore[arg-type]  # any factory of protocols will do
                ws=counted_websocket(self._gate),
                ws_max_size=self.websocket_bytes_max,
                ws_per_message_deflate=False,
                log_config=None,  # its lines go where ours go
                access_log=False,  # an access log would hold whatever secrets stand in URLs
                server_header=False,
                timeout_graceful_shutdown=self.shutdown_s,
                lifespan=self.lifespan_kind,
                proxy_headers=True,
                forwarded_allow_ips=list(config.forwarded_allow_ips),
                backlog=BACKLOG,  # uvicorn listens once more
            )
        )

    # What subclasses do.

    lifespan_kind: Literal["auto", "on"] = "auto"
    shutdown_s = SHUTDOWN_S
    """How long requests that run at a stop have to end, after the streams were sent away."""
    unread_s = SHUTDOWN_S / 2
    """How long until requests that do not come in, and answers that are not read, hold it up no longer."""

    websocket_bytes_max = 16 * 1024 * 1024  # of one message on a WebSocket that is none of ours; uvicorn's own limit

    @property
    def rooms(self) -> dict[str, Context]:
        """The hubs that are served, by their paths."""
        return {}

    @property
    def data(self) -> str:
        """Where the data is, for a person."""
        return ""

    async def begin(self) -> None:
        """Do what comes before the application is started."""

    async def app_started(self) -> None:
        """Do what comes after the application was started, and before it is announced."""

    async def drain(self) -> None:
        """Send the streams away."""

    def hurry(self) -> None:
        """Cut the streams."""

    @property
    def url(self) -> str:
        """Where the server listens."""
        host, port = self._listener.getsockname()[:2]
        scheme = "http" if self._certificate is None else "https"
        return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"

    async def serve_for_ever(self) -> None:
        """Run until a signal."""
        await self.begin()
        await self.serve(sockets=[] if self._accepts_itself else [self._listener])

    @property
    def _accepts_itself(self) -> bool:
        """Whether uvicorn, which takes what it can get and tells of it afterwards, is not asked to accept."""
        return self._certificate is not None or self._board is not None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        self._watchers: list[asyncio.Future[None]] = []
        try:
            await super().startup(sockets)
        except SystemExit:  # uvicorn has said what it was
            raise ConfigError("the application did not start: its lifespan failed") from None
        await self.app_started()
        self._watchers = [asyncio.ensure_future(self._gate.expire_for_ever())]
        if self._certificate is not None:
            self._watchers.append(asyncio.ensure_future(self._certificate.renew_for_ever()))
        if self._accepts_itself:
            self._watchers.append(asyncio.ensure_future(self._accept_for_ever()))
        if self._board is not None:
            self._watchers.append(asyncio.ensure_future(self._post_for_ever(self._board)))
        if self._figures is not None:
            self._share_figures(self._figures)
            self._watchers.append(asyncio.ensure_future(self._share_for_ever(self._figures)))
        if self._metrics_listener is not None and self.rooms:
            self._metrics = MetricsPort(self._metrics_listener, self.rooms)
            self._metrics.start()
        # What lives until the end need not be looked at by every collection.
        # And nothing we make per message is a cycle: fewer, larger collections find as much.
        gc.collect()
        gc.freeze()
        gc.set_threshold(GC_THRESHOLD, 20, 20)
        metrics = "" if self._metrics is None else f"metrics on {self._metrics.url}"
        self._announce(self.url, "; ".join(filter(None, [self.data, metrics])))

    @property
    def _addresses(self) -> AddressLimits:
        return self._gate.front.access.addresses

    def _has_room(self) -> bool:
        return self._addresses.connections < self._gate.front.limits.connections_max

    def _post(self, board: Board) -> None:
        board.post(self._addresses.connections, time.monotonic(), full=not self._has_room())

    async def _post_for_ever(self, board: Board) -> None:
        while True:
            self._post(board)
            await asyncio.sleep(POST_S)

    def _share_figures(self, figures: SharedFigures) -> None:
        for path, rooms in self.rooms.items():
            rooms.figures.share(figures, path)
        figures.write({path: rooms.figures.families() for path, rooms in self.rooms.items()})

    async def _share_for_ever(self, figures: SharedFigures) -> None:
        while True:
            await asyncio.sleep(WRITE_S)
            self._share_figures(figures)

    def _is_our_turn(self) -> bool:
        """Return whether the next connection is for us, and not for another worker."""
        board = self._board
        connections, now = self._addresses.connections, time.monotonic()
        return board is None or board.may_accept(connections, now, full=not self._has_room())

    async def _accept_for_ever(self) -> None:
        """Accept connections, each when it is our turn.

        Of TLS connections uvicorn would tell us after their handshake; they count before it.
        """
        loop = asyncio.get_running_loop()
        failing = False
        while True:
            while not self._is_our_turn():  # noqa: ASYNC110 - the others are other processes
                await asyncio.sleep(TURN_S)
            try:
                connection, address = await loop.sock_accept(self._listener)
            except OSError as error:  # out of files, or gone before we looked
                if not failing:  # logged once: what uses up our files must not fill our disk as well
                    log.warning("connections cannot be accepted: %s", error)
                failing = True
                await asyncio.sleep(ACCEPT_AGAIN_S)
                continue
            failing = False
            addresses = self._addresses
            admission = addresses.admit(addresses.key(address[0]), time.monotonic(), address[0])
            if self._board is not None:
                self._post(self._board)
            if admission.must_drop:
                admission.release()
                connection.close()
            else:
                self._tasks.spawn(self._begin(connection, admission))

    async def _begin(self, connection: socket.socket, admission: Admission) -> None:
        edge = Edge(
            self._gate, admission, config=self.config, server_state=self.server_state, app_state=self.lifespan.state
        )
        secure: dict[str, Any] = {}
        if self._certificate is not None:
            secure = {"ssl": self._certificate.context, "ssl_handshake_timeout": self._gate.front.limits.handshake_s}
        try:
            await asyncio.get_running_loop().connect_accepted_socket(lambda: edge, connection, **secure)
        except (OSError, TimeoutError, asyncio.CancelledError):
            connection.close()
            if not edge.made:  # else it is told of its end like any other
                admission.release()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for server in self.servers:
            server.close()
        for watcher in self._watchers:
            watcher.cancel()
        if self._board is not None:
            self._board.leave()
        if self._figures is not None:
            self._figures.clear()
        if self._metrics is not None:
            await self._metrics.stop()
        if self._accepts_itself:
            self._listener.close()
        self._gate.close_young()
        await self.drain()
        self.hurry()  # for those that came between the signal and the closed listener
        # Requests that are still coming in, and answers that are not read, would hold the server up.
        asyncio.get_running_loop().call_later(self.unread_s, self._cut_requests)
        await super().shutdown(sockets)

    async def main_loop(self) -> None:
        # uvicorn's looks ten times a second whether it is to end: a server that has little to do is to cost little.
        self._ending = asyncio.Event()
        while not await self.on_tick(0):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(TICK_S):
                    await self._ending.wait()

    def _cut_requests(self) -> None:
        for connection in list(self.server_state.connections):
            connection.transport.abort()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        for number in STOPPING:
            signal.signal(number, self.handle_exit)
        try:
            yield
        finally:
            for number in STOPPING:
                signal.signal(number, signal.SIG_IGN)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        # Not uvicorn's: it would raise the signal again after a clean end, and the exit code would say that we died.
        # After a second one it would leave the application's lifespan, and with it the log, as they are.
        if self.should_exit:
            asyncio.get_running_loop().call_soon_threadsafe(self._hurry)
        self.should_exit = True
        if self._ending is not None:
            asyncio.get_running_loop().call_soon_threadsafe(self._ending.set)

    def _hurry(self) -> None:
        """Cut the connections that are still here instead of waiting for them, and close the log in order."""
        self.hurry()
        self._cut_requests()


def _is_worth_a_line(record: logging.LogRecord) -> bool:
    # uvicorn says so of every WebSocket that was refused with an answer: any client could fill the log with it.
    return "without completing handshake" not in record.getMessage()


class RoomsServer(Server):
    """The server of a hub alone."""

    lifespan_kind = "on"

    def __init__(
        self,
        config: Config,
        hub: Hub,
        announce: Callable[[str, str], None],
        inherited: Inherited | None = None,
    ) -> None:
        self.hub = hub
        self._context = context_of(hub)
        self._drain_ms = round(config.drain_window * 1000)
        gate = Gate(self._context, echo=config.echo, deflate=config.deflate, hands_over=bool(self._context.mounts))
        check_metrics_host(config.metrics_host, is_authenticated=self._context.access.is_required)
        super().__init__(config, hub.app, gate, announce, inherited)

    @property
    def rooms(self) -> dict[str, Context]:
        return {"": self._context}

    @property
    def data(self) -> str:
        return self._context.engine.store.location

    async def begin(self) -> None:
        await self.hub.start()  # so that what is wrong with the store is said in one line

    async def drain(self) -> None:
        await self.hub.drain(retry_after_ms=self._drain_ms)

    def hurry(self) -> None:
        self._context.engine.connections.abort_all()


def serve(config: Config, announce: Callable[[str, str], None], hub: Hub | None = None) -> None:
    """Run a server until SIGTERM or Ctrl-C.

    Args:
        announce: Called once with the address and the place of the data, when requests are answered.
        hub: A hub of your own, with hooks; else one as the config describes it.

    Raises:
        ConfigError: A setting cannot be used: the address is taken, the store cannot be opened.
    """
    run(RoomsServer(config, hub or build_hub(config), announce))


def run(server: Server) -> None:
    """Run a server until SIGTERM or Ctrl-C.

    Afterwards both are ignored: the process has ended in order, and is about to say so by its exit code.
    """
    with asyncio.Runner(loop_factory=server.config.get_loop_factory()) as runner:
        runner.run(server.serve_for_ever())
