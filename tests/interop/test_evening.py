"""An evening on call: 500 clients on three nodes, and everything that goes wrong in one.

Each fault is to be seen on the dashboard, in a real browser, and in the alerts of a real Prometheus, within 15 s; and
the user who floods is kicked from the dashboard. EVENING_PICTURES names a folder for pictures of the dashboard.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import shutil
import socket
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import ExitStack, asynccontextmanager
from functools import partial
from pathlib import Path

import aiohttp
import pytest
from playwright.async_api import Browser, Page

from tests.access.support import ADMIN, EVERYWHERE, SECRET, bearer, token
from tests.browser.conftest import browser  # noqa: F401 - a fixture
from tests.deploy.conftest import Front
from tests.interop.prometheus import Prometheus, needs_prometheus
from tests.redis_servers import RedisServer, needs_redis
from tests.server.test_metrics_port import metrics_url
from tests.support import ROOT, WAIT_S, Server
from trunkline.client import Client, Message

pytestmark = [needs_prometheus, needs_redis, pytest.mark.timeout(400)]

CLIENTS = 500
ROOMS = 25
SEEN_S = 15.0
PICTURES = os.environ.get("EVENING_PICTURES")
TMPFS_BYTES = 2 * 1024 * 1024


class Evening:
    """What was seen, and when."""

    def __init__(self, page: Page, prometheus: Prometheus) -> None:
        self.page = page
        self.prometheus = prometheus
        self.said: list[str] = []

    async def see(self, fault: str, on_page: str, alerts: set[str], cause: Callable[[], Awaitable[None]]) -> None:
        """Cause a fault; it is to be on the page and among the alerts in time."""
        await cause()
        began = time.monotonic()
        seen: dict[str, float] = {}
        while len(seen) < 2 and time.monotonic() - began < 2 * SEEN_S:
            if "page" not in seen and on_page in await self.page.locator("#problems").inner_text():
                seen["page"] = time.monotonic() - began
                await self.picture(fault)
            if "alert" not in seen and alerts & set(await asyncio.to_thread(self.prometheus.firing)):
                seen["alert"] = time.monotonic() - began
            await asyncio.sleep(0.1)
        self.said.append(f"| {fault} | {seen.get('page', -1):.1f} s | {seen.get('alert', -1):.1f} s |")
        print(self.said[-1], flush=True)
        assert 0 < seen.get("page", -1) < SEEN_S, f"{fault}: on the dashboard {seen}"
        assert 0 < seen.get("alert", -1) < SEEN_S, f"{fault}: among the alerts {seen}"

    async def picture(self, name: str) -> None:
        if PICTURES:
            await self.page.evaluate("scrollTo(0, 0)")
            await self.page.screenshot(path=f"{PICTURES}/{name.replace(' ', '-')}.png")

    async def all_well(self) -> None:
        """Wait until nothing is wrong any more."""
        async with asyncio.timeout(4 * WAIT_S):
            while "All is well" not in await self.page.locator("#problems").inner_text():
                await asyncio.sleep(0.2)


async def signed_in(browser: Browser, url: str) -> Page:  # noqa: F811
    page = await browser.new_page(viewport={"width": 1400, "height": 1000})
    await page.goto(f"{url}/admin")
    await page.fill("#token", token("ops", rooms=ADMIN))
    await page.click("#enter button")
    await page.locator("#problems li").first.wait_for()
    return page


def note(seen: list[int], message: Message) -> None:
    seen.append(message.offset)


@asynccontextmanager
async def crowd(url: str) -> AsyncIterator[list[list[int]]]:
    """500 people in 25 rooms, who read and now and then write; the offsets that each of them has read."""
    seen: list[list[int]] = [[] for _ in range(CLIENTS)]
    clients = []
    for n in range(CLIENTS):
        client = Client(url, get_token=partial(token, f"user{n}", rooms=EVERYWHERE), transports=["websocket"])
        room = client.room(f"room:{n % ROOMS}", since="start")
        room.on("message", partial(note, seen[n]))
        clients.append((client, room))
        await client.__aenter__()
        if n % 20 == 19:
            await asyncio.sleep(0.05)

    async def talk() -> None:
        for n in itertools.count():
            _, room = clients[n * 7 % CLIENTS]
            publishing.append(asyncio.ensure_future(room.publish({"n": n})))
            await asyncio.sleep(0.05)

    publishing: list[asyncio.Future[object]] = []
    talking = asyncio.ensure_future(talk())
    try:
        yield seen
    finally:
        talking.cancel()
        await asyncio.gather(talking, return_exceptions=True)
        async with asyncio.timeout(2 * WAIT_S):
            await asyncio.gather(*publishing)  # every one was stored in the end
        for client, _ in clients:
            await client.close()


def stuck_reader(url: str) -> socket.socket:
    """A client that asks for a room and never reads."""
    host, port = url.removeprefix("http://").split(":")
    made = socket.socket()
    made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    made.connect((host, int(port)))
    head = [
        "GET /rooms/firehose HTTP/1.1", f"Host: {host}:{port}", "Accept: text/event-stream",
        f"Authorization: Bearer {token('sleeper', rooms=EVERYWHERE)}",
    ]  # fmt: skip
    made.sendall(("\r\n".join(head) + "\r\n\r\n").encode())
    return made


async def test_each_fault_of_an_evening_is_seen_within_15_s(browser: Browser, tmp_path: Path) -> None:  # noqa: F811
    config = tmp_path / "c.toml"
    config.write_text(f'auth = "jwt"\n[jwt]\nsecret = "{SECRET}"\n')
    options = ("--config", str(config), "--metrics-port", "0")
    with ExitStack() as stack:
        redis = stack.enter_context(RedisServer(tmp_path))
        nodes = [stack.enter_context(Server(*options, store=redis.url)) for _ in range(3)]
        full = stack.enter_context(small_disk(tmp_path, config))
        targets = [metrics_url(node).removeprefix("http://").removesuffix("/metrics") for node in (*nodes, full)]
        front = Front("haproxy", [node.port for node in nodes], tmp_path)
        stack.callback(front.stop)
        prometheus = stack.enter_context(Prometheus(tmp_path, targets))
        async with contextlib.AsyncExitStack() as later:
            evening = Evening(await signed_in(browser, nodes[0].url), prometheus)
            http = await later.enter_async_context(
                aiohttp.ClientSession(headers=bearer(token("bot", rooms=EVERYWHERE)))
            )
            seen = await later.enter_async_context(crowd(front.url))
            await evening.all_well()
            await evening.picture("all is well")
            await slow_reader(evening, nodes[0].url, http)
            await flood(evening, nodes[1].url)
            await evening.see(
                "a node is killed", "is silent", {"TrunklineDown"}, lambda: asyncio.to_thread(nodes[2].kill)
            )
            await paused(evening, redis)
            await fill(browser, evening, full, http)
        for room in range(ROOMS):
            of_room = seen[room::ROOMS]
            longest = max(of_room, key=len)
            assert longest == list(range(1, len(longest) + 1))
            assert all(one == longest for one in of_room), f"room:{room}"
        print("\n".join(evening.said))


async def slow_reader(evening: Evening, url: str, http: aiohttp.ClientSession) -> None:
    with contextlib.closing(stuck_reader(url)):

        async def pour() -> None:
            while True:
                posts = [{"room": "firehose", "data": "x" * 4000} for _ in range(20)]
                async with http.post(f"{url}/publish", json=posts) as answer:
                    assert answer.status == 201
                await asyncio.sleep(0.1)

        pouring = asyncio.ensure_future(pour())

        async def begin() -> None:
            await asyncio.sleep(0)

        await evening.see("a reader that does not read", "far behind", {"TrunklineReadersBehind"}, begin)
        assert "sleeper" in await evening.page.locator("#slow").inner_text()
        pouring.cancel()
    await evening.all_well()


async def flood(evening: Evening, url: str) -> None:
    """A user who publishes as fast as they can; the operator kicks them from the dashboard."""
    headers = bearer(token("flooder", rooms=EVERYWHERE)) | {"X-Forwarded-For": "198.51.100.7"}
    async with aiohttp.ClientSession(headers=headers) as own, own.ws_connect(f"{url}/connect?room=flood") as ws:

        async def pour() -> None:
            for n in itertools.count():
                await ws.send_str(json.dumps({"type": "message", "room": "flood", "id": f"f{n}", "data": n}))
                if n % 50 == 0:
                    await asyncio.sleep(0.05)

        async def listen() -> int | None:
            async for _ in ws:
                pass
            return ws.close_code

        pouring, listening = asyncio.ensure_future(pour()), asyncio.ensure_future(listen())

        async def begin() -> None:
            await asyncio.sleep(0)

        await evening.see("a user who floods", "asks too often", {"TrunklineTooManyRequests"}, begin)
        row = evening.page.locator("#refused tr", has_text="flooder")
        await row.get_by_role("button", name="Kick").click()
        await evening.picture("kick")
        await evening.page.click("#yes")
        async with asyncio.timeout(WAIT_S):
            assert await listening == 4200
        pouring.cancel()
        await asyncio.gather(pouring, return_exceptions=True)
    await evening.page.get_by_text("of flooder ended").wait_for()
    await evening.all_well()


async def paused(evening: Evening, redis: RedisServer) -> None:
    async def pause() -> None:
        redis.pause()

    alerts = {"TrunklineStoreHangs", "TrunklineCannotStore", "TrunklineCannotRead"}
    try:
        await evening.see("Redis is paused", "the log", alerts, pause)
    finally:
        redis.go_on()


def small_disk(folder: Path, config: Path) -> Server:
    """A server whose file lies on a disk of 2 MB, which no other process sees."""
    assert shutil.which("unshare")
    place = folder / "small"
    place.mkdir()
    run = f"mount -t tmpfs -o size={TMPFS_BYTES} none {place} && exec {sys.executable} -m trunkline"
    options = f"serve --port $0 --config {config} --metrics-port 0 --store sqlite:///{place}/log.db"
    return Server(command=["unshare", "--mount", "sh", "-c", f"{run} {options}", "PORT"], folder=ROOT)


async def fill(browser: Browser, evening: Evening, server: Server, http: aiohttp.ClientSession) -> None:  # noqa: F811
    own = Evening(await signed_in(browser, server.url), evening.prometheus)
    is_full = asyncio.Event()

    async def pour() -> None:
        while True:
            async with http.post(f"{server.url}/rooms/a", json={"data": "x" * 60_000}) as answer:
                assert answer.status in (201, 503)
                if answer.status == 503:
                    is_full.set()
                    await asyncio.sleep(0.2)

    async def wait() -> None:
        await is_full.wait()

    pouring = asyncio.ensure_future(pour())
    await own.see("a disk that fills", "be stored", {"TrunklineCannotStore"}, wait)
    pouring.cancel()
    evening.said += own.said
