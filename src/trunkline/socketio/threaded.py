"""A server of Socket.IO with the API of python-socketio's `Server`: handlers run on threads, and nothing is awaited."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar

from trunkline.hub import run_sync
from trunkline.socketio.handlers import Handler
from trunkline.socketio.namespace import Rooms
from trunkline.socketio.server import CALL_S, BaseServer

T = TypeVar("T")

THREADS_MAX = 64  # handlers that run at the same time
PATIENCE_S = 30.0
"""How long a call waits for the event loop, beside what it waits for itself."""


class Server(BaseServer):
    """A server of Socket.IO for code that does not await: as `AsyncServer`, whose arguments it has.

    Its methods may be called from any thread but the one that runs the event loop. Handlers run on their own threads.
    """

    def __init__(self, *args: Any, threads_max: int = THREADS_MAX, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._threads = ThreadPoolExecutor(threads_max, thread_name_prefix="socketio")

    def is_asyncio_based(self) -> bool:
        return False

    async def run(self, handler: Handler, arguments: Sequence[Any]) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._threads, lambda: handler(*arguments))

    def _sync(self, call: Callable[[], Coroutine[Any, Any, T]], timeout_s: float = 0.0) -> T:
        return run_sync(self.hub, call, timeout_s + PATIENCE_S)

    # Emitting.

    def emit(
        self,
        event: str,
        data: Any = None,
        to: Rooms = None,
        room: Rooms = None,
        skip_sid: Rooms = None,
        namespace: str | None = None,
        callback: Callable[..., Any] | None = None,
        ignore_queue: bool = False,
        *,
        id: str | None = None,  # noqa: A002 - its name on the wire
        volatile: bool = False,
    ) -> None:
        """Emit an event; return when it is stored. As `AsyncServer.emit`."""
        self._sync(lambda: self._emit(event, data, to or room, skip_sid, namespace, callback, id, volatile=volatile))

    def send(
        self,
        data: Any,
        to: Rooms = None,
        room: Rooms = None,
        skip_sid: Rooms = None,
        namespace: str | None = None,
        callback: Callable[..., Any] | None = None,
        ignore_queue: bool = False,
    ) -> None:
        """Emit the event `message`; as `emit`."""
        self.emit("message", data, to, room, skip_sid, namespace, callback, ignore_queue)

    def call(
        self,
        event: str,
        data: Any = None,
        to: str | None = None,
        sid: str | None = None,
        namespace: str | None = None,
        timeout: float = CALL_S,
        ignore_queue: bool = False,
    ) -> Any:
        """Emit an event to one client; return what its acknowledgement has. As `AsyncServer.call`."""
        client = to or sid
        if client is None:
            raise ValueError("call: say which client, by to= or sid=")
        return self._sync(lambda: self._call(event, data, client, namespace, timeout), timeout)

    # Rooms and sessions.

    def enter_room(self, sid: str, room: str, namespace: str | None = None) -> None:
        """Let a client be in a room; as `AsyncServer.enter_room`."""
        self._sync(lambda: self._enter_room(sid, room, namespace))

    def leave_room(self, sid: str, room: str, namespace: str | None = None) -> None:
        """Let a client be in a room no longer."""
        self._sync(lambda: self._leave_room(sid, room, namespace))

    def close_room(self, room: str, namespace: str | None = None) -> None:
        """Let all clients leave a room."""
        self._sync(lambda: self._close_room(room, namespace))

    def get_session(self, sid: str, namespace: str | None = None) -> Any:
        """Return what the application keeps with a client; as `AsyncServer.get_session`."""
        return self._sync(lambda: self._get_session(sid, namespace))

    def save_session(self, sid: str, session: Any, namespace: str | None = None) -> None:
        """Keep something with a client, until it is gone."""
        self._sync(lambda: self._save_session(sid, session, namespace))

    @contextmanager
    def session(self, sid: str, namespace: str | None = None) -> Iterator[Any]:
        """Get what is kept with a client, and save it at the end: `with sio.session(sid) as session: …`."""
        session = self.get_session(sid, namespace)
        try:
            yield session
        finally:
            self.save_session(sid, session, namespace)

    def disconnect(self, sid: str, namespace: str | None = None, ignore_queue: bool = False) -> None:
        """Disconnect a client; it does not come back by itself. Harmless if it is not connected."""
        self._sync(lambda: self._disconnect(sid, namespace))

    def shutdown(self) -> None:
        """End all connections; the hub goes on."""

        async def close() -> None:
            self.close()

        self._sync(close)

    # Tasks.

    def start_background_task(self, target: Callable[..., Any], *args: Any, **kwargs: Any) -> threading.Thread:
        """Run a function on a thread of its own; return the thread."""
        thread = threading.Thread(target=target, args=args, kwargs=kwargs, daemon=True)
        thread.start()
        return thread

    def sleep(self, seconds: float = 0) -> None:
        """Wait."""
        time.sleep(seconds)
