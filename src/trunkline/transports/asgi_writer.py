"""Writing through ASGI, whose `send` is awaited: one task for all that is due in a turn, and not one for each reader.

Nearly every `send` ends without having waited. One that does wait, for a client that does not read, keeps the task that
it is in: another one takes over what is due for all others, after one turn of the event loop. So each `send` is begun
and ended by one task, as time-outs and cancel scopes within it want it, in the context of its own connection.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine, Generator
from contextvars import Context as Variables
from types import coroutine
from typing import Any, Protocol

SLICE = 32  # connections that a writer sends for before the event loop has its turn: half a millisecond


class Due(Protocol):
    """A connection that has something to send."""

    variables: Variables | None
    """The context variables of the task that serves the connection; None if no variable is set there."""

    writer: asyncio.Task[Any] | None
    """Who sends for it at the moment."""

    async def send_due(self) -> None:
        """Send it. Never raises, but for being cancelled."""


class AsgiWriter:
    """Sends for all connections of one hub that an ASGI server carries.

    Args:
        spawn: Runs a coroutine as a task, with no context variables.
    """

    def __init__(self, spawn: Callable[[Coroutine[Any, Any, None]], object]) -> None:
        self._spawn = spawn
        self._due: deque[Due] = deque()
        self._writing: object | None = None  # the writer that takes from what is due, if there is one

    def add(self, connection: Due) -> None:
        """Let a connection send soon."""
        self._due.append(connection)
        if self._writing is None:
            self._begin()

    def _begin(self) -> None:
        self._writing = writer = object()
        self._spawn(self._write(writer))

    async def _write(self, writer: object) -> None:
        if self._writing is not writer:
            return  # it has waited so long for its first turn that another one was begun
        watch, me = asyncio.get_running_loop().call_soon(self._replace, writer), asyncio.current_task()
        due = self._due
        try:
            for _ in range(min(SLICE, len(due))):
                connection = due.popleft()
                connection.writer = me
                if connection.variables is None:
                    await connection.send_due()
                else:
                    await _within(connection.variables, connection.send_due())
                connection.writer = None
                if self._writing is not writer:
                    break
        finally:
            watch.cancel()
            self._replace(writer)

    def _replace(self, writer: object) -> None:
        """Let another writer go on, unless that was done."""
        if self._writing is writer:
            self._writing = None
            if self._due:
                self._begin()


@coroutine
def _within(variables: Variables, work: Coroutine[Any, Any, None]) -> Generator[Any, Any, None]:
    """Await a coroutine whose context variables are those of another task."""
    step: Callable[..., Any] = work.send
    value: Any = None
    while True:
        try:
            waited_for = variables.run(step, value)
        except StopIteration:
            return
        try:
            step, value = work.send, (yield waited_for)
        except BaseException as error:  # noqa: BLE001 - it is the coroutine's
            step, value = work.throw, error
