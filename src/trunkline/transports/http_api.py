"""The rooms as a Starlette application: everything of the protocol, for any ASGI server.

Each handler is one row of PROTOCOL.md: take the request apart, ask the hub, put the answer together.
"""

from __future__ import annotations

import asyncio
import html
import logging
import signal
import threading
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from types import FrameType
from typing import Any, TypeVar
from urllib.parse import parse_qsl

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, HTMLResponse, Response
from starlette.routing import BaseRoute, Mount, Route, WebSocketRoute
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocket

from trunkline.auth import TICKET_S
from trunkline.core.attendance import Attendance, lasting_member, member_of, parse_attendance
from trunkline.core.grant import ANYBODY, Action, Grant
from trunkline.core.json_text import check_json, too_deep
from trunkline.core.mark import check_offset
from trunkline.core.message import check_id, check_room, check_rooms
from trunkline.core.position import NOW, Start, parse_joins, parse_since, parse_start
from trunkline.core.rate import work
from trunkline.core.signal import SIGNAL_BYTES_MAX, check_signal
from trunkline.errors import RequestError, TrunklineError, error_headers
from trunkline.hub import POLL_DEFAULT, Hub, Reached
from trunkline.live import LEASE_S, now_ms
from trunkline.transports.asgi import AsgiEventStream, AsgiWebSocket, cancelled, disconnected
from trunkline.transports.stream import welcome_body
from trunkline.wire import envelope, poll, sse
from trunkline.wire.body_text import JSON, TEXT, check_json_charset, decode_text, parse_content_type
from trunkline.wire.request import RequestHead

# Pages of ours need nothing from elsewhere, run no script that is written into them, and stand in no other page.
PAGE_HEADERS = {
    "Content-Security-Policy": "default-src 'self'; img-src 'self' data:; base-uri 'self'; form-action 'self';"
    " object-src 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "same-origin",
    "X-Frame-Options": "DENY",
}
PIECE_BYTES = 64 * 1024  # of an answer: a client that takes it slowly holds no more than that in our socket's buffer
BITE_BYTES = 16 * 1024  # of a list that is checked, before others have their turn
log = logging.getLogger("trunkline")

T = TypeVar("T")
Handler = Callable[[Request], Awaitable[Response]]


class _Order(msgspec.Struct):
    """What an administrator wants done, and to whom."""

    user: str | None = None
    token_id: str | None = None


class _Signal(msgspec.Struct):
    """The body of `POST /rooms/{room}/signals`."""

    name: str
    data: msgspec.Raw = msgspec.Raw(b"null")


class _Seen(msgspec.Struct):
    """The body of `POST /rooms/{room}/seen`."""

    offset: int


class Post(msgspec.Struct):
    """The body of `POST /rooms/{room}`; `POST /publish` takes a list of them, each with its room."""

    data: msgspec.Raw
    id: str | None = None
    room: str | None = None


_decode_post = msgspec.json.Decoder(Post).decode
_decode_posts = msgspec.json.Decoder(list[Post]).decode
_decode_signal = msgspec.json.Decoder(_Signal).decode
_decode_seen = msgspec.json.Decoder(_Seen).decode
_decode_order = msgspec.json.Decoder(_Order).decode
_encode = msgspec.json.encode


def build_app(hub: Hub) -> Starlette:
    """The application behind `hub.app`."""

    api = Api(hub)
    routes: list[BaseRoute] = [
        Route("/rooms/{room}", api.room, methods=["GET", "POST"]),
        Route("/rooms/{room}/signals", api.signal, methods=["POST"]),
        Route("/rooms/{room}/presence", api.presence, methods=["GET", "DELETE"]),
        Route("/rooms/{room}/seen", api.seen, methods=["GET", "POST"]),
        Route("/unread", api.unread, methods=["GET"]),
        Route("/connect", api.connect, methods=["GET"]),
        Route("/publish", api.publish, methods=["POST"]),
        Route("/tickets", api.ticket, methods=["POST"]),
        Route("/sessions/{session}/auth", api.renew, methods=["POST"]),
        Route("/disconnect", api.disconnect, methods=["POST"]),
        Route("/revoke", api.revoke, methods=["POST"]),
        Route("/whoami", api.whoami, methods=["GET"]),
        Route("/healthz", api.health, methods=["GET"]),
        Route("/livez", api.alive, methods=["GET"]),
        Route("/readyz", api.ready, methods=["GET"]),
        WebSocketRoute("/rooms/{room}", api.websocket),
        WebSocketRoute("/connect", api.websocket),
        WebSocketRoute("/{path:path}", api.no_websocket),
    ]
    web = Path(str(files("trunkline").joinpath("web")))
    routes.append(Route("/openapi.yaml", description(str(web.joinpath("openapi.yaml"))), methods=["GET"]))
    routes += [
        Route("/trunkline.js", client_module, methods=["GET"]),
        Mount("/client", StaticFiles(directory=str(web.joinpath("client").resolve()))),
    ]
    if hub.pages:
        routes += [
            Route("/", page(str(web.joinpath("index.html"))), methods=["GET"]),
            Route("/live", page(str(web.joinpath("live.html"))), methods=["GET"]),
            Route("/lab", page(str(web.joinpath("lab.html"))), methods=["GET"]),
            Mount("/static", StaticFiles(directory=str(web), follow_symlink=True)),
        ]
    handlers: dict[Any, Any] = {
        TrunklineError: api.on_error,
        HTTPException: on_http_error,
        ClientDisconnect: on_disconnect,
    }
    middleware = [Middleware(_NoSniffing), Middleware(_QuietEnd, hub=hub), Middleware(_Door, api=api)]
    allowed = hub.access.origins.allowed
    if allowed:
        middleware.insert(  # outermost: a listed page may read every answer, also that it asks too often
            0,
            Middleware(
                CORSMiddleware,
                allow_origins=allowed,
                allow_methods=["GET", "POST", "DELETE"],
                allow_headers=["Authorization", "Content-Type", "Idempotency-Key", "Last-Event-ID"],
                allow_credentials="*" not in allowed,
                max_age=600,
            ),
        )
    app = Starlette(routes=routes, middleware=middleware, lifespan=hub.lifespan, exception_handlers=handlers)
    # A slash too many is another address. A redirect would lose a POST, and is made from whatever Host was sent.
    app.router.redirect_slashes = False
    return app


_KNOCKED = "trunkline.knocked"


class _Door:
    """Counts every request, also for what is not there."""

    def __init__(self, app: ASGIApp, api: Api) -> None:
        self._app = app
        self._api = api

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            try:
                self._api.knock(Request(scope))
            except RequestError as error:
                await (await self._api.on_error(Request(scope), error))(scope, receive, send)
                return
            scope[_KNOCKED] = True
        await self._app(scope, receive, send)


class _NoSniffing:
    """What an answer is, its Content-Type says; browsers are not to guess."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_marked(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], (b"x-content-type-options", b"nosniff")]
            await send(message)

        await self._app(scope, receive, send_marked if scope["type"] == "http" else send)


class _QuietEnd:
    """What a server cancels while we drain ends without a traceback: that is what cancelling was for."""

    def __init__(self, app: ASGIApp, hub: Hub) -> None:
        self._app = app
        self._hub = hub

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await self._app(scope, receive, send)
        except asyncio.CancelledError:
            if not self._hub.draining:
                raise


@contextmanager
def drained_on_signals(hub: Hub) -> Iterator[None]:
    """Drain the hub on SIGTERM and Ctrl-C, then let whoever handled the signal before go on.

    ASGI tells an application to shut down only after its last response has ended, and an event stream does not end by
    itself: every server would wait for the streams, and the streams for the server. The signal is the one thing that
    both see in time. Handlers can be set on the main thread only; elsewhere, call `hub.drain()` yourself.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    loop = asyncio.get_running_loop()
    before: dict[int, Any] = {}

    def drain(number: int, frame: FrameType | None) -> None:
        loop.call_soon_threadsafe(lambda: hub.spawn(hub.drain()))
        if callable(before[number]):
            before[number](number, frame)
        elif before[number] == signal.SIG_DFL:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)

    for number in (int(signal.SIGTERM), int(signal.SIGINT)):
        before[number] = signal.signal(number, drain)
    try:
        yield
    finally:
        for number, handler in before.items():
            if signal.getsignal(number) is drain:
                signal.signal(number, handler)


class Api:
    """The endpoints. Each also works as an endpoint of another application's route (see examples/chat)."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    def knock(self, request: Request) -> None:
        """Somebody asks for something, whatever it is.

        Raises:
            RequestError: `rate_limited`.
        """
        self._hub.access.knock(self._client(request))

    async def _started(self) -> None:
        if not self._hub.started:
            log.warning(
                "the hub is started by its first request, so nothing will drain it when the server stops:"
                " give your application lifespan=hub.lifespan, or enter that in your own"
            )
        await self._hub.ensure_started()

    async def room(self, request: Request) -> ASGIApp:
        """`/rooms/{room}`: publish, read by poll, or follow as an event stream."""
        return await self.serve(request, check_room(request.path_params["room"]))

    async def serve(self, request: Request, room: str) -> ASGIApp:
        """The same for a room that the path does not name."""
        hub = self._hub
        await self._started()
        if request.method == "POST":
            return await self._post(request, room)
        head = _head(request)
        attendance = self._attendance_of(head)
        guest = await self._guest(head, request, "read", [room], changes=attendance.is_visible)
        await self._check_watching(guest, attendance, [room])
        since, last = _since(head)
        if head.is_sse:
            return self._events(request, guest, [(room, parse_start(since, last, NOW))], attendance, many=False)
        start = parse_start(since, last, POLL_DEFAULT)
        limit, wait_s, poller = self._limit(head), self._wait(head), guest.poller(head, attendance)

        async def poll_once(wait_s: float) -> Response:
            if poller is not None:
                [page], live = await self._poll_live([(room, start)], limit, wait_s, poller)
                return self._answer(poll.encode_page(page, live))
            page = await hub.page_at(room, start, limit=limit, bytes_max=self._poll_bytes, wait_s=wait_s)
            return self._answer(poll.encode_page(page))

        return await (guest.stay(request, poll_once, wait_s) if wait_s else poll_once(0))

    async def connect(self, request: Request) -> ASGIApp:
        """`/connect`: many rooms at once."""
        await self._started()
        head = _head(request)
        joins = self._joins(head, NOW if head.is_sse else POLL_DEFAULT)
        if not joins:
            raise RequestError("room_required", "name the rooms: /connect?room=a&room=b")
        attendance = self._attendance_of(head)
        rooms = [name for name, _ in joins]
        guest = await self._guest(head, request, "read", rooms, changes=attendance.is_visible)
        await self._check_watching(guest, attendance, rooms)
        if head.is_sse:
            return self._events(request, guest, joins, attendance, many=True)
        limit, wait_s, poller = self._limit(head), self._wait(head), guest.poller(head, attendance)

        async def poll_once(wait_s: float) -> Response:
            pages, live = await self._poll_live(joins, limit, wait_s, poller)
            return self._answer(poll.encode_pages(pages, live))

        return await (guest.stay(request, poll_once, wait_s) if wait_s else poll_once(0))

    @property
    def _poll_bytes(self) -> int:
        """The largest page that may be answered with now: the more of them are on their way, the smaller."""
        limits = self._hub.limits
        return max(
            min(limits.poll_bytes_max, PIECE_BYTES), min(limits.poll_bytes_max, self._hub.unsent_bytes_left // 4)
        )

    def _answer(self, body: bytes) -> Response:
        """A poll's answer. Large ones are sent in pieces."""
        return _json(body) if len(body) <= PIECE_BYTES else _InPieces(self._hub, body)

    async def _poll_live(
        self, joins: list[tuple[str, Start]], limit: int, wait_s: float, poller: _Poller | None
    ) -> tuple[list[poll.Page], bytes | None]:
        """A page of each room, and what is true now in them if the poller wants to know."""
        hub = self._hub
        names = [name for name, _ in joins]
        try:
            if poller is not None:
                poller.arrive(names)
            pages, wait_s = await hub.patiently(lambda: self._pages(joins, limit), wait_s)
            if wait_s > 0 and not any(page.messages or page.gap for page in pages):
                rooms = [await hub.open(page.room) for page in pages]
                at_head = all(f"{r.epoch}.{r.head}" == page.next for r, page in zip(rooms, pages, strict=True))
                if at_head and (poller is None or not poller.behind(names)):
                    await hub.wait_for(rooms, wait_s, poller.watching if poller is not None else None)
                pages = await self._pages([(page.room, parse_since(page.next)) for page in pages], limit)
            return pages, None if poller is None else await poller.body(names)
        finally:
            if poller is not None:
                poller.depart()

    def _attendance_of(self, head: RequestHead) -> Attendance:
        return parse_attendance(head.query, self._hub.limits.rooms_per_connection_max)

    async def _check_watching(self, guest: _Guest, attendance: Attendance, rooms: Iterable[str]) -> None:
        for room in rooms:
            if attendance.within(room).watch:
                await self._hub.access.check(guest.grant, "presence", room)

    def _events(
        self, request: Request, guest: _Guest, joins: list[tuple[str, Start]], attendance: Attendance, *, many: bool
    ) -> ASGIApp:
        if request.method == "HEAD":
            return Response(headers=dict(sse.HEADERS))
        stream = AsgiEventStream(self._hub, guest.client)
        stream.attendance = attendance
        stream.admit(guest.grant)
        return _Events(stream, joins, many=many)

    async def _guest(
        self, head: RequestHead, request: Request, action: Action, rooms: Sequence[str], *, changes: bool = False
    ) -> _Guest:
        """Whose request this is, if it may come in and do this in all these rooms.

        Args:
            changes: It is a GET that others notice.
        """
        access, client = self._hub.access, self._client(request)
        knocked = bool(request.scope.get(_KNOCKED))  # not so at an endpoint of another application
        pieces = work(rooms=len(rooms)) - knocked
        if pieces:
            access.knock(client, pieces)
        access.origins.check(head, changes=changes)
        head.refuse_repeats()
        grant = await access.grant(access.credentials(head, client))
        for room in rooms:
            await access.check(grant, action, room)
        return _Guest(self._hub, grant, client)

    async def _still(self, guest: _Guest, action: Action, rooms: Iterable[str]) -> None:
        """Ask again after a body, which may have been on its way for long."""
        access = self._hub.access
        if guest.grant is not ANYBODY:
            access.current(guest.grant)
        for room in rooms:
            await access.check(guest.grant, action, room)

    def _client(self, request: Request | WebSocket) -> str | None:
        """Under which name the client's limits are counted. Whose word is believed, the ASGI server has decided."""
        return self._hub.access.door.client(request.client.host if request.client else "")

    async def on_error(self, _: Request, error: Exception) -> Response:
        """An error of ours, as the answer to whoever caused it or must wait for us."""
        assert isinstance(error, TrunklineError)
        self._hub.access.refusals[error.code] += 1
        return _json(envelope.problem(error), error.status, dict(error_headers(error)))

    async def ticket(self, request: Request) -> Response:
        """`POST /tickets`: a single-use ticket for whoever sends this, worth what their token is worth."""
        await self._started()
        guest = await self._guest(_head(request), request, "read", [])
        body = {"ticket": self._hub.access.ticket(guest.grant), "expires_in_s": TICKET_S}
        return _json(_encode(body), 201)

    async def renew(self, request: Request) -> Response:
        """`POST /sessions/{session}/auth`: a newer token for a stream that is open."""
        guest = await self._guest(_head(request), request, "read", [])
        if not await self._hub.renew(request.path_params["session"], guest.grant):
            raise RequestError("not_found", "you have no open stream of that name")
        return _json(envelope.authenticated(guest.grant, now_ms()))

    async def disconnect(self, request: Request) -> Response:
        """`POST /disconnect {user}`: end a user's connections."""
        order = await self._order(request)
        if order.user is None:
            raise RequestError("bad_command", "name the user")
        return _reached(await self._hub.disconnect(order.user))

    async def revoke(self, request: Request) -> Response:
        """`POST /revoke {user?, token_id?}`: refuse what was issued, and end the connections made with it."""
        order = await self._order(request)
        if order.user is None and order.token_id is None:
            raise RequestError("bad_command", "name the user or the token_id")
        return _reached(await self._hub.revoke(user=order.user, token_id=order.token_id))

    async def _order(self, request: Request) -> _Order:
        await self._started()
        guest = await self._guest(_head(request), request, "admin", ["*"])
        if not self._hub.access.required:
            raise RequestError("unsupported", "this server asks nobody who they are, so there are no users")
        body = await _body(request, self._hub.limits.envelope_bytes_max)
        order = _decoded(_decode_order, body, "an object with user or token_id")
        await self._still(guest, "admin", ["*"])
        return order

    async def _pages(self, joins: list[tuple[str, Start]], limit: int) -> list[poll.Page]:
        """A page of each room, together within the bounds of one."""
        left = self._poll_bytes
        pages = []
        for room, start in joins:
            page = await self._hub.page_at(room, start, limit=limit if left > 0 else 0, bytes_max=left)
            limit -= len(page.messages)
            left -= sum(len(memoryview(message.json)) for message in page.messages)
            pages.append(page)
        return pages

    async def signal(self, request: Request) -> Response:
        """`POST /rooms/{room}/signals {name, data?}`."""
        hub, limits = self._hub, self._hub.limits
        await self._started()
        room = check_room(request.path_params["room"])
        guest = await self._guest(_head(request), request, "signal", [room])
        attendance = self._attendance_of(_head(request))
        body = await _body(request, limits.envelope_bytes_max + SIGNAL_BYTES_MAX)
        asked = _decoded(_decode_signal, body, '{"name": …, "data"?: …}')
        name, text = check_signal(asked.name, bytes(asked.data))
        await self._still(guest, "signal", [room])
        hub.access.publishing(guest.grant, guest.client)
        member = member_of(guest.grant, attendance.client_id or guest.session)
        client, user = attendance.client_id or "", guest.grant.user
        hub.live.signal(room, name, user, member, text, hub.stream_of(user, client), client)
        return Response(status_code=204)

    async def presence(self, request: Request) -> Response:
        """`GET /rooms/{room}/presence`: who is there. `DELETE`: whoever polls does so no longer."""
        await self._started()
        room = check_room(request.path_params["room"])
        guest = await self._guest(_head(request), request, "presence", [room])
        if request.method == "DELETE":
            attendance = self._attendance_of(_head(request))
            self._hub.live.leave(room, lasting_member(guest.grant, attendance), attendance.client_id or "")
            return Response(status_code=204)
        missing = [] if self._hub.nodes is None else self._hub.nodes.missing
        return _json(envelope.members_body(room, *self._hub.live.members(room), missing))

    async def seen(self, request: Request) -> Response:
        """`GET /rooms/{room}/seen`: how far everybody has seen. `POST {offset}`: how far one has."""
        await self._started()
        room = check_room(request.path_params["room"])
        if request.method != "POST":
            await self._guest(_head(request), request, "presence", [room])
            return _json(envelope.seen_body(room, await self._hub.live.seen(room)))
        guest = await self._guest(_head(request), request, "read", [room])
        member = lasting_member(guest.grant, self._attendance_of(_head(request)))
        body = await _body(request, self._hub.limits.envelope_bytes_max)
        offset = check_offset(_decoded(_decode_seen, body, '{"offset": …}').offset)
        await self._still(guest, "read", [room])
        self._hub.access.publishing(guest.grant, guest.client)
        return _json(_encode(await self._hub.mark(room, member, offset)))

    async def unread(self, request: Request) -> Response:
        """`GET /unread?room=a&room=b`: how much of these one has not seen."""
        await self._started()
        rooms = check_rooms(request.query_params.getlist("room"), self._hub.limits.rooms_per_connection_max)
        if not rooms:
            raise RequestError("room_required", "name the rooms: /unread?room=a&room=b")
        guest = await self._guest(_head(request), request, "read", rooms)
        member = lasting_member(guest.grant, self._attendance_of(_head(request)))
        return _json(envelope.unread_body(await self._hub.live.unread(member, rooms)))

    async def publish(self, request: Request) -> Response:
        """`POST /publish`: a list of messages, for back ends; one receipt or error each, in order."""
        limits = self._hub.limits
        await self._started()
        guest = await self._guest(_head(request), request, "write", [])
        body = await _body(request, limits.publish_list_max * 1024 + limits.message_bytes_max)
        posts = _decoded(_decode_posts, body, "a list of {room, data, id?}")
        if len(posts) > limits.publish_list_max:
            raise RequestError("too_large", f"{len(posts)} messages, at most {limits.publish_list_max} allowed")
        await self._still(guest, "write", dict.fromkeys(check_room(post.room or "") for post in posts))
        self._hub.access.publishing(guest.grant, guest.client, len(posts) + work(len(body)) - 1)
        # Checked as a whole before the first is stored, so that a typing error stores nothing; and in bites, because
        # others wait meanwhile.
        checked, size = [], 0
        for post in posts:
            checked.append((post.room or "", *self._check(post)))
            size += len(checked[-1][2])
            if size > BITE_BYTES:
                size = 0
                await asyncio.sleep(0)
        await self._still(guest, "write", dict.fromkeys(room for room, _, _ in checked))
        results = await asyncio.gather(
            *[self._hub.append(room, post_id, guest.grant.user, text) for room, post_id, text in checked],
            return_exceptions=True,
        )
        failed = [result for result in results if isinstance(result, BaseException)]
        for result in failed:
            if not isinstance(result, TrunklineError):
                raise result
        answers = [
            msgspec.Raw(envelope.problem(result)) if isinstance(result, TrunklineError) else result
            for result in results
        ]
        if failed and len(failed) == len(results):
            raise failed[0]
        return _json(_encode(answers), 207 if failed else 201)

    async def health(self, request: Request) -> Response:
        """`/healthz`: whether this worker serves; and to whoever may see it, what it has seen so far."""
        answer: dict[str, Any] = {"status": "draining" if self._hub.draining else "ok"}
        try:
            await self._guest(_head(request), request, "admin", ["*"])
        except TrunklineError:
            pass
        else:
            answer |= self._hub.statistics()
        return _json(_encode(answer))

    async def whoami(self, request: Request) -> Response:
        """`/whoami`: whom the server takes this for, for clients that have no stream to be told by."""
        await self._started()
        guest = await self._guest(_head(request), request, "read", [])
        member = member_of(guest.grant, self._attendance_of(_head(request)).client_id or guest.session)
        return _json(welcome_body(self._hub, guest.session, guest.grant, member))

    async def alive(self, _: Request) -> Response:
        """`/livez`: this process answers. If it does not, start it again."""
        return _json(_encode({"status": "ok"}))

    async def ready(self, _: Request) -> Response:
        """`/readyz`: whether clients should be sent here."""
        await self._started()
        why = self._hub.unready
        return _json(_encode({"status": why or "ok"}), 503 if why else 200)

    async def websocket(self, socket: WebSocket) -> None:
        """`/rooms/{room}` and `/connect` as a WebSocket, for servers that leave it to ASGI."""
        hub = self._hub
        access = hub.access
        await self._started()
        head, client = _head(socket), self._client(socket)
        try:
            access.knock(client)
            access.origins.check(head)
            head.refuse_repeats()
            if "room" in socket.path_params:
                joins = [(check_room(socket.path_params["room"]), parse_start(*_since(head), NOW))]
            else:
                joins = self._joins(head, NOW)
            access.knock(client, work(rooms=len(joins)) - 1)
            attendance = self._attendance_of(head)
            brought = access.credentials(head, client)
        except RequestError as error:
            await self._deny(socket, error)
        else:
            await AsgiWebSocket(hub, socket, client).run(brought, joins, attendance)

    async def no_websocket(self, socket: WebSocket) -> None:
        """A WebSocket at any other path."""
        error = RequestError("not_found", "there is nothing at that path")
        try:
            self._hub.access.knock(self._client(socket))
        except RequestError as refused:
            error = refused
        await self._deny(socket, error)

    async def _deny(self, socket: WebSocket, error: RequestError) -> None:
        self._hub.access.refusals[error.code] += 1
        headers = dict(error_headers(error))
        await socket.send_denial_response(_json(envelope.problem(error), error.status, headers))

    async def _post(self, request: Request, room: str) -> Response:
        limits = self._hub.limits
        guest = await self._guest(_head(request), request, "write", [room])
        media_type, charset = parse_content_type(request.headers.get("content-type", ""))
        if media_type not in (JSON, TEXT, ""):
            raise RequestError("unsupported_media_type", f"send {JSON} or {TEXT}, not {media_type!r}")
        body = await _body(request, limits.message_bytes_max + limits.envelope_bytes_max)
        await self._still(guest, "write", [room])
        self._hub.access.publishing(guest.grant, guest.client, work(len(body)))
        if media_type == JSON:
            check_json_charset(charset)
            post = _decoded(_decode_post, body, '{"data": …, "id"?: …}')
        elif not body and not media_type:
            raise RequestError("bad_json", f"there is nothing to publish: send {JSON} or {TEXT}")
        else:
            post = Post(msgspec.Raw(_encode(decode_text(body, charset))))
        post.id = request.headers.get("idempotency-key", post.id)
        post_id, text = self._check(post)
        receipt = await self._hub.append(room, post_id, guest.grant.user, text)
        return _json(_encode(receipt), 200 if receipt.duplicate else 201)

    def _check(self, post: Post) -> tuple[str | None, bytes]:
        limits = self._hub.limits
        if post.id is not None:
            check_id(post.id, limits.id_bytes_max)
        return post.id, check_json(bytes(post.data), limits.message_bytes_max, limits.json_depth_max)

    def _joins(self, head: RequestHead, default: Start) -> list[tuple[str, Start]]:
        named = [value for name, value in head.query if name == "room"]
        return parse_joins(named, *_since(head), self._hub.limits.rooms_per_connection_max, default)

    def _limit(self, head: RequestHead) -> int:
        return _number(head, "limit", 1, self._hub.limits.poll_messages_max, 100)

    def _wait(self, head: RequestHead) -> float:
        return _number(head, "wait", 0, int(self._hub.limits.poll_wait_s_max), 0)


class _Guest:
    """Whoever sent a request, as long as it takes."""

    def __init__(self, hub: Hub, grant: Grant, client: str | None) -> None:
        self._hub = hub
        self.grant = grant
        self.client = client
        self.session = hub.session_id()
        self._ended: asyncio.Future[Any]

    def poller(self, head: RequestHead, attendance: Attendance) -> _Poller | None:
        """What a poll wants to know beside messages, if anything."""
        version = head.one("live")
        if version is None and not attendance.watch:
            return None
        if attendance.data is None and not attendance.others:
            member = member_of(self.grant, attendance.client_id or self.session)
        else:
            member = lasting_member(self.grant, attendance)  # each poll would be somebody else
        return _Poller(self._hub, attendance, self.grant, member, version or "")

    async def stay(self, request: Request, ask: Callable[[float], Awaitable[T]], wait_s: float) -> T:
        """What *ask* comes to within *wait_s*; at once, if the client has ended its side of the connection, or is gone.

        Raises:
            RequestError: Their time here is over.
        """
        self._ended = asyncio.get_running_loop().create_future()
        task = asyncio.ensure_future(ask(wait_s))
        gone = asyncio.ensure_future(disconnected(request))
        access = self._hub.access
        try:
            access.arrive(self)
            await asyncio.wait((task, gone, self._ended), return_when=asyncio.FIRST_COMPLETED)
            if self._ended.done():
                self._ended.result()
            return task.result() if task.done() else await ask(0)
        finally:
            access.guests.leave(self)
            await cancelled(task, gone)

    def dismiss(self, error: RequestError) -> None:
        if not self._ended.done():
            self._ended.set_exception(error)

    def regranted(self, grant: Grant) -> None:
        self.recheck()

    def recheck(self) -> None:
        # The client asks again at once, and is asked who it is as always.
        self.dismiss(RequestError("forbidden", "what you may read has changed: ask again"))


class _Poller:
    """One poll of a client that takes part: there for as long as it takes, and a while after.

    It comes and goes once, also if it is answered early: between the two its client may have said goodbye.
    """

    def __init__(self, hub: Hub, attendance: Attendance, grant: Grant, member: str, version: str) -> None:
        self._hub = hub
        self._grant = grant
        self._live = live = hub.live
        self._attendance = attendance
        self._member = member
        self._version = live.parse_version(version)
        self._came = False
        self._rooms: list[str] = []

    def arrive(self, rooms: list[str]) -> None:
        """Raises:
        RequestError: `too_many_members`.
        """
        if self._came:
            return
        self._came = True
        for room in rooms:
            data = self._attendance.within(room).data
            if data is not None:
                self._live.arrive(room, self._member, self._attendance.client_id or "", data)
                self._rooms.append(room)

    def depart(self) -> None:
        rooms, self._rooms = self._rooms, []
        for room in rooms:
            self._live.depart(room, self._member, self._attendance.client_id or "", grace_s=LEASE_S)

    def behind(self, rooms: list[str]) -> bool:
        """Whether there is something to tell now."""
        return self._version == 0 or any(
            self._live.moved(room, watch=self.watching(room)) > self._version for room in rooms
        )

    def watching(self, room: str) -> bool:
        """Whether it is told who is there."""
        return self._attendance.within(room).watch

    async def body(self, rooms: list[str]) -> bytes:
        following = self._live.version  # before anything is looked up, so that nothing falls in between
        pages = {}
        for room in rooms:
            pages[room] = await self._live.page(room, self._version, watch=self.watching(room))
        return poll.encode_live(following, self._member, self._grant, now_ms(), self._hub.retry_max_ms, pages)


class _InPieces(Response):
    """A large answer, sent as its client takes it. What is not sent yet makes the answers to others smaller."""

    def __init__(self, hub: Hub, body: bytes) -> None:
        super().__init__(body, headers={"Cache-Control": "no-store"}, media_type=JSON)
        self._hub = hub

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = memoryview(self.body)
        unsent = len(body)
        self._hub.unsent_bytes += unsent
        try:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            for at in range(0, len(body), PIECE_BYTES):
                piece = bytes(body[at : at + PIECE_BYTES])
                more = at + PIECE_BYTES < len(body)
                await send({"type": "http.response.body", "body": piece, "more_body": more})
                unsent -= len(piece)
                self._hub.unsent_bytes -= len(piece)
        finally:
            self._hub.unsent_bytes -= unsent


class _Events(Response):
    """An event stream as the response of an endpoint."""

    def __init__(self, stream: AsgiEventStream, joins: list[tuple[str, Start]], *, many: bool) -> None:
        super().__init__()  # a Response, because frameworks look for one
        self._stream = stream
        self._joins = joins
        self._many = many

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._stream.respond(Request(scope, receive), send, self._joins, many=self._many)


def page(path: str) -> Handler:
    """A page of our own. Its addresses are relative to where the application is mounted."""
    text = Path(path).read_text("utf-8")

    async def serve(request: Request) -> Response:
        base = html.escape(request.scope.get("root_path", "") + "/", quote=True)
        return HTMLResponse(text.replace("<head>", f'<head>\n  <base href="{base}">', 1), headers=PAGE_HEADERS)

    return serve


def description(path: str) -> Handler:
    """The description of the HTTP half of the protocol."""

    async def serve(_: Request) -> Response:
        return FileResponse(path, media_type="application/yaml")

    return serve


async def client_module(_: Request) -> Response:
    """The JavaScript client: `import { connect } from "/trunkline.js"`."""
    return Response('export * from "./client/trunkline.js";\n', media_type="text/javascript")


async def on_disconnect(_: Request, __: Exception) -> Response:
    """The client went away while it was sending: nobody is there to read this."""
    return Response(status_code=400)


async def on_http_error(_: Request, error: Exception) -> Response:
    """An error that Starlette found first."""
    assert isinstance(error, HTTPException)
    code = {404: "not_found", 405: "method_not_allowed"}.get(error.status_code, "bad_command")
    ours = RequestError(code, error.detail)
    return _json(envelope.problem(ours), error.status_code, dict(error.headers or {}))


def _json(body: bytes, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(body, status, {"Cache-Control": "no-store", **(headers or {})}, JSON)


def _reached(reached: Reached) -> Response:
    return _json(_encode(reached._asdict()))


def _head(request: Request | WebSocket) -> RequestHead:
    """The request's head, as the edge has it."""
    headers: dict[bytes, bytes] = {}
    for name, value in request.scope["headers"]:
        headers[name] = headers[name] + b", " + value if name in headers else value
    query = request.scope["query_string"].decode("latin-1")
    version = request.scope.get("http_version", "1.1")
    return RequestHead(request.scope["path"], parse_qsl(query, keep_blank_values=True), headers, version)


def _since(head: RequestHead) -> tuple[str | None, str | None]:
    """What says where to begin: of an event stream, what the browser remembers beats what the page asked for."""
    last_event_id = head.headers.get(b"last-event-id", b"").decode("latin-1") if head.is_sse else ""
    if last_event_id:
        return last_event_id, None
    return head.one("since"), head.one("last")


def _number(head: RequestHead, name: str, low: int, high: int, default: int) -> int:
    text = head.one(name)
    if text is None:
        return default
    is_number = text.isascii() and text.isdigit() and (len(text) <= 10 or text[0] != "0")
    number = int(text[:10]) if is_number else -1  # ten digits are too many in any case
    if number < low:
        raise RequestError("bad_limit", f"{name} is a whole number from {low} on")
    return min(number, high)


def _decoded(decode: Callable[[bytes], T], body: bytes, shape: str) -> T:
    """A body as what it should be.

    Raises:
        RequestError: `bad_json`, with the shape that is wanted; or `too_deep`.
    """
    try:
        return decode(body)
    except RecursionError:
        raise too_deep() from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise RequestError("bad_json", f"the body is {shape}: {error}") from None


async def _body(request: Request, bytes_max: int) -> bytes:
    """The request's body, counted as it comes: what its header says of its size is no matter."""
    body = b""
    async for piece in request.stream():
        body += piece
        if len(body) > bytes_max:
            raise RequestError("too_large", f"the body is larger than {bytes_max} bytes")
    return body
