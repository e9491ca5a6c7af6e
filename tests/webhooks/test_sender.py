"""What is sent where: the address that was checked, no redirects, no proxies, and no more of an answer than is read."""

from __future__ import annotations

import asyncio
import socket

import pytest
from aiohttp import web
from aiohttp.resolver import ThreadedResolver

from tests.support import free_port
from tests.webhooks.support import LOCAL, SECRET, receiving
from trunkline.core.webhook import parse_networks, parse_secret, signature
from trunkline.webhooks.sender import ANSWER_BYTES_MAX, Refused, Sender, Unsent


def signed(body: bytes = b"{}") -> dict[str, str]:
    import time

    return signature([parse_secret(SECRET)], "msg_1", int(time.time()), body)


async def test_a_name_that_leads_to_a_private_address_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever it led to when it was configured; what is resolved and allowed is what is connected to."""
    connected = []

    async def answer(_: object, request: web.Request) -> web.Response:
        connected.append(request.host)
        return web.Response()

    async with receiving(answer) as receiver:
        port = int(receiver.url.rsplit(":", 1)[1].split("/")[0])
        asked: list[str] = []

        async def resolve(self: object, host: str, port: int = 0, family: int = 0) -> list[dict[str, object]]:
            asked.append(host)
            return [
                {"hostname": host, "host": address, "port": port, "family": socket.AF_INET, "proto": 0, "flags": 0}
                for address in ("127.0.0.1", "127.0.0.2")
            ]

        monkeypatch.setattr(ThreadedResolver, "resolve", resolve)
        sender = Sender(f"https://rebound.example:{port}/", [], 5)
        with pytest.raises(Refused, match="not allowed"):
            await sender.post(b"{}", {})
        assert connected == []
        await sender.close()
        listed = Sender(f"http://mine.example:{port}/", parse_networks(["127.0.0.1"]), 5)
        assert (await listed.post(b"{}", signed())).status == 200
        assert connected == [f"mine.example:{port}"]
        await listed.close()
        assert asked == ["rebound.example", "mine.example"]


async def test_http_goes_to_listed_addresses_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """A public one is on the way of whoever stands between."""

    async def resolve(self: object, host: str, port: int = 0, family: int = 0) -> list[dict[str, object]]:
        return [{"hostname": host, "host": "93.184.215.14", "port": port, "family": family, "proto": 0, "flags": 0}]

    monkeypatch.setattr(ThreadedResolver, "resolve", resolve)
    sender = Sender("http://mine.example/", parse_networks(["127.0.0.1"]), 5)
    with pytest.raises(Refused, match="not allowed"):
        await sender.post(b"{}", {})
    await sender.close()


async def test_a_redirect_is_an_answer_and_not_followed() -> None:
    async def answer(_: object, request: web.Request) -> web.Response:
        return web.Response(status=302, headers={"Location": "http://127.0.0.1:1/"})

    async with receiving(answer) as receiver:
        sender = Sender(receiver.url, parse_networks(LOCAL), 5)
        assert (await sender.post(b"{}", signed())).status == 302
        assert len(receiver.ids) == 1
        await sender.close()


async def test_a_proxy_of_the_environment_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "all_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{free_port()}")
    async with receiving() as receiver:
        sender = Sender(receiver.url, parse_networks(LOCAL), 5)
        assert (await sender.post(b"{}", signed())).status == 204
        await sender.close()


async def test_no_more_of_an_answer_is_read_than_a_little() -> None:
    """However large it is, and however small it was packed."""

    async def answer(_: object, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Encoding": "gzip"} if request.path == "/hook" else {})
        await response.prepare(request)
        try:
            for _ in range(2000):
                await response.write(b"x" * 16 * 1024)
        except (ConnectionError, OSError):
            pass
        return response

    async with receiving(answer) as receiver:
        sender = Sender(receiver.url, parse_networks(LOCAL), 5)
        read = await sender.post(b"{}", signed())
        assert ANSWER_BYTES_MAX < len(read.body) <= ANSWER_BYTES_MAX + 16 * 1024
        await sender.close()


async def test_an_answer_that_does_not_come_is_not_waited_for() -> None:
    release = asyncio.Event()

    async def answer(_: object, request: web.Request) -> web.Response:
        await release.wait()
        return web.Response()

    async with receiving(answer) as receiver:
        sender = Sender(receiver.url, parse_networks(LOCAL), 0.1)
        with pytest.raises(Unsent) as unsent:
            await sender.post(b"{}", signed())
        assert unsent.value.was_sent
        release.set()
        await sender.close()
    refused = Sender(f"http://127.0.0.1:{free_port()}/", parse_networks(LOCAL), 5)
    with pytest.raises(Unsent) as unsent:
        await refused.post(b"{}", {})
    assert not unsent.value.was_sent
    await refused.close()
