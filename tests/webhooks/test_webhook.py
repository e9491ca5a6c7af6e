"""Webhooks: in order, signed, again until they are taken, and to no address that was not checked."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from tests.access.support import serving
from tests.consumers.support import hurry
from tests.support import Server, eventually
from tests.webhooks.support import LOCAL, SECRET, Receiver, receiving
from trunkline import Hub
from trunkline.errors import ConfigError
from trunkline.hub import context_of
from trunkline.testing import TestHub
from trunkline.webhooks import webhook as module


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RETRY_S", 0.02)
    monkeypatch.setattr(module, "RETRY_S_MAX", 0.05)
    hurry(monkeypatch)


def posting(receiver: Receiver, store: str = "memory:", **settings: Any) -> Hub:
    hub = Hub(store)
    options: dict[str, Any] = {"secret": SECRET, "networks": LOCAL, "since": "start", "name": "w"} | settings
    hub.webhook(receiver.url, options.pop("rooms", "orders:*"), **options)
    return hub


async def ended(hub: Hub, receiver: Receiver) -> None:
    """Until the webhook has posted, and has ended."""
    await eventually(lambda: receiver.ids and not context_of(hub).consumers.running())


async def has_nothing_left(hub: Hub) -> bool:
    """Whether the webhook has handled everything."""
    return all(info.lag == 0 for info in await hub.admin.consumers())


async def test_messages_are_posted_in_order_and_signed() -> None:
    """In batches, with all that a message has, and what a receiver needs to take each once."""
    async with receiving() as receiver, posting(receiver) as hub:
        for n in range(250):
            await hub.publish("orders:1", n, sender="ana", id=f"m{n}")
        await hub.publish("other", "x")
        await eventually(lambda: len(receiver.data) == 250)
        assert receiver.data == list(range(250))
        assert len(receiver.bodies) < 100
        assert max(len(body["data"]["messages"]) for body in receiver.bodies) <= 100
        [first, *_] = receiver.messages
        assert first["message"] | {"at": 0} == {
            "room": "orders:1", "offset": 1, "id": "m0", "from": "ana", "at": 0, "data": 0,
        }  # fmt: skip
        assert first["position"].endswith(".1")
        assert first["fence"] > 0
        assert receiver.bodies[0]["type"] == "trunkline.batch"
        assert len(set(receiver.ids)) == len(receiver.ids)


async def test_a_batch_that_is_not_taken_is_posted_again_and_nothing_overtakes_it() -> None:
    """With the same id; also when there is no answer at all."""
    async with receiving() as receiver, posting(receiver, batch_messages=1) as hub:
        receiver.statuses = [500, 503, 429, 404]
        for n in range(3):
            await hub.publish("orders:1", n)
        await eventually(lambda: receiver.data == [0, 1, 2])
        assert len(receiver.ids) == 7
        assert len(set(receiver.ids[:5])) == 1


async def test_it_goes_on_where_it_was_after_a_restart(tmp_path: Path) -> None:
    async with receiving() as receiver:
        url = f"sqlite:///{tmp_path}/log.db"
        async with posting(receiver, url) as hub:
            await hub.publish("orders:1", 0)
            await eventually(lambda: receiver.data == [0])
        async with Hub(url) as hub:
            await hub.publish("orders:1", 1)
        async with posting(receiver, url):
            await eventually(lambda: receiver.data == [0, 1])


async def test_what_is_given_up_is_reported_as_a_gap(caplog: pytest.LogCaptureFixture) -> None:
    """After its time, or soon if the receiver says that it will never take it; and in the room of those."""
    async with receiving() as receiver, posting(receiver, batch_messages=1) as hub:
        receiver.statuses = [400] * module.NEVER_TRIES
        with caplog.at_level(logging.ERROR, "trunkline"):
            for n in range(2):
                await hub.publish("orders:1", n)
            await eventually(lambda: receiver.data == [1])
        [gap] = receiver.gaps
        assert (gap["room"], gap["from"], gap["to"], gap["reason"]) == ("orders:1", 1, 1, "given_up")
        [aside] = (await hub.page("$aside.w", since="start")).messages
        assert (aside.data["offset"], aside.data["reason"]) == (1, "it answered 400")
        assert any("given up" in record.getMessage() for record in caplog.records)
    async with receiving() as receiver, posting(receiver, batch_messages=2, give_up_s=0.1) as hub:
        receiver.statuses = [500] * 3 + [502] * 9
        for n in range(3):
            await hub.publish("orders:1", n)
        await eventually(lambda: receiver.gaps)
        assert receiver.gaps[0]["reason"] == "given_up"


async def test_what_was_given_up_is_told_after_a_restart(tmp_path: Path) -> None:
    """And as long as the receiver does not take it, again, while it takes messages of other rooms."""
    url = f"sqlite:///{tmp_path}/log.db"

    async def answer(content: Any, _: web.Request) -> web.Response:
        said = [entry["message"]["data"] for entry in content["data"]["messages"]]
        taken.extend(said if said == ["good"] else [])
        return web.Response(status=204 if said == ["good"] else 500)

    taken: list[str] = []
    async with receiving(answer) as receiver, posting(receiver, url, batch_messages=1, give_up_s=0.1) as hub:
        await hub.publish("orders:1", "bad")
        await eventually(lambda: receiver.bodies and receiver.bodies[-1]["data"]["gaps"])
        await hub.publish("orders:2", "good")
        await eventually(lambda: taken == ["good"])
    async with receiving() as receiver, posting(receiver, url):
        await eventually(lambda: receiver.gaps)
        assert [(gap["room"], gap["from"], gap["to"]) for gap in receiver.gaps] == [("orders:1", 1, 1)]
        assert receiver.data == []


async def test_a_gap_that_a_receiver_was_gone_for_is_told_after_a_restart(tmp_path: Path) -> None:
    """And nothing is posted behind it until then."""
    url = f"sqlite:///{tmp_path}/log.db"
    async with receiving() as receiver, posting(receiver, url) as hub:
        await hub.publish("orders:1", 1)
        await eventually(lambda: receiver.data == [1])
    async with Hub(url) as hub:
        await hub.admin.delete("orders:1")
        await hub.publish("orders:1", 2)
    async with receiving() as receiver:
        receiver.statuses = [410]
        async with posting(receiver, url) as hub:
            await ended(hub, receiver)
            assert len(receiver.ids) == 1
        async with posting(receiver, url):
            await eventually(lambda: receiver.data == [2])
            assert [gap["reason"] for gap in receiver.gaps] == ["deleted"]


async def test_what_is_redacted_while_it_is_tried_is_posted_no_more() -> None:
    """A receiver may be away for a day; what was taken away meanwhile it never gets."""
    async with receiving() as receiver, posting(receiver) as hub:
        receiver.statuses = [500] * 1000
        await hub.publish("orders:1", "secret")
        await hub.publish("orders:1", "other")
        await eventually(lambda: len(receiver.ids) > 2)
        await hub.admin.redact("orders:1", 1)
        receiver.statuses = [500, 500]  # one may be on its way
        await eventually(lambda: "other" in receiver.data)
        assert receiver.data == [None, "other"]


async def test_gaps_and_redactions_are_posted() -> None:
    async with receiving() as receiver, posting(receiver) as hub:
        await hub.publish("orders:1", 1)
        await eventually(lambda: receiver.data == [1])
        await hub.admin.redact("orders:1", 1)
        await eventually(lambda: any(body["data"]["redactions"] for body in receiver.bodies))
        await hub.admin.delete("orders:1")
        await eventually(lambda: [gap["reason"] for gap in receiver.gaps] == ["deleted"])


async def test_presence_and_connections_are_posted_if_asked_for(http: aiohttp.ClientSession) -> None:
    async with receiving() as receiver:
        hub = posting(receiver, rooms=(), events=("presence", "connections"))
        async with serving(hub) as urls:
            hub._engine.presence.enter("chat:1", "ana", "phone-123", b"{}")
            async with http.ws_connect(f"{urls[0]}/rooms/chat:1") as socket:
                await socket.receive_json()
            hub._engine.presence.leave("chat:1", "ana", "phone-123", at_once=True)
            await eventually(lambda: len(receiver.data) == 4)
        by_type = {event["type"]: event for event in receiver.data}
        assert set(by_type) == {"joined", "left", "connected", "disconnected"}
        assert (by_type["joined"]["room"], by_type["joined"]["member"]) == ("chat:1", "ana")
        assert by_type["connected"]["session"] == by_type["disconnected"]["session"]
        assert by_type["disconnected"]["reason"] == "closed"


async def test_what_is_posted_of_a_user_goes_with_the_user() -> None:
    """Erased: nothing of presence and connections names them, and the receiver is told which messages to forget."""
    async with receiving() as receiver:
        hub = posting(receiver, rooms=(), events=("presence", "connections"))
        async with hub:
            hub._engine.presence.enter("chat:1", "ana", "phone-123", b"{}")
            await eventually(lambda: len(receiver.data) == 1)
            job = await hub.admin.erase("ana")

            async def is_done() -> bool:
                return (await hub.admin.erasure(job.id)).state == "done"

            await eventually(is_done)
            await eventually(lambda: [r for body in receiver.bodies for r in body["data"].get("redactions", [])])
            for room in ("$presence", "$connections"):
                page = await hub._engine.store.read(room, 0, 100, 1 << 20)
                assert not any("ana" in str(message.data) or message.sender == "ana" for message in page.messages)


async def test_events_are_posted_once_after_a_restart_of_the_hub() -> None:
    async with receiving() as receiver:
        hub = posting(receiver, rooms=(), events=("presence",))
        async with hub:
            pass
        async with hub:
            hub._engine.presence.enter("chat:1", "ana", "phone-123", b"{}")
            await eventually(lambda: receiver.data)
            await eventually(lambda: has_nothing_left(hub))
            assert len(receiver.data) == 1


async def test_a_receiver_that_is_gone_is_left_alone(caplog: pytest.LogCaptureFixture) -> None:
    """410 is for good, until a restart; the messages stay."""
    async with receiving() as receiver, posting(receiver, batch_messages=1) as hub:
        receiver.statuses = [410]
        with caplog.at_level(logging.ERROR, "trunkline"):
            await hub.publish("orders:1", 1)
            await eventually(lambda: "gone for good" in caplog.text)
        await ended(hub, receiver)
        await hub.publish("orders:1", 2)
        assert receiver.data == []


async def test_tests_do_not_post() -> None:
    async with receiving() as receiver:
        hub = posting(receiver)
        async with TestHub(hub) as test:
            await test.hub.publish("orders:1", 1)
            await test.clock.tick(30)
        assert receiver.ids == []


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"url": "http://example.com/"}, "https"),
        ({"url": "https://10.0.0.1/"}, "not public"),
        ({"url": "https://[::ffff:127.0.0.1]/"}, "not public"),
        ({"url": "https://127.1/"}, "not public"),
        ({"url": "https://0x7f000001/"}, "not public"),
        ({"url": "https://user:secret@example.com/"}, "user or a password"),
        ({"url": "ftp://example.com/"}, "https"),
        ({"url": "https:///x"}, "https"),
        ({"secret": "short"}, "whsec_"),
        ({"rooms": ()}, "name rooms"),
        ({"rooms": "no room"}, "neither"),
        ({"networks": ["here"]}, "networks"),
        ({"timeout_s": 0}, "timeout_s"),
    ],
)
def test_settings_that_cannot_be(settings: dict[str, Any], text: str) -> None:
    given: dict[str, Any] = {"url": "https://example.com/", "rooms": "orders:*", "secret": SECRET} | settings
    with pytest.raises(ConfigError, match=text) as refused:
        Hub("memory:").webhook(given.pop("url"), given.pop("rooms"), **given)
    assert SECRET not in str(refused.value)


def test_two_of_one_name_cannot_be() -> None:
    hub = Hub("memory:")
    hub.webhook("https://example.com/", "a", secret=SECRET)
    with pytest.raises(ConfigError, match="already"):
        hub.webhook("https://example.com/", "b", secret=SECRET)


async def test_a_server_posts_what_its_file_says(tmp_path: Path, http: aiohttp.ClientSession) -> None:
    """`[[webhooks]]` of `trunkline serve`, with its secret in a file of its own."""
    async with receiving() as receiver:
        (tmp_path / "secret").write_text(SECRET + "\n")
        config = tmp_path / "trunkline.toml"
        config.write_text(
            f'[[webhooks]]\nurl = "{receiver.url}"\nrooms = ["orders:*"]\nsecret_file = "{tmp_path}/secret"\n'
            'networks = ["127.0.0.0/8"]\n'
        )
        with Server("--config", str(config), store=f"sqlite:///{tmp_path}/log.db") as server:
            async with http.post(f"{server.url}/rooms/orders:1", json={"data": "x"}) as response:
                assert response.status == 201
            await eventually(lambda: receiver.data == ["x"])
            code, _, errors = server.stop()
            assert (code, SECRET in errors) == (0, False)
