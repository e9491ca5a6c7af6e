"""Headers and cookies of the application's own, by both clients, wherever the platform lets them be sent."""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import Iterator

import pytest
from playwright.async_api import Browser

from tests.access.support import SECRET
from tests.browser.conftest import CHROMIUM, browser
from tests.support import ROOT, TRANSPORTS, WAIT_S, Server
from trunkline.backend import Backend
from trunkline.client import call, connect, consume, publish
from trunkline.client.errors import ClientError
from trunkline.client.http_headers import request_headers

__all__ = ["browser"]  # a fixture

EVERYTHING = {action: ["*"] for action in ("read", "write", "consume", "call")}


@pytest.fixture(scope="module")
def page_server() -> Iterator[Server]:
    with Server() as running:
        yield running


@pytest.fixture(scope="module")
def server(page_server: Server) -> Iterator[Server]:
    with Server(
        "--auth",
        "jwt",
        "--auth-cookie",
        "sid",
        "--origins",
        page_server.url,
        environment={"TRUNKLINE_JWT__SECRET": SECRET},
    ) as running:
        yield running


@pytest.fixture
def token(server: Server) -> str:
    return Backend(server.url, secret=SECRET).token("ada", EVERYTHING)


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("by", ["headers", "cookies"])
async def test_the_python_client(server: Server, token: str, transport: str, by: str) -> None:
    own = {"headers": {"Authorization": f"Bearer {token}"}} if by == "headers" else {"cookies": {"sid": token}}
    async with connect(server.url, transports=[transport], **own) as client:  # type: ignore[arg-type]
        room = client.room(f"{transport}-{by}")
        assert await room.publish("hello") == 1
        assert client.user == "ada"
        assert len(await room.before(2)) == 1


async def test_consumers_and_calls_that_block(server: Server, token: str) -> None:
    headers = {"Authorization": f"Bearer {token}"}
    assert await asyncio.to_thread(publish, server.url, "orders", 1, headers=headers) == 1
    with pytest.raises(ClientError) as refused:
        await asyncio.to_thread(call, server.url, "nothing", headers=headers)
    assert refused.value.code == "unknown_call"
    async for message in consume(server.url, "billing", "orders", cookies={"sid": token}):
        assert message.data == 1
        await message.ack()
        break


def test_what_cannot_stand_in_a_header_is_refused() -> None:
    assert request_headers({"A": "b"}, {"c": "d", "e": "f"}) == {"A": "b", "Cookie": "c=d; e=f"}
    for headers, cookies in (
        ({"A": "b\r\nC: d"}, None),
        ({"": "b"}, None),
        (None, {"a;b": "c"}),
        (None, {"a": "b; c=d"}),
        (None, {"": "b"}),
    ):
        with pytest.raises(ValueError, match="cookie|header"):
            request_headers(headers, cookies)


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_the_javascript_client_in_node(server: Server, token: str, transport: str) -> None:
    code = """
        import { connect } from "./src/trunkline.js";
        import WebSocket from "ws";
        const client = connect(process.env.URL, {
          WebSocket, transports: [process.env.TRANSPORT], headers: { Authorization: `Bearer ${process.env.TOKEN}` },
        });
        console.log(await client.room("node").publish(1) > 0, client.user);
        client.close();
    """
    ended = subprocess.run(
        ["node", "--input-type=module", "-"],
        input=code,
        cwd=ROOT / "client",
        env=os.environ | {"URL": server.url, "TOKEN": token, "TRANSPORT": transport},
        capture_output=True,
        text=True,
        timeout=WAIT_S,
        check=False,
    )
    assert (ended.stdout, ended.stderr) == ("true ada\n", "")


@pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")
@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_cookies_go_to_a_server_of_another_origin(
    page_server: Server, server: Server, token: str, transport: str, browser: Browser
) -> None:
    page = await browser.new_page()
    await page.goto(f"{page_server.url}/livez")  # our own pages may speak with their own server alone
    code = """async ([url, token, transport]) => {
        document.cookie = `sid=${token}`; // of this host, whatever the port
        const { connect } = await import("/trunkline.js");
        const client = connect(url, { transports: [transport], credentials: "include", share: false });
        const offset = await client.room(`browser-${transport}`).publish(1);
        client.close();
        return [offset, client.user];
    }"""
    async with asyncio.timeout(WAIT_S):
        assert await page.evaluate(code, [server.url, token, transport]) == [1, "ada"]
