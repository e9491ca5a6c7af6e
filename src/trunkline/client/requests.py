"""Event streams and polls: rooms with positions, and a request for each thing that is said."""

from __future__ import annotations

import asyncio
import codecs
import contextlib
import json
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

import aiohttp

from trunkline.client.errors import Down
from trunkline.client.websocket import Json, Wire

TIMEOUT_S = 10.0
POLL_WAIT_S = 25
IDLE_S = 20.0
PAGE = 1000
T = TypeVar("T")

# What an event stream says at its end, as a WebSocket's close code says it.
CLOSED = {
    "replaced": 4201, "disconnected": 4200, "unauthorized": 4100, "token_expired": 4101, "revoked": 4102,
}  # fmt: skip


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
        self._rooms: dict[str, Json] = {}
        self._joins = list(joins)
        self._over = False
        self._held: list[Json] | None = []  # what was said before it was certain that this transport works
        self._turned = asyncio.Event()
        self._posts: asyncio.Queue[tuple[int, Json]] = asyncio.Queue()  # bounded by the session's outbox
        self._failures = 0
        self._live = ""
        self._session = ""
        self._expires_at: float | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._farewells: set[asyncio.Task[None]] = set()  # what is still said after the end
        self._spawn(self._run())
        self._spawn(self._post_all())

    # What the session says.

    def send(self, command: Json) -> None:
        kind, room = command["type"], command.get("room", "")
        known = self._rooms.get(room)
        if kind == "join":
            if known is not None and "since" not in command and "last" not in command:
                known["presence"] = command["presence"]
            else:
                start = {name: command[name] for name in ("since", "last") if name in command}
                self._joins.append({"room": room, "start": start, "presence": command["presence"]})
            self._turned.set()
        elif kind == "leave":
            self._rooms.pop(room, None)
            self._event({"type": "left", "room": room})
            self._turned.set()
            if known is not None and known["presence"]:
                farewell = asyncio.ensure_future(self._try(f"rooms/{room}/presence", method="DELETE", timeout_s=1.0))
                self._farewells.add(farewell)
                farewell.add_done_callback(self._farewells.discard)
        elif kind == "message":
            # One at a time, for two requests of one client may overtake each other; and none behind one that failed.
            self._posts.put_nowait((self._failures, command))
        elif kind == "signal":
            self._spawn(self._try(f"rooms/{room}/signals", body=command))
        elif kind == "seen":
            self._spawn(self._seen(room, command))

    def auth(self, token: str) -> None:
        self._token = token
        if self._session:
            self._spawn(self._renew())
        else:
            self._turned.set()  # the next question brings it

    def close(self) -> None:
        self._over = True
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
        query: Json | None = None,
        method: str | None = None,
        body: Json | None = None,
        accept: str | None = None,
        timeout_s: float | None = TIMEOUT_S,
    ) -> Any:
        pairs = [("client", self._wire.client_id)]
        for name, value in (query or {}).items():
            values = value if isinstance(value, list) else [value]
            pairs += [(name, str(one)) for one in values if one is not None]
        headers = {"Authorization": f"Bearer {self._token}"} if self._token else {}
        if accept:
            headers["Accept"] = accept
        try:
            response = await self._wire.http.request(
                method or ("GET" if body is None else "POST"),
                self._wire.url / path,
                params=pairs,
                json=body,
                headers=headers,
                timeout=aiohttp.ClientTimeout(total=timeout_s, connect=TIMEOUT_S),
            )
        except (aiohttp.ClientConnectorError, aiohttp.ClientConnectorDNSError) as error:
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

    async def _seen(self, room: str, command: Json) -> None:
        with contextlib.suppress(Down):
            self._event({"type": "unread", "rooms": [await self._ask(f"rooms/{room}/seen", body=command)]})

    async def _renew(self) -> None:
        try:
            answer = await self._ask(f"sessions/{self._session}/auth", method="POST")
        except Down as error:
            self._fail(error)
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
            status = error.down.get("status", 0)
            passing = not status or status >= 500 or status in (401, 429)
            self._failures += passing
            refusal = {
                "type": "error", "id": draft["id"], "room": room, "code": "network" if passing else error.reason,
                "message": error.down.get("text") or error.reason,
            }  # fmt: skip
            if error.down.get("retryAfterMs"):
                refusal["retry_after_ms"] = error.down["retryAfterMs"]
            self._event(refusal)

    # Listening.

    async def _listen(self, listen: Callable[[], Awaitable[None]]) -> None:
        """Listen to all rooms again and again, from where they stand."""
        try:
            while not self._over:
                await self._begin()
                self._turned.clear()
                try:
                    await self._once(listen)
                except _Turned:
                    pass
                except Down as error:
                    if error.reason != "forbidden":
                        raise
                    await self._check()
                self._wire.heard()
        except Down as error:
            self._fail(error)

    async def _once(self, listen: Callable[[], Awaitable[None]]) -> None:
        if self._joins:
            return
        if self._rooms:
            await listen()
        else:
            await self._ask("healthz")
            self._welcome()
            await self._sleep(IDLE_S)

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
        """Join what is to be joined. A page of a room says where it stands, unless we know."""
        while self._joins:
            join = self._joins.pop(0)
            room, start = join["room"], join["start"]
            if "." in str(start.get("since")):
                self._rooms[room] = {**join, "position": start["since"]}
                continue
            try:
                page = await self._ask(f"rooms/{room}", query={**start, "limit": PAGE})
            except Down as error:
                self._lose(room, error)
                continue
            self._rooms[room] = {**join, "position": page["next"]}
            self._event({"type": "joined", "room": room, "epoch": page["epoch"], "head": page["head"]})
            self._tell([page["gap"]] if page["gap"] else [], page["messages"])

    def _lose(self, room: str, error: Down) -> None:
        """One room that may not be read is no reason to lose the others."""
        if error.reason not in ("forbidden", "bad_room", "bad_position"):
            raise error
        self._rooms.pop(room, None)
        text = error.down.get("text") or error.reason
        self._event({"type": "error", "room": room, "code": error.reason, "message": text})

    async def _check(self) -> None:
        """Something may not be had any more: find out what, and go on without it."""
        for joined in list(self._rooms.values()):
            path = f"rooms/{joined['room']}"
            if joined["presence"]:
                try:
                    await self._ask(path, query={"limit": 1, "presence": "watch"})
                except Down as error:
                    if error.reason == "forbidden":
                        joined["presence"] = False
            try:
                await self._ask(path, query={"limit": 1})
            except Down as error:
                self._lose(joined["room"], error)

    def _query(self) -> Json:
        """What is asked for: every room, from where it stands."""
        rooms = list(self._rooms.values())
        present = [room for room in rooms if room["presence"]]
        presence: Any = present[0]["presence"] if present else None
        if presence is True:
            presence = "1"
        elif isinstance(presence, dict):
            presence = json.dumps(presence)
        return {
            "room": [room["room"] for room in rooms],
            "since": ",".join(f"{room['room']}={room['position']}" for room in rooms),
            "presence": presence,
            "in": [room["room"] for room in present],
        }

    def _move(self, positions: str) -> None:
        for part in positions.split(","):
            name, _, position = part.rpartition("=")
            if name in self._rooms:
                self._rooms[name]["position"] = position

    # What the client is told.

    def _welcome(self) -> None:
        """This transport works."""
        if self._held is not None:
            held, self._held = self._held, None
            self._event({"type": "welcome"})
            for event in held:
                self._event(event)

    def _event(self, event: Json) -> None:
        if self._over:
            return
        if self._held is not None:
            self._held.append(event)
        else:
            self._wire.event(event)

    def _tell(self, gaps: Sequence[Json], messages: Sequence[Json]) -> None:
        for gap in gaps:
            self._event({"type": "gap", **gap})
        for message in messages:
            self._event({"type": "message", **message})

    def _fail(self, error: Down) -> None:
        if not self._over:
            self.close()
            self._wire.down(error.down)

    def _spawn(self, work: Any) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


class EventStreamDriver(Requests):
    """The driver over one event stream."""

    async def _run(self) -> None:
        await self._listen(self._stream)

    async def _stream(self) -> None:
        async with self._asked("connect", query=self._query(), accept="text/event-stream", timeout_s=None) as response:
            rest, decode = "", codecs.getincrementaldecoder("utf-8")().decode
            try:
                while piece := await self._until_turned(response.content.readany()):
                    self._welcome()
                    self._wire.heard()
                    *blocks, rest = (rest + decode(piece)).split("\n\n")
                    for block in blocks:
                        self._block(block)
            except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
                raise Down("network", text=str(error) or type(error).__name__) from None
        raise Down("ended", text="the stream has ended")

    def _block(self, block: str) -> None:
        """One event (HTML Living Standard, section 9.2.6)."""
        fields = {}
        for line in block.split("\n"):
            name, colon, value = line.partition(":")
            if name and colon:
                fields[name] = value.removeprefix(" ")
        if fields.get("id"):
            self._move(fields["id"])
        if not fields.get("data") or self._over:
            return
        body = json.loads(fields["data"])
        kind = fields.get("event", "message")
        if kind == "closed":
            code, after_ms = CLOSED.get(body["code"], 4000), body.get("retry_after_ms") or 0
            self._fail(Down(body["code"], code=code, text=body["message"], retryAfterMs=after_ms))
        elif kind == "welcome":
            self._session = body["session"]
            self._event({"type": "authenticated", **body})
        else:
            self._event({"type": kind, **body})


class PollDriver(Requests):
    """The driver over polls, long or short."""

    async def _run(self) -> None:
        await self._listen(self._poll)

    async def _poll(self) -> None:
        wait = self._wait_s if self._live else 0
        query = {**self._query(), "wait": wait, "limit": PAGE, "live": self._live or 0}
        answer = await self._until_turned(self._ask("connect", query=query, timeout_s=wait + TIMEOUT_S))
        self._welcome()
        if self._turned.is_set() or self._over:
            return
        live = answer["live"]
        self._move(answer["next"])
        self._live = live["next"]
        if live["expires_at"] != self._expires_at:
            self._expires_at = live["expires_at"]
            self._event({"type": "authenticated", "expires_at": self._expires_at})
        self._tell(answer["gaps"], answer["messages"])
        for signal in live["signals"]:
            if signal["member"] != live["member"]:
                self._event({"type": "signal", **signal})
        for kind in ("presence", "seen"):
            for one in live[kind]:
                self._event({"type": kind, **one})
        if not self._wait_s and len(answer["messages"]) < PAGE:
            await self._sleep(self._wire.poll_ms / 1000)


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
