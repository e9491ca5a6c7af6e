"""What comes in: one rule for each oddity, the same on every transport; one bite at a time; and always an answer."""

import asyncio
import json
import secrets
from collections.abc import AsyncIterator, Iterator

import aiohttp
import pytest

from tests.server.test_edge import SSE, UPGRADE, Raw
from tests.support import WAIT_S, Server

WEBSOCKET, EVENTS, POLL = "websocket", "events", "poll"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    config = tmp_path_factory.mktemp("input") / "trunkline.toml"
    config.write_text("[limits]\nhandshake_s = 2.0\n")
    with Server("--config", str(config)) as running:
        yield running


@pytest.fixture
async def raw(server: Server) -> AsyncIterator[Raw]:
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port, limit=1 << 22)
    yield Raw(reader, writer)
    writer.transport.abort()


@pytest.fixture
def room() -> str:
    return secrets.token_hex(4)


async def answer(raw: Raw) -> tuple[int, bytes]:
    """Status and body of one response."""
    head = await raw.head()
    length = head.lower().partition("content-length: ")[2].partition("\r\n")[0]
    async with asyncio.timeout(WAIT_S):
        return int(head.split(" ")[1]), await raw.reader.readexactly(int(length or 0))


def request(target: str, how: str, version: str = "1.1") -> str:
    head = {WEBSOCKET: UPGRADE, EVENTS: f"{SSE}\r\n", POLL: "Host: localhost\r\n\r\n"}[how]
    return f"GET {target} HTTP/{version}\r\n{head}"


# ── One rule for each, on every transport ──


@pytest.mark.parametrize("how", [WEBSOCKET, EVENTS, POLL])
@pytest.mark.parametrize(
    ("target", "status", "code"),
    [
        ("/rooms/a?since=1&since=2", 400, "bad_command"),
        ("/rooms/a?last=1&last=1", 400, "bad_command"),
        ("/connect?room=a&since=start&since=now", 400, "bad_command"),
        ("/rooms/a?client=abcdefgh&client=abcdefgh", 400, "bad_command"),
        ("/rooms/a?limit=1&limit=2", 400, "bad_command"),
        ("/rooms/a?attempt=abcdefgh.1&attempt=abcdefgh.2", 400, "bad_command"),
        ("/rooms/a/", 404, "not_found"),
        ("/rooms/a/b", 404, "not_found"),
        ("/connect/?room=a", 404, "not_found"),
        ("/nope", 404, "not_found"),
        ("//rooms/a", 404, "not_found"),
        ("/connect?room=a&presence=1&in=" + ",".join("x" * 101), 400, "too_many_rooms"),
        ("/rooms/a?presence=" + "%5B%22" + "%5C%22" * 300 + "," + "[" * 12, 400, "bad_json"),
    ],
)
async def test_refusals(raw: Raw, target: str, how: str, status: int, code: str) -> None:
    raw.send(request(target, how))
    found, body = await answer(raw)
    assert (found, json.loads(body)["error"]["code"]) == (status, code)


@pytest.mark.parametrize("path", ["", "/presence", "/seen"])
@pytest.mark.parametrize("name", ["wait", "live", "client", "token"])
async def test_a_parameter_is_given_once_whether_it_is_used_or_not(raw: Raw, path: str, name: str) -> None:
    raw.send(request(f"/rooms/a{path}?{name}=abcdefgh&{name}=abcdefgh", POLL))
    status, body = await answer(raw)
    assert (status, json.loads(body)["error"]["code"]) == (400, "bad_command")


@pytest.mark.parametrize("number", ["999", "9007199254740993", "9" * 400])
async def test_a_limit_that_is_too_large_is_the_largest(raw: Raw, number: str) -> None:
    raw.send(request(f"/rooms/a?limit={number}", POLL))
    assert (await answer(raw))[0] == 200


@pytest.mark.parametrize("body", ["zz\r\n", "-1\r\n", "0x2\r\nhi\r\n", "1\r\nhi\r\n"])
async def test_a_body_in_bad_chunks_is_answered(raw: Raw, body: str) -> None:
    raw.send(f"POST /rooms/a HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n{body}")
    assert (await answer(raw))[0] == 400
    assert await raw.end() == b""


@pytest.mark.parametrize("levels", [33, 1000, 20_000])
async def test_json_that_is_too_deep_is_called_so(raw: Raw, levels: int) -> None:
    body = '{"data":' + "[" * levels + "]" * levels + "}"
    head = f"Host: localhost\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
    raw.send(f"POST /rooms/a HTTP/1.1\r\n{head}\r\n\r\n{body}")
    status, text = await answer(raw)
    assert (status, json.loads(text)["error"]["code"]) == (400, "too_deep")


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("target", ["/rooms/a/", "/publish/", "/connect/", "/rooms//a", "//evil.example/rooms/a"])
async def test_nothing_is_redirected(raw: Raw, method: str, target: str) -> None:
    """A redirect would lose a POST, and be made from whatever Host was sent."""
    raw.send(f"{method} {target} HTTP/1.1\r\nHost: evil.localhost\r\nContent-Length: 0\r\n\r\n")
    head = await raw.head()
    assert " 404 " in head
    assert "location" not in head.lower()


async def test_events_for_http_1_0(raw: Raw, server: Server, http: aiohttp.ClientSession) -> None:
    """No chunks (RFC 9112 section 6.1), and all that others get: messages, many rooms, and an end."""
    raw.send(
        "GET /connect?room=old&room=older&since=start HTTP/1.0\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n"
    )
    head = await raw.head()
    assert "transfer-encoding" not in head.lower()
    async with asyncio.timeout(WAIT_S):
        assert (await raw.reader.readuntil(b"\n\n")).startswith(b": trunkline\nretry: 2000\nid: old=")
    async with http.post(f"{server.url}/rooms/old", json={"data": "hi"}) as response:
        assert response.status == 201
    async with asyncio.timeout(WAIT_S):
        event = await raw.reader.readuntil(b'"data":"hi"}\n\n')
    assert b"id: old=" in event


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        ("text/event-stream;q=0, application/json", "application/json"),
        ("text/event-stream;q=0.5", "text/event-stream"),
    ],
)
async def test_a_weight_of_nothing_is_a_no(raw: Raw, accept: str, kind: str) -> None:
    raw.send(f"GET /rooms/a?since=start HTTP/1.1\r\nHost: localhost\r\nAccept: {accept}\r\n\r\n")
    assert f"content-type: {kind}" in (await raw.head()).lower()


@pytest.mark.parametrize(
    ("content_type", "body", "status", "stored"),
    [
        ("text/plain", "grün".encode(), 201, "grün"),
        ("text/plain; charset=utf-8", "grün".encode(), 201, "grün"),
        ('text/plain; charset="ISO-8859-1"', "grün".encode("latin-1"), 201, "grün"),
        ("text/plain;charset=windows-1252", "50 €".encode("cp1252"), 201, "50 €"),
        ("text/plain; charset=us-ascii", b"plain", 201, "plain"),
        ("text/plain; charset=utf-7", b"+AGE-", 415, None),
        ("text/plain; charset=rot13", b"uryyb", 415, None),
        ("text/plain", "grün".encode("latin-1"), 400, None),
        ("text/plain", b"", 201, ""),
        ("", b"by curl", 201, "by curl"),
        ("", b"", 400, None),
        ("application/json; charset=utf-8", b'{"data":1}', 201, 1),
        ("application/json; charset=utf-16", '{"data":1}'.encode("utf-16"), 415, None),
        ("application/json", b"", 400, None),
        ("application/json", b'{"data":1' + b"0" * 309 + b"}", 400, None),
        ("application/json", b'{"data":1e309}', 400, None),
        ("nonsense", b"x", 415, None),
        ("text/html", b"x", 415, None),
    ],
)
async def test_bodies(
    raw: Raw, server: Server, room: str, content_type: str, body: bytes, status: int, stored: object
) -> None:
    """A text is decoded as it says it is, or refused; nothing at all is no message."""
    kind = f"Content-Type: {content_type}\r\n" if content_type else ""
    head = f"POST /rooms/{room} HTTP/1.1\r\nHost: localhost\r\n{kind}Content-Length: {len(body)}\r\n\r\n"
    raw.send(head.encode() + body)
    assert (await answer(raw))[0] == status
    raw.send(request(f"/rooms/{room}?since=start", POLL))
    messages = json.loads((await answer(raw))[1])["messages"]
    assert [message["data"] for message in messages] == ([] if status != 201 else [stored])


# ── Upgrades ──

H2C = "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\nHost: localhost\r\n"


@pytest.mark.parametrize("pieces", [1, 7])
@pytest.mark.parametrize(
    "upgrade", [H2C, H2C.replace("h2c", "TLS/1.0"), H2C.replace("Upgrade: h2c", "uPGRADE:h2c, x/1")]
)
async def test_other_upgrades_are_ignored(raw: Raw, room: str, pieces: int, upgrade: str) -> None:
    """RFC 9110 section 7.8: answered as if it had not been there; and the body is the body."""

    async def send(text: str) -> None:
        step = -(-len(text) // pieces)
        for at in range(0, len(text), step):
            raw.send(text[at : at + step])
            await raw.writer.drain()
            await asyncio.sleep(0)

    await send(f"POST /rooms/{room} HTTP/1.1\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n{upgrade}\r\nhello")
    assert (await answer(raw))[0] == 201
    await send(f"GET /rooms/{room}?since=start HTTP/1.1\r\n{upgrade}\r\n")
    assert json.loads((await answer(raw))[1])["messages"][0]["data"] == "hello"


@pytest.mark.parametrize("path", ["/rooms/a", "/elsewhere"])
@pytest.mark.parametrize(
    ("more", "status"),
    [
        ("Cookie: " + "a" * 20_000, 431),
        ("Content-Length: 5", 400),
        ("Transfer-Encoding: chunked", 400),
        ("\r\n".join(f"X-{n}: a" for n in range(150)), None),
    ],
)
async def test_a_handshake_is_always_answered(raw: Raw, path: str, more: str, status: int | None) -> None:
    """Whoever decides: the edge, or uvicorn's class for paths that are not ours."""
    raw.send(f"GET {path} HTTP/1.1\r\n{more}\r\n{UPGRADE}hello")
    found = int((await raw.head()).split(" ")[1])
    assert found == (status or (101 if path == "/rooms/a" else 400))


@pytest.mark.parametrize("pieces", [1, 5])
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_a_head_has_one_limit(raw: Raw, method: str, pieces: int) -> None:
    """However it comes. What is a byte shorter is served."""
    for size, fits in ((16 * 1024, True), (16 * 1024 + 1, False), (100_000, False)):
        reader, writer = await asyncio.open_connection(*raw.writer.get_extra_info("peername"))
        one = Raw(reader, writer)
        begin = f"{method} /livez HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\nX: "
        text = begin + "y" * (size - len(begin) - 4) + "\r\n\r\n"
        for at in range(0, size, -(-size // pieces)):
            one.send(text[at : at - (-size // pieces)])
            await writer.drain()
            await asyncio.sleep(0)
        status = int((await one.head()).split(" ")[1])
        assert status == ((200 if method == "GET" else 405) if fits else 431)
        writer.transport.abort()


# ── Bites ──


async def test_pipelined_requests_are_answered_in_order(raw: Raw, room: str) -> None:
    """With bodies of all kinds between them; each sees what those before it have done."""
    text = f"POST /rooms/{room} HTTP/1.1\r\nHost: localhost\r\n"
    plain = f"{text}Content-Type: text/plain\r\nContent-Length: 3\r\n\r\none"
    chunked = f"{text}Content-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nt\r\n2\r\nwo\r\n0\r\n\r\n"
    look = request(f"/rooms/{room}?since=start", POLL)
    raw.send(plain + look + "\r\n\r\n" + plain + chunked)
    counts = []
    for _ in range(4):
        status, body = await answer(raw)
        counts.append(len(json.loads(body).get("messages", "")) if status == 200 else status)
    assert counts == [201, 1, 201, 201]
    raw.send(look + look.replace("/rooms/", "/nothing/") + look)
    assert [(await answer(raw))[0] for _ in range(3)] == [200, 404, 200]


async def test_what_stands_behind_a_chunked_body_in_one_piece(raw: Raw, room: str) -> None:
    """The parser has seen it before the answer was there: it is not served, and the connection ends."""
    head = f"POST /rooms/{room} HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
    raw.send(head + "3\r\none\r\n0\r\n\r\n" + head + "3\r\ntwo\r\n0\r\n\r\n")
    assert (await answer(raw))[0] == 201
    assert await raw.end() == b""


async def test_a_body_in_bites(raw: Raw, room: str) -> None:
    """Whole, and not more than one; what is too large is refused without being gathered."""
    text = "x" * 60_000
    for body, status in ((text, 201), (text * 10, 413), (text, 201)):
        raw.send(f"POST /rooms/{room} HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/plain\r\n"
                 f"Content-Length: {len(body)}\r\n\r\n{body}")  # fmt: skip
        assert (await answer(raw))[0] == status


async def test_a_thousand_pipelined_requests_hold_little(server: Server, raw: Raw, http: aiohttp.ClientSession) -> None:
    """Whoever reads no answers is not read from: the server works on one request, and holds what one read brought."""
    before = server.memory()
    connections = []
    flood = b"GET /healthz HTTP/1.1\r\nHost:h\r\n\r\n" * 20_000
    for _ in range(30):
        _, writer = await asyncio.open_connection("127.0.0.1", server.port, limit=1024)
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        writer.write(flood)
        connections.append(writer)
    for _ in range(50):
        async with http.get(f"{server.url}/livez") as response:
            assert response.status == 200
    assert server.memory() - before < 30 * 1_200_000
    for writer in connections:
        writer.transport.abort()


async def test_polls_that_nobody_reads_get_smaller_and_are_cut(server: Server, raw: Raw, room: str) -> None:
    """A client that does not take its answer for the time that a request may take is cut off."""
    async with aiohttp.ClientSession() as http:
        for n in range(40):
            async with http.post(f"{server.url}/rooms/{room}", json={"data": "x" * 60_000, "id": f"{n}"}) as response:
                assert response.status == 201
    connections = []
    for _ in range(10):
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port, limit=1024)
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        writer.write(request(f"/rooms/{room}?since=0&limit=1000", POLL).encode() * 50)
        connections.append((reader, writer))
    async with aiohttp.ClientSession() as http, asyncio.timeout(WAIT_S):
        while True:
            if (await server.statistics(http))["sockets"] < len(connections):
                break
            await asyncio.sleep(0.05)
    for _, writer in connections:
        writer.transport.abort()


# ── A client that has said everything ──


@pytest.mark.parametrize("wait", ["", "&wait=30"])
async def test_whoever_ends_its_side_is_answered(raw: Raw, room: str, wait: str) -> None:
    """It can send nothing more, and wants an answer; a poll that waits gives it at once."""
    raw.send(request(f"/rooms/{room}?since=start{wait}", POLL))
    raw.writer.write_eof()
    status, body = await answer(raw)
    assert (status, json.loads(body)["messages"]) == (200, [])
    assert await raw.end() == b""


async def test_a_half_closed_post_is_stored_and_answered(raw: Raw, room: str) -> None:
    raw.send(f"POST /rooms/{room} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\nhi")
    raw.writer.write_eof()
    assert (await answer(raw))[0] == 201
    assert await raw.end() == b""


async def test_a_half_closed_request_that_is_not_whole_is_dropped(raw: Raw, room: str) -> None:
    """It will never be whole."""
    raw.send(f"POST /rooms/{room} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 20\r\n\r\nhi")
    raw.writer.write_eof()
    assert await raw.end() == b""


async def test_a_poll_that_is_cut_brings_nobody_back(server: Server, raw: Raw, room: str) -> None:
    """A client that lets go of its poll and says goodbye is gone, in whatever order the two come."""

    async def members(http: aiohttp.ClientSession) -> int:
        async with http.get(f"{server.url}/rooms/{room}/presence") as response:
            return len((await response.json())["members"])

    async def say_goodbye(http: aiohttp.ClientSession) -> None:
        async with http.delete(f"{server.url}/rooms/{room}/presence?{who}") as response:
            assert response.status == 204

    who = f"client={secrets.token_hex(8)}"
    raw.send(request(f"/rooms/{room}?since=start&live=0&presence=1&{who}", POLL))
    async with aiohttp.ClientSession() as http, asyncio.timeout(WAIT_S):
        while True:
            known = json.loads((await answer(raw))[1])
            following = f"since={known['next']}&live={known['live']['next']}"
            raw.send(request(f"/rooms/{room}?{following}&wait=30&presence=1&{who}", POLL))
            await say_goodbye(http)
            if await members(http):
                break  # for as long as the poll waits; else it has come after the goodbye, and is answered at once
        raw.writer.write_eof()
        assert (await answer(raw))[0] == 200
        assert await members(http) == 0
