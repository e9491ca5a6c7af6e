"""A client as a process, for tests: what client/test/agent.mjs is, in Python."""

from __future__ import annotations

import asyncio
import json
import os
import sys

from trunkline.client import ClientError, Room, connect, session


def say(what: object) -> None:
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


async def publish(room: Room, name: str, n: int) -> None:
    try:
        say({"stored": n, "offset": await room.publish([name, n])})
    except ClientError as error:
        say({"refused": n, "code": error.code})


def hurry(times: float) -> None:
    """Doubt a silent connection so much sooner."""
    session.PING_MS = round(session.PING_MS / times)
    session.PONG_MS = round(session.PONG_MS / times)


async def main(url: str, room_name: str, name: str, transports: str, count: str) -> None:
    async with connect(url, transports=transports.split(","), poll_ms=50) as client:
        client.on("state", lambda change: say({key: change[key] for key in ("state", "reason", "transport")}))
        room = client.room(room_name, since="start", presence=name != "quiet")
        room.on("message", lambda message: say({"offset": message.offset, "data": message.data}))
        room.on("gap", lambda gap: say({"gap": gap}))
        room.on("error", lambda error: say({"error": error}))
        room.on("presence", lambda _: say({"members": len(room.members)}))
        publishing = []
        for n in range(1, int(count) + 1):
            publishing.append(asyncio.ensure_future(publish(room, name, n)))
            await asyncio.sleep(0.01)
        await asyncio.to_thread(sys.stdin.read)
    await asyncio.gather(*publishing)


hurry(float(os.environ.get("SPEED", "1")))
asyncio.run(main(*sys.argv[1:]))
