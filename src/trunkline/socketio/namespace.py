"""Handlers of one namespace as methods of a class, and the server's methods for that namespace."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from typing import Any

from trunkline.socketio.handlers import fitting

Rooms = str | int | Sequence[str | int] | None
_FEWEST = {"connect": 2, "disconnect": 1}


class _Methods:
    """Handlers as methods: `on_NAME` hears NAME."""

    def __init__(self, namespace: str | None = None) -> None:
        self.namespace = namespace or "/"

    def _find(self, event: str, args: Sequence[Any]) -> tuple[Callable[..., Any], Sequence[Any]] | None:
        handler = getattr(self, f"on_{event}", None)
        if handler is None:
            return None
        fewest = len(args) - 1 if event in _FEWEST else len(args)
        return handler, fitting(handler, args, fewest)


class AsyncNamespace(_Methods):
    """A namespace of an `AsyncServer`: subclass it, and write methods `on_connect`, `on_disconnect`, `on_EVENT`.

    Args:
        namespace: With its slash; the default one if left out, and `*` for all that nothing else hears.
    """

    server: Any  # an AsyncServer, which stands above

    def is_asyncio_based(self) -> bool:
        return True

    async def trigger_event(self, event: str, *args: Any) -> Any:
        """Have an event heard by its method; return what that returns. Override it to hear all events."""
        found = self._find(event, args)
        if found is None:
            return None
        handler, fit = found
        answer = handler(*fit)
        return await answer if inspect.isawaitable(answer) else answer

    def rooms(self, sid: str, namespace: str | None = None) -> list[str]:
        found: list[str] = self.server.rooms(sid, namespace=namespace or self.namespace)
        return found

    async def emit(
        self, event: str, data: Any = None, to: Rooms = None, room: Rooms = None, skip_sid: Rooms = None,
        namespace: str | None = None, callback: Callable[..., Any] | None = None, ignore_queue: bool = False,
        **more: Any,
    ) -> None:  # fmt: skip
        await self.server.emit(
            event, data, to=to, room=room, skip_sid=skip_sid, namespace=namespace or self.namespace,
            callback=callback, ignore_queue=ignore_queue, **more,
        )  # fmt: skip

    async def send(
        self, data: Any, to: Rooms = None, room: Rooms = None, skip_sid: Rooms = None, namespace: str | None = None,
        callback: Callable[..., Any] | None = None, ignore_queue: bool = False,
    ) -> None:  # fmt: skip
        await self.emit("message", data, to, room, skip_sid, namespace, callback, ignore_queue)

    async def call(
        self, event: str, data: Any = None, to: str | None = None, sid: str | None = None,
        namespace: str | None = None, timeout: float | None = None, ignore_queue: bool = False,
    ) -> Any:  # fmt: skip
        return await self.server.call(
            event, data, to=to, sid=sid, namespace=namespace or self.namespace, timeout=timeout or 60,
            ignore_queue=ignore_queue,
        )  # fmt: skip

    async def enter_room(self, sid: str, room: str, namespace: str | None = None) -> None:
        await self.server.enter_room(sid, room, namespace=namespace or self.namespace)

    async def leave_room(self, sid: str, room: str, namespace: str | None = None) -> None:
        await self.server.leave_room(sid, room, namespace=namespace or self.namespace)

    async def close_room(self, room: str, namespace: str | None = None) -> None:
        await self.server.close_room(room, namespace=namespace or self.namespace)

    async def get_session(self, sid: str, namespace: str | None = None) -> Any:
        return await self.server.get_session(sid, namespace=namespace or self.namespace)

    async def save_session(self, sid: str, session: Any, namespace: str | None = None) -> None:
        await self.server.save_session(sid, session, namespace=namespace or self.namespace)

    def session(self, sid: str, namespace: str | None = None) -> AbstractAsyncContextManager[Any]:
        session: AbstractAsyncContextManager[Any] = self.server.session(sid, namespace=namespace or self.namespace)
        return session

    async def disconnect(self, sid: str, namespace: str | None = None) -> None:
        await self.server.disconnect(sid, namespace=namespace or self.namespace)


class Namespace(_Methods):
    """A namespace of a `Server`: as `AsyncNamespace`, without awaiting."""

    server: Any  # a Server, which stands above

    def is_asyncio_based(self) -> bool:
        return False

    def trigger_event(self, event: str, *args: Any) -> Any:
        """Have an event heard by its method; return what that returns. Override it to hear all events."""
        found = self._find(event, args)
        if found is None:
            return None
        handler, fit = found
        return handler(*fit)

    def rooms(self, sid: str, namespace: str | None = None) -> list[str]:
        found: list[str] = self.server.rooms(sid, namespace=namespace or self.namespace)
        return found

    def emit(
        self, event: str, data: Any = None, to: Rooms = None, room: Rooms = None, skip_sid: Rooms = None,
        namespace: str | None = None, callback: Callable[..., Any] | None = None, ignore_queue: bool = False,
        **more: Any,
    ) -> None:  # fmt: skip
        self.server.emit(
            event, data, to=to, room=room, skip_sid=skip_sid, namespace=namespace or self.namespace,
            callback=callback, ignore_queue=ignore_queue, **more,
        )  # fmt: skip

    def send(
        self, data: Any, to: Rooms = None, room: Rooms = None, skip_sid: Rooms = None, namespace: str | None = None,
        callback: Callable[..., Any] | None = None, ignore_queue: bool = False,
    ) -> None:  # fmt: skip
        self.emit("message", data, to, room, skip_sid, namespace, callback, ignore_queue)

    def call(
        self, event: str, data: Any = None, to: str | None = None, sid: str | None = None,
        namespace: str | None = None, timeout: float | None = None, ignore_queue: bool = False,
    ) -> Any:  # fmt: skip
        return self.server.call(
            event, data, to=to, sid=sid, namespace=namespace or self.namespace, timeout=timeout or 60,
            ignore_queue=ignore_queue,
        )  # fmt: skip

    def enter_room(self, sid: str, room: str, namespace: str | None = None) -> None:
        self.server.enter_room(sid, room, namespace=namespace or self.namespace)

    def leave_room(self, sid: str, room: str, namespace: str | None = None) -> None:
        self.server.leave_room(sid, room, namespace=namespace or self.namespace)

    def close_room(self, room: str, namespace: str | None = None) -> None:
        self.server.close_room(room, namespace=namespace or self.namespace)

    def get_session(self, sid: str, namespace: str | None = None) -> Any:
        return self.server.get_session(sid, namespace=namespace or self.namespace)

    def save_session(self, sid: str, session: Any, namespace: str | None = None) -> None:
        self.server.save_session(sid, session, namespace=namespace or self.namespace)

    def session(self, sid: str, namespace: str | None = None) -> AbstractContextManager[Any]:
        session: AbstractContextManager[Any] = self.server.session(sid, namespace=namespace or self.namespace)
        return session

    def disconnect(self, sid: str, namespace: str | None = None) -> None:
        self.server.disconnect(sid, namespace=namespace or self.namespace)
