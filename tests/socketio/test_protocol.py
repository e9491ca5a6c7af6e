"""What the public protocol suites assert, on every kind of site. Sections are those of the protocols' own documents:
Engine.IO 4 (EIO) and Socket.IO 5 (SIO), in the repository socketio/socket.io.

Each request comes on a connection of its own, so behind a proxy each goes to the next node.
"""

from __future__ import annotations

import asyncio
import json
import socket
import sys
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.deploy.conftest import Front
from tests.redis_servers import RedisServer, needs_redis
from tests.support import WAIT_S, Server, until

INTERVAL_S, TIMEOUT_S = 0.3, 0.2
APP = "tests.socketio.protocol_app:app"
RUN = [sys.executable, "-m", "trunkline", "run", APP, "--port", "PORT"]
UVICORN = [sys.executable, "-m", "uvicorn", APP, "--port", "PORT", "--log-level", "error"]
BEHIND = [pytest.param(front, marks=needs_redis) for front in ("nginx", "haproxy")]


@pytest.fixture(scope="module", params=["memory", "uvicorn", "workers", *BEHIND])
def url(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder: Path = tmp_path_factory.mktemp("site")
    with ExitStack() as stack:
        if request.param == "memory":
            yield stack.enter_context(Server(command=RUN)).url
        elif request.param == "uvicorn":
            yield stack.enter_context(Server(command=UVICORN)).url
        elif request.param == "workers":
            command = [*RUN, "--workers", "2"]
            server = stack.enter_context(Server(command=command, store=f"sqlite:///{folder}/log.db?shared=1"))
            yield server.url
        else:
            redis = stack.enter_context(RedisServer(folder))
            nodes = [stack.enter_context(Server(command=RUN, store=redis.url)) for _ in range(2)]
            front = Front(request.param, [node.port for node in nodes], folder)
            stack.callback(front.stop)
            until(lambda: _answers(front.port), "the proxy answers")
            until(lambda: know_each_other(nodes), "the nodes know each other")
            yield front.url


def know_each_other(nodes: Sequence[Server]) -> bool:
    """Whether each node passes on what is for a session of the other."""
    for here, there in (nodes, nodes[::-1]):
        address = "/engine.io/?EIO=4&transport=polling"
        with urllib.request.urlopen(f"{here.url}{address}", timeout=5) as answer:
            sid = json.loads(answer.read()[1:])["sid"]
        try:
            urllib.request.urlopen(f"{there.url}{address}&sid={sid}", b"3", timeout=10).close()
        except urllib.error.HTTPError:
            return False
    return True


def _answers(port: int) -> bool:
    socket.create_connection(("127.0.0.1", port), 1).close()
    return True


class Raw:
    """One client of the protocol."""

    def __init__(self, url: str, http: aiohttp.ClientSession, path: str) -> None:
        self._address = f"{url}/{path}/?EIO=4&transport="
        self._http = http
        self.sid = ""

    async def ask(self, method: str = "GET", body: str | None = None, query: str | None = None) -> tuple[int, str]:
        address = f"{self._address}polling&sid={self.sid}" if query is None else self._address.partition("?")[0] + query
        async with self._http.request(method, address, data=body) as answer:
            return answer.status, await answer.text()

    async def poll(self) -> tuple[int, str]:
        return await self.ask()

    async def post(self, body: str) -> tuple[int, str]:
        return await self.ask("POST", body)

    async def open(self) -> dict[str, Any]:
        """Open a session by polling; return its handshake."""
        async with self._http.get(f"{self._address}polling") as answer:
            assert answer.status == 200
            text = await answer.text()
        assert text.startswith("0")
        handshake: dict[str, Any] = json.loads(text[1:])
        self.sid = handshake["sid"]
        return handshake

    async def websocket(self, *, tried: bool = False) -> aiohttp.ClientWebSocketResponse:
        address = f"{self._address}websocket" + (f"&sid={self.sid}" if tried else "")
        return await self._http.ws_connect(address, autoping=True)

    async def opened(self) -> aiohttp.ClientWebSocketResponse:
        """A WebSocket whose handshake was read."""
        ws = await self.websocket()
        assert (await text_of(ws)).startswith("0")
        return ws

    async def connected(self) -> aiohttp.ClientWebSocketResponse:
        """A WebSocket that is in the default namespace."""
        ws = await self.opened()
        await ws.send_str("40")
        assert (await text_of(ws)).startswith("40{")
        assert await text_of(ws) == '42["auth",{}]'
        return ws


async def text_of(ws: aiohttp.ClientWebSocketResponse) -> Any:
    """The next message that is no ping, which is answered."""
    while True:
        message = await ws.receive(WAIT_S)
        assert message.type in (aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY), message
        if message.data != "2":
            return message.data
        await ws.send_str("3")


async def ended(ws: aiohttp.ClientWebSocketResponse) -> None:
    """Wait until the server has closed it."""
    async with asyncio.timeout(WAIT_S):
        while (await ws.receive()).type not in (aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSED):
            pass


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    connector = aiohttp.TCPConnector(force_close=True)
    async with aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(WAIT_S)) as session:
        yield session


@pytest.fixture
def engine(url: str, http: aiohttp.ClientSession) -> Raw:
    return Raw(url, http, "engine.io")


@pytest.fixture
def socketio(url: str, http: aiohttp.ClientSession) -> Raw:
    return Raw(url, http, "socket.io")


# ── EIO, "Handshake" ──


@pytest.mark.parametrize("path", ["engine.io", "socket.io"])
async def test_a_session_is_opened(url: str, http: aiohttp.ClientSession, path: str) -> None:
    raw = Raw(url, http, path)
    common = {"pingInterval": 300, "pingTimeout": 200, "maxPayload": 1_000_000}
    handshake = await raw.open()
    assert handshake == {"sid": raw.sid, "upgrades": ["websocket"], **common}
    ws = await raw.websocket()
    told = json.loads((await text_of(ws))[1:])
    assert told == {"sid": told["sid"], "upgrades": [], **common}
    assert told["sid"] != raw.sid
    await ws.close()


@pytest.mark.parametrize(
    ("method", "query"),
    [
        ("GET", "?transport=polling"),
        ("GET", "?EIO=abc&transport=polling"),
        ("GET", "?EIO=3&transport=polling"),
        ("GET", "?EIO=4"),
        ("GET", "?EIO=4&transport=abc"),
        ("GET", "?EIO=4&transport=websocket"),
        ("GET", "?EIO=4&transport=polling&sid=unknown"),
        ("GET", "?EIO=4&transport=polling&sid=deadbeef.unknown"),
        ("POST", "?EIO=4&transport=polling"),
        ("POST", "?EIO=4&transport=polling&sid=unknown"),
        ("PUT", "?EIO=4&transport=polling"),
    ],
)
async def test_requests_that_open_nothing(engine: Raw, method: str, query: str) -> None:
    status, body = await engine.ask(method, None, query)
    assert status == 400
    assert set(json.loads(body)) == {"code", "message"}


@pytest.mark.parametrize(
    "query", ["transport=websocket", "EIO=abc&transport=websocket", "EIO=4", "EIO=4&transport=abc"]
)
async def test_websockets_that_open_nothing(url: str, http: aiohttp.ClientSession, query: str) -> None:
    with pytest.raises(aiohttp.WSServerHandshakeError):
        await http.ws_connect(f"{url}/engine.io/?{query}")


# ── EIO, "Exchange protocol", "Packet encoding" ──


@pytest.mark.parametrize("body", ["4hello", "4test1\x1e4test2\x1e4test3", "4hello\x1ebAQIDBA=="])
async def test_payloads_go_both_ways(engine: Raw, body: str) -> None:
    await engine.open()
    assert await engine.post(body) == (200, "ok")
    got = ""
    while len(got) < len(body):  # what goes past another process may come in two
        status, piece = await engine.poll()
        assert status == 200
        got += ("\x1e" if got else "") + piece
    assert got == body


async def test_what_is_no_packet_ends_the_session(engine: Raw) -> None:
    await engine.open()
    assert (await engine.post("abc"))[0] == 400
    assert (await engine.poll())[0] == 400


async def test_two_polls_at_once_end_the_session(engine: Raw) -> None:
    await engine.open()
    first = asyncio.create_task(engine.poll())
    await asyncio.sleep(0.1)  # less than until the ping, and enough to arrive
    second = await engine.poll()
    assert await first == (200, "1")
    assert second[0] == 400
    assert (await engine.poll())[0] == 400


async def test_a_poll_that_is_not_waited_for_ends_the_session(engine: Raw) -> None:
    await engine.open()
    poll = asyncio.create_task(engine.poll())
    await asyncio.sleep(0.1)
    poll.cancel()
    assert (await engine.poll())[0] == 400


async def test_messages_on_a_websocket(engine: Raw) -> None:
    ws = await engine.opened()
    await ws.send_str("4hello")
    assert await text_of(ws) == "4hello"
    await ws.send_bytes(b"\x01\x02\x03\x04")
    assert await text_of(ws) == b"\x01\x02\x03\x04"
    await ws.send_str("abc")
    await ended(ws)


# ── EIO, "Heartbeat" ──


async def test_pings_by_poll(engine: Raw) -> None:
    await engine.open()
    for _ in range(3):
        assert await engine.poll() == (200, "2")
        assert await engine.post("3") == (200, "ok")


async def test_pings_on_a_websocket(engine: Raw) -> None:
    ws = await engine.opened()
    for _ in range(3):
        assert (await ws.receive(WAIT_S)).data == "2"
        await ws.send_str("3")
    await ws.close()


async def test_who_does_not_answer_a_ping_is_gone(engine: Raw) -> None:
    await engine.open()
    ws = await engine.opened()
    began = asyncio.get_running_loop().time()
    await ended(ws)
    assert asyncio.get_running_loop().time() - began >= INTERVAL_S
    await asyncio.sleep(INTERVAL_S + TIMEOUT_S)
    assert (await engine.poll())[0] == 400


# ── EIO, "Session": closing ──


async def test_a_client_closes_by_poll(engine: Raw) -> None:
    await engine.open()
    poll, post = await asyncio.gather(engine.poll(), engine.post("1"))
    assert (poll, post) == ((200, "6"), (200, "ok"))
    assert (await engine.poll())[0] == 400


async def test_a_client_closes_on_a_websocket(engine: Raw) -> None:
    ws = await engine.opened()
    await ws.send_str("1")
    await ended(ws)


# ── EIO, "Upgrade" ──


async def test_upgrade(engine: Raw) -> None:
    await engine.open()
    ws = await engine.websocket(tried=True)
    await ws.send_str("2probe")
    assert await text_of(ws) == "3probe"
    assert await engine.poll() == (200, "6")
    await ws.send_str("5")
    await ws.send_str("4hello")
    assert await text_of(ws) == "4hello"


async def test_after_the_upgrade_nothing_else_carries_the_session(engine: Raw) -> None:
    await engine.open()
    ws = await engine.websocket(tried=True)
    await ws.send_str("2probe")
    assert await text_of(ws) == "3probe"
    await ws.send_str("5")
    assert (await engine.poll())[0] == 400
    second = await engine.websocket(tried=True)
    await ended(second)
    await ws.send_str("4hello")
    assert await text_of(ws) == "4hello"


async def test_what_waits_when_the_client_goes_over_is_not_lost(engine: Raw) -> None:
    await engine.open()
    ws = await engine.websocket(tried=True)
    await ws.send_str("2probe")
    assert await text_of(ws) == "3probe"
    assert await engine.poll() == (200, "6")
    assert await engine.post("4on its way") == (200, "ok")
    await ws.send_str("5")
    assert await text_of(ws) == "4on its way"


# ── SIO, "Connection to a namespace" ──


@pytest.mark.parametrize(
    ("sent", "begin", "auth"),
    [
        ("40", "40", '42["auth",{}]'),
        ('40{"token":"123"}', "40", '42["auth",{"token":"123"}]'),
        ("40/custom,", "40/custom,", '42/custom,["auth",{}]'),
        ('40/custom,{"token":"abc"}', "40/custom,", '42/custom,["auth",{"token":"abc"}]'),
    ],
)
async def test_connecting(socketio: Raw, sent: str, begin: str, auth: str) -> None:
    ws = await socketio.opened()
    await ws.send_str(sent)
    told = await text_of(ws)
    assert told.startswith(begin)
    assert set(json.loads(told.removeprefix(begin))) == {"sid"}
    assert await text_of(ws) == auth


async def test_a_namespace_that_is_not_there(socketio: Raw) -> None:
    ws = await socketio.opened()
    await ws.send_str("40/random")
    assert await text_of(ws) == '44/random,{"message":"Invalid namespace"}'


@pytest.mark.parametrize("sent", ["4abc", "44", "48", "40[]", "45-"])
async def test_an_invalid_handshake_ends_the_connection(socketio: Raw, sent: str) -> None:
    ws = await socketio.opened()
    await ws.send_str(sent)
    await ended(ws)


# ── SIO, "Disconnection from a namespace" ──


async def test_leaving_a_namespace_keeps_the_connection(socketio: Raw) -> None:
    ws = await socketio.connected()
    await ws.send_str("40/custom")
    assert (await text_of(ws)).startswith("40/custom,")
    assert await text_of(ws) == '42/custom,["auth",{}]'
    await ws.send_str("41/custom")
    await ws.send_str('42["message","to the main namespace"]')
    assert await text_of(ws) == '42["message-back","to the main namespace"]'
    await ws.send_str("41")
    assert (await ws.receive(WAIT_S)).data == "2"


# ── SIO, "Sending and receiving data", "Acknowledgement" ──


@pytest.mark.parametrize(
    ("sent", "answer"),
    [
        ('42["message",1,"2",{"3":[true]}]', '42["message-back",1,"2",{"3":[true]}]'),
        ('42456["message-with-ack",1,"2",{"3":[false]}]', '43456[1,"2",{"3":[false]}]'),
        ('420["message-with-ack"]', "430[]"),
    ],
)
async def test_events_and_acknowledgements(socketio: Raw, sent: str, answer: str) -> None:
    ws = await socketio.connected()
    await ws.send_str(sent)
    assert await text_of(ws) == answer


@pytest.mark.parametrize(
    ("sent", "answer"),
    [
        ('452-["message",{}]', '452-["message-back",{}]'),
        ('452-789["message-with-ack",{}]', "462-789[{}]"),
    ],
)
async def test_binary_events_and_acknowledgements(socketio: Raw, sent: str, answer: str) -> None:
    places = '{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}'
    ws = await socketio.connected()
    await ws.send_str(sent.replace("{}", places))
    await ws.send_bytes(b"\x01\x02\x03")
    await ws.send_bytes(b"\x04\x05\x06")
    assert await text_of(ws) == answer.replace("{}", places)
    assert await text_of(ws) == b"\x01\x02\x03"
    assert await text_of(ws) == b"\x04\x05\x06"


@pytest.mark.parametrize(
    "sent",
    [
        "4abc",
        "42{}",
        "42[]",
        "42[{}]",
        '42["connect"]',
        '42abc["message-with-ack",1]',
        "43[1]",
        '452-["message",{"_placeholder":true,"num":0}]\x00text',
        "41[1]",
        '42["message"' + "[" * 100_000,
    ],
)
async def test_what_is_no_packet_ends_the_connection(socketio: Raw, sent: str) -> None:
    ws = await socketio.connected()
    for text in sent.split("\x00"):
        await ws.send_str(f"4{text}" if text == "text" else text)
    await ended(ws)
