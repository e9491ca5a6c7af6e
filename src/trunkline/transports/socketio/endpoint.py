"""The requests of Engine.IO, as ASGI: sessions are opened, polled, written to, and upgraded."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocket

from trunkline.engine.engine import Engine
from trunkline.errors import RequestError, ShuttingDown, TrunklineError
from trunkline.transports import refusals
from trunkline.transports.app import head_of, key_of
from trunkline.transports.asgi import gone_or_ended
from trunkline.transports.context import Context
from trunkline.transports.handover import HandedAdmission, Handover, admit_handed, handover_of
from trunkline.transports.socketio.relay import Relay, passing_on, take_post
from trunkline.transports.socketio.session import Sessions, Settings
from trunkline.transports.socketio.websocket import AsgiPacketSocket, Begin, PacketSocket, opening, trying
from trunkline.wire import engineio as wire
from trunkline.wire.origin import cors_headers
from trunkline.wire.request_head import RequestHead

_TEXT = "text/plain; charset=UTF-8"
_JSON = "application/json"
_UNKNOWN = wire.BadRequest(1, "Session ID unknown")
_BAD_METHOD = wire.BadRequest(2, "Bad handshake method")
_BAD_REQUEST = wire.BadRequest(3, "Bad request")

Headers = Sequence[tuple[str, str]]


class Endpoint:
    """One path of Engine.IO.

    Args:
        service: The name of its server, the same on all nodes.
        began: Called with the engine that runs, before the first request, and when there is another one.
    """

    def __init__(
        self,
        context: Context,
        sessions: Sessions,
        service: str,
        began: Callable[[Engine], None] = lambda _: None,
    ) -> None:
        self._context = context
        self._began = began
        self._engine: Engine | None = None
        self._sessions = sessions
        self._relay = Relay(sessions, service)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await self._serve_websocket(scope, receive, send)
        elif scope["type"] == "http":
            await self._serve_request(Request(scope, receive), send)

    @property
    def settings(self) -> Settings:
        """How its sessions are held."""
        return self._sessions.settings

    async def attach(self) -> None:
        """Start the hub, if that is to be done, and be heard by the other nodes."""
        await self._context.ensure_started()
        engine = self._context.engine
        if engine is not self._engine:
            self._engine = engine
            self._relay.attach(engine)
            self._began(engine)

    # Requests.

    async def _serve_request(self, request: Request, send: Send) -> None:
        head, key = head_of(request), key_of(self._context, request)
        headers = cors_headers(self._context.access.origins, head)
        try:
            if request.method == "OPTIONS":
                await _answer(send, 204, b"", "", [*headers, *_PREFLIGHT] if headers else headers)
                return
            await self._check(head, key)
            address = self._address(head)
            if address.transport != "polling":
                raise _BAD_REQUEST
            if request.method == "GET":
                await self._get(request, address, key, send, headers)
            elif request.method == "POST" and address.sid is not None:
                await self._post(request, address.sid, send, headers)
            else:
                raise _BAD_METHOD
        except wire.BadRequest as error:
            await _answer(send, 400, error.body, _JSON, headers)
        except TrunklineError as error:
            refusal = refusals.as_answer(self._context.access, error, who=key or "")
            await _answer(send, refusal.status, refusal.body, refusal.media_type, [*headers, *refusal.headers])
        except ClientDisconnect:  # or it has ended its side alone, and may still read
            with contextlib.suppress(OSError):
                await _answer(send, 400, _BAD_REQUEST.body, _JSON, headers)

    async def _check(self, head: RequestHead, key: str | None) -> None:
        await self.attach()
        if key is not None:
            self._context.access.check_request_rate(key)
        self._context.access.origins.check(head)

    def _address(self, head: RequestHead) -> wire.Address:
        return wire.parse_address(head.query, self._sessions.settings.transports)

    async def _get(
        self, request: Request, address: wire.Address, key: str | None, send: Send, headers: Headers
    ) -> None:
        if address.sid is None:
            if self._context.engine.is_draining:
                raise ShuttingDown("the server is stopping; connect again")
            self._sessions.check_count(key)
            waiting = self._sessions.open(request.scope, key=key).poll()
            cancel: Callable[[], None] = lambda: None  # noqa: E731 - it is answered at once
        elif (session := self._sessions.get(address.sid)) is not None:
            waiting, cancel = session.poll(), session.poll_cancelled
        elif (forwarded := self._relay.request("get", address.sid)) is not None:
            waiting, cancel = forwarded.answer, forwarded.cancel
        else:
            raise _UNKNOWN
        body = None if waiting is None else await _wait(waiting, request, cancel)
        if body is None:
            raise _BAD_REQUEST
        await _answer(send, 200, body.encode(), _TEXT, headers)

    async def _post(self, request: Request, sid: str, send: Send, headers: Headers) -> None:
        session = self._sessions.get(sid)
        if session is None and not self._relay.knows(sid):
            raise _UNKNOWN
        try:
            body = (await self._body(request)).decode()
        except UnicodeDecodeError:
            body = ""  # no packet
        if session is not None:
            is_taken = await take_post(session, body)
        else:
            forwarded = self._relay.request("post", sid, body)
            is_taken = forwarded is not None and await forwarded.answer is not None
        if not is_taken:
            raise _BAD_REQUEST
        await _answer(send, 200, b"ok", _TEXT, headers)

    async def _body(self, request: Request) -> bytes:
        body, bytes_max = b"", self._sessions.settings.bytes_max
        async for piece in request.stream():
            body += piece
            if len(body) > bytes_max:
                raise RequestError("too_large", f"the body is larger than {bytes_max} bytes")
        return body

    # WebSockets.

    async def _serve_websocket(self, scope: Scope, receive: Receive, send: Send) -> None:
        socket = WebSocket(scope, receive, send)
        head, key = head_of(socket), key_of(self._context, socket)
        try:
            await self._check(head, key)
            address = self._address(head)
            if address.transport != "websocket":
                raise _BAD_REQUEST
            begin = self._beginning(scope, address.sid, key)
            handover = handover_of(scope)
            admission = None if handover is None else admit_handed(self._context, key, handover.admission)
        except wire.BadRequest as error:
            await _deny(socket, 400, error.body, _JSON)
        except TrunklineError as error:
            refusal = refusals.as_answer(self._context.access, error, who=key or "")
            await _deny(socket, refusal.status, refusal.body, refusal.media_type, refusal.headers)
        else:
            if handover is None or admission is None:
                await socket.accept()
                carrier = AsgiPacketSocket(self._context.asgi_writer, receive, send, self._sessions.settings.bytes_max)
                await carrier.run(begin)
            else:
                await self._hand_over(socket, begin, handover, admission)

    def _beginning(self, scope: Scope, sid: str | None, key: str | None) -> Begin:
        """Return what a WebSocket begins with."""
        if sid is None:
            if self._context.engine.is_draining:
                raise ShuttingDown("the server is stopping; connect again")
            self._sessions.check_count(key)
            return opening(self._sessions, scope, key)
        session = self._sessions.get(sid)
        if session is not None:
            return trying(self._sessions, session)
        if self._relay.knows(sid):
            return passing_on(self._relay, sid)
        raise _UNKNOWN

    async def _hand_over(self, socket: WebSocket, begin: Begin, handover: Handover, admission: HandedAdmission) -> None:
        """Accept a WebSocket, and give it the socket that it came on."""
        carrier = PacketSocket(handover.transport, admission, self._sessions.settings.bytes_max)
        handover.offer(lambda _: carrier.take_over(begin))
        try:
            await socket.accept()
            await handover.decided()
        finally:
            if not handover.is_taken:
                admission.withdraw()


async def _wait(waiting: asyncio.Future[str | None], request: Request, cancel: Callable[[], None]) -> str | None:
    """Return the body of a GET's answer, when there is one; *cancel* is called if the client does not wait for it."""
    if waiting.done():
        return waiting.result()
    gone = asyncio.ensure_future(gone_or_ended(request))
    waiting.add_done_callback(lambda _: gone.cancel())
    try:
        await gone
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if not waiting.done() or (task is not None and task.cancelling()):
            raise
    finally:
        gone.cancel()
        if not waiting.done():
            waiting.cancel()
            cancel()
    if waiting.cancelled():
        raise ClientDisconnect
    return waiting.result()


_PREFLIGHT = (
    ("Access-Control-Allow-Methods", "GET, POST"),
    ("Access-Control-Allow-Headers", "Authorization, Content-Type"),
    ("Access-Control-Max-Age", "600"),
)


async def _answer(send: Send, status: int, body: bytes, media_type: str, headers: Headers = ()) -> None:
    fields = [
        *headers,
        ("Cache-Control", "no-store"),
        ("Content-Length", str(len(body))),
        ("X-Content-Type-Options", "nosniff"),
    ]
    if media_type:
        fields.append(("Content-Type", media_type))
    raw = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in fields]
    await send({"type": "http.response.start", "status": status, "headers": raw})
    await send({"type": "http.response.body", "body": body})


async def _deny(socket: WebSocket, status: int, body: bytes, media_type: str, headers: Headers = ()) -> None:
    await socket.send_denial_response(Response(body, status, dict(headers), media_type))


def environ_of(scope: Mapping[str, Any]) -> dict[str, Any]:
    """Return a request as WSGI has it (PEP 3333), which is what handlers of python-socketio are given."""
    server, client = scope.get("server") or ("", 0), scope.get("client") or ("", 0)
    environ: dict[str, Any] = {
        "REQUEST_METHOD": scope.get("method", "GET"),
        "SCRIPT_NAME": scope.get("root_path", ""),
        "PATH_INFO": scope["path"],
        "QUERY_STRING": scope["query_string"].decode("latin-1"),
        "RAW_URI": scope["path"],
        "SERVER_PROTOCOL": f"HTTP/{scope.get('http_version', '1.1')}",
        "SERVER_NAME": str(server[0]),
        "SERVER_PORT": str(server[1] or 0),
        "SERVER_SOFTWARE": "asgi",
        "REMOTE_ADDR": client[0],
        "REMOTE_PORT": str(client[1]),
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": {"ws": "http", "wss": "https"}.get(scope["scheme"], scope["scheme"]),
        "wsgi.multithread": False,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
        "asgi.scope": scope,
    }
    for name, value in scope["headers"]:
        key = name.decode("latin-1").upper().replace("-", "_")
        key = key if key in ("CONTENT_TYPE", "CONTENT_LENGTH") else f"HTTP_{key}"
        text = value.decode("latin-1")
        environ[key] = f"{environ[key]}, {text}" if key in environ else text
    return environ
