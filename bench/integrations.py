"""What an outbox and a hook with dependencies cost, beside the same without them, in the same rounds.

    python bench/integrations.py

Ratios: messages by an outbox and its relay, to `publish_sync` alone (one room, and ten rooms); polls whose hook has a
FastAPI dependency, to polls whose hook is the hub's own. Five rounds, interleaved; median, least and most.
"""

from __future__ import annotations

import asyncio
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import httpx
from fastapi import Depends, FastAPI, Request
from sqlalchemy import MetaData, create_engine
from sqlalchemy.orm import Session

from trunkline import Credentials, Grant, Hub, Permissions
from trunkline.fastapi import Rooms
from trunkline.hub import run_sync, stop_background
from trunkline.outbox.sqlalchemy import Outbox

ROUNDS, MESSAGES, POLLS = 5, 500, 500


def seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def say(what: str, ratios: list[float], each_us: list[float]) -> None:
    spread = f"{min(ratios):.2f} to {max(ratios):.2f}"
    print(f"{what}: {statistics.median(ratios):.2f} times ({spread}), {statistics.median(each_us):.0f} µs each")


def measure_outbox(folder: Path, rooms: int) -> None:
    metadata = MetaData()
    outbox = Outbox(metadata)
    engine = create_engine(f"sqlite:///{folder}/app{rooms}.db")
    metadata.create_all(engine)
    hub = Hub(f"sqlite:///{folder}/rooms{rooms}.db")
    relay = outbox.relay(engine, hub.publish_sync)

    def directly() -> None:
        for n in range(MESSAGES):
            hub.publish_sync(f"direct:{n % rooms}", n)

    def relayed() -> None:
        while relay.run_once():
            pass

    directly()
    ratios, each = [], []
    for _ in range(ROUNDS):
        with Session(engine) as session, session.begin():
            for n in range(MESSAGES):
                outbox.publish_later(session, f"later:{n % rooms}", n)
        alone, by_relay = seconds(directly), seconds(relayed)
        ratios.append(by_relay / alone)
        each.append(by_relay / MESSAGES * 1e6)
    say(f"a relay, {rooms} rooms", ratios, each)
    run_sync(hub, hub.close, 10)
    stop_background(hub)
    engine.dispose()


def user_of(request: Request) -> str:
    return request.headers["x-user"]


async def measure_hook() -> None:
    grant = Grant(user="ada", permissions=Permissions(read=("*",)))
    plain_app, app = FastAPI(), FastAPI()
    plain, solved = Rooms(plain_app, Hub("memory:")), Rooms(app, Hub("memory:"))

    @plain.hub.authenticate
    async def known(credentials: Credentials) -> Grant | None:
        return grant if credentials.head.headers else None

    @solved.authenticate
    async def who(user: Annotated[str, Depends(user_of)]) -> Grant | None:
        return grant if user else None

    async def poll(client: httpx.AsyncClient) -> float:
        began = time.perf_counter()
        for _ in range(POLLS):
            (await client.get("/realtime/rooms/r?since=now")).raise_for_status()
        return time.perf_counter() - began

    ratios, each = [], []
    async with plain.hub, solved.hub:
        clients = [
            httpx.AsyncClient(
                transport=httpx.ASGITransport(one), base_url="http://localhost", headers={"X-User": "ada"}
            )
            for one in (plain_app, app)
        ]
        for client in clients:
            await poll(client)
        for _ in range(ROUNDS):
            without, with_it = [await poll(client) for client in clients]
            ratios.append(with_it / without)
            each.append((with_it - without) / POLLS * 1e6)
        for client in clients:
            await client.aclose()
    say("a poll whose hook has a dependency", ratios, each)


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        for rooms in (1, 10):
            measure_outbox(Path(folder), rooms)
    asyncio.run(measure_hook())


if __name__ == "__main__":
    main()
