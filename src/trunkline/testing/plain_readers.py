"""Readers of a room in a dozen lines for each transport, by aiohttp: what the protocol says, and no more.

They do not reconnect and know nothing but their position; `Follower` brings them back with it. The contract of
transports (`transport_contract.py`) is told by them, and by every client that is read like them.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any, Self

import aiohttp

Item = tuple[str, dict[str, Any], str]
"""`message`, `redacted` or `gap`, its body, and the position after it."""

Start = Mapping[str, str]
"""Where to begin, as a query has it: `since` or `last`."""

Read = Callable[[str, Start], AsyncIterator[Item]]
"""Reads a room from a start, over one connection (or, by poll, over any number), until it ends or fails."""

WAIT_S = 20.0
PAUSE_S = 0.02
POLL_S = 0.05


async def read_websocket(http: aiohttp.ClientSession, url: str, room: str, start: Start) -> AsyncIterator[Item]:
    """Read a room by WebSocket."""
    async with http.ws_connect(f"{url}/rooms/{room}", params=start) as socket:
        epoch = ""
        async for frame in socket:
            event = json.loads(frame.data)
            kind = event.pop("type")
            if kind == "joined":
                epoch = event["epoch"]
            elif kind in ("message", "redacted"):
                yield kind, event, f"{epoch}.{event['offset']}"
            elif kind == "gap":
                epoch = event["epoch"]
                yield kind, event, event["next"]


async def read_events(http: aiohttp.ClientSession, url: str, room: str, start: Start) -> AsyncIterator[Item]:
    """Read a room by event stream."""
    headers = {"Accept": "text/event-stream"}
    async with http.get(f"{url}/rooms/{room}", params=start, headers=headers) as response:
        assert response.status == 200, await response.text()
        async for event in events(response.content):
            if "data" in event and (kind := event.get("event", "message")) in ("message", "redacted", "gap"):
                yield kind, json.loads(event["data"]), event["id"]


async def read_long_polls(http: aiohttp.ClientSession, url: str, room: str, start: Start) -> AsyncIterator[Item]:
    """Read a room by long polls."""
    async for item in _read_polls(http, url, room, start, {"wait": "25"}):
        yield item


async def read_short_polls(http: aiohttp.ClientSession, url: str, room: str, start: Start) -> AsyncIterator[Item]:
    """Read a room by short polls, 20 a second while there is nothing new."""
    async for item in _read_polls(http, url, room, start, {}):
        yield item


async def _read_polls(
    http: aiohttp.ClientSession, url: str, room: str, start: Start, wait: Start
) -> AsyncIterator[Item]:
    while True:
        async with http.get(f"{url}/rooms/{room}", params={**start, **wait}) as response:
            assert response.status == 200, await response.text()
            page = await response.json()
        if page["gap"]:
            yield "gap", page["gap"], page["gap"]["next"]
        entries = [("message", message) for message in page["messages"]]
        entries += [("redacted", redaction) for redaction in page.get("redactions", [])]
        for kind, entry in sorted(entries, key=lambda one: int(one[1]["offset"])):
            yield kind, entry, f"{page['epoch']}.{entry['offset']}"
        start = {"since": page["next"]}
        if not wait and not page["messages"]:
            await asyncio.sleep(POLL_S)


PLAIN_READERS: dict[str, Callable[[aiohttp.ClientSession, str, str, Start], AsyncIterator[Item]]] = {
    "websocket": read_websocket,
    "sse": read_events,
    "longpoll": read_long_polls,
    "shortpoll": read_short_polls,
}


async def events(content: aiohttp.StreamReader) -> AsyncIterator[dict[str, str]]:
    """Iterate over server-sent events as dicts of their fields, `id` being the last one that was sent."""
    event: dict[str, str] = {}
    last_id = ""
    async for raw in content:
        line = raw.decode().rstrip("\r\n")
        if line:
            field, _, value = line.partition(":")
            if field:
                event[field] = value.removeprefix(" ")
            last_id = event.get("id", last_id)
        elif event:
            yield event | {"id": last_id}
            event = {}


class Follower:
    """A reader that comes back with its position, whatever happens to its connection.

    Args:
        read: How it reads.
        room: Name of the room.
        start: Where it begins: `since` or `last`; by default at the start.

    Attributes:
        messages, redactions, gaps: All that it was told, in order.
        failures: How often a connection ended.
    """

    def __init__(self, read: Read, room: str, **start: str) -> None:
        self.start: Start = start or {"since": "start"}
        self.messages: list[dict[str, Any]] = []
        self.redactions: list[dict[str, Any]] = []
        self.gaps: list[dict[str, Any]] = []
        self.failures = 0
        self._read = read
        self._room = room
        self._moved = asyncio.Event()
        self._task = asyncio.ensure_future(self._run())

    @property
    def offsets(self) -> list[int]:
        """The offsets of its messages."""
        return [message["offset"] for message in self.messages]

    async def _run(self) -> None:
        while True:
            try:
                async for kind, body, position in self._read(self._room, self.start):
                    self.start = {"since": position}
                    {"message": self.messages, "redacted": self.redactions, "gap": self.gaps}[kind].append(body)
                    self._moved.set()
            except (aiohttp.ClientError, OSError, AssertionError, TimeoutError):
                pass
            self.failures += 1
            await asyncio.sleep(PAUSE_S)

    async def until(self, count: int, wait_s: float = WAIT_S) -> None:
        """Wait until so many messages have come."""
        await self._until(lambda: len(self.messages) >= count, wait_s)

    async def until_redacted(self, count: int = 1, wait_s: float = WAIT_S) -> None:
        """Wait until so many redactions have come."""
        await self._until(lambda: len(self.redactions) >= count, wait_s)

    async def until_gap(self, count: int = 1, wait_s: float = WAIT_S) -> None:
        """Wait until so many gaps have come."""
        await self._until(lambda: len(self.gaps) >= count, wait_s)

    async def _until(self, fact: Callable[[], bool], wait_s: float) -> None:
        async with asyncio.timeout(wait_s):
            while not fact():
                self._moved.clear()
                await self._moved.wait()

    async def stop(self) -> None:
        """Read no more."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()
