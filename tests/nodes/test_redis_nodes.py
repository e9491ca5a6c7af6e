"""Nodes on one Redis, with clients of both languages on all transports, while one after the other dies (R28)."""

import asyncio
import random
from contextlib import AsyncExitStack
from pathlib import Path

from tests.clients.support import Balancer, check, everybody, finish
from tests.redis_servers import RedisServer, needs_redis
from tests.support import Server

pytestmark = needs_redis


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
                redis.kill()
                await asyncio.sleep(0.2)
                await asyncio.to_thread(redis.start)
                proxy.cut(rng)
            await finish(agents, counts)
        check(agents, counts)
