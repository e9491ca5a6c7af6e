"""The JavaScript client where people use it: a browser, with its tabs, its sleep and what stands in between."""

import asyncio
import gzip
import subprocess
import sys
import time
from pathlib import Path

import aiohttp
import pytest
from playwright.async_api import Browser, Page, expect

from tests.access.support import SECRET, token
from tests.client.support import Meddler
from tests.support import ROOT, Server, publish

pytestmark = pytest.mark.browser

WAIT_MS = 15_000
FOLLOW = """async ({url, options}) => {
  const { connect } = await import("/trunkline.js");
  globalThis.seen = [];
  globalThis.gaps = 0;
  globalThis.changes = [];
  globalThis.client = connect(url, options);
  client.on("state", (change) => changes.push(`${change.state} ${change.transport}`));
  globalThis.room = client.room("a", { since: "start" });
  room.on("message", ({ offset }) => seen.push(offset));
  room.on("gap", () => gaps++);
}"""


async def follow(page: Page, url: str, **options: object) -> None:
    await page.goto(f"{url}/live")
    await page.evaluate(FOLLOW, {"url": url, "options": options})
    await page.wait_for_function("client.state === 'online'", timeout=WAIT_MS)


async def has(page: Page, count: int, wait_ms: int = WAIT_MS) -> None:
    """Until the page has seen the messages 1 to *count*, each once, in order."""
    await page.wait_for_function("n => seen.length >= n", arg=count, timeout=wait_ms)
    assert await page.evaluate("seen") == list(range(1, count + 1))
    assert await page.evaluate("gaps") == 0


async def test_a_laptop_that_sleeps(browser: Browser, server: Server, http: aiohttp.ClientSession) -> None:
    """Ten minutes with the lid closed, the connection gone without a word: resumed within 3 s of waking (R21)."""
    async with Meddler(server.port) as proxy:
        page = await browser.new_page(bypass_csp=True)
        await page.clock.install()
        await follow(page, proxy.url)
        await publish(http, server.url, "a", 1)
        await has(page, 1)
        hanging = proxy.hang()
        for n in range(20):
            await publish(http, server.url, "a", n)
        await page.clock.fast_forward("10:00")
        proxy.reset()
        hanging.end()
        before = time.monotonic()
        await page.clock.run_for(6000)
        await has(page, 21)
        assert time.monotonic() - before < 3


async def test_a_tab_whose_timers_stand_still(browser: Browser, tmp_path: Path, http: aiohttp.ClientSession) -> None:
    """Not one timer fires, for many heartbeats: the tab stays connected and misses nothing (R20)."""
    with Server("--ping-interval", "0.6", "--ping-timeout", "0.3", store=f"sqlite:///{tmp_path}/t.db") as server:
        page = await browser.new_page(bypass_csp=True)
        await page.clock.install()
        await follow(page, server.url)
        await page.clock.pause_at(time.time() + 3600)
        changes = await page.evaluate("changes.length")
        for n in range(1, 7):
            await asyncio.sleep(1)
            await publish(http, server.url, "a", n)
        for _ in range(100):
            if await page.evaluate("seen.length") == 6:
                break
            await asyncio.sleep(0.05)
        assert await page.evaluate("seen") == [1, 2, 3, 4, 5, 6]
        assert await page.evaluate("changes.length") == changes


async def test_ten_tabs_without_websocket(browser: Browser, server: Server, http: aiohttp.ClientSession) -> None:
    """HTTP/1.1 allows six connections: one tab listens for all, and when it is closed another one does (R36)."""
    async with Meddler(server.port, refuses=True) as proxy:
        context = await browser.new_context(bypass_csp=True)
        pages = []
        for _ in range(10):
            page = await context.new_page()
            before = time.monotonic()
            await page.goto(f"{proxy.url}/healthz")
            assert time.monotonic() - before < 3, "a page could not be loaded"
            await page.evaluate(FOLLOW, {"url": proxy.url, "options": {"transports": ["websocket", "sse", "longpoll"]}})
            pages.append(page)
        for page in pages:
            await page.wait_for_function("client.state === 'online'", timeout=WAIT_MS)
        for n in range(5):
            await publish(http, server.url, "a", n)
        for page in pages:
            await has(page, 5)
        streams = [line for line in proxy.requests if "/connect?" in line and "live=" not in line and "since" in line]
        assert len(streams) < 10
        await pages[0].close()  # the first one had the lock
        await publish(http, server.url, "a", 6)
        for page in pages[1:]:
            await has(page, 6, 5000)
        await asyncio.gather(*[page.evaluate("room.publish('mine')") for page in pages[1:]])
        for page in pages[1:]:
            await has(page, 15)


async def test_a_token_that_ends(browser: Browser, tmp_path: Path) -> None:
    """A new one is asked for in time, and brought on the living connection: nothing is dropped (R23)."""
    config = tmp_path / "trunkline.toml"
    config.write_text(f'auth = "jwt"\n[jwt]\nsecret = "{SECRET}"\n')
    with Server("--config", str(config), store=f"sqlite:///{tmp_path}/t.db") as server:

        async def renew(transport: str) -> None:
            page = await browser.new_page(bypass_csp=True)
            asked: list[str] = []
            page.on("request", lambda request: asked.append(request.url))
            page.on("websocket", lambda socket: asked.append(socket.url))
            await page.goto(f"{server.url}/healthz")
            tokens = [token("ana", lifetime_s=lifetime_s) for lifetime_s in (8, 16, 60)]
            await page.evaluate(
                FOLLOW.replace(
                    "connect(url, options)", "connect(url, { ...options, getToken: () => tokens[given++] })"
                ).replace(
                    "globalThis.seen = []",
                    "globalThis.seen = []; globalThis.tokens = options.tokens; globalThis.given = 0",
                ),
                {"url": server.url, "options": {"transports": [transport], "tokens": tokens}},
            )
            await page.wait_for_function("given === 3", timeout=WAIT_MS)
            await page.wait_for_timeout(2000)
            assert await page.evaluate("changes") == [f"connecting {transport}", f"online {transport}"]
            assert not [url for url in asked if any(text in url for text in tokens)]
            await page.close()

        await asyncio.gather(*[renew(transport) for transport in ("websocket", "sse", "longpoll")])


async def test_one_connection_in_strict_mode(browser: Browser, server: Server) -> None:
    """React mounts everything twice: one socket, one joining, no message twice (R11)."""
    built = subprocess.run(
        ["node_modules/.bin/esbuild", "test/strict.jsx", "--bundle", "--jsx=automatic", "--format=iife",
         '--define:process.env.NODE_ENV="development"'],
        cwd=ROOT / "client", capture_output=True, text=True, check=True,
    )  # fmt: skip
    page = await browser.new_page(bypass_csp=True)
    sockets: list[object] = []
    frames: list[str] = []

    def opened(socket: object) -> None:
        sockets.append(socket)
        socket.on("framesent", lambda data: frames.append(str(data)))  # type: ignore[attr-defined]

    await page.goto(f"{server.url}/healthz")
    page.on("websocket", opened)
    await page.add_script_tag(content=built.stdout)
    await expect(page.locator("#one output")).to_have_text("online", timeout=WAIT_MS)
    await page.click("#one button")
    await page.click("#two button")
    for label in ("one", "two"):
        await expect(page.locator(f"#{label} li")).to_have_text(["one", "two"], timeout=WAIT_MS)
    for _ in range(6):
        await page.click("#toggle")
    await page.click("#two button")
    for label in ("one", "two"):
        await expect(page.locator(f"#{label} li")).to_have_text(["one", "two", "two"], timeout=WAIT_MS)
    assert len(sockets) == 1
    assert len([frame for frame in frames if '"join"' in frame]) == 1


def test_the_client_is_small() -> None:
    """Minified and compressed, as bundlers and servers do: 10 KB, and 5 more if WebSocket fails."""

    def size(*options: str) -> int:
        built = subprocess.run(
            ["node_modules/.bin/esbuild", "src/trunkline.js", "--bundle", "--minify", "--format=esm", *options],
            cwd=ROOT / "client",
            capture_output=True,
            check=True,
        )
        return len(gzip.compress(built.stdout, 9))

    assert size("--external:./http.js", "--external:./tabs.js") <= 10 * 1024
    assert size() <= 15.3 * 1024


@pytest.mark.parametrize("transport", ["sse", "longpoll"])
async def test_tabs_that_share_a_connection_call(browser: Browser, tmp_path: Path, transport: str) -> None:
    """The tab that listens for all, and those that let it."""
    uvicorn = [sys.executable, "-m", "uvicorn", "--port", "PORT", "--log-level", "error"]
    command = [*uvicorn, "tests.client.calling_app:app"]
    with Server(command=command, store=f"sqlite:///{tmp_path}/t.db") as server:
        context = await browser.new_context(bypass_csp=True)
        pages = [await context.new_page() for _ in range(3)]
        for page in pages:
            await page.goto(f"{server.url}/healthz")
            await page.evaluate(FOLLOW, {"url": server.url, "options": {"transports": [transport]}})
        for n, page in enumerate(pages):
            await page.wait_for_function("client.state === 'online'", timeout=WAIT_MS)
            assert await page.evaluate("n => client.call('add', [n, n])", n) == 2 * n
            assert await page.evaluate("client.call('enter', 'a').catch(({ code }) => code)") == "full"


async def test_what_worked_is_remembered(browser: Browser, server: Server) -> None:
    """After a quarter of a minute by event stream, the next page begins with it (R37)."""
    async with Meddler(server.port, refuses=True) as proxy:
        page = await browser.new_page(bypass_csp=True)
        await page.clock.install()
        await follow(page, proxy.url)
        assert await page.evaluate("client.transport") == "sse"
        await page.clock.run_for(16_000)
        await follow(page, proxy.url)
        assert await page.evaluate("changes") == ["connecting sse", "online sse"]


LEAVES = """() => { globalThis.left = new Promise((resolve) => {
  const began = Date.now();
  client.on("state", ({ state }) => state !== "online" && resolve(Date.now() - began));
}); }"""


@pytest.mark.parametrize("transport", ["websocket", "sse", "longpoll", "shortpoll"])
@pytest.mark.parametrize("share", [True, False])
async def test_a_server_that_is_dead_is_not_online(
    browser: Browser, server: Server, transport: str, share: bool
) -> None:
    """However it is connected, and in every tab: as soon as the connection breaks, or the next question fails."""
    context = await browser.new_context(bypass_csp=True)
    pages = [await context.new_page() for _ in range(3)]
    for page in pages:
        await follow(page, server.url, transports=[transport], share=share, pollMs=500)
    await pages[0].evaluate("room.publish(1)")
    for page in pages:
        await has(page, 1)
        await page.evaluate(LEAVES)
    server.kill()
    for page in pages:
        assert await page.evaluate("left") < 2500
        await page.evaluate("room.publish('written meanwhile'); 0")
    server.start()
    for page in pages:
        await page.wait_for_function("client.state === 'online' && !client.waiting", timeout=WAIT_MS)
        await has(page, 4)


async def test_listening_to_unread_is_being_told(browser: Browser, server: Server, http: aiohttp.ClientSession) -> None:
    """How much was not seen, at once and with each message, whatever carries it."""
    for n, transport in enumerate(("websocket", "sse", "shortpoll")):
        head = 2 * n
        page = await browser.new_page(bypass_csp=True)
        await follow(page, server.url, transports=[transport], pollMs=100)
        await has(page, head)
        await page.evaluate(
            "globalThis.counts = []; room.on('unread', ({ head, unread }) => counts.push([head, unread])); 0"
        )
        await page.wait_for_function("counts.length === 1", timeout=WAIT_MS)
        await publish(http, server.url, "a", 1)
        await page.wait_for_function("counts.length === 2", timeout=WAIT_MS)
        await page.evaluate("room.seen(seen.at(-1))")
        await page.wait_for_function("counts.length === 3", timeout=WAIT_MS)
        await publish(http, server.url, "a", 1)
        await page.wait_for_function("counts.length === 4", timeout=WAIT_MS)
        assert await page.evaluate("counts") == [
            [head, head], [head + 1, head + 1], [head + 1, 0], [head + 2, 1],
        ]  # fmt: skip
        await page.close()
