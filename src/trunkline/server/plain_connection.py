"""The requests of ours on one HTTP connection, one after the other, and how long it stays open between them."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, Protocol

from trunkline.core.address_limits import Admission
from trunkline.server.gate import Gate
from trunkline.server.plain_request import PlainRequest, plain


class Carrier(Protocol):
    """The HTTP connection."""

    transport: asyncio.Transport
    loop: asyncio.AbstractEventLoop

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Run a coroutine as a task of the connection."""

    async def drain(self) -> None:
        """Wait until the client has taken most of what was written."""

    async def ended(self) -> None:
        """Wait until the client has gone, or has ended its side."""

    def is_between_requests(self) -> bool:
        """Return whether the client owes us nothing of a request, nor we an answer."""

    def take_next(self) -> None:
        """Take the next request soon, if there is one."""

    def end_with(self, answer: bytes) -> None:
        """Send the end of an answer, take nothing more, and wait a moment for the client to go."""


class PlainConnection:
    """What a connection needs for requests of ours.

    Args:
        stays_s: How long it stays open after an answer.

    Attributes:
        request: The one that is not answered yet.
    """

    __slots__ = ("_answered_at", "_carrier", "_gate", "_stays_s", "_timer", "request")

    def __init__(self, carrier: Carrier, gate: Gate, stays_s: float) -> None:
        self._carrier = carrier
        self._gate = gate
        self._stays_s = stays_s
        self._answered_at = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self.request: PlainRequest | None = None

    def take(self, head: bytes, admission: Admission, headers: list[tuple[bytes, bytes]]) -> PlainRequest | None:
        """Return the request that this is the head of, for `begin`; None if it is not one of ours, or not a plain one.

        Args:
            headers: What every answer of this server has.
        """
        rooms = self._gate.rooms
        if rooms is None:
            return None
        parsed = self._gate.parse(head[:-4])
        found = None if parsed is None else plain(*parsed)
        if parsed is None or found is None:
            return None
        method, request_head = parsed
        endpoint, length = found
        key = self._gate.key_of(rooms, self._carrier.transport, request_head, admission)
        lines = self._gate.lines_of(headers)
        self.request = PlainRequest(rooms, self, method, request_head, key, endpoint, length, lines)
        return self.request

    def end_soon(self) -> None:
        """Let the answer that is owed be the last one."""
        if self.request is not None:
            self.request.keeps_alive = False

    def client_ended(self) -> None:
        """Note that the client has ended its side."""
        if self.request is not None:
            self.request.client_ended()

    def close(self) -> None:
        """Note that the connection is gone."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self.request is not None:
            self.request.client_gone()

    # What a request calls.

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        self._carrier.spawn(work)

    async def drain(self) -> None:
        await self._carrier.drain()

    async def ended(self) -> None:
        await self._carrier.ended()

    def write(self, data: bytes) -> None:
        if not self._carrier.transport.is_closing():
            self._carrier.transport.write(data)

    def answered(self, *, close: bool) -> None:
        request, self.request = self.request, None
        carrier = self._carrier
        if request is None or carrier.transport.is_closing():
            return
        if close and request.left:  # the endpoint did not want all of the body, and the client may still be sending it
            carrier.end_with(b"")
        elif close:
            carrier.transport.close()
        else:
            self.was_answered()
            if self._timer is None:
                self._timer = carrier.loop.call_later(self._stays_s, self._look)
            carrier.take_next()

    def was_answered(self) -> None:
        """Note that a request was answered just now, perhaps not by us."""
        self._answered_at = self._carrier.loop.time()

    def _look(self) -> None:
        """Close the connection, if nothing was asked for long enough: one timer for many requests."""
        self._timer = None
        carrier = self._carrier
        if carrier.transport.is_closing():
            return
        left_s = self._answered_at + self._stays_s - carrier.loop.time()
        if not carrier.is_between_requests():
            left_s = self._stays_s
        if left_s <= 0:
            carrier.transport.close()
        else:
            self._timer = carrier.loop.call_later(left_s, self._look)
