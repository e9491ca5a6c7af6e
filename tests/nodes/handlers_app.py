"""A node whose application hears clients: it looks, answers and consumes, and writes down what.

All nodes append to one file: `ran ID`, and `took`, `acked` or `fenced`, each with `ROOM OFFSET FENCE`.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from starlette.applications import Starlette
from starlette.routing import Mount

from trunkline import Call, Fenced, Grant, Hub, IncomingMessage, StoreUnavailable

hub = Hub(os.environ["STORE"])
_notes = os.open(os.environ["NOTES"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)


def note(*words: object) -> None:
    os.write(_notes, (" ".join(map(str, words)) + "\n").encode())  # one write to a file that is appended to is whole


@hub.before_publish()
async def look(_: Grant, message: IncomingMessage) -> None:
    await asyncio.sleep(0)
    message.data["seen"] = True


@hub.call("do")
async def do(call: Call, data: Any) -> str:
    note("ran", call.id)
    await asyncio.sleep(data["s"])
    return f"done {call.id}"


async def work() -> None:
    async for message in hub.consume("work", "orders:*"):
        note("took", message.room, message.offset, message.fence)
        try:
            await message.ack()
        except Fenced:
            note("fenced", message.room, message.offset, message.fence)
        except StoreUnavailable:
            pass
        else:
            note("acked", message.room, message.offset, message.fence)


@asynccontextmanager
async def lifespan(app: Starlette) -> AsyncIterator[None]:
    async with hub.lifespan(app):
        working = asyncio.ensure_future(work())
        yield
        working.cancel()


app = Starlette(routes=[Mount("/", hub.app)], lifespan=lifespan)
