"""The server API of python-socketio, as its documentation has it; and what is ours in it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.types import ASGIApp, Receive, Scope, Send

import trunkline.socketio as socketio
from tests.support import eventually
from trunkline import Hub
from trunkline.errors import ConfigError, RequestError
from trunkline.socketio import AsyncNamespace, AsyncServer, exceptions
from trunkline.testing.lifespan import Lifespan
from trunkline.transports.socketio.session import Out, Session
from trunkline.wire.engineio import Packet

SCOPE = {
    "type": "websocket",
    "path": "/socket.io/",
    "query_string": b"EIO=4&transport=websocket",
    "headers": [(b"host", b"localhost"), (b"x-test", b"1"), (b"cookie", b"a=b")],
    "client": ("127.0.0.1", 5000),
    "server": ("localhost", 80),
    "scheme": "ws",
    "http_version": "1.1",
}


class Peer:
    """A client, as a session has it: without a network."""

    def __init__(self, server: AsyncServer) -> None:
        self.sent: list[Out] = []
        self.has_left = False
        self.session: Session = server.edge.sessions.open(dict(SCOPE), self)

    def send(self, packets: Sequence[Out]) -> None:
        self.sent += packets

    def write(self, packets: Sequence[Out]) -> None:
        self.sent += packets

    def hold(self) -> None: ...

    def release(self) -> None: ...

    def leave(self) -> None:
        self.has_left = True

    def unsent(self) -> int:
        return 0

    def say(self, *texts: str | bytes) -> None:
        for text in texts:
            self.session.receive(Packet("4", text))

    async def told(self, begin: str) -> str:
        """The first packet that begins so."""

        def look() -> str | None:
            return next((one for one in self.sent if isinstance(one, str) and one.startswith(begin)), None)

        found: str = await eventually(look)
        return found

    async def connect(self, namespace: str = "/", auth: Any = None) -> str:
        """Be in a namespace; return the id there."""
        head = "" if namespace == "/" else f"{namespace},"
        self.say(f"0{head}{'' if auth is None else json.dumps(auth)}")
        answer = await self.told(f"40{head}")
        sid: str = json.loads(answer.removeprefix(f"40{head}"))["sid"]
        return sid

    def events(self) -> list[Any]:
        """The events that it was given."""
        found = [one for one in self.sent if isinstance(one, str) and one.startswith("42[")]
        return [json.loads(one[2:]) for one in found]


@asynccontextmanager
async def serving(**settings: Any) -> AsyncIterator[AsyncServer]:
    async with Hub("memory:") as hub:
        yield AsyncServer(hub, **settings)


# ── Connecting ──


async def test_connect_is_given_the_request_and_what_the_client_says() -> None:
    async with serving() as sio:
        seen: list[Any] = []

        @sio.event
        def connect(sid: str, environ: dict[str, Any], auth: Any) -> None:
            seen.append((sid, environ, auth))

        peer = Peer(sio)
        sid = await peer.connect(auth={"token": "x"})
        [(known, environ, auth)] = seen
        assert (known, auth) == (sid, {"token": "x"})
        assert (environ["HTTP_X_TEST"], environ["HTTP_COOKIE"], environ["REMOTE_ADDR"]) == ("1", "a=b", "127.0.0.1")
        assert (environ["PATH_INFO"], environ["REQUEST_METHOD"]) == ("/socket.io/", "GET")
        assert sio.get_environ(sid) == {**environ, "socketio.recovered": False} or sio.get_environ(sid)
        assert sio.transport(sid) == "websocket"


@pytest.mark.parametrize("takes", [2, 3])
async def test_connect_may_take_no_auth(takes: int) -> None:
    async with serving() as sio:
        counts: list[int] = []
        two: Callable[..., None] = lambda sid, environ: counts.append(2)  # noqa: E731
        three: Callable[..., None] = lambda sid, environ, auth: counts.append(3)  # noqa: E731
        sio.on("connect", two if takes == 2 else three)
        await Peer(sio).connect()
        assert counts == [takes]


@pytest.mark.parametrize(
    ("raised", "told"),
    [
        (False, {"message": "Connection rejected by server"}),
        (exceptions.ConnectionRefusedError(), {"message": "Connection rejected by server"}),
        (exceptions.ConnectionRefusedError("no"), {"message": "no"}),
        (exceptions.ConnectionRefusedError("no", {"a": 1}), {"message": "no", "data": {"a": 1}}),
        (exceptions.ConnectionRefusedError("no", 1, 2), {"message": "no", "data": [1, 2]}),
        (ConnectionRefusedError("builtin"), {"message": "Connection refused by server"}),
        (ZeroDivisionError(), {"message": "The server could not let you in: its application failed"}),
    ],
)
async def test_connect_may_refuse(raised: Any, told: dict[str, Any]) -> None:
    async with serving() as sio:
        ends: list[str] = []

        @sio.event
        async def connect(sid: str, environ: dict[str, Any]) -> bool:
            if isinstance(raised, Exception):
                raise raised
            return bool(raised)

        @sio.event
        def disconnect(sid: str) -> None:
            ends.append(sid)

        peer = Peer(sio)
        peer.say("0")
        assert json.loads((await peer.told("44"))[2:]) == told
        await asyncio.sleep(0)
        assert ends == []


async def test_what_connect_emits_comes_after_the_acceptance() -> None:
    async with serving() as sio:

        @sio.event
        async def connect(sid: str, environ: dict[str, Any], auth: Any) -> None:
            await sio.emit("early", to=sid)
            await sio.enter_room(sid, "r")
            await sio.emit("also", room="r")

        peer = Peer(sio)
        await peer.connect()
        await eventually(lambda: len(peer.events()) == 2)
        assert str(peer.sent[1]).startswith("40")
        assert sorted(peer.events()) == [["also"], ["early"]]


async def test_always_connect_says_so_first_and_takes_it_back() -> None:
    async with serving(always_connect=True) as sio:
        sio.on("connect", lambda sid, environ: False)
        peer = Peer(sio)
        peer.say("0")
        await peer.told("41")
        kinds = [str(one)[:2] for one in peer.sent[1:]]
        assert kinds == ["40", "41"]


async def test_a_client_that_goes_while_it_is_let_in_is_heard_of_twice() -> None:
    async with serving() as sio:
        said: list[str] = []
        go = asyncio.Event()

        @sio.event
        async def connect(sid: str, environ: dict[str, Any]) -> None:
            said.append("connect")
            await go.wait()

        @sio.event
        async def disconnect(sid: str, reason: str) -> None:
            said.append(reason)

        peer = Peer(sio)
        peer.say("0")
        await eventually(lambda: said)
        peer.session.end("transport close")
        go.set()
        await eventually(lambda: len(said) == 2)
        assert said == ["connect", "transport close"]


# ── Events ──


async def test_which_handler_hears_an_event() -> None:
    """The event, any event of the namespace, the event of any namespace, any of any; then objects."""
    async with serving(namespaces="*") as sio:
        heard: list[Any] = []
        sio.on("a", lambda sid, *args: heard.append(("/", "a", args)))
        sio.on("*", lambda event, sid, *args: heard.append(("/", "*", event, args)))
        sio.on("a", lambda ns, sid, *args: heard.append(("*", "a", ns, args)), namespace="*")
        sio.on("*", lambda event, ns, sid, *args: heard.append(("*", "*", event, ns, args)), namespace="*")
        peer = Peer(sio)
        await peer.connect()
        await peer.connect("/n")
        peer.say('2["a",1]', '2["b",2]', '2/n,["a",3]', '2/n,["b",4]')
        await eventually(lambda: len(heard) == 4)
        assert heard == [
            ("/", "a", (1,)),
            ("/", "*", "b", (2,)),
            ("*", "a", "/n", (3,)),
            ("*", "*", "b", "/n", (4,)),
        ]


async def test_namespaces_as_classes() -> None:
    class Chat(AsyncNamespace):
        def on_connect(self, sid: str, environ: dict[str, Any]) -> None:
            self.who = sid

        async def on_say(self, sid: str, text: str) -> str:
            await self.enter_room(sid, "r")
            await self.emit("said", text, room="r")
            async with self.session(sid) as session:
                session["said"] = text
            assert await self.get_session(sid) == {"said": text}
            assert "r" in self.rooms(sid)
            await self.leave_room(sid, "r")
            await self.close_room("r")
            await self.send("sent", to=sid)
            return "ok"

        async def on_bye(self, sid: str) -> None:
            await self.disconnect(sid)

        def on_disconnect(self, sid: str) -> None:
            self.gone = sid

    async with serving() as sio:
        chat = Chat("/chat")
        sio.register_namespace(chat)
        peer = Peer(sio)
        sid = await peer.connect("/chat")
        assert chat.who == sid
        peer.say('2/chat,1["say","hi"]')
        assert await peer.told("43") == '43/chat,1["ok"]'
        assert await peer.told('42/chat,["said"') == '42/chat,["said","hi"]'
        assert await peer.told('42/chat,["message"') == '42/chat,["message","sent"]'
        peer.say('2/chat,["bye"]')
        await peer.told("41/chat")
        await eventually(lambda: getattr(chat, "gone", None) == sid)
        with pytest.raises(ValueError, match="takes a Namespace"):
            sio.register_namespace(socketio.Namespace("/x"))


@pytest.mark.parametrize(
    ("answer", "told"),
    [(None, "[]"), (5, "[5]"), ((1, 2), "[1,2]"), ([1, 2], "[[1,2]]"), ({"a": 1}, '[{"a":1}]'), ((), "[]")],
)
async def test_what_a_handler_returns_is_acknowledged(answer: Any, told: str) -> None:
    async with serving() as sio:
        sio.on("ask", lambda sid: answer)
        peer = Peer(sio)
        await peer.connect()
        peer.say('27["ask"]')
        assert await peer.told("43") == f"437{told}"


async def test_a_handler_that_fails_acknowledges_nothing_and_ends_nothing() -> None:
    async with serving() as sio:
        sio.on("fail", lambda sid: 1 / 0)
        sio.on("odd", lambda sid: object())
        sio.on("ask", lambda sid: "fine")
        peer = Peer(sio)
        await peer.connect()
        peer.say('21["fail"]', '22["odd"]', '23["nothing"]', '24["ask"]')
        await peer.told("434")
        assert [one for one in peer.sent if str(one).startswith("43")] == ['434["fine"]']


async def test_handlers_one_after_the_other() -> None:
    async with serving(async_handlers=False) as sio:
        order: list[int] = []

        @sio.event
        async def work(sid: str, number: int) -> None:
            order.append(number)
            await asyncio.sleep(0.02 / number)
            order.append(-number)

        peer = Peer(sio)
        await peer.connect()
        peer.say('2["work",1]', '2["work",2]', '2["work",3]')
        await eventually(lambda: len(order) == 6)
        assert order == [1, -1, 2, -2, 3, -3]


async def test_disconnect_and_its_reasons() -> None:
    async with serving() as sio:
        reasons: list[str] = []

        @sio.event
        async def disconnect(sid: str, reason: str) -> None:
            assert sid in sio.rooms(sid)  # it is still known
            reasons.append(reason)

        peers = [Peer(sio) for _ in range(4)]
        sids = [await peer.connect() for peer in peers]
        peers[0].say("1")
        await sio.disconnect(sids[1])
        peers[2].session.end("ping timeout")
        peers[3].session.carrier_ended(peers[3])
        await eventually(lambda: len(reasons) == 4)
        assert sorted(reasons) == ["client disconnect", "ping timeout", "server disconnect", "transport close"]
        assert reasons[0] == sio.reason.CLIENT_DISCONNECT
        with pytest.raises(KeyError):
            sio.rooms(sids[0])
        assert sio.get_environ(sids[0]) is None
        await sio.disconnect(sids[0])


async def test_a_namespace_that_was_left_can_be_entered_at_once() -> None:
    async with serving(namespaces=["/n"]) as sio:
        left = asyncio.Event()

        @sio.event(namespace="/n")
        async def disconnect(sid: str) -> None:
            await left.wait()

        peer = Peer(sio)
        first = await peer.connect("/n")
        peer.sent.clear()
        peer.say("1/n,")
        assert await peer.connect("/n") != first
        assert first in sio.rooms(first, namespace="/n")
        left.set()


async def test_who_enters_no_namespace_is_sent_away() -> None:
    async with serving(connect_timeout=0.05, ping_interval=100) as sio:
        peers = [Peer(sio), Peer(sio)]
        await peers[0].connect()
        await eventually(lambda: peers[1].has_left)
        assert not peers[0].has_left


# ── Emitting ──


async def test_to_everyone_to_rooms_to_one_and_not_to_some() -> None:
    async with serving() as sio:
        peers = [Peer(sio) for _ in range(3)]
        a, b, c = [await peer.connect() for peer in peers]
        await sio.enter_room(a, "one")
        await sio.enter_room(b, "one")
        await sio.enter_room(b, "two")
        await sio.emit("all", (1, 2))
        await sio.emit("one", room="one")
        await sio.emit("both", to=["one", "two"])
        await sio.emit("c", {"x": None}, to=c)
        await sio.emit("not a", skip_sid=a)
        await sio.emit("not a, b", skip_sid=[a, b])
        await sio.emit("elsewhere", namespace="/n")
        await eventually(lambda: sum(len(peer.events()) for peer in peers) == 11)
        assert [sorted(event[0] for event in peer.events()) for peer in peers] == [
            ["all", "both", "one"],
            ["all", "both", "not a", "one"],
            ["all", "c", "not a", "not a, b"],
        ]
        assert ["all", 1, 2] in peers[0].events()
        assert ["c", {"x": None}] in peers[2].events()
        assert sorted(sio.rooms(b)) == sorted(["one", "two", b])
        await sio.close_room("one")
        assert sio.rooms(a) == [a]


async def test_an_event_is_stored_before_emit_returns() -> None:
    async with serving(plain_rooms=True) as sio:
        await sio.emit("news", {"a": 1}, room="general", id="one")
        await sio.emit("news", {"a": 1}, room="general", id="one")
        await sio.emit("message", "hi", room="general")
        await sio.emit("gone", room="general", volatile=True)
        page = await sio.hub.page("general", since="start")
        assert [message.data for message in page.messages] == [{"event": "news", "args": [{"a": 1}]}, "hi"]


async def test_what_is_too_large_is_said_to_the_caller() -> None:
    async with serving() as sio:
        with pytest.raises(RequestError) as raised:
            await sio.emit("x", "x" * 70_000)
        assert raised.value.code == "too_large"
        with pytest.raises(TypeError):
            await sio.emit("x", object())


async def test_callbacks_and_calls() -> None:
    async with serving() as sio:
        peer = Peer(sio)
        sid = await peer.connect()
        answers: list[Any] = []
        await sio.emit("ask", to=sid, callback=lambda *args: answers.append(args))
        assert await peer.told("420") == '420["ask"]'
        peer.say('30["a",1]')
        await eventually(lambda: answers == [("a", 1)])
        for answer, found in (("[]", None), ("[5]", 5), ("[1,2]", (1, 2))):
            call = asyncio.ensure_future(sio.call("ask", b"bytes", to=sid))
            number = await eventually(lambda: next((str(o) for o in reversed(peer.sent) if str(o)[:2] == "45"), ""))
            peer.say("3" + number.partition("-")[2].partition("[")[0] + answer)
            assert await call == found
            peer.sent.clear()
        with pytest.raises(exceptions.TimeoutError):
            await sio.call("ask", to=sid, timeout=0.01)
        with pytest.raises(ValueError, match="which client"):
            await sio.call("ask")


async def test_sessions_are_kept_by_namespace() -> None:
    async with serving(namespaces=["/", "/n"]) as sio:
        peer = Peer(sio)
        a, b = await peer.connect(), await peer.connect("/n")
        assert await sio.get_session(a) == {}
        await sio.save_session(a, {"user": 1})
        await sio.save_session(b, {"user": 2}, namespace="/n")
        assert await sio.get_session(a) == {"user": 1}
        assert await sio.get_session(b, namespace="/n") == {"user": 2}
        with pytest.raises(KeyError):
            await sio.get_session("nobody")
        with pytest.raises(ValueError, match="not connected"):
            await sio.enter_room("nobody", "r")


async def test_a_client_is_in_so_many_rooms() -> None:
    async with serving() as sio:
        peer = Peer(sio)
        sid = await peer.connect()
        most = sio.edge.context.limits.rooms_per_connection_max
        for n in range(most):
            await sio.enter_room(sid, f"r{n}")
        with pytest.raises(RequestError) as raised:
            await sio.enter_room(sid, "one more")
        assert raised.value.code == "too_many_rooms"


async def test_the_log_of_a_client_goes_with_it() -> None:
    async with serving() as sio:
        peer = Peer(sio)
        sid = await peer.connect()
        await sio.emit("x", to=sid)
        name = sio.edge.room_name("/", sid)
        store = sio.edge.context.engine.store
        assert (await store.head(name)).head == 1
        peer.session.end("transport close")

        async def is_gone() -> bool:
            return (await store.head(name)).head == 0

        await eventually(is_gone)


# ── Settings, and the application ──


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"transports": ["carrier pigeon"]}, "transports"),
        ({"ping_interval": 0}, "ping interval"),
        ({"colour": "red"}, "no setting colour"),
        ({"json": object()}, "json"),
        ({"serializer": "msgpack"}, "serializer"),
        ({"cors_allowed_origins": "*"}, "origins"),
    ],
)
def test_settings_that_cannot_be(settings: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        AsyncServer(Hub("memory:"), **settings)


def test_what_python_socketio_knows_and_means_nothing_here() -> None:
    AsyncServer(
        Hub("memory:"), async_mode="asgi", logger=True, engineio_logger=False, cookie=None, monitor_clients=True
    )
    assert AsyncServer(cors_allowed_origins=[]).hub is not AsyncServer().hub


@asynccontextmanager
async def running(app: ASGIApp) -> AsyncIterator[httpx.AsyncClient]:
    lifespan = Lifespan(app)
    await lifespan.start()
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        yield client
    await lifespan.stop()


async def other(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"other"})


async def test_an_application_beside_another_and_files(tmp_path: Path) -> None:
    (tmp_path / "public").mkdir()
    (tmp_path / "public" / "index.html").write_text("<p>")
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "app.js").write_text("x")
    said: list[str] = []
    files = {"/app.js": str(tmp_path / "app.js"), "/public": str(tmp_path / "public")}
    sio = AsyncServer(Hub("memory:"))
    sio.owns_hub = True
    app = socketio.ASGIApp(
        sio, None, files, on_startup=lambda: said.append("up"), on_shutdown=lambda: said.append("down")
    )
    async with running(app) as client:
        assert (await client.get("/app.js")).headers["content-type"].startswith("text/javascript")
        assert (await client.get("/public/")).text == "<p>"
        assert (await client.get("/public/../secret")).status_code == 404
        assert (await client.get("/public/%2e%2e/secret")).status_code == 404
        assert (await client.get("/elsewhere")).status_code == 404
        assert (await client.get("/socket.io/?EIO=4&transport=polling")).text.startswith("0{")
        assert (await client.get("/socket.io/")).status_code == 400
        assert (await client.get("/socket.iox/")).status_code == 404
    assert said == ["up", "down"]
    transport = httpx.ASGITransport(socketio.ASGIApp(sio, other))
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        assert (await client.get("/x")).text == "other"


async def test_below_a_mount() -> None:
    hub = Hub("memory:")
    app = Starlette(routes=[Mount("/live", socketio.ASGIApp(AsyncServer(hub)))], lifespan=hub.lifespan)
    async with running(app) as client:
        assert (await client.get("/live/socket.io/?EIO=4&transport=polling")).text.startswith("0{")
        assert (await client.get("/live/x")).status_code == 404


async def test_pages_of_other_origins() -> None:
    hub = Hub("memory:", origins=["https://app.example.com"])
    app = socketio.ASGIApp(AsyncServer(hub), hub.app)
    async with running(app) as client:
        ours = {"Origin": "https://app.example.com"}
        answer = await client.get("/socket.io/?EIO=4&transport=polling", headers=ours)
        assert answer.headers["access-control-allow-origin"] == "https://app.example.com"
        assert (await client.options("/socket.io/", headers=ours)).status_code == 204
        theirs = {"Origin": "https://evil.example.com"}
        assert (await client.get("/socket.io/?EIO=4&transport=polling", headers=theirs)).status_code == 403
