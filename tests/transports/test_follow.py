"""Following one client: on every transport and whichever node it is on, and without its tokens."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.access.support import EVERYWHERE, bearer, token
from tests.admin.support import OPERATOR, got, guarded
from tests.support import WAIT_S
from trunkline.core.cluster_messages import Follow
from trunkline.errors import RequestError
from trunkline.hub import context_of
from trunkline.testing import TestHub
from trunkline.transports import follow as module


@asynccontextmanager
async def followed(
    http: aiohttp.ClientSession, url: str, session: str, **order: Any
) -> AsyncIterator[list[dict[str, Any]]]:
    """What is told of a session, as it comes."""
    found: list[dict[str, Any]] = []
    async with http.ws_connect(f"{url}/rooms/$follow.{session}", headers=OPERATOR) as socket:
        while json.loads((await socket.receive()).data)["type"] != "joined":
            pass

        async def listen() -> None:
            async for message in socket:
                told = json.loads(message.data)
                if told["type"] == "signal":
                    found.extend(told["data"])

        listening = asyncio.ensure_future(listen())
        async with http.post(f"{url}/admin/follow", json={"session": session, **order}, headers=OPERATOR) as response:
            assert response.status == 200
            assert await response.json() == {"room": f"$follow.{session}"}
        yield found
        listening.cancel()


async def until(found: list[dict[str, Any]], **wanted: Any) -> dict[str, Any]:
    async with asyncio.timeout(WAIT_S):
        while not (matching := [event for event in found if wanted.items() <= event.items()]):
            await asyncio.sleep(0.01)
    return matching[0]


@pytest.mark.parametrize("workers", ["1", "2"])
async def test_every_command_and_event_is_told_and_no_contents_unless_asked_for(tmp_path: Path, workers: str) -> None:
    secret = token("ana", rooms=EVERYWHERE)
    with guarded(tmp_path, "--workers", workers) as server:
        server.line()
        async with aiohttp.ClientSession() as http:
            for contents, name in ((False, "k1"), (True, "k2")):
                async with http.ws_connect(f"{server.url}/connect?room=a", headers=bearer(secret)) as socket:
                    session = json.loads((await socket.receive()).data)["session"]
                    async with followed(http, server.url, session, contents=contents) as found:
                        await socket.send_json({"type": "message", "room": "a", "id": name, "data": "a secret text"})
                        sent = await until(found, direction="in", kind="message", room="a", id=name)
                        ack = await until(found, direction="out", kind="ack", room="a")
                        given = await until(found, direction="out", kind="messages", room="a")
                        assert given["bytes"] == len('"a secret text"')
                        assert given["offset"] == ack["offset"]
                        await socket.send_json({"type": "signal", "room": "a", "name": "typing"})
                        await until(found, direction="in", kind="signal")
                        await socket.send_json({"type": "auth", "token": secret})
                        await until(found, direction="in", kind="auth")
                        await socket.send_str("nonsense")
                        await until(found, direction="in", kind="no command")
                        await until(found, direction="out", kind="error", code="bad_json")
                        await socket.close()
                        assert (await until(found, kind="ended"))["code"] == 1000
                        assert ("secret text" in json.dumps(found)) is contents
                        assert ("text" in sent) is contents
                        assert secret not in json.dumps(found)


async def test_an_event_stream_is_followed(tmp_path: Path) -> None:
    with guarded(tmp_path) as server:
        async with aiohttp.ClientSession() as http:
            headers = OPERATOR | {"Accept": "text/event-stream"}
            async with http.get(f"{server.url}/rooms/a", headers=headers) as events:
                await events.content.readany()
                connections = (await got(http, f"{server.url}/admin/connections", params={"room": "a"}))["connections"]
                async with followed(http, server.url, connections[0]["session"]) as found:
                    async with http.post(f"{server.url}/rooms/a", json={"data": 1}, headers=OPERATOR):
                        pass
                    await until(found, direction="out", kind="messages", room="a", offset=1, to=1)
                    events.close()
                    await until(found, kind="ended", code=1006 if found and found[-1].get("code") == 1006 else 1000)


async def test_a_session_that_is_not_there_is_not_found(tmp_path: Path) -> None:
    with guarded(tmp_path) as server:
        async with aiohttp.ClientSession() as http:
            for session in ("nowhere-1", "", "x" * 1000):
                order = {"session": session}
                async with http.post(f"{server.url}/admin/follow", json=order, headers=OPERATOR) as response:
                    assert response.status == 404


@pytest.mark.parametrize("transport", ["websocket", "sse"])
async def test_after_a_minute_a_connection_is_as_it_was(transport: str) -> None:
    async with TestHub(transport=transport) as hub:
        reader = await hub.reader("a")
        context = context_of(hub.hub)
        [stream] = list(context.engine.connections)
        plain = type(stream)
        session = stream.session  # type: ignore[attr-defined]
        await context.follows.follow(Follow(session, contents=False))
        assert type(stream) is not plain
        await hub.publish("a", 1)
        await reader.expect(1)
        await hub.clock.tick(module.FOLLOW_S - 10)
        await context.follows.follow(Follow(session, contents=True))  # once more
        await hub.clock.tick(module.FOLLOW_S - 10)
        assert type(stream) is not plain
        await hub.clock.tick(11)
        assert type(stream) is plain
        assert not module._SESSIONS
        await hub.publish("a", 2)
        await reader.expect(2)


async def test_only_so_many_are_followed_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FOLLOWED_MAX", 1)
    async with TestHub() as hub:
        for _ in range(2):
            await hub.reader("a")
        context = context_of(hub.hub)
        sessions = [stream.session for stream in context.engine.connections]  # type: ignore[attr-defined]
        await context.follows.follow(Follow(sessions[0], contents=False))
        with pytest.raises(RequestError, match="1 sessions of that process") as caught:
            await context.follows.follow(Follow(sessions[1], contents=False))
        assert caught.value.code == "rate_limited"


async def test_what_is_too_much_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "EVENTS_BYTES_MAX", 250)
    told: list[list[dict[str, Any]]] = []
    async with TestHub() as hub:
        reader = await hub.reader("a")
        [stream] = list(context_of(hub.hub).engine.connections)
        followed = module._Session(stream, lambda _, __, events: told.append(json.loads(events)), lambda _: None)  # type: ignore[arg-type]
        followed.go_on(contents=False)
        for n in range(10):
            followed.note("in", "message", n)
        await hub.clock.tick(1)
        assert [event["kind"] for event in told[0]] == ["message"] * 3 + ["left out"]
        assert told[0][-1]["count"] == 7
        await reader.close()
    assert not module._SESSIONS


TOKEN = "abc.def.ghi"
ODD = [
    b'{"type":"auth","token":"%b","room":5}',
    b'{"type":"auth","token":"%b"',
    b'{"type":"auth","token":"%b","type":"ping"}',
    b'{"type":"ping","Token":"%b","type":"auth"}',
    b'{"type":"Auth","token":"%b"}',
    b'{"type":"authenticate","secret":"%b"}',
    b'[{"type":"auth","token":"%b"}]',
    b'{"token":"%b"}',
    b"%b",
]


@pytest.mark.parametrize("text", ODD)
def test_what_may_hold_a_token_is_not_told(text: bytes) -> None:
    session = Noting()
    module._note_text(session, "in", text % TOKEN.encode())  # type: ignore[arg-type]
    assert len(session.noted) == 1
    assert TOKEN not in repr(session.noted)


def test_what_cannot_be_read_is_noted_and_harms_nothing() -> None:
    session = Noting()
    for text in (b'{"type":"message","room":"a","data":' + b"[" * 20_000 + b"]" * 20_000 + b"}", b"\xff", b"", b"{}"):
        module._note_text(session, "in", text)  # type: ignore[arg-type]
    assert [kind for kind, _ in session.noted] == ["no command"] * 4


class Noting:
    """Keeps what is noted."""

    def __init__(self) -> None:
        self.noted: list[tuple[str, Any]] = []

    def note(self, direction: str, kind: str, size: int, text: bytes | None = None, **more: object) -> None:
        self.noted.append((kind, (text, more)))


async def test_what_is_followed_answers_as_always_and_what_it_makes_up_is_clipped(tmp_path: Path) -> None:
    with guarded(tmp_path, "--workers", "2") as server:
        server.line()
        async with aiohttp.ClientSession() as http:
            headers = bearer(token("ana", rooms=EVERYWHERE))
            for _ in range(4):  # on both workers, by chance
                async with http.ws_connect(f"{server.url}/connect?room=a", headers=headers) as socket:
                    session = json.loads((await socket.receive()).data)["session"]
                    await socket.receive()
                    async with followed(http, server.url, session, contents=True) as found:
                        nested = "[" * 20_000 + "]" * 20_000
                        await socket.send_str(f'{{"type":"message","room":"a","data":{nested}}}')
                        assert json.loads((await socket.receive()).data)["code"] == "too_deep"
                        for _ in range(5):
                            await socket.send_json({"type": "x" * 60_000})
                            await socket.receive()
                            await socket.send_json({"type": "ping", "id": "é" * 10_000})
                            await socket.receive()
                        await socket.send_json({"type": "ping", "id": "the last"})
                        await until(found, direction="in", kind="ping", id="the last")
                        commands = [event for event in found if event.get("direction") == "in"]
                        assert len(commands) + sum(event.get("count", 0) for event in found) >= 12
                        assert max(len(json.dumps(event)) for event in found) < 8000


async def test_of_very_much_what_is_not_told_is_counted() -> None:
    async with TestHub() as hub:
        await hub.reader("a")
        context = context_of(hub.hub)
        [stream] = list(context.engine.connections)
        told: list[bytes] = []
        followed_ = module._Session(stream, lambda _, __, events: told.append(events), lambda _: None)  # type: ignore[arg-type]
        followed_.go_on(contents=True)
        for _ in range(1000):
            followed_.note("in", "message", 1, ("é" * 5000).encode(), room="r" * 5000)
        await hub.clock.tick(1)
        events = [event for text in told for event in json.loads(text)]
        assert sum(event.get("count", 1) for event in events) == 1000
        assert sum(map(len, told)) < 2 * module.EVENTS_BYTES_MAX
        assert max(map(len, told)) < 32 * 1024
