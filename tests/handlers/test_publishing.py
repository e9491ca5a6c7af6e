"""`before_publish`: the application looks at what clients publish, whatever way it comes."""

from __future__ import annotations

import ast
import asyncio
import logging
import sys
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest

import trunkline
from tests.access.support import ADMIN, SECRET, bearer, serving, token
from tests.support import WAIT_S, eventually
from trunkline import Grant, HookFailed, Hub, IncomingMessage, Issuer, JwtAuth, Limits, Refused
from trunkline.client import connect
from trunkline.errors import ConfigError, StoreUnavailable
from trunkline.hub import context_of
from trunkline.testing import TestHub

Publish = Callable[[aiohttp.ClientSession, str, Any], Awaitable[str]]
"""Publishes `{"text": …}` to the room chat:1 of a server; returns `stored`, or the code of its refusal."""


async def by_socket(http: aiohttp.ClientSession, url: str, text: str) -> str:
    async with http.ws_connect(f"{url}/connect", headers=bearer(token())) as socket:
        await socket.receive_json()
        await socket.send_json({"type": "message", "room": "chat:1", "id": text, "text": text})
        answer = await socket.receive_json()
        return "stored" if answer["type"] == "ack" else str(answer["code"])


async def by_post(http: aiohttp.ClientSession, url: str, text: str) -> str:
    body = {"data": {"text": text}, "id": text}
    async with http.post(f"{url}/rooms/chat:1", json=body, headers=bearer(token())) as response:
        answer = await response.json()
        return "stored" if response.status == 201 else str(answer["error"]["code"])


async def by_list(http: aiohttp.ClientSession, url: str, text: str) -> str:
    body = [{"room": "chat:1", "data": {"text": text}, "id": text}, {"room": "other", "data": 1}]
    async with http.post(f"{url}/publish", json=body, headers=bearer(token())) as response:
        first, second = await response.json()
        assert second["offset"] > 0
        return "stored" if response.status == 201 else str(first["error"]["code"])


def by_client(transport: str) -> Publish:
    async def publish(_: aiohttp.ClientSession, url: str, text: str) -> str:
        async with connect(url, get_token=token, transports=[transport]) as client:
            try:
                await client.publish("chat:1", {"text": text}, id=text)
            except Exception as error:  # noqa: BLE001 - whose code is looked at
                return str(getattr(error, "code", error))
            return "stored"

    return publish


WAYS: dict[str, Publish] = {
    "socket": by_socket,
    "post": by_post,
    "list": by_list,
    "client-websocket": by_client("websocket"),
    "client-sse": by_client("sse"),
    "client-poll": by_client("poll"),
}


def moderated(**settings: Any) -> tuple[Hub, list[tuple[str | None, str]]]:
    """A hub that refuses insults, takes shouting down, and says what it has looked at."""
    hub = Hub("memory:", auth=JwtAuth([Issuer(secret=SECRET)]), **settings)
    seen: list[tuple[str | None, str]] = []

    @hub.before_publish("chat:*")
    async def moderate(grant: Grant, message: IncomingMessage) -> None:
        await asyncio.sleep(0)
        seen.append((grant.user, message.data["text"]))
        if "idiot" in message.data["text"]:
            raise Refused("insult", "keep it civil")
        if "crash" in message.data["text"]:
            raise RuntimeError("the word list is away")
        message.data["text"] = message.data["text"].replace("SHOUT", "shout")

    return hub, seen


async def texts(hub: Hub, room: str = "chat:1") -> list[Any]:
    return [message.data for message in (await hub.page(room, since="start")).messages]


@pytest.mark.parametrize("way", WAYS)
async def test_a_client_publishes_past_the_application(http: aiohttp.ClientSession, way: str) -> None:
    """On our server and on another: it is changed, let through or refused, and nothing of what is refused is stored."""
    hub, seen = moderated()
    async with serving(hub) as urls:
        for n, url in enumerate(urls):
            assert await WAYS[way](http, url, f"hello{n}") == "stored"
            assert await WAYS[way](http, url, f"SHOUT{n}") == "stored"
            assert await WAYS[way](http, url, f"idiot{n}") == "insult"
        assert await texts(hub) == [{"text": t} for t in ("hello0", "shout0", "hello1", "shout1")]
        assert seen == [("ana", f"{word}{n}") for n in (0, 1) for word in ("hello", "SHOUT", "idiot")]


def test_there_is_no_other_way() -> None:
    """Who gives the appender a draft: this list. Each of them but the first is code of ours or of the application."""
    found = set()
    source = Path(trunkline.__file__).parent
    for path in source.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if (
                isinstance(node, ast.Attribute)
                and node.attr in ("submit", "append")
                and "appender" in ast.unparse(node.value)
            ):
                found.add((path.relative_to(source).as_posix(), node.attr))
    stores = {
        path.relative_to(source).as_posix()
        for path in source.rglob("*.py")
        if path.parent.name != "testing" and "store.append(" in path.read_text("utf-8").replace("self._store", "store")
    }
    assert found == {
        ("handlers/publishing.py", "submit"),  # all clients
        ("hub.py", "append"),  # Hub.publish, which is trusted unless it says `check`
        ("transports/socketio/edge.py", "append"),  # an application's `emit`; clients' own messages go by publishing
        ("access/administration.py", "append"),  # revocations
        ("access/audit.py", "append"),  # the audit log
        ("consumers/consumer.py", "append"),  # messages that were set aside
        ("webhooks/event_log.py", "append"),  # who joins and connects, for webhooks
    }
    assert stores == {"engine/appender.py"}


async def test_trusted_code_is_not_looked_at_unless_it_wants(http: aiohttp.ClientSession) -> None:
    """Python, and an administrator's `?check=false`; nobody else's."""
    hub, seen = moderated()
    async with serving(hub) as urls:
        await hub.publish("chat:1", {"text": "idiot, says the house"})
        await asyncio.to_thread(hub.publish_sync, "chat:1", {"text": "idiot, twice"})
        assert seen == []
        with pytest.raises(Refused, match="civil") as refused:
            await hub.publish("chat:1", {"text": "idiot"}, sender="ben", check=True)
        assert (refused.value.code, refused.value.status) == ("insult", 422)
        assert seen == [("ben", "idiot")]
        url, body = f"{urls[0]}/rooms/chat:1", {"data": {"text": "idiot"}}
        for query, who, status in (
            ("?check=false", token("boss", rooms=ADMIN), 201),
            ("?check=true", token("boss", rooms=ADMIN), 422),
            ("", token("boss", rooms=ADMIN), 422),
            ("?check=false", token("ana"), 422),
        ):
            async with http.post(url + query, json=body, headers=bearer(who)) as response:
                assert response.status == status, (query, await response.text())


async def test_a_repeat_gets_its_receipt_and_is_not_looked_at_again() -> None:
    hub, seen = moderated()
    async with hub:
        first = await hub.publish("chat:1", {"text": "SHOUT"}, id="k", sender="ana", check=True)
        again = await hub.publish("chat:1", {"text": "SHOUT"}, id="k", sender="ana", check=True)
        assert (again.offset, again.duplicate, len(seen)) == (first.offset, True, 1)
        await hub.publish("chat:1", {"text": "other"}, id="k", sender="ben", check=True)
        assert len(seen) == 2
        assert hub.statistics()["duplicates"] == 1


async def test_what_it_raises_refuses_and_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    """With `internal`, and without a word of the error."""
    hub, _ = moderated()
    async with hub:
        with caplog.at_level(logging.ERROR, "trunkline"), pytest.raises(HookFailed) as failed:
            await hub.publish("chat:1", {"text": "crash"}, check=True)
        assert (failed.value.code, "word list" in str(failed.value)) == ("internal", False)
        assert [record.message for record in caplog.records] == ["the application's moderated.<locals>.moderate failed"]
        assert await texts(hub) == []


@pytest.mark.parametrize("data", [object(), {"text": "x" * 70_000}, float("nan"), [[[[1]]]] * 2])
async def test_data_that_cannot_be_stored_refuses(data: Any) -> None:
    hub = Hub("memory:", limits=Limits(json_depth_max=3))

    @hub.before_publish()
    def replace(_: Grant, message: IncomingMessage) -> None:
        message.data = data

    async with hub:
        if data != data:  # NaN is null in JSON, as with any publish
            await hub.publish("r", 1, check=True)
            assert await texts(hub, "r") == [None]
        else:
            with pytest.raises(HookFailed):
                await hub.publish("r", 1, check=True)
            assert await texts(hub, "r") == []


async def test_what_is_not_changed_is_stored_to_the_byte(http: aiohttp.ClientSession) -> None:
    """Looking at numbers does not make other ones of them."""
    hub = Hub("memory:")

    @hub.before_publish()
    def look(_: Grant, message: IncomingMessage) -> None:
        assert message.data["b"] == 100

    async with serving(hub) as urls:
        body = b'{"data":{"a":1.0,"b":1e2}}'
        async with http.post(f"{urls[0]}/rooms/r", data=body, headers={"Content-Type": "application/json"}) as response:
            assert response.status == 201
        [message] = (await hub.page("r", since="start")).messages
        assert bytes(message.json) == b'{"a":1.0,"b":1e2}'


async def test_what_readers_could_take_for_something_else_is_refused(http: aiohttp.ClientSession) -> None:
    """Of a key that stands there twice, a hook sees one, and a reader perhaps the other."""
    hub = Hub("memory:")

    @hub.before_publish("chat:*")
    async def look(_: Grant, message: IncomingMessage) -> None:
        assert message.data

    async with serving(hub) as urls:
        for data in (
            b'{"text":"insult","text":"nice"}',
            b'{"text":"nice","more":[{"a":1,"a":2}]}',
            b'{"t":1,"\\u0074":2}',
        ):
            headers = {"Content-Type": "application/json"}
            async with http.post(f"{urls[0]}/rooms/chat:1", data=b'{"data":%b}' % data, headers=headers) as response:
                assert (response.status, (await response.json())["error"]["code"]) == (400, "bad_json")
            async with http.post(
                f"{urls[0]}/rooms/unmoderated", data=b'{"data":%b}' % data, headers=headers
            ) as response:
                assert response.status == 201  # nobody decides by it, and it is passed on to the byte


async def test_what_a_hook_itself_does_wrong_is_not_its_clients_fault() -> None:
    """An error of ours, a nested time-out, the end of the process: the client is told `internal`."""
    hub = Hub("memory:", limits=Limits(hook_s=0.1))

    @hub.before_publish("slow")
    async def slow(_: Grant, message: IncomingMessage) -> None:
        await asyncio.Event().wait()

    @hub.before_publish("wrong", "exit", "asks", "exits")
    async def wrong(_: Grant, message: IncomingMessage) -> None:
        if message.room == "wrong":
            await hub.publish("no room", 1)
        elif message.room == "asks":
            await hub.publish("slow", 1, check=True)
        elif message.room == "exit":
            sys.exit(3)

    @hub.before_publish("exits")
    def exits(_: Grant, message: IncomingMessage) -> None:
        sys.exit(3)

    async with hub:
        for room in ("wrong", "asks", "exit", "exits", "slow"):
            with pytest.raises(HookFailed) as failed:
                await hub.publish(room, 1, check=True)
            assert type(failed.value) is HookFailed
            assert failed.value.code == "internal"


async def test_a_hook_that_publishes_to_itself_comes_to_an_end() -> None:
    hub = Hub("memory:")
    runs = 0

    @hub.before_publish()
    async def again(_: Grant, message: IncomingMessage) -> None:
        nonlocal runs
        runs += 1
        await hub.publish("r", runs, sender=f"u{runs}", check=True)

    async with hub:
        with pytest.raises(HookFailed):
            await hub.publish("r", 0, check=True)
        assert runs == 8
        assert await texts(hub, "r") == []


@pytest.mark.parametrize("text", ["\ud800", "a\udcffb"])
async def test_a_refusal_may_have_any_text(http: aiohttp.ClientSession, text: str) -> None:
    """That of an error of the system, for example, which has bytes of its own."""
    hub = Hub("memory:")

    @hub.before_publish()
    async def refuse(_: Grant, message: IncomingMessage) -> None:
        raise Refused("no", text)

    async with serving(hub) as urls, http.post(f"{urls[0]}/rooms/r", json={"data": 1}) as response:
        assert (response.status, (await response.json())["error"]["code"]) == (422, "no")


def test_a_hook_that_could_not_be_called_is_refused_at_once() -> None:
    hub = Hub("memory:")
    wrong: list[tuple[Any, Any]] = [
        (hub.before_publish(), lambda message: None),
        (hub.before_publish("a"), lambda grant, message, more: None),
        (hub.on_connect, lambda: None),
        (hub.on_disconnect, lambda a, b: None),
    ]
    for register, hook in wrong:
        with pytest.raises(ConfigError, match="is called with"):
            register(hook)
    with pytest.raises(ConfigError, match=r"write @hub\.before_publish"):
        hub.before_publish(lambda grant, message: None)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"write @hub\.call"):
        hub.call(lambda call: None)  # type: ignore[arg-type]


async def test_several_hooks_see_what_those_before_have_made() -> None:
    hub = Hub("memory:")
    hub.before_publish("a:*", "b")(lambda _, message: setattr(message, "data", [*message.data, "first"]))
    hub.before_publish()(lambda _, message: setattr(message, "data", [*message.data, "second"]))
    async with hub:
        for room in ("a:1", "b", "c"):
            await hub.publish(room, [], check=True)
        assert await texts(hub, "a:1") == await texts(hub, "b") == [["first", "second"]]
        assert await texts(hub, "c") == [["second"]]
    for wrong in ("no room", lambda *_: None):
        with pytest.raises(ConfigError, match="before_publish"):
            hub.before_publish(wrong)  # type: ignore[arg-type]


async def test_messages_of_one_connection_and_room_stay_in_their_order(http: aiohttp.ClientSession) -> None:
    """However long each is looked at; another room does not wait for them, and a ping is answered meanwhile."""
    hub = Hub("memory:")
    release = asyncio.Event()

    @hub.before_publish("slow")
    async def look(_: Grant, message: IncomingMessage) -> None:
        if message.data["text"] == "0":
            await release.wait()

    async with serving(hub) as urls:
        for url in urls:
            release.clear()
            async with http.ws_connect(f"{url}/connect") as socket:
                await socket.receive_json()
                for n in range(5):
                    await socket.send_json({"type": "message", "room": "slow", "id": f"{n}-{url}", "text": str(n)})
                await socket.send_json({"type": "message", "room": "quick", "id": url, "text": "x"})
                await socket.send_json({"type": "ping"})
                assert {(await socket.receive_json())["type"] for _ in range(2)} == {"ack", "pong"}
                release.set()
                acks = [(await socket.receive_json())["id"] for _ in range(5)]
                assert acks == [f"{n}-{url}" for n in range(5)]
        assert [data["text"] for data in await texts(hub, "slow")] == [str(n) for n in range(5)] * 2


async def test_a_hook_that_hangs_is_given_up_and_nothing_overtakes(http: aiohttp.ClientSession) -> None:
    """What waits behind is refused, too; with the same ids, in order, all is stored later."""
    hub = Hub("memory:", limits=Limits(hook_s=0.2))
    hangs = [True]

    @hub.before_publish()
    async def look(_: Grant, message: IncomingMessage) -> None:
        if hangs[0] and message.data["text"] == "0":
            await asyncio.sleep(3600)

    async with serving(hub) as urls, http.ws_connect(f"{urls[0]}/rooms/r") as socket:
        for _ in range(2):
            await socket.receive_json()
        for n in range(3):
            await socket.send_json({"type": "message", "id": f"{n}", "text": f"{n}"})
        codes = [(await socket.receive_json())["code"] for _ in range(3)]
        assert codes == ["internal", "store_unavailable", "store_unavailable"]
        await socket.send_json({"type": "message", "id": "2", "text": "2"})
        assert (await socket.receive_json())["code"] == "store_unavailable"
        hangs[0] = False
        for n in range(3):
            await socket.send_json({"type": "message", "id": f"{n}", "text": f"{n}"})
        await eventually(lambda: hub.statistics()["published"] == 3)
        assert [data["text"] for data in await texts(hub, "r")] == ["0", "1", "2"]


async def test_a_function_that_is_no_coroutine_runs_on_a_thread() -> None:
    """So one that blocks holds nobody up; those that never return take no more than their threads."""
    hub = Hub("memory:", limits=Limits(hook_s=0.3))
    threads, stuck = set(), threading.Event()

    @hub.before_publish()
    def look(_: Grant, message: IncomingMessage) -> None:
        threads.add(threading.current_thread())
        if message.data == "stuck":
            stuck.wait(WAIT_S)

    try:
        async with hub:
            blocked = asyncio.gather(
                *[hub.publish(f"stuck-{n}", "stuck", check=True) for n in range(40)], return_exceptions=True
            )
            await eventually(lambda: len(threads) == hub._engine.tuning.hook_threads_max)
            assert threading.main_thread() not in threads
            assert all(isinstance(error, HookFailed) for error in await blocked)
            assert len(threads) == hub._engine.tuning.hook_threads_max
            stuck.set()
            await eventually(lambda: not any(thread.is_alive() for thread in threads))
            assert (await hub.publish("r", "fine", check=True)).offset == 1
    finally:
        stuck.set()


async def test_what_waits_is_bounded_and_refused_when_the_server_stops() -> None:
    hub = Hub("memory:", limits=Limits(in_flight_max=2))
    began = asyncio.Event()

    @hub.before_publish()
    async def look(*_: object) -> None:
        began.set()
        await asyncio.sleep(3600)

    async with hub:
        two = [asyncio.ensure_future(hub.publish("r", n, check=True)) for n in range(2)]
        await began.wait()
        with pytest.raises(trunkline.Overloaded):
            await hub.publish("r", 3, check=True)
    for one in two:
        with pytest.raises(trunkline.ShuttingDown):
            await one


async def test_permission_that_ends_while_the_application_looks_counts() -> None:
    """A user who is revoked meanwhile publishes nothing."""
    hub = Hub("memory:", auth=JwtAuth([Issuer(secret=SECRET)]))
    looking, go_on = asyncio.Event(), asyncio.Event()

    @hub.before_publish()
    async def look(*_: object) -> None:
        looking.set()
        await go_on.wait()

    async with serving(hub) as urls, aiohttp.ClientSession() as http:
        posting = asyncio.ensure_future(by_post(http, urls[0], "too late"))
        await looking.wait()
        await hub.revoke(user="ana")
        go_on.set()
        assert await posting == "revoked"
        assert await texts(hub) == []


async def test_a_log_that_is_away_is_told_and_the_hook_is_not_called() -> None:
    hub, seen = moderated()
    async with TestHub(hub) as test:
        with test.store.away(), pytest.raises(StoreUnavailable):
            await hub.publish("chat:1", {"text": "x"}, id="k", check=True)
        assert seen == []
        assert context_of(hub).publishing._count == 0
