"""Both clients against servers that die and networks that do what networks do: the same checks for all of them."""

import asyncio
import os
import random
import re
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import aiohttp
import pytest

from tests.access.support import SECRET
from tests.client.support import ALL, LANGUAGES, Agent, Balancer, Meddler, check, everybody, finish
from tests.support import ROOT, WAIT_S, Server, publish


@pytest.fixture(params=LANGUAGES)
def language(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=ALL.split(","))
def transport(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    with Server("--presence-grace", "1", store=f"sqlite:///{tmp_path}/log.db") as running:
        yield running


async def node_tests(tests: str, **environment: str) -> None:
    """By node's runner."""
    ended = await asyncio.to_thread(
        subprocess.run,
        ["node", "--test", f"client/test/{tests}.test.js"],
        cwd=ROOT,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=WAIT_S * 6,
    )
    failures = re.findall(r"^ *not ok(?:.*\n){1,20}", ended.stdout, re.MULTILINE)
    assert ended.returncode == 0, "".join(failures) or ended.stdout[-4000:]


@pytest.mark.parametrize("tests", ["session", "rooms"])
async def test_the_javascript_by_itself(server: Server, tests: str) -> None:
    """The client's own tests."""
    await node_tests(tests, URL=server.url)


async def test_the_javascript_with_tokens(tmp_path: Path) -> None:
    """Tokens that end, and permissions that come and go, on living connections."""
    config = tmp_path / "trunkline.toml"
    config.write_text(f'auth = "jwt"\npresence_grace = 0.2\n[jwt]\nsecret = "{SECRET}"\n')
    with Server("--config", str(config)) as server:
        await node_tests("tokens", URL=server.url, SECRET=SECRET)


async def test_a_room_that_is_full(tmp_path: Path, language: str, transport: str) -> None:
    """Who cannot be shown any more reads all the same, and so are the other rooms read."""
    few = "import trunkline.core.presence as p; p.MEMBERS_MAX = 1; from trunkline.cli import main; main()"
    command = [sys.executable, "-c", few, "serve", "--port", "PORT", "--store", f"sqlite:///{tmp_path}/log.db"]
    with Server(command=command) as server:
        async with (
            Agent(language, server.url, "a", "ana", "websocket") as ana,
            Agent(language, server.url, "a", "ben", transport, 3) as ben,
        ):
            await ana.until(lambda agent: len(agent.offsets) == 3)
            await ben.until(lambda agent: len(agent.offsets) == 3 and len(agent.all("stored")) == 3)
            assert [error["about"] for error in ben.all("error") + ana.all("error")] == ["presence"]
            await ben.end()
            await ana.end()


async def test_cut_and_killed(server: Server, language: str, transport: str) -> None:
    """Connections are reset, delayed, stopped and half closed at random, the server is killed: no loss.

    (R1, R10, R18)
    """
    rng = random.Random(language + transport)
    async with AsyncExitStack() as stack:
        proxy = await stack.enter_async_context(Meddler(server.port))
        counts = {"ana": 60, "ben": 60}
        agents = [
            await stack.enter_async_context(Agent(language, proxy.url, "a", name, transport, counts.get(name, 0)))
            for name in ("ana", "ben", "quiet")
        ]
        await agents[0].until(lambda agent: agent.messages)
        delay = proxy.delay(0)
        for turn in range(14):
            await asyncio.sleep(0.05 + rng.random() * 0.1)
            if turn == 6:
                server.kill()
                await asyncio.sleep(0.2)
                server.start()
            elif turn % 4 == 1:
                hanging = proxy.hang()
                await asyncio.sleep(0.1)
                hanging.end()
            elif turn % 4 == 3:
                proxy.half_close(rng)
            else:
                delay.end()
                delay = proxy.delay(rng.random() * 0.02)
                proxy.reset(rng)
        await finish(agents, counts)
    check(agents, counts)


async def test_any_node_serves_any_client(tmp_path: Path) -> None:
    """Three servers share one log behind a balancer without affinity, and each is killed in turn: no loss (R33)."""
    store = f"sqlite:///{tmp_path}/log.db?shared=1"
    rng = random.Random(33)
    async with AsyncExitStack() as stack:
        nodes = [stack.enter_context(Server(store=store)) for _ in range(3)]
        proxy = await stack.enter_async_context(Balancer([node.port for node in nodes]))
        agents, counts = await everybody(stack, proxy.url, 40)
        for node in (*nodes, *nodes):
            node.kill()
            await asyncio.sleep(0.2)
            node.start()
            proxy.reset(rng)
        await finish(agents, counts)
    check(agents, counts)


@pytest.mark.parametrize(
    ("meddling", "expected"),
    [
        ({"refuses": True}, "sse"),
        ({"swallows": True}, "sse"),
        ({"refuses": True, "buffers": True}, "longpoll"),
    ],
    ids=["refused", "swallowed", "buffered"],
)
async def test_falling_back(server: Server, language: str, meddling: dict[str, bool], expected: str) -> None:
    """A WebSocket that does not get through, an event stream that is held back: by another way in 5 s (R35, R37)."""
    async with Meddler(server.port, **meddling) as proxy, Agent(language, proxy.url, "a", "ana", ALL, 3) as agent:
        await agent.until(lambda agent: len(agent.offsets) == 3 and len(agent.all("stored")) == 3)
        online = next(n for n, said in enumerate(agent.said) if said.get("state") == "online")
        assert agent.said[online]["transport"] == expected
        assert agent.at[online] - agent.at[0] < 5
        await agent.end()
    check([agent], {"ana": 3})


async def test_cut_again_and_again(server: Server, language: str) -> None:
    """A proxy that ends every WebSocket soon: after the third time another way is taken, and kept (R37)."""
    async with Meddler(server.port, cut_after_s=0.4) as proxy, Agent(language, proxy.url, "a", "ana", ALL, 30) as agent:
        await agent.until(lambda agent: any(said.get("transport") == "sse" for said in agent.said if "state" in said))
        await agent.until(lambda agent: len(agent.offsets) == 30 and len(agent.all("stored")) == 30)
        await agent.end()
    check([agent], {"ana": 30})


async def test_a_link_that_goes_silent(server: Server, http: aiohttp.ClientSession) -> None:
    """Nothing is reset, nothing arrives: the clients find out in 30 s (here 3), and come back when they can (R17)."""
    async with AsyncExitStack() as stack:
        proxy = await stack.enter_async_context(Meddler(server.port))
        agents = [
            await stack.enter_async_context(Agent(language, proxy.url, "a", language, "websocket", speed=10))
            for language in LANGUAGES
        ]
        for agent in agents:
            await agent.until(lambda agent: "online" in agent.all("state"))
        hanging = proxy.hang()
        await publish(http, server.url, "a", ["server", 1])
        for agent in agents:
            await agent.until(lambda agent: "lost" in agent.all("reason"), 40)
        proxy.reset()
        hanging.end()
        for agent in agents:
            await agent.until(lambda agent: agent.offsets == [1])
            await agent.end()


async def test_a_server_that_restarts(server: Server, language: str, transport: str) -> None:
    """SIGTERM: clients are told, wait, and come back; what they wrote meanwhile is stored then."""
    async with Agent(language, server.url, "a", "ana", transport, 40) as agent:
        await agent.until(lambda agent: len(agent.offsets) >= 5)
        code, _, errors = await asyncio.to_thread(server.stop)
        assert (code, errors) == (0, "")
        await agent.until(lambda agent: "waiting" in agent.all("state"))
        server.start()
        await agent.until(lambda agent: len(agent.offsets) == 40 and len(agent.all("stored")) == 40, 40)
        await agent.end()
    check([agent], {"ana": 40})


async def test_a_blip_is_no_leave(server: Server, language: str, transport: str, http: aiohttp.ClientSession) -> None:
    """Its connections are cut, and nobody is told; it ends, and they are (R22)."""
    async with Agent(language, server.url, "a", "watcher", "websocket") as watcher, Meddler(server.port) as proxy:
        await watcher.until(lambda agent: agent.all("members") == [1])
        async with Agent(language, proxy.url, "a", "ana", transport) as agent:
            await watcher.until(lambda agent: agent.all("members")[-1] == 2)
            before = len(watcher.all("members"))
            await agent.until(lambda agent: "online" in agent.all("state"))
            proxy.reset()
            await publish(http, server.url, "a", "end")
            await agent.until(lambda agent: agent.messages == ["end"])
            assert len(watcher.all("members")) == before
            await agent.end()
        await watcher.until(lambda agent: agent.all("members")[-1] == 1, 40)


async def test_a_member_whose_network_is_gone(tmp_path: Path) -> None:
    """No word, no reset, only silence: the server's heartbeat finds out, and the others are told."""
    flags = ("--ping-interval", "1", "--ping-timeout", "0.5", "--presence-grace", "0.5")
    with Server(*flags, store=f"sqlite:///{tmp_path}/log.db") as server:
        async with (
            Agent("python", server.url, "a", "watcher", "websocket") as watcher,
            Meddler(server.port) as proxy,
            Agent("javascript", proxy.url, "a", "ana", "websocket") as ana,
        ):
            await watcher.until(lambda agent: agent.all("members") and agent.all("members")[-1] == 2)
            hanging = proxy.hang()
            await watcher.until(lambda agent: agent.all("members")[-1] == 1)
            proxy.reset()
            hanging.end()
            await watcher.until(lambda agent: agent.all("members")[-1] == 2)
            await ana.end()
            await watcher.end()
