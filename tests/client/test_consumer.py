"""A durable consumer in another process: it comes back, and its acknowledgements count once."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

from tests.access.support import SECRET, serving, token
from tests.consumers.support import hurry
from tests.support import WAIT_S, Server, eventually, publish, publish_surely
from tests.support import client as http_client
from trunkline import Hub, Issuer, JwtAuth
from trunkline.client import ClientError, ConsumedMessage, consume
from trunkline.client import consumer as client_module


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    hurry(monkeypatch)
    monkeypatch.setattr(client_module, "BACKOFF_S", 0.05)
    monkeypatch.setattr(client_module, "ACK_S", 1.0)


async def test_messages_come_in_order_and_fail_and_are_acknowledged() -> None:
    hub = Hub("memory:")
    told: list[Any] = []
    async with serving(hub) as urls:
        for n in range(4):
            await hub.publish("orders:1", n, sender="ana", id=f"m{n}")
        await hub.admin.redact("orders:1", 4)
        for url in urls:
            taken: list[tuple[Any, int]] = []
            async with (
                asyncio.timeout(WAIT_S),
                aclosing(consume(url, f"c{url[-4:]}", "orders:*", on_redacted=told.append)) as messages,
            ):
                async for message in messages:
                    taken.append((message.data, message.tries))
                    if taken == [(0, 0), (1, 0)]:
                        await message.fail("not now")
                        continue
                    await message.ack()
                    await message.ack()
                    if message.offset == 4:
                        break
            assert taken == [(0, 0), (1, 0), (1, 1), (2, 0), (None, 0)]
            assert (message.sender, message.id, message.redacted, message.fence > 0) == ("ana", "m3", True, True)
            assert message.position.endswith(".4")


async def test_gaps_are_told() -> None:
    hub = Hub("memory:")
    gaps: list[Any] = []

    async def on_gap(gap: dict[str, Any]) -> None:
        gaps.append(gap)

    async with serving(hub) as urls, aclosing(consume(urls[0], "c", "orders:*", on_gap=on_gap)) as messages:
        await hub.publish("orders:1", 1)
        await (await anext(messages)).ack()
        waiting = asyncio.ensure_future(anext(messages))
        await hub.admin.delete("orders:1")
        await eventually(lambda: [gap["reason"] for gap in gaps] == ["deleted"])
        await hub.publish("orders:1", 2)
        assert (await waiting).data == 2


async def test_what_the_application_raises_about_a_gap_ends_the_loop() -> None:
    """It is not taken for a stream that was lost, after which the gap would be passed over."""

    def on_gap(gap: Any) -> None:
        raise ValueError("this gap")

    hub = Hub("memory:")
    async with serving(hub) as urls:
        await hub.publish("r", 1)
        async with aclosing(consume(urls[0], "c", "r", on_gap=on_gap)) as messages:
            await (await anext(messages)).ack()
            await hub.admin.delete("r")
            with pytest.raises(ValueError, match="this gap"):
                await anext(messages)


async def test_it_comes_back_when_the_server_was_away(tmp_path: Path) -> None:
    """With what was not acknowledged; what was is not given again; the rest follows."""
    taken: list[Any] = []
    with Server(store=f"sqlite:///{tmp_path}/log.db") as server:

        async def work() -> None:
            async for message in consume(server.url, "c", "orders:*"):
                taken.append(message.data)
                try:
                    await message.ack()
                    acked.append(message.data)
                except ClientError:
                    taken.append("fenced")

        acked: list[Any] = []
        working = asyncio.ensure_future(work())
        async with http_client() as http:
            await publish(http, server.url, "orders:1", 1)
            await eventually(lambda: acked == [1])
            server.kill()
            server.start()
            await publish_surely(http, server.url, "orders:1", 2, "second")
            await eventually(lambda: 2 in taken)
        working.cancel()
    assert [data for data in taken if data != "fenced"] in ([1, 2], [1, 1, 2], [1, 2, 2])


async def test_who_has_lost_the_room_is_told() -> None:
    hub = Hub("memory:")
    async with serving(hub) as urls:
        await hub.publish("orders:1", 1)
        async with aclosing(consume(urls[0], "c", "orders:*")) as messages:
            lost: ConsumedMessage = await anext(messages)
        async with aclosing(consume(urls[0], "c", "orders:*")) as messages:
            again = await anext(messages)
            lost._stream._http = again._stream._http
            with pytest.raises(ClientError) as refused:
                await lost.ack()
            assert refused.value.code == "fenced"
            assert again.fence > lost.fence
            await again.ack()


async def test_refusals_that_are_for_good() -> None:
    hub = Hub("memory:", auth=JwtAuth([Issuer(secret=SECRET)]))
    async with serving(hub) as urls:
        for get_token, code in (
            (None, "unauthorized"),
            (lambda: "wrong", "unauthorized"),
            (lambda: token("ana"), "forbidden"),
        ):
            with pytest.raises(ClientError) as refused:
                await anext(consume(urls[0], "c", "orders:*", get_token=get_token))
            assert refused.value.code == code
        tokens: list[str] = []

        async def get() -> str:
            tokens.append(token("worker", rooms={"consume": ["c"], "read": ["orders:*"]}))
            return tokens[-1]

        await hub.publish("orders:1", 1)
        async with aclosing(consume(urls[0], "c", "orders:*", get_token=get)) as messages:
            await (await anext(messages)).ack()
        assert len(tokens) == 2
    for url, name, rooms in (("ftp://x", "c", "a"), ("http://x", "c d", "a"), ("http://x", "c", "a*b")):
        with pytest.raises(ValueError, match=r"http|name|pattern|neither"):
            await anext(consume(url, name, rooms))
