"""A server of Socket.IO as an ASGI application, beside another one."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from mimetypes import guess_type
from pathlib import Path
from typing import Any, Protocol

from starlette.responses import FileResponse, PlainTextResponse
from starlette.types import ASGIApp as Application
from starlette.types import Message, Receive, Scope, Send

from trunkline.hub import Hub
from trunkline.transports.socketio.endpoint import Endpoint

StaticFiles = Mapping[str, str | Mapping[str, str]]


class Served(Protocol):
    """A server that has a path.

    Attributes:
        endpoint: What answers its requests.
        hub: Whose rooms it has.
        owns_hub: Whether nothing else starts the hub.
    """

    endpoint: Endpoint
    hub: Hub
    owns_hub: bool

    def close(self) -> None:
        """End all connections."""


class ASGIApp:
    """An ASGI application: Socket.IO under its path, then files, and everything else is another application's.

    Args:
        socketio_server: The server.
        other_asgi_app: Who has all other requests; 404 without one.
        static_files: Files by their paths, folders by the beginning of theirs; for development.
        socketio_path: The path; None if everything that comes here is for Socket.IO.
        on_startup, on_shutdown: Called at the start and at the end of the application; may be coroutine functions.
    """

    def __init__(
        self,
        socketio_server: Served,
        other_asgi_app: Application | None = None,
        static_files: StaticFiles | None = None,
        socketio_path: str | None = "socket.io",
        on_startup: Callable[[], Any] | None = None,
        on_shutdown: Callable[[], Any] | None = None,
    ) -> None:
        self.server = socketio_server
        self._other = other_asgi_app
        self._files = dict(static_files or {})
        self._path = None if socketio_path is None else f"/{socketio_path.strip('/')}/"
        self._on_startup = on_startup
        self._on_shutdown = on_shutdown

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._live(scope, receive, send)
        elif self._path is None or f"{_below(scope)}/".startswith(self._path):
            await self.server.endpoint(scope, receive, send)
        elif scope["type"] == "http" and (file := self._file(_below(scope))) is not None:
            await file(scope, receive, send)
        elif self._other is not None:
            await self._other(scope, receive, send)
        elif scope["type"] == "http":
            await PlainTextResponse("Not Found", 404)(scope, receive, send)
        else:
            await send({"type": "websocket.close", "code": 1000})

    async def _live(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with AsyncExitStack() as stack:
            await receive()
            try:
                if self.server.owns_hub:
                    await stack.enter_async_context(self.server.hub.lifespan())
                await _call(self._on_startup)
            except Exception as error:
                await send({"type": "lifespan.startup.failed", "message": str(error)})
                raise
            if self._other is not None:
                await self._other_lives(scope, receive, send)
            else:
                await send({"type": "lifespan.startup.complete"})
                await receive()
            await _call(self._on_shutdown)
            self.server.close()
        if self._other is None:
            await send({"type": "lifespan.shutdown.complete"})

    async def _other_lives(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let the other application live: it says when all is started, and ended, if it says anything at all."""
        assert self._other is not None
        has_begun = has_said = False

        async def receive_startup() -> Any:
            nonlocal has_begun
            if not has_begun:
                has_begun = True
                return {"type": "lifespan.startup"}
            return await receive()

        async def send_on(message: Message) -> None:
            nonlocal has_said
            has_said = True
            await send(message)

        try:
            await self._other(scope, receive_startup, send_on)
        except Exception:
            if has_said:
                raise
        if not has_said:  # it has no lifespan
            await send({"type": "lifespan.startup.complete"})
            await receive()
            await send({"type": "lifespan.shutdown.complete"})

    def has_file(self, path: str) -> bool:
        """Return whether a path names one of the files."""
        return self._file(path) is not None

    def _file(self, path: str) -> FileResponse | None:
        found = self._files.get(path)
        if found is None:
            folders = [begin for begin in self._files if begin and path.startswith(begin.rstrip("/") + "/")]
            if not folders:
                return None
            begin = max(folders, key=len)
            folder = self._files[begin]
            found = _below_folder(Path(folder if isinstance(folder, str) else folder["filename"]), path, begin)
            if found is None:
                return None
        name, kind = (found, None) if isinstance(found, str) else (found["filename"], found.get("content_type"))
        if not _is_file(name):
            return None
        return FileResponse(name, media_type=kind or guess_type(name)[0] or "application/octet-stream")


def _below_folder(folder: Path, path: str, begin: str) -> str | None:
    """Return the file of a folder that a path names; None if it is not below the folder."""
    try:
        file = (folder / path[len(begin) :].lstrip("/")).resolve()
        if file.is_dir():
            file /= "index.html"
        return str(file) if file.is_relative_to(folder.resolve()) else None
    except (ValueError, OSError):  # no name of a file
        return None


def _is_file(name: str) -> bool:
    try:
        return Path(name).is_file()
    except (ValueError, OSError):
        return False


def _below(scope: Scope) -> str:
    """Return the path of a request below where the application is mounted."""
    path, root = scope["path"], scope.get("root_path", "")
    below: str = path.removeprefix(root) if root and path.startswith(f"{root}/") else path
    return below


async def _call(function: Callable[[], Any] | None) -> None:
    if function is not None:
        answer = function()
        if inspect.isawaitable(answer):
            await answer
