"""The asyncio client: carries out what the session decides.

One file, although it is long: `Client` and `Room` are one machine's rim, and know each other.
"""

from __future__ import annotations

import asyncio
import inspect
import itertools
import logging
import re
import secrets
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Literal, Self, overload

import aiohttp
import msgspec
from yarl import URL

from trunkline.client import events
from trunkline.client.errors import ClientError, RoomError
from trunkline.client.http import open_http
from trunkline.client.http_headers import request_headers
from trunkline.client.json_text import Json, dumps
from trunkline.client.machine import THIS_MACHINE, Machine
from trunkline.client.session import Session
from trunkline.client.tracing import traced
from trunkline.client.websocket import Driver, WebSocketDriver, Wire
from trunkline.core.call import check_call_name
from trunkline.core.json_text import deeper_than
from trunkline.core.limits import Limits
from trunkline.core.message import check_id, check_readable_room
from trunkline.core.position import NOW, parse_start
from trunkline.core.presence_options import parse_presence
from trunkline.core.trace import parse_trace, trace_fields
from trunkline.errors import RequestError

log = logging.getLogger("trunkline.client")

TRANSPORTS = ("websocket", "sse", "longpoll", "shortpoll")
QUEUE_MAX = 1000  # messages that the loop has not taken yet; what follows is read again when they have been
WATCH_S = 5.0
JUMP_S = 10.0

GetToken = Callable[[], str | Awaitable[str | None] | None]
Listener = Callable[[Any], object]


class Message(msgspec.Struct, frozen=True):
    """One message of a room.

    Attributes:
        sender: The user who published it, or None.
        at: ms since 1970 UTC.
        data: Any JSON value.
        traceparent, tracestate: The trace that it was published in (W3C Trace Context), or None.
        redacted: Its data was taken away: it is None.
    """

    room: str
    offset: int
    id: str
    sender: str | None = msgspec.field(name="from")
    at: int
    data: Any
    traceparent: str | None = None
    tracestate: str | None = None
    redacted: bool = False


class _Emitter:
    def __init__(self) -> None:
        self._listeners: dict[str, list[Listener]] = {}

    def _listen(self, kind: str, listener: Listener) -> Callable[[], None]:
        of = self._listeners.setdefault(kind, [])
        of.append(listener)
        return lambda: of.remove(listener) if listener in of else None

    def _emit(self, kind: str, event: object) -> None:
        for listener in tuple(self._listeners.get(kind, ())):
            try:
                listener(event)
            except Exception:
                log.exception("a listener to %s failed", kind)


class Room(_Emitter):
    """One room. `async for message in room` gives every message once, in order, over as many connections as it takes; a
    second loop goes on where the first one ended. A listener (`on("message", …)`) makes the loop unnecessary.

    Events for `on`: `message` (a Message), and dictionaries (`trunkline.client.events`): `redacted` (messages have lost
    their data: remove them), `gap`, `joined`, `presence`,
    `signal`, `seen`, `unread`, `error`.

    Attributes:
        members: The members by name, if `presence` was asked for.
        marks: Up to which offset each member has seen the room.
    """

    def __init__(self, client: Client, name: str, options: Json) -> None:
        super().__init__()
        self.name = name
        self.members: dict[str, events.Member] = {}
        self.marks: dict[str, int] = {}
        self._client = client
        self._options = options
        self._queue: deque[Message] = deque()
        self._queued = True  # unless there is a listener and no loop
        self._behind: Json | None = None  # too much waits: where to go on when it does not
        self._emitted = -1
        self._moved = asyncio.Event()
        self._error: ClientError | None = None
        self._closed = False

    async def publish(
        self,
        data: Any,
        *,
        id: str | None = None,  # noqa: A002 - its name on the wire
        traceparent: str | None = None,
        tracestate: str | None = None,
    ) -> int:
        """Publish any JSON value; return its offset once the log has it, whatever happens to the connection.

        Args:
            data: Any JSON value.
            id: With the same id it is stored once, however often it is sent.
            traceparent, tracestate: The trace that it is part of (W3C Trace Context). One that is not valid is ignored.

        Raises:
            ClientError: It was refused, or the client was closed before it was acked.
            TypeError, ValueError: *data* is no JSON.
        """
        return await self._client.publish(self.name, data, id=id, traceparent=traceparent, tracestate=tracestate)

    def signal(self, name: str, data: Any = None) -> None:
        """Send a signal to the readers that are connected. Without a connection nothing is sent.

        Args:
            name: 1 to 64 of `A-Z a-z 0-9 _ . : ~ -`; the next signal of the same name replaces it.
            data: Any JSON value, up to 4 KiB.

        Raises:
            TypeError, ValueError: *data* is no JSON.
        """
        dumps(data)
        self._client.step({"type": "signal", "room": self.name, "name": name, "data": data})

    def seen(self, offset: int) -> None:
        """Move this member's read mark forward to *offset*; it is sent until it is stored, and never back."""
        self._client.step({"type": "seen", "room": self.name, "offset": offset})

    def present(self, presence: bool | str | Json) -> None:
        """Change the presence that members see of this client.

        Args:
            presence: As in `Client.room`; False ends presence events, too.

        Raises:
            ClientError: It is too large (1 KiB), or no object.
            TypeError, ValueError: It is no JSON.
        """
        _check_options({"presence": presence})
        self._options["presence"] = presence
        self._client.step({"type": "join", "room": self.name, "options": {"presence": presence}})

    async def before(self, offset: int, count: int = 50) -> list[Message]:
        """Return messages before an offset, oldest first: at most *count* (up to 1,000).

        Raises:
            ClientError: The server refused it, or cannot be reached.
        """
        since = max(0, offset - 1 - count)
        page = await self._client.get(f"rooms/{self.name}", [("since", str(since)), ("limit", str(count))])
        return [_message(event) for event in page["messages"] if event["offset"] < offset]

    def close(self) -> None:
        """Read the room no longer."""
        self._client.forget(self)

    @overload
    def on(self, kind: Literal["message"], listener: Callable[[Message], object]) -> Callable[[], None]: ...
    @overload
    def on(self, kind: Literal["redacted"], listener: Callable[[events.Redacted], object]) -> Callable[[], None]: ...
    @overload
    def on(self, kind: Literal["gap"], listener: Callable[[events.Gap], object]) -> Callable[[], None]: ...
    @overload
    def on(self, kind: Literal["joined"], listener: Callable[[events.Joined], object]) -> Callable[[], None]: ...
    @overload
    def on(self, kind: Literal["presence"], listener: Callable[[events.Presence], object]) -> Callable[[], None]: ...
    @overload
    def on(self, kind: Literal["signal"], listener: Callable[[events.Signal], object]) -> Callable[[], None]: ...
    @overload
    def on(self, kind: Literal["seen"], listener: Callable[[events.Seen], object]) -> Callable[[], None]: ...
    @overload
    def on(self, kind: Literal["unread"], listener: Callable[[events.Unread], object]) -> Callable[[], None]: ...
    @overload
    def on(self, kind: Literal["error"], listener: Callable[[events.Refusal], object]) -> Callable[[], None]: ...

    def on(self, kind: str, listener: Listener) -> Callable[[], None]:
        """Call *listener* at each event of this kind; return a function that ends that.

        With OpenTelemetry each call with a message has a span `process`; for loops there is `process_span`.
        """
        if kind == "message":
            listener = traced(listener)
            self._queued = False
            self._queue.clear()
            self._behind = None
        if kind == "unread":  # they are told at once, and again with each message
            self._client.step({"type": "count", "room": self.name})
        return self._listen(kind, listener)

    def __aiter__(self) -> Self:
        self._queued = True
        return self

    async def __anext__(self) -> Message:
        while not self._queue:
            if self._behind is not None:
                start, self._behind = self._behind, None
                self._client.read_again(self, {**self._options, **start})
            if self._error is not None:
                raise self._error
            if self._closed:
                raise StopAsyncIteration
            self._moved.clear()
            await self._moved.wait()
        return self._queue.popleft()

    def receive(self, event: Json) -> None:
        """Take an event of this room."""
        kind = event["type"]
        if kind == "message":
            message = _message(event)
            if message.offset > self._emitted:  # not what is read again for a slow loop
                self._emitted = message.offset
                self._emit("message", message)
            if self._queued and self._behind is None and not self._closed:
                self._queue.append(message)
                if len(self._queue) >= QUEUE_MAX:
                    self._behind = self._client.start_of(self.name)
                self._moved.set()
            return
        body = {name: value for name, value in event.items() if name != "type"}
        if kind == "presence":
            if "members" in event:
                self.members.clear()
            for member in (*event.get("members", ()), *event.get("joined", ())):
                self.members[member["member"]] = member
            for member in event.get("left", ()):
                self.members.pop(member, None)
        elif kind == "redacted":
            self._redact(event)
            if event["offset"] <= self._emitted:
                return  # read again for a slow loop
            self._emitted = event["offset"]
            body = {name: value for name, value in body.items() if name not in ("id", "from", "data")}
        elif kind == "gap":
            self._emitted = int(event["next"].rpartition(".")[2])
        elif kind == "seen":
            for mark in event["marks"]:
                self.marks[mark["member"]] = max(mark["offset"], self.marks.get(mark["member"], 0))
        elif kind == "unread":
            body = next((count for count in event["rooms"] if count["room"] == self.name), body)
        elif kind == "error" and event.get("about") in (None, "join"):
            self._error = RoomError(event["code"], event["message"])
            self._moved.set()
        self._emit(kind, body)

    def _redact(self, event: Json) -> None:
        """Take the data of messages away that the loop has not taken yet."""
        offsets, erased = set(event["redacts"]), event.get("erased", False)
        for n, message in enumerate(self._queue):
            if message.offset in offsets:
                sender = None if erased else message.sender
                message_id = "" if erased else message.id
                self._queue[n] = msgspec.structs.replace(
                    message, id=message_id, sender=sender, data=None, traceparent=None, tracestate=None, redacted=True
                )

    def end(self, error: ClientError | None = None) -> None:
        """End the room; with *error*, if the application did not want that."""
        self._closed = True
        self._behind = None
        self._error = self._error or error
        self._moved.set()


class Client(_Emitter):
    """A connection for any number of rooms. Use it as `async with connect("http://localhost:8000") as client: …`.

    Args:
        url: The server's address; its path may be that of a mount.
        get_token: Called (and awaited, if it is async) before each connection and before a token ends. What it raises
            is tried again, unless it has a `status` of 401 or 403.
        transports: Which to use, the best first.
        client_id: 8 to 64 of `A-Z a-z 0-9 _ -`: on servers without authentication, a client that comes back with it is
            the same member. One connection may have it at a time. By default random.
        outbox_max: How many messages may wait for their acks.
        poll_ms: Between two short polls.
        retry_max_ms: The longest pause before the next attempt to connect. By default 5000, or what the server has said
            that it needs for all its clients to come back.
        headers, cookies: Sent with each request, WebSockets included: what a proxy or the application asks for.
        machine: Sockets, time and chance, for tests; by default those of this machine.

    Events for `on`: `state` (a dict with `state`, `reason`, `text`, `transport`), `outbox` (how many messages wait).

    Attributes:
        user: The authenticated user of this client, or None.
        member: This client's name in `members` and `marks`.
    """

    def __init__(
        self,
        url: str,
        *,
        get_token: GetToken | None = None,
        transports: Sequence[str] = TRANSPORTS,
        client_id: str | None = None,
        outbox_max: int = 1000,
        poll_ms: int = 2000,
        retry_max_ms: float | None = None,
        headers: Mapping[str, str] | None = None,
        cookies: Mapping[str, str] | None = None,
        machine: Machine = THIS_MACHINE,
    ) -> None:
        super().__init__()
        self._url = URL(re.sub("^ws", "http", url.rstrip("/")))
        if self._url.scheme not in ("http", "https"):
            raise ValueError(f"{url!r} is no http:// or https:// address")
        self.user: str | None = None
        self.member = ""
        self.client_id = secrets.token_hex(16) if client_id is None else client_id
        self._machine = machine
        self._headers = request_headers(headers, cookies)
        self._life = secrets.token_hex(8)
        self._attempts = itertools.count(1)
        self._get_token = get_token
        self._poll_ms = poll_ms
        self._rooms: dict[str, Room] = {}
        self._acks: dict[tuple[str, str], asyncio.Future[int]] = {}
        self._results: dict[str, asyncio.Future[Any]] = {}  # of calls, by their ids
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._asking: asyncio.Task[None] | None = None
        self._driver: Driver | None = None
        self._token = ""
        self._effects: deque[Json] = deque()
        self._acting = False
        self._limits: Json = {"message_bytes": 65_536, "rooms": 100, "json_depth": 500}  # until the server says its own
        self._http: aiohttp.ClientSession
        self._watcher: asyncio.Task[None] | None = None
        self._session = Session(
            transports,
            has_token=get_token is not None,
            outbox_max=outbox_max,
            retry_max_ms=retry_max_ms,
            random=machine.random,
        )

    @overload
    def on(self, kind: Literal["state"], listener: Callable[[events.Change], object]) -> Callable[[], None]: ...
    @overload
    def on(self, kind: Literal["outbox"], listener: Callable[[int], object]) -> Callable[[], None]: ...

    def on(self, kind: str, listener: Listener) -> Callable[[], None]:
        """Call *listener* at each event of this kind; return a function that ends that."""
        return self._listen(kind, listener)

    async def __aenter__(self) -> Self:
        self._http = self._machine.open_http()
        self._http.headers.update(self._headers)
        self._watcher = asyncio.ensure_future(self._watch())
        asyncio.get_running_loop().call_soon(self.step, {"type": "start"})  # with the rooms that are asked for at once
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    @property
    def state(self) -> str:
        """`idle`, `connecting`, `online`, `waiting` or `closed`."""
        return self._session.state

    @property
    def transport(self) -> str:
        """The transport that is used, or tried."""
        return self._session.transport

    @property
    def waiting(self) -> int:
        """How many messages wait for their acks."""
        return self._session.waiting

    def room(
        self,
        name: str,
        *,
        since: str | int | None = None,
        last: int | None = None,
        presence: bool | str | Json = False,
    ) -> Room:
        """Read a room; return its Room, the same object each time it is asked for.

        The options of a room that is read already are not changed.

        Args:
            name: Name of the room.
            since: `start`, `now`, an offset or a position such as `k3f9x2.42`.
            last: Instead: begin with so many of the newest; 50 if both are left out.
            presence: True, or a dict that members are shown; `watch` to be told of them only.

        Raises:
            ClientError: `closed`; or, as a RoomError, `bad_room` (no room can have that name), `bad_position`,
                `too_many_rooms`, or what is wrong with *presence*: too large (1 KiB), or no object.
            TypeError, ValueError: *presence* is no JSON.
        """
        room = self._rooms.get(name)
        if room is None:
            _check_room(name)
            options = {"since": since, "last": last, "presence": presence}
            options = {key: value for key, value in options.items() if value is not None}
            _check_options(options)
            if self.state == "closed":
                raise ClientError("closed", "the client is closed")
            if len(self._rooms) >= self._limits["rooms"]:
                raise RoomError("too_many_rooms", f"at most {self._limits['rooms']} rooms at once; close one first")
            room = self._rooms[name] = Room(self, name, options)
            self.step({"type": "join", "room": name, "options": options})
        return room

    async def publish(
        self,
        room: str,
        data: Any,
        *,
        id: str | None = None,  # noqa: A002 - its name on the wire
        traceparent: str | None = None,
        tracestate: str | None = None,
    ) -> int:
        """Publish any JSON value to a room, whether it is read or not; return its offset once the log has it.

        Args:
            room: Name of the room.
            data: Any JSON value.
            id: With the same id it is stored once, however often it is sent.
            traceparent, tracestate: The trace that it is part of (W3C Trace Context). One that is not valid is ignored.

        Raises:
            ClientError: It was refused, or the client was closed before it was acked.
            TypeError, ValueError: *data* is no JSON.
        """
        _check_room(room)
        self._check_data(data)
        trace = trace_fields(parse_trace(traceparent, tracestate))
        message_id = secrets.token_hex(16) if id is None else _check_id(id)
        self._check_started()
        ack = self._acks.get((room, message_id))
        if ack is None:
            ack = self._acks[room, message_id] = asyncio.get_running_loop().create_future()
            self.step({"type": "publish", "draft": {"id": message_id, "room": room, "data": data, **trace}})
        return await asyncio.shield(ack)

    async def call(
        self,
        name: str,
        data: Any = None,
        *,
        timeout_s: float = 10.0,
        id: str | None = None,  # noqa: A002 - its name on the wire
    ) -> Any:
        """Call a handler of the application, which carries it out once, whatever happens to the connection.

        A task that is cancelled while it waits gives the call up; the server may carry it out nevertheless.

        Args:
            name: Name of the handler: 1 to 64 of `A-Z a-z 0-9 _ . : ~ -`.
            data: Any JSON value.
            timeout_s: How many seconds to wait for the result, over all connections.
            id: With the same id it is carried out once within a minute, however often it is made.

        Returns:
            The result of the handler.

        Raises:
            ClientError: It was refused, with the code of the application or of the server; or `timeout`,
                `outcome_unknown`, `outbox_full`, or `closed`: the message says whether it may have been carried out.
            TypeError, ValueError: *data* is no JSON.
        """
        _check_call_name(name)
        self._check_data(data)
        call_id = secrets.token_hex(16) if id is None else _check_id(id)
        self._check_started()
        before = self._session.name_of_call(call_id)
        if before not in (None, name):
            raise ClientError("bad_id", f"{call_id} is the id of a call of {before} that waits")
        result = self._results.get(call_id)
        if result is None:
            result = self._results[call_id] = asyncio.get_running_loop().create_future()
            call = {"id": call_id, "name": name, "data": data, "timeoutMs": timeout_s * 1000}
            self.step({"type": "call", "call": call})
        try:
            return await asyncio.shield(result)
        except asyncio.CancelledError:
            if not result.done():
                self.step({"type": "abort", "id": call_id})
            raise

    def _check_started(self) -> None:
        if self._watcher is None:
            raise ClientError("closed", "the client was not started: use `async with connect(…)`")

    def _check_data(self, data: Any) -> None:
        text, limits = dumps(data), self._limits
        if len(text) > limits["message_bytes"]:
            raise ClientError("too_large", f"data of {len(text)} bytes, at most {limits['message_bytes']} allowed")
        if deeper_than(text, limits["json_depth"]):
            raise ClientError("too_deep", f"data is nested deeper than {limits['json_depth']} levels")

    async def unread(self, rooms: Sequence[str]) -> list[events.Unread]:
        """Return the unread counts of these rooms, whether they are read or not.

        Raises:
            ClientError: The server refused it, or cannot be reached.
        """
        counts: list[events.Unread] = (await self.get("unread", [("room", room) for room in rooms]))["rooms"]
        return counts

    async def get(self, path: str, query: Sequence[tuple[str, str]]) -> Json:
        """Return the answer to a GET request.

        Raises:
            ClientError: The server refused it, or cannot be reached.
        """
        headers = {"Authorization": f"Bearer {self._token}"} if self._token else {}
        pairs = [("client", self.client_id), *query]
        try:
            async with self._http.get(self._url / path, params=pairs, headers=headers) as response:
                answer: Json = await response.json()
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
            raise ClientError("unreachable", str(error)) from None
        if "error" in answer:
            raise ClientError(answer["error"]["code"], answer["error"]["message"])
        return answer

    def wake(self, reason: str = "woken by the application", *, stale: bool = False) -> None:
        """Find out at once whether the connection is still good; connect at once if there is none.

        Args:
            stale: It cannot be good any more: the network has changed. Connect again.
        """
        self.step({"type": "wake", "reason": reason, "stale": stale})

    async def close(self) -> None:
        """Close the connection. Messages that were not acked, and calls without a result, are refused with `closed`."""
        driver = self._driver
        self.step({"type": "close"})
        if self._watcher is None:
            return
        self._watcher.cancel()
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(self._watcher, *self._tasks, return_exceptions=True)
        if driver is not None:
            await driver.wait_closed()
        await self._http.close()

    def forget(self, room: Room) -> None:
        """Read a room no longer."""
        if self._rooms.get(room.name) is room:
            del self._rooms[room.name]
            self.step({"type": "leave", "room": room.name})
            room.end()

    def start_of(self, name: str) -> Json:
        """Return where a room is to be read on, after what was told."""
        return self._session.rooms[name].start

    def read_again(self, room: Room, options: Json) -> None:
        """Read a room from another place, if it is read at all."""
        if self._rooms.get(room.name) is room:
            self.step({"type": "leave", "room": room.name})
            self.step({"type": "join", "room": room.name, "options": options})

    # Carrying out what the session decides.

    def step(self, given: Json) -> None:
        """Give the session an input, and carry out its effects, after those of inputs before."""
        self._effects.extend(self._session.step(given, self._machine.now_s() * 1000))
        if self._acting:
            return  # a listener did this: the call that told it goes on
        self._acting = True
        try:
            while self._effects:
                self._carry_out(self._effects.popleft())
        finally:
            self._acting = False

    def _carry_out(self, effect: Json) -> None:
        kind = effect["do"]
        if kind == "open":
            self._open(effect["transport"], effect["joins"])
        elif kind == "shut":
            self._shut()
        elif kind == "send":
            if self._driver is not None:
                self._driver.send(effect["command"])
        elif kind == "token":
            if self._asking is None:
                self._asking = self._spawn(self._ask())
        elif kind == "auth":
            self._token = effect["token"]
            if self._driver is not None:
                self._driver.auth(self._token)
        elif kind in ("timer", "cancel"):
            timer = self._timers.pop(effect["name"], None)
            if timer is not None:
                timer.cancel()
            if kind == "timer":
                given = {"type": "timer", "name": effect["name"]}
                self._timers[effect["name"]] = asyncio.get_running_loop().call_later(
                    effect["ms"] / 1000, self.step, given
                )
        elif kind == "change":
            log.debug("%(state)s (%(reason)s): %(text)s", effect["change"])
            self._emit("state", effect["change"])
            if effect["change"]["state"] == "closed":
                reason, text = effect["change"]["reason"], effect["change"]["text"]
                for room in self._rooms.values():
                    room.end(None if reason == "close" else ClientError(reason, text))
        elif kind == "tell":
            if effect["room"] in self._rooms:
                self._rooms[effect["room"]].receive(effect["event"])
        elif kind == "stored":
            ack = self._acks.pop((effect["receipt"]["room"], effect["receipt"]["id"]), None)
            if ack is not None and not ack.done():
                ack.set_result(effect["receipt"]["offset"])
        elif kind == "refused":
            error = effect["error"]
            _reject(self._acks.pop((error["room"], error["id"]), None), error)
        elif kind == "result":
            result = self._results.pop(effect["id"], None)
            if result is not None and not result.done():
                result.set_result(effect["data"])
        elif kind == "rejected":
            _reject(self._results.pop(effect["error"]["id"], None), effect["error"])
        elif kind == "outbox":
            self._emit("outbox", effect["waiting"])

    def _shut(self) -> None:
        if self._driver is not None:
            self._driver.close()
            self._spawn(self._driver.wait_closed())
            self._driver = None

    def _open(self, transport: str, joins: list[Json]) -> None:
        self._shut()

        def event(said: Json) -> None:
            if self._driver is not driver:
                return
            if said["type"] in ("welcome", "authenticated"):
                if "member" in said:
                    self.user, self.member = said["user"], said["member"]
                self._limits = said.get("limits", self._limits)
            self.step({"type": "event", "event": said})

        def down(how: Json) -> None:
            if self._driver is driver:
                self.step({"type": "down", "down": how})

        def heard() -> None:
            if self._driver is driver:
                self.step({"type": "heard"})

        def attempt() -> str:
            return f"{self._life}.{next(self._attempts)}"

        wire = Wire(
            self._http,
            self._url,
            self.client_id,
            attempt,
            self._token,
            self._poll_ms,
            self._machine.random,
            event,
            down,
            heard,
        )
        driver: Driver
        driver = WebSocketDriver(wire, joins) if transport == "websocket" else open_http(transport, wire, joins)
        self._driver = driver

    async def _ask(self) -> None:
        try:
            assert self._get_token is not None
            token = self._get_token()
            if inspect.isawaitable(token):
                token = await token
        except Exception as error:  # noqa: BLE001 - the application's; tried again unless it says that it is no use
            self._asking = None
            final = getattr(error, "status", None) in (401, 403)
            self.step({"type": "no-token", "final": final, "text": str(error) or type(error).__name__})
        else:
            self._asking = None
            if token:
                self.step({"type": "token", "token": token})
            else:
                self.step({"type": "no-token", "final": True, "text": "there is no token"})

    async def _watch(self) -> None:
        """Wake the client when the clock jumps, because the machine has slept."""
        before = self._machine.now_s()
        while True:
            await asyncio.sleep(WATCH_S)
            now = self._machine.now_s()
            if abs(now - before - WATCH_S) > JUMP_S:
                self.wake("the clock has jumped")
            before = now

    def _spawn(self, work: Any) -> asyncio.Task[None]:
        task: asyncio.Task[None] = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


def _message(event: Json) -> Message:
    more = (event.get("traceparent"), event.get("tracestate"), event.get("redacted", False))
    return Message(event["room"], event["offset"], event["id"], event["from"], event["at"], event["data"], *more)


def _reject(future: asyncio.Future[Any] | None, error: Json) -> None:
    if future is not None and not future.done():
        future.set_exception(ClientError(error["code"], error["message"]))
        future.exception()  # perhaps no caller waits any more


def _check_id(one_id: str) -> str:
    try:
        return check_id(one_id, Limits().id_bytes_max)
    except RequestError as error:
        raise ClientError(error.code, str(error)) from None


def _check_call_name(name: str) -> None:
    try:
        check_call_name(None if name in (".", "..") else name)  # these two are no part of a path
    except RequestError as error:
        raise ClientError(error.code, str(error)) from None


def _check_room(name: str) -> None:
    try:
        check_readable_room(name)
    except RequestError as error:
        raise RoomError(error.code, str(error)) from None


def _check_options(options: Json) -> None:
    """Refuse options that no server takes: on streams and polls all rooms would be refused with this one."""
    try:
        parse_start(options.get("since"), options.get("last"), NOW)
        parse_presence(dumps(options.get("presence", False)))
    except RequestError as error:
        raise RoomError(error.code, str(error)) from None


connect = Client
