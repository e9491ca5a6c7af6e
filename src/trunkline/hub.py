"""The hub: carries out what was decided, and owns every task and timer.

Follow one publish: `publish` checks it and puts it among the drafts that wait. The appender, the only task that
writes, takes all of them at once and gives them to the store; while that commit runs, the next drafts gather (group
commit). When the store has them, `_committed` makes messages of them, tells fan-out, and answers the publishers: from
here on readers may see them. Fan-out's steps run for a few milliseconds at a time, with the event loop in between.

Nothing here is per reader: one appender, one heartbeat timer, one trimmer, and a handful of store reads at a time.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import logging
import os
import random
import secrets
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Container, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import cached_property
from itertools import count
from typing import Any, NamedTuple, Protocol, Self, TypeVar, runtime_checkable

import msgspec
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.types import ASGIApp
from starlette.websockets import WebSocket

from trunkline.access import Access, Authenticate, Authorize
from trunkline.auth import JwtAuth
from trunkline.background import BackgroundLoop, run_on
from trunkline.core.attendance import Attendance, compare
from trunkline.core.cursor import Cursor, Reader
from trunkline.core.door import LOOPBACK
from trunkline.core.fanout import Fanout
from trunkline.core.grant import Grant
from trunkline.core.heartbeat import Heartbeat
from trunkline.core.json_text import check_json
from trunkline.core.limits import Limits, Retention, Tuning
from trunkline.core.mark import Unread
from trunkline.core.message import Draft, Message, Receipt, check_id, check_room, check_sender
from trunkline.core.peers import (
    ROOMS_ASKED_MAX,
    Disconnect,
    Fence,
    InUse,
    Order,
    Recheck,
    Redeem,
    Renew,
    Revoked,
    Signalled,
)
from trunkline.core.position import NOW, Gap, Position, Start, overtaken, parse_since, parse_start, resolve
from trunkline.core.presence import Member
from trunkline.core.room import Room
from trunkline.core.signal import Signal, check_signal
from trunkline.core.wall_clock import HOLD_S, WallClock
from trunkline.errors import (
    ConfigError,
    GapError,
    Overloaded,
    RequestError,
    ShuttingDown,
    StoreUnavailable,
    TrunklineError,
    WrongLoop,
)
from trunkline.live import Live, PresenceHook, now_ms
from trunkline.nodes import Answers, Nodes
from trunkline.stores import Store, open_store
from trunkline.stores.base import Deaf, Unwritable
from trunkline.wire.poll import Page

log = logging.getLogger("trunkline")
T = TypeVar("T")

READS_AT_ONCE = 8
RETRY_MS_MIN, RETRY_MS_MAX = 5000, 60_000
RECONNECTS_PER_S = 1000  # a fifth of what a core can take: what comes back wants to catch up, too
TRIM_INTERVAL_S = 4.0
EMPTY_ROOMS_AT_ONCE = 500
IN_USE_S = 60.0  # so long an empty room that was in use is not asked about again
IN_USE_MAX = 100_000
RETRY_READ_S = 1.0
MOVE_AFTER_MS = 1000
LOOK_S = 1.0  # how long a room may have moved without our having been told
STALLED_S = 10.0  # without an answer of the log: then we are not ready
READ_WAIT_S = 3600.0
POLL_DEFAULT = Start("last", 50)
OPENING_TAIL_MESSAGES = 256  # after a restart most readers come back for the last few: one read serves all of them

_REVOCATIONS = "$revocations"  # no client can name it: "$" is in no room's name

Answer = Callable[[Draft, Receipt | None, TrunklineError | None], None]


class _Waiting(msgspec.Struct):
    """A draft that the log does not have yet, and who wants to know when it has."""

    draft: Draft
    answer: Answer


@runtime_checkable
class Connection(Protocol):
    """What the hub needs of a streaming connection, beside being a Reader, to keep it alive and to end it."""

    heard: bool

    def ping(self) -> None:
        """Send something that keeps proxies awake and, on WebSocket, makes the peer answer."""

    def expire(self) -> None:
        """Nothing was heard in time after a ping."""

    def abort(self) -> None:
        """Free everything now."""

    def drain(self, retry_after_ms: int) -> None:
        """Say goodbye and close; the worker is about to stop."""


class Fenced(Reader, Protocol):
    """A stream of a client of which there may be one only."""

    attendance: Attendance
    grant: Grant

    def dismiss(self, error: RequestError) -> None:
        """Another one has taken over."""


class Hub:
    """Rooms, for one event loop.

    Use it as an ASGI application (`hub.app`), or by itself: `async with Hub("sqlite:///chat.db") as hub: …`.

    Args:
        store: A store, or its URL: `sqlite:///PATH`, `memory:`, or a URL of Redis.
        durable: With a URL of SQLite: survive power loss too (see docs/durability.md).
        retention: With a URL: how much of each room is kept.
        ping_interval_s, ping_timeout_s: How often each stream is pinged, and how long after that something must be
            heard from a WebSocket.
        auth: Whose tokens count. Without it, and without `authenticate`, anybody may do anything.
        cookie: Name of a cookie that may hold a token.
        origins: Pages of other origins that may use the rooms, such as `https://app.example.com`.
        loopback_only: The server is for this machine alone: requests by any other host name are refused.
        trusted: Addresses of our own proxies and back ends: what they say of their clients' addresses is believed,
            and what they do in their own name is not limited.
        presence_grace_s: How long after the last connection of somebody who is present is gone, the others are told.
        pages: Serve the chat and the other pages, too.

    Raises:
        ConfigError: The store is none, settings contradict each other, or one of them does not go with a Store.
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
    ) -> None:
        if isinstance(store, str):
            store = open_store(store, retention or Retention(), durable=durable)
        elif retention is not None or durable:
            raise ConfigError("retention and durable go with the URL of a store: a Store of your own has its own")
        self.store = store
        self.limits = limits or Limits()
        self.tuning = tuning or Tuning()
        self.pages = pages
        self.ping_interval_s = ping_interval_s
        self.ping_timeout_s = ping_timeout_s
        self.access = Access(
            self.limits,
            auth=auth,
            cookie=cookie,
            origins=origins,
            loopback_only=loopback_only,
            trusted=trusted,
        )
        self.heartbeat: Heartbeat[Connection] = Heartbeat(ping_interval_s, ping_timeout_s)
        self.draining = False
        self._name = store.bus.name if store.bus is not None else secrets.token_hex(4)
        self._session_numbers = count(1)
        self._fanout = Fanout(self.tuning)
        self._rooms: dict[str, Room] = {}
        self.live = Live(self._name, store, self._rooms.get, presence_grace_s, self.tuning)
        self.nodes: Nodes | None = None
        if store.bus is not None:
            self.nodes = self.live.nodes = Nodes(
                store.bus, _Neighbour(self), self.spawn, presence_grace_s, lambda: self._hears
            )
            self.access.tickets.node = self._name
            self.access.redeem_elsewhere = self._redeem_elsewhere
        self._fenced: dict[tuple[str | None, str], tuple[int, Fenced]] = {}
        self._revoked_to = Position("", 0)
        self._opening: dict[str, _Opening] = {}
        self._present: dict[Room, asyncio.Task[None]] = {}  # is being caught up with
        self._following: dict[Room, asyncio.Task[None]] = {}  # will be, after that
        self._forget_at = self.tuning.idle_rooms_max
        self._closed = False
        self._waiting: list[_Waiting] = []
        self._waiting_bytes = 0
        self._in_flight = 0
        self._in_flight_bytes = 0
        self._wanted_reads: deque[Cursor] = deque()
        self._reading = 0
        self._running = False  # fan-out has a call scheduled
        self._owner: asyncio.AbstractEventLoop | None = None  # the loop that starts us, or has
        self._owner_lock = threading.Lock()
        self._start_lock: asyncio.Lock
        self._start_loop: asyncio.AbstractEventLoop | None = None  # that lock's
        self._loop: asyncio.AbstractEventLoop | None = None  # the same once we run
        self._process = os.getpid()
        self._background: BackgroundLoop | None = None
        self._arrived: asyncio.Event
        self._settled: asyncio.Event
        self._tasks: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._drained: asyncio.Future[None] | None = None
        self._answered_at = 0.0  # when the log answered last, on the loop's clock
        self._away = False  # the log says so itself, so it is away for all
        self._answers = asyncio.Event()  # the log has answered since somebody last found that it does not
        self._uncertain = False  # rooms may have moved without our following
        self._appending_since: float | None = None
        self._unwritable: str | None = None  # why nothing can be stored, as far as we know
        self._unwritable_since = 0.0
        self._wall_clock = WallClock()
        self._in_use: set[str] = set()  # empty rooms that have readers
        self._in_use_until = 0.0
        self._commits = 0
        self._published = 0
        self._duplicates = 0
        self.expired = 0
        self.unsent_bytes = 0  # of answers to polls that are on their way

    # Life.

    async def start(self) -> None:
        """Open the store and begin, on the running event loop. Idempotent; `publish` and `read` do it themselves, once.

        Raises:
            ConfigError: The store cannot be used.
            WrongLoop: The hub runs on another event loop.
        """
        self._own()
        async with self._start_lock:
            if self._loop is not None:
                return
            self._own()
            try:
                self.store.moved = self._moved
                await self.store.start()
                await self.store.follow(_REVOCATIONS)
                await self.load_revocations()
            except BaseException:
                self._owner = None
                raise
            self._loop = asyncio.get_running_loop()
            self._closed = False
            self._arrived, self._settled = asyncio.Event(), asyncio.Event()
            self.draining, self._drained = False, None
            self.spawn(self._append_for_ever())
            self.spawn(self._trim_for_ever())
            self._timer = self._loop.call_later(self.heartbeat.tick_s, self._tick)
            self._answered_at, self._appending_since = self._loop.time(), None
            self._unwritable = None
            self._wall_clock = WallClock()
            self.spawn(self._watch_for_ever())
            self.spawn(self._look_for_ever())
            if self.nodes is not None:
                self.spawn(self.nodes.beat_for_ever())

    @property
    def started(self) -> bool:
        """Whether it runs."""
        return self._loop is not None

    async def ensure_started(self) -> None:
        """Start a hub that never was; one that was closed stays closed.

        Raises:
            ShuttingDown: The hub is closed.
            WrongLoop: The hub runs on another event loop.
        """
        if self._closed:
            raise ShuttingDown("the hub is closed")
        if self._loop is None:
            await self.start()
        else:
            self._check_loop()

    def _own(self) -> None:
        """Let the loop that runs here be ours, unless another one is: two threads may start us at the same moment.

        Raises:
            WrongLoop: Another one is.
        """
        here = asyncio.get_running_loop()
        with self._owner_lock:
            if self._owner is None:
                if os.getpid() != self._process:
                    self._be_another_process()
                self._owner = here
                if self._start_loop is not here:
                    self._start_loop, self._start_lock = here, asyncio.Lock()
        self._check_loop()

    def _be_another_process(self) -> None:
        """This process was forked before the hub was started: it takes a name of its own."""
        self._process = os.getpid()
        self._name = self.live.name = secrets.token_hex(4)
        if self.store.bus is not None:
            self.store.bus.name = self.access.tickets.node = self._name

    def _check_loop(self) -> None:
        """Refuse to wait on a loop on which nothing would ever wake the caller.

        Raises:
            WrongLoop: The hub runs on another event loop than the one that runs here, or in another process.
        """
        owner = self._owner
        if owner is None or (asyncio.get_running_loop() is owner and os.getpid() == self._process):
            return
        self._check_process()
        if owner.is_closed():
            raise WrongLoop(
                "the event loop that this hub ran on has ended, and the hub with it: do everything in one asyncio.run()"
                " (`async with Hub(…) as hub`), or everything with hub.publish_sync(…), which needs no event loop"
            )
        if self._background is not None and owner is self._background.loop:
            raise WrongLoop(
                "publish_sync has started this hub on a thread of its own: in an application that runs the hub, start"
                " it first (hub.lifespan, or `await hub.start()`); from elsewhere, go on with publish_sync"
            )
        raise WrongLoop(
            "this hub runs on another event loop: call hub.publish_sync(…) from other threads; for anything else,"
            " asyncio.run_coroutine_threadsafe(…, loop).result() with the loop that it was started on"
        )

    def _check_process(self) -> None:
        if os.getpid() != self._process:
            raise WrongLoop(
                "this process was forked from the one that the hub runs in: make the hub after the fork"
                " (in Celery, in a task or on worker_process_init; in gunicorn, without preload_app)"
            )

    @property
    def retry_max_ms(self) -> int:
        """Over how long the clients that are connected now are to spread their attempts to come back, if we die."""
        return round(min(RETRY_MS_MAX, max(RETRY_MS_MIN, self.access.door.connections / RECONNECTS_PER_S * 1000)))

    @property
    def unsent_bytes_left(self) -> int:
        """How much of answers to polls may still be on its way to clients that do not take it."""
        return max(0, self.limits.unsent_bytes_max - self.unsent_bytes)

    @property
    def unready(self) -> str | None:
        """Why nobody should be sent here now; None if there is no reason."""
        if self._loop is None or self.draining:
            return "draining" if self.draining else "not started"
        now = self._loop.time()
        if self._unwritable is not None and now - self._unwritable_since > 0:
            return f"nothing can be stored: {self._unwritable}"
        if self._appending_since is not None and now - self._appending_since > STALLED_S:
            return f"nothing has been stored for {now - self._appending_since:.0f} s"
        return self._unreadable

    @property
    def _unreadable(self) -> str | None:
        """Why readers here cannot be told what is published elsewhere; None if they can."""
        assert self._loop is not None
        silent_s = self._loop.time() - self._answered_at
        return f"the log has not answered for {silent_s:.0f} s" if silent_s > STALLED_S else None

    def _cannot_store(self, why: str, *, after_s: float = 0.0) -> None:
        """Nothing can be stored. Clients are sent elsewhere from *after_s* on, since most of it passes by itself."""
        assert self._loop is not None
        if self._unwritable is None:
            self._unwritable_since = self._loop.time() + after_s
            log.error("nothing can be stored: %s", why)
        elif not after_s:
            self._unwritable_since = min(self._unwritable_since, self._loop.time())
        self._unwritable = why

    def _can_store(self) -> None:
        if self._unwritable is not None:
            log.warning("messages can be stored again")
            self._unwritable = None

    @property
    def _hears(self) -> bool:
        """Whether other nodes can reach us, as far as we know."""
        return self._loop is not None and self._loop.time() - self._answered_at < 3 * LOOK_S

    async def drain(self, *, retry_after_ms: int = 1000, timeout_s: float = 1.5) -> None:
        """Take no more messages, finish the acks, say goodbye to every stream and wait until they are gone.

        Idempotent: every call waits for the first one's end.

        Args:
            retry_after_ms: Clients are told to come back at different times up to this one.

        Raises:
            WrongLoop: The hub runs on another event loop.
        """
        if self._loop is None:
            return
        self._check_loop()
        if self._drained is None:
            self.draining = True
            self._drained = asyncio.ensure_future(self._drain(retry_after_ms, timeout_s))
        await asyncio.shield(self._drained)

    async def _drain(self, retry_after_ms: int, timeout_s: float) -> None:
        assert self._loop is not None
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                while self._in_flight:
                    self._settled.clear()
                    await self._settled.wait()
        self._answers.set()
        for room in list(self._rooms.values()):
            for wake in list(room.waiters):
                wake()
        for connection in list(self.heartbeat):
            connection.drain(_spread(retry_after_ms))
        end = self._loop.time() + timeout_s
        while len(self.heartbeat) and self._loop.time() < end:  # noqa: ASYNC110 - each leaves in its own way
            await asyncio.sleep(0.01)
        for connection in list(self.heartbeat):
            connection.abort()

    async def close(self) -> None:
        """Drain, stop and close the store. Idempotent.

        Raises:
            WrongLoop: The hub runs on another event loop.
        """
        if self._loop is None or self._closed:
            return
        await self.drain()
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._fail_waiting(ShuttingDown("the server is stopping"))
        for opening in self._opening.values():
            if not opening.room.done():
                opening.room.set_exception(ShuttingDown("the server is stopping"))
                opening.room.exception()
        self._opening.clear()
        await self.live.close()
        if self.nodes is not None:
            self.nodes.bye()
        await self.store.close()
        self._rooms.clear()
        self._loop = self._owner = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    @cached_property
    def app(self) -> Starlette:
        """The rooms as an ASGI application: run it with any ASGI server, or mount it into yours."""
        from trunkline.transports.http_api import build_app  # noqa: PLC0415 - transports import the hub

        return build_app(self)

    @asynccontextmanager
    async def lifespan(self, _app: object = None) -> AsyncIterator[None]:
        """The hub's life within an ASGI application's: `Starlette(lifespan=hub.lifespan)`, or `async with` it in yours.

        It starts the hub, drains it on SIGTERM and Ctrl-C (before the server waits for streams that would not end by
        themselves), and closes it.
        """
        from trunkline.transports.http_api import drained_on_signals  # noqa: PLC0415 - transports import the hub

        await self.start()
        try:
            with drained_on_signals(self):
                yield
        finally:
            await self.close()

    @cached_property
    def exception_handlers(self) -> dict[Any, Any]:
        """For an application that calls the hub: our errors, answered as PROTOCOL.md has them."""
        from trunkline.transports.http_api import Api  # noqa: PLC0415 - transports import the hub

        return {TrunklineError: Api(self).on_error}

    def endpoint(self, room: str) -> Callable[[Request], Awaitable[ASGIApp]]:
        """One room under a path of your own: `Route("/api/live-updates", hub.endpoint("scores"))`.

        It answers like `/rooms/{room}`: polls, event streams and, if the route allows POST, publishing.
        """
        from trunkline.transports.http_api import Api  # noqa: PLC0415 - transports import the hub

        api = Api(self)

        async def serve(request: Request) -> ASGIApp:
            try:
                return await api.serve(request, room)
            except TrunklineError as error:
                return await api.on_error(request, error)

        check_room(room)
        return serve

    @cached_property
    def websocket(self) -> Callable[[WebSocket], Awaitable[None]]:
        """The WebSocket of `/connect` under a path of your own: `WebSocketRoute("/chat", hub.websocket)`."""
        from trunkline.transports.http_api import Api  # noqa: PLC0415 - transports import the hub

        return Api(self).websocket

    def statistics(self) -> dict[str, Any]:
        """Counters since the start, and what there is now."""
        return {
            "sockets": self.access.door.connections,
            "guests": len(self.access.guests),
            "refusals": dict(self.access.refusals),
            "connections": len(self.heartbeat),
            "rooms": len(self._rooms),
            "commits": self._commits,
            "published": self._published - self._duplicates,
            "duplicates": self._duplicates,
            "delivered": self._fanout.delivered,
            "gaps": self._fanout.gaps,
            "notified": self.live.notified,
            "stalls": self._fanout.stalls,
            "expired": self.expired,
            "in_flight": self._in_flight,
        }

    # Who may do what.

    def authenticate(self, hook: Authenticate) -> Authenticate:
        """Decorator: your own way to know who somebody is, instead of tokens or beside them.

        It gets the `Credentials` of a request (token, cookies, headers) and returns a `Grant`, or None if it does not
        know; it may be `async`. What raises lets nobody in.
        """
        self.access.authenticate = hook
        return hook

    def authorize(self, hook: Authorize) -> Authorize:
        """Decorator: your own way to decide what somebody may do, instead of the grant's patterns.

        It gets the grant, the action (`read`, `write`, …) and the room, and returns a bool; it may be `async`. It is
        asked at each join, each publish and each poll; call `recheck` when an answer has changed.
        """
        self.access.authorize = hook
        return hook

    async def recheck(self, user: str) -> Reached:
        """Ask again whether this user may read what they read, on all nodes."""
        return await self._everywhere(Recheck(user))

    async def disconnect(self, user: str) -> Reached:
        """End all connections of this user, on all transports and nodes. Their tokens stay good."""
        return await self._everywhere(Disconnect(user))

    async def revoke(self, *, user: str | None = None, token_id: str | None = None) -> Reached:
        """Refuse a token from now on, or all that a user was issued until now, and end the connections they made.

        It is kept in the log, so a restart does not forget it, for as long as retention keeps messages; and a node
        that could not be reached learns of it there.

        Raises:
            StoreUnavailable, ShuttingDown: It is not revoked; try again.
        """
        entry = _Revocation(time.time(), user, token_id)
        await self.ensure_started()
        await self.append(_REVOCATIONS, None, None, msgspec.json.encode(entry))
        self._revoke(entry)
        return await self._everywhere(Revoked())

    async def _everywhere(self, order: Order) -> Reached:
        await self.ensure_started()
        here = await self.asked(order)
        others = Answers([], []) if self.nodes is None else await self.nodes.ask(order)
        if others.missing:
            log.warning("nodes %s did not answer: %s", ", ".join(others.missing), type(order).__name__)
        counts = [answer for answer in [here, *others.all] if isinstance(answer, int)]
        return Reached(sum(counts), others.missing)

    async def asked(self, order: Order) -> int | Grant | None:
        """Carry out what an administrator wants everywhere, or another node of this one."""
        access = self.access
        match order:
            case Disconnect(user):
                guests = access.guests.of(user)
                for guest in guests:
                    guest.dismiss(RequestError("disconnected", "the application has ended this connection"))
                return len(guests)
            case Recheck(user):
                guests = access.guests.of(user)
                for guest in guests:
                    guest.recheck()
                return len(guests)
            case Revoked():
                await self.load_revocations()
                return access.dismiss_refused()
            case Redeem(ticket):
                return access.tickets.take(ticket, time.monotonic())
            case Renew(session, grant):
                return access.renew(session, grant)
            case InUse(rooms):
                return sum(1 << n for n, name in enumerate(rooms) if not self._is_unused(name))

    async def renew(self, session: str, grant: Grant) -> bool:
        """A newer token for a stream, on whichever node it is; False if there is none of that user."""
        await self.ensure_started()
        if self.access.renew(session, grant):
            return True
        node = session.partition("-")[0]
        if self.nodes is None or node not in self.nodes:
            return False
        answers = await self.nodes.ask(Renew(session, grant), node)
        return any(bool(answer) for answer in answers.all)

    async def _redeem_elsewhere(self, node: str, ticket: bytes) -> Grant | None:
        if self.nodes is None or node not in self.nodes:
            return None
        answers = await self.nodes.ask(Redeem(ticket), node)
        return next((answer for answer in answers.all if isinstance(answer, Grant)), None)

    def _revoke(self, entry: _Revocation) -> None:
        if entry.user is not None:
            self.access.revocations.revoke_user(entry.user, entry.at)
        if entry.token_id is not None:
            self.access.revocations.revoke_token(entry.token_id, entry.at)

    async def load_revocations(self) -> None:
        """Learn what was revoked since this was done last.

        Raises:
            StoreUnavailable: The log could not be read.
        """
        epoch, first, head, _ = await self.store.head(_REVOCATIONS)
        after = max(first - 1, self._revoked_to.offset) if self._revoked_to.epoch == epoch else first - 1
        while after < head:
            page = await self.store.read(_REVOCATIONS, after, 1000, self.tuning.tail_bytes_max)
            if not page.messages:
                break
            for message in page.messages:
                self._revoke(msgspec.json.decode(message.json, type=_Revocation))
            after = page.messages[-1].offset
        self._revoked_to = Position(epoch, after)

    async def _follow_revocations(self, *, after_s: float = 0.0) -> None:
        try:
            await asyncio.sleep(after_s)
            await self.load_revocations()
            self.access.dismiss_refused()
        except StoreUnavailable as error:
            log.warning("revocations cannot be followed now: %s", _why(error))
            self._uncertain = True

    # What is true now.

    async def signal(self, room: str, name: str, data: Any = None, *, sender: str | None = None) -> None:
        """Tell a room's readers something that is not logged, and that the next of the same name replaces.

        Args:
            data: Anything that msgspec can encode as JSON, up to 4 KiB.
            sender: The user in whose name it is sent.

        Raises:
            RequestError: The room, the name or the data are not allowed.
        """
        await self.ensure_started()
        name, text = check_signal(name, msgspec.json.encode(data))
        self.live.signal(check_room(room), name, sender, sender or "", text)

    def members(self, room: str) -> list[Member]:
        """Who is in a room, of those who want it known: the first 1,000."""
        return self.live.members(room)[1]

    def on_presence(self, hook: PresenceHook) -> PresenceHook:
        """Decorator: called with (room, member, came) when somebody has come, or is gone for the grace time."""
        self.live.on_presence = hook
        return hook

    async def mark(self, room: str, user: str, offset: int) -> Unread:
        """A user has seen a room up to *offset*; returns, once that is stored, how much they have not seen.

        Raises:
            RequestError: `bad_room`.
            StoreUnavailable, Overloaded: It is not stored; say it again.
        """
        await self.ensure_started()
        offset = min(offset, (await self.open(check_room(room))).head)
        if offset:  # in a room that never had a message there is nothing to see
            await self.live.mark(room, user, offset)
        return (await self.live.unread(user, [room]))[0]

    async def unread(self, user: str, rooms: Sequence[str]) -> list[Unread]:
        """What a user has not seen of these rooms.

        Raises:
            RequestError: `bad_room`.
            StoreUnavailable: The log could not be read.
        """
        await self.ensure_started()
        return await self.live.unread(user, [check_room(room) for room in rooms])

    # Publishing.

    async def publish(
        self,
        room: str,
        data: Any,
        *,
        id: str | None = None,  # noqa: A002 - its name on the wire
        sender: str | None = None,
    ) -> Receipt:
        """Append to a room; returns once the log has it.

        Args:
            data: Anything that msgspec can encode as JSON.
            id: The idempotency key: publishing it again returns the first receipt, with `duplicate` set.
            sender: The user in whose name it is published.

        Raises:
            RequestError: The room, the id, the sender or the data are not allowed; the message says why.
            StoreUnavailable, Overloaded, ShuttingDown: Nothing was stored; try again with the same id.
            WrongLoop: The hub runs on another event loop, where this would wait for ever: see `publish_sync`.
        """
        await self.ensure_started()
        check_sender(sender)
        if id is not None:
            check_id(id, self.limits.id_bytes_max)
        text = check_json(msgspec.json.encode(data), self.limits.message_bytes_max, self.limits.json_depth_max)
        return await self.append(check_room(room), id, sender, text)

    def publish_sync(
        self,
        room: str,
        data: Any,
        *,
        id: str | None = None,  # noqa: A002 - its name on the wire
        sender: str | None = None,
        timeout_s: float = 10.0,
    ) -> Receipt:
        """`publish` for code that cannot await: call it from any thread but the hub's own; returns once the log has it.

        In an application that runs the hub it goes through the hub's event loop. Where nothing runs it (a shell, a
        script, a worker of a task queue) the hub is started on a thread of its own and closed when the process ends;
        a server that uses the same SQLite file must then share it (`sqlite:///PATH?shared=1`).

        Args:
            room, data, id, sender: As for `publish`.
            timeout_s: Seconds to wait for the log.

        Raises:
            RequestError, StoreUnavailable, Overloaded, ShuttingDown: As from `publish`.
            ConfigError: The hub had to be started, and the store cannot be used.
            TimeoutError: It is not known whether it was stored; publish it again with the same *id*.
            WrongLoop: This is the thread of the hub's own event loop, which would block it: `await hub.publish(…)`. Or
                this process was forked from the one that the hub runs in.
        """
        owner = self._owner
        try:
            here = asyncio.get_running_loop()
        except RuntimeError:
            here = None
        if here is not None and owner in (None, here):
            raise WrongLoop("publish_sync would block the event loop that runs here: await hub.publish(…) instead")
        if owner is not None:
            self._check_process()
        if owner is None or owner.is_closed():
            background = self._own_loop()
            try:
                return background.run(self.publish(room, data, id=id, sender=sender), timeout_s)
            except WrongLoop:
                owner = self._owner
                if owner is None or owner.is_closed() or owner is background.loop:
                    raise
                # Another thread has begun to start it at the same moment.
        return run_on(owner, self.publish(room, data, id=id, sender=sender), timeout_s)

    def _own_loop(self) -> BackgroundLoop:
        """The loop of a hub that no application runs."""
        with self._owner_lock:
            if self._background is None or self._background.process != os.getpid():
                self._background = BackgroundLoop()
                atexit.register(self._end_own_loop)
            return self._background

    def _end_own_loop(self) -> None:
        if self._background is not None and self._background.process == os.getpid():
            with contextlib.suppress(Exception):
                self._background.run(self.close(), STALLED_S)
            self._background.stop()

    async def append(self, room: str, message_id: str | None, sender: str | None, json: bytes) -> Receipt:
        """`publish` for what is checked already.

        Raises:
            StoreUnavailable, Overloaded, ShuttingDown: Nothing was stored; try again with the same id.
        """
        self._check_loop()
        done: asyncio.Future[Receipt] = asyncio.get_running_loop().create_future()

        def answer(_: Draft, receipt: Receipt | None, error: TrunklineError | None) -> None:
            if done.done():
                return
            if receipt is not None:
                done.set_result(receipt)
            elif error is not None:
                done.set_exception(error)

        self.submit(Draft(room, message_id, sender, now_ms(), json), answer)
        return await done

    def submit(self, draft: Draft, answer: Answer) -> None:
        """`append` for transports: *answer* is called once, with the draft and a receipt or an error."""
        limits = self.limits
        if self.draining:
            answer(draft, None, ShuttingDown("the server is stopping; publish again on another one, with the same id"))
        elif self._in_flight >= limits.in_flight_max or self._in_flight_bytes >= limits.in_flight_bytes_max:
            answer(draft, None, Overloaded("too many messages wait for the log; publish again, with the same id"))
        else:
            self._in_flight += 1
            self._in_flight_bytes += len(draft.json)
            if not self._waiting:
                self._arrived.set()
            self._waiting.append(_Waiting(draft, answer))

    async def _append_for_ever(self) -> None:
        while True:
            await self._arrived.wait()
            self._arrived.clear()
            batch, self._waiting = self._waiting, []
            failed: set[str] = set()
            self._appending_since = asyncio.get_running_loop().time()
            try:
                outcomes = await self.store.append([waiting.draft for waiting in batch])
            except Exception as error:  # noqa: BLE001 - whatever a store does, publishers get an answer
                if isinstance(error, StoreUnavailable):
                    self._cannot_store(_why(error), after_s=0.0 if isinstance(error, Unwritable) else STALLED_S)
                else:
                    log.error("append of %d messages failed: %s", len(batch), _why(error))
                    error = StoreUnavailable("the log failed; publish again, with the same id")
                self._refuse(batch, error)
                failed.update(waiting.draft.room for waiting in batch)
            except asyncio.CancelledError:
                self._refuse(batch, ShuttingDown("the server is stopping"))
                raise
            else:
                self._can_store()
                try:
                    self._committed(batch, outcomes, failed)
                except Exception:
                    log.exception("fan-out failed")  # and this task, on which everybody depends, goes on
            self._appending_since = None
            self._settle(batch)
            if failed:
                self._uncertain = True  # it may be stored all the same, and nobody will tell us
                self._fail_waiting(StoreUnavailable("what came before it was not stored; publish again"), failed)

    def _settle(self, batch: list[_Waiting]) -> None:
        self._in_flight -= len(batch)
        self._in_flight_bytes -= sum(len(waiting.draft.json) for waiting in batch)
        self._settled.set()

    def _refuse(self, batch: list[_Waiting], error: TrunklineError) -> None:
        for waiting in batch:
            waiting.answer(waiting.draft, None, error)

    def _fail_waiting(self, error: TrunklineError, rooms: Container[str] | None = None) -> None:
        """Refuse what waits, in all rooms or in these: what was published later must not come first."""
        batch = [waiting for waiting in self._waiting if rooms is None or waiting.draft.room in rooms]
        self._waiting = [waiting for waiting in self._waiting if rooms is not None and waiting.draft.room not in rooms]
        self._refuse(batch, error)
        self._settle(batch)

    def _committed(self, batch: list[_Waiting], outcomes: list[Receipt | StoreUnavailable], failed: set[str]) -> None:
        """Answer, and hand out what is new; rooms of which something was not stored are added to *failed*."""
        new: dict[tuple[str, str], list[Message]] = {}
        rooms, opening = self._rooms, self._opening
        for waiting, outcome in zip(batch, outcomes, strict=True):
            draft = waiting.draft
            if isinstance(outcome, StoreUnavailable):
                failed.add(draft.room)
                self._answer(waiting, None, outcome)
                continue
            self._published += 1
            if outcome.duplicate:
                self._duplicates += 1
                known = rooms.get(draft.room)
                if known is not None and outcome.offset > known.head:  # stored before, when it could not be acked
                    self.spawn(self._follow(known))
            elif draft.room in opening or (
                (room := rooms.get(draft.room)) is not None
                and (outcome.offset > room.head or outcome.epoch != room.epoch)
            ):
                json = msgspec.Raw(draft.json)
                message = Message(draft.room, outcome.offset, outcome.id, draft.sender, outcome.at, json)
                new.setdefault((draft.room, outcome.epoch), []).append(message)
            self._answer(waiting, outcome, None)
        self._commits += 1
        for (name, epoch), messages in new.items():
            room = rooms.get(name)
            if room is None:
                opening[name].late.extend((epoch, message) for message in messages)
            elif room.epoch == epoch:
                self._fanout.appended(room, messages)
            else:
                self.spawn(self._follow(room))
        self._run()

    def _answer(self, waiting: _Waiting, receipt: Receipt | None, error: StoreUnavailable | None) -> None:
        try:
            waiting.answer(waiting.draft, receipt, error)
        except Exception:
            log.exception("a publisher could not be answered")

    def session_id(self) -> str:
        """A short name for a connection, for logs and `welcome`: nobody else's, and no secret."""
        return f"{self._name}-{next(self._session_numbers)}"

    # Reading.

    def fence(self, stream: Fenced) -> bool:
        """A client has at most one stream: a new one of the same user and `client` id ends the one before.

        Returns:
            False if the client says that this is the older one: then it is this one that was ended.
        """
        client_id = stream.attendance.client_id
        if client_id is None:
            return True
        key = (stream.grant.user, client_id)
        _, before = self._fenced.get(key, (0, None))
        if before is not None and before is not stream:
            age = compare(stream.attendance.attempt, before.attendance.attempt, unknown=1)
            if age < 0:
                stream.dismiss(_replaced())
                return False
            if age > 0:
                before.dismiss(_replaced())
        self._fenced[key] = (0 if self.nodes is None else self.nodes.tick(), stream)
        self._tell_fence(*key)
        return True

    def _tell_fence(self, user: str | None, client_id: str) -> None:
        at, stream = self._fenced[user, client_id]
        if self.nodes is not None:
            self.nodes.say(Fence, user=user, client=client_id, at=at, attempt=stream.attendance.attempt)

    def fenced(self, fence: Fence) -> None:
        """A client has opened a stream on another node."""
        at, stream = self._fenced.get((fence.user, fence.client), (0, None))
        if stream is None or self.nodes is None:
            return
        is_later = (fence.at, fence.node) > (at, self.nodes.name)  # on one of the two nodes, always
        age = compare(fence.attempt, stream.attendance.attempt, unknown=int(is_later))
        if age > 0:
            stream.dismiss(_replaced())
        elif age < 0:
            self._tell_fence(fence.user, fence.client)  # what came late there does not know of this one

    def stream_of(self, user: str | None, client_id: str | None) -> Reader | None:
        """The stream of whoever sent a request, if they have one here and both say which client they are of."""
        return self._fenced.get((user, client_id or ""), (0, None))[1]

    def unfence(self, stream: Fenced) -> None:
        """The stream has ended. Harmless if it was replaced, or never had a `client` id."""
        client_id = stream.attendance.client_id
        if client_id is not None and self.stream_of(stream.grant.user, client_id) is stream:
            del self._fenced[stream.grant.user, client_id]

    def room(self, name: str) -> Room | None:
        """The room, if it is open already, and nobody else could have moved it."""
        return None if self.store.shared else self._rooms.get(name)

    async def open(self, name: str) -> Room:
        """The room; asks the store where it stands if it is not open, or if others may have moved it.

        A reader may have been told by another process of a message that this one does not know yet. Taken for a reader
        from the future it would be sent back; so whoever comes is looked up, and only those who stay are woken.

        Raises:
            StoreUnavailable: The store did not say.
        """
        current = not self.store.shared
        # Again and again, because a room that nobody reads yet can be forgotten before we are back here.
        while (room := self._rooms.get(name)) is None:
            if self._loop is None:
                raise ShuttingDown("the hub is closed")
            opening = self._opening.get(name)
            if opening is None:
                opening = self._opening[name] = _Opening(self._loop.create_future())
                self.spawn(self._open(name, opening))
                current = True  # which another's, that was under way when we came, need not be
            await asyncio.shield(opening.room)
        if not current:
            room.pins += 1  # it is not forgotten meanwhile
            try:
                await self._come_to_now(room)
            finally:
                room.pins -= 1
        return room

    @asynccontextmanager
    async def opened(self, names: Sequence[str]) -> AsyncIterator[list[Room]]:
        """Several rooms at once, none of which is forgotten while the others are being opened."""
        rooms: list[Room] = []
        try:
            for name in names:
                rooms.append(await self.open(name))
                rooms[-1].pins += 1
            yield rooms
        finally:
            for room in rooms:
                room.pins -= 1

    async def _open(self, name: str, opening: _Opening) -> None:
        try:
            await self.store.follow(name)
            epoch, first, head, lineage = await self.store.head(name)
            after = max(first - 1, head - OPENING_TAIL_MESSAGES)
            page = await self.store.read(name, after, head - after, self.tuning.tail_bytes_max)
        except Exception as error:  # noqa: BLE001 - whoever waits for the room gets the answer
            del self._opening[name]
            self.store.unfollow(name)
            if not isinstance(error, StoreUnavailable):
                error = StoreUnavailable(f"the log failed: {error}")
            opening.room.set_exception(error)
            opening.room.exception()  # it may be that nobody waits any more
            return
        del self._opening[name]
        room = Room(name, epoch, first, head, lineage)
        # Not so if they are too large to be a tail, or of another life.
        if page.messages and page.messages[-1].offset == head and page.epoch == epoch:
            room.head = page.messages[0].offset - 1
            self._fanout.appended(room, page.messages)
        late = [message for life, message in opening.late if life == epoch and message.offset > room.head]
        if late:
            self._fanout.appended(room, late)
        self._rooms[name] = room
        if opening.head > room.head or page.epoch != epoch:
            self.spawn(self._follow(room))
        if len(self._rooms) > self._forget_at:
            self._forget_idle_rooms()
        opening.room.set_result(room)

    # What other processes append to the same log.

    def _moved(self, heads: Mapping[str, int] | None) -> None:
        if heads is None:
            self.spawn(self._look())
            return
        if _REVOCATIONS in heads:  # whoever revokes asks us, too, and counts; this is for those who cannot ask
            self.spawn(self._follow_revocations(after_s=LOOK_S / 2))
        for name, head in heads.items():
            room, opening = self._rooms.get(name), self._opening.get(name)
            if room is not None and head > room.head:
                if room.idle:
                    self._forget(name)
                else:
                    self.spawn(self._follow(room))
            elif opening is not None:
                opening.head = max(opening.head, head)

    async def _look(self) -> None:
        try:
            await self._look_at_all()
        except StoreUnavailable as error:
            log.warning("the log cannot be looked at: %s", _why(error))

    async def _look_for_ever(self) -> None:
        trouble = ""
        while True:
            await asyncio.sleep(LOOK_S)
            before, trouble = trouble, ""
            try:
                certain = await self._certain()
                if self._unwritable is not None and self._appending_since is None:
                    await self._try_to_store()
                if self._uncertain or not certain:
                    await self._look_at_all()
                self._answered_at = asyncio.get_running_loop().time()
                self._away = False
                self._answers.set()
            except StoreUnavailable as error:
                trouble = _why(error)
                if trouble != before:
                    log.warning("the log cannot be looked at: %s", trouble)
                self._away = not isinstance(error, Deaf)
            except Exception:
                log.exception("looking at the log failed")  # and is tried again

    async def _certain(self) -> bool:
        """`Store.certain`; what cannot be written may still be read."""
        try:
            return await self.store.certain()
        except Unwritable as error:
            self._cannot_store(_why(error))
            return False

    async def _try_to_store(self) -> None:
        try:
            await self.store.write_something()
        except StoreUnavailable as error:
            self._cannot_store(_why(error), after_s=STALLED_S)
        else:
            self._can_store()

    async def _look_at_all(self) -> None:
        """Find out which rooms have moved without a word.

        Raises:
            StoreUnavailable: The log could not be read.
        """
        names = [name for name, room in self._rooms.items() if not room.idle] if self.store.shared else []
        if self.store.shared:
            self.spawn(self._follow_revocations())
        self._uncertain = False  # unless something fails from here on
        try:
            heads = await self.store.heads(names)
        except BaseException:
            self._uncertain = True
            raise
        for name, position in heads.items():
            room = self._rooms.get(name)
            if room is not None and position != (room.epoch, room.head):
                self.spawn(self._follow(room))

    async def _follow(self, room: Room) -> None:
        try:
            await self._catch_up(room)
        except StoreUnavailable as error:
            log.warning("%s cannot be followed now: %s", room.name, _why(error))
            self._uncertain = True  # it is looked at again within a second

    async def _come_to_now(self, room: Room) -> None:
        """Know everything that was in the log when this was called. Whoever asks while the log is being read shares the
        next read: a thousand readers that come back at once cost two.

        Raises:
            StoreUnavailable: The log could not be read.
        """
        following = self._following.get(room)
        if following is None:
            following = self._following[room] = self.spawn(self._after_the_present_read(room))
            following.add_done_callback(lambda task: task.cancelled() or task.exception())  # if nobody waits any more
        await asyncio.shield(following)

    async def _after_the_present_read(self, room: Room) -> None:
        present = self._present.get(room)
        if present is not None:
            await asyncio.wait([present])
        self._present[room] = self._following.pop(room)
        try:
            await self._catch_up(room)
        finally:
            del self._present[room]

    async def _catch_up(self, room: Room) -> None:
        """Read what others have appended, until there is nothing more.

        Raises:
            StoreUnavailable: The log could not be read.
        """
        tuning = self.tuning
        while True:
            page = await self.store.read(room.name, room.head, tuning.tail_messages_max, tuning.piece_bytes_max)
            if page.epoch != room.epoch:
                await self._turn(room)
                continue
            new = [message for message in page.messages if message.offset > room.head]
            if not new:
                return
            self._fanout.appended(room, new)
            self._run()

    async def _turn(self, room: Room) -> None:
        """The log goes on under another epoch.

        Raises:
            StoreUnavailable: The log could not be read.
        """
        epoch, first, head, lineage = await self.store.head(room.name)
        if epoch != room.epoch:
            log.warning("%s goes on in another epoch, %s, from %d on", room.name, epoch, head)
            self._fanout.turned(room, epoch, first, head, lineage)
            self._run()

    def _forget_idle_rooms(self) -> None:
        most = self.tuning.idle_rooms_max
        idle = [name for name, room in self._rooms.items() if room.idle]
        for name in idle[: max(0, len(idle) - most // 2 - 1)]:
            self._forget(name)
        self._forget_at = max(most, 2 * (len(self._rooms) - most // 2))

    def _forget(self, name: str) -> None:
        del self._rooms[name]
        self.store.unfollow(name)

    def join(self, reader: Reader, room: Room, start: Start) -> tuple[Cursor, Gap | None]:
        """Make the reader's cursor, and tell what gap comes first; `attach` begins the delivery."""
        offset, gap = resolve(start, room.name, room.epoch, room.first, room.head, room.lineage)
        self._fanout.gaps += gap is not None
        cursor = Cursor(reader, room, offset)
        cursor.fresh = start.kind in ("start", "last")
        return cursor, gap

    def attach(self, cursor: Cursor) -> None:
        """Deliver from the cursor's offset on, until it is detached."""
        self._fanout.attach(cursor)
        if self._fanout.busy:
            self._schedule()

    def detach(self, cursor: Cursor) -> None:
        """Deliver no more. Harmless if done twice."""
        self._fanout.detach(cursor)

    def drained(self, cursor: Cursor) -> None:
        """The cursor's reader takes bytes again."""
        self._fanout.drained(cursor)
        if self._fanout.busy:
            self._schedule()

    async def page(
        self,
        room: str,
        *,
        since: str | int | None = None,
        last: int | None = None,
        limit: int = 100,
        wait_s: float = 0.0,
    ) -> Page:
        """What a room has: one poll, for answers of your own. Go on with `since=page.next`.

        Args:
            since: `start`, `now`, an offset, or a position such as `k3f9x2.42`.
            last: Instead of *since*: so many of the newest messages; 50 if both are left out.
            limit: At most so many messages.
            wait_s: If there is nothing yet, wait so long for something.

        Raises:
            RequestError: The room or the start are not valid.
            StoreUnavailable: The log could not be read.
        """
        return await self.page_at(room, parse_start(since, last, POLL_DEFAULT), limit=limit, wait_s=wait_s)

    async def page_at(
        self, name: str, start: Start, *, limit: int = 100, bytes_max: int | None = None, wait_s: float = 0.0
    ) -> Page:
        """`page` for what is parsed already.

        Args:
            limit: At most so many messages; with 0, only where the room stands.
            bytes_max: Of all messages together, but at least one; by default `limits.poll_bytes_max`.

        Raises:
            RequestError: `bad_room`.
            StoreUnavailable: The log could not be read.
        """
        await self.ensure_started()
        check_room(name)
        room, wait_s = await self.patiently(lambda: self.open(name), wait_s)
        after, gap = resolve(start, name, room.epoch, room.first, room.head, room.lineage)
        if wait_s > 0 and gap is None and after >= room.head:
            epoch = room.epoch
            await self.wait_for([room], wait_s)
            if epoch != room.epoch:
                start = Start("after", after, epoch)
                after, gap = resolve(start, name, room.epoch, room.first, room.head, room.lineage)
        messages: list[Message] = []
        head = room.head  # it may move while the store is read; what comes then is for the next page
        if after < head and limit > 0:
            found = await self._messages(room, after, head, limit, bytes_max or self.limits.poll_bytes_max)
            if found is None:
                await self._turn(room)
                return await self.page_at(name, start, limit=limit, bytes_max=bytes_max, wait_s=wait_s)
            messages = found
            earliest = messages[0].offset if messages else head + 1
            if start.kind == "after":
                gap = overtaken(gap, name, room.epoch, after, earliest)
            after = earliest - 1
        last = messages[-1].offset if messages else after
        return Page(name, room.epoch, room.head, f"{room.epoch}.{last}", gap, messages)

    async def patiently(self, read: Callable[[], Awaitable[T]], wait_s: float) -> tuple[T, float]:
        """What *read* comes to, again each time the log answers; and how much is left of *wait_s*.

        Raises:
            StoreUnavailable: It did not answer in time.
        """
        clock = asyncio.get_running_loop().time
        while True:
            try:
                return await read(), wait_s
            except StoreUnavailable as error:
                began = clock()
                self._answers.clear()
                try:
                    async with asyncio.timeout(wait_s):
                        await self._answers.wait()
                except TimeoutError:
                    raise error from None
                if self.draining:
                    raise
                wait_s -= clock() - began

    async def wait_for(
        self, rooms: Sequence[Room], wait_s: float, watching: Callable[[str], bool] | None = None
    ) -> None:
        """Wait until one of the rooms moves, the time is over, or the hub drains.

        Args:
            watching: Wake up for signals, too, and in the rooms of which this is true for presence and marks.
        """
        moved = asyncio.Event()
        wake = moved.set
        lives = {room.name: watching(room.name) for room in rooms} if watching is not None else {}
        for room in rooms:
            room.waiters.add(wake)
        for name, watches in lives.items():
            self.live.waiters(name)[wake] = watches
        try:
            if not self.draining:
                async with asyncio.timeout(wait_s):
                    await moved.wait()
        except TimeoutError:
            pass
        finally:
            for room in rooms:
                room.waiters.discard(wake)
            for name in lives:
                self.live.waiters(name).pop(wake, None)

    async def _messages(self, room: Room, after: int, head: int, limit: int, bytes_max: int) -> list[Message] | None:
        """What there is of them; None if the log goes on under another epoch."""
        messages = room.since(after, limit, bytes_max)
        if messages is None:
            epoch = room.epoch
            page = await self.store.read(room.name, after, limit, bytes_max)
            if not page.epoch == room.epoch == epoch:
                return None
            room.first = max(room.first, page.first)
            messages = [message for message in page.messages if message.offset <= head]
        return messages

    async def read(
        self,
        room: str,
        *,
        since: str | int | None = None,
        last: int | None = None,
        on_gap: Callable[[Gap], None] | None = None,
    ) -> AsyncIterator[Message]:
        """Follow a room for ever: every message after the start, in order, each once.

        Args:
            since: `start`, `now` (the default), an offset, or a position such as `k3f9x2.42`.
            last: Instead of *since*: begin with this many of the newest messages.
            on_gap: Called with messages that are gone, before reading goes on behind them.

        Raises:
            GapError: Messages are gone and there is no *on_gap*.
            RequestError: The room or the start are not valid.
            ShuttingDown: The hub was drained.
        """
        await self.ensure_started()
        start = parse_start(since, last, NOW)
        while True:
            page = await self.page_at(room, start, wait_s=READ_WAIT_S)
            if page.gap is not None:
                if on_gap is None:
                    raise GapError(page.gap)
                on_gap(page.gap)
            for message in page.messages:
                yield message
            if self.draining and not page.messages:
                raise ShuttingDown("the hub is stopping")
            start = parse_since(page.next)

    # Running fan-out.

    def _schedule(self) -> None:
        if not self._running and self._loop is not None:
            self._running = True
            self._loop.call_soon(self._run_scheduled)

    def _run_scheduled(self) -> None:
        self._running = False
        self._run()

    def _run(self) -> None:
        assert self._loop is not None
        fanout, clock = self._fanout, self._loop.time
        end = clock() + self.tuning.slice_s
        while fanout.step():
            if clock() > end:
                self._schedule()
                break
        while fanout.broken:
            cursor, error = fanout.broken.pop()
            log.error("a reader of %s failed and is cut", cursor.room.name, exc_info=error)
            fanout.detach(cursor)
            if isinstance(cursor.reader, Connection):
                cursor.reader.abort()
        self._wanted_reads.extend(fanout.take_reads())
        while self._wanted_reads and self._reading < READS_AT_ONCE:
            self._reading += 1
            self.spawn(self._read_for(self._wanted_reads.popleft()))

    async def _read_for(self, cursor: Cursor) -> None:
        room, tuning = cursor.room, self.tuning
        try:
            page = await self.store.read(room.name, cursor.offset, tuning.piece_messages_max, tuning.piece_bytes_max)
        except Exception as error:  # noqa: BLE001 - the reader keeps its place and tries again
            # While the log is away every reader that is behind fails so, again and again; one line a second says so.
            level = logging.DEBUG if isinstance(error, StoreUnavailable) else logging.ERROR
            log.log(level, "read of %s after %d failed: %s", room.name, cursor.offset, _why(error))
            await asyncio.sleep(RETRY_READ_S)
            self._fanout.unread(cursor)
        else:
            if page.epoch == room.epoch:
                self._fanout.fetched(cursor, page.first, page.messages)
            else:
                await self._follow(room)
                self._fanout.unread(cursor)
        finally:
            self._reading -= 1
        self._schedule()

    # Timers.

    def _tick(self) -> None:
        assert self._loop is not None
        self._timer = self._loop.call_later(self.heartbeat.tick_s, self._tick)
        due, late = self.heartbeat.tick()
        for connection in late:
            connection.expire()
        for connection in due:
            connection.ping()

    async def _watch_for_ever(self) -> None:
        while True:
            await asyncio.sleep(1.0)
            for second in (self.access.second, self.live.second, self._move_clients):
                try:
                    second()
                except Exception:
                    log.exception("what is done every second failed")

    def _move_clients(self) -> None:
        """What we cannot read, others may: send our clients to them. If nobody can, they stay and wait."""
        if (
            self.store.shared
            and not self._away
            and len(self.heartbeat)
            and not self.draining
            and (why := self._unreadable) is not None
        ):
            log.error("%d clients are sent elsewhere: %s", len(self.heartbeat), why)
            for connection in list(self.heartbeat):
                connection.drain(_spread(MOVE_AFTER_MS))

    async def _trim_for_ever(self) -> None:
        while True:
            await asyncio.sleep(TRIM_INTERVAL_S)
            try:
                await self._trim()
            except Exception as error:  # noqa: BLE001 - it is tried again in a moment
                log.error("trimming failed: %s", _why(error))
            if sum(room.tail_bytes for room in self._rooms.values()) > self.tuning.tails_bytes_max:
                for room in self._rooms.values():
                    room.halve_tail()

    async def _trim(self) -> None:
        """Apply retention by age, if the clock can be believed, and forget rooms that hold nothing.

        Raises:
            StoreUnavailable: The log did not take it.
        """
        clock = self._wall_clock
        trusted = clock.is_trusted
        step_s = clock.look(time.time(), _steady_s())
        if step_s:
            log.warning("the clock has jumped by %+.0f s", step_s)
        if clock.is_trusted is not trusted:
            what = (
                "goes on" if clock.is_trusted else f"pauses until the new time has held for {HOLD_S / 60:.0f} minutes"
            )
            log.warning("retention by age %s", what)
        if not clock.is_trusted:
            return
        for name, first in (await self.store.trim(now_ms())).items():
            room = self._rooms.get(name)
            if room is not None:
                room.first = max(room.first, first)
        await self._forget_empty_rooms()

    async def _forget_empty_rooms(self) -> None:
        now = _steady_s()
        if now >= self._in_use_until:
            self._in_use.clear()
            self._in_use_until = now + IN_USE_S
        while len(self._in_use) < IN_USE_MAX:
            # The store names the same ones first, so as many more as are known to be in use.
            found = await self.store.empty_rooms(now_ms(), EMPTY_ROOMS_AT_ONCE + 2 * len(self._in_use))
            names = [name for name in found if name not in self._in_use]
            if not names:
                break
            for at in range(0, len(names), EMPTY_ROOMS_AT_ONCE):
                some = names[at : at + EMPTY_ROOMS_AT_ONCE]
                self._in_use.update(set(some).difference(await self._forget_unused(some)))

    async def _forget_unused(self, names: list[str]) -> list[str]:
        unused = [name for name in names if self._is_unused(name)]
        if self.nodes is not None:
            unused = await self._unused_elsewhere(unused)
        forgotten = await self.store.forget(unused) if unused else []
        for name in forgotten:
            room = self._rooms.get(name)
            if room is not None and room.idle:
                self._forget(name)
        return forgotten

    def _is_unused(self, name: str) -> bool:
        room = self._rooms.get(name)
        return name not in self._opening and (room is None or room.idle)

    async def _unused_elsewhere(self, names: list[str]) -> list[str]:
        """Which of these rooms no other node reads, as far as all of them answer."""
        assert self.nodes is not None
        unused: list[str] = []
        for at in range(0, len(names), ROOMS_ASKED_MAX):
            some = names[at : at + ROOMS_ASKED_MAX]
            answers = await self.nodes.ask(InUse(some))
            if answers.missing:
                break
            used = 0
            for answer in answers.all:
                used |= answer if isinstance(answer, int) else 0
            unused += [name for n, name in enumerate(some) if not used >> n & 1]
        return unused

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run a task that ends with the hub."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


class Reached(NamedTuple):
    """What something that was to be done everywhere has reached.

    Attributes:
        connections: How many, on the nodes that have answered.
        missing_nodes: Those that have not, within a second.
    """

    connections: int
    missing_nodes: list[str]


class _Neighbour:
    """What other nodes say, carried out."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self.changed = hub.live.changed
        self.own = hub.live.own
        self.own_of = hub.live.own_of
        self.elsewhere = hub.live.elsewhere
        self.away = hub.live.away
        self.marked = hub.live.marked
        self.fenced = hub.fenced
        self.asked = hub.asked

    def signalled(self, told: Signalled) -> None:
        signal = Signal(told.room, told.name, told.user, told.member, now_ms(), msgspec.Raw(told.json))
        self._hub.live.signalled(signal, self._hub.stream_of(told.user, told.client))


def _replaced() -> RequestError:
    return RequestError("replaced", "another connection of the same client has taken over")


def _why(error: Exception) -> str:
    """For our own log, which may say where the log is."""
    cause = str(error.__cause__ or "")
    return str(error) if cause in str(error) else f"{error} ({cause})"


def _steady_s() -> float:
    """Seconds of a clock that only goes forward, and counts while the machine sleeps."""
    boot = getattr(time, "CLOCK_BOOTTIME", None)
    return time.monotonic() if boot is None else time.clock_gettime(boot)


def _spread(ms: int) -> int:
    """A time up to this one: 10,000 clients must not come back as one."""
    return round(ms * (0.1 + 0.9 * random.random()))  # noqa: S311 - jitter, no secret


class _Revocation(msgspec.Struct, omit_defaults=True):
    """An entry of the log of revocations."""

    at: float
    user: str | None = None
    token_id: str | None = None


class _Opening:
    """A room that the store is being asked about, and what was appended meanwhile."""

    __slots__ = ("head", "late", "room")

    def __init__(self, room: asyncio.Future[Room]) -> None:
        self.room = room
        self.late: list[tuple[str, Message]] = []  # with their epochs
        self.head = 0  # as far as another process said
