"""The lifespan of an ASGI application, run by a test instead of a server."""

from __future__ import annotations

import asyncio
from typing import Any

from starlette.types import ASGIApp, Message


class Lifespan:
    """One lifespan (ASGI's lifespan protocol, version 2.0).

    Attributes:
        state: What the application has put there for its requests.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._received: asyncio.Queue[Message] = asyncio.Queue()  # of two messages
        self._started: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._stopped: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._task: asyncio.Task[None] | None = None
        self.state: dict[str, Any] = {}

    async def start(self) -> None:
        """Run the application's startup.

        Raises:
            RuntimeError: It failed; its own error is the cause.
        """
        self._task = asyncio.ensure_future(self._run())
        self._received.put_nowait({"type": "lifespan.startup"})
        await self._started

    async def stop(self) -> None:
        """Run the application's shutdown.

        Raises:
            RuntimeError: It failed; its own error is the cause.
        """
        if self._task is not None:
            self._received.put_nowait({"type": "lifespan.shutdown"})
            await self._stopped
            await asyncio.wait([self._task])

    async def _run(self) -> None:
        scope = {"type": "lifespan", "asgi": {"version": "3.0", "spec_version": "2.0"}, "state": self.state}
        failure: Exception | None = None
        try:
            await self._app(scope, self._received.get, self._send)
        except Exception as error:  # noqa: BLE001 - the application's
            failure = error
        if not self._started.done():  # an application without a lifespan raises, or returns
            self._started.set_result(None)
            self._stopped.set_result(None)
            return
        if failure is not None:
            for future in (self._started, self._stopped):
                if future.done() and future.exception() is not None:
                    future.exception().__cause__ = failure  # type: ignore[union-attr]
        if not self._stopped.done():
            if failure is None:
                self._stopped.set_result(None)
            else:
                self._stopped.set_exception(failure)

    async def _send(self, message: Message) -> None:
        kind = message["type"]
        if kind == "lifespan.startup.complete":
            self._started.set_result(None)
        elif kind == "lifespan.shutdown.complete":
            self._stopped.set_result(None)
        elif kind == "lifespan.startup.failed":
            self._started.set_exception(RuntimeError(f"the application did not start:\n{message.get('message', '')}"))
            self._stopped.set_result(None)
        elif kind == "lifespan.shutdown.failed":
            self._stopped.set_exception(RuntimeError(f"the application did not stop:\n{message.get('message', '')}"))
