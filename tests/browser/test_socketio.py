"""A page with socket.io-client, one with EventSource, and a curl, in one room."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

import pytest
from playwright.async_api import Browser, Page, Route

from tests.browser.conftest import browser
from tests.socketio.node_clients import FOLDER, needs_node
from tests.support import Server, eventually

__all__ = ["browser"]
pytestmark = needs_node

CLIENT = FOLDER / "node_modules/socket.io-client/dist/socket.io.min.js"
SOCKETIO_PAGE = """<!doctype html><title>Socket.IO</title><ul id="said"></ul><script src="/client.js"></script><script>
  const socket = io({ auth: { recovery: true }, reconnectionDelay: 50 });
  socket.on("connect", () => { window.recovered = socket.recovered; });
  socket.on("message", (data, about) => said.append(Object.assign(document.createElement("li"),
    { textContent: `${about.offset} ${data.text}` })));
  window.joined = new Promise((resolve) => socket.emit("join", "general", resolve));
  window.say = (text) => new Promise((resolve) => socket.emit("message", { room: "general", text }, resolve));
</script>"""
EVENTS_PAGE = """<!doctype html><title>EventSource</title><ul id="said"></ul><script>
  const events = new EventSource("/rooms/general");
  events.onmessage = ({ data }) => { const { offset, data: { text } } = JSON.parse(data);
    said.append(Object.assign(document.createElement("li"), { textContent: `${offset} ${text}` })); };
  window.open_ = new Promise((resolve) => { events.onopen = resolve; });
</script>"""


async def page_of(browser: Browser, server: Server, html: str) -> Page:
    page = await browser.new_page()

    async def serve(route: Route) -> None:
        if route.request.url.endswith("/client.js"):
            await route.fulfill(body=CLIENT.read_text("utf-8"), content_type="text/javascript")
        else:
            await route.fulfill(body=html, content_type="text/html")

    await page.route("**/client.js", serve)
    await page.route("**/a-page", serve)
    await page.goto(f"{server.url}/a-page")
    return page


async def said(page: Page) -> list[str]:
    return await page.locator("#said li").all_text_contents()


async def curl(*arguments: str) -> str:
    process = await asyncio.create_subprocess_exec("curl", "-s", *arguments, stdout=asyncio.subprocess.PIPE)
    return (await process.communicate())[0].decode()


@pytest.mark.parametrize("how", ["serve", "run"])
async def test_three_kinds_of_client_talk_in_one_room(browser: Browser, tmp_path: Path, how: str) -> None:
    store = f"sqlite:///{tmp_path}/log.db"
    command = [sys.executable, "-m", "trunkline", "run", "tests.browser.socketio_app:app", "--port", "PORT"]
    with Server("--socketio", "/socket.io", store=store, command=None if how == "serve" else command) as server:
        room = f"{server.url}/rooms/general"
        by_socketio = await page_of(browser, server, SOCKETIO_PAGE)
        by_events = await page_of(browser, server, EVENTS_PAGE)
        await by_events.evaluate("window.open_")
        assert (await by_socketio.evaluate("window.joined"))["room"] == "general"
        assert (await by_socketio.evaluate("say('from Socket.IO')"))["offset"] == 1
        await curl("-d", json.dumps({"data": {"text": "from curl"}}), "-H", "Content-Type: application/json", room)
        await by_events.evaluate(
            """fetch("/rooms/general", { method: "POST", headers: { "Content-Type": "application/json" },
               body: JSON.stringify({ data: { text: "from a page" } }) })"""
        )
        everything = ["1 from Socket.IO", "2 from curl", "3 from a page"]

        async def all_have(expected: list[str]) -> bool:
            return await said(by_socketio) == await said(by_events) == expected

        await eventually(lambda: all_have(everything))
        history = json.loads(await curl(f"{room}?since=start"))["messages"]
        assert [f"{message['offset']} {message['data']['text']}" for message in history] == everything

        server.kill()
        server.start()
        await curl("-d", json.dumps({"data": {"text": "meanwhile"}}), "-H", "Content-Type: application/json", room)
        await eventually(lambda: all_have([*everything, "4 meanwhile"]))
        assert await by_socketio.evaluate("window.recovered") is True
        await by_socketio.close()
        await by_events.close()
