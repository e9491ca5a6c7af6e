"""Many clients in one process: `python -m tests.chaos.crowd URL PACE_MS PLAN`, until its standard input ends.

PLAN is a JSON list of `{"name", "room", "transport", "count"}`. They are Python clients, or, where the transport is
`plain-websocket`, `plain-sse`, `plain-longpoll` or `plain-shortpoll`, clients that know nothing but their position.
Says what they see, one JSON line each, as `checker.py` wants it, with `who` in front.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from contextlib import AsyncExitStack
from functools import partial
from typing import Any

import aiohttp
import msgspec

from tests.client.agent import take_part
from tests.support import stream
from trunkline.client import connect

POLL_MS = 250
SILENCE_S = 20.0  # of a plain reader's connection

_encode = msgspec.json.Encoder().encode


def say(who: str, what: dict[str, Any]) -> None:
    sys.stdout.buffer.write(_encode({"who": who, **what}) + b"\n")


async def follow(url: str, pace_s: float, who: str, room: str, transport: str, count: int) -> None:
    """A client of ours, that reads and publishes."""
    async with connect(url, transports=[transport], poll_ms=POLL_MS) as client:
        await (await take_part(partial(say, who), client, room, who, count, pace_s, presence=False))
        await asyncio.Event().wait()


async def read_plainly(http: aiohttp.ClientSession, url: str, who: str, room: str, transport: str) -> None:
    """A client of somebody else's: comes back with its position, and that is all."""
    start = {"since": "start"}
    while True:
        try:
            async for kind, body, position in stream(transport, http, url, room, start):
                start = {"since": position}
                if kind == "gap":
                    say(who, {"gap": body})
                else:
                    seen = round(time.time() * 1000)
                    say(who, {"offset": body["offset"], "data": body["data"], "at": body["at"], "seen": seen})
        except (aiohttp.ClientError, OSError, AssertionError, TimeoutError):
            pass  # as such clients do
        await asyncio.sleep(0.2)


async def main(url: str, pace_ms: str, plan: str) -> None:
    timeout = aiohttp.ClientTimeout(total=None, connect=5, sock_read=SILENCE_S)
    async with AsyncExitStack() as stack:
        connector = aiohttp.TCPConnector(limit=0)
        http = await stack.enter_async_context(aiohttp.ClientSession(timeout=timeout, connector=connector))
        tasks = []
        for client in json.loads(plan):
            who, room, transport = client["name"], client["room"], client["transport"]
            if transport.startswith("plain-"):
                work = read_plainly(http, url, who, room, transport.removeprefix("plain-"))
            else:
                work = follow(url, int(pace_ms) / 1000, who, room, transport, client["count"])
            tasks.append(asyncio.ensure_future(work))
        ending = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().add_reader(sys.stdin, ending.set_result, None)
        while not ending.done():  # what one of them raises is raised here
            sys.stdout.flush()
            done, _ = await asyncio.wait([*tasks, ending], timeout=0.1, return_when=asyncio.FIRST_COMPLETED)
            for task in done - {ending}:
                task.result()
        asyncio.get_running_loop().remove_reader(sys.stdin)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
