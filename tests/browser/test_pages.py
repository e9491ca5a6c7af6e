"""The pages as people use them, in a real browser."""

import json
import re

import aiohttp
from playwright.async_api import Browser, Page, expect

from tests.support import Server, publish

WAIT_MS = 15_000


async def enter(browser: Browser, server: Server, name: str, room: str = "general", **options: object) -> Page:
    context = await browser.new_context(**options)  # type: ignore[arg-type]
    page = await context.new_page()
    page.set_default_timeout(WAIT_MS)
    await page.goto(f"{server.url}/#{room}")
    await page.keyboard.type(name)  # the name has the focus
    await page.keyboard.press("Enter")
    await expect(page.locator("#state")).to_have_attribute("data-state", "open", timeout=WAIT_MS)
    return page


async def say(page: Page, text: str) -> None:
    await page.locator("#text").fill(text)
    await page.keyboard.press("Enter")


async def sees(page: Page, *texts: str) -> None:
    await expect(page.locator("#messages .text")).to_have_text(list(texts), timeout=WAIT_MS)


async def test_two_windows_chat(browser: Browser, server: Server) -> None:
    """By keyboard alone; each message says that it is stored, and a third window gets the history."""
    ana = await enter(browser, server, "ana")
    ben = await enter(browser, server, "ben", viewport={"width": 390, "height": 700}, color_scheme="dark")
    await expect(ana.locator("#messages")).to_contain_text("Nothing here yet")
    await say(ana, "Hello!")
    await sees(ben, "Hello!")
    await say(ben, "Hi <b>Ana</b>")
    for page in (ana, ben):
        await sees(page, "Hello!", "Hi <b>Ana</b>")
    await expect(ana.locator("li.mine .fate")).to_have_text("stored (#1)")
    await expect(ben.locator("li.mine .fate")).to_have_text("stored (#2)")
    await sees(await enter(browser, server, "cat"), "Hello!", "Hi <b>Ana</b>")
    width = await ben.evaluate("[document.documentElement.scrollWidth, innerWidth]")
    assert width[0] <= width[1], "the page scrolls sideways on a phone"


async def test_kill_9_under_two_windows(browser: Browser, server: Server) -> None:
    """What is written while the server is dead is sent when it is back; nothing is lost or doubled."""
    ana, ben = await enter(browser, server, "ana"), await enter(browser, server, "ben")
    await say(ana, "before")
    await sees(ben, "before")
    server.kill()
    await expect(ana.locator("#state")).to_have_attribute(
        "data-state", re.compile("closed|connecting"), timeout=WAIT_MS
    )
    await say(ana, "meanwhile")
    await expect(ana.locator("li.mine .fate").last).to_have_text("sending…")
    server.start()
    for page in (ana, ben):
        await sees(page, "before", "meanwhile")
    await say(ben, "after")
    for page in (ana, ben):
        await sees(page, "before", "meanwhile", "after")
    await expect(ana.locator("li.mine .fate").last).to_have_text("stored (#2)")


async def test_offline_and_back(browser: Browser, server: Server, http: aiohttp.ClientSession) -> None:
    """The tab loses its network; what others wrote meanwhile comes when it is back."""
    ana = await enter(browser, server, "ana")
    await say(ana, "one")
    await sees(ana, "one")
    await ana.context.set_offline(True)
    await ana.evaluate("document.title")
    for n in range(60):  # more than a page of history
        await publish(http, server.url, "general", {"name": "ben", "text": str(n)})
    await ana.context.set_offline(False)
    await sees(ana, "one", *map(str, range(60)))


async def test_a_message_that_is_refused(browser: Browser, server: Server) -> None:
    """It says so, and the next one goes through."""
    ana = await enter(browser, server, "ana")
    await ana.evaluate("document.getElementById('text').removeAttribute('maxlength')")
    await say(ana, "x" * 66_000)
    await expect(ana.locator("li.mine .fate")).to_contain_text("refused: data of")
    await say(ana, "short")
    await expect(ana.locator("li.mine .fate").last).to_have_text("stored (#1)")


async def test_the_lab_measures_four_lanes(browser: Browser, server: Server) -> None:
    """Every lane gets every message once; short poll makes the most requests for the most delay."""
    page = await (await browser.new_context()).new_page()
    errors: list[object] = []
    page.on("pageerror", lambda error: errors.append(error))  # noqa: PLW0108 - it wants a Python function
    await page.goto(f"{server.url}/lab")
    await page.select_option("#rate", "50")
    await page.select_option("#interval", "1000")
    lanes = page.locator(".lane")
    await expect(lanes).to_have_count(4)
    for index in range(4):
        await expect(lanes.nth(index).locator("[data-figure=messages]")).to_have_text(
            re.compile(r"^[3-9]\d$|^\d{3}$"), timeout=WAIT_MS
        )
        await expect(lanes.nth(index).locator("[data-figure=wrong]")).to_have_text("0")
        await expect(lanes.nth(index).locator("svg circle").nth(20)).to_be_visible()
    figures = await page.evaluate(
        "JSON.stringify([...document.querySelectorAll('.lane')].map((lane) => Object.fromEntries("
        "[...lane.querySelectorAll('[data-figure]')].map((dd) => [dd.dataset.figure, dd.textContent]))))"
    )
    by_lane = dict(zip(("websocket", "sse", "long_poll", "short_poll"), json.loads(figures), strict=True))
    assert by_lane["websocket"]["requests"] == "1"
    assert int(by_lane["long_poll"]["requests"]) > 5

    def milliseconds(text: str) -> float:
        number, unit = text.split()
        return float(number) * (1000 if unit == "s" else 1)

    assert milliseconds(by_lane["short_poll"]["median"]) > milliseconds(by_lane["websocket"]["median"])
    assert errors == []


async def test_the_lab_survives_a_restart(browser: Browser, server: Server) -> None:
    """All four lanes come back by themselves, without a message lost or repeated."""
    page = await (await browser.new_context()).new_page()
    await page.goto(f"{server.url}/lab")
    await page.select_option("#rate", "200")
    lanes = page.locator(".lane")
    for index in range(4):
        await expect(lanes.nth(index).locator("[data-figure=messages]")).not_to_have_text("0", timeout=WAIT_MS)
    server.kill()
    for index in range(3):
        await expect(lanes.nth(index).locator(".state")).to_have_attribute("data-state", "closed", timeout=WAIT_MS)
    server.start()
    before = [int(await lanes.nth(i).locator("[data-figure=messages]").inner_text()) for i in range(4)]
    for index in range(4):
        await expect(lanes.nth(index).locator(".state")).to_have_attribute("data-state", "open", timeout=WAIT_MS)
        await page.wait_for_function(
            "([i, n]) => Number(document.querySelectorAll('.lane [data-figure=messages]')[i].textContent) > n + 5",
            arg=[index, before[index]],
        )
        await expect(lanes.nth(index).locator("[data-figure=wrong]")).to_have_text("0")
