"""What clients do that nobody should: each of these once lost a message, stopped the server or held it up."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import aiohttp
import msgspec
import pytest

from tests.readers import SilentReader
from tests.server.test_edge import UPGRADE, Raw
from tests.support import Server, publish
from tests.wire.heads import parse_head
from trunkline import Hub, Retention, ShuttingDown, Tuning
from trunkline.core.batch import Batch
from trunkline.core.cursor import Cursor, Room
from trunkline.core.fanout import Fanout
from trunkline.core.message import Message
from trunkline.core.position import Gap, Start
from trunkline.observe.counters import Counters
from trunkline.wire import websocket as ws


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("hostile")
    config = folder / "trunkline.toml"
    config.write_text("[limits]\nhandshake_s = 1.0\n")
    with Server("--config", str(config), store=f"sqlite:///{folder}/log.db") as running:
        yield running


CONNECTIONS: list[Raw] = []


async def connected(server: Server) -> Raw:
    raw = Raw(*await asyncio.open_connection("127.0.0.1", server.port))
    CONNECTIONS.append(raw)
    return raw


@pytest.fixture(autouse=True)
async def _closed() -> AsyncIterator[None]:
    """Whatever a test opened is closed behind it."""
    yield
    while CONNECTIONS:
        writer = CONNECTIONS.pop().writer
        writer.transport.abort()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


def frame(text: str, opcode: ws.Opcode = ws.Opcode.TEXT) -> bytes:
    return ws.masked_frame(opcode, text.encode(), b"abcd")


async def test_a_violation_while_a_join_waits(server: Server, http: aiohttp.ClientSession) -> None:
    """Closed before its room was open: it never joins, nothing follows its close frame, and everybody can publish."""
    for rest in (b"\x81\x01x", frame("x", ws.Opcode.BINARY), frame('{"type":"join","room":"new"}') + b"\x81\x01x"):
        raw = await connected(server)
        raw.send(f"GET /rooms/victim-{len(rest)} HTTP/1.1\r\n{UPGRADE}".encode() + rest)
        await raw.head()
        while not isinstance(event := await raw.event(), ws.Closed):
            pass
        assert event.code in (1002, 1003)
        for room in (f"victim-{len(rest)}", "new", "other"):
            async with asyncio.timeout(5):
                await publish(http, server.url, room, "still there?")
        assert raw.events == []
        assert await raw.end() == b""
        raw.writer.close()


@pytest.mark.parametrize(
    "lines", [[b"h%d: v" % n for n in range(60)], [b"h%d:" % n + b" " * 300 + b"v" for n in range(25)]]
)
def test_a_head_is_judged_in_one_pass(lines: list[bytes]) -> None:
    """Many headers and one mistake at the end: no backtracking."""
    began = time.perf_counter()
    assert parse_head(b"\r\n".join([b"GET /rooms/x HTTP/1.1", b"Host: localhost", *lines, b"bad header"])) is None
    assert time.perf_counter() - began < 0.1


@pytest.mark.parametrize("opcode", [ws.Opcode.PONG, ws.Opcode.PING, ws.Opcode.TEXT])
async def test_a_flood_of_tiny_frames_holds_nobody_up(
    server: Server, http: aiohttp.ClientSession, opcode: ws.Opcode
) -> None:
    """Others are answered while one connection sends as fast as it can."""
    raw = await connected(server)
    raw.send(f"GET /connect HTTP/1.1\r\n{UPGRADE}")
    await raw.head()
    tiny = ws.masked_frame(opcode, b"", b"abcd") * 20_000
    going = True

    async def flood() -> None:
        while going:
            raw.send(tiny)
            await raw.writer.drain()

    async def swallow() -> None:
        while await raw.reader.read(1 << 20):
            pass

    tasks = [asyncio.ensure_future(flood()), asyncio.ensure_future(swallow())]
    waits = []
    for _ in range(20):
        began = time.perf_counter()
        async with http.get(f"{server.url}/healthz") as response:
            await response.read()
        waits.append(time.perf_counter() - began)
        await asyncio.sleep(0.02)
    going = False
    raw.writer.transport.abort()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert max(waits) < 1.5, waits


async def test_rooms_are_not_forgotten_under_a_stream() -> None:
    """While the rooms of one stream are being opened, others come and go by the hundred."""

    class Reader(SilentReader):
        def __init__(self) -> None:
            self.rooms: set[str] = set()

        def deliver(self, cursor: Cursor, batch: Batch) -> None:
            self.rooms.add(cursor.room.name)

    async with Hub("memory:", tuning=Tuning(idle_rooms_max=3)) as hub:
        names = [f"mine-{n}" for n in range(20)]
        reader = Reader()

        async def others() -> None:
            for n in range(300):
                await hub._engine.pages.read(f"other-{n}", Start("now"))

        crowd = asyncio.ensure_future(others())
        async with hub._engine.follower.opened(names) as rooms:
            for room in rooms:
                cursor, _ = hub._engine.delivery.join(reader, room, Start("now"))
                hub._engine.delivery.attach(cursor)
        await crowd
        for name in names:
            await hub.publish(name, 1)
        assert reader.rooms == set(names)


def test_trimmed_while_the_store_was_being_read() -> None:
    """The answer is older than what retention says now: it is given, and the gap comes behind it."""
    seen: list[object] = []

    class Reader(SilentReader):
        def deliver(self, cursor: Cursor, batch: Batch) -> None:
            seen.extend(m.offset for m in batch.messages)

        def gap(self, cursor: Cursor, gap: Gap) -> None:
            seen.append((gap.first, gap.last))

    def messages(first: int, last: int) -> list[Message]:
        return [Message("r", n, str(n), None, 0, msgspec.Raw(b"0")) for n in range(first, last + 1)]

    fanout, room = Fanout(Tuning(tail_messages_max=4), Counters()), Room("r", "e", 1, 0)
    fanout.appended(room, messages(1, 20))
    fanout.attach(Cursor(Reader(), room, 0))
    while fanout.step():
        pass
    [reading] = fanout.take_reads()
    room.first = 11
    fanout.fetched(reading, 1, messages(1, 5))
    while fanout.step():
        pass
    [reading] = fanout.take_reads()
    fanout.fetched(reading, 11, messages(11, 20))
    while fanout.step():
        pass
    assert seen == [1, 2, 3, 4, 5, (6, 10), *range(11, 21)]


async def test_the_earliest_is_never_a_gap(tmp_path: Path) -> None:
    """`start` and `last` mean what there is, also right after a burst that trimmed what there was."""
    async with Hub(f"sqlite:///{tmp_path}/log.db", retention=Retention(messages_max=100)) as hub:
        await hub._engine.pages.read("r", Start("now"))
        await asyncio.gather(*[hub.publish("r", n) for n in range(3000)])
        for start in (Start("start"), Start("last", 5000)):
            page = await hub._engine.pages.read("r", start, limit=1000)
            assert page.gap is None
            assert page.messages[-1].offset == 3000


async def test_a_reader_that_raises_is_cut_alone() -> None:
    """A bug in one connection's code ends that connection; publishing and the other readers go on."""

    class Broken(SilentReader):
        def deliver(self, cursor: Cursor, batch: Batch) -> None:
            raise RuntimeError("a bug")

    async with Hub("memory:") as hub:
        room = await hub._engine.follower.open("r")
        cursor, _ = hub._engine.delivery.join(Broken(), room, Start("now"))
        hub._engine.delivery.attach(cursor)
        for n in range(3):
            await hub.publish("r", n)
        assert room.readers == 0
        assert (await hub._engine.pages.read("r", Start("start"))).head == 3


async def test_after_close_there_is_no_after(tmp_path: Path) -> None:
    """A closed hub is not opened again by whoever still holds it, and nobody waits for it for ever."""
    hub = Hub(f"sqlite:///{tmp_path}/log.db")
    await hub.publish("r", 1)
    reading = hub.read("r", since="start")
    await anext(reading)
    await hub.close()
    for late in (anext(reading), hub.publish("r", 2), hub._engine.pages.read("r", Start("now"))):
        with pytest.raises(ShuttingDown, match="closed"):
            await late
    async with Hub(f"sqlite:///{tmp_path}/log.db") as other:
        assert (await other.publish("r", 2)).offset == 2


async def test_requests_that_are_not_finished(server: Server) -> None:
    """A body or a head of uvicorn's that does not come whole within the handshake time: cut (here 1 s)."""
    for sent in (
        "POST /rooms/a HTTP/1.1\r\nHost: localhost\r\n",
        "POST /rooms/a HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\nx",
    ):
        raw = await connected(server)
        raw.send(sent)
        began = time.monotonic()
        assert not (await raw.end()).startswith(b"HTTP/1.1 2")
        assert 0.5 < time.monotonic() - began < 5


@pytest.mark.parametrize("path", ["/healthz", "/rooms/a"])
async def test_headers_without_end(server: Server, http: aiohttp.ClientSession, path: str) -> None:
    """More than 16 KiB of headers are refused, whoever parses them."""
    raw = await connected(server)
    raw.send(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n")
    with contextlib.suppress(ConnectionError):
        for n in range(300):
            raw.send(f"X-{n}: {'x' * 1000}\r\n")
            await raw.writer.drain()
            await asyncio.sleep(0.001)
        raw.send("\r\n")
    answer = await raw.end()  # nothing, if it was cut off while the headers were still being sent
    assert answer == b"" or answer.startswith((b"HTTP/1.1 400", b"HTTP/1.1 431"))
    async with http.get(f"{server.url}/livez") as response:
        assert response.status == 200


async def test_an_upgrade_behind_an_unanswered_request(server: Server) -> None:
    """It has its turn when that is answered: no second answer is ever written into a WebSocket."""
    raw = await connected(server)
    raw.send(f"GET /rooms/q?since=0&wait=1 HTTP/1.1\r\nHost: localhost\r\n\r\nGET /rooms/q HTTP/1.1\r\n{UPGRADE}")
    head = await raw.head()
    assert " 200 " in head
    assert b'"messages":[]' in await raw.reader.readexactly(
        int(head.lower().split("content-length: ")[1].split("\r\n")[0])
    )
    assert "101 Switching" in await raw.head()
    assert (await raw.json())["type"] == "welcome"


@pytest.mark.parametrize("request_line", ["POST /rooms/a HTTP/1.1", "GET /rooms/a HTTP/1.0"])
async def test_an_upgrade_that_cannot_be(server: Server, request_line: str) -> None:
    raw = await connected(server)
    raw.send(f"{request_line}\r\n{UPGRADE}")
    assert " 400 " in await raw.head()


async def test_head_of_an_event_stream_ends(server: Server) -> None:
    raw = await connected(server)
    raw.send(
        "HEAD /rooms/a HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n"
        "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
    )
    assert "text/event-stream" in await raw.head()
    assert "application/json" in await raw.head()
    raw.writer.close()


@pytest.mark.parametrize(
    "query", ["wait=0000000000000006", "limit=00000000019999", "wait=" + "0" * 5000, "last=%D9%A1"]
)
async def test_numbers_are_what_they_say(server: Server, http: aiohttp.ClientSession, query: str) -> None:
    async with http.get(f"{server.url}/rooms/a?{query}") as response:
        assert response.status == 400, await response.text()


async def test_many_rooms_are_one_page(server: Server, http: aiohttp.ClientSession) -> None:
    """`limit` and the byte limit hold for all rooms of a poll together, and nothing is skipped by it."""
    for room in ("p1", "p2", "p3"):
        for n in range(4):
            await publish(http, server.url, room, n)
    since, seen = "p1=0,p2=0,p3=0", []
    for _ in range(8):
        async with http.get(f"{server.url}/connect?room=p1&room=p2&room=p3&since={since}&limit=5") as response:
            page = await response.json()
        assert len(page["messages"]) <= 5
        seen += [(m["room"], m["offset"]) for m in page["messages"]]
        since = page["next"]
    assert sorted(seen) == [(room, n) for room in ("p1", "p2", "p3") for n in range(1, 5)]


async def test_going_away_while_sending(tmp_path: Path) -> None:
    """Half a body and gone, half a body at the end of the server: no traceback."""
    with Server() as server:
        half = b"POST /rooms/a HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\nabc"
        gone = await connected(server)
        gone.send(half)
        await gone.writer.drain()
        gone.writer.close()
        stays = await connected(server)
        stays.send(half.replace(b"\r\n\r\n", b"\r\nExpect: 100-continue\r\n\r\n"))
        assert " 100 " in await stays.head()  # the body is being read
        began = time.monotonic()
        code, _, errors = await asyncio.to_thread(server.stop)
        assert time.monotonic() - began < 5
        stays.writer.transport.abort()
    assert (code, errors) == (0, "")


def test_the_subprotocol_is_compared_exactly() -> None:
    head = parse_head(
        ("GET /connect HTTP/1.1\r\n" + UPGRADE).encode().strip() + b"\r\nSec-WebSocket-Protocol: TRUNKLINE.V1"
    )
    assert head is not None
    assert b"Sec-WebSocket-Protocol" not in ws.accept(head)
