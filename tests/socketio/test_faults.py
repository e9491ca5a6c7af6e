"""Faults that a review has found, as behaviour: of sockets, their rooms, and what is kept of them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from starlette.types import ASGIApp, Receive, Scope, Send

import trunkline.socketio as socketio
from tests.engine.support import FaultyStore
from tests.socketio.test_server import Peer, other, running
from tests.support import eventually
from trunkline import Grant, Hub, Permissions, Retention
from trunkline.errors import RequestError
from trunkline.socketio import AsyncServer
from trunkline.socketio.engineio import AsyncServer as EngineServer
from trunkline.transports.socketio.session import Session


@asynccontextmanager
async def serving(hub: Hub | None = None, **settings: Any) -> AsyncIterator[AsyncServer]:
    async with hub or Hub("memory:") as running_hub:
        yield AsyncServer(running_hub, **settings)


def names(peer: Peer) -> list[str]:
    """The names of the events that it was given."""
    return [str(event[0]) for event in peer.events()]


def offset_of(peer: Peer) -> str:
    """What the client keeps: the last argument of its last event."""
    return str(peer.events()[-1][-1])


async def come_back(sio: AsyncServer, peer: Peer, **more: Any) -> tuple[Peer, dict[str, Any]]:
    """Cut a client, and let it come back with what it keeps; return what it is told."""
    told = json.loads(next(str(one) for one in peer.sent if str(one).startswith("40"))[2:])
    keeps = {"pid": told["pid"], **({"offset": offset_of(peer)} if peer.events() else {}), **more}
    peer.session.end("transport close")
    again = Peer(sio)
    again.say(f"0{json.dumps(keeps)}")
    answer = json.loads((await again.told("40"))[2:])
    return again, {**answer, "recovered": answer["pid"] == told["pid"]}


async def test_an_offset_of_another_socket_counts_as_nothing() -> None:
    """socket.io-client keeps the last one when it connects anew."""
    async with serving(recovery=60) as sio:
        peer = Peer(sio)
        sid = await peer.connect()
        await sio.enter_room(sid, "r")
        for n in range(3):
            await sio.emit(f"old {n}", room="r")
        await eventually(lambda: len(peer.events()) == 3)
        stale = offset_of(peer)
        second = Peer(sio)
        other_sid = await second.connect()
        await sio.enter_room(other_sid, "r")
        for n in range(5):
            await sio.emit(f"new {n}", room="r")
        again, told = await come_back(sio, second, offset=stale)
        assert told["recovered"]
        await eventually(lambda: len(again.events()) == 5)


async def test_who_has_missed_something_is_not_recovered() -> None:
    async with serving(Hub("memory:", retention=Retention(messages_max=20)), recovery=60) as sio:
        peer = Peer(sio)
        sid = await peer.connect()
        await sio.enter_room(sid, "r")
        peer.session.fill(full=True)
        for n in range(2000):
            await sio.emit("e", n, room="r")
        peer.session.fill(full=False)
        await eventually(lambda: not peer.session.is_open)
        assert peer.events() == [] or peer.events()[0][1] == 0
        _, told = await come_back(sio, peer)
        assert not told["recovered"]


async def test_a_room_that_could_not_be_kept_is_kept_when_it_is_entered_again() -> None:
    store = FaultyStore()
    async with serving(Hub(store), recovery=60) as sio:
        peer = Peer(sio)
        sid = await peer.connect()
        real = store.swap

        async def away(_: Any) -> Any:
            from trunkline.errors import StoreUnavailable

            raise StoreUnavailable("away")

        store.swap = away  # type: ignore[method-assign, assignment]
        with pytest.raises(Exception, match="away"):
            await sio.enter_room(sid, "r")
        store.swap = real  # type: ignore[method-assign]
        await sio.enter_room(sid, "r")
        await sio.emit("one", room="r")
        await eventually(lambda: names(peer) == ["one"])
        keeps = offset_of(peer)
        await sio.emit("two", room="r")
        again, told = await come_back(sio, peer, offset=keeps)
        assert told["recovered"]
        await eventually(lambda: names(again) == ["two"])


async def test_a_room_that_is_entered_twice_at_once_is_entered_once() -> None:
    async with serving(recovery=60) as sio:
        peer = Peer(sio)
        sid = await peer.connect()
        await asyncio.gather(*(sio.enter_room(sid, "r") for _ in range(3)))
        await sio.emit("one", room="r")
        await eventually(lambda: names(peer) == ["one"])
        again, told = await come_back(sio, peer)
        assert told["recovered"]
        await sio.emit("two", room="r")
        await eventually(lambda: names(again) == ["two"])
        last, _ = await come_back(sio, again)
        await sio.emit("three", room="r")
        await eventually(lambda: names(last) == ["three"])


async def test_an_event_in_several_rooms_comes_once_while_rooms_are_entered_and_left() -> None:
    async with serving() as sio:
        peer = Peer(sio)
        sid = await peer.connect()
        await sio.enter_room(sid, "b")

        async def move() -> None:
            for _ in range(50):
                await sio.enter_room(sid, "a")
                await asyncio.sleep(0)
                await sio.leave_room(sid, "a")

        moving = asyncio.ensure_future(move())
        for n in range(100):
            await sio.emit("e", n, to=["a", "b"])
        await moving
        await eventually(lambda: len(peer.events()) >= 100)
        assert sorted(event[1] for event in peer.events()) == list(range(100))


async def test_nobody_enters_the_own_room_of_another() -> None:
    async with serving(room_events=True) as sio:
        ana, eve = Peer(sio), Peer(sio)
        sid = await ana.connect()
        await eve.connect()
        with pytest.raises(RequestError, match="another client"):
            await sio.enter_room((await Peer(sio).connect()), sid)
        eve.say(f'21["join","{sid}"]')
        await eve.told("431")
        await sio.emit("for ana alone", to=sid)
        await eventually(lambda: names(ana) == ["for ana alone"])
        assert eve.events() == []


async def test_a_join_reads_the_room_that_it_names() -> None:
    async with serving(room_events=True, namespaces=["/", "/n"]) as sio:
        peer = Peer(sio)
        await peer.connect()
        await peer.connect("/n")
        peer.say('21["join","sio:n:general"]', '2/n,2["join","general"]')
        await peer.told("431")
        assert "default namespace" in await peer.told("43/n,2")
        await sio.hub.publish("sio:n:general", "hi")
        await eventually(lambda: names(peer) == ["message"])


class Tokens:
    def __init__(self, hub: Hub) -> None:
        self.may = Permissions(read=("open", "secret"))
        hub.authenticate(self.grant)

    def grant(self, _: Any) -> Grant:
        return Grant(user="ana", permissions=self.may)


async def test_a_room_that_may_not_be_read_any_more_is_left_for_good() -> None:
    hub = Hub("memory:")
    tokens = Tokens(hub)
    async with serving(hub, room_events=True, recovery=60) as sio:
        peer = Peer(sio)
        await peer.connect(auth={"recovery": True})
        peer.say('21["join","secret"]', '22["join","open"]')
        await peer.told("432")
        tokens.may = Permissions(read=("open",))
        hub.authorize(lambda grant, action, room: room != "secret")
        await hub.recheck("ana")
        await eventually(lambda: "left" in names(peer))
        await sio.emit("volatile", room="secret", volatile=True)
        await hub.publish("secret", 1)
        await hub.publish("open", 2)
        await eventually(lambda: names(peer) == ["left", "message"])
        again, told = await come_back(sio, peer, recovery=True)
        assert told["recovered"]
        await hub.publish("secret", 3)
        await hub.publish("open", 4)
        await eventually(lambda: [event[1] for event in again.events()] == [4])


async def test_who_comes_back_with_less_is_not_recovered() -> None:
    hub = Hub("memory:")
    tokens = Tokens(hub)
    async with serving(hub, room_events=True, recovery=60) as sio:
        peer = Peer(sio)
        await peer.connect(auth={"recovery": True})
        peer.say('21["join","secret"]')
        await peer.told("431")
        tokens.may = Permissions(read=("open",))
        await hub.publish("secret", 1)
        again, told = await come_back(sio, peer, recovery=True)
        assert not told["recovered"]
        assert again.events() == []


async def test_who_disconnects_and_refuses_leaves_nothing_behind() -> None:
    async with serving() as sio:

        @sio.event
        async def connect(sid: str, environ: dict[str, Any]) -> bool:
            await sio.disconnect(sid)
            return False

        for _ in range(3):
            peer = Peer(sio)
            peer.say("0")
            await peer.told("4")
            await asyncio.sleep(0.01)
        rooms = sio.edge.context.engine.rooms
        assert all((room.pins, room.readers) == (0, 0) for room in rooms)
        assert sio.edge.members("/", [""]) == []


async def test_acknowledgements_are_taken_while_a_handler_waits() -> None:
    async with serving(async_handlers=False) as sio:

        @sio.event
        async def ask(sid: str) -> Any:
            return await sio.call("sure?", to=sid, timeout=5)

        peer = Peer(sio)
        await peer.connect()
        peer.say('21["ask"]')
        question = await peer.told("42")
        peer.say(f'3{question[2:].partition("[")[0]}["yes"]')
        assert await peer.told("431") == '431["yes"]'


async def test_a_hundred_handlers_that_ask_their_client_are_answered() -> None:
    async with serving() as sio:
        done: list[int] = []

        @sio.event
        async def ask(sid: str, number: int) -> None:
            done.append(await sio.call("q", number, to=sid, timeout=5))

        peer = Peer(sio)
        await peer.connect()
        for n in range(150):
            peer.say(f'2["ask",{n}]')
        answered: set[str] = set()

        def answer() -> bool:
            for one in [str(one) for one in peer.sent if str(one).startswith("42") and str(one)[2].isdigit()]:
                number, _, rest = one[2:].partition("[")
                if number not in answered:
                    answered.add(number)
                    peer.say(f"3{number}[{json.loads('[' + rest)[1]}]")
            return len(done) == 150

        await eventually(answer)


async def test_rooms_are_entered_and_left_in_the_order_of_the_events() -> None:
    """Without waiting for an answer in between, and although handlers run side by side."""
    async with serving() as sio:

        @sio.event
        async def join(sid: str, room: str) -> None:
            await sio.enter_room(sid, room)

        @sio.event
        async def say(sid: str, room: str, n: int) -> None:
            await sio.emit("said", n, room=room)

        @sio.event
        async def leave(sid: str, room: str) -> None:
            await sio.leave_room(sid, room)

        @sio.event
        async def slow(sid: str) -> None:
            await asyncio.sleep(60)

        peer = Peer(sio)
        await peer.connect()
        for n in range(20):
            peer.say(
                '2["slow"]', f'2["join","r{n}"]', f'2["say","r{n}",{n}]', f'2["leave","r{n}"]', f'2["say","r{n}",-1]'
            )
        await eventually(lambda: len(peer.events()) == 20)
        assert peer.events() == [["said", n] for n in range(20)]


async def test_an_event_called_star_is_an_event() -> None:
    async with serving() as sio:
        heard: list[Any] = []
        sio.on("*", lambda event, sid, *args: heard.append((event, sid, args)))
        peer = Peer(sio)
        sid = await peer.connect()
        peer.say('2["*","another",1]')
        await eventually(lambda: heard)
        assert heard == [("*", sid, ("another", 1))]


async def test_what_a_client_says_to_engine_io_waits_until_it_is_let_in() -> None:
    async with Hub("memory:") as hub:
        eio = EngineServer(hub)
        heard: list[Any] = []
        go = asyncio.Event()

        @eio.on("connect")
        async def connect(sid: str, environ: dict[str, Any]) -> bool:
            await go.wait()
            return bool(environ["QUERY_STRING"] != "bad")

        eio.on("message", lambda sid, data: heard.append(data))
        sessions: list[Session] = []
        for query in (b"good", b"bad"):
            scope: dict[str, Any] = {
                "type": "http",
                "path": "/",
                "query_string": query,
                "headers": [],
                "scheme": "http",
            }
            session = eio._sessions.open(scope)
            from trunkline.wire.engineio import Packet

            session.receive(Packet("4", query.decode()))
            sessions.append(session)
        await asyncio.sleep(0.01)
        assert heard == []
        go.set()
        await eventually(lambda: not sessions[1].is_open)
        assert heard == ["good"]


async def test_a_client_comes_back_by_itself_when_the_log_was_away() -> None:
    """A refusal would be for good: socket.io-client does not try again after one."""
    store = FaultyStore()
    async with serving(Hub(store)) as sio:
        store.is_away = True
        peer = Peer(sio)
        peer.say("0")
        await eventually(lambda: peer.has_left)
        assert not [one for one in peer.sent if str(one).startswith("44")]


@pytest.mark.parametrize("raises", [True, False])
async def test_another_application_without_a_lifespan(raises: bool) -> None:
    async def bare(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            if raises:
                raise ValueError("only HTTP here")
            return
        await other(scope, receive, send)

    sio = AsyncServer("memory:")
    app: ASGIApp = socketio.ASGIApp(sio, bare)
    async with running(app) as client:
        assert (await client.get("/socket.io/?EIO=4&transport=polling")).text.startswith("0{")
        assert (await client.get("/x")).text == "other"


async def test_a_session_in_no_namespace_is_told_of_the_end_of_the_server() -> None:
    async with serving() as sio:
        peer = Peer(sio)
        await sio.hub.drain()
        assert peer.has_left


async def test_what_is_emitted_before_a_goodbye_arrives_before_it() -> None:
    async with serving() as sio:
        peer = Peer(sio)
        sid = await peer.connect()
        await sio.enter_room(sid, "r")
        for n in range(20):
            await sio.emit("e", n, room="r")
        await sio.emit("goodbye", to=sid)
        await sio.disconnect(sid)
        assert names(peer) == ["e"] * 20 + ["goodbye"]
        assert str(peer.sent[-1]) == "41"


async def test_names_that_are_no_texts_become_texts() -> None:
    async with serving() as sio:
        peer = Peer(sio)
        sid = await peer.connect()
        await sio.enter_room(sid, 5)  # type: ignore[arg-type]
        await sio.emit("five", room=5)
        await eventually(lambda: names(peer) == ["five"])
        assert "5" in sio.rooms(sid)


@pytest.mark.parametrize("event", ["connect", "disconnect", "connect_error"])
async def test_names_that_say_what_happens_to_a_connection_are_refused(event: str) -> None:
    async with serving() as sio:
        with pytest.raises(ValueError, match="what happens to a connection"):
            await sio.emit(event, 1)


@pytest.mark.parametrize("path", ["/static/%00", "/static/" + "x" * 5000])
async def test_paths_that_are_no_names_of_files(path: str) -> None:
    app = socketio.ASGIApp(AsyncServer(Hub("memory:")), None, {"/static": "."})
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        assert (await client.get(path)).status_code == 404


def test_what_is_not_there_says_where_it_is() -> None:
    with pytest.raises(AttributeError, match="import socketio"):
        _ = socketio.AsyncClient
    with pytest.raises(AttributeError, match=r"docs/socketio\.md"):
        _ = socketio.KombuManager
