"""Presence, signals and read cursors: the same scenarios over every transport."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Self

import aiohttp
import pytest

from tests.support import WAIT_S, Server, events, parked, publish, publish_many
from tests.transports.test_contract import room, transport
from trunkline.testing.hub import TestHub

__all__ = ["room", "transport"]

GRACE_S = 1.0


def ours(store: str) -> Server:
    return Server("--presence-grace", str(GRACE_S), store=store)


def uvicorn(store: str) -> Server:
    command = [sys.executable, "-m", "uvicorn", "tests.asgi_app:app", "--port", "PORT", "--log-level", "error"]
    return Server(store=store, command=command)


@pytest.fixture(scope="module", params=[ours, uvicorn], ids=["trunkline", "uvicorn"])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with request.param(f"sqlite:///{tmp_path_factory.mktemp('live')}/log.db") as running:
        yield running


class Member:
    """Somebody in a room, over one connection (or polls), who keeps what they are told."""

    def __init__(self, transport: str, http: aiohttp.ClientSession, server: Server, room: str, **query: str) -> None:
        self.transport, self.http, self.url, self.room = transport, http, server.url, room
        self.query = {"presence": "1"} | query
        self.told: list[tuple[str, dict[str, Any]]] = []
        self._moved = asyncio.Event()
        self._task = asyncio.ensure_future(self._run())
        self.socket: aiohttp.ClientWebSocketResponse | None = None

    async def __aenter__(self) -> Self:
        if self.query["presence"] != "0":
            await self.until("presence")
        return self

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    def members(self) -> list[str]:
        """Who is there, as far as this one was told."""
        known: dict[str, None] = {}
        for kind, body in self.told:
            if kind == "presence":
                if "members" in body:
                    known = dict.fromkeys(member["member"] for member in body["members"])
                known |= dict.fromkeys(member["member"] for member in body.get("joined", []))
                for member in body.get("left", []):
                    known.pop(member, None)
        return list(known)

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [body for found, body in self.told if found == kind]

    async def until(self, kind: str, count: int = 1) -> list[dict[str, Any]]:
        await self.until_true(lambda: len(self.of(kind)) >= count)
        return self.of(kind)

    async def until_true(self, fact: Any) -> None:
        async with asyncio.timeout(WAIT_S):
            while not fact():
                self._moved.clear()
                await self._moved.wait()

    async def _run(self) -> None:
        async for kind, body in self._listen():
            self.told.append((kind, body))
            self._moved.set()

    async def _listen(self) -> AsyncIterator[tuple[str, dict[str, Any]]]:
        address = f"{self.url}/rooms/{self.room}"
        if self.transport == "websocket":
            async with self.http.ws_connect(address, params=self.query) as socket:
                self.socket = socket
                async for frame in socket:
                    event = json.loads(frame.data)
                    yield event.pop("type"), event
        elif self.transport == "sse":
            async with self.http.get(address, params=self.query, headers={"Accept": "text/event-stream"}) as response:
                assert response.status == 200, await response.text()
                async for event in events(response.content):
                    if "data" in event:
                        yield event.get("event", "message"), json.loads(event["data"])
        else:
            more = {"since": "now", "live": "0"} | ({"wait": "25"} if self.transport == "longpoll" else {})
            while True:
                async with self.http.get(address, params=self.query | more) as response:
                    assert response.status == 200, await response.text()
                    page = await response.json()
                live = page["live"]
                more |= {"since": page["next"], "live": live["next"]}
                for message in page["messages"]:
                    yield "message", message
                for signal in live["signals"]:
                    yield "signal", signal
                for presence in live["presence"]:
                    yield "presence", presence
                for seen in live["seen"]:
                    yield "seen", seen
                if self.transport == "shortpoll":
                    await asyncio.sleep(0.05)


async def test_joining_and_leaving(server: Server, http: aiohttp.ClientSession, room: str, transport: str) -> None:
    """A snapshot, then who comes; whoever leaves on purpose is gone at once."""
    async with Member(transport, http, server, room, client="client-ana", presence='{"name":"Ana"}') as ana:
        [first, *_] = ana.of("presence")
        assert (first["count"], first["members"][0]["data"]) == (1, {"name": "Ana"})
        async with Member("websocket", http, server, room, client="client-ben") as ben:
            await ana.until_true(lambda: len(ana.members()) == 2)
            assert set(ben.members()) == set(ana.members())
            assert all(member.startswith("~") and "client" not in member for member in ana.members())
            assert ben.socket is not None
            await ben.socket.send_json({"type": "leave"})
            await ana.until_true(lambda: len(ana.members()) == 1)
    async with http.get(f"{server.url}/rooms/{room}/presence") as response:
        assert (await response.json())["room"] == room


async def test_gone_after_the_grace(server: Server, http: aiohttp.ClientSession, room: str) -> None:
    """A connection that breaks is told of when the grace is over, and one that comes back before is not (R22)."""
    async with Member("websocket", http, server, room, presence="watch") as watcher:
        for _ in range(3):
            async with Member("websocket", http, server, room, client="client-ana"):
                await watcher.until_true(lambda: len(watcher.members()) == 1)
        async with Member("sse", http, server, room, client="client-ana"):
            pass
        await watcher.until_true(lambda: watcher.members() == [])
    changes = [body for body in watcher.of("presence") if "members" not in body]
    assert [("joined" in body, "left" in body) for body in changes] == [(True, False), (False, True)]


async def test_signals(server: Server, http: aiohttp.ClientSession, room: str, transport: str) -> None:
    """They reach every reader but the connection they came from, and are no messages."""
    async with (
        Member(transport, http, server, room, presence="watch") as ana,
        Member("websocket", http, server, room, client="client-ben", presence="watch") as ben,
    ):
        assert ben.socket is not None
        await ben.socket.send_json({"type": "signal", "name": "typing", "data": {"on": True}})
        [signal, *_] = await ana.until("signal")
        assert list(signal) == ["room", "name", "from", "member", "at", "data"]
        assert (signal["room"], signal["name"], signal["from"], signal["data"]) == (room, "typing", None, {"on": True})
        url = f"{server.url}/rooms/{room}/signals?client=client-ben"
        async with http.post(url, json={"name": "pointer", "data": [3, 4]}) as response:
            assert response.status == 204
        await ana.until_true(lambda: any(s["name"] == "pointer" for s in ana.of("signal")))
        assert len({s["member"] for s in ana.of("signal")}) == 1
        await publish(http, server.url, room, "end")
        [end] = await ben.until("message")
        assert (end["offset"], ben.of("signal")) == (1, [])


async def test_only_the_newest_signal_counts(
    server: Server, http: aiohttp.ClientSession, room: str, transport: str
) -> None:
    """A hundred positions of a pointer: some may be dropped, the last is not, and they come in order."""
    async with (
        Member(transport, http, server, room, presence="watch") as ana,
        Member("websocket", http, server, room, presence="watch") as ben,
    ):
        assert ben.socket is not None
        for n in range(100):
            await ben.socket.send_json({"type": "signal", "name": "pointer", "data": n})
        await ana.until_true(lambda: any(s["data"] == 99 for s in ana.of("signal")))
        positions = [s["data"] for s in ana.of("signal")]
        assert positions == sorted(set(positions))
        assert len(positions) < 50


async def test_seen(server: Server, http: aiohttp.ClientSession, room: str, transport: str) -> None:
    """A read cursor moves forward, is told to those who watch, and counts what is unread."""
    await publish_many(http, server.url, room, list(range(10)))
    async with (
        Member(transport, http, server, room, client="client-ana", presence="watch") as ana,
        Member("websocket", http, server, room, client="client-ben", presence="watch") as ben,
    ):
        assert ben.socket is not None
        for offset in (4, 2, 7):
            await ben.socket.send_json({"type": "seen", "offset": offset})
        answers = await ben.until("unread", 3)
        assert {"room": room, "head": 10, "seen": 7, "unread": 3} in [answer["rooms"][0] for answer in answers]
        await ana.until_true(lambda: any(mark["offset"] == 7 for s in ana.of("seen") for mark in s["marks"]))
        url = f"{server.url}/rooms/{room}/seen?client=client-ana"
        async with http.post(url, json={"offset": 999}) as response:
            assert await response.json() == {"room": room, "head": 10, "seen": 10, "unread": 0}
        await ben.until_true(lambda: any(mark["offset"] == 10 for s in ben.of("seen") for mark in s["marks"]))
    async with Member(transport, http, server, room, presence="watch") as late:
        [seen, *_] = await late.until("seen")
        assert sorted(mark["offset"] for mark in seen["marks"]) == [7, 10]
    async with http.get(f"{server.url}/unread?room={room}&room=empty&client=client-ben") as response:
        assert (await response.json())["rooms"] == [
            {"room": room, "head": 10, "seen": 7, "unread": 3},
            {"room": "empty", "head": 0, "seen": 0, "unread": 0},
        ]


async def test_whoever_does_not_ask_is_not_told(
    server: Server, http: aiohttp.ClientSession, room: str, transport: str
) -> None:
    """A plain reader gets messages, and no presence; a poll has no `live`."""
    if transport.endswith("poll"):
        async with http.get(f"{server.url}/rooms/{room}") as response:
            assert list(await response.json()) == ["room", "epoch", "head", "next", "gap", "messages"]
        return
    async with (
        Member(transport, http, server, room, presence="0") as plain,
        Member("websocket", http, server, room, presence="1", client="client-ben") as ben,
    ):
        assert ben.socket is not None
        await ben.socket.send_json({"type": "seen", "offset": 0})
        await ben.until("unread")
        while not plain.of("message"):
            await publish(http, server.url, room, "end")
            await asyncio.sleep(0.05)
        assert not plain.of("presence")
        assert not plain.of("seen")


async def test_watching_two_rooms(server: Server, http: aiohttp.ClientSession, room: str) -> None:
    """A stream is told of each once, and not of the other anew because this one filled its socket."""
    query = {"presence": '{"name":"Ana"}', "client": "client-ana"}
    rooms = [f"{room}-one", f"{room}-two"]
    for name in rooms:
        await publish(http, server.url, name, 1)
    async with http.get(
        f"{server.url}/connect",
        params=[*query.items(), *(("room", name) for name in rooms)],
        headers={"Accept": "text/event-stream"},
    ) as response:
        told: list[str] = []
        async with asyncio.timeout(WAIT_S):
            async for event in events(response.content):
                if event.get("event") == "presence":
                    told.append(json.loads(event["data"])["room"])
                    if len(told) == 2:
                        await publish(http, server.url, rooms[0], "the end")
                if event.get("event") is None and "the end" in event.get("data", ""):
                    break
        assert len(told) <= 4  # everybody, and that we have come


async def test_presence_of_some_rooms(server: Server, http: aiohttp.ClientSession, room: str) -> None:
    """One URL, several rooms, and something else to tell in each."""
    a, b, c, d = (f"{room}-{n}" for n in "abcd")
    query = [
        ("client", "client-ana"), ("since", ",".join(f"{name}=0" for name in (a, b, c, d))), ("live", "0"),
        ("presence", '{"name":"Ana"}'), ("in", f"{a},{b}"), ("presence", "watch"), ("in", c),
    ]  # fmt: skip
    async with http.get(f"{server.url}/connect", params=query) as response:
        live = (await response.json())["live"]
    assert [(one["room"], one["count"]) for one in live["presence"]] == [(a, 1), (b, 1), (c, 0)]
    assert live["presence"][1]["members"][0]["data"] == {"name": "Ana"}


async def test_a_poller_that_nobody_could_know_again(server: Server, http: aiohttp.ClientSession, room: str) -> None:
    """Each poll would be another member: who wants to be seen says who they are."""
    async with http.get(f"{server.url}/rooms/{room}?presence=1") as response:
        assert response.status == 400
        assert "client" in (await response.json())["error"]["message"]
    async with http.get(f"{server.url}/rooms/{room}?presence=watch") as response:
        assert (await response.json())["live"]["presence"][0]["count"] == 0


async def test_a_rare_poll_hears_of_everything(server: Server, http: aiohttp.ClientSession, room: str) -> None:
    """Who went, and what was seen, while nobody but somebody who polls now and then wanted to know."""
    await publish_many(http, server.url, room, [1, 2, 3])
    async with (
        Member("websocket", http, server, room, presence="1", client="client-ben"),
        http.get(f"{server.url}/rooms/{room}?presence=watch&live=0") as response,
    ):
        live = (await response.json())["live"]
        assert live["presence"][0]["count"] == 1
    async with http.post(f"{server.url}/rooms/{room}/seen?client=client-ben", json={"offset": 2}) as response:
        assert response.status == 200
    async with asyncio.timeout(WAIT_S):
        while True:
            async with http.get(f"{server.url}/rooms/{room}/presence") as response:
                if (await response.json())["count"] == 0:
                    break
            await asyncio.sleep(0.05)
    async with http.get(f"{server.url}/rooms/{room}?presence=watch&live={live['next']}") as response:
        later = (await response.json())["live"]
    assert later["presence"][0]["count"] == 0
    assert [mark["offset"] for mark in later["seen"][0]["marks"]] == [2]


async def test_a_long_poll_waits_where_nothing_has_ever_happened(http: aiohttp.ClientSession) -> None:
    """The version of a new server is one that a client can have: else polls come back at once, for ever."""
    with Server() as server:
        address = f"{server.url}/connect"
        async with http.get(address, params={"since": "r=now", "live": "0"}) as response:
            first = await response.json()
        query = {"since": first["next"], "live": first["live"]["next"], "wait": "20"}
        poll = asyncio.ensure_future(http.get(address, params=query))
        await parked(http, server)
        await publish(http, server.url, "r", "at last")
        async with await poll as response:
            assert [message["data"] for message in (await response.json())["messages"]] == ["at last"]


async def test_whoever_leaves_behind_a_poll_has_left() -> None:
    """The two come on two connections, in this order, and the poll is given up at once."""
    query = {"since": "now", "wait": "20", "live": "0", "presence": "1", "client": "0123456789abcdef"}
    async with TestHub(presence_grace_s=1.0) as hub, hub.http() as http:
        await (await http.get("/rooms/r", params={"client": query["client"]})).read()
        polling = asyncio.ensure_future(http.get("/rooms/r", params=query))
        leaving = asyncio.ensure_future(http.delete("/rooms/r/presence", params={"client": query["client"]}))
        assert (await leaving).status == 204
        polling.cancel()
        await hub.clock.tick(3)
        async with http.get("/rooms/r/presence") as response:
            assert (await response.json())["count"] == 0


async def test_errors_say_what_they_are_about(server: Server, http: aiohttp.ClientSession, room: str) -> None:
    commands: list[tuple[dict[str, Any], str | None]] = [
        ({"type": "join", "room": "a/b"}, "join"),
        ({"type": "leave", "room": "other"}, "leave"),
        ({"type": "message", "room": room}, "message"),
        ({"type": "signal", "room": room, "name": "a b"}, "signal"),
        ({"type": "seen", "room": room, "offset": -1}, "seen"),
        ({"type": "unread", "rooms": ["a/b"]}, "unread"),
        ({"type": "nonsense", "room": room}, None),
    ]
    async with http.ws_connect(f"{server.url}/rooms/{room}?client=client-ana") as socket:
        for command, about in commands:
            await socket.send_json(command)
            while (event := await socket.receive_json())["type"] != "error":
                pass
            assert event.get("about") == about, event


@pytest.mark.parametrize("before", ["websocket", "sse"])
async def test_one_stream_a_client(server: Server, http: aiohttp.ClientSession, room: str, before: str) -> None:
    """A new connection with the same client id ends the one before (R11)."""
    query = {"client": "client-ana", "presence": "0"}
    first = Member(before, http, server, room, **query)
    await first.until("welcome")
    async with http.ws_connect(f"{server.url}/rooms/{room}", params=query) as second:
        assert (await second.receive_json())["type"] == "welcome"
        await asyncio.wait_for(first._task, WAIT_S)
        [closed] = first.of("closed") if before == "sse" else first.of("error")
        assert closed["code"] == "replaced"
        if first.socket is not None:
            assert first.socket.close_code == 4201
        await second.send_json({"type": "ping"})
        while (await second.receive_json())["type"] != "pong":
            pass


async def replaced(member: Member) -> bool:
    """Wait until the stream has ended."""
    await asyncio.wait_for(member._task, WAIT_S)
    return [told["code"] for kind, told in member.told if kind in ("error", "closed")] == ["replaced"]


@pytest.mark.parametrize("transport", ["websocket", "sse"])
@pytest.mark.parametrize("nodes", [1, 2])
async def test_an_attempt_that_comes_late(
    tmp_path: Path, http: aiohttp.ClientSession, nodes: int, transport: str
) -> None:
    """What its client has given up, and a server that was stopped finds when it goes on, ends nothing newer."""
    async with AsyncExitStack() as stack:
        store = f"sqlite:///{tmp_path}/log.db?shared=1"
        servers = [stack.enter_context(ours(store)) for _ in range(nodes)]
        one, other = servers[0], servers[-1]

        async def opened(server: Server, attempt: str) -> Member:
            query = {"presence": "0", "since": "start", "client": "client-ana", "attempt": attempt}
            member = Member(transport, http, server, "a", **query)
            stack.push_async_exit(member)
            await member.until_true(lambda: member.told)
            return member

        first = await opened(one, "first-life.1")
        newest = await opened(other, "first-life.3")
        assert await replaced(first)
        assert await replaced(await opened(one, "first-life.2"))
        repeated = await opened(one, "first-life.3")  # by a proxy, say: which of the two is dead, nobody can know
        await publish(http, one.url, "a", 1)
        for member in (newest, repeated):
            await member.until("message")
        newest = repeated
        for server, attempt in ((one, "first-life.10"), (other, "second-life.1"), (one, "first-life.11")):
            newer = await opened(server, attempt)
            assert await replaced(newest)
            newest = newer


@pytest.mark.parametrize(
    ("path", "body", "code"),
    [
        ("rooms/a/signals", {"data": 1}, "bad_json"),
        ("rooms/a/signals", {"name": "a b"}, "bad_command"),
        ("rooms/a/signals", {"name": "a", "data": "x" * 5000}, "too_large"),
        ("rooms/a%20b/signals", {"name": "a"}, "bad_room"),
        ("rooms/a/signals?client=short", {"name": "a"}, "bad_command"),
        ("rooms/a/seen", {"offset": 1}, "bad_command"),
        ("rooms/a/seen?client=client-ana", {"offset": -1}, "bad_position"),
        ("rooms/a/seen?client=client-ana", {"offset": "x"}, "bad_json"),
    ],
)
async def test_refusals(server: Server, http: aiohttp.ClientSession, path: str, body: object, code: str) -> None:
    from yarl import URL

    async with http.post(URL(f"{server.url}/{path}", encoded=True), json=body) as response:
        assert (await response.json())["error"]["code"] == code


@pytest.mark.parametrize("query", ["presence=[1]", "presence={", "client=x", 'presence={"x":1e999}'])
@pytest.mark.parametrize("accept", ["*/*", "text/event-stream"])
async def test_bad_attendance(server: Server, http: aiohttp.ClientSession, query: str, accept: str) -> None:
    async with http.get(f"{server.url}/rooms/a?{query}", headers={"Accept": accept}) as response:
        assert response.status == 400
        assert (await response.json())["error"]["code"] in ("bad_command", "bad_json")


async def test_unread_survives_a_restart(tmp_path: Path, http: aiohttp.ClientSession) -> None:
    """kill -9: what was answered is kept."""
    with Server(store=f"sqlite:///{tmp_path}/log.db") as server:
        await publish_many(http, server.url, "a", [1, 2, 3])
        async with http.post(f"{server.url}/rooms/a/seen?client=client-ana", json={"offset": 2}) as response:
            assert (await response.json())["unread"] == 1
        server.kill()
        server.start()
        async with http.get(f"{server.url}/unread?room=a&client=client-ana") as response:
            assert (await response.json())["rooms"] == [{"room": "a", "head": 3, "seen": 2, "unread": 1}]
