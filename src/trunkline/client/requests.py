"""Event streams and polls: rooms with positions, and a request for each thing that is said."""

from __future__ import annotations

import asyncio
import codecs
import contextlib
import json
import logging
import random
import urllib.parse
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, TypeVar

import aiohttp

from trunkline.client.errors import Down
from trunkline.client.json_text import Json, dumps
from trunkline.client.session import POSITION
from trunkline.client.websocket import Wire

log = logging.getLogger("trunkline.client")

TIMEOUT_S = 10.0
POLL_WAIT_S = 25
IDLE_S = 20.0
AWAY_MS = 1000  # between two questions to a server whose log does not answer
PAGE = 1000
JOINS_AT_ONCE = 4
ADDRESS_MAX = 12_000  # characters of what is asked for: heads of requests are limited, ours and proxies'
Pairs = Sequence[tuple[str, object]]
T = TypeVar("T")

# What an event stream says at its end, as a WebSocket's close code says it.
CLOSED = {
    "replaced": 4201, "disconnected": 4200, "unauthorized": 4100, "token_expired": 4101, "revoked": 4102,
    "store_unavailable": 1013,
}  # fmt: skip


# Refusals of a request for many rooms that one of them has earned.
OF_ONE_ROOM = frozenset(
    {
        "forbidden", "bad_room", "bad_position", "bad_json", "bad_command", "not_found", "too_deep", "too_large",
        "too_many_members",
    }
)  # fmt: skip


class _Turned(Exception):
    """The rooms have changed: what is waited for is not what is wanted any more."""


class Requests:
    """What event streams and polls have in common.

    Args:
        wait_s: Of a long poll.
    """

    def __init__(self, wire: Wire, joins: Sequence[Json], wait_s: int = 0) -> None:
        self._wire = wire
        self._wait_s = wait_s
        self._token = wire.token
        self._rooms: dict[str, Json] = {}  # what is read: who leaves and joins again has another one
        self._joins = {join["room"]: join for join in joins}  # what is to be joined
        self._joining: dict[str, Json] = {}  # what is being joined
        self._goodbyes: dict[str, None] = {}  # where others saw us and shall not any more
        self._over = False
        # What was said before it was certain that this transport works, and what that was joined as.
        self._held: list[tuple[Json, Json | None]] | None = []
        self._turned = asyncio.Event()
        self._posts: asyncio.Queue[tuple[int, Json]] = asyncio.Queue()  # bounded by the session's outbox
        self._failures = 0
        self._live = ""
        self._session = ""
        self._expires_at: float | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._farewells: set[asyncio.Task[None]] = set()  # what is still said after the end
        self._spawn(self._unless_it_fails(self._run()))
        self._spawn(self._unless_it_fails(self._post_all()))

    # What the session says.

    def send(self, command: Json) -> None:
        kind, room = command["type"], command.get("room", "")
        if kind == "join":
            known = self._rooms.get(room) or self._joins.get(room) or self._joining.get(room)
            if "since" in command or "last" in command:
                start = {name: command[name] for name in ("since", "last") if name in command}
                self._joins[room] = {"room": room, "start": start, "presence": command["presence"]}
            elif known is not None:
                if _visible(known["presence"]):
                    self._goodbyes[room] = None
                known["presence"] = command["presence"]
            self._turn_over()
        elif kind == "leave":
            if room in self._rooms and _visible(self._rooms[room]["presence"]):
                self._goodbyes[room] = None
            for rooms in (self._rooms, self._joins, self._joining):
                rooms.pop(room, None)
            self._event({"type": "left", "room": room})
            self._turn_over()
        elif kind == "message":
            # One at a time, for two requests of one client may overtake each other; and none behind one that failed.
            self._posts.put_nowait((self._failures, command))
        elif kind == "signal":
            self._spawn(self._command(f"rooms/{room}/signals", command))
        elif kind == "seen":
            self._farewell(self._command(f"rooms/{room}/seen", command))
        elif kind == "unread":
            self._spawn(self._count(command["rooms"]))

    def auth(self, token: str) -> None:
        self._token = token
        if self._session:
            self._spawn(self._renew())
        else:
            self._turn_over()  # the next question brings it

    def close(self) -> None:
        self._over = True
        self._part()
        for task in list(self._tasks):
            task.cancel()

    async def wait_closed(self) -> None:
        await asyncio.gather(*self._tasks, *self._farewells, return_exceptions=True)

    # Requests.

    async def _ask(self, path: str, *, timeout_s: float = TIMEOUT_S, **asked: Any) -> Any:
        async with self._asked(path, timeout_s=timeout_s, **asked) as response:
            try:
                text = await response.text()
                return json.loads(text) if text else None
            except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
                raise Down("network", text=str(error) or type(error).__name__) from None

    @contextlib.asynccontextmanager
    async def _asked(
        self,
        path: str,
        *,
        query: Pairs = (),
        method: str | None = None,
        body: Json | None = None,
        accept: str | None = None,
        timeout_s: float | None = TIMEOUT_S,
    ) -> Any:
        pairs = [("client", self._wire.client_id), *((name, str(value)) for name, value in query)]
        headers = {"Authorization": f"Bearer {self._token}"} if self._token else {}
        if accept:
            headers["Accept"] = accept
        if body is not None:
            headers["Content-Type"] = "application/json"
        try:
            response = await self._wire.http.request(
                method or ("GET" if body is None else "POST"),
                self._wire.url / path,
                params=pairs,
                data=None if body is None else dumps(body),
                headers=headers,
                timeout=aiohttp.ClientTimeout(total=timeout_s, connect=TIMEOUT_S),
            )
        except aiohttp.ClientConnectorError as error:
            raise Down("network", text=str(error), unreachable=True) from None
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise Down("network", text=str(error) or type(error).__name__) from None
        async with response:
            if response.status >= 400:
                raise await _refusal(response)
            yield response

    async def _try(self, path: str, **asked: Any) -> None:
        with contextlib.suppress(Down):
            await self._ask(path, **asked)

    async def _command(self, path: str, command: Json) -> None:
        """A signal, or how far a room was seen."""
        body = {name: value for name, value in command.items() if name not in ("type", "room")}
        try:
            count = await self._ask(path, body=body)
        except Down as error:
            self._refused(error, about=command["type"], room=command["room"])
        else:
            if count is not None:
                self._event({"type": "unread", "rooms": [count]})

    async def _count(self, rooms: list[str]) -> None:
        try:
            counts = await self._ask("unread", query=[("room", room) for room in rooms])
        except Down as error:
            self._refused(error, about="unread", room=rooms[0])
        else:
            self._event({"type": "unread", **counts})

    async def _renew(self) -> None:
        try:
            answer = await self._ask(f"sessions/{self._session}/auth", method="POST")
        except Down as error:
            if error.down.get("status") == 401:
                self._fail(error)
            else:
                self._turn_over()  # there may be another stream by now
        else:
            self._event({"type": "authenticated", **answer})

    async def _post_all(self) -> None:
        while True:
            failures, command = await self._posts.get()
            if failures == self._failures:
                await self._publish(command)

    async def _publish(self, draft: Json) -> None:
        room = draft["room"]
        try:
            body = {"id": draft["id"], "data": draft["data"]}
            self._event({"type": "ack", **await self._ask(f"rooms/{room}", body=body)})
        except Down as error:
            self._refused(error, about="message", id=draft["id"], room=room)

    def _refused(self, error: Down, **what: str) -> None:
        if error.down.get("status") == 401:
            self._fail(error)  # nothing will come through before there is another token
            return
        reason = _reason(error)
        self._failures += "id" in what and reason["code"] == "network"
        self._event({"type": "error", **what, **reason})

    # Listening.

    async def _listen(self, listen: Callable[[], Awaitable[None]]) -> None:
        """Listen to all rooms again and again, from where they stand."""
        try:
            while not self._over:
                self._turned.clear()
                await self._begin()
                if self._turned.is_set():
                    continue
                self._part()
                try:
                    await self._once(listen)
                except _Turned:
                    pass
                except Down as error:
                    if error.reason in OF_ONE_ROOM:
                        await self._check(error)
                    elif error.reason == "store_unavailable" and self._held is None:
                        # The server is there, its log is not: we stay, as everybody does who has a stream.
                        ms = error.down.get("retryAfterMs") or AWAY_MS
                        await self._sleep(ms / 1000 * (0.5 + random.random()))  # noqa: S311 - no secret
                    elif error.reason == "too_many_rooms" and self._rooms:
                        self._lose(next(reversed(self._rooms)), error)
                    else:
                        raise
                self._wire.heard()
        except Down as error:
            self._fail(error)

    async def _unless_it_fails(self, work: Awaitable[None]) -> None:
        """A mistake of ours must not leave us deaf: the session begins anew."""
        try:
            await work
        except Exception as error:
            log.exception("the connection failed")
            self._fail(Down("internal", text=str(error) or type(error).__name__))

    async def _once(self, listen: Callable[[], Awaitable[None]]) -> None:
        if self._rooms:
            await listen()
        else:
            who = await self._ask("whoami")
            self._welcome()
            self._event({**who, "type": "authenticated"})
            await self._sleep(IDLE_S)

    def _part(self) -> None:
        """Say goodbye where others still see us: after a stream has ended they would for a while."""
        goodbyes, self._goodbyes = self._goodbyes, {}
        for room in goodbyes:
            if not _visible(self._rooms.get(room, {}).get("presence")):
                self._farewell(self._try(f"rooms/{room}/presence", method="DELETE"))

    def _turn_over(self) -> None:
        """Something else is to be listened to."""
        self._turned.set()
        self._live = ""  # of a room that is new to us we want to know everything

    async def _run(self) -> None:
        raise NotImplementedError

    async def _until_turned(self, work: Awaitable[T]) -> T:
        """The outcome of this.

        Raises:
            _Turned: The rooms have changed before.
        """
        task, turned = asyncio.ensure_future(work), asyncio.ensure_future(self._turned.wait())
        try:
            await asyncio.wait((task, turned), return_when=asyncio.FIRST_COMPLETED)
            if self._turned.is_set():
                raise _Turned
            return task.result()
        finally:
            turned.cancel()
            task.cancel()
            await asyncio.gather(task, turned, return_exceptions=True)

    async def _sleep(self, seconds: float) -> None:
        await self._until_turned(asyncio.sleep(seconds))

    async def _begin(self) -> None:
        """Join what is to be joined, a few at a time."""
        workers = [asyncio.ensure_future(self._join_all()) for _ in range(min(JOINS_AT_ONCE, len(self._joins)))]
        try:
            await asyncio.gather(*workers)
        finally:
            for worker in workers:
                worker.cancel()

    async def _join_all(self) -> None:
        while self._joins:
            await self._join(self._joins.pop(next(iter(self._joins))))

    async def _join(self, join: Json) -> None:
        """A page of a room says where it stands, unless we know."""
        room, start = join["room"], join["start"]
        if POSITION.match(str(start.get("since"))):
            self._rooms[room] = {**join, "position": start["since"]}
            return
        self._joining[room] = join
        try:
            page = await self._ask(f"rooms/{room}", query=[*start.items(), ("limit", PAGE)])
            self._wire.heard()
            if self._joining.get(room) is not join:
                return  # it was left meanwhile
            joined = self._rooms[room] = {**join, "position": page["next"]}
            self._event({"type": "joined", "room": room, "epoch": page["epoch"], "head": page["head"]}, joined)
            self._tell([page["gap"]] if page["gap"] else [], page["messages"], {room: joined})
        except Down as error:
            if self._joining.get(room) is join:
                self._lose(room, error)
        finally:
            if self._joining.get(room) is join:
                del self._joining[room]

    def _lose(self, room: str, error: Down) -> None:
        """One room that may not be read is no reason to lose the others."""
        if error.reason not in OF_ONE_ROOM and error.reason != "too_many_rooms":
            raise error
        self._rooms.pop(room, None)
        text = error.down.get("text") or error.reason
        self._event({"type": "error", "about": "join", "room": room, "code": error.reason, "message": text})

    def _hide(self, joined: Json, error: Down) -> None:
        """A room may be read, but who is there is not for us, or we not for them."""
        joined["presence"] = False
        refusal = {"room": joined["room"], "code": error.reason, "message": error.down.get("text") or error.reason}
        self._event({"type": "error", "about": "presence", **refusal}, joined)

    async def _check(self, error: Down) -> None:
        """Something of what was asked for together cannot be had: find out what, and go on without it."""
        found = False
        for joined in list(self._rooms.values()):
            refused = await self._why(joined["room"], ("since", joined["position"]))
            hidden = None
            if refused is None and joined["presence"]:
                hidden = await self._why(joined["room"], ("presence", _said(joined["presence"])))
            if refused is not None:
                self._lose(joined["room"], refused)
            elif hidden is not None and hidden.reason in OF_ONE_ROOM:
                self._hide(joined, hidden)
            elif hidden is not None:
                raise hidden
            found = found or refused is not None or hidden is not None
        if not found:  # it has passed, or comes from elsewhere
            raise Down("network", text=error.down.get("text") or error.reason)

    async def _why(self, room: str, *query: tuple[str, object]) -> Down | None:
        """Why a room cannot be had; None if it can."""
        try:
            await self._ask(f"rooms/{room}", query=[("limit", 1), *query])
        except Down as error:
            return error
        return None

    def _query(self) -> list[tuple[str, object]]:
        """What is asked for: every room from where it stands, and what others are to be told of us there."""
        left = ADDRESS_MAX
        presences: dict[str, list[str]] = {}
        for room, joined in list(self._rooms.items()):
            left -= len(room) + len(joined["position"]) + 2
            if left < 0:
                self._lose(room, Down("too_many_rooms", text="the names of all rooms together are too long"))
                continue
            if not joined["presence"]:
                continue
            said = _said(joined["presence"])
            length = len(room) + 1 + (0 if said in presences else len(urllib.parse.quote(said)) + 20)
            if length > left:
                self._hide(joined, Down("too_large", text="what is told of us in all rooms together is too long"))
            else:
                left -= length
                presences.setdefault(said, []).append(room)
        pairs: list[tuple[str, object]] = [
            ("since", ",".join(f"{room}={joined['position']}" for room, joined in self._rooms.items()))
        ]
        for said, rooms in presences.items():
            pairs += [("presence", said), ("in", ",".join(rooms))]
        return pairs

    def _move(self, positions: str, reading: Mapping[str, Json]) -> None:
        for part in positions.split(","):
            name, _, position = part.rpartition("=")
            if name not in reading:
                continue
            joined = reading[name]
            before, joined["position"] = joined["position"], position
            epoch, _, offset = position.partition(".")
            # The log goes on under another epoch: on a WebSocket, the server says so itself.
            if "." in before and not before.startswith(f"{epoch}."):
                self._event({"type": "joined", "room": name, "epoch": epoch, "head": int(offset)}, joined)

    # What the client is told.

    def _welcome(self) -> None:
        """This transport works."""
        if self._held is not None:
            held, self._held = self._held, None
            self._event({"type": "welcome"})
            for event, joined in held:
                self._event(event, joined)

    def _event(self, event: Json, joined: Json | None = None) -> None:
        """Tell the client, but not of a room that was left since it was *joined* so."""
        if self._over or (joined is not None and self._rooms.get(joined["room"]) is not joined):
            return
        if self._held is not None:
            self._held.append((event, joined))
        else:
            self._wire.event(event)

    def _tell(self, gaps: Sequence[Json], messages: Sequence[Json], reading: Mapping[str, Json]) -> None:
        for gap in gaps:
            self._event({"type": "gap", **gap}, reading.get(gap["room"]))
        for message in messages:
            self._event({"type": "message", **message}, reading.get(message["room"]))

    def _fail(self, error: Down) -> None:
        if not self._over:
            self.close()
            self._wire.down(error.down)

    def _spawn(self, work: Any) -> None:
        _start(work, self._tasks)

    def _farewell(self, work: Any) -> None:
        _start(work, self._farewells)


class EventStreamDriver(Requests):
    """The driver over one event stream."""

    async def _run(self) -> None:
        await self._listen(self._stream)

    async def _stream(self) -> None:
        query = [("attempt", self._wire.attempt()), *self._query()]
        reading = dict(self._rooms)
        async with self._asked("connect", query=query, accept="text/event-stream", timeout_s=None) as response:
            rest, decode = "", codecs.getincrementaldecoder("utf-8")().decode
            try:
                while piece := await self._until_turned(response.content.readany()):
                    self._welcome()
                    self._wire.heard()
                    *blocks, rest = (rest + decode(piece)).split("\n\n")
                    for block in blocks:
                        self._block(block, reading)
            except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
                raise Down("network", text=str(error) or type(error).__name__) from None
        raise Down("ended", text="the stream has ended")

    def _block(self, block: str, reading: Mapping[str, Json]) -> None:
        """One event (HTML Living Standard, section 9.2.6)."""
        fields = {}
        for line in block.split("\n"):
            name, colon, value = line.partition(":")
            if name and colon:
                fields[name] = value.removeprefix(" ")
        if fields.get("id"):
            self._move(fields["id"], reading)
        if not fields.get("data") or self._over:
            return
        body = json.loads(fields["data"])
        kind = fields.get("event", "message")
        if kind == "closed" and body["code"] in OF_ONE_ROOM:
            raise Down(body["code"], text=body["message"])
        if kind == "closed":
            code, after_ms = CLOSED.get(body["code"], 4000), body.get("retry_after_ms") or 0
            self._fail(Down(body["code"], code=code, text=body["message"], retryAfterMs=after_ms))
        elif kind == "welcome":
            self._session = body["session"]
            self._event({**body, "type": "authenticated"})
        else:
            self._event({"type": kind, **body}, reading.get(body.get("room", "")))


class PollDriver(Requests):
    """The driver over polls, long or short."""

    async def _run(self) -> None:
        await self._listen(self._poll)

    async def _poll(self) -> None:
        wait = self._wait_s if self._live else 0
        query = [*self._query(), ("wait", wait), ("limit", PAGE), ("live", self._live or 0)]
        reading = dict(self._rooms)
        answer = await self._until_turned(self._ask("connect", query=query, timeout_s=wait + TIMEOUT_S))
        self._welcome()
        if self._turned.is_set() or self._over:
            return
        live = answer["live"]
        self._move(answer["next"], reading)
        first, self._live = not self._live, live["next"]
        if first or live["expires_at"] != self._expires_at:
            self._expires_at = live["expires_at"]
            terms = {name: live.get(name) for name in ("user", "member", "expires_in_ms", "retry_max_ms")}
            self._event({"type": "authenticated", **terms})
        self._tell(answer["gaps"], answer["messages"], reading)
        for signal in live["signals"]:
            if signal["member"] != live["member"]:
                self._event({"type": "signal", **signal}, reading.get(signal["room"]))
        for kind in ("presence", "seen"):
            for one in live[kind]:
                self._event({"type": kind, **one}, reading.get(one["room"]))
        if not self._wait_s and len(answer["messages"]) < PAGE:
            await self._sleep(self._wire.poll_ms / 1000)


def _start(work: Any, tasks: set[asyncio.Task[None]]) -> None:
    task = asyncio.ensure_future(work)
    tasks.add(task)
    task.add_done_callback(tasks.discard)


def _said(presence: Any) -> str:
    """As addresses have it."""
    return presence if isinstance(presence, str) else dumps(presence).decode()


def _visible(presence: Any) -> bool:
    """Whether others see us by this."""
    return bool(presence) and presence != "watch"


def _reason(error: Down) -> Json:
    """Why a request came to nothing, as the session is told."""
    status, after_ms = error.down.get("status", 0), error.down.get("retryAfterMs")
    passing = not status or status >= 500 or status == 429
    reason = {"code": "network" if passing else error.reason, "message": error.down.get("text") or error.reason}
    return {**reason, "retry_after_ms": after_ms} if after_ms else reason


async def _refusal(response: aiohttp.ClientResponse) -> Down:
    status = response.status
    try:
        error = json.loads(await response.text())["error"]
        code, text, after_ms = error["code"], error.get("message"), error.get("retry_after_ms")
    except (ValueError, KeyError, TypeError, aiohttp.ClientError, OSError):
        code, text, after_ms = f"http {status}", None, None  # not from our server, then
    if after_ms is None:
        header = response.headers.get("Retry-After", "")
        after_ms = int(header) * 1000 if header.isdigit() else 0
    return Down(code, status=status, text=text, retryAfterMs=after_ms)
