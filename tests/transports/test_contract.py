"""One list of scenarios over every transport, on our server and on another ASGI server."""

import asyncio
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.support import TRANSPORTS, Follower, Server, publish, publish_many, stream

KEEP = 100


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


async def test_publish_then_read(server: Server, http: aiohttp.ClientSession, room: str, transport: str) -> None:
    """What was there before comes first, what is published then follows, all in order."""
    await publish(http, server.url, room, {"n": 1}, id="first")
    follower = Follower(transport, http, server.url, room)
    await follower.until(1)
    for n in range(2, 30):
        await publish(http, server.url, room, {"n": n})
    await follower.until(29)
    await follower.stop()
    assert follower.offsets == list(range(1, 30))
    assert [m["data"]["n"] for m in follower.messages] == list(range(1, 30))
    first = follower.messages[0]
    assert list(first) == ["room", "offset", "id", "from", "at", "data"]
    assert (first["room"], first["id"], first["from"]) == (room, "first", None)


async def test_starts(server: Server, http: aiohttp.ClientSession, room: str, transport: str) -> None:
    """start, now, last=K and an offset (R7)."""
    receipts = await publish_many(http, server.url, room, list(range(1, 11)))
    epoch = receipts[0]["epoch"]
    for start, expected in (
        ({"since": "start"}, 1),
        ({"since": "0"}, 1),
        ({"since": "7"}, 8),
        ({"since": f"{epoch}.7"}, 8),
        ({"last": "3"}, 8),
        ({"last": "99"}, 1),
    ):
        async for kind, body, _ in stream(transport, http, server.url, room, start):
            assert (kind, body["offset"]) == ("message", expected), start
            break


async def test_now(server: Server, http: aiohttp.ClientSession, room: str, transport: str) -> None:
    """`now` gives what is published after it, and nothing before."""
    await publish_many(http, server.url, room, [1, 2, 3])
    follower = Follower(transport, http, server.url, room, since="now")
    later = Follower(transport, http, server.url, room)
    await later.until(3)
    while not follower.messages:
        await publish(http, server.url, room, 4)
        await asyncio.sleep(0.05)
    await follower.stop()
    await later.stop()
    assert follower.offsets[0] > 3


async def test_resume(server: Server, http: aiohttp.ClientSession, room: str, transport: str) -> None:
    """Ten connections, each reading a few: together they have everything once."""
    await publish_many(http, server.url, room, list(range(60)))
    start = {"since": "start"}
    seen: list[Any] = []
    while len(seen) < 60:
        count = 0
        async for _, body, position in stream(transport, http, server.url, room, start):
            seen.append(body["offset"])
            start = {"since": position}
            count += 1
            if count == 6:
                break
    assert seen == list(range(1, 61))


async def test_gap_when_trimmed(server: Server, http: aiohttp.ClientSession, room: str, transport: str) -> None:
    """A position that retention has passed: a gap with the exact range, then the earliest there is (R3)."""
    [first, *_] = await publish_many(http, server.url, room, list(range(KEEP * 3)))
    items = []
    async for item in stream(transport, http, server.url, room, {"since": f"{first['epoch']}.5"}):
        items.append(item)
        if len(items) == 3:
            break
    (kind, gap, after), (_, message, _), _ = items
    assert kind == "gap"
    assert (gap["from"], gap["reason"], gap["room"], gap["epoch"]) == (6, "trimmed", room, first["epoch"])
    assert gap["to"] >= KEEP * 2 - 2
    assert after == gap["next"] == f"{gap['epoch']}.{gap['to']}"
    assert message["offset"] == gap["to"] + 1


@pytest.mark.parametrize(("since", "reason"), [("zzzz.3", "epoch"), ("99", "future")])
async def test_gap_of_another_log(
    server: Server, http: aiohttp.ClientSession, room: str, transport: str, since: str, reason: str
) -> None:
    """Another epoch, or an offset that the log does not have yet: said at once, and reading goes on."""
    await publish_many(http, server.url, room, [1, 2])
    follower = Follower(transport, http, server.url, room, since=since)
    await follower.until_gap()
    await publish(http, server.url, room, 3)
    await follower.until(3 if reason == "epoch" else 1)
    await follower.stop()
    assert [gap["reason"] for gap in follower.gaps] == [reason]
    assert follower.offsets == ([1, 2, 3] if reason == "epoch" else [3])


async def test_gap_of_another_log_in_an_empty_room(
    server: Server, http: aiohttp.ClientSession, room: str, transport: str
) -> None:
    """An empty room answers too: silence would look like success."""
    follower = Follower(transport, http, server.url, room, since="zzzz.3")
    await follower.until_gap()
    await publish(http, server.url, room, 1)
    await follower.until(1)
    await follower.stop()
    assert [(gap["from"], gap["to"]) for gap in follower.gaps] == [(1, 0)]
    assert follower.offsets == [1]


async def test_empty_room_resumes_without_a_gap(
    server: Server, http: aiohttp.ClientSession, room: str, transport: str
) -> None:
    """The position of an empty room is as good as any other (CF#230)."""
    async with http.get(f"{server.url}/rooms/{room}?since=now") as response:
        position = (await response.json())["next"]
    assert position.endswith(".0")
    await publish(http, server.url, room, "first")
    follower = Follower(transport, http, server.url, room, since=position)
    await follower.until(1)
    await follower.stop()
    assert (follower.offsets, follower.gaps) == ([1], [])


async def test_two_readers_see_one_order(
    server: Server, http: aiohttp.ClientSession, room: str, transport: str
) -> None:
    """Twenty publishers at once; all readers of all transports agree (R6)."""
    followers = [Follower(kind, http, server.url, room) for kind in (*TRANSPORTS, transport)]

    async def chat(name: int) -> None:
        for n in range(4):
            await publish(http, server.url, room, [name, n])

    await asyncio.gather(*map(chat, range(20)))
    for follower in followers:
        await follower.until(80)
        await follower.stop()
    orders = [[message["data"] for message in follower.messages] for follower in followers]
    assert all(order == orders[0] for order in orders)
    for name in range(20):
        assert [n for who, n in orders[0] if who == name] == [0, 1, 2, 3]


async def test_odd_data(server: Server, http: aiohttp.ClientSession, room: str, transport: str) -> None:
    """Empty, null, deep, with line breaks and with every kind of character: it arrives as it was."""
    odd: list[Any] = ["", None, 0, [], {}, "a\nb\r\nc", "data: x\n\nid: 1", "\u2028\u0000é😀", [[[[1.5e-9]]]]]
    odd.append("x" * 60_000)
    await publish_many(http, server.url, room, odd[:-1])
    await publish(http, server.url, room, odd[-1])
    follower = Follower(transport, http, server.url, room)
    await follower.until(len(odd))
    await follower.stop()
    assert [message["data"] for message in follower.messages] == odd


async def test_publishing_twice(server: Server, http: aiohttp.ClientSession, room: str, transport: str) -> None:
    """The same id by POST, by header, by list and by WebSocket: one message (R2)."""
    first = await publish(http, server.url, room, 1, id="k")
    again = await publish(http, server.url, room, 2, id="k")
    async with http.post(f"{server.url}/rooms/{room}", data="3", headers={"Idempotency-Key": "k"}) as response:
        assert response.status == 200
        header = await response.json()
    async with http.ws_connect(f"{server.url}/rooms/{room}") as socket:
        await socket.send_json({"type": "message", "id": "k", "data": 4})
        while (ack := await socket.receive_json())["type"] != "ack":
            pass
    assert first["duplicate"] is False
    assert [receipt["duplicate"] for receipt in (again, header, ack)] == [True] * 3
    assert {receipt["offset"] for receipt in (first, again, header, ack)} == {1}
    follower = Follower(transport, http, server.url, room)
    await follower.until(1)
    await publish(http, server.url, room, "end")
    await follower.until(2)
    await follower.stop()
    assert [message["data"] for message in follower.messages] == [1, "end"]


async def test_changing_transports(server: Server, http: aiohttp.ClientSession, room: str) -> None:
    """1-20 by WebSocket, 21-40 by long poll, the rest by SSE and short poll: a position is all the state there is."""
    await publish_many(http, server.url, room, list(range(80)))
    start, seen = {"since": "start"}, []
    for transport in ("websocket", "long_poll", "sse", "short_poll"):
        async for _, body, position in stream(transport, http, server.url, room, start):
            seen.append(body["offset"])
            start = {"since": position}
            if len(seen) % 20 == 0:
                break
    assert seen == list(range(1, 81))


async def test_joining_while_a_publisher_runs(
    server: Server, http: aiohttp.ClientSession, room: str, transport: str
) -> None:
    """Joins in the middle of the traffic: what each sees has no hole and no overlap (R7)."""
    going = True

    async def chat() -> int:
        n = 0
        while going:
            await publish_many(http, server.url, room, [n, n, n])
            n += 3
        return n

    publisher = asyncio.ensure_future(chat())
    followers = []
    for n in range(40):
        start = [{"since": "now"}, {"last": "5"}, {"since": "start"}][n % 3]
        follower = Follower(transport, http, server.url, room, **start)
        followers.append(follower)
        await asyncio.sleep(0.003)
    going = False
    head = await publisher
    await publish(http, server.url, room, "end")
    for follower in followers:
        while not follower.messages or follower.messages[-1]["data"] != "end":
            await follower.until(len(follower.messages) + 1)
        await follower.stop()
        assert follower.offsets == list(range(follower.offsets[0], head + 2)), (follower.start, follower.gaps)
