"""What is the Python client's alone: looping, listening, and a publish that blocks."""

import asyncio
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.access.support import SECRET, token
from tests.support import WAIT_S, Server, eventually, free_port, publish, publish_many
from trunkline.client import Client, ClientError, RoomError, connect
from trunkline.client import client as module
from trunkline.client import publish as publish_blocking

TRANSPORTS = ["websocket", "sse", "longpoll", "shortpoll"]


async def until_online(client: Client) -> None:
    await eventually(lambda: client.state == "online")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with Server(store=f"sqlite:///{tmp_path}/log.db") as running:
        yield running


@pytest.mark.parametrize("transport", ["websocket", "sse", "longpoll"])
async def test_a_slow_loop(
    server: Server, http: aiohttp.ClientSession, transport: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever takes messages slowly is served from the log: nothing is lost, and little is held."""
    monkeypatch.setattr(module, "QUEUE_MAX", 50)
    await publish_many(http, server.url, "a", list(range(1500)))
    seen: list[int] = []
    async with asyncio.timeout(WAIT_S), connect(server.url, transports=[transport]) as client:
        room = client.room("a", since="start", presence=True)
        async for message in room:
            seen.append(message.offset)
            assert len(room._queue) <= 50
            if len(seen) % 150 == 0:
                await asyncio.sleep(0.2)  # it falls behind
            if len(seen) % 400 == 0:
                await publish_many(http, server.url, "a", [1, 2, 3])
            if len(seen) == 700:
                break
        async for message in room:  # a second loop goes on
            seen.append(message.offset)
            if len(seen) == 1503:
                break
    assert seen == list(range(1, 1504))


async def test_publishing_before_looping(server: Server) -> None:
    """What came before the loop began is not missed."""
    async with asyncio.timeout(WAIT_S), connect(server.url) as client:
        room = client.room("a")
        offsets = list(await asyncio.gather(*[room.publish(n) for n in range(5)]))
        assert offsets == [1, 2, 3, 4, 5]
        assert [(await anext(room)).data for _ in range(5)] == [0, 1, 2, 3, 4]


async def test_the_same_twice(server: Server) -> None:
    """One id at the same moment in one room is one message, and both are told; in two rooms it is two."""
    async with asyncio.timeout(WAIT_S), connect(server.url) as client:
        a, b = client.room("a"), client.room("b")
        offsets = await asyncio.gather(a.publish(1, id="k"), a.publish(2, id="k"), b.publish(3, id="k"))
        assert list(offsets) == [1, 1, 1]
        assert await a.publish(4) == 2


async def test_closing(server: Server) -> None:
    """What was not acked is refused, loops end, and nothing stays behind."""
    server.kill()
    client = connect(server.url)
    async with client:
        room = client.room("a")
        waiting = asyncio.ensure_future(room.publish(1))
        loop = asyncio.ensure_future(anext(room))
        while client.state != "waiting":
            await asyncio.sleep(0.01)
        assert client.waiting == 1
    with pytest.raises(ClientError, match="not known to be stored"):
        await waiting
    with pytest.raises(StopAsyncIteration):
        await loop
    with pytest.raises(ClientError, match="closed"):
        await client.publish("a", 1)
    assert [task for task in asyncio.all_tasks() if task is not asyncio.current_task()] == []


async def test_a_room_that_may_not_be_read(server: Server) -> None:
    async with asyncio.timeout(WAIT_S), connect(server.url) as client:
        with pytest.raises(RoomError):
            async for _ in client.room("not a name"):
                pass
        assert await client.room("a").publish("the others are as good as ever") == 1


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_rooms_in_handlers(server: Server, http: aiohttp.ClientSession, transport: str) -> None:
    """Left and joined again while a page is told; joined while the client wakes up: each from where it says."""
    await publish_many(http, server.url, "a", list(range(20)))
    got: list[int] = []
    woken: list[int] = []
    async with asyncio.timeout(WAIT_S), connect(server.url, transports=[transport], poll_ms=50) as client:

        def again(message: Any) -> None:
            if message.offset == 10:
                stop()
                room.close()
                client.room("a", since="start").on("message", lambda message: got.append(message.offset))

        room = client.room("a", since="start")
        stop = room.on("message", again)
        await eventually(lambda: got == list(range(1, 21)))
        client._session._link.heard_at = 0.0  # for long nothing was heard
        client.wake()
        client.room("a").close()
        client.room("b").close()
        client.room("a", since="start").on("message", lambda message: woken.append(message.offset))
        await publish_many(http, server.url, "a", [1])
        await eventually(lambda: woken == list(range(1, 22)))
        assert client.state == "online"


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_presence_of_each_room(server: Server, http: aiohttp.ClientSession, transport: str) -> None:
    async def shown(room: str) -> list[Any]:
        async with http.get(f"{server.url}/rooms/{room}/presence") as response:
            return [member["data"] for member in (await response.json())["members"]]

    async with asyncio.timeout(WAIT_S), connect(server.url, transports=[transport], poll_ms=50) as client:
        ana = client.room("ana", presence={"name": "Ana"})
        client.room("watched", presence="watch")
        client.room("bo", presence={"name": "Bo"})
        client.room("ghost", presence={"name": "nobody"}).close()
        await eventually(lambda: client.member in ana.members)
        while await shown("bo") != [{"name": "Bo"}]:
            await asyncio.sleep(0.01)
        assert await shown("ana") == [{"name": "Ana"}]
        assert await shown("watched") == await shown("ghost") == []
        ana.present("watch")
        while await shown("ana"):
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_what_was_seen_arrives(server: Server, http: aiohttp.ClientSession, transport: str) -> None:
    """Said at each message, and closed at the last."""
    await publish_many(http, server.url, "a", list(range(300)))
    async with asyncio.timeout(WAIT_S):
        async with connect(server.url, transports=[transport], poll_ms=50) as client:
            room = client.room("a", since="start")
            async for message in room:
                room.seen(message.offset)
                if message.offset == 300:
                    break
        unread = -1
        while unread != 0:  # it is being stored
            async with http.get(f"{server.url}/unread", params={"room": "a", "client": client.client_id}) as response:
                unread = (await response.json())["rooms"][0]["unread"]


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_sizes_are_counted_as_they_are_sent(server: Server, transport: str) -> None:
    """40 KB of Cyrillic are 40 KB, and a signal that is too large ends no loop."""
    async with asyncio.timeout(WAIT_S), connect(server.url, transports=[transport], poll_ms=50) as client:
        room = client.room("a")
        await eventually(lambda: client.state == "online")
        refused: list[Any] = []
        room.on("error", refused.append)
        room.signal("x", "y" * 5000)
        await eventually(lambda: refused)
        assert (refused[0]["about"], refused[0]["code"]) == ("signal", "too_large")
        assert await room.publish("ж" * 20_000) == 1
        assert await room.publish([0] * 30_000) == 2
        assert (await anext(room)).offset == 1


async def test_a_slow_loop_that_ends(
    server: Server, http: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A room that was closed is not read again by whoever still loops; a listener beside a loop is told once."""
    monkeypatch.setattr(module, "QUEUE_MAX", 50)
    await publish_many(http, server.url, "a", list(range(120)))
    async with asyncio.timeout(WAIT_S), connect(server.url) as client:
        room = client.room("a", since="start", presence=True)
        await eventually(lambda: len(room._queue) == 50)
        room.close()
        again = client.room("a", since="now")
        got: list[int] = []
        again.on("message", lambda message: got.append(message.offset))
        assert len([message async for message in room]) == 50
        again.close()
        both = client.room("a", since="start")
        both.on("message", lambda message: got.append(message.offset))
        loop = aiter(both)
        await eventually(lambda: len(got) == 120)
        assert [(await anext(loop)).offset for _ in range(120)] == list(range(1, 121))
        assert got == list(range(1, 121))


async def test_a_mistake_is_no_silence(
    server: Server, http: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever goes wrong inside, the session hears of it, and begins anew."""
    for transport in TRANSPORTS:
        async with asyncio.timeout(WAIT_S), connect(server.url, transports=[transport], poll_ms=50) as client:
            room = client.room("a", since="start")
            await until_online(client)
            receive = room.receive
            failed: list[Any] = []

            def fail(event: Any, receive: Any = receive, failed: Any = failed) -> None:
                if event["type"] == "message" and not failed:
                    failed.append(event)
                    raise KeyError("a mistake")
                receive(event)

            monkeypatch.setattr(room, "receive", fail)
            await publish_many(http, server.url, "a", [1])
            await eventually(failed.copy)
            await until_online(client)
            offset = await room.publish(2)
            while (await anext(room)).offset != offset:
                pass
    assert "the connection failed" in caplog.text


async def test_what_no_server_takes(server: Server) -> None:
    deep: Any = []
    for _ in range(600):
        deep = [deep]
    async with asyncio.timeout(WAIT_S):
        async with connect(server.url) as client:
            with pytest.raises(UnicodeEncodeError):
                await client.publish("a", "\ud800")
            with pytest.raises(ClientError, match="nested deeper"):
                await client.publish("a", deep)
            with pytest.raises(ClientError, match="at most 65536"):
                await client.publish("a", "x" * 70_000)
            for bad in ("..", "a/b", ""):
                with pytest.raises(RoomError, match="room name"):
                    await client.publish(bad, 1)
            for n in range(100):
                client.room(f"r{n}")
            with pytest.raises(RoomError, match="at most 100 rooms"):
                client.room("one-more")
        with pytest.raises(ClientError, match="the client is closed"):
            client.room("a")


async def test_scrolling_back(server: Server, http: aiohttp.ClientSession) -> None:
    await publish_many(http, server.url, "a", list(range(70)))
    async with asyncio.timeout(WAIT_S), connect(server.url) as client:
        room = client.room("a", last=5)
        assert [message.offset for message in await room.before(66)] == list(range(16, 66))
        assert [message.offset for message in await room.before(16)] == list(range(1, 16))
        assert await room.before(1) == []
        assert await client.unread(["a"]) == [{"room": "a", "head": 70, "seen": 0, "unread": 70}]


async def test_listeners_come_after_what_they_are_told_of(server: Server) -> None:
    """A publish from a handler follows those that wait; a client may be closed in one."""
    async with asyncio.timeout(WAIT_S), connect(server.url, transports=["websocket"]) as client:
        room = client.room("a", since="start")
        tasks = [asyncio.ensure_future(room.publish(word)) for word in ("first", "second")]
        await asyncio.sleep(0)

        def third(change: Any) -> None:
            if change["state"] == "online":
                client.step({"type": "publish", "draft": {"id": "k", "room": "a", "data": "third"}})

        client.on("state", third)
        assert [(await anext(room)).data for _ in range(3)] == ["first", "second", "third"]
        await asyncio.gather(*tasks)
    async with connect(server.url) as other:
        other.on("state", lambda change: other.step({"type": "close"}) if change["state"] == "connecting" else None)
        await eventually(lambda: other.state == "closed")
        await asyncio.sleep(0)
        assert other._driver is None


def test_publishing_from_a_thread_while_the_server_restarts(server: Server) -> None:
    """It blocks until the message is stored, once."""
    results: list[int] = []
    server.kill()
    thread = threading.Thread(target=lambda: results.append(publish_blocking(server.url, "a", {"n": 1}, id="k")))
    thread.start()
    time.sleep(0.3)
    server.start()
    thread.join(WAIT_S)
    assert results == [1]
    assert publish_blocking(server.url, "a", "another try", id="k") == 1
    assert publish_blocking(server.url, "a", "more") == 2


def test_publishing_to_nobody() -> None:
    """It says that it is not known, and when it has given up."""
    before = time.monotonic()
    with pytest.raises(ClientError, match="not known to be stored, within 1 s") as caught:
        publish_blocking(f"http://127.0.0.1:{free_port()}", "a", 1, timeout_s=1)
    assert caught.value.code == "timeout"
    assert time.monotonic() - before < WAIT_S


def test_publishing_what_is_refused(server: Server) -> None:
    """At once, with the server's code."""
    with pytest.raises(ClientError) as caught:
        publish_blocking(server.url, "no room", 1)
    assert caught.value.code == "bad_room"
    with pytest.raises(ClientError) as caught:
        publish_blocking(server.url, "a", "x" * 70_000)
    assert caught.value.code == "too_large"
    with pytest.raises(ValueError, match="no http"):
        publish_blocking("localhost:8000", "a", 1)
    with pytest.raises(ValueError, match="not JSON compliant"):
        publish_blocking(server.url, "a", float("nan"))


async def test_an_empty_id_is_no_missing_one(server: Server) -> None:
    """It is refused, as by the server, and not replaced by a random one."""
    async with connect(server.url) as client:
        for bad in ("", "é", "x" * 129):
            with pytest.raises(ClientError) as refused:
                await client.publish("a", 1, id=bad)
            assert refused.value.code == "bad_id"
    with pytest.raises(ClientError) as refused:
        await asyncio.to_thread(publish_blocking, server.url, "a", 1, id="")
    assert refused.value.code == "bad_id"


@pytest.mark.parametrize("transport", ["websocket", "sse", "shortpoll"])
async def test_listening_to_unread_is_being_told(server: Server, http: aiohttp.ClientSession, transport: str) -> None:
    """How much was not seen, at once and with each message."""
    counts: list[tuple[int, int]] = []
    async with asyncio.timeout(WAIT_S), connect(server.url, transports=[transport], poll_ms=50) as client:
        room = client.room("a")
        room.on("unread", lambda count: counts.append((count["head"], count["unread"])))
        await eventually(lambda: len(counts) == 1)
        await publish(http, server.url, "a", 1)
        await eventually(lambda: len(counts) == 2)
        room.seen(1)
        await eventually(lambda: len(counts) == 3)
        await publish(http, server.url, "a", 2)
        await eventually(lambda: len(counts) == 4)
    assert counts == [(0, 0), (1, 1), (1, 0), (2, 1)]


@pytest.mark.parametrize("transport", ["websocket", "sse", "longpoll", "shortpoll"])
async def test_a_token_that_counts_in_a_moment(tmp_path: Path, transport: str) -> None:
    """The issuer's clock is ahead by more than the leeway: the client brings the same token until it counts."""
    config = tmp_path / "trunkline.toml"
    config.write_text(f'auth = "jwt"\n[jwt]\nsecret = "{SECRET}"\nleeway_s = 0\n')
    early = token("ana", nbf=time.time() + 3, exp=time.time() + 600)
    with Server("--config", str(config)) as server:
        async with (
            asyncio.timeout(WAIT_S),
            connect(server.url, get_token=lambda: early, transports=[transport]) as client,
        ):
            assert await client.room("a").publish("at last") == 1


def test_publishing_with_a_token_that_counts_in_a_moment(tmp_path: Path) -> None:
    config = tmp_path / "trunkline.toml"
    config.write_text(f'auth = "jwt"\n[jwt]\nsecret = "{SECRET}"\nleeway_s = 0\n')
    early = token("ana", nbf=time.time() + 2, exp=time.time() + 600)
    with Server("--config", str(config)) as server:
        assert publish_blocking(server.url, "a", 1, token=early) == 1
        with pytest.raises(ClientError, match="will not for long"):
            publish_blocking(server.url, "a", 1, token=token("ana", nbf=time.time() + 6000, exp=time.time() + 6600))


async def test_a_client_that_was_not_started() -> None:
    """It would wait for ever."""
    client = connect("http://127.0.0.1:9")
    with pytest.raises(ClientError, match="async with"):
        await client.room("a").publish(1)
    await client.close()
