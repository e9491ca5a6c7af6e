"""Ways around who may do what, and how much: each was tried against a running server, and got through once."""

from __future__ import annotations

import asyncio
import json
import math
import socket
import ssl
import time
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import jwt
import pytest

from tests.access.conftest import ours
from tests.access.support import ADMIN, SECRET, bearer, closed, knock, serving, stream_of, token
from tests.server.test_tls import certify
from tests.support import WAIT_S, Server
from trunkline import Credentials, Grant, Hub, Issuer, JwtAuth
from trunkline.core.address_limits import AddressLimits
from trunkline.core.limits import Limits
from trunkline.core.rate import Bucket
from trunkline.stores.base import Head

AUTH = JwtAuth([Issuer(secret=SECRET)])
STRANGER = "127.0.0.2"


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Our own server, with small limits."""
    folder = tmp_path_factory.mktemp("hostile")
    config = folder / "trunkline.toml"
    config.write_text(
        f'auth = "jwt"\nforwarded_allow_ips = ["127.0.0.1"]\n[jwt]\nsecret = "{SECRET}"\n'
        "[limits]\nhandshake_s = 1.0\nconnections_max = 60\n"
        "connections_per_address_max = 10\nrequests_per_address_per_s = 0.5\nrequests_per_address_burst = 30\n"
        "publishes_per_user_burst = 20\npublishes_per_user_per_s = 0.05\n"
    )
    with Server("--config", str(config), store=f"sqlite:///{folder}/log.db") as running:
        yield running


def raw(server: Server, source: str = STRANGER) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", server.port), 5, (source, 0))
    connection.settimeout(5)
    return connection


def answered(connection: socket.socket) -> bytes:
    """All that comes until the end."""
    data = b""
    try:
        while piece := connection.recv(65536):
            data += piece
    except TimeoutError:
        raise AssertionError("the connection was not ended") from None
    except OSError:
        pass
    return data


def ended(connection: socket.socket) -> bool:
    """Whether the other side has ended it, as far as that is known here."""
    connection.setblocking(False)
    try:
        return connection.recv(1) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True


# ── In a request ──


async def test_trailers_are_no_headers(own: Server) -> None:
    """Neither a token nor an address counts that stands behind the body, and a million of them cost nothing."""
    head = b"POST /rooms/a HTTP/1.1\r\nHost: h\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n"
    connection = raw(own)
    connection.sendall(head + b"2\r\nhi\r\n0\r\nAuthorization: Bearer " + token().encode() + b"\r\n\r\n")
    assert b" 401 " in await asyncio.to_thread(connection.recv, 4096)
    connection.close()
    before = own.memory()
    connection = raw(own)
    connection.sendall(head + b"0\r\n")
    try:
        for _ in range(200):
            await asyncio.to_thread(connection.sendall, b"a:\r\n" * 20_000)
    except OSError:
        pass  # cut after handshake_s
    assert own.memory() - before < 30_000_000
    connection.close()
    # One that does not end is not waited for.
    for start in (b"0\r\na: ", b"0\r\na", b"1;a="):
        connection = raw(own)
        connection.sendall(head + start)
        sent = 0
        try:
            for _ in range(200):
                await asyncio.to_thread(connection.sendall, b"x" * 100_000)
                sent += 100_000
        except OSError:
            pass
        assert sent < 10_000_000
        connection.close()


async def test_polls_that_nobody_waits_for(server: Server, http: aiohttp.ClientSession) -> None:
    """Whoever goes away while a poll waits is gone at once: nothing is held for them, or counted."""
    headers = bearer(token("leaver"))
    admin = bearer(token("root", rooms=ADMIN))
    for n in range(20):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await http.get(f"{server.url}/rooms/a?since=now&wait=60&n={n}", headers=headers)
    async with asyncio.timeout(WAIT_S):
        while True:
            async with http.get(f"{server.url}/healthz", headers=admin) as response:
                if (await response.json())["guests"] == 0:
                    break
            await asyncio.sleep(0.05)


async def test_a_stream_that_is_gone_before_its_answer(
    http: aiohttp.ClientSession, caplog: pytest.LogCaptureFixture
) -> None:
    """Refusing somebody who has left, twice, is nothing that a log should hold (R58)."""
    hub = Hub("memory:", auth=AUTH)
    decided = asyncio.Event()
    answer = [True]

    @hub.authorize
    async def may(grant: Grant, action: str, room: str) -> bool:
        await decided.wait()
        return answer[0]

    async with serving(hub) as urls:
        for url in urls:
            decided.clear()
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.3):
                    await knock(http, "sse", f"{url}/rooms/a", headers=bearer(token()))
            answer[0] = False
            refusals = sum(hub.statistics()["refusals"].values())
            decided.set()
            async with asyncio.timeout(WAIT_S):
                while sum(hub.statistics()["refusals"].values()) == refusals:
                    await asyncio.sleep(0.01)
            answer[0] = True
            rooms = "room=r1&room=r2&room=r3"
            async with stream_of(http, f"{url}/connect?{rooms}", token("three")) as stream:
                await anext(stream)
                answer[0] = False
                await hub.recheck("three")
                kinds = [event.get("event") async for event in stream]
            assert kinds.count("closed") == 1
            answer[0] = True
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


async def test_a_room_by_any_other_name(own: Server, http: aiohttp.ClientSession) -> None:
    """Percent-encoded, it is the same room under the same limits."""
    sockets = [raw(own, "127.0.4.1") for _ in range(12)]
    head = "GET /%72ooms/a HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    head += "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
    statuses = []
    for connection in sockets:
        connection.sendall(head.encode())
        statuses.append((await asyncio.to_thread(connection.recv, 4096))[9:12])
    assert statuses.count(b"101") == 10
    assert statuses.count(b"429") == 2
    # A message is bounded there as everywhere: too large is said by the head of its frame.
    sockets[0].sendall(b"\x81\xff" + (1 << 20).to_bytes(8, "big") + b"abcd")
    assert b"\x03\xf1" in await asyncio.to_thread(answered, sockets[0])
    for connection in sockets:
        connection.close()


async def test_empty_lines_keep_nothing_alive(own: Server) -> None:
    connections = [raw(own, "127.0.4.2") for _ in range(2)]
    connections[0].sendall(b"\r\n\r\n")
    connections[1].sendall(b"GET /healthz HTTP/1.1\r\nHost: h\r\n\r\n")
    got = b""
    while b'{"status":"ok"}' not in got:
        got += await asyncio.to_thread(connections[1].recv, 4096)
    for _ in range(3):
        connections[1].sendall(b"\r\n")
        await asyncio.sleep(0.5)  # longer in all than the handshake time
    for connection in connections:
        connection.settimeout(10)
        assert await asyncio.to_thread(answered, connection) == b""
        connection.close()


async def test_an_upgrade_behind_a_running_poll(own: Server) -> None:
    """It is never answered first."""
    connection = raw(own, "127.0.4.3")
    head = f"GET /rooms/a?since=now&wait=2 HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer {token()}\r\n\r\n"
    connection.sendall(
        head.encode() + b"GET /rooms/a HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"
    )
    got = await asyncio.to_thread(answered, connection)
    assert got.startswith(b"HTTP/1.1 200")
    assert got.count(b"HTTP/1.1 426") == 1, got
    connection.close()


async def test_the_whole_list_counts(own: Server) -> None:
    """A list that is longer than the burst is paid for, later."""
    connector = aiohttp.TCPConnector(local_addr=("127.0.4.4", 0))
    async with aiohttp.ClientSession(connector=connector) as stranger:
        many = [{"room": "a", "data": n} for n in range(21)]
        statuses = []
        for _ in range(4):
            async with stranger.post(f"{own.url}/publish", json=many, headers=bearer(token("lists"))) as response:
                statuses.append(response.status)
        assert statuses == [201, 429, 429, 429]
        # Administrators of one room are none.
        headers = bearer(token("half", rooms=ADMIN | {"admin": ["x"]}))
        for expected in (201, 429):
            async with stranger.post(f"{own.url}/publish", json=many, headers=headers) as response:
                assert response.status == expected


def test_a_full_bucket_lends() -> None:
    bucket = Bucket(10, 0)
    assert bucket.take(1, 10, 0, 25) == 0
    assert bucket.take(1, 10, 0) == pytest.approx(16)
    assert bucket.take(1, 10, 16) == 0
    assert bucket.take(1, 10, 16) == pytest.approx(1)


async def test_what_is_not_there_counts_too(own: Server) -> None:
    connector = aiohttp.TCPConnector(local_addr=("127.0.4.5", 0))
    async with aiohttp.ClientSession(connector=connector) as stranger:
        statuses = []
        for n in range(60):
            async with stranger.get(f"{own.url}/nothing/{n}") as response:
                statuses.append(response.status)
    assert statuses[:30] == [404] * 30
    assert 429 in statuses


def test_addresses() -> None:
    limits = AddressLimits(Limits(), ["127.0.0.1", "10.0.0.0/8", "::1"])
    for peer, forwarded, key in (
        ("127.0.0.1", "", None),
        ("127.0.0.1", "9.9.9.9", "9.9.9.9"),
        ("127.0.0.1", "9.9.9.9:4711", "9.9.9.9"),
        ("127.0.0.1", "1.1.1.1, 9.9.9.9, 10.1.2.3", "9.9.9.9"),
        ("127.0.0.1", "10.9.9.9", None),
        ("8.8.8.8", "9.9.9.9", "8.8.8.8"),
        ("127.0.0.1", "[2001:db8:1:2:3:4:5:6]:80", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::9", "", "2001:db8:1:2::/64"),
        ("::ffff:8.8.8.8", "", "8.8.8.8"),
        ("::ffff:127.0.0.1", "", None),
        ("fe80::1%eth0", "", "fe80::/64"),
        ("127.0.0.1", "unknown", "unknown"),
        ("127.0.0.1", " , ,", None),
    ):
        assert limits.key(peer, forwarded) == key, (peer, forwarded)
    assert len(limits.key("127.0.0.1", "x" * 9000) or "") == 64
    assert AddressLimits(Limits(), ["*"]).key("8.8.8.8") is None


async def test_one_address_does_not_fill_the_server(own: Server, http: aiohttp.ClientSession) -> None:
    """What is beyond its limit is cut at once, save a few that get an answer."""
    held = [raw(own, "127.0.4.6") for _ in range(70)]
    other = raw(own, "127.0.4.7")
    other.sendall(b"GET /healthz HTTP/1.1\r\nHost: h\r\n\r\n")
    assert b" 200 " in await asyncio.to_thread(other.recv, 4096)
    for connection in [*held, other]:
        connection.close()


async def test_tls_handshakes_count(tmp_path: Path) -> None:
    """Whoever begins one and goes no further is a connection like others, and cut in time; h2 is refused like h1."""
    cert, key = certify(tmp_path, "first")
    config = tmp_path / "trunkline.toml"
    config.write_text("forwarded_allow_ips = []\n[limits]\nhandshake_s = 4.0\nconnections_per_address_max = 5\n")
    arguments = ("--config", str(config), "--tls-cert", str(cert), "--tls-key", str(key), "--http2")
    trust = ssl.create_default_context(cafile=str(cert))
    trust.set_alpn_protocols(["h2"])
    with Server(*arguments) as server:
        held = [raw(server) for _ in range(20)]
        over: set[socket.socket] = set()
        async with asyncio.timeout(3):
            while len(over) < 20 - 5 - 4:
                over |= {connection for connection in held if ended(connection)}
                await asyncio.sleep(0.02)
        assert len(over) == 20 - 5 - 4
        async with asyncio.timeout(WAIT_S):
            for connection in held:
                connection.settimeout(10)
                assert await asyncio.to_thread(answered, connection) == b""
                connection.close()

        async def h2() -> bool:
            try:
                reader, writer = await asyncio.open_connection(
                    "127.0.0.1", server.port, ssl=trust, server_hostname="localhost", local_addr=("127.0.5.1", 0)
                )
            except OSError:
                return False
            opened.append(writer)
            try:
                async with asyncio.timeout(0.3):
                    return await reader.read(1) != b""
            except TimeoutError:
                return True
            except OSError:
                return False

        opened: list[asyncio.StreamWriter] = []
        assert [await h2() for _ in range(8)] == [True] * 5 + [False] * 3
        # Those that never ask for anything are cut as well.
        async with asyncio.timeout(WAIT_S):
            while not await h2():
                await asyncio.sleep(0.2)
        for writer in opened:
            writer.transport.abort()


# ── Between a question and its answer ──


async def test_a_grant_that_ends_while_a_hook_thinks(http: aiohttp.ClientSession) -> None:
    """By its time, and by being revoked: whatever was waited for, it does not count afterwards."""
    hub = Hub("memory:", auth=AUTH)
    decided = asyncio.Event()
    asked: list[str] = []

    @hub.authorize
    async def may(grant: Grant, action: str, room: str) -> bool:
        asked.append(action)
        await decided.wait()
        return True

    async def thinking(count: int) -> None:
        async with asyncio.timeout(WAIT_S):
            while len(asked) < count:
                await asyncio.sleep(0.01)

    async with serving(hub) as urls:
        for url in urls:
            room = f"{url}/rooms/a"
            asked.clear()
            decided.clear()
            ends = time.time() + 1.5
            late = bearer(token(exp=ends))
            knocks = [
                asyncio.ensure_future(knock(http, transport, room, headers=late))
                for transport in ("sse", "longpoll", "shortpoll")
            ]
            await thinking(3)
            await asyncio.sleep(ends + 0.1 - time.time())
            decided.set()
            assert set(await asyncio.gather(*knocks)) == {"token_expired"}
            asked.clear()
            decided.clear()
            gone = token("gone", jti=url)
            posting = asyncio.ensure_future(http.post(room, json={"data": "forbidden"}, headers=bearer(gone)))
            events = asyncio.ensure_future(knock(http, "sse", room, headers=bearer(gone)))
            polling = asyncio.ensure_future(knock(http, "longpoll", room, headers=bearer(gone)))
            connection = await http.ws_connect(f"{url}/connect", headers=bearer(gone))
            assert (await connection.receive_json())["type"] == "welcome"
            await connection.send_json({"type": "message", "room": "a", "text": "forbidden"})
            await thinking(4)
            await hub.revoke(token_id=url)
            decided.set()
            assert (await closed(connection))[1] == 4102
            assert {await events, await polling} == {"revoked"}
            assert (await posting).status == 401
            assert (await hub.page("a", since="start")).head == 0
            async with asyncio.timeout(WAIT_S):
                while len(hub._access.registry):
                    await asyncio.sleep(0.01)


async def test_a_lesser_token_while_rooms_are_being_opened(tmp_path: Path, http: aiohttp.ClientSession) -> None:
    """A stream of rooms that the log is still asked about gets none that the newer token does not permit."""
    hub = Hub(f"sqlite:///{tmp_path}/log.db", auth=AUTH)
    await hub.start()
    opening, read = asyncio.Event(), hub._engine.store.head
    for n in range(3):
        await hub.publish(f"r{n}", "secret")

    async def slowly(room: str) -> Head:
        opening.set()
        await asyncio.sleep(0.4)
        return await read(room)

    hub._engine.store.head = slowly  # type: ignore[method-assign]
    full, lesser = token("ana"), token("ana", rooms={"read": ["other"]})
    async with serving(hub) as urls:
        for number, url in enumerate(urls):
            async with http.ws_connect(f"{url}/connect?room=r{number}&since=start", headers=bearer(full)) as connection:
                await connection.send_json({"type": "auth", "token": lesser})
                kinds = []
                while "error" not in kinds:
                    event = await connection.receive_json()
                    kinds.append(event["type"])
                assert (event["code"], event["room"]) == ("forbidden", f"r{number}")
                assert "message" not in kinds[kinds.index("authenticated") :]
            opening.clear()
            rooms = "&".join(f"room=late{number}{n}" for n in range(3))
            stream = asyncio.ensure_future(
                http.get(f"{url}/connect?{rooms}", headers=bearer(full) | {"Accept": "text/event-stream"})
            )
            await opening.wait()
            response = await stream
            [registered] = [registered for registered in hub._access.registry if registered.grant.user == "ana"]
            async with http.post(f"{url}/sessions/{registered.session}/auth", headers=bearer(lesser)) as renewed:
                assert renewed.status == 200
            async with asyncio.timeout(WAIT_S):
                text = await response.text()
            assert '"code":"forbidden"' in text
            assert "secret" not in text


async def test_tickets_for_rooms_that_are_not_open(own: Server, http: aiohttp.ClientSession) -> None:
    for room in ("never-opened-1", "never-opened-2"):
        async with http.post(f"{own.url}/tickets", headers=bearer(token())) as response:
            ticket = (await response.json())["ticket"]
        assert await knock(http, "sse", f"{own.url}/rooms/{room}", params={"ticket": ticket}) == "ok"


async def test_a_body_that_ends_after_its_token(own: Server, http: aiohttp.ClientSession) -> None:
    """The question is asked again when the body is there."""
    for kind in ("revoked", "expired"):
        ends = time.time() + (60 if kind == "revoked" else 0.7)
        text = token("slow", jti=kind, exp=ends)
        connection = raw(own, "127.0.4.8")
        head = (
            f"POST /rooms/a HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer {text}\r\nContent-Type: application/json\r\n"
        )
        head += "Content-Length: 10\r\nExpect: 100-continue\r\n\r\n"
        connection.sendall(head.encode() + b'{"data"')
        assert b" 100 " in await asyncio.to_thread(connection.recv, 4096)  # the body is being read
        if kind == "revoked":
            admin = bearer(token("root", rooms=ADMIN))
            async with http.post(f"{own.url}/revoke", json={"token_id": "revoked"}, headers=admin) as response:
                assert response.status == 200
        else:
            await asyncio.sleep(ends + 0.1 - time.time())
        connection.sendall(b":1}")
        got = await asyncio.to_thread(connection.recv, 4096)
        assert b" 401 " in got, got
        connection.close()


async def test_a_hook_of_one_kind_alone(http: aiohttp.ClientSession) -> None:
    """`authorize` without `authenticate` is asked about everybody."""
    hub = Hub("memory:")

    @hub.authorize
    def nobody(grant: Grant, action: str, room: str) -> bool:
        return False

    async with serving(hub) as urls:
        for url in urls:
            for transport in ("sse", "longpoll", "shortpoll"):
                assert await knock(http, transport, f"{url}/rooms/a") == "forbidden"
            async with http.post(f"{url}/rooms/a", json={"data": 1}) as response:
                assert response.status == 403


async def test_a_hook_never_makes_an_administrator(http: aiohttp.ClientSession) -> None:
    hub = Hub("memory:", auth=AUTH)
    hub.authorize(lambda grant, action, room: True)
    async with serving(hub) as urls:
        for url in urls:
            async with http.post(f"{url}/disconnect", json={"user": "x"}, headers=bearer(token("eve"))) as response:
                assert response.status == 403


async def test_a_hook_that_never_answers(http: aiohttp.ClientSession) -> None:
    hub = Hub("memory:", limits=Limits(auth_s=1.0))

    @hub.authenticate
    async def who(_: Credentials) -> Grant | None:
        return await asyncio.Future[Grant | None]()

    async with serving(hub) as urls:
        for url in urls:
            async with http.ws_connect(f"{url}/rooms/a") as connection:
                assert (await closed(connection))[1] in (4100, 1011)
            for transport in ("sse", "longpoll", "shortpoll"):
                assert await knock(http, transport, f"{url}/rooms/a") == "internal"


# ── Claims of odd kinds ──


@pytest.mark.parametrize(
    "claims", [{"exp": "1999999999"}, {"exp": True}, {"exp": math.inf}, {"exp": math.nan}, {"sub": ["a"]}]
)
async def test_claims_of_the_wrong_kind(
    server: Server, http: aiohttp.ClientSession, transport: str, claims: dict[str, object]
) -> None:
    body = {"sub": "ana", "exp": time.time() + 60, "rooms": {"read": ["*"]}} | claims
    text = jwt.api_jws.encode(json.dumps(body).encode(), SECRET, "HS256")
    assert await knock(http, transport, f"{server.url}/rooms/a", headers=bearer(text)) in (
        "unauthorized",
        "token_expired",
    )


async def test_a_token_of_no_time_is_revoked_with_its_user(tmp_path: Path, http: aiohttp.ClientSession) -> None:
    body = {"sub": "timeless", "exp": time.time() + 60, "iat": math.nan, "rooms": {"read": ["*"]}}
    text = jwt.api_jws.encode(json.dumps(body).encode(), SECRET, "HS256")
    with ours("memory:", tmp_path) as server:
        assert await knock(http, "shortpoll", f"{server.url}/rooms/a", headers=bearer(text)) == "ok"
        admin = bearer(token("root", rooms=ADMIN))
        async with http.post(f"{server.url}/revoke", json={"user": "timeless"}, headers=admin) as response:
            assert response.status == 200
        assert await knock(http, "shortpoll", f"{server.url}/rooms/a", headers=bearer(text)) == "revoked"


# ── Readers who do not read ──


async def test_a_dismissed_reader_that_does_not_read(own: Server, http: aiohttp.ClientSession) -> None:
    admin = bearer(token("root", rooms=ADMIN))
    connection = raw(own, "127.0.0.1")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    head = "GET /rooms/full HTTP/1.1\r\nHost: h\r\nAccept: text/event-stream\r\n"
    connection.sendall(f"{head}Authorization: Bearer {token('deaf')}\r\n\r\n".encode())
    assert b"text/event-stream" in connection.recv(500)
    for _ in range(3):
        many = [{"room": "full", "data": "x" * 10_000}] * 100
        async with http.post(f"{own.url}/publish", json=many, headers=admin) as response:
            assert response.status == 201
    async with http.post(f"{own.url}/disconnect", json={"user": "deaf"}, headers=admin) as response:
        assert await response.json() == {"connections": 1, "missing_nodes": []}
    async with asyncio.timeout(WAIT_S):
        while True:
            async with http.get(f"{own.url}/healthz", headers=admin) as response:
                if (await response.json())["guests"] == 0:
                    break
            await asyncio.sleep(0.1)
    connection.close()


async def test_long_ids_make_small_pieces(own: Server, http: aiohttp.ClientSession) -> None:
    """Every event of a stream of many rooms names them all: what one write holds is bounded with that."""
    admin = bearer(token("root", rooms=ADMIN))
    many = [{"room": "busy", "data": 1}] * 1000
    async with http.post(f"{own.url}/publish", json=many, headers=admin) as response:
        assert response.status == 201
    names = "&".join(f"room={n}{'x' * 140}" for n in range(90))
    before = own.memory()
    held = []
    for _ in range(15):
        connection = raw(own, "127.0.0.1")
        head = f"GET /connect?room=busy&{names}&since=start HTTP/1.1\r\nHost: h\r\nAccept: text/event-stream\r\n"
        connection.sendall(f"{head}Authorization: Bearer {token('root', rooms=ADMIN)}\r\n\r\n".encode())
        held.append(connection)
    for connection in held:  # each has been sent something, and does not take the rest
        await asyncio.to_thread(connection.recv, 1, socket.MSG_PEEK)
    for _ in range(15):
        async with http.get(f"{own.url}/healthz", headers=admin) as response:
            assert response.status == 200
        assert own.memory() - before < 15 * 1_000_000 + 10_000_000
        await asyncio.sleep(0.1)
    for connection in held:
        connection.close()
    async with stream_of(http, f"{own.url}/connect?room=busy&{names}&since=start", token()) as stream:
        seen = []
        async with asyncio.timeout(WAIT_S):
            async for event in stream:
                if "data" in event and event.get("event") is None:
                    seen.append(json.loads(event["data"])["offset"])
                    if len(seen) == 1000:
                        break
    assert seen == list(range(1, 1001))
