"""Links that break and readers that do not read."""

import asyncio
import json
import random
import socket
import time
from pathlib import Path

import aiohttp
import pytest

from tests.support import TRANSPORTS, Follower, Proxy, Server, client, publish, publish_many, publish_surely
from trunkline import Hub, Retention
from trunkline.core.message import Draft
from trunkline.core.position import Start
from trunkline.stores import SqliteStore

MESSAGES = 16_000
CUT_EVERY_S = 0.02


async def test_cut_at_random_while_thousands_are_published(tmp_path: Path) -> None:
    """Readers and publishers of all transports behind a proxy that resets a random connection 50 times a second:
    every reader sees 1..n, each once, in order; every id is stored once (R1, R2)."""
    rng = random.Random(1)
    with Server(store=f"sqlite:///{tmp_path}/log.db") as server:
        async with Proxy(server.port) as proxy, client() as http:
            followers = [Follower(kind, http, proxy.url, "storm") for kind in TRANSPORTS for _ in range(3)]
            acked: dict[str, int] = {}

            async def by_post(name: str, count: int) -> None:
                for n in range(count):
                    receipt = await publish_surely(http, proxy.url, "storm", n, f"{name}-{n}")
                    acked[f"{name}-{n}"] = receipt["offset"]

            async def by_websocket(name: str, count: int) -> None:
                waiting = {f"{name}-{n}": n for n in range(count)}
                while waiting:
                    try:
                        async with http.ws_connect(f"{proxy.url}/connect") as connection:
                            for message_id, n in list(waiting.items())[:100]:
                                await connection.send_json(
                                    {"type": "message", "room": "storm", "id": message_id, "data": n}
                                )
                            while waiting:
                                frame = await connection.receive(timeout=5)
                                if frame.type is not aiohttp.WSMsgType.TEXT:
                                    break
                                event = json.loads(frame.data)
                                if event["type"] == "ack":
                                    acked[event["id"]] = event["offset"]
                                    del waiting[event["id"]]
                                    if len(waiting) % 100 == 0:
                                        break
                    except (aiohttp.ClientError, OSError, KeyError, TimeoutError):
                        continue

            async def storm() -> None:
                while True:
                    proxy.reset(rng)
                    await asyncio.sleep(CUT_EVERY_S)

            weather = asyncio.ensure_future(storm())
            await asyncio.gather(
                *[by_post(f"post{n}", MESSAGES // 16) for n in range(8)],
                *[by_websocket(f"socket{n}", MESSAGES // 16) for n in range(8)],
            )
            weather.cancel()
            head = len(acked)
            for follower in followers:
                await follower.until(head, 60)
                await follower.stop()
    assert proxy.broken > 100
    assert sorted(acked.values()) == list(range(1, head + 1))
    for follower in followers:
        assert follower.gaps == []
        assert follower.offsets == list(range(1, head + 1)), follower.start
        assert {message["id"]: message["offset"] for message in follower.messages} == acked
    assert sum(follower.failures for follower in followers) > 20


async def test_a_reader_that_never_reads(http: aiohttp.ClientSession) -> None:
    """It adds little memory, delays nobody, and when it reads at last it has everything (R5, R14)."""
    with Server() as server, socket.create_connection(("127.0.0.1", server.port)) as stuck:
        stuck.sendall(b"GET /rooms/busy HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n")
        while b"retry: " not in stuck.recv(4096):  # it has joined; from here on it does not read
            pass
        quick = Follower("websocket", http, server.url, "busy")
        await publish(http, server.url, "busy", "first")
        await quick.until(1)
        await publish_many(http, server.url, "busy", ["x" * 1000] * 2000)  # fills the tail, which is everybody's
        await quick.until(2001)
        before = server.memory()
        for _ in range(8):
            await publish_many(http, server.url, "busy", ["x" * 1000] * 1000)
        await quick.until(10_001)
        # Ten megabytes went by. The memory store itself keeps them: 1.2 KB each, and no more than that was added.
        assert server.memory() - before < 8000 * 1700 + 2_000_000
        assert (await server.statistics(http))["stalls"] >= 1
        await quick.stop()
        seen: list[int] = []
        rest = b""
        stuck.settimeout(20)
        while len(seen) < 10_001:
            *lines, rest = (rest + stuck.recv(1 << 20)).split(b"\n")
            seen += [
                json.loads(line[6:])["offset"] for line in lines if line.startswith(b"data: {") and line.endswith(b"}")
            ]
            if rest.startswith(b"data: ") and len(rest) > 1 << 20:
                raise AssertionError("a line without an end")
    assert seen == list(range(1, 10_002))


async def test_a_silent_network(http: aiohttp.ClientSession, tmp_path: Path) -> None:
    """Nothing passes for a while, nothing is reset: everything arrives afterwards, once."""
    with Server(store=f"sqlite:///{tmp_path}/log.db") as server:
        async with Proxy(server.port) as proxy:
            followers = [Follower(kind, http, proxy.url, "r") for kind in TRANSPORTS]
            await publish_many(http, server.url, "r", list(range(10)))
            for follower in followers:
                await follower.until(10)
            hanging = proxy.hang()
            await publish_many(http, server.url, "r", list(range(500)))
            hanging.end()
            for follower in followers:
                await follower.until(510)
                await follower.stop()
                assert follower.offsets == list(range(1, 511))


@pytest.mark.parametrize("kind", TRANSPORTS)
async def test_overtaken_by_retention_while_connected(http: aiohttp.ClientSession, tmp_path: Path, kind: str) -> None:
    """A reader so slow that its messages are trimmed: a gap says which, and what follows has no hole."""
    config = tmp_path / "t.toml"
    config.write_text("[retention]\nmessages_max = 1500\n[tuning]\ntail_messages_max = 100\n")
    with Server("--config", str(config), store=f"sqlite:///{tmp_path}/log.db") as server:
        async with Proxy(server.port) as proxy:
            follower = Follower(kind, http, proxy.url, "r")
            await publish(http, server.url, "r", "first")
            await follower.until(1)
            hanging = proxy.hang()
            for _ in range(12):
                await publish_many(http, server.url, "r", ["x" * 900] * 1000)
            hanging.end()
            while not follower.offsets or follower.offsets[-1] < 12_001:
                await follower.until(len(follower.messages) + 1)
            await follower.stop()
    lost = {n for gap in follower.gaps for n in range(gap["from"], gap["to"] + 1)}
    assert {gap["reason"] for gap in follower.gaps} <= {"slow", "trimmed"}
    assert sorted([*follower.offsets, *lost]) == list(range(1, 12_002))
    assert follower.offsets == sorted(follower.offsets)


async def test_resume_costs_the_same_in_a_long_log(tmp_path: Path) -> None:
    """Ten messages behind the head: not slower in a log of 300,000 than in one of 1,000 (R4)."""

    async def cost(count: int) -> float:
        store = SqliteStore(tmp_path / f"{count}.db", Retention())
        async with Hub(store) as hub:
            for at in range(0, count, 10_000):
                batch = [Draft("r", None, None, 1, b"%d" % n) for n in range(at, min(count, at + 10_000))]
                await store.append(batch)
            times = []
            for _ in range(300):
                began = time.perf_counter()
                # From the store, not from the tail: what a resume costs on a worker that has just started.
                page = await store.read("r", count - 10, 100, 1 << 20)
                times.append(time.perf_counter() - began)
                assert len(page.messages) == 10
            assert (await hub._engine.pages.read("r", Start("after", count - 10))).messages[0].offset == count - 9
        return sorted(times)[len(times) // 2]

    short, long = await cost(1000), await cost(300_000)
    assert long < short * 3 + 0.0005, (short, long)
