"""A writer and a listener on socket.io-client; the process that has the listener's socket is killed again and again."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from typing import Any, NamedTuple

from tests.socketio.node_clients import NodeClient, NodeClients
from tests.support import eventually

QUICK: dict[str, Any] = {
    "reconnectionDelay": 50,
    "reconnectionDelayMax": 300,
    "timeout": 3000,
    "transports": ["websocket"],
}
ACK_MS = 1500


class Seen(NamedTuple):
    """What has come of it.

    Attributes:
        emitted: How many emits were acknowledged.
        again: How many were emitted again because no acknowledgement came in time.
        heard: What the listener was given, in order.
        recovered: Of each new connection of the listener, whether it says that it was recovered.
    """

    emitted: int
    again: int
    heard: list[int]
    recovered: list[bool]


async def kill_again_and_again(
    clients: NodeClients, url: str, kills: int, killed: Callable[[], None] = lambda: None
) -> Seen:
    """Kill the process that has the listener's socket so many times, while the writer emits with acknowledgements.

    Args:
        killed: Called after each time, to start what was killed.
    """
    listener = await clients.open("listener", url, **QUICK)
    writer = await clients.open("writer", url, **QUICK)
    await listener.call("join", "log")
    again = number = 0
    stopping = False

    async def write() -> None:
        nonlocal again, number
        while not stopping:
            while True:
                answer = await writer.acked(
                    writer.send("say_once", "log", f"message-{number}", number, timeout_ms=ACK_MS)
                )
                if answer["error"] is None:
                    break
                again += 1
            number += 1
            await asyncio.sleep(0.005)

    writing = asyncio.create_task(write())
    for _ in range(kills):
        enough = len(listener.events("said")) + 3
        await eventually(lambda: len(listener.events("said")) > enough)  # noqa: B023 - awaited at once
        await _kill(listener)
        await asyncio.to_thread(killed)
    stopping = True
    await writing
    await eventually(lambda: len(listener.events("said")) >= number)
    heard = [args[0] for args in listener.events("said")]
    recovered = [line["recovered"] for line in listener.lines("connect")[1:]]
    return Seen(number, again, heard, recovered)


async def _kill(client: NodeClient) -> None:
    """Kill the process that has a client's socket, and wait until the client has another."""
    while True:
        answer = await client.acked(client.send("process", timeout_ms=ACK_MS))
        if answer["error"] is None:
            break
    now = client.now
    os.kill(answer["args"][0], signal.SIGKILL)
    await client.connected(now)
