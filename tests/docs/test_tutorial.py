"""docs/tutorial.md, walked in a real browser: every step runs, with the server and the page of its beginning."""

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import pytest
from playwright.async_api import Browser, expect

from tests.browser.conftest import browser
from tests.docs.test_docs import snippets
from tests.support import Server, publish

__all__ = ["browser"]

pytestmark = pytest.mark.browser

PAGE = "docs/tutorial.md"
STEPS = snippets(PAGE, "js")
WAIT_MS = 15_000


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    (tmp_path / "app.py").write_text(snippets(PAGE, "python")[0])
    (tmp_path / "chat.html").write_text(snippets(PAGE, "html")[0])
    command = [sys.executable, "-m", "uvicorn", "app:app", "--port", "PORT", "--log-level", "error"]
    with Server(command=command, folder=tmp_path) as running:
        yield running


@pytest.mark.parametrize("step", range(5), ids=["short poll", "long poll", "sse", "websocket", "client"])
async def test_each_step(
    browser: Browser, server: Server, http: aiohttp.ClientSession, tmp_path: Path, step: int
) -> None:
    """Two windows see the same, in order; where the step can write, a restart in between loses nothing."""
    (tmp_path / "chat.js").write_text(STEPS[step])
    pages = [await browser.new_page() for _ in range(2)]
    for page in pages:
        await page.goto(server.url)
    said = ["one"]
    await publish(http, server.url, "general", {"text": "one"})
    for page in pages:
        await expect(page.locator("li")).to_have_text(said, timeout=WAIT_MS)
    await pages[0].fill("#text", "two")
    await pages[0].keyboard.press("Enter")
    said.append("two")
    for page in pages:
        await expect(page.locator("li")).to_have_text(said, timeout=WAIT_MS)
    if step > 2:
        server.kill()
        await pages[0].fill("#text", "meanwhile")
        await pages[0].keyboard.press("Enter")
        server.start()
        said.append("meanwhile")
        for page in pages:
            await expect(page.locator("li")).to_have_text(said, timeout=WAIT_MS)
    if step == 4:
        for page in pages:  # also the one that types: a signal is not sent again after a reconnect
            await expect(page.locator("#status")).to_contain_text(
                re.compile(r"Here: somebody \d+, somebody \d+"), timeout=WAIT_MS
            )
        await pages[1].locator("#text").press_sequentially("x")
        await expect(pages[0].locator("#status")).to_contain_text("is typing…", timeout=WAIT_MS)


async def test_the_page_of_the_clients(browser: Browser, tmp_path: Path) -> None:
    """docs/clients.md: the page that begins it, as it stands."""
    with Server(store=f"sqlite:///{tmp_path}/log.db") as server:
        page = await browser.new_page()
        await page.goto(f"{server.url}/healthz")
        async with page.expect_console_message(lambda message: message.text == "1", timeout=WAIT_MS):
            await page.set_content(snippets("docs/clients.md", "html")[0])
