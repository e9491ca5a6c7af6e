"""Hooks by HTTP: an application next door says who somebody is, what they may do, and looks at what they send."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from tests.access.support import bearer, knock, serving
from tests.support import TRANSPORTS, Server, eventually, free_port
from tests.webhooks.support import SECRET, Receiver, receiving
from trunkline import Hub
from trunkline.core.webhook import HooksSettings
from trunkline.errors import ConfigError
from trunkline.hub import use_http_hooks


class Application:
    """An application in another language, and what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, Any]] = []
        self.allowed = {"ana"}
        self.release = asyncio.Event()
        self.late: Any = None  # what it says when it is released
        self.answers: dict[str, Any] = {}  # instead of what it would say, by kind

    def kinds(self) -> list[str]:
        return [kind for kind, _ in self.asked]

    async def answer(self, content: Mapping[str, Any], _: web.Request) -> web.StreamResponse:
        kind, data = content["type"].removeprefix("trunkline."), content["data"]
        self.asked.append((kind, data))
        if kind in self.answers:
            told = self.answers[kind]
            if isinstance(told, int):
                return web.Response(status=told)
            if isinstance(told, str):
                return web.Response(text=told)
            if told is None:
                await self.release.wait()
                return web.Response(status=500) if self.late is None else web.json_response(self.late)
            return web.json_response(told)
        if kind == "authenticate":
            user = data["cookies"].get("session") or data["token"]
            permissions = {"read": ["*"], "write": ["*"], "call": ["*"]}
            return web.json_response({"user": user, "permissions": permissions} if user else {"user": None})
        if kind == "authorize":
            return web.json_response({"allowed": data["grant"]["user"] in self.allowed})
        if kind == "before_publish":
            if data["data"] == "insult":
                return web.json_response({"refuse": {"code": "insult", "message": "keep it civil"}})
            return web.json_response({"data": data["data"].lower()} if data["data"] != "same" else {})
        return web.json_response({"data": {"said": data["data"], "by": data["grant"]["user"], "name": data["name"]}})


@asynccontextmanager
async def asking(**settings: Any) -> AsyncIterator[tuple[Application, list[str], Receiver, Hub]]:
    application, hub = Application(), Hub("memory:")
    async with receiving(application.answer) as receiver:
        options: dict[str, Any] = {"url": receiver.url, "secret": SECRET, "timeout_s": 1.0} | settings
        use_http_hooks(hub, HooksSettings(**options))
        async with serving(hub) as urls:
            yield application, urls, receiver, hub
        application.release.set()


async def test_it_says_who_a_client_is(http: aiohttp.ClientSession) -> None:
    """On every transport; the same client is asked about once in a moment, and another one by itself."""
    async with asking(authenticate=True) as (application, urls, _, hub):
        for url in urls:
            for transport in TRANSPORTS:
                for headers, outcome in (
                    (bearer("ana"), "ok"),
                    ({"Cookie": "session=ana"}, "ok"),
                ):
                    assert await knock(http, transport, f"{url}/rooms/a", headers=headers) == outcome
            assert await knock(http, "shortpoll", f"{url}/rooms/a") == "unauthorized"
        once = len(application.asked)
        assert once < 20
        async with http.get(f"{urls[0]}/whoami", headers=bearer("ben")) as response:
            assert (await response.json())["user"] == "ben"
        async with http.get(f"{urls[0]}/whoami", headers=bearer("ben")) as response:
            assert (await response.json())["user"] == "ben"
        assert len(application.asked) == once + 1
        await hub.recheck("ben")
        async with http.get(f"{urls[0]}/whoami", headers=bearer("ben")) as response:
            assert response.status == 200
        assert len(application.asked) == once + 2
        kind, asked = application.asked[-1]
        assert (kind, asked["token"], asked["cookies"]) == ("authenticate", "ben", {})


async def test_it_says_what_a_client_may_do(http: aiohttp.ClientSession) -> None:
    async with asking(authenticate=True, authorize=True, cache_s=0.0) as (application, urls, _, __):
        url = f"{urls[0]}/rooms/a"
        assert await knock(http, "shortpoll", url, headers=bearer("ana")) == "ok"
        assert await knock(http, "shortpoll", url, headers=bearer("ben")) == "forbidden"
        application.allowed.add("ben")
        assert await knock(http, "shortpoll", url, headers=bearer("ben")) == "ok"
        _, asked = application.asked[-1]
        assert (asked["action"], asked["room"], asked["grant"]["user"]) == ("read", "a", "ben")


async def test_it_looks_at_messages_and_answers_calls(http: aiohttp.ClientSession) -> None:
    async with asking(authenticate=True, before_publish=("chat:*",), calls=("*",)) as (application, urls, _, hub):
        for data, status in (("HELLO", 201), ("same", 201), ("insult", 422)):
            async with http.post(f"{urls[0]}/rooms/chat:1", json={"data": data}, headers=bearer("ana")) as response:
                assert response.status == status
        async with http.post(f"{urls[0]}/rooms/other", json={"data": "LOUD"}, headers=bearer("ana")) as response:
            assert response.status == 201
        assert [message.data for message in (await hub.page("chat:1", since="start")).messages] == ["hello", "same"]
        body = {"data": [1], "id": "k"}
        for _ in range(2):
            async with http.post(f"{urls[0]}/calls/move", json=body, headers=bearer("ana")) as response:
                assert (await response.json())["data"] == {"said": [1], "by": "ana", "name": "move"}
        assert application.kinds().count("call") == 1
        application.answers["call"] = {"refuse": {"code": "off_board", "status": 409}}
        async with http.post(f"{urls[0]}/calls/move", json={}, headers=bearer("ana")) as response:
            assert (response.status, (await response.json())["error"]["code"]) == (409, "off_board")


WRONG = [500, 302, "no JSON", "[]", {"refuse": {"code": "internal"}}, {"refuse": {}}, "x" * 300_000, None]


async def test_slow_calls_hold_nobody_up(http: aiohttp.ClientSession) -> None:
    """However many there are: others are let in, and may publish."""
    async with asking(authenticate=True, before_publish=("*",), calls=("slow",)) as (application, urls, _, _hub):
        application.answers["call"] = None
        calls = [
            asyncio.ensure_future(http.post(f"{urls[0]}/calls/slow", json={"data": n}, headers=bearer(f"u{n % 5}")))
            for n in range(40)
        ]
        await eventually(lambda: application.kinds().count("call") == 40)
        async with http.post(f"{urls[0]}/rooms/r", json={"data": "x"}, headers=bearer("ben")) as response:
            assert response.status == 201
        application.release.set()
        for call in calls:
            (await call).close()


async def test_an_answer_from_before_a_change_is_not_kept(http: aiohttp.ClientSession) -> None:
    """Permissions change while the application answers: its next request is asked about again."""
    async with asking(authenticate=True) as (application, urls, _, hub):
        application.answers["authenticate"] = None
        asked = asyncio.ensure_future(http.get(f"{urls[0]}/rooms/r?wait=0", headers=bearer("ana")))
        await eventually(lambda: application.asked)
        await hub.recheck("ana")
        application.late = {"user": "ana", "permissions": {"read": ["*"]}}
        application.release.set()
        assert (await asked).status == 200
        application.answers["authenticate"] = {"user": "ana", "permissions": {"read": []}}
        async with http.get(f"{urls[0]}/rooms/r?wait=0", headers=bearer("ana")) as response:
            assert response.status == 403


@pytest.mark.parametrize("wrong", WRONG, ids=[str(n) for n in range(len(WRONG))])
async def test_without_an_answer_nothing_is_permitted(http: aiohttp.ClientSession, wrong: Any) -> None:
    """An error, a redirect, nonsense, too much, or nothing in time."""
    async with asking(
        authenticate=True, authorize=True, before_publish=("*",), calls=("*",), timeout_s=0.3, cache_s=0.0
    ) as (application, urls, _, hub):
        url = urls[0]
        if not isinstance(wrong, dict):
            for kind in ("authenticate", "authorize"):
                application.answers = {kind: wrong}
                assert await knock(http, "shortpoll", f"{url}/rooms/a", headers=bearer("ana")) == "internal"
        application.answers = {"before_publish": wrong}
        async with http.post(f"{url}/rooms/a", json={"data": "x"}, headers=bearer("ana")) as response:
            assert (response.status, (await response.json())["error"]["code"]) == (500, "internal")
        assert (await hub.page("a", since="start")).messages == []
        if wrong is not None:
            application.answers = {"call": wrong}
            async with http.post(f"{url}/calls/move", json={}, headers=bearer("ana")) as response:
                assert (response.status, (await response.json())["error"]["code"]) == (500, "internal")


async def test_an_application_that_is_away_lets_nobody_in(http: aiohttp.ClientSession) -> None:
    """And a call that may have arrived has an unknown outcome, and is not sent again."""
    hub = Hub("memory:")
    use_http_hooks(hub, HooksSettings(url=f"http://127.0.0.1:{free_port()}/", secret=SECRET, authenticate=True))
    async with serving(hub) as urls:
        assert await knock(http, "shortpoll", f"{urls[0]}/rooms/a", headers=bearer("ana")) == "internal"

    async def cut(_: Mapping[str, Any], request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        request.transport.close()
        return web.Response()

    async with receiving(cut) as receiver:
        hub = Hub("memory:")
        use_http_hooks(hub, HooksSettings(url=receiver.url, secret=SECRET, calls=("*",)))
        async with serving(hub) as urls, http.post(f"{urls[0]}/calls/move", json={"id": "k"}) as response:
            assert (await response.json())["error"]["code"] == "outcome_unknown"
        assert len(receiver.ids) == 1


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"url": ""}, "http"),
        ({"url": "http://a/", "secret": None}, "secret"),
        ({"url": "http://a/", "timeout_s": 0}, "timeout_s"),
    ],
)
def test_settings_that_cannot_be(settings: dict[str, Any], text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        use_http_hooks(Hub("memory:"), HooksSettings(**({"secret": SECRET} | settings)))


async def test_a_server_asks_what_its_file_says(tmp_path: Path, http: aiohttp.ClientSession) -> None:
    application = Application()
    async with receiving(application.answer) as receiver:
        (tmp_path / "secret").write_text(SECRET)
        config = tmp_path / "trunkline.toml"
        config.write_text(f'[hooks]\nurl = "{receiver.url}"\nsecret_file = "{tmp_path}/secret"\nauthenticate = true\n')
        with Server("--config", str(config)) as server:
            assert await knock(http, "websocket", f"{server.url}/rooms/a", headers=bearer("ana")) == "ok"
            assert await knock(http, "shortpoll", f"{server.url}/rooms/a") == "unauthorized"
