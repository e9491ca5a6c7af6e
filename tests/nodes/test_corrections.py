"""Redacting and erasing on several nodes, with readers on every transport, and with nodes that die meanwhile."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.redis_servers import RedisServer, needs_redis
from tests.stores.support import files_with
from tests.support import TRANSPORTS, WAIT_S, Follower, Server, publish_many, stream, until
from trunkline.access.issuer import Issuer
from trunkline.access.jwt import sign
from trunkline.core.grant import EVERYTHING, Permissions

SECRET = "4111111111111111"
KEY = "k" * 32
READERS = 200
ROOMS = 1_000  # 10,000 in tests/interop


def token(user: str, permissions: Permissions) -> str:
    return sign(Issuer(secret=KEY), user, 3600, permissions)


ADMIN = {"Authorization": f"Bearer {token('root', Permissions(admin=('*',)))}"}
READER = {"Authorization": f"Bearer {token('reader', EVERYTHING)}"}
ENVIRONMENT = {
    "TRUNKLINE_AUTH": "jwt",
    "TRUNKLINE_JWT__SECRET": KEY,
    "TRUNKLINE_LIMITS__CONNECTIONS_PER_USER_MAX": "1000",
}


class Store:
    """Where several nodes keep their log."""

    def __init__(self, url: str, folder: Path) -> None:
        self.url = url
        self.folder = folder


@pytest.fixture(params=["sqlite", pytest.param("redis", marks=needs_redis)])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    if request.param == "sqlite":
        yield Store(f"sqlite:///{tmp_path}/log.db?shared=1", tmp_path)
    else:
        with RedisServer(tmp_path) as redis:
            yield Store(redis.url, tmp_path)


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    timeout = aiohttp.ClientTimeout(total=None, connect=5)
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(timeout=timeout, connector=connector, headers=READER) as session:
        yield session


async def ask(http: aiohttp.ClientSession, method: str, url: str, body: Any = None) -> Any:
    async with http.request(method, url, json=body, headers=ADMIN) as response:
        answer = await response.json()
        assert response.status < 300, answer
        return answer


async def all_of(http: aiohttp.ClientSession, url: str, room: str, transport: str, since: str, head: int) -> list[Any]:
    """What a client that comes back is given: all items of a room up to its head."""
    items = []
    async with asyncio.timeout(WAIT_S):
        async for kind, body, position in stream(transport, http, url, room, {"since": since}):
            items.append((kind, body))
            if int(position.rpartition(".")[2]) >= head:
                break
    return items


async def nobody_is_served(http: aiohttp.ClientSession, url: str, room: str, head: int, text: str) -> None:
    """By any way of reading; and one who comes back behind a message is told of its redaction."""
    for transport in TRANSPORTS:
        for since in ("start", "1", "2", "3", "6"):
            items = await all_of(http, url, room, transport, since, head)
            assert text not in json.dumps(items), (url, transport, since)
            assert [body["redacts"] for kind, body in items if kind == "redacted"] == [[3]]
    for address in (f"/rooms/{room}?last=100", f"/connect?room={room}&since={room}=2", f"/admin/rooms/{room}?last=100"):
        async with http.get(url + address, headers=ADMIN) as response:
            assert response.status == 200
            assert text not in await response.text()


async def test_a_redacted_message_is_served_to_nobody(store: Store, http: aiohttp.ClientSession) -> None:
    """200 readers on four transports are connected, 200 are away, and one node is down."""
    async with AsyncExitStack() as stack:
        nodes = [stack.enter_context(Server(store=store.url, environment=ENVIRONMENT)) for _ in range(3)]
        urls = [node.url for node in nodes]
        receipts = await publish_many(http, urls[0], "r", ["1", "2", SECRET, "4", "5", "6", "7"])
        epoch = receipts[0]["epoch"]
        until(lambda: files_with(store.folder, SECRET), "the data is in a file")
        followers = [
            Follower(TRANSPORTS[n % 4], http, urls[n % 2], "r", since=("start", "now")[n // 4 % 2])
            for n in range(READERS)
        ]
        for n, follower in enumerate(followers):
            if n // 4 % 2 == 0:
                await follower.until(7)
        nodes[2].kill()
        redacted = await ask(http, "POST", f"{urls[0]}/rooms/r/redactions", {"offset": 3, "epoch": epoch})
        assert (redacted["redacted"], redacted["offset"], redacted["unpurged"]) == ([3], 8, [])
        assert len(redacted["missing_nodes"]) <= 1
        assert files_with(store.folder, SECRET) == []
        # From here on no way of reading has it.
        head = 8
        for url in urls[:2]:
            await nobody_is_served(http, url, "r", head, SECRET)
        await publish_many(http, urls[1], "r", ["9"])
        for n, follower in enumerate(followers):
            await follower.until_redacted()
            await follower.until(8 if n // 4 % 2 == 0 else 1)
            [redaction] = follower.redactions
            assert (redaction["offset"], redaction["redacts"]) == (8, [3])
            assert follower.gaps == []
        # Those that were away, wherever they stood, on every node and transport.
        nodes[2].start()
        away = [all_of(http, urls[n % 3], "r", TRANSPORTS[n // 3 % 4], f"{epoch}.{n % 8}", 9) for n in range(READERS)]
        for n, items in enumerate(await asyncio.gather(*away)):
            assert SECRET not in json.dumps(items)
            offsets = [body["offset"] for _, body in items]
            assert offsets == list(range(n % 8 + 1, 10))
            assert [body["redacts"] for kind, body in items if kind == "redacted"] == [[3]]
        # It is published again under its id: nothing is stored.
        for follower in followers:
            await follower.stop()
        for node in nodes:
            node.kill()
        for node in nodes:
            node.start()
            await nobody_is_served(http, node.url, "r", 9, SECRET)
        assert files_with(store.folder, SECRET) == []


async def test_an_erased_user_is_nowhere_after_a_node_was_killed(store: Store, http: aiohttp.ClientSession) -> None:
    """In many rooms; the node that erases is killed in the middle, and another goes on."""
    user = "ana-mustermann"
    author = {"Authorization": f"Bearer {token(user, EVERYTHING)}"}
    names = [f"room-{n:05}" for n in range(ROOMS)]
    async with AsyncExitStack() as stack:
        environment = ENVIRONMENT | {"TRUNKLINE_FORWARDED_ALLOW_IPS": "127.0.0.1"}
        nodes = [stack.enter_context(Server(store=store.url, environment=environment)) for _ in range(2)]
        for at in range(0, ROOMS, 500):
            some = names[at : at + 500]
            theirs = [{"room": name, "data": f"{SECRET} of {name}", "id": f"{user}-{name}"} for name in some]
            others = [{"room": name, "data": "stays"} for name in some]
            for body, headers in ((others, READER), (theirs, author)):
                async with http.post(f"{nodes[0].url}/publish", json=body, headers=headers) as response:
                    assert response.status == 201, await response.text()
        async with http.ws_connect(f"{nodes[1].url}/rooms/room-00001", headers=author) as socket:
            for _ in range(2):
                await socket.receive_json()
            job = await ask(http, "POST", f"{nodes[0].url}/admin/erasures", {"user": user})
            async with asyncio.timeout(WAIT_S):
                assert (await socket.receive_json())["code"] == "disconnected"
        assert job["state"] == "running"
        async with asyncio.timeout(60):
            while (
                not (now := await ask(http, "GET", f"{nodes[0].url}/admin/erasures/{job['id']}"))["rooms"] > ROOMS // 10
            ):
                assert now["state"] == "running"
                await asyncio.sleep(0.02)
        nodes[0].kill()
        async with asyncio.timeout(120):
            while (now := await ask(http, "GET", f"{nodes[1].url}/admin/erasures/{job['id']}"))["state"] != "done":
                await asyncio.sleep(0.1)
        assert now["user"] is None
        assert ROOMS - 50 <= now["messages"] <= ROOMS
        assert now["unpurged"] == []
        nodes[0].start()
        for text in (SECRET, user):
            assert files_with(store.folder, text) == []
        for n in (0, 1, ROOMS // 2, ROOMS - 1):
            for node in nodes:
                async with http.get(f"{node.url}/rooms/{names[n]}?since=start") as response:
                    page = await response.json()
                assert [message["data"] for message in page["messages"]] == ["stays", None]
                assert page["messages"][1]["from"] is None
                assert (page["head"], page["redactions"][0]["erased"]) == (3, True)
        audit = await ask(http, "GET", f"{nodes[1].url}/rooms/$audit?since=start")
        [entry] = [message["data"] for message in audit["messages"] if message["data"]["action"] == "erase"]
        assert (entry["by"], entry["user_hash"]) == ("root", job["user_hash"])
        found, after = 0, ""
        while after is not None:
            page = await ask(http, "GET", f"{nodes[0].url}/admin/rooms?prefix=room-&after={after}&limit=500")
            found, after = found + len(page["rooms"]), page["next"]
        assert found == ROOMS
