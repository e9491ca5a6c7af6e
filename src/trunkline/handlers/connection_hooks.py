"""Tells the application of connections: each event once, by the node that the client is connected to.

Events of one connection come in their order. A hook that is slow holds up a part of the others; when too many wait, the
oldest are dropped, which is counted and logged. A node that is killed cannot tell of the ends of its connections.
"""

from __future__ import annotations

import asyncio
import logging
import zlib
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

from trunkline.core.connection_event import ConnectionEvent
from trunkline.engine.tasks import Tasks
from trunkline.errors import TrunklineError
from trunkline.handlers.registry import ConnectionHook, Handlers
from trunkline.handlers.runner import Runner

log = logging.getLogger("trunkline")

LINES = 8  # so many hooks run at the same time
WAITING_MAX = 2000  # events, in each of them
HOOK_S = 10.0


class _Event(NamedTuple):
    connects: bool
    event: ConnectionEvent


class ConnectionHooks:
    """The events of the connections of one node.

    Attributes:
        dropped: How many events the application was not told.
        listeners: Are told of each event at once, beside the application's hooks.
    """

    def __init__(self, tasks: Tasks, handlers: Handlers, runner: Runner) -> None:
        self._tasks = tasks
        self._handlers = handlers
        self._runner = runner
        self._lines: list[deque[_Event]] = []
        self._arrived: list[asyncio.Event] = []
        self._open: dict[str, ConnectionEvent] = {}  # connections that were told of, by their sessions
        self.dropped = 0
        self.listeners: list[Callable[[ConnectionEvent], None]] = []

    def start(self) -> None:
        """Begin, on the running event loop."""
        self._open.clear()
        self.listeners.clear()
        self._lines = [deque() for _ in range(LINES)]
        self._arrived = [asyncio.Event() for _ in range(LINES)]
        self.dropped = 0
        for line, arrived in zip(self._lines, self._arrived, strict=True):
            self._tasks.spawn(self._run(line, arrived))

    @property
    def are_wanted(self) -> bool:
        """Whether anything wants to know of connections."""
        return bool(self.listeners) or self._handlers.hears_connections

    def connected(self, event: ConnectionEvent) -> None:
        """Tell of a client that has connected."""
        self._open[event.session] = event
        self._put(_Event(True, event))

    def ended(self, session: str, at: int, reason: str, code: int, seconds: float) -> None:
        """Tell of the end of a connection, if its begin was told."""
        begun = self._open.pop(session, None)
        if begun is not None:
            self._put(_Event(False, begun._replace(at=at, reason=reason, code=code, seconds=seconds)))

    def _put(self, event: _Event) -> None:
        for listener in self.listeners:
            listener(event.event)
        n = zlib.crc32(event.event.session.encode()) % LINES
        line = self._lines[n]
        if self._hook_of(event) is None:
            return
        if len(line) >= WAITING_MAX:
            line.popleft()
            if not self.dropped:
                log.error("on_connect and on_disconnect are too slow: events are dropped")
            self.dropped += 1
        line.append(event)
        self._arrived[n].set()

    def _hook_of(self, event: _Event) -> ConnectionHook | None:
        return self._handlers.on_connect if event.connects else self._handlers.on_disconnect

    async def _run(self, line: deque[_Event], arrived: asyncio.Event) -> None:
        while True:
            await arrived.wait()
            arrived.clear()
            while line:
                event = line.popleft()
                hook = self._hook_of(event)
                if hook is None:
                    continue
                try:
                    await self._runner.run("connection", hook, event.event, timeout_s=HOOK_S)
                except TrunklineError as error:
                    log.warning("the application could not be told of a connection: %s", error)
