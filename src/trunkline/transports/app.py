"""The rooms as a Starlette application: every endpoint of the protocol, for any ASGI server, and the pages."""

from __future__ import annotations

import asyncio
import contextlib
import html
from collections.abc import Awaitable, Callable, Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect, HTTPConnection, Request
from starlette.responses import FileResponse, HTMLResponse, Response
from starlette.routing import BaseRoute, Mount, Route, Router, WebSocketRoute
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Lifespan, Message, Receive, Scope, Send
from starlette.websockets import WebSocket, WebSocketState

from trunkline.core.grant import Grant
from trunkline.errors import RequestError, TrunklineError
from trunkline.transports import refusals
from trunkline.transports.admission import admit_reading
from trunkline.transports.asgi import AsgiEventStream, AsgiWebSocket, address_of, begin_events, disconnected
from trunkline.transports.context import PIECE_BYTES, Context
from trunkline.transports.endpoints.reading import StreamAnswer, outcome_of
from trunkline.transports.endpoints.table import ENDPOINTS, STARTS_NOTHING, Endpoint
from trunkline.transports.exchange import Answer
from trunkline.transports.handover import Handover, admit_handed, handover_of
from trunkline.transports.poll import wait_out
from trunkline.transports.sse import SseConnection
from trunkline.transports.websocket import WebSocketConnection
from trunkline.wire.credentials import GRANT, Credentials
from trunkline.wire.deflate import agree
from trunkline.wire.envelope import VERSION
from trunkline.wire.query import ReadQuery
from trunkline.wire.request_head import SINGLE, RequestHead, parse_query

# Pages of ours need nothing from elsewhere, run no script that is written into them, and stand in no other page.
PAGE_HEADERS = {
    "Content-Security-Policy": "default-src 'self'; img-src 'self' data:; base-uri 'self'; form-action 'self';"
    " object-src 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "same-origin",
    "X-Frame-Options": "DENY",
}

FOR_ALL_PAGES = {"Access-Control-Allow-Origin": "*"}

_COUNTED = "trunkline.counted"  # in a scope: the request was counted already


def build_app(context: Context, lifespan: Lifespan[Any], *, pages: bool) -> Starlette:
    """Return the application.

    Args:
        pages: Serve the chat and the other pages, too.
    """
    routes: list[BaseRoute] = []
    for path in dict.fromkeys(path for _, path, _ in ENDPOINTS):
        by_method = {method: endpoint for method, other, endpoint in ENDPOINTS if other == path}
        starts = path not in STARTS_NOTHING
        routes.append(Route(path, serve(context, by_method, starts=starts), methods=list(by_method)))
    routes += _files(context, pages=pages)
    handlers: dict[Any, Any] = {
        TrunklineError: on_error(context),
        HTTPException: _on_http_error(context),
        ClientDisconnect: _on_disconnect,
    }
    middleware = [
        Middleware(_Mounts, context=context),
        Middleware(_Sockets, context=context),
        Middleware(_NoSniffing),
        Middleware(_QuietEnd, context=context),
        Middleware(_Counting, context=context),
    ]
    allowed = context.access.origins.allowed
    if allowed:
        middleware.insert(  # outside: a listed page may read every answer, also that it asks too often
            1,
            Middleware(
                CORSMiddleware,
                allow_origins=allowed,
                allow_methods=["GET", "POST", "DELETE"],
                allow_headers=[
                    "Authorization",
                    "Content-Type",
                    "Idempotency-Key",
                    "Last-Event-ID",
                    "traceparent",
                    "tracestate",
                ],
                allow_credentials="*" not in allowed,
                max_age=600,
            ),
        )
    app = Starlette(routes=routes, middleware=middleware, lifespan=lifespan, exception_handlers=handlers)
    # A slash too many is another address. A redirect would lose a POST, and is made from whatever Host was sent.
    app.router.redirect_slashes = False
    return app


# Requests.


class _StarletteExchange:
    """A request of Starlette, as endpoints have it."""

    def __init__(self, context: Context, request: Request, path_parameters: Mapping[str, str]) -> None:
        self._request = request
        self.method = request.method
        self.head = head_of(request)
        self.key = key_of(context, request)
        self.is_counted = bool(request.scope.get(_COUNTED))  # not so at an endpoint of another application
        self.path_parameters = path_parameters
        self.scope: Mapping[str, Any] | None = request.scope

    def body_now(self, bytes_max: int) -> bytes | None:
        return None

    async def body(self, bytes_max: int) -> bytes:
        body = b""  # counted as it comes: what its header says of its size is no matter
        async for piece in self._request.stream():
            body += piece
            if len(body) > bytes_max:
                raise RequestError("too_large", f"the body is larger than {bytes_max} bytes")
        return body

    async def ended(self) -> None:
        await disconnected(self._request)


def serve(
    context: Context, endpoints: Mapping[str, Endpoint], *, room: str | None = None, starts: bool = True
) -> Callable[[Request], Awaitable[Response]]:
    """Return a Starlette endpoint that calls one of these, by the request's method.

    Args:
        room: The room, if the path does not name it.
        starts: Start a hub that nothing has started.
    """

    async def serve_request(request: Request) -> Response:
        if starts:
            await context.ensure_started()
        parameters = request.path_params if room is None else {"room": room}
        exchange = _StarletteExchange(context, request, parameters)
        endpoint = endpoints.get("GET" if request.method == "HEAD" else request.method)
        if endpoint is None:  # the route of another application lets more in than is served here
            allowed = ["GET", "HEAD", *(method for method in endpoints if method != "GET")]
            error = RequestError("method_not_allowed", f"send {' or '.join(allowed)}, not {request.method}")
            refusal = refusals.as_answer(context.access, error, who=exchange.key or "")
            return _response(context, refusal._replace(headers=[("Allow", ", ".join(allowed))]))
        answer = await outcome_of(endpoint(context, exchange))
        if isinstance(answer, StreamAnswer):
            handover = handover_of(request.scope)
            if handover is not None:
                return _HandedEvents(context, answer, handover)
            return _Events(context, answer)
        if not isinstance(answer, Answer):
            answer = await wait_out(exchange, answer)
        return _response(context, answer)

    return serve_request


def serve_room(context: Context, room: str) -> Callable[[Request], Awaitable[Response]]:
    """Return an endpoint that answers like `/rooms/{room}`, for a path of another application."""
    endpoints = {method: endpoint for method, path, endpoint in ENDPOINTS if path == "/rooms/{room}"}
    serve_request, handle = serve(context, endpoints, room=room), on_error(context)

    async def serve_or_refuse(request: Request) -> Response:
        try:
            return await serve_request(request)
        except TrunklineError as error:
            return await handle(request, error)

    return serve_or_refuse


class RoomEvents(Response):
    """The event stream of a room, as what an application's own endpoint returns.

    Args:
        grant: Who the client is, as that endpoint has found out; without it, the rooms' own rules find it out.
    """

    def __init__(self, context: Context, room: str, grant: Grant | None) -> None:
        super().__init__()
        self._serve = serve_room(context, room)
        self._grant = grant

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = [(name, value) for name, value in scope["headers"] if name != b"accept"]
        scope = {**scope, "method": "GET", "headers": [*headers, (b"accept", b"text/event-stream")]}
        if self._grant is not None:
            scope[GRANT] = self._grant
        response = await self._serve(Request(scope, receive))
        await response(scope, receive, send)


def _response(context: Context, answer: Answer) -> Response:
    if not answer.media_type:
        return Response(status_code=answer.status, headers=dict(answer.headers))
    headers = {"Cache-Control": "no-store", **dict(answer.headers)}
    if len(answer.body) > PIECE_BYTES:
        return _InPieces(context, answer.body, answer.status, headers, answer.media_type)
    return Response(answer.body, answer.status, headers, answer.media_type)


class _InPieces(Response):
    """A large answer, sent as its client takes it. What is not sent yet makes the answers to others smaller."""

    def __init__(self, context: Context, body: bytes, status: int, headers: dict[str, str], media_type: str) -> None:
        super().__init__(body, status, headers, media_type)
        self._context = context

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = memoryview(self.body)
        unsent = len(body)
        self._context.unsent_bytes += unsent
        try:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            for at in range(0, len(body), PIECE_BYTES):
                piece = bytes(body[at : at + PIECE_BYTES])
                more = at + PIECE_BYTES < len(body)
                await send({"type": "http.response.body", "body": piece, "more_body": more})
                unsent -= len(piece)
                self._context.unsent_bytes -= len(piece)
        finally:
            self._context.unsent_bytes -= unsent


class _Events(Response):
    """An event stream as the response of an endpoint.

    Raises:
        RequestError: The client may not stay.
    """

    def __init__(self, context: Context, answer: StreamAnswer) -> None:
        super().__init__()  # a Response, because frameworks look for one
        self._stream = AsgiEventStream(context, answer.caller.key)
        self._stream.presence = answer.query.presence
        self._stream.admit(answer.caller.grant)
        self._query = answer.query

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with contextlib.suppress(OSError):  # the peer went away
            await begin_events(send)
        await self._stream.respond(Request(scope, receive), send, self._query)


class _HandedEvents(Response):
    """An event stream as the response of an endpoint, which may take over the socket that its client is on.

    Raises:
        RequestError: The client may not stay.
    """

    def __init__(self, context: Context, answer: StreamAnswer, handover: Handover) -> None:
        super().__init__()
        self._context = context
        self._answer = answer
        self._handover = handover
        self._admission = admit_handed(context, answer.caller.key, handover.admission)
        self._stream = SseConnection(context, handover.transport, self._admission)
        self._stream.presence = answer.query.presence
        try:
            self._stream.admit(answer.caller.grant)
        except RequestError:
            self._admission.withdraw()
            raise

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        query = self._answer.query
        self._handover.offer(lambda chunked: self._stream.take_over(query, chunked=chunked))
        try:
            with contextlib.suppress(OSError):
                await begin_events(send)
                await self._handover.decided()
        finally:
            if not self._handover.is_taken:
                self._stream.closed()
                self._admission.withdraw()
        if not self._handover.is_taken:
            stream = AsgiEventStream(self._context, self._answer.caller.key)
            stream.presence = query.presence
            stream.admit(self._answer.caller.grant)
            await stream.respond(Request(scope, receive), send, query)


def head_of(request: HTTPConnection) -> RequestHead:
    """Return a request's head."""
    headers: dict[bytes, bytes] = {}
    for name, value in request.scope["headers"]:
        if name not in headers:
            headers[name] = value
        elif name not in SINGLE:
            headers[name] += b", " + value
    query = request.scope["query_string"].decode("latin-1")
    version = request.scope.get("http_version", "1.1")
    return RequestHead(request.scope["path"], parse_query(query), headers, version)


def key_of(context: Context, request: Request | WebSocket) -> str | None:
    """Return the key under which the limits of the client's address are counted.

    Which proxies are believed, the ASGI server has decided.
    """
    return context.access.addresses.key(address_of(request))


# WebSockets.


def serve_websocket(context: Context) -> Callable[[WebSocket], Awaitable[None]]:
    """Return an endpoint for the WebSocket of `/connect`, and of `/rooms/{room}` if the path names a room."""

    async def serve_socket(socket: WebSocket) -> None:
        await _serve_socket(context, socket, socket.send)

    return serve_socket


async def _serve_socket(context: Context, socket: WebSocket, send: Send) -> None:
    try:
        await context.ensure_started()
        head, key = head_of(socket), key_of(context, socket)
        query = admit_reading(context, head, key, socket.path_params.get("room"), "websocket")
        brought = context.access.credentials(head, key, socket.scope)
    except TrunklineError as error:
        await _deny(context, socket, error)
    else:
        handover = handover_of(socket.scope)
        if handover is None:
            await _accept(socket)
        elif await _hand_over(context, socket, handover, head, key, brought, query):
            return
        if socket.application_state is WebSocketState.CONNECTED:
            await AsgiWebSocket(context, socket, send, key).run(brought, query)


async def _accept(socket: WebSocket, headers: Sequence[tuple[bytes, bytes]] = ()) -> None:
    offered = socket.scope.get("subprotocols", [])
    await socket.accept(VERSION if VERSION in offered else None, headers)


async def _hand_over(
    context: Context,
    socket: WebSocket,
    handover: Handover,
    head: RequestHead,
    key: str | None,
    brought: Credentials,
    query: ReadQuery,
) -> bool:
    """Accept a WebSocket, and give it the socket that it came on; return False if it stays with ASGI."""
    try:
        admission = admit_handed(context, key, handover.admission)
    except RequestError as error:
        await _deny(context, socket, error)
        return False
    agreement = agree(head.headers.get(b"sec-websocket-extensions", b"")) if handover.deflates else None
    connection = WebSocketConnection(context, handover.transport, admission, agreement)
    handover.offer(lambda _: connection.take_over(brought, query))
    try:
        await _accept(socket, [] if agreement is None else [(b"sec-websocket-extensions", agreement.header)])
        await handover.decided()
    finally:
        if not handover.is_taken:
            admission.withdraw()
    return handover.is_taken


class _Mounts:
    """Serves what has a path of its own beside the rooms, and does for itself what stands around them."""

    def __init__(self, app: ASGIApp, context: Context) -> None:
        self._app = app
        self._context = context

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        app = self._app
        if self._context.mounts and scope["type"] in ("http", "websocket"):
            path = f"{scope['path'].removeprefix(scope.get('root_path', ''))}/"
            app = next((mount for begin, mount in self._context.mounts.items() if path.startswith(begin)), app)
        await app(scope, receive, send)


class _Sockets:
    """Serves all WebSockets: as the outermost middleware, so that nothing of ours stands before the server."""

    def __init__(self, app: ASGIApp, context: Context) -> None:
        self._app = app
        endpoint = _SocketEndpoint(context)
        routes = [WebSocketRoute(path, endpoint) for path in ("/rooms/{room}", "/connect")]
        self._router = Router(routes, default=_NoSocket(context))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await (self._router if scope["type"] == "websocket" else self._app)(scope, receive, send)


class _SocketEndpoint:
    """The WebSocket of a room, or of `/connect`: as an object, which Starlette does not wrap."""

    def __init__(self, context: Context) -> None:
        self._context = context

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await _serve_socket(self._context, WebSocket(scope, receive, send), send)


class _NoSocket:
    """Refuses WebSockets of other paths."""

    def __init__(self, context: Context) -> None:
        self._context = context

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        socket = WebSocket(scope, receive, send)
        error = RequestError("not_found", "there is nothing at that path")
        try:
            self._context.access.check_request_rate(key_of(self._context, socket))
        except RequestError as too_often:
            error = too_often
        await _deny(self._context, socket, error)


async def _deny(context: Context, socket: WebSocket, error: TrunklineError) -> None:
    await socket.send_denial_response(
        _response(context, refusals.as_answer(context.access, error, who=key_of(context, socket) or ""))
    )


# Errors.


def on_error(context: Context) -> Callable[[Request, Exception], Awaitable[Response]]:
    """Return a handler that answers errors of ours."""

    async def handle(request: Request, error: Exception) -> Response:
        assert isinstance(error, TrunklineError)
        return _response(context, refusals.as_answer(context.access, error, who=key_of(context, request) or ""))

    return handle


def _on_http_error(context: Context) -> Callable[[Request, Exception], Awaitable[Response]]:
    async def handle(_: Request, error: Exception) -> Response:
        """Answer an error that Starlette found first."""
        assert isinstance(error, HTTPException)
        code = {404: "not_found", 405: "method_not_allowed"}.get(error.status_code, "bad_command")
        answer = refusals.as_answer(context.access, RequestError(code, error.detail), error.status_code)
        return _response(context, answer._replace(headers=list((error.headers or {}).items())))

    return handle


async def _on_disconnect(_: Request, __: Exception) -> Response:
    """Answer a client that went away while it was sending: no one gets it."""
    return Response(status_code=400)


# Middleware.


class _Counting:
    """Counts every request, also for what is not there."""

    def __init__(self, app: ASGIApp, context: Context) -> None:
        self._app = app
        self._context = context

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            key = key_of(self._context, Request(scope))
            try:
                self._context.access.check_request_rate(key)
            except RequestError as error:
                answer = refusals.as_answer(self._context.access, error, who=key or "")
                await _response(self._context, answer)(scope, receive, send)
                return
            scope[_COUNTED] = True
        await self._app(scope, receive, send)


_NOSNIFF = (b"x-content-type-options", b"nosniff")


class _NoSniffing:
    """Tells browsers not to guess: what an answer is, its Content-Type says."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_marked(message: Message) -> None:
            if message["type"] == "http.response.start" and _NOSNIFF not in message["headers"]:
                message["headers"] = [*message["headers"], _NOSNIFF]
            await send(message)

        await self._app(scope, receive, send_marked if scope["type"] == "http" else send)


class _QuietEnd:
    """Ends requests without a traceback that the server cancels while the hub drains."""

    def __init__(self, app: ASGIApp, context: Context) -> None:
        self._app = app
        self._context = context

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await self._app(scope, receive, send)
        except asyncio.CancelledError:
            if not self._context.engine.is_draining:
                raise


# Files.


def _files(context: Context, *, pages: bool) -> list[BaseRoute]:
    web = Path(str(files("trunkline").joinpath("web")))
    routes: list[BaseRoute] = [
        Route("/openapi.yaml", _description(web.joinpath("openapi.yaml")), methods=["GET"]),
        Route("/trunkline.js", _client_module, methods=["GET"]),
        Route("/admin", _dashboard(context, web.joinpath("admin.html")), methods=["GET"]),
        Mount("/client", _ClientFiles(directory=str(web.joinpath("client").resolve()))),
        Mount("/static", StaticFiles(directory=str(web), follow_symlink=True)),
    ]
    if pages:
        routes += [
            Route(path, _page(web.joinpath(f"{name}.html")), methods=["GET"])
            for path, name in (("/", "index"), ("/live", "live"), ("/lab", "lab"))
        ]
    return routes


class _ClientFiles(StaticFiles):
    """The JavaScript client: any page may load it, so that one of an origin that is not listed is told so."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        response = await super().get_response(path, scope)
        response.headers.update(FOR_ALL_PAGES)
        return response


def _page(path: Path) -> Callable[[Request], Awaitable[Response]]:
    """Return an endpoint for a page of our own, whose addresses are relative to where the application is mounted."""
    text = path.read_text("utf-8")

    async def serve_page(request: Request) -> Response:
        return _based(text, request)

    return serve_page


def _dashboard(context: Context, path: Path) -> Callable[[Request], Awaitable[Response]]:
    """Return an endpoint for the dashboard, which is told whether there can be administrators at all."""
    text = path.read_text("utf-8")

    async def serve_dashboard(request: Request) -> Response:
        kind = "admin" if context.access.is_required else "admin open"
        return _based(text.replace('<body class="admin">', f'<body class="{kind}">', 1), request)

    return serve_dashboard


def _based(text: str, request: Request) -> Response:
    base = html.escape(request.scope.get("root_path", "") + "/", quote=True)
    return HTMLResponse(text.replace("<head>", f'<head>\n  <base href="{base}">', 1), headers=PAGE_HEADERS)


def _description(path: Path) -> Callable[[Request], Awaitable[Response]]:
    async def serve_description(_: Request) -> Response:
        return FileResponse(path, media_type="application/yaml")

    return serve_description


async def _client_module(_: Request) -> Response:
    """Return the JavaScript client: `import { connect } from "/trunkline.js"`."""
    text = 'export * from "./client/trunkline.js";\n'
    return Response(text, headers=FOR_ALL_PAGES, media_type="text/javascript")
