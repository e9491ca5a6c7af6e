"""A durable consumer outside: its messages go out on an event stream, and its acknowledgements come by requests."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import Protocol

import msgspec

from trunkline.consumers.message import ConsumedMessage
from trunkline.consumers.settings import Settings
from trunkline.core.cluster_messages import AckConsumed
from trunkline.core.grant import Grant
from trunkline.core.message import Message
from trunkline.core.position import Gap
from trunkline.errors import Fenced, TrunklineError
from trunkline.transports.acknowledgements import AWAY, COUNTED, FENCED, NOT_HERE
from trunkline.transports.context import Context
from trunkline.wire import sse
from trunkline.wire.envelope import gap_body, message_body
from trunkline.wire.query import ConsumeQuery

SETTLED_MAX = 10_000  # acknowledgements that are recognised when they come again
FULL_S = 0.05

_encode = msgspec.json.Encoder().encode


class Port(Protocol):
    """The event stream."""

    session: str
    grant: Grant
    full: bool

    def send(self, data: bytes) -> None:
        """Send events."""

    def dismiss(self, error: TrunklineError) -> None:
        """End the stream, and say why."""

    def is_closing(self) -> bool:
        """Return whether it has ended."""


class Consumption:
    """What one stream consumes.

    Attributes:
        query: What it has asked for.
    """

    def __init__(self, context: Context, stream: Port, query: ConsumeQuery) -> None:
        self._context = context
        self._stream = stream
        self.query = query
        self._given: dict[str, ConsumedMessage] = {}  # by room: what waits for its acknowledgement
        self._settled: dict[str, tuple[str, int]] = {}  # by room: the last one, and its fencing number
        self._task: asyncio.Task[None] | None = None

    def begin(self) -> None:
        """Say which session this is, and begin to give messages out."""
        told = {"session": self._stream.session, "consumer": self.query.name, "rooms": list(self.query.rooms)}
        self._stream.send(sse.other_event(b"consuming", _encode(told)))
        self._context.acknowledgements.streams[self._stream.session] = self
        self._task = self._context.engine.tasks.spawn(self._run())

    def end(self) -> None:
        """Give nothing out any more. What was not acknowledged goes to others. Harmless if it was done."""
        self._context.acknowledgements.streams.pop(self._stream.session, None)
        task, self._task = self._task, None
        if task is not None:
            task.cancel()

    async def _run(self) -> None:
        query = self.query
        settings = Settings(query.in_flight, query.ack_wait_s, query.tries_max, self._gap, self._redacted)
        try:
            consumers = self._context.consumers
            async with aclosing(consumers.consume(query.name, query.rooms, query.since, settings)) as messages:
                async for message in messages:
                    self._given.pop(message.room, None)
                    self._given[message.room] = message
                    if len(self._given) > 2 * query.in_flight:  # those that failed, and may be acknowledged late
                        del self._given[next(iter(self._given))]
                    if self._settled.get(message.room) == (message.position, message.fence):
                        del self._settled[message.room]  # it failed, and comes again
                    more = f',"position":"{message.position}","fence":{message.fence},"tries":{message.tries}}}'
                    self._stream.send(b"data: " + message_body(message.message)[:-1] + more.encode() + b"\n\n")
                    while self._stream.full:  # noqa: ASYNC110 - a stream tells its readers of rooms alone
                        await asyncio.sleep(FULL_S)
        except TrunklineError as error:
            if not self._stream.is_closing():
                self._stream.dismiss(error)

    def _gap(self, gap: Gap) -> None:
        self._stream.send(sse.other_event(b"gap", gap_body(gap)))

    def _redacted(self, entry: Message) -> None:
        self._stream.send(sse.other_event(b"redacted", message_body(entry)))

    async def settle(self, ack: AckConsumed) -> int:
        """Take what a client says of a message; return what has become of that."""
        if self._stream.grant.user != ack.user or self.query.name != ack.consumer:
            return NOT_HERE
        if self._settled.get(ack.room) == (ack.position, ack.fence):
            return COUNTED
        message = self._given.get(ack.room)
        if message is None or (message.position, message.fence) != (ack.position, ack.fence):
            return FENCED
        try:
            if ack.failed is None:
                await message.ack()
            else:
                await message.fail(ack.failed)
        except Fenced:
            return FENCED
        except TrunklineError:
            return AWAY
        if self._given.get(ack.room) is message:
            del self._given[ack.room]
        self._settled.pop(ack.room, None)
        self._settled[ack.room] = (ack.position, ack.fence)
        if len(self._settled) > SETTLED_MAX:
            del self._settled[next(iter(self._settled))]
        return COUNTED
