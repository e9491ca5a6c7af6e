"""How much: each limit with its answer, and everybody else unharmed (R12, R52)."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Iterator
from typing import Any

import aiohttp
import pytest

from tests.access.support import ADMIN, SECRET, bearer, closed, knock, token
from tests.support import WAIT_S, Server

ADDRESSES = (f"127.0.6.{n}" for n in range(1, 255))  # not 127.0.0.1, which these settings trust
SETTINGS = f"""
auth = "jwt"
forwarded_allow_ips = ["127.0.0.1"]
[jwt]
secret = "{SECRET}"
[limits]
handshake_s = 1.0
connections_max = 30
connections_per_address_max = 8
connections_per_user_max = 3
connects_per_address_burst = 1000
requests_per_address_per_s = 0.5
requests_per_address_burst = 20
commands_per_connection_per_s = 5
commands_per_connection_burst = 10
publishes_per_user_per_s = 0.05
publishes_per_user_burst = 15
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    config = tmp_path_factory.mktemp("limits") / "trunkline.toml"
    config.write_text(SETTINGS)
    with Server("--config", str(config)) as running:
        yield running


@pytest.fixture
def address() -> str:
    """One that nobody has come from before."""
    return next(ADDRESSES)


@pytest.fixture
async def stranger(address: str) -> AsyncIterator[aiohttp.ClientSession]:
    """A client from there."""
    connector = aiohttp.TCPConnector(local_addr=(address, 0), limit=0)
    async with aiohttp.ClientSession(connector=connector) as http:
        yield http


async def counters(server: Server, http: aiohttp.ClientSession) -> dict[str, int]:
    async with http.get(f"{server.url}/healthz", headers=bearer(token("root", rooms=ADMIN))) as response:
        answer: dict[str, Any] = await response.json()
        refusals: dict[str, int] = answer.pop("refusals")
        return answer | refusals


async def quiet(server: Server, http: aiohttp.ClientSession) -> None:
    """Until only the asking connection is left."""
    async with asyncio.timeout(WAIT_S):
        while (await counters(server, http))["sockets"] > 1:
            await asyncio.sleep(0.05)


def raw(server: Server, source: str) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", server.port), 5, (source, 0))
    connection.settimeout(5)
    return connection


async def test_connections_of_all(server: Server, http: aiohttp.ClientSession) -> None:
    """Over `connections_max`: 503 and Retry-After, counted; those inside notice nothing (R12)."""
    await quiet(server, http)
    inside = await http.ws_connect(f"{server.url}/connect", headers=bearer(token()))
    await inside.receive_json()
    held = [raw(server, f"127.0.1.{i}") for i in range(35)]
    answers = []
    for connection in held:
        connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: h\r\n\r\n")
        answers.append((await asyncio.to_thread(connection.recv, 4096)).decode())
    refused = [answer for answer in answers if answer.startswith("HTTP/1.1 503")]
    assert 5 <= len(refused) <= 7
    assert all("Retry-After: 5\r\n" in answer and '"server_full"' in answer for answer in refused)
    await inside.send_json({"type": "ping"})
    assert (await inside.receive_json())["type"] == "pong"
    for connection in held:
        connection.close()
    await inside.close()
    await quiet(server, http)
    assert (await counters(server, http))["server_full"] >= 5


async def test_connections_of_one_address(
    server: Server, http: aiohttp.ClientSession, stranger: aiohttp.ClientSession, address: str
) -> None:
    await quiet(server, http)
    held = [raw(server, address) for _ in range(8)]
    assert (
        await knock(stranger, "shortpoll", f"{server.url}/rooms/a", headers=bearer(token())) == "too_many_connections"
    )
    assert await knock(http, "shortpoll", f"{server.url}/rooms/a", headers=bearer(token())) == "ok"
    # Through a proxy of ours: counted for whom the proxy names, streams only.
    forwarded = bearer(token("p")) | {"X-Forwarded-For": f"9.9.9.9, {address}"}
    async with http.ws_connect(f"{server.url}/connect", headers=bearer(token())):
        with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
            await http.ws_connect(f"{server.url}/connect", headers=forwarded)
        assert caught.value.status == 429
    for connection in held:
        connection.close()
    await quiet(server, http)
    socket_ = await http.ws_connect(f"{server.url}/connect", headers=forwarded)
    assert (await socket_.receive_json())["type"] == "welcome"
    await socket_.close()


async def test_connections_of_one_user(server: Server, http: aiohttp.ClientSession, transport: str) -> None:
    if transport == "shortpoll":
        return  # is over before it could be counted
    await quiet(server, http)
    sockets = [await http.ws_connect(f"{server.url}/connect", headers=bearer(token("many"))) for _ in range(3)]
    outcome = await knock(http, transport, f"{server.url}/rooms/a", headers=bearer(token("many")))
    assert outcome == "too_many_connections"
    if transport == "websocket":
        async with http.ws_connect(f"{server.url}/connect", headers=bearer(token("many"))) as fourth:
            assert (await closed(fourth))[1] == 4000
    assert await knock(http, transport, f"{server.url}/rooms/a", headers=bearer(token("few"))) == "ok"
    for one in sockets:
        await one.close()


async def test_requests_of_one_address(
    server: Server, http: aiohttp.ClientSession, stranger: aiohttp.ClientSession
) -> None:
    """429 and Retry-After, before anybody is asked who they are."""
    await quiet(server, http)
    statuses = []
    for _ in range(30):
        async with stranger.get(f"{server.url}/rooms/a") as response:
            statuses.append(response.status)
            if response.status == 429:
                assert int(response.headers["Retry-After"]) >= 1
                assert (await response.json())["error"]["retry_after_ms"] > 0
    assert statuses[:20] == [401] * 20
    assert statuses.count(429) >= 8
    # The edge's streams draw on the same bucket; other addresses do not.
    assert await knock(stranger, "sse", f"{server.url}/rooms/a", headers=bearer(token())) == "rate_limited"
    assert await knock(http, "shortpoll", f"{server.url}/rooms/a", headers=bearer(token())) == "ok"


async def test_commands_of_one_connection(
    server: Server, http: aiohttp.ClientSession, stranger: aiohttp.ClientSession
) -> None:
    """Slowed down with an error now and then, and nothing that was not refused is lost."""
    await quiet(server, http)
    async with stranger.ws_connect(f"{server.url}/connect", headers=bearer(token())) as connection:
        await connection.receive_json()
        for n in range(25):
            await connection.send_str(json.dumps({"type": "leave", "room": f"r{n}", "id": str(n)}))
        codes = [(await connection.receive_json())["code"] for _ in range(25)]
        assert set(codes) == {"not_joined", "rate_limited"}
        assert codes[:10] == ["not_joined"] * 10
    async with http.ws_connect(f"{server.url}/connect", headers=bearer(token())) as connection:
        await connection.receive_json()
        for n in range(100):
            await connection.send_json({"type": "leave", "room": f"r{n}"})
        assert {(await connection.receive_json())["code"] for _ in range(100)} == {"not_joined"}


async def test_publishes_of_one_user(
    server: Server, http: aiohttp.ClientSession, stranger: aiohttp.ClientSession
) -> None:
    """Over all their connections and transports; back ends and administrators are not limited."""
    await quiet(server, http)
    many = [{"room": "a", "data": n} for n in range(12)]
    async with stranger.post(f"{server.url}/publish", json=many, headers=bearer(token("pub"))) as response:
        assert response.status == 201
    async with stranger.post(f"{server.url}/publish", json=many, headers=bearer(token("pub"))) as response:
        assert response.status == 429
    async with stranger.ws_connect(f"{server.url}/rooms/a", headers=bearer(token("pub"))) as connection:
        for _ in range(2):
            await connection.receive_json()
        for n in range(6):
            await connection.send_json({"type": "message", "id": str(n), "text": "x"})
        async with asyncio.timeout(WAIT_S):
            while (event := await connection.receive_json())["type"] != "error":
                pass
        assert (event["code"], event["id"] in "345") == ("rate_limited", True)
        assert event["retry_after_ms"] > 0
    async with stranger.post(
        f"{server.url}/publish", json=many * 5, headers=bearer(token("r", rooms=ADMIN))
    ) as response:
        assert response.status == 201
    async with http.post(f"{server.url}/publish", json=many * 5, headers=bearer(token("backend"))) as response:
        assert response.status == 201


async def test_slow_heads_and_silence(server: Server, http: aiohttp.ClientSession) -> None:
    """Whoever does not finish a request within `handshake_s` is cut; that is all it costs (slowloris)."""
    held = [raw(server, f"127.0.2.{i}") for i in range(10)]
    for n, connection in enumerate(held):
        connection.sendall(b"GET /rooms/a HTTP/1.1\r\nHost: h\r\n"[: 3 * n])
    for connection in held:
        assert await asyncio.to_thread(connection.recv, 100) == b""  # or it would time out
        connection.close()


async def test_heads_that_are_too_long(server: Server) -> None:
    for start in (b"GET /rooms/a HTTP/1.1\r\nHost: h\r\n", b"POST /rooms/a HTTP/1.1\r\nHost: h\r\n"):
        connection = raw(server, "127.0.3.1")
        connection.sendall(start + b"X: " + b"x" * 17_000)
        assert b" 431 " in await asyncio.to_thread(connection.recv, 4096)
        connection.close()


async def test_rates_count_work(server: Server, address: str, stranger: aiohttp.ClientSession) -> None:
    """Not requests: a hundred rooms cost what they cost, before anybody is asked who they are; and so do bytes."""
    rooms = "&".join(f"room=a{n}" for n in range(100))
    statuses = []
    for _ in range(3):
        async with stranger.get(f"{server.url}/connect?{rooms}&since=now") as response:
            statuses.append(response.status)
    assert statuses == [401, 429, 429]
    user = bearer(token("bytes"))
    other = aiohttp.TCPConnector(local_addr=(next(ADDRESSES), 0))
    async with aiohttp.ClientSession(connector=other) as http:
        statuses = []
        for _ in range(5):
            async with http.post(f"{server.url}/rooms/a", json={"data": "x" * 60_000}, headers=user) as response:
                statuses.append(response.status)
        assert statuses == [201, 201, 201, 429, 429]
