"""A client as a process, for tests: what client/test/agent.mjs is, in Python."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any

from trunkline.client import Client, ClientError, Message, Room, connect, link

Say = Callable[[dict[str, Any]], None]


def say_aloud(what: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


async def publish(say: Say, room: Room, name: str, n: int) -> None:
    try:
        say({"stored": n, "offset": await room.publish([name, n])})
    except ClientError as error:
        say({"refused": n, "code": error.code})


def hurry(times: float) -> None:
    """Doubt a silent connection so much sooner."""
    link.PING_MS = round(link.PING_MS / times)
    link.PONG_MS = round(link.PONG_MS / times)


async def take_part(
    say: Say, client: Client, room_name: str, name: str, count: int, pace_s: float, *, presence: bool
) -> Awaitable[Any]:
    """Say everything that is seen of a room, and publish to it; what is returned is done when all is stored."""

    def message(got: Message) -> None:
        say({"offset": got.offset, "data": got.data, "at": got.at, "seen": round(time.time() * 1000)})

    client.on("state", lambda change: say({key: change[key] for key in ("state", "reason", "text", "transport")}))
    room = client.room(room_name, since="start", presence=presence)
    room.on("message", message)
    room.on("joined", lambda joined: say({"joined": joined}))
    room.on("gap", lambda gap: say({"gap": gap}))
    room.on("error", lambda error: say({"error": error}))
    room.on("presence", lambda _: say({"members": len(room.members)}))
    publishing = []
    for n in range(1, count + 1):
        publishing.append(asyncio.ensure_future(publish(say, room, name, n)))
        await asyncio.sleep(pace_s)
    return asyncio.gather(*publishing)


async def main(url: str, room: str, name: str, transports: str, count: str) -> None:
    pace_s = float(os.environ.get("PACE_MS", "10")) / 1000
    asyncio.get_running_loop().slow_callback_duration = 10  # a machine that is busy is no mistake of the client
    async with connect(url, transports=transports.split(","), poll_ms=50) as client:
        stored = await take_part(say_aloud, client, room, name, int(count), pace_s, presence=name != "quiet")
        await asyncio.to_thread(sys.stdin.read)
    await stored


if __name__ == "__main__":
    hurry(float(os.environ.get("SPEED", "1")))
    asyncio.run(main(*sys.argv[1:]))
