"""examples/shop: a customer and a clerk in two browsers; who is signed in, hears; who is not, does not."""

from __future__ import annotations

import re
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import aiohttp
import pytest
from playwright.async_api import Browser, Page, expect

from tests.browser.conftest import CHROMIUM, browser
from tests.support import ROOT, Server, eventually

__all__ = ["browser"]  # a fixture

LINES_MAX = 12


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    command = [sys.executable, "-m", "trunkline", "run", "examples.shop.app:app", "--port", "PORT"]
    with Server(command=command, environment={"SHOP_FOLDER": str(tmp_path)}) as running:
        yield running


async def signed_in(browser: Browser, url: str, name: str) -> Page:
    page = await (await browser.new_context()).new_page()
    await page.goto(url)
    await page.get_by_label("Name").fill(name)
    await page.get_by_label("Password").fill(name)
    await page.get_by_role("button", name="Sign in").click()
    await expect(page.locator("#state")).to_have_text(f"{name}, online")
    return page


@pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")
async def test_a_customer_buys_the_clerk_ships_and_they_talk(server: Server, browser: Browser) -> None:
    ada, carla = [await signed_in(browser, server.url, name) for name in ("ada", "carla")]
    await ada.get_by_label("What to buy").fill("Twelve sheets")
    await ada.get_by_role("button", name="Buy").click()
    for page in (ada, carla):
        await expect(page.locator(".order")).to_contain_text(["Twelve sheets"])
        await expect(page.locator(".status")).to_have_text(["ordered"])
    await ada.locator(".order").click()
    await ada.get_by_label("Message").fill("Is it white?")
    await ada.get_by_role("button", name="Send").click()
    await expect(ada.locator("#lines li.mine")).to_contain_text("Is it white?")
    await expect(carla.locator(".badge")).to_have_text("1")
    await carla.locator(".order").click()
    await expect(carla.locator("#lines li")).to_contain_text("Is it white?")
    await expect(carla.locator(".badge")).to_be_hidden()
    await carla.get_by_role("button", name="shipped").click()
    for page in (ada, carla):
        await expect(page.locator(".status")).to_have_text(["shipped"])
    bob = await signed_in(browser, server.url, "bob")
    await expect(bob.locator("#none")).to_be_visible()
    server.kill()
    await expect(ada.locator("#state")).not_to_have_text("ada, online")
    server.start()
    await expect(ada.locator("#state")).to_have_text("ada, online")
    await ada.get_by_role("button", name="Sign out").click()
    await expect(ada.locator("#enter")).to_be_visible()


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as session:  # also of an address
        yield session


async def test_a_session_is_needed_and_each_customer_has_its_own_rooms(
    server: Server, http: aiohttp.ClientSession
) -> None:
    async def status(room: str) -> int:
        async with http.get(f"{server.url}/realtime/rooms/{room}?since=start") as response:
            return response.status

    assert await status("orders:ada") == 401
    async with http.post(f"{server.url}/sign-in", data={"name": "ada", "password": "bob"}) as response:
        assert response.status == 401
    async with http.post(f"{server.url}/sign-in", data={"name": "ada", "password": "ada"}) as response:
        assert response.status == 200
    assert await status("orders:ada") == 200
    assert [await status(room) for room in ("orders:bob", "desk", "chat:bob:1")] == [403] * 3
    async with http.post(f"{server.url}/orders", data={"item": "ink"}) as response:
        assert (await response.json())["status"] == "ordered"
    async with http.post(f"{server.url}/orders/1/status?status=shipped") as response:
        assert response.status == 403

    async def heard() -> bool:
        async with http.get(f"{server.url}/realtime/rooms/orders:ada?since=start") as response:
            return [message["data"]["item"] for message in (await response.json())["messages"]] == ["ink"]

    await eventually(heard)


def test_it_needs_few_lines_of_trunkline() -> None:
    text = (ROOT / "examples" / "shop" / "app.py").read_text()
    marked = {line for line in text.splitlines() if line.endswith("# rooms")}
    code = text.partition('"""\n')[2].partition('"""\n')[2]
    ours = re.compile(r"trunkline|\b(Hub|Rooms|Outbox|Grant\(|outbox|hub|rooms\.)")
    lines = [line for line in code.splitlines() if ours.search(line) and not line.startswith(("#", "def "))]
    assert set(lines) <= marked | {line for line in lines if '"""' in line}
    assert len(marked) <= LINES_MAX
