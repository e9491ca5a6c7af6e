"""An engine on a memory store, in virtual time."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from typing import Any, ParamSpec

from trunkline.core.batch import Batch, Notification
from trunkline.core.cursor import Cursor
from trunkline.core.grant import UNAUTHENTICATED, Grant
from trunkline.core.limits import Limits, Tuning
from trunkline.core.message import Draft, Receipt
from trunkline.core.position import Gap, Start
from trunkline.core.presence_options import NO_PRESENCE, PresenceOptions
from trunkline.core.retention import Retention
from trunkline.engine.engine import Engine
from trunkline.errors import StoreUnavailable
from trunkline.observe.counters import Counters
from trunkline.stores.base import Page
from trunkline.stores.memory import MemoryStore
from trunkline.testing.clock import ManualClock, run_in_virtual_time

P = ParamSpec("P")


def virtual(test: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
    """Run a test on an event loop that does not wait."""

    @functools.wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        run_in_virtual_time(test(*args, **kwargs))

    return run


class FaultyStore(MemoryStore):
    """A store that can be away, for reads or for writes, and be in another epoch."""

    def __init__(self, retention: Retention | None = None) -> None:
        super().__init__(retention or Retention())
        self.is_away = False
        self.cannot_write = False
        self.reads = 0
        self.appends: list[int] = []

    def _check(self) -> None:
        if self.is_away:
            raise StoreUnavailable("away")

    async def is_current(self) -> bool:
        self._check()
        return await super().is_current()

    async def append(self, drafts: Sequence[Draft]) -> list[Receipt | StoreUnavailable]:
        self._check()
        if self.cannot_write:
            raise StoreUnavailable("full")
        await asyncio.sleep(0)
        self.appends.append(len(drafts))
        return await super().append(drafts)

    async def check_writable(self) -> None:
        if self.cannot_write:
            raise StoreUnavailable("full")

    async def read(self, room: str, after: int, messages_max: int, bytes_max: int) -> Page:
        self._check()
        self.reads += 1
        return await super().read(room, after, messages_max, bytes_max)


@asynccontextmanager
async def running(
    store: MemoryStore | None = None, *, tuning: Tuning | None = None, limits: Limits | None = None, **settings: Any
) -> AsyncIterator[Engine]:
    """An engine that runs."""
    engine = Engine(
        store or FaultyStore(),
        limits or Limits(),
        tuning or Tuning(),
        Counters(),
        clock=settings.pop("clock", None) or ManualClock(),
        **settings,
    )
    await engine.start()
    try:
        yield engine
    finally:
        await engine.drain(1000, 1.0)
        await engine.close()


class Listener:
    """A connection that keeps what it is given."""

    transport = "websocket"
    messages_max = 1 << 30

    def __init__(self, engine: Engine, *, client_id: str | None = None) -> None:
        self.engine = engine
        self.full = False
        self.heard = True
        self.grant: Grant = UNAUTHENTICATED
        self.presence = NO_PRESENCE if client_id is None else PresenceOptions(client_id)
        self.offsets: list[int] = []
        self.gaps: list[Gap] = []
        self.notifications: list[tuple[str, bytes]] = []
        self.skipped: list[str] = []
        self.events: list[str] = []

    async def join(self, name: str, start: Start) -> Cursor:
        room = await self.engine.follower.open(name)
        cursor, gap = self.engine.delivery.join(self, room, start)
        if gap is not None:
            self.gaps.append(gap)
        self.engine.delivery.attach(cursor)
        return cursor

    def deliver(self, cursor: Cursor, batch: Batch) -> None:
        self.offsets += [message.offset for message in batch.messages]

    def gap(self, cursor: Cursor, gap: Gap) -> None:
        self.gaps.append(gap)

    def epoch_changed(self, cursor: Cursor) -> None:
        self.events.append("epoch changed")

    def notify(self, notification: Notification) -> None:
        self.notifications += notification.events

    def notification_skipped(self, room: str) -> None:
        self.skipped.append(room)

    def ping(self) -> None:
        self.events.append("ping")

    def expire(self) -> None:
        self.events.append("expire")

    def abort(self) -> None:
        self.events.append("abort")

    def drain(self, retry_after_ms: int) -> None:
        self.events.append("drain")

    def dismiss(self, error: Exception) -> None:
        self.events.append(f"dismiss {getattr(error, 'code', '')}")


async def publish(engine: Engine, room: str, *values: object) -> list[Receipt]:
    """Publish values, one after the other."""
    return [await engine.appender.append(room, None, None, str(value).encode()) for value in values]


async def settled(seconds: float = 0.2) -> None:
    """Let everything that is due within so long happen."""
    await asyncio.sleep(seconds)
