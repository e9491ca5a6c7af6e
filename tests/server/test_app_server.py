"""`trunkline run`: an application behaves as on another ASGI server, and its streams are ours."""

import asyncio
import json
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.server.test_tls import certify
from tests.support import ROOT, Server, free_port, until

RUN = [sys.executable, "-m", "trunkline", "run", "--port", "PORT"]
UVICORN = [sys.executable, "-m", "uvicorn", "--port", "PORT", "--log-level", "error"]
WRAPPED = "tests.server.wrapped_app:app"
BARE = "tests.server.bare_app:app"


@pytest.fixture(scope="module", params=[UVICORN, RUN], ids=["uvicorn", "run"])
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    with Server(command=[*request.param, WRAPPED]) as running:
        yield running


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=20)) as session:
        yield session


Headers = dict[str, str]


async def by_websocket(http: aiohttp.ClientSession, url: str, headers: Headers) -> tuple[int, Any]:
    try:
        async with http.ws_connect(f"{url}/realtime/rooms/r?since=now", headers=headers) as socket_:
            assert json.loads(await socket_.receive_str())["type"] == "welcome"
            assert json.loads(await socket_.receive_str())["type"] == "joined"
            await socket_.send_json({"type": "message", "data": 1})
            assert {json.loads(await socket_.receive_str())["type"] for _ in range(2)} == {"ack", "message"}
            return 101, socket_._response.headers
    except aiohttp.WSServerHandshakeError as error:
        return error.status, error.headers


async def by_events(http: aiohttp.ClientSession, url: str, headers: Headers) -> tuple[int, Any]:
    asked = {**headers, "Accept": "text/event-stream"}
    async with http.get(f"{url}/realtime/rooms/r?last=1", headers=asked) as answer:
        if answer.status == 200:
            await http.post(f"{url}/realtime/rooms/r", json={"data": "said"}, headers=headers)
            while b"said" not in await answer.content.readline():
                pass
        return answer.status, answer.headers


async def by_poll(http: aiohttp.ClientSession, url: str, headers: Headers) -> tuple[int, Any]:
    async with http.get(f"{url}/realtime/rooms/r?since=now", headers=headers) as answer:
        return answer.status, answer.headers


async def by_long_poll(http: aiohttp.ClientSession, url: str, headers: Headers) -> tuple[int, Any]:
    polling = asyncio.ensure_future(http.get(f"{url}/realtime/rooms/r?since=now&wait=10", headers=headers))
    while not polling.done():
        await http.post(f"{url}/realtime/rooms/r", json={"data": 1}, headers=headers)
        await asyncio.wait([polling], timeout=0.1)
    async with await polling as answer:
        return answer.status, answer.headers


WAYS = [by_websocket, by_events, by_poll, by_long_poll]


@pytest.mark.parametrize("way", WAYS)
async def test_a_middleware_refuses_on_every_transport(server: Server, http: aiohttp.ClientSession, way: Any) -> None:
    status, _ = await way(http, server.url, {"X-Who": "eve"})
    assert status == 403


@pytest.mark.parametrize("way", WAYS)
async def test_a_middleware_adds_a_header_on_every_transport(
    server: Server, http: aiohttp.ClientSession, way: Any
) -> None:
    status, headers = await way(http, server.url, {})
    assert status in (101, 200)
    assert headers["x-added"] == "yes"


@pytest.mark.parametrize("way", WAYS[1:])  # Starlette's sessions are not set by WebSockets
async def test_a_middleware_sets_a_session_on_every_transport(
    server: Server, http: aiohttp.ClientSession, way: Any
) -> None:
    _, headers = await way(http, server.url, {})
    cookie = headers["set-cookie"].partition(";")[0]
    async with http.get(f"{server.url}/count", headers={"Cookie": cookie}) as answer:
        assert (await answer.json())["seen"] >= 2


async def streams_off_asgi(http: aiohttp.ClientSession, server: Server) -> int:
    """How many connections the rooms count: those that are theirs, and not ASGI's."""
    return (await server.statistics(http))["sockets"]


async def test_streams_leave_asgi_and_are_no_longer_counted_when_they_end(http: aiohttp.ClientSession) -> None:
    with Server(command=[*RUN, WRAPPED]) as running:
        socket_ = await http.ws_connect(f"{running.url}/realtime/rooms/r")
        events = await http.get(f"{running.url}/realtime/rooms/r", headers={"Accept": "text/event-stream"})
        assert await streams_off_asgi(http, running) == 2
        await socket_.close()
        events.close()
        while await streams_off_asgi(http, running):
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("variable", ["COMPRESSES", "BUFFERS"])
async def test_a_middleware_around_the_body_gets_what_it_expects(http: aiohttp.ClientSession, variable: str) -> None:
    """An answer that comes out changed stays with ASGI; one that only comes out later does not."""
    with Server(command=[*RUN, WRAPPED], environment={variable: "1"}) as running:
        status, headers = await by_events(http, running.url, {"Accept-Encoding": "gzip"})
        assert (status, headers["x-added"]) == (200, "yes")
        events = await http.get(
            f"{running.url}/realtime/rooms/r", headers={"Accept": "text/event-stream", "Accept-Encoding": "gzip"}
        )
        assert await streams_off_asgi(http, running) == (variable == "BUFFERS" or "gzip" not in str(events.headers))
        events.close()


async def test_who_is_not_let_in_is_told_so_before_anything_is_taken_over(http: aiohttp.ClientSession) -> None:
    with Server(command=[*RUN, WRAPPED], environment={"NAMES": "1"}) as running:
        for way in WAYS[1:3]:
            assert (await way(http, running.url, {}))[0] == 401
            assert (await way(http, running.url, {"X-Who": "ana"}))[0] == 403  # a grant without permissions


def frame(text: bytes) -> bytes:
    return bytes((0x81, 0x80 | len(text))) + bytes(4) + text


def test_what_a_client_sends_before_its_handshake_is_answered_is_not_lost() -> None:
    head = (
        b"GET /realtime/rooms/r HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )
    with (
        Server(command=[*RUN, WRAPPED]) as running,
        socket.create_connection(("127.0.0.1", running.port), 10) as client,
    ):
        client.sendall(head + frame(b'{"type":"ping"}') + frame(b'{"type":"ping"}'))
        got = b""
        while got.count(b'{"type":"pong"}') < 2:
            piece = client.recv(65536)
            assert piece, got
            got += piece


async def test_bare_rooms_are_not_asked_for_through_the_application(http: aiohttp.ClientSession) -> None:
    with Server(command=[*RUN, BARE]) as running:
        assert "without passing the application" in running.line()
        for way in WAYS:
            assert (await way(http, running.url, {}))[0] in (101, 200)
        async with http.get(f"{running.url}/pid") as answer:
            assert await answer.json() == running.process.pid
        async with http.get(f"{running.url}/realtime/nothing") as answer:
            assert (answer.status, (await answer.json())["error"]["code"]) == (404, "not_found")


async def test_a_guard_that_is_added_at_the_start_guards(http: aiohttp.ClientSession) -> None:
    with Server(command=[*RUN, BARE], environment={"GUARDS": "1"}) as running:
        assert "pass the application" in running.line()
        for way in WAYS[1:3]:
            assert (await way(http, running.url, {}))[0] == 403


async def test_an_application_that_says_so_is_passed_by(http: aiohttp.ClientSession) -> None:
    with Server(command=[*RUN, WRAPPED, "--direct", "/realtime"]) as running:
        status, headers = await by_poll(http, running.url, {"X-Who": "eve"})
        assert status == 200
        assert "x-added" not in headers


async def test_a_stop_tells_streams_to_come_back_and_ends_in_order(http: aiohttp.ClientSession) -> None:
    with Server(command=[*RUN, WRAPPED]) as running:
        socket_ = await http.ws_connect(f"{running.url}/realtime/rooms/r")
        running.process.send_signal(signal.SIGTERM)
        said = [json.loads(message.data)["type"] async for message in socket_]
        assert said[-1] == "closing"
        assert socket_.close_code == 1012
        assert running.stop()[0] == 0


async def test_workers_share_the_address_and_the_log(http: aiohttp.ClientSession, tmp_path: Path) -> None:
    store = f"sqlite:///{tmp_path}/log.db?shared=1"
    with Server(store=store, command=[*RUN, BARE, "--workers", "2"]) as running:
        assert "2 workers" in running.line()
        pids = set()

        async def ask() -> None:
            async with aiohttp.ClientSession() as fresh, fresh.get(f"{running.url}/pid") as answer:
                pids.add(await answer.json())

        async with asyncio.timeout(20):  # one of them takes all that it is quick enough for
            while len(pids) < 2:
                await asyncio.gather(*[ask() for _ in range(20)])
        assert os.getpid() not in pids
        assert (await by_events(http, running.url, {}))[0] == 200


async def test_tls(tmp_path: Path) -> None:
    certificate, key = certify(tmp_path, "run")
    with Server(command=[*RUN, WRAPPED, "--tls-cert", str(certificate), "--tls-key", str(key)]) as running:
        context = ssl.create_default_context(cafile=certificate)
        url = f"https://localhost:{running.port}"
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context)) as secure:
            for way in WAYS[:3]:
                assert (await way(secure, url, {}))[0] in (101, 200)


async def test_a_changed_file_starts_the_application_again(http: aiohttp.ClientSession, tmp_path: Path) -> None:
    module = tmp_path / "app_to_change.py"
    text = (
        "from starlette.applications import Starlette\nfrom starlette.responses import PlainTextResponse\n"
        "from starlette.routing import Route\n"
        "app = Starlette(routes=[Route('/', lambda request: PlainTextResponse('VERSION'))])\n"
    )
    module.write_text(text.replace("VERSION", "one"))
    command = [*RUN, "app_to_change:app", "--reload"]
    with Server(command=command, folder=tmp_path, environment={"PYTHONDONTWRITEBYTECODE": "1"}) as running:

        async def version() -> str:
            try:
                async with http.get(running.url) as answer:
                    return await answer.text()
            except aiohttp.ClientError:
                return ""

        while await version() != "one":
            await asyncio.sleep(0.05)
        module.write_text(text.replace("VERSION", "two"))
        while await version() != "two":
            await asyncio.sleep(0.05)
        running.process.send_signal(signal.SIGINT)
        until(lambda: running.process.poll() is not None, "the end")


async def test_uvicorn_started_by_hand_with_our_protocols(http: aiohttp.ClientSession, tmp_path: Path) -> None:
    start = tmp_path / "start.py"
    start.write_text(
        "import sys\nimport uvicorn\nfrom tests.server.wrapped_app import app\nfrom trunkline.server import Protocols\n"
        "protocols = Protocols()\n"
        "uvicorn.run(app, http=protocols.http, ws=protocols.ws, port=int(sys.argv[1]), log_level='error')\n"
    )
    environment = {"PYTHONPATH": str(Path(__file__).parents[2])}
    with Server(command=[sys.executable, str(start), "PORT"], environment=environment) as running:
        for way in WAYS:
            status, headers = await way(http, running.url, {})
            assert (status in (101, 200), headers["x-added"]) == (True, "yes")
        socket_ = await http.ws_connect(f"{running.url}/realtime/rooms/r")
        assert await streams_off_asgi(http, running) == 1
        await socket_.close()
        # uvicorn would compress, and a stream that takes over may not: then it is not agreed on.
        socket_ = await http.ws_connect(f"{running.url}/realtime/rooms/r", compress=15)
        assert not socket_.compress
        await socket_.send_json({"type": "message", "data": "x" * 500})
        while json.loads(await socket_.receive_str())["type"] != "ack":
            pass
        await socket_.close()


REFUSED = [
    (["shop.py:app"], {}, r"Could not import module .*: shop:app\?"),
    (["tests.server.wrapped_app:nothing"], {}, 'Attribute "nothing" not found'),
    (["tests.server.wrapped_app:hub"], {}, "is a Hub, and no application: run tests.server.wrapped_app:hub.app"),
    (["tests.server.wrapped_app:__name__"], {}, "is of type str, and no ASGI application"),
    ([WRAPPED, "--direct", "/nothing"], {}, r"no rooms are mounted under /nothing \(there are: /realtime\)"),
    ([WRAPPED], {"TRUNKLINE_AUTH": "jwt", "TRUNKLINE_JWT__SECRET": "s" * 32}, "auth: of an application"),
    ([WRAPPED], {"TRUNKLINE_LIMITS__MESSAGE_BYTES_MAX": "10"}, "limits.message_bytes_max: of an application"),
    ([WRAPPED, "--workers", "2"], {}, "several workers need a log that they share"),
    ([WRAPPED, "--workers", "2", "--reload"], {}, "--reload is for one process"),
    (["tests.server.wrapped_app:app.nothing"], {"STORE": "nowhere:"}, "the module cannot be imported"),
]


@pytest.mark.parametrize(("arguments", "environment", "says"), REFUSED)
def test_mistakes_are_said_in_one_line_and_end_it(arguments: list[str], environment: dict[str, str], says: str) -> None:
    variables = {name: value for name, value in os.environ.items() if not name.startswith("TRUNKLINE_")}
    command = [*RUN[:-1], str(free_port()), *arguments]
    ended = subprocess.run(
        command,
        env={**variables, "STORE": "memory:", **environment},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
        cwd=ROOT,
    )
    assert ended.returncode == 2
    assert re.search(says, ended.stderr.splitlines()[-1]), ended.stderr
    assert "importlib" not in ended.stderr
