"""The chat and the pages of an application, on a server that asks who they are."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.async_api import Browser, expect

from tests.access.support import SECRET, token
from tests.docs.test_docs import snippets
from tests.support import Server

pytestmark = pytest.mark.browser


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    config = tmp_path / "trunkline.toml"
    config.write_text(f'auth = "jwt"\n[jwt]\nsecret = "{SECRET}"\n')
    with Server("--config", str(config), store=f"sqlite:///{tmp_path}/log.db") as running:
        yield running


async def test_the_chat_asks_for_a_token(browser: Browser, server: Server) -> None:
    """It says why, takes one, goes on, and shows who the server says we are; the token is in no address."""
    page = await browser.new_page()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("websocket", lambda socket: asked.append(socket.url))
    await page.goto(f"{server.url}/#general")
    await page.fill("#name", "somebody")
    await page.click("#enter button")
    await expect(page.locator("#identify")).to_be_visible()
    await page.fill("#token", "nonsense")
    await page.keyboard.press("Enter")
    await expect(page.locator("#why")).to_contain_text("not a JWT.")
    text = token("ana")
    await page.fill("#token", text)
    await page.keyboard.press("Enter")
    await expect(page.locator("#state")).to_have_attribute("data-state", "open")
    await expect(page.locator("#where")).to_have_text("ana in general")
    await page.fill("#text", "Hello from ana")
    await page.keyboard.press("Enter")
    await expect(page.locator("#messages li.mine .fate")).to_contain_text("stored")
    await page.reload()  # a tab remembers its token
    await expect(page.locator("#messages li.mine .who")).to_have_text("ana")
    # The lab follows by all four transports with the same token.
    await page.click("text=Transport lab")
    for lane in range(4):
        figures = page.locator(".lane").nth(lane).locator("dd").first
        await expect(figures).not_to_have_text("0", timeout=15_000)
    assert asked
    assert not [url for url in asked if text in url or "nonsense" in url]


async def test_a_token_that_ends_in_the_chat(browser: Browser, server: Server) -> None:
    page = await browser.new_page()
    await page.goto(server.url)
    await page.evaluate("token => sessionStorage.setItem('trunkline.token', token)", token("ana", lifetime_s=8))
    await page.reload()
    await page.fill("#name", "ana")
    await page.click("#enter button")
    await expect(page.locator("#state")).to_have_attribute("data-state", "open")
    await expect(page.locator("#why")).to_contain_text("expired", timeout=20_000)


async def test_the_snippets_of_the_docs(browser: Browser, server: Server) -> None:
    """docs/authentication.md: a WebSocket with its first message, an EventSource with tickets."""
    by_socket, by_events = snippets("docs/authentication.md", "js")
    page = await browser.new_page()
    await page.goto(f"{server.url}/lab")
    await page.evaluate("text => { globalThis.token = text; }", token("ana"))
    address = server.url.replace("http", "ws")
    welcome = await page.evaluate(
        by_socket.replace("wss://rooms.example.com", address)
        + "new Promise((done) => { socket.onmessage = (event) => done(JSON.parse(event.data)); });"
    )
    assert (welcome["type"], welcome["user"]) == ("welcome", "ana")
    async with page.expect_console_message(lambda message: "docs" in message.text, timeout=15_000):
        await page.evaluate(
            by_events
            + """follow("docs"); setInterval(() => fetch("/rooms/docs", {
              method: "POST",
              headers: { Authorization: `Bearer ${token}`, "Content-Type": "application/json" },
              body: JSON.stringify({ data: "seen" }),
            }), 300); undefined;"""
        )


async def test_pages_under_a_mount(browser: Browser, tmp_path: Path) -> None:
    """Their addresses are relative to where the application is."""

    command = [sys.executable, "-m", "uvicorn", "tests.browser.mounted:app", "--port", "PORT", "--log-level", "error"]
    with Server(command=command) as server:
        page = await browser.new_page()
        await page.goto(f"{server.url}/realtime/#general")
        await page.fill("#name", "ana")
        await page.click("#enter button")
        await expect(page.locator("#state")).to_have_attribute("data-state", "open")
        await page.click("text=Transport lab")
        assert re.search(r"/realtime/lab$", page.url)
        await expect(page.locator(".lane").first).to_be_visible()
