"""Behind real proxies: round robin over four nodes without affinity (R27, R34, R35, R39)."""

import asyncio
import time
from contextlib import AsyncExitStack

import aiohttp

from tests.client.support import check, everybody, finish
from tests.deploy.conftest import IDLE_S, House
from tests.support import WAIT_S, events, publish


async def test_any_node_through_a_proxy(front: House) -> None:
    """Every client on every transport, while nodes are killed and restarted in turn, and the proxy reloads: no loss."""
    async with AsyncExitStack() as stack:
        agents, counts = await everybody(stack, front.front.url, 30)
        for node in front.nodes:
            node.kill()
            await asyncio.sleep(0.3)
            node.start()
        for node in front.nodes:  # and as an update does it
            assert (await asyncio.to_thread(node.stop))[0] == 0
            node.start()
        front.front.reload()
        await finish(agents, counts)
    check(agents, counts)


async def test_silence_ends_nothing(front: House, http: aiohttp.ClientSession) -> None:
    """Streams on which nothing is said outlive every timeout of the proxy, and their first byte is not held back."""
    url = f"{front.front.url}/rooms/quiet"
    began = time.monotonic()
    async with (
        http.ws_connect(url) as socket,
        http.get(url, headers={"Accept": "text/event-stream"}) as response,
    ):
        assert (await socket.receive_json())["type"] == "welcome"
        assert (await socket.receive_json())["type"] == "joined"
        assert time.monotonic() - began < 1
        reading = asyncio.ensure_future(anext(event async for event in events(response.content) if "data" in event))
        listening = asyncio.ensure_future(socket.receive_json())
        done, _ = await asyncio.wait((reading, listening), timeout=2.5 * IDLE_S)  # nothing is to happen, for so long
        assert not done
        await publish(http, front.front.url, "quiet", "hello")
        async with asyncio.timeout(WAIT_S):
            assert (await listening)["data"] == "hello"
            assert '"hello"' in (await reading)["data"]
