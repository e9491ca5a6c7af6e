"""Readers and connections of the engine that take what they are given, for tests that look at some of it."""

from __future__ import annotations

from trunkline.core.batch import Batch, Notification
from trunkline.core.cursor import Cursor
from trunkline.core.grant import UNAUTHENTICATED, Grant
from trunkline.core.position import Gap
from trunkline.core.presence_options import NO_PRESENCE, PresenceOptions


class SilentReader:
    """A reader (`core/cursor.py`)."""

    full = False
    transport = "websocket"
    messages_max = 1 << 30

    def deliver(self, cursor: Cursor, batch: Batch) -> None: ...
    def gap(self, cursor: Cursor, gap: Gap) -> None: ...
    def epoch_changed(self, cursor: Cursor) -> None: ...
    def notification_skipped(self, room: str) -> None: ...
    def notify(self, notification: Notification) -> None: ...


class SilentConnection(SilentReader):
    """A connection (`engine/connections.py`) that is always heard from."""

    heard = True
    grant: Grant = UNAUTHENTICATED
    presence: PresenceOptions = NO_PRESENCE

    def ping(self) -> None: ...
    def expire(self) -> None: ...
    def abort(self) -> None: ...
    def drain(self, retry_after_ms: int) -> None: ...
    def dismiss(self, error: Exception) -> None: ...
