"""What they may do: patterns by action, and a denied room that says nothing about itself."""

import aiohttp
import pytest

from tests.access.support import bearer, knock, stream_of, token
from tests.support import Server

ROOMS = {"read": ["chat:*", "news"], "write": ["chat:1"]}


@pytest.mark.parametrize(
    ("room", "outcome"),
    [
        ("chat:1", "ok"),
        ("chat:", "ok"),
        ("news", "ok"),
        ("news:1", "forbidden"),
        ("chat", "forbidden"),
        ("x", "forbidden"),
    ],
)
async def test_reading(server: Server, http: aiohttp.ClientSession, transport: str, room: str, outcome: str) -> None:
    headers = bearer(token(rooms=ROOMS))
    if transport != "websocket":
        assert await knock(http, transport, f"{server.url}/rooms/{room}", headers=headers) == outcome
        return
    async with http.ws_connect(f"{server.url}/rooms/{room}", headers=headers) as socket:
        assert (await socket.receive_json())["type"] == "welcome"
        event = await socket.receive_json()
        assert event["type"] == ("joined" if outcome == "ok" else "error")
        assert event.get("code", "ok") == outcome
        # And the same by a command.
        await socket.send_json({"type": "join", "room": room, "since": "start"})
        event = await socket.receive_json()
        assert event.get("code", "ok") == outcome
        assert event["room"] == room


async def test_writing(server: Server, http: aiohttp.ClientSession) -> None:
    headers = bearer(token(rooms=ROOMS))
    for room, status in (("chat:1", 201), ("chat:2", 403), ("news", 403)):
        async with http.post(f"{server.url}/rooms/{room}", json={"data": 1}, headers=headers) as response:
            assert response.status == status
    many = [{"room": "chat:1", "data": 1}, {"room": "news", "data": 1}]
    async with http.post(f"{server.url}/publish", json=many, headers=headers) as response:
        assert response.status == 403
    async with http.get(f"{server.url}/rooms/chat:1?since=start", headers=headers) as response:
        assert (await response.json())["head"] == 1
    async with http.ws_connect(f"{server.url}/rooms/chat:1", headers=headers) as socket:
        for _ in range(2):
            await socket.receive_json()
        await socket.send_json({"type": "message", "room": "news", "id": "i1", "text": "x"})
        denied = await socket.receive_json()
        assert (denied["code"], denied["id"], denied["room"]) == ("forbidden", "i1", "news")
        await socket.send_json({"type": "message", "text": "x"})
        assert (await socket.receive_json())["type"] in ("ack", "message")


async def test_a_denied_room_says_nothing_of_itself(server: Server, http: aiohttp.ClientSession) -> None:
    """The answer is the same for a room with messages and one that never was."""
    async with http.post(f"{server.url}/rooms/secret", json={"data": 1}, headers=bearer(token())) as response:
        assert response.status == 201
    answers = []
    for room in ("secret", "nobody"):
        async with http.get(f"{server.url}/rooms/{room}?since=99", headers=bearer(token(rooms=ROOMS))) as response:
            answers.append((response.status, (await response.text()).replace(room, "ROOM")))
    assert answers[0] == answers[1]


async def test_one_denied_room_denies_the_stream(server: Server, http: aiohttp.ClientSession) -> None:
    for transport in ("sse", "longpoll", "shortpoll"):
        url = f"{server.url}/connect?room=news&room=x"
        assert await knock(http, transport, url, headers=bearer(token(rooms=ROOMS))) == "forbidden"


async def test_no_claim_no_room(server: Server, http: aiohttp.ClientSession, transport: str) -> None:
    """A token without `rooms` permits what the settings say: by default nothing."""
    if transport != "websocket":
        url = f"{server.url}/rooms/a"
        assert await knock(http, transport, url, headers=bearer(token(rooms=None))) == "forbidden"


async def test_checked_again_at_every_replay(server: Server, http: aiohttp.ClientSession) -> None:
    """A stream that comes back with a lesser token gets nothing of what it missed."""
    async with http.post(f"{server.url}/rooms/replay", json={"data": 1}, headers=bearer(token())) as response:
        assert response.status == 201
    async with stream_of(http, f"{server.url}/rooms/replay", token(), since="start") as stream:
        position = next(event["id"] for event in [await anext(stream), await anext(stream)] if "id" in event)
    headers = bearer(token(rooms={"read": ["other"]})) | {"Last-Event-ID": position}
    assert await knock(http, "sse", f"{server.url}/rooms/replay", headers=headers) == "forbidden"


async def test_administrators_may_do_everything(server: Server, http: aiohttp.ClientSession) -> None:
    """In every room; an administrator of one room is none."""
    admin = bearer(token("root", rooms={"admin": ["*"]}))
    async with http.post(f"{server.url}/rooms/secret", json={"data": 1}, headers=admin) as response:
        assert response.status == 201
    for path in ("secret?since=start", "secret/presence"):
        async with http.get(f"{server.url}/rooms/{path}", headers=admin) as response:
            assert response.status == 200
    half = bearer(token("half", rooms={"admin": ["secret"]}))
    async with http.get(f"{server.url}/rooms/secret", headers=half) as response:
        assert response.status == 403


@pytest.mark.parametrize(
    ("method", "path", "text"),
    [
        ("GET", "x", "you may not read x"),
        ("POST", "x", "you may not publish to x"),
        ("POST", "x/signals", "you may not signal in x"),
        ("GET", "x/presence", "you may not be told who is in x"),
    ],
)
async def test_a_refusal_is_a_sentence(
    server: Server, http: aiohttp.ClientSession, method: str, path: str, text: str
) -> None:
    headers = bearer(token("ana", rooms={}))
    async with http.request(method, f"{server.url}/rooms/{path}", json={}, headers=headers) as response:
        assert (await response.json())["error"]["message"] == text
