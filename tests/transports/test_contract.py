"""The one contract of transports: each of them, on our server and on another ASGI server, and our own client."""

import asyncio
import sys
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import aiohttp
import pytest

from tests.support import TRANSPORTS, Server
from trunkline.client.client import Message, connect
from trunkline.client.events import Gap
from trunkline.testing.plain_readers import PLAIN_READERS, Item, Start
from trunkline.testing.transport_contract import KEEP, TransportContract


def ours(store: str, folder: Path) -> Server:
    config = folder / "trunkline.toml"
    config.write_text(f"[retention]\nmessages_max = {KEEP}\n")
    return Server("--config", str(config), store=store)


def uvicorn(store: str, folder: Path) -> Server:
    command = [sys.executable, "-m", "uvicorn", "tests.asgi_app:app", "--port", "PORT", "--log-level", "error"]
    return Server(store=store, command=command)


@pytest.fixture(scope="module", params=[ours, uvicorn], ids=["trunkline", "uvicorn"])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("contract")
    with request.param(f"sqlite:///{folder}/log.db", folder) as running:
        yield running


@pytest.fixture
def room() -> str:
    return f"room-{uuid.uuid4().hex[:8]}"


@pytest.fixture(params=TRANSPORTS)
def transport(request: pytest.FixtureRequest) -> str:
    return str(request.param)


class TestTransports(TransportContract):
    """What the protocol says, and no more: without a client in between."""

    @pytest.fixture(autouse=True)
    def _server(self, server: Server, http: aiohttp.ClientSession, transport: str) -> None:
        self.url, self.http, self.transport = server.url, http, transport

    def read(self, room: str, start: Start) -> AsyncIterator[Item]:
        return PLAIN_READERS[self.transport](self.http, self.url, room, start)


class TestPythonClient(TestTransports):
    """What applications read with."""

    async def read(self, room: str, start: Start) -> AsyncIterator[Item]:
        items: asyncio.Queue[Item] = asyncio.Queue()
        since, last = start.get("since"), start.get("last")
        async with connect(self.url, transports=[self.transport], poll_ms=50) as client:
            reading = client.room(room, since=since, last=None if last is None else int(last))

            def message(said: Message) -> None:
                names = ("room", "offset", "id", "sender", "at", "data")
                body = {name: getattr(said, name) for name in names}
                body["from"] = body.pop("sender")
                body |= {name: getattr(said, name) for name in ("traceparent", "tracestate") if getattr(said, name)}
                items.put_nowait(("message", body, client.start_of(room)["since"]))

            def gap(said: Gap) -> None:
                items.put_nowait(("gap", {**said}, said["next"]))

            reading.on("message", message)
            reading.on("gap", gap)
            while True:
                yield await items.get()
