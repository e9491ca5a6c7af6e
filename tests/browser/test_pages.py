"""The pages as people use them, in a real browser."""

import json
import re
from typing import Any

import aiohttp
import pytest
from playwright.async_api import Browser, Page, expect

from tests.support import Server, Serving, publish, publish_many

pytestmark = pytest.mark.browser

WAIT_MS = 15_000


async def enter(browser: Browser, server: Serving, name: str, room: str = "general", **options: object) -> Page:
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
    await page.locator("#text").press("Enter")


async def sees(page: Page, *texts: str) -> None:
    await expect(page.locator("#messages .text")).to_have_text(list(texts), timeout=WAIT_MS)


async def test_two_windows_chat(browser: Browser, server: Server) -> None:
    """By keyboard alone: who is there, who is typing, what is stored and who has seen it; a third gets the history."""
    ana = await enter(browser, server, "ana")
    await expect(ana.locator("#messages")).to_contain_text("Nothing here yet")
    ben = await enter(browser, server, "ben", viewport={"width": 390, "height": 700}, color_scheme="dark")
    for page in (ana, ben):
        await expect(page.locator("#people li")).to_have_count(2, timeout=WAIT_MS)
    await expect(ana.locator("#people")).to_contain_text("ana (you)")
    await ana.locator("#text").press_sequentially("Hel")
    await expect(ben.locator("#typing")).to_have_text("ana is typing…", timeout=WAIT_MS)
    await say(ana, "Hello!")
    await sees(ben, "Hello!")
    await expect(ben.locator("#typing")).to_have_text("")
    await expect(ana.locator("li.mine .fate")).to_have_text("seen by ben · #1", timeout=WAIT_MS)
    await say(ben, "Hi <b>Ana</b>")
    for page in (ana, ben):
        await sees(page, "Hello!", "Hi <b>Ana</b>")
    await expect(ben.locator("li.mine .fate")).to_have_text("seen by ana · #2", timeout=WAIT_MS)
    cat = await enter(browser, server, "cat")
    await sees(cat, "Hello!", "Hi <b>Ana</b>")
    await expect(ana.locator("li.mine .fate")).to_have_text("seen by ben, cat · #1", timeout=WAIT_MS)
    width = await ben.evaluate("[document.documentElement.scrollWidth, innerWidth]")
    assert width[0] <= width[1], "the page scrolls sideways on a phone"
    await cat.close()
    await expect(ana.locator("#people li")).to_have_count(2, timeout=WAIT_MS)  # when the grace is over


async def test_unread_badges(browser: Browser, server: Server) -> None:
    """What comes in another room is counted, also over a reload, until it is looked at."""
    ana = await enter(browser, server, "ana")
    await ana.locator("#new-room").fill("planning")
    await ana.locator("#new-room").press("Enter")
    await expect(ana.locator("#where")).to_have_text("ana in planning")
    ben = await enter(browser, server, "ben")
    await say(ben, "one")
    await say(ben, "two")
    badge = ana.locator("#rooms li", has_text="general").locator(".badge")
    await expect(badge).to_have_text("2", timeout=WAIT_MS)
    assert await ana.title() == "(2) Trunkline chat"
    await ana.reload()
    await expect(badge).to_have_text("2", timeout=WAIT_MS)
    await ana.locator("#rooms button", has_text="general").click()
    await sees(ana, "one", "two")
    await expect(badge).to_have_count(0)
    await ana.reload()
    await expect(ana.locator("#state")).to_have_attribute("data-state", "open", timeout=WAIT_MS)
    await sees(ana, "one", "two")
    await expect(badge).to_have_count(0)


async def test_scrolling_back(browser: Browser, server: Server, http: aiohttp.ClientSession) -> None:
    """Earlier messages on demand, without moving what is read; what is new below says so until it is looked at."""
    await publish_many(http, server.url, "general", [{"name": "cleo", "text": f"message {n}"} for n in range(1, 121)])
    ana = await enter(browser, server, "ana")
    await sees(ana, *[f"message {n}" for n in range(71, 121)])
    earlier = ana.get_by_role("button", name="Earlier messages")
    place = "document.querySelector('[data-offset=\"71\"]').getBoundingClientRect().top"
    await earlier.scroll_into_view_if_needed()
    before = await ana.evaluate(place)
    await earlier.click()
    await sees(ana, *[f"message {n}" for n in range(21, 121)])
    assert abs(await ana.evaluate(place) - before) < 2
    await earlier.click()
    await sees(ana, *[f"message {n}" for n in range(1, 121)])
    await expect(earlier).to_have_count(0)
    await publish(http, server.url, "general", {"name": "cleo", "text": "the newest"})
    await expect(ana.locator("#below")).to_have_text("1 new ↓")
    await ana.locator("#below").click()
    await expect(ana.locator("#below")).to_be_hidden()
    await expect(ana.locator("#messages .text").last).to_be_in_viewport()


async def test_the_tunnel(browser: Browser, server: Server) -> None:
    """A tab without network: what is written waits, also over a reload, and is stored once."""
    ana, ben = await enter(browser, server, "ana"), await enter(browser, server, "ben")
    await say(ana, "before")
    await sees(ben, "before")
    await ana.locator("#tunnel").click()
    for n in range(3):
        await say(ana, f"in the tunnel {n}")
    await expect(ana.locator("#state")).to_have_text("in the tunnel, 3 waiting")
    await expect(ana.locator("li.mine .fate").last).to_have_text("waiting for the network")
    await say(ben, "are you there?")
    await ana.reload()  # the switch belongs to the page: after a reload there is a network
    everything = ["before", "are you there?", "in the tunnel 0", "in the tunnel 1", "in the tunnel 2"]
    for page in (ana, ben):
        await sees(page, *everything)
    await ana.locator("#tunnel").click()
    await say(ana, "again")
    await ana.locator("#tunnel").click()
    for page in (ana, ben):
        await sees(page, *everything, "again")


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
    await expect(ana.locator("li.mine .fate").last).to_have_text("waiting for the network")
    server.start()
    for page in (ana, ben):
        await sees(page, "before", "meanwhile")
    await say(ben, "after")
    for page in (ana, ben):
        await sees(page, "before", "meanwhile", "after")


async def test_offline_for_half_a_minute(browser: Browser, server: Server, http: aiohttp.ClientSession) -> None:
    """The tab loses its network for 30 s; what both wrote meanwhile comes when it is back, once."""
    ana, ben = await enter(browser, server, "ana"), await enter(browser, server, "ben")
    await say(ana, "one")
    await sees(ben, "one")
    await ana.context.set_offline(True)
    await say(ana, "written offline")
    for n in range(60):  # more than a page of history
        await publish(http, server.url, "general", {"name": "cat", "text": str(n)})
    await ana.wait_for_timeout(30_000)
    await expect(ana.locator("#state")).to_contain_text("1 waiting")
    await ana.context.set_offline(False)
    for page in (ana, ben):
        await sees(page, "one", *map(str, range(60)), "written offline")


async def test_a_message_that_is_refused(browser: Browser, server: Server) -> None:
    """It says so, and the next one goes through."""
    ana = await enter(browser, server, "ana")
    await ana.evaluate("document.getElementById('text').removeAttribute('maxlength')")
    await say(ana, "x" * 66_000)
    await expect(ana.locator("li.mine .fate")).to_contain_text("refused: data of")
    await say(ana, "short")
    await expect(ana.locator("li.mine .fate").first).to_have_text("stored · #1")


async def test_the_ticker_and_the_bell(browser: Browser, server: Server, http: aiohttp.ClientSession) -> None:
    """Scores come by event stream alone; notifications are counted until they are read, and stay read."""
    page = await browser.new_page()
    sockets: list[object] = []
    page.on("websocket", lambda socket: sockets.append(socket))  # noqa: PLW0108 - it wants a Python function
    await page.goto(f"{server.url}/live")
    await expect(page.locator("#state")).to_have_attribute("data-state", "open", timeout=WAIT_MS)
    await expect(page.locator("#state")).to_have_attribute("title", re.compile("sse"))
    goal = {"home": "Ajax", "away": "Porto", "score": [1, 0], "minute": 9, "goal": True}
    await publish(http, server.url, "scores", goal)
    await expect(page.locator("#scores .score")).to_have_text("1 : 0", timeout=WAIT_MS)
    await publish(http, server.url, "scores", goal | {"score": [1, 1]})
    await expect(page.locator("#scores .score")).to_have_text("1 : 1", timeout=WAIT_MS)
    await page.fill("#what", "The build is green")
    await page.keyboard.press("Enter")
    await publish(http, server.url, "notifications", {"text": "Somebody mentioned you"})
    await expect(page.locator("#unread-said")).to_have_text("2 unread", timeout=WAIT_MS)
    await page.click("#read")
    await expect(page.locator("#unread-said")).to_have_text("nothing new")
    await page.wait_for_timeout(300)
    await page.reload()
    await expect(page.locator("#news li")).to_have_count(2, timeout=WAIT_MS)
    await expect(page.locator("#unread-said")).to_have_text("nothing new")
    assert sockets == []


async def test_the_lab_measures_four_lanes(browser: Browser, server: Server) -> None:
    """Every lane gets every message once; short poll makes the most requests for the most delay."""
    page = await (await browser.new_context()).new_page()
    errors: list[object] = []
    page.on("pageerror", lambda error: errors.append(error))  # noqa: PLW0108 - it wants a Python function
    await page.goto(f"{server.url}/lab")
    await page.select_option("#rate", "50")
    await page.select_option("#interval", "1000")
    lanes = page.locator(".lane[data-lane]")
    await expect(lanes).to_have_count(4)
    for index in range(4):
        await expect(lanes.nth(index).locator("[data-figure=messages]")).to_have_text(
            re.compile(r"^[3-9]\d$|^\d{3}$"), timeout=WAIT_MS
        )
        await expect(lanes.nth(index).locator("[data-figure=wrong]")).to_have_text("0")
        await expect(lanes.nth(index).locator("svg circle").nth(20)).to_be_visible()
    figures = await page.evaluate(
        "JSON.stringify([...document.querySelectorAll('.lane[data-lane]')].map((lane) => Object.fromEntries("
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
    lanes = page.locator(".lane[data-lane]")
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


async def test_the_lab_shows_the_fallback(browser: Browser, server: Server) -> None:
    """A proxy without WebSocket, one that holds streams back, a tunnel: the client finds its way, and loses nothing."""
    page = await (await browser.new_context()).new_page()
    await page.goto(f"{server.url}/lab")
    await page.select_option("#rate", "200")
    way, wrong = page.locator("#way"), page.locator("#fallback [data-figure=wrong]")
    await expect(way).to_have_text("by websocket", timeout=WAIT_MS)
    await page.click("[data-trouble=noWebSocket]")
    await expect(way).to_have_text("by sse", timeout=WAIT_MS)
    await page.click("[data-trouble=holdsStreams]")
    await expect(way).to_have_text("by longpoll", timeout=20_000)
    await page.click("[data-trouble=tunnel]")
    await expect(way).not_to_have_text("by longpoll", timeout=WAIT_MS)
    await page.click("[data-trouble=tunnel]")
    await expect(way).to_have_text("by longpoll", timeout=WAIT_MS)
    await expect(wrong).to_have_text("0")


async def test_what_is_typed_while_the_server_is_away(browser: Browser, server: Server) -> None:
    """The ticker's page says so, keeps what was written in sight, also over a reload, and stores it when it can."""
    page = await browser.new_page()
    await page.goto(f"{server.url}/live")
    state = page.locator("#state")
    await expect(state).to_have_attribute("data-state", "open", timeout=WAIT_MS)
    await expect(page.get_by_role("button", name="Try now")).to_be_hidden()
    server.kill()
    await expect(state).not_to_have_attribute("data-state", "open", timeout=3000)
    await page.locator("#what").fill("the train is late")
    await page.locator("#what").press("Enter")
    await expect(page.locator("#news li.waiting")).to_contain_text("the train is late")
    await expect(state).to_contain_text("1 waiting")
    await expect(page.get_by_role("button", name="Try now")).to_be_visible(timeout=WAIT_MS)
    server.start()
    await page.reload()
    await expect(page.locator("#news li:not(.waiting)")).to_have_count(1, timeout=WAIT_MS)
    await expect(page.locator("#news")).to_contain_text("the train is late")
    await expect(page.locator("#news li.waiting")).to_have_count(0)


async def test_trying_now(browser: Browser, server: Server) -> None:
    """Whoever does not want to wait for the next attempt asks for it, by keyboard, too."""
    page = await enter(browser, server, "ana")
    await page.clock.install()  # no attempt is made by itself
    server.kill()
    button = page.get_by_role("button", name="Try now")
    await expect(button).to_be_visible(timeout=WAIT_MS)
    server.start()
    await button.focus()
    await page.keyboard.press("Enter")
    await expect(page.locator("#state")).to_have_attribute("data-state", "open", timeout=WAIT_MS)
    await expect(button).to_be_hidden()


@pytest.mark.parametrize("address", ["/#%", "/#%E0%A4%A", "/#<script>alert(1)</script>", "/#no room"])
async def test_an_address_that_names_no_room(browser: Browser, server: Server, address: str) -> None:
    """The page works all the same; also if the address becomes one later."""
    page = await browser.new_page()
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    await page.goto(f"{server.url}{address}")
    await page.locator("#name").fill("ana")
    await page.locator("#room").fill("general")
    await page.keyboard.press("Enter")
    await expect(page.locator("#state")).to_have_attribute("data-state", "open", timeout=WAIT_MS)
    await page.evaluate("address => { location.hash = address; }", address[1:])
    await say(page, "still here")
    await sees(page, "still here")
    assert errors == []


def errors_of(page: Page) -> list[str]:
    """The page's errors from now on."""
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    return errors


async def test_data_of_any_kind(browser: Browser, server: Server, http: aiohttp.ClientSession) -> None:
    """What somebody else publishes into a room breaks no page."""
    values: list[Any] = [None, 0, "", [], {}, [[None]]]
    values += [{"name": None, "text": None}, {"home": 1, "away": [], "score": None}]
    for path, room in (("/#general", "general"), ("/live", "scores"), ("/live", "notifications"), ("/lab", "")):
        page = await browser.new_page()
        errors = errors_of(page)
        await page.add_init_script("sessionStorage.setItem('trunkline.name', 'ana')")
        await page.goto(f"{server.url}{path}")
        if path == "/lab":
            async with page.expect_request(re.compile("/rooms/lab-")) as found:
                pass
            room = re.findall(r"/rooms/(lab-[^/?]+)", (await found.value).url)[0]
        for value in values:
            await publish(http, server.url, room, value)
        if path == "/lab":
            await expect(page.locator("[data-lane=WebSocket] [data-figure=messages]")).not_to_have_text(
                re.compile("^[0-7]$"), timeout=WAIT_MS
            )
        elif path == "/#general":
            await expect(page.locator("#messages .text")).to_have_count(len(values), timeout=WAIT_MS)
        elif room == "notifications":
            await expect(page.locator("#news li")).to_have_count(len(values), timeout=WAIT_MS)
        assert errors == []
        await page.close()


@pytest.mark.parametrize("path", ["/", "/live", "/lab"])
async def test_pages_guard_themselves(browser: Browser, server: Server, http: aiohttp.ClientSession, path: str) -> None:
    """They need nothing from elsewhere, run nothing that was written into them, and stand in no other page's frame."""
    async with http.get(server.url + path) as response:
        policy = response.headers["Content-Security-Policy"]
        assert "default-src 'self'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert response.headers["X-Frame-Options"] == "DENY"
        assert response.headers["X-Content-Type-Options"] == "nosniff"
    page = await browser.new_page()
    broken: list[str] = []
    page.on("console", lambda message: broken.append(message.text) if "Content Security" in message.text else None)
    await page.goto(server.url + path)
    shown = {"/": "#name", "/live": "#state[data-state=open]", "/lab": "#way[data-state=open]"}[path]
    await expect(page.locator(shown)).to_be_visible(timeout=WAIT_MS)
    assert broken == []
    await page.evaluate("document.body.append(Object.assign(document.createElement('script'), {textContent: 'x = 1'}))")
    assert await page.evaluate("globalThis.x === undefined")
    assert broken != []


@pytest.mark.parametrize(
    "path", ["/rooms/a", "/livez", "/openapi.yaml", "/trunkline.js", "/static/style.css", "/nothing"]
)
async def test_no_answer_is_to_be_guessed_at(server: Server, http: aiohttp.ClientSession, path: str) -> None:
    async with http.get(server.url + path) as response:
        assert response.headers["X-Content-Type-Options"] == "nosniff"
    async with http.get(f"{server.url}/rooms/a", headers={"Accept": "text/event-stream"}) as response:
        assert response.headers["X-Content-Type-Options"] == "nosniff"
    async with http.get(f"{server.url}/rooms/a%20b", headers={"Accept": "text/event-stream"}) as response:
        assert response.status == 400
        assert response.headers["X-Content-Type-Options"] == "nosniff"
