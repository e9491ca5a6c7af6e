"""The edge: who takes a connection, what is refused, and how a connection ends."""

import asyncio
import contextlib
import json
import os
import socket
import struct
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import aiohttp
import pytest

from tests.support import WAIT_S, Server, parked, publish, stream
from trunkline.wire import websocket as ws

KEY = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
UPGRADE = f"Host: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n{KEY}\r\n"
SSE = "Host: localhost\r\nAccept: text/event-stream\r\n"
ONE_BYTE = "Host: localhost\r\nContent-Length: 1\r\n\r\nx"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    config = tmp_path_factory.mktemp("edge") / "trunkline.toml"
    config.write_text("ping_interval = 3\nping_timeout = 1\n[limits]\nhandshake_s = 1.0\n")
    with Server("--config", str(config)) as running:
        yield running


class Raw:
    """A connection of bytes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self.receiver = ws.Receiver(1 << 20, masked=False)
        self.events: list[ws.Event] = []

    def send(self, data: bytes | str) -> None:
        self.writer.write(data if isinstance(data, bytes) else data.encode())

    def frame(self, opcode: ws.Opcode, payload: bytes) -> None:
        self.send(ws.masked_frame(opcode, payload, os.urandom(4)))

    async def head(self) -> str:
        async with asyncio.timeout(WAIT_S):
            return (await self.reader.readuntil(b"\r\n\r\n")).decode()

    async def event(self) -> ws.Event:
        """Return the next event that is no ping: those come when the server's clock says so."""
        while isinstance(event := await self.event_or_ping(), ws.Ping):
            pass
        return event

    async def event_or_ping(self) -> ws.Event:
        async with asyncio.timeout(WAIT_S):
            while not self.events:
                data = await self.reader.read(65536)
                assert data, "the connection ended"
                self.events += self.receiver.feed(data)
        return self.events.pop(0)

    async def json(self) -> dict[str, object]:
        event = await self.event()
        assert isinstance(event, ws.Text), event
        value: dict[str, object] = json.loads(event.data)
        return value

    async def end(self) -> bytes:
        """What comes until the other side ends the connection, or cuts it."""
        got = b""
        async with asyncio.timeout(WAIT_S):
            with contextlib.suppress(ConnectionError):
                while piece := await self.reader.read(1 << 16):
                    got += piece
        return got


@pytest.fixture
async def raw(server: Server) -> AsyncIterator[Raw]:
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    yield Raw(reader, writer)
    writer.transport.abort()


@pytest.fixture
async def socket_(raw: Raw) -> Raw:
    """A WebSocket in the room `edge`, after welcome and joined."""
    raw.send(f"GET /rooms/edge HTTP/1.1\r\n{UPGRADE}")
    assert "101 Switching Protocols" in await raw.head()
    assert (await raw.json())["type"] == "welcome"
    assert (await raw.json())["type"] == "joined"
    return raw


# ── Who takes a connection ──


async def test_a_page_then_a_stream_on_one_connection(server: Server, raw: Raw) -> None:
    """Browsers reuse a connection: the edge takes it over between two requests."""
    raw.send("GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
    head = await raw.head()
    assert "200 OK" in head
    await raw.reader.readexactly(int(head.lower().split("content-length: ")[1].split("\r\n")[0]))
    raw.send("GET /rooms/edge HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n")
    assert "text/event-stream" in await raw.head()
    assert b"retry: " in await raw.reader.readuntil(b"\n\n")


@pytest.mark.parametrize("path", ["/rooms/edge", "/connect"])
async def test_a_head_in_small_pieces(server: Server, raw: Raw, path: str) -> None:
    for byte in f"GET {path} HTTP/1.1\r\n{UPGRADE}".encode():
        raw.send(bytes([byte]))
        await asyncio.sleep(0)
    assert "101 Switching Protocols" in await raw.head()
    assert (await raw.json())["type"] == "welcome"


async def test_an_upgrade_on_a_used_connection(server: Server, raw: Raw) -> None:
    """Even with its head in pieces, so that uvicorn's parser sees it first."""
    raw.send("GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
    head = await raw.head()
    await raw.reader.readexactly(int(head.lower().split("content-length: ")[1].split("\r\n")[0]))
    request = f"GET /rooms/edge HTTP/1.1\r\n{UPGRADE}"
    raw.send(request[:40])
    await asyncio.sleep(0.05)
    raw.send(request[40:])
    assert "101 Switching Protocols" in await raw.head()
    assert (await raw.json())["type"] == "welcome"


async def test_frames_right_behind_the_handshake(server: Server, raw: Raw) -> None:
    command = ws.masked_frame(ws.Opcode.TEXT, b'{"type":"ping"}', b"abcd")
    raw.send(f"GET /connect HTTP/1.1\r\n{UPGRADE}".encode() + command)
    await raw.head()
    assert [(await raw.json())["type"] for _ in range(2)] == ["welcome", "pong"]


async def test_other_websockets_are_uvicorns(server: Server, raw: Raw) -> None:
    """A WebSocket on a path that is not ours goes to the application, which has none there."""
    raw.send(f"GET /elsewhere HTTP/1.1\r\n{UPGRADE}")
    assert " 404 " in await raw.head()


async def test_events_for_http_1_0(server: Server, raw: Raw) -> None:
    """No chunks for a client that does not know them."""
    raw.send("GET /rooms/edge HTTP/1.0\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n")
    head = await raw.head()
    assert " 200 " in head


# ── What is refused ──


@pytest.mark.parametrize(
    ("request_line", "headers", "status", "code"),
    [
        ("GET /rooms/a%20b HTTP/1.1", UPGRADE, 400, "bad_room"),
        ("GET /rooms/a/b HTTP/1.1", UPGRADE, 404, "not_found"),
        ("GET /rooms/a?since=x HTTP/1.1", UPGRADE, 400, "bad_position"),
        ("GET /connect?room=a&since=b HTTP/1.1", UPGRADE, 400, "bad_position"),
        ("GET /rooms/a HTTP/1.1", UPGRADE.replace("13", "12"), 426, "bad_command"),
        ("GET /rooms/a HTTP/1.1", UPGRADE.replace("dGhl", ""), 400, "bad_command"),
        ("GET /connect HTTP/1.1", "Host: localhost\r\nAccept: text/event-stream\r\n\r\n", 400, "room_required"),
        ("GET /rooms/a HTTP/1.1", f"{SSE}Last-Event-ID: ?\r\n\r\n", 400, "bad_position"),
        ("POST /rooms/a HTTP/1.1", f"Content-Type: image/png\r\n{ONE_BYTE}", 415, "unsupported_media_type"),
        ("POST /rooms/a HTTP/1.1", f"Content-Type: application/json\r\n{ONE_BYTE}", 400, "bad_json"),
        ("POST /rooms/a HTTP/1.1", "Host: localhost\r\nContent-Length: 80000\r\n\r\n" + "x" * 80_000, 413, "too_large"),
        ("POST /connect HTTP/1.1", "Host: localhost\r\nContent-Length: 0\r\n\r\n", 405, "method_not_allowed"),
        ("GET /rooms/a?limit=0 HTTP/1.1", "Host: localhost\r\n\r\n", 400, "bad_limit"),
        ("GET /rooms/a?wait=-1 HTTP/1.1", "Host: localhost\r\n\r\n", 400, "bad_limit"),
        ("GET /nothing HTTP/1.1", "Host: localhost\r\n\r\n", 404, "not_found"),
    ],
)  # fmt: skip
async def test_refusals(server: Server, raw: Raw, request_line: str, headers: str, status: int, code: str) -> None:
    """A typed answer with its status, and the connection is not left hanging (R53)."""
    raw.send(f"{request_line}\r\n{headers}")
    head = await raw.head()
    assert f" {status} " in head
    body = await raw.reader.readexactly(int(head.lower().split("content-length: ")[1].split("\r\n")[0]))
    assert json.loads(body)["error"]["code"] == code


async def test_garbage_is_answered(server: Server, raw: Raw) -> None:
    raw.send(b"\x16\x03\x01\x02\x00 this is not HTTP\r\n\r\n")
    assert (await raw.end()).startswith(b"HTTP/1.1 400")


@pytest.mark.parametrize("sent", [b"", b"GET /rooms/edge HTTP/1.1\r\nHost: localhost\r\n", b"GET /ro"])
async def test_who_does_not_finish_the_head_is_cut(server: Server, raw: Raw, sent: bytes) -> None:
    """Slowloris: within the handshake time (here 1 s) and a tenth."""
    raw.send(sent)
    began = time.monotonic()
    assert await raw.end() == b""
    assert 0.5 < time.monotonic() - began < 5


# ── How a WebSocket ends ──


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        (b"\x81\x01x", 1002),
        (ws.masked_frame(ws.Opcode.BINARY, b"x", b"abcd"), 1003),
        (ws.masked_frame(ws.Opcode.TEXT, b"\xff", b"abcd"), 1007),
        (bytes((0x81, 0xFF)) + (1 << 30).to_bytes(8, "big") + b"abcd", 1009),
    ],
)
async def test_close_codes(server: Server, socket_: Raw, frame: bytes, code: int) -> None:
    """A violation is answered with its code and a reason, and then the connection ends."""
    socket_.send(frame)
    event = await socket_.event()
    assert isinstance(event, ws.Closed)
    assert event.code == code
    assert event.reason
    assert await socket_.end() == b""


async def test_the_code_arrives_though_the_peer_is_still_sending(server: Server, socket_: Raw) -> None:
    """A message that is far too large: 1009 is not lost to a reset (UV#432)."""
    socket_.send(ws.masked_frame(ws.Opcode.TEXT, b"x" * 4_000_000, b"abcd"))
    event = await socket_.event()
    assert isinstance(event, ws.Closed)
    assert event.code == 1009


async def test_the_peer_closes(server: Server, socket_: Raw) -> None:
    """Its code is echoed, and the server ends the connection first."""
    socket_.frame(ws.Opcode.CLOSE, (3333).to_bytes(2, "big") + b"bye")
    assert await socket_.event() == ws.Closed(3333, "")
    assert await socket_.end() == b""


async def test_pings_are_answered_in_place(server: Server, socket_: Raw) -> None:
    socket_.frame(ws.Opcode.PING, b"are you there?")
    assert await socket_.event() == ws.Pong(b"are you there?")


async def test_nonsense_keeps_the_connection(server: Server, socket_: Raw) -> None:
    """An error for each, and the next command works."""
    for text in (b"nope", b"[]", b"{}", b'{"type":"dance"}', b'{"type":"join","room":"a b"}', b"\x00"):
        socket_.frame(ws.Opcode.TEXT, text)
        assert (await socket_.json())["type"] == "error"
    socket_.frame(ws.Opcode.TEXT, b'{"type":"ping"}')
    assert await socket_.json() == {"type": "pong"}


# ── Life ──


async def test_who_does_not_answer_pings_is_dropped(server: Server, socket_: Raw, http: aiohttp.ClientSession) -> None:
    """Interval 3 s and timeout 1 s here: within both and a tick. One that sends anything stays (R17, R19)."""
    async with http.ws_connect(f"{server.url}/rooms/edge", autoping=True) as alive:
        assert await socket_.event_or_ping() == ws.Ping(b"")
        await socket_.end()
        await alive.send_json({"type": "ping"})
        async with asyncio.timeout(WAIT_S):
            while (await alive.receive_json())["type"] != "pong":
                pass
    assert (await server.statistics(http))["expired"] >= 1


async def test_any_byte_counts_as_life(server: Server, socket_: Raw) -> None:
    """No pong, but half a frame that grows: the peer is there (R19)."""
    text = b'{"type":"ping"}'.ljust(25)
    frame = ws.masked_frame(ws.Opcode.TEXT, text, b"abcd")
    for byte in frame:
        socket_.send(bytes([byte]))
        await asyncio.sleep(0.2)  # longer in all than the interval and the timeout
    pings = 0
    while isinstance(event := await socket_.event_or_ping(), ws.Ping):
        pings += 1
    assert pings >= 1
    assert event == ws.Text(b'{"type":"pong"}')


async def test_event_streams_are_kept_alive(server: Server, raw: Raw) -> None:
    """A comment at least every interval, and the first byte at once."""
    raw.send("GET /rooms/quiet HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n")
    head = await raw.head()
    for header in ("X-Accel-Buffering: no", "Cache-Control: no-cache", "Transfer-Encoding: chunked"):
        assert header in head
    async with asyncio.timeout(WAIT_S):
        await raw.reader.readuntil(b":\n\n")
        await raw.reader.readuntil(b":\n\n")


async def test_connections_that_leave_leave_nothing(server: Server, http: aiohttp.ClientSession) -> None:
    """Bare TCP probes, half handshakes, resets and ordinary ends, 300 of each: no connection object stays (R13)."""

    def reset(connection: socket.socket) -> None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.close()

    for n in range(1200):
        connection = socket.create_connection(("127.0.0.1", server.port))
        match n % 4:
            case 0:
                pass
            case 1:
                connection.sendall(b"GET /rooms/edge HTTP/1.1\r\nHo")
            case 2:
                connection.sendall(f"GET /rooms/edge HTTP/1.1\r\n{UPGRADE}".encode())
            case 3:
                connection.sendall(b"GET /rooms/edge HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n")
        if n % 3:
            reset(connection)
        else:
            connection.close()
    async with asyncio.timeout(WAIT_S):
        while (await server.statistics(http))["connections"]:
            await asyncio.sleep(0.05)


# ── Many rooms ──


async def test_connect_follows_many_rooms(server: Server, http: aiohttp.ClientSession) -> None:
    """One stream for several rooms; its id names every room's position, and resumes all of them."""
    for n in range(3):
        for room in ("many-a", "many-b"):
            await publish(http, server.url, room, n)
    url = f"{server.url}/connect?room=many-a&room=many-b"
    async with http.get(f"{url}&since=start", headers={"Accept": "text/event-stream"}) as response:
        seen, last_id = [], ""
        async for line in response.content:
            if line.startswith(b"id: "):
                last_id = line[4:].decode().strip()
            elif line.startswith(b"data: "):
                message = json.loads(line[6:])
                seen.append((message["room"], message["offset"]))
                if len(seen) == 4:
                    break
    headers = {"Accept": "text/event-stream", "Last-Event-ID": last_id}
    async with http.get(url, headers=headers) as response:
        async for line in response.content:
            if line.startswith(b"data: "):
                message = json.loads(line[6:])
                seen.append((message["room"], message["offset"]))
                if len(seen) == 6:
                    break
    assert sorted(seen) == [(room, n) for room in ("many-a", "many-b") for n in (1, 2, 3)]
    async with http.get(f"{url}&since={last_id}") as response:
        page = await response.json()
    assert len(page["messages"]) == 2
    assert page["next"] == ",".join(f"{r}={page['next'].split('=')[1].split('.')[0]}.3" for r in ("many-a", "many-b"))


async def test_connect_waits_for_any_room(server: Server, http: aiohttp.ClientSession) -> None:
    """A long poll over many rooms answers when one of them moves."""
    url = f"{server.url}/connect?room=wait-a&room=wait-b"
    async with http.get(f"{url}&since=now") as response:
        position = (await response.json())["next"]
    waiting = asyncio.ensure_future(http.get(f"{url}&since={position}&wait=30"))
    await parked(http, server)
    await publish(http, server.url, "wait-b", "x")
    async with asyncio.timeout(WAIT_S):
        page = await (await waiting).json()
    assert [message["room"] for message in page["messages"]] == ["wait-b"]


async def test_one_connection_many_rooms_by_websocket(server: Server, http: aiohttp.ClientSession) -> None:
    """Join, publish without naming the room, join another, leave: each room keeps its own order."""
    async with http.ws_connect(f"{server.url}/connect") as connection:

        async def ask(**command: object) -> None:
            await connection.send_json(command)

        async def until(kind: str) -> dict[str, object]:
            async with asyncio.timeout(WAIT_S):
                while (event := await connection.receive_json())["type"] != kind:
                    assert event["type"] != "error", event
            found: dict[str, object] = event
            return found

        await ask(type="join", room="ws-a")
        await ask(type="message", text="Hello!")  # before `joined` can have come
        assert (await until("joined"))["room"] == "ws-a"
        assert (await until("message"))["data"] == {"text": "Hello!"}
        await ask(type="join", room="ws-b", since=0)
        assert (await until("joined"))["room"] == "ws-b"
        await ask(type="message", room="ws-b", data=1)
        assert (await until("message"))["room"] == "ws-b"
        await ask(type="join", room="ws-b")
        assert (await until("joined"))["head"] == 1
        await ask(type="leave", room="ws-b")
        await until("left")
        await publish(http, server.url, "ws-b", 2)
        await publish(http, server.url, "ws-a", 3)
        assert (await until("message"))["data"] == 3
        await ask(type="join", room="ws-a", since="start")
        assert (await until("joined"))["room"] == "ws-a"
        assert [(await until("message"))["offset"] for _ in range(2)] == [1, 2]


async def test_acks_come_in_order_and_once(server: Server, http: aiohttp.ClientSession) -> None:
    """2,000 publishes without waiting, more than may be in flight: every one is acked, in order."""
    async with http.ws_connect(f"{server.url}/connect") as connection:

        async def send() -> None:
            for n in range(2000):
                await connection.send_json({"type": "message", "room": "acks", "id": f"a{n}", "data": n})

        sending = asyncio.ensure_future(send())
        acks: list[Any] = []
        async with asyncio.timeout(WAIT_S):
            while len(acks) < 2000:
                event = await connection.receive_json()
                if event["type"] == "ack":
                    acks.append((event["id"], event["offset"]))
        await sending
    assert acks == [(f"a{n}", n + 1) for n in range(2000)]
    seen = []
    async for _, message, _ in stream("longpoll", http, server.url, "acks", {"since": "start"}):
        seen.append(message["data"])
        if len(seen) == 2000:
            break
    assert seen == list(range(2000))


async def test_posting_a_list(server: Server, http: aiohttp.ClientSession) -> None:
    """One receipt each, in order; a mistake anywhere stores nothing."""
    body = [{"room": "list", "data": n, "id": str(n % 3)} for n in range(5)]
    async with http.post(f"{server.url}/publish", json=body) as response:
        assert response.status == 201
        receipts = await response.json()
    assert [(r["offset"], r["duplicate"]) for r in receipts] == [
        (1, False),
        (2, False),
        (3, False),
        (1, True),
        (2, True),
    ]
    async with http.post(f"{server.url}/publish", json=[*body, {"room": "a b", "data": 1}]) as response:
        assert response.status == 400
    async with http.get(f"{server.url}/rooms/list?since=start") as response:
        assert (await response.json())["head"] == 3


async def test_page_limits(server: Server, http: aiohttp.ClientSession) -> None:
    """`limit` bounds a page, the default gives the last 50, and `next` goes on exactly there."""
    await asyncio.gather(*[publish(http, server.url, "pages", n) for n in range(120)])
    async with http.get(f"{server.url}/rooms/pages") as response:
        page = await response.json()
    assert [m["offset"] for m in page["messages"]] == list(range(71, 121))
    since, seen = "start", []
    for _ in range(20):
        async with http.get(f"{server.url}/rooms/pages?since={since}&limit=7") as response:
            page = await response.json()
        seen += [m["offset"] for m in page["messages"]]
        since = page["next"]
    assert seen == list(range(1, 121))
    assert (page["messages"], page["gap"]) == ([], None)
