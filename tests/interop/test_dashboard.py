"""The dashboard in a browser: who may see it, what it shows, and what an operator does with it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from playwright.async_api import Browser, Page, expect

from tests.access.support import ADMIN, EVERYWHERE, SECRET, bearer, token
from tests.admin.support import guarded
from tests.browser.conftest import browser  # noqa: F401 - a fixture
from tests.redis_servers import RedisServer, needs_redis
from tests.server.test_workers import workers_of
from tests.support import WAIT_S, Server

expect.set_options(timeout=WAIT_S * 1000)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with guarded(tmp_path, "--workers", "2") as running:
        running.line()
        yield running


@pytest.fixture
async def page(browser: Browser) -> AsyncIterator[Page]:  # noqa: F811
    """A page whose own mistakes are the test's."""
    made = await browser.new_page(viewport={"width": 1300, "height": 900})
    errors: list[str] = []
    made.on("pageerror", lambda error: errors.append(str(error)))
    yield made
    await made.close()
    assert errors == []


async def find_user(page: Page, user: str) -> None:
    await page.fill("#user", user)
    await page.click("#find button")


async def sign_in(page: Page, url: str, text: str | None = None) -> None:
    await page.goto(f"{url}/admin")
    await page.fill("#token", text or token("ops", rooms=ADMIN))
    await page.click("#enter button")


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


async def joined(http: aiohttp.ClientSession, url: str, user: str, room: str = "a") -> tuple[Any, str]:
    socket = await http.ws_connect(f"{url}/connect?room={room}", headers=bearer(token(user, rooms=EVERYWHERE)))
    return socket, json.loads((await socket.receive()).data)["session"]


async def test_who_may_see_it(page: Page, server: Server) -> None:
    await page.goto(f"{server.url}/admin")
    await expect(page.locator("#enter")).to_be_visible()
    await expect(page.locator("#board")).to_be_hidden()
    for text, why in (("nonsense", "Not accepted"), (token("ana", rooms=EVERYWHERE), "not an administrator's")):
        await page.fill("#token", text)
        await page.click("#enter button")
        await expect(page.locator("#why")).to_contain_text(why)
    await sign_in(page, server.url)
    await expect(page.locator("#problems")).to_contain_text("All is well")
    await page.reload()
    await expect(page.locator("#problems")).to_contain_text("All is well")
    assert "eyJ" not in page.url
    await page.click("#leave")
    await expect(page.locator("#enter")).to_be_visible()
    await expect(page.locator("#board")).to_be_hidden()


async def test_without_authentication_it_says_that_there_is_no_administrator(page: Page) -> None:
    with Server() as open_to_all:
        await page.goto(f"{open_to_all.url}/admin")
        await expect(page.locator("#nobody")).to_contain_text("no administrator")
        await expect(page.locator("#enter")).to_be_hidden()


async def test_connections_rooms_and_users_of_all_workers(
    page: Page, server: Server, http: aiohttp.ClientSession
) -> None:
    await sign_in(page, server.url)
    await expect(page.locator("#nodes tbody tr")).to_have_count(2)
    sockets = [(await joined(http, server.url, "ana"))[0] for _ in range(8)]
    # The page's own stream is one more.
    await expect(page.locator("#figures")).to_contain_text("connections9")
    for n in range(3):
        await sockets[0].send_json({"type": "message", "room": "a", "id": f"k{n}", "data": {"text": "hello"}})
    await expect(page.locator("#charts")).to_contain_text("websocket 9")
    await page.fill("#room", "a")
    await page.click("#look button")
    await expect(page.locator("#room-found")).to_contain_text("Its newest message is 3")
    await expect(page.locator("#room-found")).to_contain_text('{"text":"hello"}')
    await page.locator("#room-found button", has_text="ana").first.click()
    await expect(page.locator("#user-found tbody tr, #user-found tr")).to_have_count(8)
    await find_user(page, "nobody")
    await expect(page.locator("#user-found")).to_contain_text("has no stream open")
    await page.fill("#room", "no room!")
    await page.click("#look button")
    await expect(page.locator("#room-found .bad")).to_contain_text("a room name is")


async def test_a_client_is_followed_and_kicked(page: Page, server: Server, http: aiohttp.ClientSession) -> None:
    await sign_in(page, server.url)
    socket, _ = await joined(http, server.url, "ana")
    await find_user(page, "ana")
    await page.locator("#user-found button", has_text="Follow").click()
    await expect(page.locator("#follow-left")).to_contain_text("for ")
    await socket.send_json({"type": "message", "room": "a", "id": "k1", "data": "a secret"})
    await expect(page.locator("#events")).to_contain_text("← from it")
    await expect(page.locator("#events")).to_contain_text("ack 1")
    await expect(page.locator("#events")).not_to_contain_text("a secret")
    await page.check("#contents")
    await expect(page.locator("#follow-left")).to_contain_text("for 60 s")
    await socket.send_json({"type": "message", "room": "a", "id": "k2", "data": "shown now"})
    await expect(page.locator("#events")).to_contain_text("shown now")
    await page.locator("#user-found .danger", has_text="Kick").click()
    await expect(page.locator("#sure")).to_contain_text("Their tokens stay valid")
    await page.keyboard.press("Escape")
    await expect(page.locator("#sure")).to_be_hidden()
    await page.locator("#user-found .danger", has_text="Kick").click()
    await page.click("#yes")
    await expect(page.locator("#user-found")).to_contain_text("1 connection of ana ended")
    async for _ in socket:
        pass
    assert socket.close_code == 4200
    await expect(page.locator("#events")).to_contain_text("code 4200")


async def test_tokens_are_revoked(page: Page, server: Server, http: aiohttp.ClientSession) -> None:
    await sign_in(page, server.url)
    socket, _ = await joined(http, server.url, "ana")
    await find_user(page, "ana")
    await page.locator("#user-found .danger", has_text="Revoke").click()
    await expect(page.locator("#sure")).to_contain_text("cannot be undone")
    await page.click("#yes")
    await expect(page.locator("#user-found")).to_contain_text("The tokens of ana are revoked; 1 connection ended")
    async for _ in socket:
        pass
    assert socket.close_code == 4102


async def test_a_worker_that_hangs_is_said_and_the_page_goes_on(page: Page, server: Server) -> None:
    await sign_in(page, server.url)
    await expect(page.locator("#nodes tbody tr")).to_have_count(2)
    own = await page.locator("#nodes tr", has_text="this one").inner_text()
    stuck = next(pid for pid in workers_of(server) if str(pid) not in own)
    os.kill(stuck, signal.SIGSTOP)
    try:
        await expect(page.locator("#problems")).to_contain_text(f"process {stuck}) is silent")
        await expect(page.locator("#nodes tr.gone")).to_contain_text(str(stuck))
        assert (await page.title()).startswith("(1)")
    finally:
        os.kill(stuck, signal.SIGCONT)
    await expect(page.locator("#problems")).to_contain_text("All is well")


@pytest.mark.parametrize("server_of", ["trunkline", "uvicorn"])
async def test_it_is_there_below_a_mount(
    page: Page, http: aiohttp.ClientSession, tmp_path: Path, server_of: str
) -> None:
    (tmp_path / "guarded_app.py").write_text(
        "from starlette.applications import Starlette\n"
        "from starlette.routing import Mount\n"
        "from trunkline import Hub, Issuer, JwtAuth\n"
        f"hub = Hub('memory:', auth=JwtAuth([Issuer(secret={SECRET!r})]))\n"
        "app = Starlette(routes=[Mount('/realtime', hub.app)], lifespan=hub.lifespan)\n"
    )
    run = ["trunkline", "run"] if server_of == "trunkline" else ["uvicorn", "--log-level", "error"]
    command = [sys.executable, "-m", *run, "guarded_app:app", "--port", "PORT"]
    with Server(command=command, folder=tmp_path, environment={"PYTHONPATH": str(tmp_path)}) as server:
        url = f"{server.url}/realtime"
        await sign_in(page, url)
        await expect(page.locator("#problems")).to_contain_text("All is well")
        socket, _ = await joined(http, url, "ana")
        await find_user(page, "ana")
        await page.locator("#user-found button", has_text="Follow").click()
        await expect(page.locator("#follow-left")).to_contain_text("for ")
        await socket.send_json({"type": "message", "room": "a", "id": "k1", "data": 1})
        await expect(page.locator("#events")).to_contain_text("ack 1")
        await expect(page.locator("#nodes tbody tr")).to_have_count(1)


@needs_redis
async def test_it_works_while_redis_is_away(page: Page, tmp_path: Path) -> None:
    with RedisServer(tmp_path) as redis:
        nodes = []
        for n in range(2):
            (tmp_path / str(n)).mkdir()
            nodes.append(guarded(tmp_path / str(n), store=redis.url))
        with nodes[0], nodes[1]:
            await sign_in(page, nodes[0].url)
            await expect(page.locator("#nodes tbody tr")).to_have_count(2)
            await expect(page.locator("#problems")).to_contain_text("All is well")
            redis.pause()
            try:
                await expect(page.locator("#problems")).to_contain_text("the log")
                await expect(page.locator("#problems")).to_contain_text("is silent")  # it is heard through Redis
                await page.reload()  # a page that is opened now
                await expect(page.locator("#problems")).to_contain_text("the log")
            finally:
                redis.go_on()
            await expect(page.locator("#problems")).to_contain_text("All is well")


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_it_fits_a_phone_and_is_used_by_keyboard(
    page: Page, server: Server, http: aiohttp.ClientSession, scheme: str
) -> None:
    await page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
    await page.set_viewport_size({"width": 360, "height": 740})
    await page.goto(f"{server.url}/admin")
    await expect(page.locator("#token")).to_be_focused()
    await page.keyboard.insert_text(token("ops", rooms=ADMIN))
    await page.keyboard.press("Enter")
    await expect(page.locator("#problems")).to_contain_text("All is well")
    await joined(http, server.url, "a-user-whose-name-is-very-long-" + "x" * 100, "a-room-" + "y" * 200)
    await page.fill("#room", "a-room-" + "y" * 200)
    await page.keyboard.press("Enter")
    await expect(page.locator("#room-found")).to_contain_text("Readers")
    wide = await page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    assert wide == 0
    chart = page.locator(".chart svg").first
    await chart.focus()
    await page.keyboard.press("ArrowLeft")
    await page.keyboard.press("ArrowLeft")
    await expect(page.locator(".chart .cross")).to_have_count(1)
    assert "Connections" in str(await chart.get_attribute("aria-label"))


def code_of(url: str) -> str:
    """A one-time code, as `trunkline admin login` prints it."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TRUNKLINE_")}
    environment["TRUNKLINE_TOKEN"] = token("ops", rooms=ADMIN)
    command = [sys.executable, "-m", "trunkline", "admin", "login", "--url", url]
    return subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout.strip()


async def test_an_operator_signs_in_with_a_code(page: Page, server: Server) -> None:
    """Which is good once; the session is a cookie that scripts cannot read, and ends by signing out."""
    code = code_of(server.url)
    await sign_in(page, server.url, code)
    await expect(page.locator("#problems")).to_contain_text("All is well")
    [cookie] = await page.context.cookies()
    assert (cookie["httpOnly"], cookie["sameSite"], cookie["path"]) == (True, "Strict", "/admin")
    assert await page.evaluate("document.cookie + sessionStorage.getItem('trunkline.token')") == "null"
    await page.reload()
    await expect(page.locator("#problems")).to_contain_text("All is well")
    assert code not in page.url
    await page.click("#leave")
    await expect(page.locator("#enter")).to_be_visible()
    assert await page.context.cookies() == []
    await page.fill("#token", code)
    await page.click("#enter button")
    await expect(page.locator("#why")).to_contain_text("used already")


async def test_an_operator_redacts_deletes_and_erases(page: Page, server: Server, http: aiohttp.ClientSession) -> None:
    """Each after a confirmation that says what cannot be undone; and what was there is nowhere."""
    for room, user, text in (
        ("a", "ana", "secret-1"),
        ("a", "ben", "stays"),
        ("b", "ben", "secret-2"),
        ("c", "ana", "x"),
    ):
        headers = bearer(token(user, rooms=EVERYWHERE))
        async with http.post(f"{server.url}/rooms/{room}", json={"data": text}, headers=headers) as response:
            assert response.status == 201
    await sign_in(page, server.url, code_of(server.url))
    await page.click("#browse button")
    await expect(page.locator("#rooms-found tr")).to_have_count(4)  # with the heads
    await page.locator("#rooms-found").get_by_role("button", name="a", exact=True).click()
    row = page.locator("#room-found tr", has_text="secret-1")
    await row.get_by_role("button", name="Redact").click()
    await expect(page.locator("#sure-text")).to_contain_text("cannot be undone")
    await page.click("#sure >> text=Leave it")
    await expect(page.locator("#room-found")).to_contain_text("secret-1")
    if pictures := os.environ.get("PICTURES"):
        await page.screenshot(path=f"{pictures}/dashboard.png", full_page=True)
        await row.get_by_role("button", name="Redact").click()
        await page.screenshot(path=f"{pictures}/sure.png")
        await page.click("#sure >> text=Leave it")
        await page.set_viewport_size({"width": 390, "height": 800})
        await page.locator("#rooms-found").scroll_into_view_if_needed()
        await page.screenshot(path=f"{pictures}/phone.png", full_page=True)
    await row.get_by_role("button", name="Redact").click()
    await page.click("#yes")
    await expect(page.locator("#room-found")).to_contain_text("Message 1 is redacted.")
    await page.click("#look button")
    await expect(page.locator("#room-found")).to_contain_text("stays")
    await expect(page.locator("#room-found")).not_to_contain_text("secret-1")
    await page.fill("#room", "b")
    await page.click("#look button")
    await page.click("#room-found >> text=Delete the room")
    await page.click("#yes")
    await expect(page.locator("#room-found")).to_contain_text("b is deleted, with 1 messages.")
    await find_user(page, "ana")
    await page.click("#user-found >> text=Erase")
    await page.click("#yes")
    await expect(page.locator("#user-found")).to_contain_text("Erased: 2 messages in 2 rooms")
    admin = bearer(token("ops", rooms=ADMIN))
    async with http.get(f"{server.url}/rooms/a?since=start", headers=admin) as response:
        found = await response.json()
    assert [message["from"] for message in found["messages"]] == [None, "ben"]
    async with http.get(f"{server.url}/rooms/$audit?since=start", headers=admin) as response:
        entries = [message["data"] for message in (await response.json())["messages"]]
    assert [(entry["action"], entry["by"], entry["count"]) for entry in entries] == [
        ("redact", "ops", 1), ("delete", "ops", 1), ("erase", "ops", 2),
    ]  # fmt: skip


async def test_an_operator_examines_and_backs_up(page: Page, tmp_path: Path, http: aiohttp.ClientSession) -> None:
    folder = tmp_path / "backups"
    folder.mkdir()
    with guarded(tmp_path, "--backup-folder", str(folder)) as server:
        headers = bearer(token("ana", rooms=EVERYWHERE))
        async with http.post(f"{server.url}/rooms/a", json={"data": 1}, headers=headers) as response:
            before = (await response.json())["epoch"]
        await sign_in(page, server.url, code_of(server.url))
        await page.click("#examine")
        await expect(page.locator("#log-found")).to_contain_text("open files")
        await page.click("#backup")
        await expect(page.locator("#log-found")).to_contain_text("1 rooms, 1 messages")
        assert len(list(folder.iterdir())) == 1
        await page.click("#epochs")
        await expect(page.locator("#sure-text")).to_contain_text("cannot be undone")
        await page.click("#yes")
        await expect(page.locator("#log-found")).to_contain_text("Each room goes on in a new epoch.")
        async with http.get(f"{server.url}/rooms/a", headers=headers) as response:
            assert (await response.json())["epoch"] != before
        if pictures := os.environ.get("PICTURES"):
            await page.click("#examine")
            await expect(page.locator("#log-found")).to_contain_text("open files")
            await page.emulate_media(color_scheme="dark")
            await page.locator("#log-found").scroll_into_view_if_needed()
            await page.screenshot(path=f"{pictures}/log.png")
