"""A thread that does one blocking call after another for an event loop.

An executor would do, at twice the price: it makes two futures a call, and each commit is one call.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from queue import SimpleQueue
from threading import Thread
from typing import Any, TypeVar

from trunkline.errors import StoreUnavailable

T = TypeVar("T")

_Call = tuple[Callable[[], Any], asyncio.Future[Any]]


class SerialThread:
    """One thread. Made, used and closed on one event loop."""

    def __init__(self, name: str) -> None:
        self._loop = asyncio.get_running_loop()
        self._calls: SimpleQueue[_Call | None] = SimpleQueue()
        self._closed = False
        self._thread = Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    async def call(self, function: Callable[[], T]) -> T:
        """Return the result of *function*, called on the thread.

        Raises:
            StoreUnavailable: The worker is closed.
        """
        if self._closed:
            raise StoreUnavailable("the log is closed")
        future: asyncio.Future[T] = self._loop.create_future()
        self._calls.put((function, future))
        return await future

    async def close(self) -> None:
        """Finish what was asked for, and end the thread."""
        self._closed = True
        self._calls.put(None)
        await asyncio.to_thread(self._thread.join)

    def _run(self) -> None:
        while (call := self._calls.get()) is not None:
            function, future = call
            result, error = None, None
            try:
                result = function()
            except BaseException as raised:  # noqa: BLE001 - it is raised again where it is awaited
                error = raised
            self._loop.call_soon_threadsafe(_settle, future, result, error)


def _settle(future: asyncio.Future[Any], result: Any, error: BaseException | None) -> None:
    if future.done():  # the caller was cancelled
        return
    if error is None:
        future.set_result(result)
    else:
        future.set_exception(error)
