"""Handing a stream over: from ASGI to the socket that it came on, where a server of ours carries the application.

The request goes through the application's stack once, as always. The endpoint at its end offers to take the socket
over, and then answers: when the beginning of that answer comes out of the stack as it was sent, but for headers, the
server gives the socket to the stream, and ASGI has seen the last of it. If it comes out otherwise (compressed, say, or
refused) the stream goes on through ASGI.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from trunkline.core.address_limits import Admission, Counted
from trunkline.transports.context import Context

HANDOVER = "trunkline.handover"
"""An extension of our server's scopes."""

Take = Callable[[bool], asyncio.BaseProtocol]
"""Takes the socket over, and returns its protocol; it is told whether the answer is in chunks (RFC 9112, 7.1)."""


class Handover(Protocol):
    """What the server offers.

    Attributes:
        transport: The socket's.
        admission: How its connection is counted by the server; to be released at its end, if it was taken.
        deflates: Whether WebSocket messages may be compressed.
        is_taken: Whether the stream has the socket.
    """

    transport: asyncio.Transport
    admission: Counted
    deflates: bool
    is_taken: bool

    def offer(self, take: Take) -> None:
        """Let the server call *take* when the beginning of the answer comes out."""

    async def decided(self) -> bool:
        """Return whether the socket was taken, once that is known."""


def handover_of(scope: Mapping[str, Any]) -> Handover | None:
    """Return what the server offers for a request; None from another server."""
    found: Handover | None = (scope.get("extensions") or {}).get(HANDOVER)
    return found


def admit_handed(context: Context, key: str | None, of_server: Counted) -> HandedAdmission:
    """Count a stream of an application's rooms, whose connection the server counts, too: for the rooms, if they are all
    that it serves.

    Raises:
        RequestError: `too_many_connections` or `rate_limited`.
    """
    addresses = context.access.addresses
    if isinstance(of_server, Admission) and of_server.is_counted_by(addresses):
        of_server.move(key, context.clock.monotonic())
        return HandedAdmission(of_server, of_server)
    ours = addresses.admit(key, context.clock.monotonic(), of_server.address)
    if ours.error is not None:
        ours.release()
        raise ours.error
    return HandedAdmission(ours, of_server)


class HandedAdmission:
    """A connection that a server and the rooms of an application count, both (`address_limits.Counted`); or one of them
    for both."""

    __slots__ = ("_of_server", "_ours", "address", "key")

    def __init__(self, ours: Counted, of_server: Counted) -> None:
        self._ours = ours
        self._of_server = of_server
        self.key = ours.key
        self.address = ours.address

    def release(self) -> None:
        self._ours.release()
        self._of_server.release()

    def withdraw(self) -> None:
        """Let only the server count it: the stream has not taken the socket."""
        if self._ours is not self._of_server:
            self._ours.release()
