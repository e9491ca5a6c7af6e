"""A hub in a test: its log is fresh, its time is the test's, and its clients are in the same process."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, Self, TypeVar

import aiohttp
import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from trunkline.core.grant import Permissions
from trunkline.core.message import Message, Receipt
from trunkline.core.trace import parse_trace
from trunkline.errors import WrongLoop
from trunkline.hub import Hub, context_of, loop_of, rebuild, run_sync, stop_background
from trunkline.server.edge import Edge
from trunkline.server.gate import Gate
from trunkline.server.mounts import find_mounts
from trunkline.server.uvicorn_websocket import counted_websocket
from trunkline.testing.access import Identity, VirtualAccess
from trunkline.testing.lifespan import Lifespan
from trunkline.testing.network import LineConnector, Network
from trunkline.testing.reader import WITHIN_S, GetToken, Reader, post
from trunkline.testing.store import VirtualStore
from trunkline.testing.virtual_clock import VirtualClock

T = TypeVar("T")


TRANSPORTS = ("websocket", "sse", "longpoll", "shortpoll")
STOP_S = 10.0  # of real time, for an application's shutdown
CALL_S = 30.0  # of real time, for what a blocking test waits for


class TestHub:
    """A hub in a test, with readers of it. Use it as `async with TestHub() as hub: …`, or by the fixture `hub`.

    Args:
        hub: Your application's hub. Until the test ends it has a fresh log in memory and the test's clock; its settings
            and hooks stay as they are. By default the one that is mounted in *app*; without one, a new hub.
        app: The application that the hub is used in: its lifespan is run, and readers go through it, middleware
            included, if `hub.app` is mounted in it. By default the hub by itself, as `trunkline serve` serves it.
        path: Where `hub.app` is mounted in *app*, if that cannot be seen from its routes.
        alone: Readers go to the hub by itself, although there is an *app*: it is mounted nowhere, or served elsewhere.
        transport: How readers read, unless they say otherwise: `websocket`, `sse`, `longpoll` or `shortpoll`.
        settings: Arguments of a new `Hub`.

    Attributes:
        hub: The Hub.
        clock: The test's clock: `await hub.clock.tick(30)`.
        store: The log: `hub.store.away()`.

    Raises:
        RuntimeError: The hub runs already, or is under test already.
        TypeError: No hub can be seen in the application.
    """

    __test__ = False  # pytest: its name begins like a test's

    def __init__(
        self,
        hub: Hub | None = None,
        app: ASGIApp | None = None,
        *,
        path: str | None = None,
        alone: bool = False,
        transport: str = "websocket",
        **settings: Any,
    ) -> None:
        if hub is not None and settings:
            raise TypeError(f"a hub of your own has its settings: {', '.join(settings)} go with a new one")
        check_transport(transport)
        if app is not None and not callable(app):
            raise TypeError(f"{app!r} is no ASGI application")
        if hub is None and app is not None:
            hub = find_hub(app)
        elif hub is not None and not isinstance(hub, Hub):
            raise TypeError(f"{hub!r} is no Hub")
        self.hub = hub or Hub("memory:", **settings)
        self.clock = VirtualClock()
        self.transport = transport
        self._undo: Callable[[], None] | None = rebuild(self.hub, self._make_store, self.clock, VirtualAccess)
        self._context = context_of(self.hub)
        self._gate = Gate(self._context)
        self._readers: list[Reader] = []
        self._app = app
        self._path = path
        if path is None and app is not None and not alone:
            self._path = find_mount(app, self.hub)
            if self._path is None:
                self.undo()
                raise TypeError(
                    'where the hub is mounted cannot be seen from the application\'s routes: say path="/…", or'
                    " alone=True if readers are to go to the hub by itself"
                )
        self._network = Network(self._accept)
        self._lifespan: Lifespan | None = None
        self._patience: asyncio.Task[None] | None = None
        self._protocols: Callable[[], asyncio.Protocol] | None = None
        self._http_protocols: Callable[[], asyncio.Protocol] | None = None
        self._is_restarting = False
        self.store: VirtualStore

    def _make_store(self, retention: Any) -> VirtualStore:
        self.store = VirtualStore(retention, self._hub_closed)
        return self.store

    @property
    def _access(self) -> VirtualAccess:
        assert isinstance(self._context.access, VirtualAccess)
        return self._context.access

    @property
    def url(self) -> str:
        """The rooms' address, as readers know it."""
        return self._origin + (self._path or "").rstrip("/")

    @property
    def _origin(self) -> str:
        return "http://localhost" if self._access.origins.loopback_only else "http://testserver"

    # Life.

    async def start(self) -> None:
        """Start on the running event loop, with the application's lifespan if nothing has run it. Idempotent.

        Raises:
            RuntimeError: The application's lifespan failed, or the event loop's time cannot be set.
        """
        if self._undo is None:
            raise RuntimeError("this hub's test has ended: its readers and its log ended with it")
        if self._patience is not None:
            return
        self.clock.govern(asyncio.get_running_loop())
        self._patience = asyncio.ensure_future(self._gate.expire_for_ever())
        if self._app is not None and not self._context.engine.is_running:
            self._lifespan = Lifespan(self._app)
            await self._lifespan.start()
        await self.hub.start()

    async def close(self) -> None:
        """Close the readers, run the application's shutdown, and give the hub back as it was. Idempotent."""
        if self._undo is None:
            return
        undo, self._undo = self._undo, None
        try:
            if self._context.engine.is_running:
                self.clock.govern(asyncio.get_running_loop())
            try:
                await self._close_readers()
                if self._lifespan is not None:
                    await self._stop_lifespan(self._lifespan)
            finally:
                await self.clock.run(self.hub.close(), WITHIN_S)
            await self.clock.settle()
        finally:
            if self._patience is not None:
                self._patience.cancel()
            self.clock.release()
            undo()

    async def _stop_lifespan(self, lifespan: Lifespan) -> None:
        stopping = asyncio.ensure_future(lifespan.stop())
        if not await self.clock.until(stopping.done, WITHIN_S):  # it does something that takes real time
            await asyncio.wait([stopping], timeout=STOP_S)
        if not stopping.done():
            stopping.cancel()
            raise TimeoutError(f"the application's shutdown did not end within {STOP_S:g} s")
        stopping.result()

    def close_sync(self) -> None:
        """`close`, from a thread that runs no event loop."""
        loop = loop_of(self.hub) or self.clock.loop
        if self._undo is not None and loop is not None and not loop.is_closed():
            if loop.is_running():
                self.run_sync(self.close)
                stop_background(self.hub)
            else:  # that of an async fixture, between its steps
                loop.run_until_complete(self.close())
        else:  # the loop that it ran on has ended, and everything with it
            self.undo()

    def undo(self) -> None:
        """Give the hub back as it was; nothing of it runs any more. Idempotent."""
        undo, self._undo = self._undo, None
        if undo is not None:
            self.clock.release()
            undo()

    def run_sync(self, call: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Return what a coroutine returns that runs on the hub's event loop, from a thread that runs none.

        Args:
            call: Makes the coroutine.
        """
        __tracebackhide__ = True
        try:
            return run_sync(self.hub, call, CALL_S)
        except AssertionError as error:
            raise AssertionError(*error.args) from None  # where in the other thread is of no interest
        except WrongLoop as error:
            if has_running_loop():
                text = "this test is a coroutine: take the fixture `hub`, and await what it does"
                raise RuntimeError(text) from None
            raise RuntimeError(str(error)) from None

    async def _close_readers(self) -> None:
        readers, self._readers = self._readers, []
        for reader in readers:
            await reader.close()
        self._network.reset()

    async def _hub_closed(self) -> None:
        """Close the readers of a hub that the application has closed: its event loop may end now."""
        if self._undo is not None and not self._is_restarting:
            await self._close_readers()
            if self._patience is not None:
                self._patience.cancel()
                self._patience = None

    async def __aenter__(self) -> Self:
        try:
            await self.start()
        except BaseException:
            await self.close()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def _accept(self) -> asyncio.Protocol:
        if self._protocols is None:
            self._protocols = self._hub_alone() if self._path is None else self._application()
        return self._protocols()

    def _accept_http(self) -> asyncio.Protocol:
        if self._app is None:
            return self._accept()
        if self._http_protocols is None:
            self._http_protocols = self._application()
        return self._http_protocols()

    def _hub_alone(self) -> Callable[[], asyncio.Protocol]:
        config = _config(self.hub.app, ws=counted_websocket(self._gate))
        state = ServerState()
        return lambda: Edge(self._gate, config=config, server_state=state, app_state={})

    def _application(self) -> Callable[[], asyncio.Protocol]:
        assert self._app is not None
        config, state = _config(self._app, ws="websockets-sansio"), ServerState()
        app_state = {} if self._lifespan is None else self._lifespan.state
        return lambda: HttpToolsProtocol(config=config, server_state=state, app_state=app_state)

    # Clients.

    async def reader(
        self,
        room: str,
        *,
        transport: str | None = None,
        user: str | None = None,
        permissions: Permissions | None = None,
        expires_in_s: float | None = None,
        renews: bool = True,
        token: str | GetToken | None = None,
        headers: Mapping[str, str] | None = None,
        cookies: Mapping[str, str] | None = None,
        since: str | int | None = None,
        last: int | None = None,
        presence: bool | str | dict[str, Any] = False,
    ) -> Reader:
        """Return a client that reads a room.

        Args:
            room: Name of the room.
            transport: `websocket`, `sse`, `longpoll` or `shortpoll`; by default that of the test.
            user: Who it is, whatever your application's authentication would say. Without it, and without *token*, it
                is a client that brings nothing.
            permissions: What the user may do; by default everything but administration. An `authorize` hook decides as
                always.
            expires_in_s: After how many seconds of the test's clock its token expires.
            renews: Whether it gets another one then.
            token: A token for your application's own authentication, or a function that returns one.
            headers, cookies: What its requests bring, for an `authenticate` hook that looks at them.
            since, last: Where to begin, as `Client.room` has it: by default with the newest 50 messages.
            presence: True, or a dict that members are shown; `watch` to be told of them only.

        Raises:
            ClientError: The hub refuses the client (`unauthorized`, …), or as a RoomError the room (`forbidden`, …).
        """
        await self.start()
        if transport is not None:
            check_transport(transport)
        _check_who(user, permissions, token)
        identity = None
        if user is not None:
            identity = Identity(self._access, self.clock, user, permissions, expires_in_s, renews=renews)
        start = {name: value for name, value in (("since", since), ("last", last)) if value is not None}
        reader = Reader(
            self.clock,
            self._network.line(),
            self.url,
            room,
            transport or self.transport,
            lambda: self.stored(room),
            lambda: self.store.rooms,
            lambda: user is None and token is None and self._access.is_required,
            identity,
            token,
            _headers(headers, cookies),
            {**start, "presence": presence},
        )
        self._readers.append(reader)
        return await reader.open()

    async def publish(
        self,
        room: str,
        data: Any,
        *,
        id: str | None = None,  # noqa: A002 - its name on the wire
        traceparent: str | None = None,
        tracestate: str | None = None,
        user: str | None = None,
        permissions: Permissions | None = None,
        token: str | None = None,
        headers: Mapping[str, str] | None = None,
        cookies: Mapping[str, str] | None = None,
    ) -> Receipt:
        """Publish: as the application does; or as a client by POST, if it is said who that is.

        Args:
            room, data, id, traceparent, tracestate: As for `Hub.publish`.
            user, permissions, token, headers, cookies: As for `reader`.

        Raises:
            ClientError: A client's publish was refused.
            TrunklineError: The application's was.
        """
        await self.start()
        _check_who(user, permissions, token)
        if user is None and token is None and headers is None and cookies is None:
            published = self.hub.publish(room, data, id=id, traceparent=traceparent, tracestate=tracestate)
            return await self.clock.run(published, WITHIN_S)
        if user is not None:
            token = Identity(self._access, self.clock, user, permissions).get_token()
        url = f"{self.url}/rooms/{room}"
        brought = _headers(headers, cookies)
        trace = parse_trace(traceparent, tracestate)
        return await self.clock.run(post(self._network.line(), url, token, data, id, brought, trace), WITHIN_S)

    def http(self, **options: Any) -> aiohttp.ClientSession:
        """Return an HTTP client of the application, or of the hub alone: `async with hub.http() as http: …`.

        Its requests come from outside, through uvicorn, and see the state of the lifespan. Paths are the application's:
        `await http.post("/orders/7/ship")`.

        Args:
            options: More arguments of `aiohttp.ClientSession`.
        """
        return aiohttp.ClientSession(
            self._origin, connector=LineConnector(self._network.line(self._accept_http)), **options
        )

    def stored(self, room: str) -> list[Message]:
        """Return what the log holds of a room."""
        return self.store.messages(room)

    async def until(self, fact: Callable[[], object], *, within_s: float = WITHIN_S) -> None:
        """Let time pass until *fact* holds.

        Raises:
            AssertionError: It did not, in so many seconds of the test's clock.
        """
        __tracebackhide__ = True
        if not await self.clock.until(fact, within_s):
            raise AssertionError(f"not within {within_s:g} s: {getattr(fact, '__qualname__', fact)}")

    # Faults.

    async def restart(self, *, kill: bool = False, lose_log: bool = False) -> None:
        """Stop the hub and start it again, on the same log.

        Args:
            kill: Say goodbye to nobody: all connections break at once.
            lose_log: The log is another one afterwards: readers are told by a gap (`epoch`).
        """
        await self.start()
        if kill:
            self._network.reset()
            await self.clock.settle()
        self._is_restarting = True
        try:
            await self.clock.run(self.hub.close(), WITHIN_S)
        finally:
            self._is_restarting = False
        if lose_log:
            self.store.lose()
        await self.hub.start()
        await self.clock.settle()

    def trim(self, room: str, *, keep: int = 0) -> None:
        """Forget a room's oldest messages, as retention does.

        Args:
            keep: How many of the newest stay.

        Raises:
            ValueError: The room has no messages.
        """
        first = self.store.drop(room, keep)
        found = self._context.engine.rooms.get(room)
        if found is not None:
            found.first = max(found.first, first)


def has_running_loop() -> bool:
    """Return whether this thread runs an event loop."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def find_hub(app: Any) -> Hub:
    """Return the hub that is mounted in a Starlette or FastAPI application.

    Raises:
        TypeError: None can be seen, or more than one.
    """

    found = list(dict.fromkeys(mounted.hub for mounted in find_mounts(app)))
    if len(found) != 1:
        what = "no hub can be seen among the routes of" if not found else "several hubs are mounted in"
        raise TypeError(f"{what} the application: name the one to be tested (in pytest, by the setting trunkline_hub)")
    return found[0]


def find_mount(app: Any, hub: Hub) -> str | None:
    """Return the path under which a hub is mounted in a Starlette or FastAPI application; None if it cannot be seen."""
    return next((mounted.path for mounted in find_mounts(app) if mounted.hub is hub), None)


def _check_who(user: str | None, permissions: Permissions | None, token: object) -> None:
    if user is not None and token is not None:
        raise TypeError("user= is whoever you say, token= is whoever your application says: give one of them")
    if permissions is not None and user is None:
        raise TypeError("permissions= are those of a user: say user=, too")


def _headers(headers: Mapping[str, str] | None, cookies: Mapping[str, str] | None) -> dict[str, str]:
    given = dict(headers or {})
    if cookies:
        given["Cookie"] = "; ".join(f"{name}={value}" for name, value in cookies.items())
    return given


def _config(app: Any, *, ws: Any) -> uvicorn.Config:
    return uvicorn.Config(
        app, ws=ws, log_config=None, access_log=False, lifespan="off", forwarded_allow_ips="127.0.0.1"
    )


def check_transport(transport: str) -> None:
    """Raise ValueError for what is no transport."""
    if transport not in TRANSPORTS:
        raise ValueError(f"{transport!r} is no transport: there are {', '.join(TRANSPORTS)}")
