"""The Python API: rooms in an application, in a script, or behind our own server.

Everything here is a few lines over the engine (`engine/engine.py`) and the access rules (`access/policy.py`);
it is long because all of the API is here, and 40 % of its lines are docstrings.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from functools import cached_property
from pathlib import Path
from typing import Any, Self, TypeVar

import msgspec
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp
from starlette.websockets import WebSocket

from trunkline.access.admin_sessions import AdminSessions
from trunkline.access.administration import Administration, Reached
from trunkline.access.audit import Audit
from trunkline.access.erasures import Erasures
from trunkline.access.jwt import JwtAuth
from trunkline.access.moderation import Moderation
from trunkline.access.policy import Access, AuthenticateHook, AuthorizeHook
from trunkline.admin.directory import Directory
from trunkline.admin.figures import Figures
from trunkline.admin.lookup import Lookup
from trunkline.admin.overview import Overview
from trunkline.consumers.registry import Consumers
from trunkline.core.address_limits import LOOPBACK
from trunkline.core.grant import Grant, Permissions
from trunkline.core.json_text import check_json
from trunkline.core.limits import Limits, Tuning
from trunkline.core.message import Draft, Message, Receipt, check_id, check_room, check_sender
from trunkline.core.page import DEFAULT_START, Page
from trunkline.core.position import NOW, Gap, parse_start
from trunkline.core.presence import Member
from trunkline.core.read_mark import Unread, check_offset
from trunkline.core.retention import Retention
from trunkline.core.signal import check_signal
from trunkline.core.trace import parse_trace
from trunkline.core.webhook import HooksSettings, WebhookSettings
from trunkline.engine.backups import Backups
from trunkline.engine.clock import Clock
from trunkline.engine.engine import Engine
from trunkline.engine.ownership import CLOSE_S, Ownership
from trunkline.engine.presence import PresenceHook
from trunkline.errors import ConfigError, RequestError, ShuttingDown, TrunklineError
from trunkline.handlers.calls import Calls
from trunkline.handlers.connection_hooks import ConnectionHooks
from trunkline.handlers.publishing import Publishing, Trusted
from trunkline.handlers.runner import Runner
from trunkline.hub_admin import HubAdmin
from trunkline.hub_handlers import HubHandlers
from trunkline.observe.counters import Counters
from trunkline.stores import Store, open_store
from trunkline.transports.acknowledgements import Acknowledgements
from trunkline.transports.app import RoomEvents, build_app, on_error, serve_room, serve_websocket
from trunkline.transports.context import Context, Parts
from trunkline.transports.follow import Follows
from trunkline.transports.shutdown import called_on_signals
from trunkline.transports.socketio.room_events import serve_rooms
from trunkline.transports.socketio.session import Settings

log = logging.getLogger("trunkline")

T = TypeVar("T")


class Hub(HubHandlers):
    """Rooms, for one event loop.

    Use it as an ASGI application (`hub.app`), or by itself: `async with Hub("sqlite:///chat.db") as hub: …`.

    Args:
        store: A store, or its URL: `sqlite:///PATH`, `memory:`, or a URL of Redis.
        durable: With a URL of SQLite: survive power loss too (see docs/durability.md).
        retention: With a URL: how much of each room is kept.
        limits: What one client may ask for.
        tuning: What the server spends on keeping things quick.
        ping_interval_s: Seconds between two pings of a stream.
        ping_timeout_s: Seconds after a ping within which something must be heard from a WebSocket.
        auth: Verifies tokens. Without it, and without an `authenticate` hook, every client may do everything.
        cookie: Name of a cookie that may hold a token.
        origins: A list of other origins whose pages may use the rooms, such as `["https://app.example.com"]`.
        loopback_only: The server is for this machine alone: requests by any other host name are refused.
        trusted: Addresses of your own proxies and back ends: what they say of their clients' addresses is believed,
            and their own requests are not limited.
        presence_grace_s: Seconds after a member's last connection ends, until the others are told that it left.
        pages: Serve the chat and the other pages, too.
        backup_folder: Where backups go that an administrator orders over HTTP; without it none can be ordered so.
        clock: The clock and the source of random numbers, for tests; the machine's by default.

    Raises:
        ConfigError: Settings contradict each other, or the store's URL is not valid. That the store cannot be opened is
            raised by `start`.
    """

    def __init__(
        self,
        store: str | Store = "sqlite:///trunkline.db",
        *,
        durable: bool = False,
        retention: Retention | None = None,
        limits: Limits | None = None,
        tuning: Tuning | None = None,
        ping_interval_s: float = 30.0,
        ping_timeout_s: float = 10.0,
        auth: JwtAuth | None = None,
        cookie: str | None = None,
        origins: Sequence[str] = (),
        loopback_only: bool = False,
        trusted: Sequence[str] = LOOPBACK,
        presence_grace_s: float = 5.0,
        pages: bool = True,
        backup_folder: str | None = None,
        clock: Clock | None = None,
    ) -> None:
        if isinstance(store, str):
            store = open_store(store, retention or Retention(), durable=durable)
        elif retention is not None or durable:
            raise ConfigError("retention and durable go with the URL of a store: a Store of your own has its own")
        self._retention = retention or Retention()
        self._backup_folder = None if backup_folder is None else Path(backup_folder)
        if self._backup_folder is not None and not self._backup_folder.is_dir():
            raise ConfigError(f"backup_folder: there is no folder {self._backup_folder}")
        self._engine_settings: dict[str, Any] = {
            "limits": limits or Limits(),
            "tuning": tuning or Tuning(),
            "ping_interval_s": ping_interval_s,
            "ping_timeout_s": ping_timeout_s,
            "presence_grace_s": presence_grace_s,
        }
        self._access_settings: dict[str, Any] = {
            "auth": auth,
            "cookie": cookie,
            "origins": origins,
            "loopback_only": loopback_only,
            "trusted": trusted,
        }
        super().__init__()
        self._context = Context(self._build(store, clock, Access), self._ensure_started_by_request)
        self._ownership = Ownership(self._forked, self.close)
        self._pages = pages
        self._closing: list[Callable[[], Awaitable[None]]] = []
        self._is_closed = False
        self._why_closed = "the hub is closed"
        self._drained: asyncio.Future[None] | None = None

    def _build(self, store: Store, clock: Clock | None, access: type[Access]) -> Parts:
        counters = Counters()
        try:
            self._engine = Engine(store, counters=counters, clock=clock, **self._engine_settings)
        except ValueError as error:
            raise ConfigError(str(error)) from None
        self._access = access(
            self._engine.limits,
            counters,
            self._engine.clock,
            node=self._engine.name if store.bus is not None else "",
            **self._access_settings,
        )
        self._administration = Administration(self._engine, self._access)
        self._access.admin_sessions = AdminSessions(self._engine)
        engine, rules = self._engine, self._access
        audit = Audit(engine)
        corrected = Moderation(engine, rules, audit), Erasures(engine, self._administration, audit)
        handlers, runner = self._handlers, Runner(engine.tuning.hook_threads_max, counters, engine.clock)
        calls, consumers = Calls(engine, rules, handlers, runner), Consumers(engine)
        hooks = ConnectionHooks(engine.tasks, handlers, runner)
        figures = Figures(engine, rules, consumers, calls, hooks)
        seen = figures, Overview(engine, rules, consumers), Lookup(engine, rules), Follows(engine)
        return Parts(
            engine,
            rules,
            self._administration,
            *seen,
            *corrected,
            Directory(engine),
            Backups(engine.store, self._backup_folder),
            runner,
            Publishing(engine, rules, handlers, runner),
            calls,
            hooks,
            consumers,
            Acknowledgements(engine),
        )

    # Life.

    async def start(self) -> None:
        """Open the store and begin, on the running event loop. Idempotent; `publish` and `read` call it themselves.

        A hub that was closed begins again.

        Raises:
            ConfigError: The store cannot be used.
            WrongLoop: The hub runs on another event loop.
        """
        self._ownership.claim()
        async with self._ownership.start_lock:
            if self._engine.is_running:
                return
            self._ownership.claim()
            try:
                await self._engine.start()
            except BaseException:
                self._ownership.release()
                raise
            self._context.start_handlers()
            self._engine.tasks.every(1.0, self._access.expire)
            self._context.overview.start()
            self._context.erasures.start()
            if self._access.admin_sessions is not None:
                self._access.admin_sessions.start()
            self._start_webhooks()
            self._is_closed, self._drained = False, None

    async def drain(self, *, retry_after_ms: int = 1000, timeout_s: float = 1.5) -> None:
        """Take no more messages, finish calls and acks, send every streaming client away and wait until they are gone.

        Idempotent: every call waits for the end of the first one.

        Args:
            retry_after_ms: Clients are told to come back at different times of up to this one.
            timeout_s: How long to wait for calls, then for the acks, and then for the clients, in seconds each.

        Raises:
            WrongLoop: The hub runs on another event loop.
        """
        if not self._engine.is_running:
            return
        self._ownership.check()
        if self._drained is None:
            calls = self._context.calls
            calls.stop()
            if not calls.in_flight:
                self._engine.stop_taking()  # before the task has its turn
            self._drained = asyncio.ensure_future(self._drain(retry_after_ms, timeout_s))
        await asyncio.shield(self._drained)

    async def _drain(self, retry_after_ms: int, timeout_s: float) -> None:
        await self._context.consumers.drain(timeout_s)
        await self._context.calls.drain(timeout_s)  # which may still publish
        await self._engine.drain(retry_after_ms, timeout_s)
        for drain in self._context.on_drain:
            drain()

    async def close(self) -> None:
        """Drain, stop and close the store. Idempotent.

        Raises:
            WrongLoop: The hub runs on another event loop.
        """
        if not self._engine.is_running or self._is_closed:
            return
        await self.drain()
        self._is_closed = True
        await self._engine.close()
        for close in self._closing:
            await close()
        self._ownership.release()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    @asynccontextmanager
    async def lifespan(self, _app: object = None) -> AsyncIterator[None]:
        """Run the hub in an ASGI application's lifespan: `Starlette(lifespan=hub.lifespan)`, or inside yours.

        It starts the hub, drains it on SIGTERM and Ctrl-C (before the server waits for streams that would not end by
        themselves), and closes it.

        Raises:
            ConfigError, WrongLoop: As from `start`.
        """
        await self.start()
        try:
            with called_on_signals(lambda: self._engine.tasks.spawn(self.drain())):
                yield
        finally:
            await self.close()

    def statistics(self) -> dict[str, Any]:
        """Return what there is now, and the counters since the start.

        Returns:
            Now: `sockets` (TCP connections), `connections` (streams), `authenticated` (of those and of polls), `polls`
            (that wait), `rooms` (that are open), `in_flight` (messages that wait for the log). Since the start:
            `published`, `duplicates`, `commits`, `delivered` (messages × readers), `notified` (events beside messages ×
            readers), `gaps` (told to readers that were too slow), `stalls` (sockets that took no more), `expired`
            (connections without a pong) and `refusals` (by error code).
        """
        return self._context.statistics()

    # In an application.

    @cached_property
    def app(self) -> Starlette:
        """The rooms as an ASGI application: run it with any ASGI server, or mount it into yours."""
        app = build_app(self._context, self.lifespan, pages=self._pages)
        app.state.hub = self
        app.state.made = (app.router, [*app.user_middleware], [*app.router.routes])  # what there is of ours
        return app

    @cached_property
    def exception_handlers(self) -> dict[Any, Any]:
        """Exception handlers for an application that calls the hub: they answer errors as PROTOCOL.md has them."""
        return {TrunklineError: on_error(self._context)}

    def endpoint(self, room: str) -> Callable[[Request], Awaitable[ASGIApp]]:
        """Return an endpoint for one room under a path of your own: `Route("/scores", hub.endpoint("scores"))`.

        It answers like `/rooms/{room}`: polls, event streams and, if the route allows POST, publishing.

        Raises:
            RequestError: `bad_room`.
        """
        return serve_room(self._context, check_room(room))

    def sse(self, room: str, request: Request, *, user: str | None = None) -> Response:
        """Return the event stream of a room as the response of an endpoint of yours: `return hub.sse(room, request)`.

        The client begins where its `Last-Event-ID`, or `since` or `last` in the query, says.

        Args:
            room: Name of the room.
            request: The request that is answered.
            user: Who the client is. Your endpoint has decided that this user may read the room; without it, the hub's
                own authentication and permissions decide.

        Raises:
            RequestError: `bad_room`.
        """
        check_room(room)
        grant = None if user is None else Grant(user=user, permissions=Permissions(read=(room,), presence=(room,)))
        return RoomEvents(self._context, room, grant)

    def socketio(
        self,
        path: str = "/socket.io",
        *,
        recovery_s: float | None = 120.0,
        ping_interval_s: float = 25.0,
        ping_timeout_s: float = 20.0,
        bytes_max: int = 1_000_000,
    ) -> None:
        """Let clients of Socket.IO join rooms and publish, under a path of `app` (docs/socketio.md).

        An application that hears events of its own has `trunkline.socketio.AsyncServer(hub)`.

        Args:
            recovery_s: How long after its connection has ended a client can go on where it was, in seconds; None for
                never.
            ping_interval_s, ping_timeout_s: Between two pings, and for the answer, in seconds.
            bytes_max: The most that a client may send at once.

        Raises:
            ConfigError: A setting cannot be used.
        """
        if not (ping_interval_s > 0 and ping_timeout_s > 0):
            raise ConfigError("the ping interval and the ping timeout are more than 0 seconds")
        settings = Settings(ping_interval_s=ping_interval_s, ping_timeout_s=ping_timeout_s, bytes_max=bytes_max)
        edge = serve_rooms(self._context, settings, recovery_s)
        self._context.mounts[f"/{path.strip('/')}/"] = edge.endpoint

        async def close() -> None:
            edge.close()

        self._closing.append(close)

    @cached_property
    def websocket(self) -> Callable[[WebSocket], Awaitable[None]]:
        """The WebSocket of `/connect` under a path of your own: `WebSocketRoute("/chat", hub.websocket)`."""
        return serve_websocket(self._context)

    # Access.

    def authenticate(self, hook: AuthenticateHook) -> AuthenticateHook:
        """Decorator: authenticate clients by your own code, instead of tokens or beside them.

        The hook gets the `Credentials` of a request (token, cookies, headers) and returns a `Grant`, or None if it does
        not know the client; it may be `async`. If it raises, the client is refused.
        """
        self._access.authenticate_hook = hook
        return hook

    def authorize(self, hook: AuthorizeHook) -> AuthorizeHook:
        """Decorator: decide by your own code what a client may do, instead of by the grant's patterns.

        The hook gets the grant, the action (`read`, `write`, `signal`, `presence`, `redact`, `redact_own`, `call`,
        `consume`) and the room (for `call` and `consume`: the name of the call or the consumer), and returns a bool; it
        may be `async`. It is called whenever a client joins, polls, publishes, redacts, signals, asks for presence,
        moves its read mark, counts what it has not seen, calls or consumes; call `recheck` when an answer has changed.
        If it raises, or takes longer than `limits.auth_s`, the client is refused.
        """
        self._access.authorize_hook = hook
        return hook

    async def recheck(self, user: str) -> Reached:
        """Check again what a user may do on open connections, on all nodes: call it when permissions have changed.

        Args:
            user: The user, as its tokens or the `authenticate` hook name it.

        Returns:
            How many connections were checked, and the nodes that did not answer within a second.

        Raises:
            WrongLoop: The hub runs on another event loop.
        """
        await self._ensure_started()
        return await self._administration.recheck(user)

    async def disconnect(self, user: str) -> Reached:
        """End all connections of a user, on all transports and nodes. The user's tokens stay valid.

        Args:
            user: The user, as its tokens or the `authenticate` hook name it.

        Returns:
            How many connections were ended, and the nodes that did not answer within a second.

        Raises:
            WrongLoop: The hub runs on another event loop.
        """
        await self._ensure_started()
        return await self._administration.disconnect(user)

    async def revoke(self, *, user: str | None = None, token_id: str | None = None) -> Reached:
        """Refuse a token from now on, or all tokens that a user was issued until now, and end their connections.

        It is kept in the log, so a restart does not forget it, for as long as retention keeps messages; and a node
        that could not be reached learns of it there.

        Args:
            user: The user whose tokens are refused, if they were issued until now.
            token_id: The `jti` of the token that is refused. With *user*, too, both are.

        Returns:
            How many connections were ended, and the nodes that did not answer within a second.

        Raises:
            RequestError: `bad_command`: neither *user* nor *token_id* is given.
            StoreUnavailable, Overloaded, ShuttingDown: It is not known whether the revocation is stored; try again.
            WrongLoop: The hub runs on another event loop.
        """
        if user is None and token_id is None:
            raise RequestError("bad_command", "name the user or the token_id")
        await self._ensure_started()
        return await self._administration.revoke(user=user, token_id=token_id)

    @cached_property
    def admin(self) -> HubAdmin:
        """What operators and moderators do: list rooms, redact messages, delete rooms, erase users."""
        return HubAdmin(self._context, self._ensure_started)

    # Publishing.

    async def publish(
        self,
        room: str,
        data: Any,
        *,
        id: str | None = None,  # noqa: A002 - its name on the wire
        sender: str | None = None,
        traceparent: str | None = None,
        tracestate: str | None = None,
        check: bool = False,
    ) -> Receipt:
        """Append a message to a room; return its receipt once the log has it.

        Args:
            room: 1 to 255 of `A-Z a-z 0-9 _ . : ~ -`.
            data: Anything that msgspec can encode as JSON, up to `limits.message_bytes_max` (64 KiB) and
                `limits.json_depth_max` levels (32).
            id: The idempotency key, 1 to 128 printable ASCII characters: publishing it again returns the first receipt,
                with `duplicate` set. Without one, a publish that is repeated is another message.
            sender: The user in whose name it is published, up to 1,024 characters.
            traceparent, tracestate: The trace that it is part of (W3C Trace Context). One that is not valid is ignored.
            check: Have `before_publish` look at it, as if *sender* had published it by a client.

        Raises:
            Refused, HookFailed: With *check*: as `before_publish` has it.
            RequestError: The room, the id, the sender or the data are not allowed; the message says why.
            TypeError: msgspec cannot encode the data.
            StoreUnavailable: It may be stored or not; publish it again with the same id.
            Overloaded, ShuttingDown: It is not stored; publish it again with the same id.
            WrongLoop: The hub runs on another event loop, where this would wait for ever: see `publish_sync`.
        """
        await self._ensure_started()
        limits, trace = self._engine.limits, parse_trace(traceparent, tracestate)
        try:
            check_sender(sender)
            if id is not None:
                check_id(id, limits.id_bytes_max)
            text = check_json(msgspec.json.encode(data), limits.message_bytes_max, limits.json_depth_max)
            check_room(room)
        except RequestError as error:
            self._engine.publish_refused(room, id, trace, error)
            raise
        self._ownership.check()
        if not check:
            return await self._engine.appender.append(room, id, sender, text, trace)
        draft = Draft(room, id, sender, self._engine.clock.wall_ms(), text, trace)
        return await self._context.publishing.publish(Trusted(sender), draft)

    def publish_sync(
        self,
        room: str,
        data: Any,
        *,
        id: str | None = None,  # noqa: A002 - its name on the wire
        sender: str | None = None,
        traceparent: str | None = None,
        tracestate: str | None = None,
        check: bool = False,
        timeout_s: float = 10.0,
    ) -> Receipt:
        """`publish` for code that cannot await: call it from any thread but the hub's own; returns once the log has it.

        In an application that runs the hub it goes through the hub's event loop. Where nothing runs it (a shell, a
        script, a worker of a task queue) the hub is started on a thread of its own and closed when the process ends;
        a server that uses the same SQLite file must then share it (`sqlite:///PATH?shared=1`).

        Args:
            room, data, id, sender, traceparent, tracestate, check: As for `publish`.
            timeout_s: Seconds to wait for the log.

        Raises:
            RequestError, Refused, HookFailed, StoreUnavailable, Overloaded, ShuttingDown: As from `publish`.
            ConfigError: The hub had to be started, and the store cannot be used.
            TimeoutError: It is not known whether it was stored; publish it again with the same *id*.
            WrongLoop: This is the thread of the hub's own event loop, which would block it: `await hub.publish(…)`. Or
                this process was forked from the one that the hub runs in.
        """
        more: dict[str, Any] = {"traceparent": traceparent, "tracestate": tracestate, "check": check}
        return self._ownership.run_sync(lambda: self.publish(room, data, id=id, sender=sender, **more), timeout_s)

    async def signal(self, room: str, name: str, data: Any = None, *, sender: str | None = None) -> None:
        """Send a signal to a room's readers: it is not logged, and the next one of the same name replaces it.

        Args:
            room: Name of the room.
            name: 1 to 64 of `A-Z a-z 0-9 _ . : ~ -`.
            data: Anything that msgspec can encode as JSON, up to 4 KiB.
            sender: The user in whose name it is sent, up to 1,024 characters.

        Raises:
            RequestError: The room, the name, the sender or the data are not allowed.
            TypeError: msgspec cannot encode the data.
            ShuttingDown, WrongLoop: The hub is closed, or runs on another event loop.
        """
        await self._ensure_started()
        check_sender(sender)
        name, text = check_signal(name, msgspec.json.encode(data))
        self._engine.signals.send(check_room(room), name, sender, sender or "", text)

    # Reading.

    async def read(
        self,
        room: str,
        *,
        since: str | int | None = None,
        last: int | None = None,
        on_gap: Callable[[Gap], None] | None = None,
        on_redacted: Callable[[Message], None] | None = None,
    ) -> AsyncIterator[Message]:
        """Follow a room for ever: every message after the start, in order, each once. While the log is away, it waits.

        Args:
            room: Name of the room.
            since: `start`, `now` (the default), an offset, or a position such as `k3f9x2.42`.
            last: Instead of *since*: begin with this many of the newest messages.
            on_gap: Called with messages that are gone, before reading goes on behind them.
            on_redacted: Called with redactions, in their place among the messages: the messages of the offsets in
                `redacts` have no data any more.

        Raises:
            GapError: Messages are gone and there is no *on_gap*.
            RequestError: The room or the start are not valid.
            StoreUnavailable: The log has been away for an hour.
            ShuttingDown, WrongLoop: The hub was drained, or runs on another event loop.
        """
        await self._ensure_started()
        async for message in self._engine.pages.follow(room, parse_start(since, last, NOW), on_gap, on_redacted):
            yield message

    async def page(
        self,
        room: str,
        *,
        since: str | int | None = None,
        last: int | None = None,
        limit: int = 100,
        wait_s: float = 0.0,
    ) -> Page:
        """Return a page of a room: one poll, for answers of your own. Go on with `since=page.next`.

        Args:
            room: Name of the room.
            since: `start`, `now`, an offset, or a position such as `k3f9x2.42`. If *last* is left out, too, the page
                begins with the newest 50 messages.
            last: Instead of *since*: begin with this many of the newest messages.
            limit: At most so many messages; with 0, only where the room stands.
            wait_s: If there is nothing yet, how many seconds to wait for something.

        Raises:
            RequestError: The room or the start are not valid.
            StoreUnavailable: The log could not be read.
            ShuttingDown, WrongLoop: The hub is closed, or runs on another event loop.
        """
        await self._ensure_started()
        start = parse_start(since, last, DEFAULT_START)
        return await self._engine.pages.read(room, start, limit=limit, wait_s=wait_s)

    # What is true now.

    def members(self, room: str) -> list[Member]:
        """Return the members of a room who want to be shown, on all nodes: the first 1,000, in the order of joining.

        Args:
            room: Name of the room. The list is empty if it has no members, and before the hub has started.
        """
        return self._engine.presence.members(room)[1]

    def on_presence(self, hook: PresenceHook) -> PresenceHook:
        """Decorator: called with (room, member, joined) when a member has joined, or has left after the grace period.

        It may be `async`; what it raises is logged.
        """
        self._engine.presence.hook = hook
        return hook

    async def mark(self, room: str, user: str, offset: int) -> Unread:
        """Move a user's read mark forward to *offset*; return the unread count once the mark is stored.

        Args:
            room: Name of the room.
            user: The user, or another name of a member.
            offset: Of the last message that was seen, 0 or more. A mark never moves back, nor past the newest message.

        Returns:
            The room's newest offset, the mark, and the number of messages between them.

        Raises:
            RequestError: `bad_room`; or `bad_position`, for a negative offset.
            StoreUnavailable, Overloaded: It is not stored; try again.
            ShuttingDown, WrongLoop: The hub is closed, or runs on another event loop.
        """
        await self._ensure_started()
        check_offset(offset)
        return await self._engine.read_marks.mark(check_room(room), user, offset)

    async def unread(self, user: str, rooms: Sequence[str]) -> list[Unread]:
        """Return a user's unread counts in these rooms.

        Args:
            user: The user, or another name of a member.
            rooms: Names of the rooms.

        Returns:
            For each room its newest offset, the user's read mark, and the number of messages between them.

        Raises:
            RequestError: `bad_room`.
            StoreUnavailable: The log could not be read.
            ShuttingDown, WrongLoop: The hub is closed, or runs on another event loop.
        """
        await self._ensure_started()
        return await self._engine.read_marks.unread(user, [check_room(room) for room in rooms])

    async def _ensure_started(self) -> None:
        """Start a hub that never was; one that was closed stays closed.

        Raises:
            ShuttingDown: The hub is closed.
            WrongLoop: The hub runs on another event loop.
        """
        if self._is_closed:
            raise ShuttingDown(self._why_closed)
        if not self._engine.is_running:
            await self.start()
        else:
            self._ownership.check()

    async def _ensure_started_by_request(self) -> None:
        if not (self._engine.is_running or self._is_closed):
            log.warning(
                "the hub is started by its first request, so nothing will drain it when the server stops:"
                " give your application lifespan=hub.lifespan, or enter that in your own"
            )
        await self._ensure_started()

    def _forked(self) -> None:
        name = secrets.token_hex(4)
        self._engine.rename(name)
        if self._engine.store.bus is not None:
            self._access.tickets.node = name


def context_of(hub: Hub) -> Context:
    """Return what transports are given, for servers of our own."""
    return hub._context  # noqa: SLF001 - a server is not an application: dir(Hub) shows what that needs


def add_webhooks(hub: Hub, webhooks: Sequence[WebhookSettings]) -> None:
    """Let a hub post to these, too.

    Raises:
        ConfigError: The settings of one are not what they should be.
    """
    for settings in webhooks:
        hub._add_webhook(settings)  # noqa: SLF001 - see context_of


def use_http_hooks(hub: Hub, settings: HooksSettings) -> None:
    """Let a hub ask an application by requests.

    Raises:
        ConfigError: The settings are not what they should be.
    """
    try:
        from trunkline.webhooks.hooks import HttpHooks  # noqa: PLC0415 - an extra
    except ModuleNotFoundError:
        raise ConfigError("hooks: install trunkline[client]") from None
    engine = context_of(hub).engine
    hooks = HttpHooks(settings, engine.clock, engine.limits)
    if settings.authenticate:
        hub.authenticate(hooks.authenticate)
    if settings.authorize:
        hub.authorize(hooks.authorize)
    if settings.before_publish:
        hub.before_publish(*settings.before_publish)(hooks.before_publish)
    for name in dict.fromkeys(settings.calls):
        hub.call(name)(hooks.call)
    context_of(hub).administration.when_rechecked.append(hooks.forget)
    hub._closing.append(hooks.close)  # noqa: SLF001 - see context_of


def loop_of(hub: Hub) -> asyncio.AbstractEventLoop | None:
    """Return the event loop that a hub runs on; None if it does not run, or the loop has ended."""
    loop = hub._ownership.loop  # noqa: SLF001 - see context_of
    return loop if hub._engine.is_running and loop is not None and not loop.is_closed() else None  # noqa: SLF001


def run_sync(hub: Hub, call: Callable[[], Coroutine[Any, Any, T]], timeout_s: float) -> T:
    """Return what a coroutine returns that runs on a hub's event loop, from another thread; see `publish_sync`.

    Raises:
        TimeoutError: It took longer than *timeout_s* seconds.
        WrongLoop: This is the thread of the hub's own event loop.
    """
    return hub._ownership.run_sync(call, timeout_s)  # noqa: SLF001 - see context_of


def stop_background(hub: Hub) -> None:
    """End the thread on which a hub ran that nothing else has run, when it is closed. From another thread."""
    hub._ownership.stop_background()  # noqa: SLF001 - see context_of


def rebuild(
    hub: Hub, make_store: Callable[[Retention], Store], clock: Clock, access: type[Access]
) -> Callable[[], None]:
    """Give a hub that does not run another log, clock and access rules, with its settings and hooks as they are.

    Everything that was made from the hub (`app`, `endpoint`, `websocket`) goes over to them. It is for tests of
    applications, whose hub stands in a module (`trunkline.testing`).

    Returns:
        What undoes it, when the hub is closed or its event loop has ended. Until it is started the hub is closed then:
        what the application still does would be done to its own log.

    Raises:
        RuntimeError: The hub runs, on an event loop that has not ended; or it is under test already.
    """
    context = hub._context  # noqa: SLF001 - see context_of
    before = context.parts

    def put(parts: Parts) -> None:
        hub._engine, hub._access, hub._administration = parts[:3]  # noqa: SLF001
        context.use(parts)
        hub._is_closed, hub._drained, hub._why_closed = False, None, "the hub is closed"  # noqa: SLF001
        hub._ownership.release()  # noqa: SLF001

    if isinstance(before.access, access):
        raise RuntimeError("another test has this hub: close its TestHub first")
    if hub._ownership.is_background:  # noqa: SLF001 - what the test before has published has started it, and nothing else uses it
        run_sync(hub, hub.close, CLOSE_S)
        stop_background(hub)
    if loop_of(hub) is not None:
        raise RuntimeError(
            "the hub runs already: take it over before the application starts (in pytest, the fixture `hub` before the"
            " TestClient), or close it first"
        )
    hub._posts_webhooks = False  # noqa: SLF001 - a test is not to post what it publishes
    parts = hub._build(make_store(hub._retention), clock, access)  # noqa: SLF001
    parts.access.authenticate_hook = before.access.authenticate_hook
    parts.access.authorize_hook = before.access.authorize_hook
    parts.engine.presence.hook = before.engine.presence.hook
    put(parts)

    def undo() -> None:
        # Hooks that the application has registered meanwhile, in a module that a test was the first to import.
        before.access.authenticate_hook = before.access.authenticate_hook or parts.access.authenticate_hook
        before.access.authorize_hook = before.access.authorize_hook or parts.access.authorize_hook
        before.engine.presence.hook = before.engine.presence.hook or parts.engine.presence.hook
        put(before)
        hub._posts_webhooks = True  # noqa: SLF001
        hub._is_closed = True  # noqa: SLF001
        hub._why_closed = (  # noqa: SLF001
            "the test that had this hub has ended, and closed it: take the fixture `hub` here, too, or start it"
            " (hub.lifespan, `await hub.start()`)"
        )

    return undo
