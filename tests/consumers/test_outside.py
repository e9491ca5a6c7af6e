"""Consumers outside: an event stream, and acknowledgements that may go to any node."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.access.support import ADMIN, SECRET, bearer, serving, token
from tests.consumers.support import hurry
from tests.support import WAIT_S, events, eventually
from trunkline import Hub, Issuer, JwtAuth


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    hurry(monkeypatch)


class Stream:
    """An event stream of a consumer."""

    def __init__(
        self, http: aiohttp.ClientSession, url: str, found: AsyncIterator[dict[str, str]], **headers: str
    ) -> None:
        self._http, self._url, self._events, self._headers = http, url, found, headers
        self.session = ""

    async def next(self, kind: str = "message") -> Any:
        async with asyncio.timeout(WAIT_S):
            async for event in self._events:
                found = event.get("event", "message")
                if found == "consuming":
                    self.session = json.loads(event["data"])["session"]
                if found == kind and "data" in event:
                    return json.loads(event["data"])
        raise AssertionError("the stream has ended")

    async def settle(self, message: Any, url: str = "", **more: Any) -> int:
        body = {"session": self.session, **{name: message[name] for name in ("room", "position", "fence")}, **more}
        async with self._http.post(f"{url or self._url}/acks", json=body, headers=self._headers) as response:
            return response.status


@asynccontextmanager
async def consuming(
    http: aiohttp.ClientSession, url: str, rooms: str = "orders:*", headers: dict[str, str] | None = None, **query: str
) -> AsyncIterator[Stream]:
    accept = {"Accept": "text/event-stream", **(headers or {})}
    async with http.get(url, params={"rooms": rooms, **query}, headers=accept) as response:
        assert response.status == 200, await response.text()
        yield Stream(http, url, events(response.content), **(headers or {}))


async def test_messages_come_and_are_acknowledged(http: aiohttp.ClientSession) -> None:
    """On our server and on another: in order, the next one of a room when the one before is handled."""
    hub = Hub("memory:")
    async with serving(hub) as urls:
        for n in range(3):
            await hub.publish("orders:1", n, sender="ana")
        for url in urls:
            async with consuming(http, f"{url}/consumers/{url[-4:]}") as stream:
                first = await stream.next()
                assert (first["data"], first["from"], first["tries"]) == (0, "ana", 0)
                assert first["position"].endswith(".1")
                assert await stream.settle(first) == 204
                assert await stream.settle(first) == 204  # again, since the answer may be lost
                second = await stream.next()
                assert await stream.settle(second, failed="no such account") == 204
                again = await stream.next()
                assert (again["data"], again["tries"]) == (1, 1)
                assert await stream.settle(again | {"fence": 1}) == 409
                assert await stream.settle(again | {"position": "x.9"}) == 409
                assert await stream.settle(again) == 204
                assert (await stream.next())["data"] == 2
            await eventually(lambda: not hub._context.acknowledgements.streams)
        async with consuming(http, f"{urls[0]}/consumers/{urls[0][-4:]}") as stream:
            last = await stream.next()
            assert (last["data"], last["tries"]) == (2, 1)  # it was not acknowledged


async def test_what_else_is_told(http: aiohttp.ClientSession) -> None:
    """Gaps and redactions, which need no acknowledgement."""
    hub = Hub("memory:")
    async with serving(hub) as urls, consuming(http, f"{urls[0]}/consumers/c") as stream:
        await hub.publish("orders:1", 1)
        assert await stream.settle(await stream.next()) == 204
        await hub.admin.redact("orders:1", 1)
        assert (await stream.next("redacted"))["redacts"] == [1]
        await hub.admin.delete("orders:1")
        assert (await stream.next("gap"))["reason"] == "deleted"


async def test_acknowledgements_may_go_to_any_node(http: aiohttp.ClientSession, tmp_path: Path) -> None:
    """And when the stream's own is gone, they are refused: the message goes to another one."""
    url = f"sqlite:///{tmp_path}/log.db?shared=1"
    one, two = Hub(url), Hub(url)
    async with serving(two) as others:
        async with serving(one) as urls:
            await eventually(lambda: two._engine.cluster is not None and len(two._engine.cluster) == 1)
            elsewhere = f"{others[0]}/consumers/c"
            async with consuming(http, f"{urls[0]}/consumers/c") as stream:
                await one.publish("orders:1", 1)
                await two.publish("orders:1", 2)
                assert await stream.settle(await stream.next(), elsewhere) == 204
                second = await stream.next()
                assert second["data"] == 2
        assert await stream.settle(second, elsewhere) == 409
        async with consuming(http, elsewhere) as stream:
            again = await stream.next()
            assert (again["data"], again["fence"] > second["fence"]) == (2, True)


async def test_who_may(http: aiohttp.ClientSession) -> None:
    """By the consumer's name, and only what all of the pattern may be read; one's acknowledgements are one's own."""
    hub = Hub("memory:", auth=JwtAuth([Issuer(secret=SECRET)]))
    worker = bearer(token("worker", rooms={"consume": ["billing"], "read": ["orders:*"]}))
    async with serving(hub) as urls:
        url = f"{urls[0]}/consumers"
        for path, headers, status in (
            ("billing?rooms=orders:*", worker, 200),
            ("billing?rooms=orders:7", worker, 200),
            ("billing?rooms=*", worker, 403),
            ("billing?rooms=orders:*&rooms=chat:*", worker, 403),
            ("other?rooms=orders:*", worker, 403),
            ("billing?rooms=orders:*", bearer(token("ana")), 403),
            ("billing?rooms=orders:*", {}, 401),
            ("billing?rooms=$presence", bearer(token("ana", rooms={"consume": ["*"], "read": ["*"]})), 403),
            ("billing", worker, 400),
            ("billing?rooms=no%20room", worker, 400),
            ("billing?rooms=a&in_flight=0", worker, 400),
            ("b%20d?rooms=orders:*", worker, 400),
        ):
            async with http.get(f"{url}/{path}", headers=headers | {"Accept": "text/event-stream"}) as response:
                assert response.status == status, path
        async with http.get(f"{url}/billing?rooms=orders:*", headers=worker) as response:
            assert response.status == 406
        async with consuming(http, f"{url}/billing", headers=worker) as stream:
            await hub.publish("orders:1", 1)
            message = await stream.next()
            thief = bearer(token("thief", rooms={"consume": ["billing"], "read": ["*"]}))
            body = {"session": stream.session, **{name: message[name] for name in ("room", "position", "fence")}}
            async with http.post(f"{url}/billing/acks", json=body, headers=thief) as response:
                assert response.status == 409
            assert await stream.settle(message) == 204


async def test_a_permission_that_ends_ends_the_stream(http: aiohttp.ClientSession) -> None:
    """That to consume, or that to read a room of it; as it ends what reads rooms."""
    allowed = {("consume", "billing"), ("read", "orders:*")}
    hub = Hub("memory:", auth=JwtAuth([Issuer(secret=SECRET)]))
    hub.authorize(lambda _, action, room: (action, room) in allowed)
    worker = bearer(token("worker"))
    async with serving(hub) as urls:
        url = f"{urls[0]}/consumers/billing"
        for withdrawn in list(allowed):
            async with consuming(http, url, headers=worker) as stream:
                await hub.publish("orders:1", 1)
                await stream.settle(await stream.next())
                await hub.recheck("worker")
                await hub.publish("orders:1", 2)
                await stream.settle(await stream.next())
                allowed.remove(withdrawn)
                await hub.recheck("worker")
                assert (await stream.next("closed"))["code"] == "forbidden"
            async with http.get(
                url, params={"rooms": "orders:*"}, headers=worker | {"Accept": "text/event-stream"}
            ) as refused:
                assert refused.status == 403
            allowed.add(withdrawn)


async def test_an_acknowledgement_is_for_the_consumer_that_it_names(http: aiohttp.ClientSession) -> None:
    """And not for another stream of the same user."""
    hub = Hub("memory:")
    async with serving(hub) as urls, consuming(http, f"{urls[0]}/consumers/a") as stream:
        await hub.publish("orders:1", 1)
        message = await stream.next()
        body = {"session": stream.session, **{name: message[name] for name in ("room", "position", "fence")}}
        async with http.post(f"{urls[0]}/consumers/b/acks", json=body) as response:
            assert response.status == 409
        assert await stream.settle(message) == 204


async def test_administrators_see_and_delete_consumers(http: aiohttp.ClientSession) -> None:
    hub = Hub("memory:", auth=JwtAuth([Issuer(secret=SECRET)]))
    boss = bearer(token("boss", rooms=ADMIN))
    async with serving(hub) as urls:
        await hub.publish("orders:1", 1)
        await hub.publish("orders:1", 2)
        async with consuming(http, f"{urls[0]}/consumers/c", headers=boss) as stream:
            await stream.settle(await stream.next())
        await eventually(lambda: not hub._context.consumers.running())
        async with http.get(f"{urls[0]}/admin/consumers", headers=boss) as response:
            [found] = (await response.json())["consumers"]
        assert (found["name"], found["rooms"], found["cursors"], found["lag"], found["instances"]) == (
            "c", ["orders:*"], 1, 1, 0,
        )  # fmt: skip
        for status in (204, 404):
            async with http.delete(f"{urls[0]}/admin/consumers/c", headers=boss) as response:
                assert response.status == status
        async with http.get(f"{urls[0]}/admin/consumers", headers=bearer(token())) as response:
            assert response.status == 403
