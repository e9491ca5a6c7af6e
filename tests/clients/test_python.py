"""What is the Python client's alone: looping, listening, and a publish that blocks."""

import asyncio
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import pytest

from tests.support import WAIT_S, Server, free_port, publish_many
from trunkline.client import ClientError, RoomError, connect
from trunkline.client import client as module
from trunkline.client import publish as publish_blocking


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
        offsets = await asyncio.gather(*[room.publish(n) for n in range(5)])
        assert offsets == [1, 2, 3, 4, 5]
        assert [(await anext(room)).data for _ in range(5)] == [0, 1, 2, 3, 4]


async def test_the_same_twice(server: Server) -> None:
    """One id at the same moment in one room is one message, and both are told; in two rooms it is two."""
    async with asyncio.timeout(WAIT_S), connect(server.url) as client:
        a, b = client.room("a"), client.room("b")
        assert await asyncio.gather(a.publish(1, id="k"), a.publish(2, id="k"), b.publish(3, id="k")) == [1, 1, 1]
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
    with pytest.raises(ClientError, match="not known to be stored after 1 s") as caught:
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
