"""Writes what webhooks want beside messages into logs of the system, from which they are posted like messages.

Each node writes what its own application would be told (`on_presence`, `on_connect`), so that each event is there once.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from typing import Any

import msgspec

from trunkline.core.connection_event import ConnectionEvent
from trunkline.core.system_rooms import CONNECTION_LOG, PRESENCE_LOG
from trunkline.engine.engine import Engine
from trunkline.errors import ShuttingDown, TrunklineError
from trunkline.handlers.connection_hooks import ConnectionHooks

log = logging.getLogger("trunkline")

WAITING_MAX = 10_000  # events that are not stored yet
AGAIN_S = 0.5

_encode = msgspec.json.Encoder().encode


class EventLog:
    """The events of one node.

    Attributes:
        dropped: How many were not written, because too many waited for the log.
    """

    def __init__(self, engine: Engine, connections: ConnectionHooks) -> None:
        self._engine = engine
        self._connections = connections
        self._waiting: deque[tuple[str, str | None, dict[str, Any]]] = deque()
        self._arrived: asyncio.Event
        self.dropped = 0

    def start(self, events: set[str]) -> None:
        """Begin to write these kinds of events, on the running event loop."""
        self._arrived = asyncio.Event()
        if "connections" in events:
            self._connections.listeners.append(self._connection)
        if "presence" in events:
            self._engine.presence.listeners.append(self._presence)
        if events:
            self._engine.tasks.spawn(self._write())

    def _connection(self, event: ConnectionEvent) -> None:
        fields: dict[str, Any] = {
            "type": "connected" if event.reason is None else "disconnected",
            "session": event.session,
            "user": event.user,
            "address": event.address,
            "transport": event.transport,
            "at": event.at,
        }
        if event.reason is not None:
            fields |= {"reason": event.reason, "code": event.code, "seconds": round(event.seconds or 0.0, 3)}
        self._put(CONNECTION_LOG, event.user, fields)

    def _presence(self, room: str, member: str, joined: bool) -> None:
        kind = "joined" if joined else "left"
        fields = {"type": kind, "room": room, "member": member, "at": self._engine.clock.wall_ms()}
        self._put(PRESENCE_LOG, member, fields)

    def _put(self, room: str, user: str | None, fields: dict[str, Any]) -> None:
        """Note an event. It is of its user, so that it goes when the user is erased."""
        if len(self._waiting) >= WAITING_MAX:
            if not self.dropped:
                log.error("events for webhooks are dropped: %d wait for the log already", WAITING_MAX)
            self.dropped += 1
            return
        self._waiting.append((room, user, fields))
        self._arrived.set()

    async def _write(self) -> None:
        while True:
            await self._arrived.wait()
            self._arrived.clear()
            while self._waiting:
                some = [self._waiting.popleft() for _ in range(min(100, len(self._waiting)))]
                try:
                    await asyncio.gather(
                        *[self._engine.appender.append(room, None, of, _encode(fields)) for room, of, fields in some]
                    )
                except ShuttingDown:
                    return
                except TrunklineError:
                    self._waiting.extendleft(reversed(some))  # some may be stored: at least once
                    await asyncio.sleep(AGAIN_S)
