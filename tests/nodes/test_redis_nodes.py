"""Nodes on one Redis, with clients of both languages on all transports, while one after the other dies (R28)."""

import asyncio
import json
import random
from contextlib import AsyncExitStack
from pathlib import Path

import aiohttp

from tests.client.support import Balancer, check, everybody, finish
from tests.redis_servers import RedisServer, needs_redis
from tests.support import WAIT_S, Server, events, publish

pytestmark = needs_redis


async def ready(node: Server) -> None:
    """Until a node has begun to serve: its port is there before that."""
    async with aiohttp.ClientSession() as http, asyncio.timeout(WAIT_S), http.get(f"{node.url}/readyz") as response:
        assert response.status == 200


async def test_nodes_and_redis_die(tmp_path: Path) -> None:
    """Every message once, in order, no gap; a Redis that was killed and is back costs nobody their connection."""
    rng = random.Random(28)
    with RedisServer(tmp_path) as redis:
        async with AsyncExitStack() as stack:
            nodes = [stack.enter_context(Server(store=redis.url)) for _ in range(3)]
            proxy = await stack.enter_async_context(Balancer([node.port for node in nodes]))
            agents, counts = await everybody(stack, proxy.url, 40)
            for node in nodes:
                node.kill()
                await asyncio.sleep(0.2)
                node.start()
                await ready(
                    node
                )  # one that loses the log while it starts ends, for whatever has started it to try again
                redis.kill()
                await asyncio.sleep(0.2)
                await asyncio.to_thread(redis.start)
                proxy.reset(rng)
            await finish(agents, counts)
        check(agents, counts)


async def test_while_redis_is_away(tmp_path: Path, http: aiohttp.ClientSession) -> None:
    """Who is connected stays, polls wait, publishes keep their order; and who comes is told to come again."""
    with RedisServer(tmp_path) as redis, Server(store=redis.url) as server:
        url = f"{server.url}/rooms/a"
        start = (await publish(http, server.url, "a", 0))["epoch"] + ".1"
        async with http.ws_connect(url) as socket, http.get(url, headers={"Accept": "text/event-stream"}) as response:
            stream = events(response.content)
            await anext(stream)
            reading = asyncio.ensure_future(anext(event async for event in stream if "data" in event))
            assert [(await socket.receive_json())["type"] for _ in range(2)] == ["welcome", "joined"]
            redis.kill()
            for n in (1, 2):
                await socket.send_json({"type": "message", "id": f"id-{n}", "data": n})
            for n in (1, 2):
                refused = await socket.receive_json()
                assert (refused["code"], refused["id"]) == ("store_unavailable", f"id-{n}")
                assert str(redis.port) not in refused["message"]  # where the log is, is not for everybody
                assert refused["retry_after_ms"]
            polling = asyncio.ensure_future(http.get(url, params={"since": start, "wait": "25"}))
            async with http.get(url, params={"since": start}) as short:
                assert short.status == 503
                assert short.headers["Retry-After"] == "1"
            async with http.get(url, headers={"Accept": "text/event-stream"}) as late:
                [event] = [event async for event in events(late.content)]
                assert event["event"] == "closed"
                assert json.loads(event["data"])["code"] == "store_unavailable"
            async with http.ws_connect(url) as late:
                assert [(await late.receive_json())["type"] for _ in range(2)] == ["welcome", "error"]
                assert (await late.receive()).data == 1013
            assert not polling.done()
            await asyncio.to_thread(redis.start)
            for n, answers in ((2, "error"), (1, "ack"), (2, "ack")):
                while True:  # the server may not know yet that it is back
                    await socket.send_json({"type": "message", "id": f"id-{n}", "data": n})
                    answer = await socket.receive_json()
                    while answer["type"] in ("message", "joined"):
                        answer = await socket.receive_json()
                    if answer["type"] == answers:
                        break
            async with await polling as answered:
                message, *_ = (await answered.json())["messages"]
                assert (message["offset"], message["data"]) == (2, 1)
            async with asyncio.timeout(WAIT_S):
                assert json.loads((await reading)["data"])["data"] == 1
