"""A server of Socket.IO beside an application of WSGI: as WSGI by polling alone, and as ASGI by WebSocket, too."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping
from http import HTTPStatus
from typing import Any

from starlette.types import ASGIApp as Application
from starlette.types import Message

from trunkline.errors import TrunklineError
from trunkline.hub import run_sync
from trunkline.socketio.app import ASGIApp, Served, StaticFiles
from trunkline.transports.socketio.session import NO_UPGRADE

POLL_S = 60.0  # beside the ping interval: a poll is answered with each ping at the latest

log = logging.getLogger("trunkline")

StartResponse = Callable[..., Any]


class WSGIApp:
    """An application of WSGI (PEP 3333): Socket.IO under its path, and everything else is another application's.

    A WSGI server gives no WebSocket away, and keeps a thread for each client that polls. By `trunkline run
    MODULE:app.asgi` the same application has both.

    Args:
        socketio_app: The server.
        wsgi_app: Who has all other requests; 404 without one.
        static_files: Files by their paths, folders by the beginning of theirs; for development.
        socketio_path: The path.
    """

    def __init__(
        self,
        socketio_app: Served,
        wsgi_app: Callable[..., Any] | None = None,
        static_files: StaticFiles | None = None,
        socketio_path: str = "socket.io",
    ) -> None:
        self._server = socketio_app
        self._wsgi_app = wsgi_app
        self._path = f"/{socketio_path.strip('/')}/"
        self._files = ASGIApp(socketio_app, None, static_files, socketio_path)
        self._names_files = bool(static_files)
        other = None if wsgi_app is None else _as_asgi(wsgi_app)
        self.asgi: Application = ASGIApp(socketio_app, other, static_files, socketio_path)

    def __call__(self, environ: dict[str, Any], start_response: StartResponse | None = None) -> Iterable[bytes]:
        if start_response is None:  # what an ASGI server calls an old kind of application with
            raise TypeError("this is an application of WSGI: let an ASGI server serve its `asgi` (MODULE:app.asgi)")
        path = environ.get("PATH_INFO", "/")
        is_ours = f"{path}/".startswith(self._path)
        if not is_ours and self._wsgi_app is not None and not (self._names_files and self._files.has_file(path)):
            found: Iterable[bytes] = self._wsgi_app(environ, start_response)
            return found
        status, headers, body = _serve(self._server, self._files, environ)
        start_response(f"{status} {HTTPStatus(status).phrase}", headers)
        return [body]


def _serve(server: Served, app: Application, environ: Mapping[str, Any]) -> tuple[int, list[tuple[str, str]], bytes]:
    """Have a request served on the hub's event loop; return its answer."""
    settings = server.endpoint.settings
    body = _read(environ, settings.bytes_max + 1)  # one more is too much already
    sent: list[Message] = []

    async def serve() -> None:
        asked = False

        async def receive() -> Message:
            nonlocal asked
            if asked:
                await _for_ever()
            asked = True
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(message: Message) -> None:
            sent.append(message)

        await app(_scope(environ), receive, send)

    try:
        run_sync(server.hub, serve, settings.ping_interval_s + POLL_S)
    except (TrunklineError, TimeoutError) as error:
        log.error("a request of Socket.IO could not be served: %s", error)
        return 503, [("Content-Type", "text/plain")], b"try again"
    start = next(message for message in sent if message["type"] == "http.response.start")
    headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in start["headers"]]
    return start["status"], headers, b"".join(message.get("body", b"") for message in sent)


async def _for_ever() -> None:
    await asyncio.get_running_loop().create_future()  # WSGI does not say that a client has gone


def _read(environ: Mapping[str, Any], bytes_max: int) -> bytes:
    length = environ.get("CONTENT_LENGTH") or ""
    is_known = length.isascii() and length.isdigit()
    if not is_known and not environ.get("wsgi.input_terminated"):
        return b""
    body: bytes = environ["wsgi.input"].read(min(int(length), bytes_max) if is_known else bytes_max)
    return body


def _scope(environ: Mapping[str, Any]) -> dict[str, Any]:
    headers = [
        (name[5:].replace("_", "-").lower().encode("latin-1"), str(value).encode("latin-1"))
        for name, value in environ.items()
        if name.startswith("HTTP_")
    ]
    headers += [
        (name.replace("_", "-").lower().encode("latin-1"), str(environ[name]).encode("latin-1"))
        for name in ("CONTENT_TYPE", "CONTENT_LENGTH")
        if environ.get(name)
    ]
    return {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": environ.get("SERVER_PROTOCOL", "HTTP/1.1").removeprefix("HTTP/"),
        "method": environ["REQUEST_METHOD"],
        "scheme": environ.get("wsgi.url_scheme", "http"),
        "path": environ.get("PATH_INFO", "/").encode("latin-1").decode("utf-8", "replace"),
        "root_path": "",
        "query_string": environ.get("QUERY_STRING", "").encode("latin-1"),
        "headers": headers,
        "client": (environ.get("REMOTE_ADDR", ""), int(environ.get("REMOTE_PORT") or 0)),
        "server": (environ.get("SERVER_NAME", ""), int(environ.get("SERVER_PORT") or 0)),
        NO_UPGRADE: True,
    }


def _as_asgi(wsgi_app: Callable[..., Any]) -> Application | None:
    try:
        from asgiref.wsgi import WsgiToAsgi  # noqa: PLC0415 - the extra `wsgi` may not be there
    except ModuleNotFoundError:
        return None
    return _Http(WsgiToAsgi(wsgi_app))  # type: ignore[no-untyped-call]


class _Http:
    """An application that has requests, and neither a life nor WebSockets."""

    def __init__(self, app: Callable[..., Any]) -> None:
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1000})
        else:
            await _live(receive, send)


async def _live(receive: Any, send: Any) -> None:
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return
