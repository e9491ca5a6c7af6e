"""The rooms as a Starlette application: everything of the protocol, for any ASGI server.

Each handler is one row of PROTOCOL.md: take the request apart, ask the hub, put the answer together.
"""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from importlib.resources import files
from types import FrameType
from typing import Any

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, Response
from starlette.routing import BaseRoute, Mount, Route, WebSocketRoute
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocket

from trunkline.core.message import check_id, check_json, check_room
from trunkline.core.position import NOW, Start, parse_positions, parse_since, parse_start
from trunkline.errors import RequestError, TrunklineError
from trunkline.hub import Hub
from trunkline.transports.asgi import AsgiEventStream, AsgiWebSocket
from trunkline.wire import envelope, poll, sse
from trunkline.wire.request import wants_events

JSON = "application/json"
POLL_DEFAULT = Start("last", 50)

Handler = Callable[[Request], Awaitable[Response]]


class Post(msgspec.Struct):
    """The body of `POST /rooms/{room}`; `POST /publish` takes a list of them, each with its room."""

    data: msgspec.Raw
    id: str | None = None
    room: str | None = None


_decode_post = msgspec.json.Decoder(Post).decode
_decode_posts = msgspec.json.Decoder(list[Post]).decode
_encode = msgspec.json.encode


def build_app(hub: Hub) -> Starlette:
    """The application behind `hub.app`."""

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        await hub.start()
        with drained_on_signals(hub):
            yield
        await hub.close()

    api = Api(hub)
    routes: list[BaseRoute] = [
        Route("/rooms/{room}", api.room, methods=["GET", "POST"]),
        Route("/connect", api.connect, methods=["GET"]),
        Route("/publish", api.publish, methods=["POST"]),
        Route("/healthz", api.health, methods=["GET"]),
        WebSocketRoute("/rooms/{room}", api.websocket),
        WebSocketRoute("/connect", api.websocket),
    ]
    web = files("trunkline").joinpath("web")
    if web.is_dir():
        routes += [
            Route("/", page(str(web.joinpath("index.html"))), methods=["GET"]),
            Route("/lab", page(str(web.joinpath("lab.html"))), methods=["GET"]),
            Mount("/static", StaticFiles(directory=str(web))),
        ]
    handlers: dict[Any, Any] = {
        TrunklineError: on_error,
        HTTPException: on_http_error,
        ClientDisconnect: on_disconnect,
    }
    middleware = [Middleware(_QuietEnd, hub=hub)]
    return Starlette(routes=routes, middleware=middleware, lifespan=lifespan, exception_handlers=handlers)


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

    async def room(self, request: Request) -> ASGIApp:
        """`/rooms/{room}`: publish, read by poll, or follow as an event stream."""
        return await self.serve(request, check_room(request.path_params["room"]))

    async def serve(self, request: Request, room: str) -> ASGIApp:
        """The same for a room that the path does not name."""
        await self._hub.ensure_started()
        if request.method == "POST":
            return await self._post(request, room)
        since, last = _since(request)
        if _is_sse(request):
            if request.method == "HEAD":
                return Response(headers=dict(sse.HEADERS))
            return _Events(self._hub, [(room, parse_start(since, last, NOW))], many=False)
        start = parse_start(since, last, POLL_DEFAULT)
        page = await self._hub.page(room, start, limit=self._limit(request), wait_s=self._wait(request))
        return _json(poll.encode_page(page))

    async def connect(self, request: Request) -> ASGIApp:
        """`/connect`: many rooms at once."""
        hub = self._hub
        await hub.ensure_started()
        joins = self._joins(request, NOW if _is_sse(request) else POLL_DEFAULT)
        if not joins:
            raise RequestError("room_required", "name the rooms: /connect?room=a&room=b")
        if _is_sse(request):
            if request.method == "HEAD":
                return Response(headers=dict(sse.HEADERS))
            return _Events(hub, joins, many=True)
        limit, wait_s = self._limit(request), self._wait(request)
        pages = await self._pages(joins, limit)
        if wait_s > 0 and not any(page.messages or page.gap for page in pages):
            rooms = [await hub.open(page.room) for page in pages]
            if all(f"{room.epoch}.{room.head}" == page.next for room, page in zip(rooms, pages, strict=True)):
                await hub.wait_for(rooms, wait_s)
            pages = await self._pages([(page.room, parse_since(page.next)) for page in pages], limit)
        return _json(poll.encode_pages(pages))

    async def _pages(self, joins: list[tuple[str, Start]], limit: int) -> list[poll.Page]:
        """A page of each room, together within the bounds of one."""
        left = self._hub.limits.poll_bytes_max
        pages = []
        for room, start in joins:
            page = await self._hub.page(room, start, limit=limit if left > 0 else 0, bytes_max=left)
            limit -= len(page.messages)
            left -= sum(len(memoryview(message.json)) for message in page.messages)
            pages.append(page)
        return pages

    async def publish(self, request: Request) -> Response:
        """`POST /publish`: a list of messages, for back ends; one receipt or error each, in order."""
        limits = self._hub.limits
        body = await _body(request, limits.publish_list_max * 1024 + limits.message_bytes_max)
        try:
            posts = _decode_posts(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise RequestError("bad_json", f"the body is a list of {{room, data, id?}}: {error}") from None
        if len(posts) > limits.publish_list_max:
            raise RequestError("too_large", f"{len(posts)} messages, at most {limits.publish_list_max} allowed")
        # Checked as a whole before the first is stored, so that a typing error stores nothing.
        checked = [(check_room(post.room or ""), *self._check(post)) for post in posts]
        results = await asyncio.gather(
            *[self._hub.append(room, post_id, None, text) for room, post_id, text in checked],
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
        """`/healthz`: what this worker has seen so far."""
        return _json(_encode({"status": "draining" if self._hub.draining else "ok", **self._hub.statistics()}))

    async def websocket(self, socket: WebSocket) -> None:
        """`/rooms/{room}` and `/connect` as a WebSocket, for servers that leave it to ASGI."""
        hub = self._hub
        await hub.ensure_started()
        try:
            if "room" in socket.path_params:
                since, last = socket.query_params.get("since"), socket.query_params.get("last")
                joins = [(check_room(socket.path_params["room"]), parse_start(since, last, NOW))]
            else:
                joins = self._joins(socket, NOW)
        except RequestError as error:
            await socket.send_denial_response(_json(envelope.problem(error), error.status))
            return
        await AsgiWebSocket(hub, socket).run(joins)

    async def _post(self, request: Request, room: str) -> Response:
        limits = self._hub.limits
        body = await _body(request, limits.message_bytes_max + limits.envelope_bytes_max)
        media_type = request.headers.get("content-type", "").split(";")[0].strip().lower()
        if media_type == JSON:
            try:
                post = _decode_post(body)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
                raise RequestError("bad_json", f'the body is {{"data": …, "id"?: …}}: {error}') from None
        elif media_type in ("text/plain", ""):
            try:
                post = Post(msgspec.Raw(_encode(body.decode())))
            except UnicodeDecodeError:
                raise RequestError("bad_json", "the text is not UTF-8") from None
        else:
            raise RequestError("unsupported_media_type", f"send {JSON} or text/plain, not {media_type!r}")
        post.id = request.headers.get("idempotency-key", post.id)
        post_id, text = self._check(post)
        receipt = await self._hub.append(room, post_id, None, text)
        return _json(_encode(receipt), 200 if receipt.duplicate else 201)

    def _check(self, post: Post) -> tuple[str | None, bytes]:
        limits = self._hub.limits
        if post.id is not None:
            check_id(post.id, limits.id_bytes_max)
        return post.id, check_json(bytes(post.data), limits.message_bytes_max, limits.json_depth_max)

    def _joins(self, request: Request | WebSocket, default: Start) -> list[tuple[str, Start]]:
        names = list(dict.fromkeys(check_room(name) for name in request.query_params.getlist("room")))
        most = self._hub.limits.rooms_per_connection_max
        if len(names) > most:
            raise RequestError("too_many_rooms", f"a connection joins at most {most} rooms")
        since, last = _since(request)
        if since is not None and "=" in since:
            starts = parse_positions(since)
            return [(name, starts.get(name, default)) for name in names]
        start = parse_start(since, last, default)
        return [(name, start) for name in names]

    def _limit(self, request: Request) -> int:
        return _number(request, "limit", 1, self._hub.limits.poll_messages_max, 100)

    def _wait(self, request: Request) -> float:
        return _number(request, "wait", 0, int(self._hub.limits.poll_wait_s_max), 0)


class _Events:
    """An event stream as the response of an endpoint."""

    def __init__(self, hub: Hub, joins: list[tuple[str, Start]], *, many: bool) -> None:
        self._hub = hub
        self._joins = joins
        self._many = many

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        stream = AsgiEventStream(self._hub)
        await stream.respond(Request(scope, receive), send, self._joins, many=self._many)


def page(path: str) -> Handler:
    """A page of our own."""

    async def serve(_: Request) -> Response:
        return FileResponse(path, media_type="text/html")

    return serve


async def on_error(_: Request, error: Exception) -> Response:
    """An error of ours, as the answer to whoever caused it or must wait for us."""
    assert isinstance(error, TrunklineError)
    headers = {}
    if error.retry_after_ms is not None:
        headers["Retry-After"] = str(-(-error.retry_after_ms // 1000))
    return _json(envelope.problem(error), error.status, headers)


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


def _is_sse(request: Request) -> bool:
    return wants_events(request.headers.get("accept", "").encode("latin-1"))


def _since(request: Request | WebSocket) -> tuple[str | None, str | None]:
    """What says where to begin: of an event stream, what the browser remembers beats what the page asked for."""
    last_event_id = request.headers.get("last-event-id")
    if last_event_id and isinstance(request, Request) and _is_sse(request):
        return last_event_id, None
    return request.query_params.get("since"), request.query_params.get("last")


def _number(request: Request, name: str, low: int, high: int, default: int) -> int:
    text = request.query_params.get(name)
    if text is None:
        return default
    if not (len(text) <= 10 and text.isascii() and text.isdigit() and low <= int(text) <= high):
        raise RequestError("bad_limit", f"{name} is a whole number from {low} to {high}")
    return int(text)


async def _body(request: Request, bytes_max: int) -> bytes:
    """The request's body, counted as it comes: what its header says of its size is no matter."""
    body = b""
    async for piece in request.stream():
        body += piece
        if len(body) > bytes_max:
            raise RequestError("too_large", f"the body is larger than {bytes_max} bytes")
    return body
