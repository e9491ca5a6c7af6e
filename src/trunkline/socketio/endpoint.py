"""The requests of Engine.IO, as ASGI: sessions are opened, polled, written to, and upgraded."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping, Sequence
from typing import Any

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocket

from trunkline.engine.tasks import cancelled
from trunkline.errors import RequestError, ShuttingDown, TrunklineError
from trunkline.socketio.session import TRANSPORT_ERROR, Session, Sessions
from trunkline.socketio.websocket import AsgiPacketSocket, PacketSocket
from trunkline.transports import refusals
from trunkline.transports.app import head_of, key_of
from trunkline.transports.asgi import disconnected
from trunkline.transports.context import Context
from trunkline.transports.handover import HandedAdmission, Handover, admit_handed, handover_of
from trunkline.wire import engineio as wire
from trunkline.wire.origin import cors_headers
from trunkline.wire.request_head import RequestHead

PACKETS_MAX = 1000  # of one POST
PATIENCE_S = 30.0  # how long a POST waits for what was sent before it

_TEXT = "text/plain; charset=UTF-8"
_JSON = "application/json"
_UNKNOWN = wire.BadRequest(1, "Session ID unknown")
_BAD_METHOD = wire.BadRequest(2, "Bad handshake method")
_BAD_REQUEST = wire.BadRequest(3, "Bad request")

Headers = Sequence[tuple[str, str]]


class Endpoint:
    """One path of Engine.IO."""

    def __init__(self, context: Context, sessions: Sessions) -> None:
        self._context = context
        self._sessions = sessions

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await self._serve_websocket(scope, receive, send)
        elif scope["type"] == "http":
            await self._serve_request(Request(scope, receive), send)

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
                await self._get(request, address, send, headers)
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
        await self._context.ensure_started()
        if key is not None:
            self._context.access.check_request_rate(key)
        self._context.access.origins.check(head)

    def _address(self, head: RequestHead) -> wire.Address:
        return wire.parse_address(head.query, self._sessions.settings.transports)

    async def _get(self, request: Request, address: wire.Address, send: Send, headers: Headers) -> None:
        if address.sid is None:
            if self._context.engine.is_draining:
                raise ShuttingDown("the server is stopping; connect again")
            session = self._sessions.open(request.scope)
        else:
            session = self._session(address.sid)
        body = await self._poll(session, request)
        if body is None:
            raise _BAD_REQUEST
        await _answer(send, 200, body.encode(), _TEXT, headers)

    async def _poll(self, session: Session, request: Request) -> str | None:
        waiting = session.poll()
        if waiting is None or waiting.done():
            return None if waiting is None else waiting.result()
        gone = asyncio.ensure_future(disconnected(request))
        try:
            either: list[asyncio.Future[Any]] = [waiting, gone]
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            if not waiting.done():
                raise ClientDisconnect
            return waiting.result()
        finally:
            if not waiting.done():
                waiting.cancel()
                session.poll_cancelled()
            await cancelled(gone)

    async def _post(self, request: Request, sid: str, send: Send, headers: Headers) -> None:
        session = self._session(sid)
        body = await self._body(request)
        await self._until_released(session)
        try:
            packets = wire.decode_payload(body.decode(), PACKETS_MAX)
        except (wire.BadPacket, UnicodeDecodeError):
            session.end(TRANSPORT_ERROR)
            raise _BAD_REQUEST from None
        session.heard()
        for packet in packets:
            session.receive(packet)
        await _answer(send, 200, b"ok", _TEXT, headers)

    async def _until_released(self, session: Session) -> None:
        """Wait while what the client has sent before is not done; end the session if that takes too long."""
        try:
            async with asyncio.timeout(PATIENCE_S):
                while session.held and session.is_open:  # noqa: ASYNC110 - rare, and nothing is lost by a moment
                    await asyncio.sleep(0.02)
        except TimeoutError:
            session.end(TRANSPORT_ERROR)
        if not session.is_open:
            raise _BAD_REQUEST

    async def _body(self, request: Request) -> bytes:
        body, bytes_max = b"", self._sessions.settings.bytes_max
        async for piece in request.stream():
            body += piece
            if len(body) > bytes_max:
                raise RequestError("too_large", f"the body is larger than {bytes_max} bytes")
        return body

    def _session(self, sid: str) -> Session:
        session = self._sessions.get(sid)
        if session is None:
            raise _UNKNOWN
        return session

    # WebSockets.

    async def _serve_websocket(self, scope: Scope, receive: Receive, send: Send) -> None:
        socket = WebSocket(scope, receive, send)
        head, key = head_of(socket), key_of(self._context, socket)
        try:
            await self._check(head, key)
            address = self._address(head)
            if address.transport != "websocket":
                raise _BAD_REQUEST
            session = None if address.sid is None else self._session(address.sid)
            if session is None and self._context.engine.is_draining:
                raise ShuttingDown("the server is stopping; connect again")
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
                await carrier.run(self._sessions, session, scope)
            else:
                await self._hand_over(socket, session, handover, admission)

    async def _hand_over(
        self, socket: WebSocket, session: Session | None, handover: Handover, admission: HandedAdmission
    ) -> None:
        """Accept a WebSocket, and give it the socket that it came on."""
        carrier = PacketSocket(handover.transport, admission, self._sessions.settings.bytes_max)
        handover.offer(lambda _: carrier.take_over(self._sessions, session, socket.scope))
        try:
            await socket.accept()
            await handover.decided()
        finally:
            if not handover.is_taken:
                admission.withdraw()


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
