"""An application that answers calls, as a process that tests kill."""

import asyncio
import os
import signal
from pathlib import Path

from trunkline import Call, Hub, Refused

hub = Hub(os.environ["STORE"])
app = hub.app


@hub.call("add")
async def add(_: Call, numbers: list[int]) -> int:
    return sum(numbers)


@hub.call("nothing")
def nothing(_: Call) -> None: ...


@hub.call("enter")
async def enter(_: Call, room: str) -> None:
    raise Refused("full", f"{room} is full", status=401, retry_after_ms=10)


@hub.call("fail")
async def fail(_: Call) -> None:
    raise RuntimeError("a mistake of the application")


@hub.call("slow")
async def slow(_: Call, text: str) -> str:
    """Note that it is carried out; answer half a second later."""
    with Path(os.environ["NOTES"]).open("a") as notes:
        notes.write(f"{text}\n")
    await asyncio.sleep(0.5)
    return text


@hub.call("die")
async def die(_: Call) -> None:
    os.kill(os.getpid(), signal.SIGKILL)
    await asyncio.Event().wait()
