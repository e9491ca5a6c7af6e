"""The four snippets of people who never saw this server, unchanged, against examples/chat."""

import asyncio
import json
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import pytest
from playwright.async_api import async_playwright

from tests.browser.conftest import ARGUMENTS
from tests.support import WAIT_S, Server

CHROMIUM = shutil.which("chromium")
needs_browser = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("CHAT_STORE", f"sqlite:///{tmp_path}/chat.db")
    command = [sys.executable, "-m", "uvicorn", "examples.chat.app:app", "--port", "PORT", "--log-level", "error"]
    with Server(command=command) as running:
        yield running


async def publish_text(http: aiohttp.ClientSession, server: Server, text: str) -> None:
    async with http.post(f"{server.url}/rooms/general", data=text) as response:
        assert response.status == 201


async def messages_after(http: aiohttp.ClientSession, server: Server, since: str) -> list[dict[str, object]]:
    async with http.get(f"{server.url}/api/messages?since={since}") as response:
        found: list[dict[str, object]] = await response.json()
        return found


async def in_browser(server: Server, script: str) -> object:
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        page = await browser.new_page()
        await page.goto(f"{server.url}/healthz")
        result: object = await page.evaluate(script)
        await browser.close()
        return result


@needs_browser
async def test_the_websocket_snippet(server: Server) -> None:
    """join and message, sent right after each other from `open`, as the guide does."""
    result = await in_browser(
        server,
        """() => new Promise((resolve) => {
            const received = [];
            const ws = new WebSocket(`ws://${location.host}/chat`);
            ws.addEventListener('open', () => {
                ws.send(JSON.stringify({ type: 'join', room: 'general' }));
                ws.send(JSON.stringify({ type: 'message', text: 'Hello!' }));
            });
            ws.addEventListener('message', (event) => {
                const data = JSON.parse(event.data);
                received.push(data);
                if (data.type === 'message') { ws.close(); }
            });
            ws.addEventListener('close', (event) => resolve({ received, code: event.code }));
        })""",
    )
    assert isinstance(result, dict)
    message = result["received"][-1]
    assert (message["room"], message["data"]) == ("general", {"text": "Hello!"})
    assert result["code"] in (1000, 1005)


@needs_browser
async def test_the_event_source_snippet(server: Server) -> None:
    """`message` events, and it comes back by itself without losing what came meanwhile."""
    reading = asyncio.ensure_future(
        in_browser(
            server,
            """() => new Promise((resolve) => {
                const received = [];
                const es = new EventSource('/api/live-updates');
                es.addEventListener('message', (event) => {
                    received.push(event.data);
                    if (received.length === 3) { es.close(); resolve(received); }
                });
                const ready = () => fetch('/rooms/general', {method: 'POST', body: 'ready'});
                es.addEventListener('open', ready, {once: true});
            })""",
        )
    )
    async with aiohttp.ClientSession() as http:
        async with asyncio.timeout(WAIT_S):
            while not await messages_after(http, server, "0"):
                await asyncio.sleep(0.05)
        server.kill()
        server.start()
    async with aiohttp.ClientSession() as http:
        for text in ("two", "three"):
            await publish_text(http, server, text)
    received = await asyncio.wait_for(reading, WAIT_S)
    assert isinstance(received, list)
    assert [json.loads(data)["data"] for data in received] == ["ready", "two", "three"]


async def test_the_polling_snippet(server: Server, http: aiohttp.ClientSession) -> None:
    """`?since=` of the last one seen: an array, mostly empty."""
    seen: list[dict[str, object]] = []
    for n in range(6):
        since = seen[-1]["offset"] if seen else 0
        async with http.get(f"{server.url}/api/messages?since={since}") as response:
            messages = await response.json()
        assert isinstance(messages, list)
        assert len(messages) == n % 2
        seen += messages
        if n % 2 == 0:
            await publish_text(http, server, f"{n}")
    assert [message["data"] for message in seen] == ["0", "2", "4"]


async def test_polling_by_time(server: Server, http: aiohttp.ClientSession) -> None:
    """A client that sends the time of the last message it has, instead of its offset."""
    await publish_text(http, server, "one")
    async with http.get(f"{server.url}/api/messages?since=1000000000000") as response:
        [one] = await response.json()
    while time.time() * 1000 < one["at"] + 2:
        await asyncio.sleep(0.001)
    await publish_text(http, server, "two")
    async with http.get(f"{server.url}/api/messages?since={one['at']}") as response:
        assert [message["data"] for message in await response.json()] == ["two"]


@pytest.mark.parametrize("path", ["/api/messages?since=x", "/api/live-updates?since=x"])
async def test_mistakes_are_answered(server: Server, http: aiohttp.ClientSession, path: str) -> None:
    async with http.get(f"{server.url}{path}") as response:
        assert response.status == 400
        assert (await response.json())["error"]["code"] == "bad_position"


async def test_the_token_in_the_query(server: Server, http: aiohttp.ClientSession) -> None:
    """`/ws?token=abc` connects; without authentication the token is not looked at, and not repeated anywhere."""
    async with http.ws_connect(f"{server.url}/ws?token=secret-abc") as ws:
        assert "secret-abc" not in await ws.receive_str()
        await ws.send_json({"type": "join", "room": "general"})
        assert (await ws.receive_json())["type"] == "joined"
    _, out, errors = server.stop()
    assert "secret-abc" not in out + errors
