"""The port of a stream: what a transport must be able to do so that the engine can use it.

A stream that echoes what it is delivered to a list, for a test or as a beginning:

    class ListStream(Stream):
        def __init__(self, context: Context) -> None:
            super().__init__(context)
            self.sent: list[object] = []

        def deliver(self, cursor: Cursor, batch: Batch) -> None:
            self.sent += batch.messages

        def gap(self, cursor: Cursor, gap: Gap) -> None:
            self.sent.append(gap)

        def notify(self, notification: Notification) -> None:
            self.sent += notification.events

        def dismiss(self, error: TrunklineError) -> None:
            self.sent.append(error.code)
            self.closed()

        def abort(self) -> None:
            self.closed()
"""

from __future__ import annotations

from typing import Protocol

from trunkline.core.connections import Registered
from trunkline.engine.connections import Connection


class StreamPort(Connection, Registered, Protocol):
    """A streaming connection, of whichever transport.

    `full` is True while the socket takes no more; the transport sets it, and calls `Stream.writable` when the socket
    takes bytes again. `heard` is set to True by whatever arrives.
    """
