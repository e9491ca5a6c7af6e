"""examples/game: two players and a spectator in a browser, and the rules that only the server knows."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator

import aiohttp
import pytest
from playwright.async_api import Page, async_playwright, expect

from tests.browser.conftest import ARGUMENTS
from tests.support import Server

CHROMIUM = shutil.which("chromium")
needs_browser = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")


@pytest.fixture
def server() -> Iterator[Server]:
    command = [sys.executable, "-m", "trunkline", "run", "examples.game.app:app", "--port", "PORT"]
    with Server(command=command) as running:
        yield running


@needs_browser
async def test_two_play_and_one_watches(server: Server) -> None:
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        pages: list[Page] = []
        for _ in range(3):
            page = await (await browser.new_context()).new_page()
            await page.goto(f"{server.url}/?table=7")
            await expect(page.locator("#state")).to_have_text("table 7")
            pages.append(page)
        first, second, third = pages
        await expect(first.locator("#said")).to_contain_text("Your turn: you play X")
        await expect(second.locator("#said")).to_contain_text("You play O")
        await expect(third.locator("#said")).to_contain_text("You watch")
        cells = [page.locator(".cell") for page in pages]
        await cells[0].nth(4).hover()
        await expect(cells[2].nth(4)).to_have_class("cell looked-at")
        for n, cell in enumerate((4, 0, 1, 2, 7)):
            mine = cells[n % 2].nth(cell)
            await expect(mine).to_be_enabled()
            await mine.click()
            for seen in cells:
                await expect(seen.nth(cell)).to_have_text("XO"[n % 2])
        await expect(first.locator("#said")).to_have_text("You have won!")
        await expect(third.locator("#said")).to_have_text("X has won.")
        await first.reload()
        await expect(first.locator("#said")).to_have_text("You have won!")
        await first.get_by_role("button", name="Play again").click()
        await expect(second.locator("#said")).to_contain_text("X is thinking")
        await browser.close()


async def test_the_rules(server: Server, http: aiohttp.ClientSession) -> None:
    async def call(name: str, client: str, **data: object) -> str:
        body = {"data": {"table": "1"} | data}
        async with http.post(f"{server.url}/calls/{name}?client={client}", json=body) as response:
            answer = await response.json()
            return "ok" if response.status == 200 else str(answer["error"]["code"])

    ana, ben, cat = "player-ana", "player-ben", "player-cat"
    assert [await call("sit", who) for who in (ana, ben, cat, ana)] == ["ok"] * 4
    assert await call("move", cat, cell=0) == "spectator"
    assert await call("move", ben, cell=0) == "not_your_turn"
    assert await call("move", ana, cell=0) == "ok"
    assert await call("move", ben, cell=0) == "illegal"
    assert await call("move", ben, cell=9) == "illegal"
    assert await call("move", ben, cell="x") == "bad_arguments"
    assert await call("again", ana) == "not_over"
