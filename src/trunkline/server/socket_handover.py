"""The server's side of a handover (`transports.handover.Handover`): who has offered, and what was decided."""

from __future__ import annotations

import asyncio

from trunkline.core.address_limits import Counted
from trunkline.transports.handover import Take


class LeftTransport(asyncio.Transport):
    """The transport of a protocol that has none any more: what it still does to it is nothing."""

    def is_closing(self) -> bool:
        return True

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Write nothing."""

    def close(self) -> None:
        """Close nothing."""


class SocketHandover:
    """One request whose stream may take its socket over."""

    __slots__ = ("_decision", "_take", "admission", "deflates", "is_taken", "transport")

    def __init__(self, transport: asyncio.Transport, admission: Counted, *, deflates: bool) -> None:
        self.transport = transport
        self.admission = admission
        self.deflates = deflates
        self.is_taken = False
        self._take: Take | None = None
        self._decision: asyncio.Future[bool] | None = None

    def offer(self, take: Take) -> None:
        self._take = take
        self._decision = asyncio.get_running_loop().create_future()

    async def decided(self) -> bool:
        assert self._decision is not None, "offer first"
        return await self._decision

    @property
    def is_offered(self) -> bool:
        """Whether a stream wants the socket, and nothing was decided."""
        return self._take is not None

    def accept(self, *, chunked: bool) -> asyncio.BaseProtocol:
        """Give the socket to the stream; return its protocol."""
        take = self._take
        assert take is not None
        self._decide(taken=True)
        return take(chunked)

    def decline(self) -> None:
        """Leave the socket with ASGI. Harmless if nothing was offered, or all is decided."""
        if self._take is not None:
            self._decide(taken=False)

    def _decide(self, *, taken: bool) -> None:
        self._take, self.is_taken = None, taken
        if self._decision is not None and not self._decision.done():
            self._decision.set_result(taken)
