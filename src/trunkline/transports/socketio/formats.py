"""Batches of messages as packets of Socket.IO: encoded once for all sockets of a namespace."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property, lru_cache

from trunkline.core.batch import Batch
from trunkline.core.message import Message
from trunkline.transports.socketio.entry import Event, from_message
from trunkline.transports.socketio.session import Out
from trunkline.transports.socketio.websocket import frames_of
from trunkline.wire import engineio
from trunkline.wire import socketio as wire

FORMATS_MAX = 1000


class Encoded:
    """A batch, for the sockets of one namespace.

    Attributes:
        messages: Its messages with their events; None of one that is no event.
        is_for_all: Whether every socket is given every one of them.
    """

    def __init__(self, namespace: str, batch: Batch, event_of: Callable[[Message], Event | None]) -> None:
        self._namespace = namespace
        self.messages = [(message, event_of(message)) for message in batch.messages]
        self.is_for_all = not any(event is not None and (event.skip or event.one) for _, event in self.messages)

    @cached_property
    def packets(self) -> list[Out]:
        """All of them, as WebSocket messages."""
        found: list[Out] = []
        for _, event in self.messages:
            if event is not None:
                found += packets_of(self._namespace, event)
        return found

    @cached_property
    def frames(self) -> bytes:
        """All of them, as WebSocket frames."""
        return frames_of(self.packets)

    def packets_for(self, is_given: Callable[[Event], bool]) -> list[Out]:
        """Return those that one socket is given."""
        found: list[Out] = []
        for _, event in self.messages:
            if event is not None and is_given(event):
                found += packets_of(self._namespace, event)
        return found


def packets_of(namespace: str, event: Event, last: bytes = b"", number: int | None = None) -> list[Out]:
    """Return an event as WebSocket messages.

    Args:
        last: One more argument, as JSON.
        number: What the client's acknowledgement is to name.
    """
    json = event.json if not last else b"%b,%b]" % (event.json[:-1], last)
    head = wire.head(wire.Type.EVENT, namespace, number, len(event.attachments))
    return [f"{engineio.MESSAGE}{head}{json.decode()}", *event.attachments]


@lru_cache(FORMATS_MAX)
def format_of(namespace: str, event_of: Callable[[Message], Event | None] = from_message) -> Callable[[Batch], Encoded]:
    """Return what encodes batches for a namespace: the same one each time, so that it is done once.

    Args:
        event_of: Returns the event that a message is.
    """

    def encode(batch: Batch) -> Encoded:
        return Encoded(namespace, batch, event_of)

    return encode
