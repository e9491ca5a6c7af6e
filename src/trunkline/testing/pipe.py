"""A connection within the process: two asyncio transports, of which each hands on what the other is given.

No socket, no port and no thread. Bytes arrive in the loop's next turn; who does not read holds the other up, as in TCP.
"""
# ruff: noqa: SLF001 - two ends of one class

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any

CHUNK_BYTES = 64 * 1024
HIGH_BYTES = 64 * 1024  # asyncio's own


class PipeTransport(asyncio.Transport):
    """One end.

    Args:
        protocol: Who has this end.
        address: That of this end, as the other one sees it.
    """

    def __init__(self, protocol: asyncio.Protocol, address: tuple[str, int]) -> None:
        super().__init__()
        self._loop = asyncio.get_running_loop()
        self._protocol: asyncio.BaseProtocol = protocol
        self._address = address
        self._other: PipeTransport
        self._unsent: deque[bytes] = deque()
        self._unsent_bytes = 0
        self._high, self._low = HIGH_BYTES, HIGH_BYTES // 4
        self._is_reading = True
        self._is_frozen = False
        self._is_full = False
        self._is_closing = False
        self._has_ended = False  # our side: no more is written
        self._has_told_end = False  # the other side was told that
        self._is_lost = False
        self._is_flushing = False

    # asyncio.Transport.

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        addresses = {"peername": self._other._address, "sockname": self._address}
        return addresses.get(name, default)

    def is_closing(self) -> bool:
        return self._is_closing

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self._protocol = protocol

    def get_protocol(self) -> asyncio.BaseProtocol:
        return self._protocol

    def is_reading(self) -> bool:
        return self._is_reading and not self._is_closing

    def pause_reading(self) -> None:
        self._is_reading = False

    def resume_reading(self) -> None:
        self._is_reading = True
        self._other._flush_soon()

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        if high is None:
            high = HIGH_BYTES if low is None else 4 * low
        low = high // 4 if low is None else low
        if not high >= low >= 0:
            raise ValueError(f"high ({high!r}) must be >= low ({low!r}) must be >= 0")
        self._high, self._low = high, low

    def get_write_buffer_limits(self) -> tuple[int, int]:
        return self._low, self._high

    def get_write_buffer_size(self) -> int:
        return self._unsent_bytes

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if not isinstance(data, bytes | bytearray | memoryview):
            raise TypeError(f"data is bytes, not {type(data).__name__}")
        if self._has_ended and not self._is_closing:
            raise RuntimeError("Cannot call write() after write_eof()")
        if self._is_closing or not data:
            return
        data = bytes(data)
        self._unsent.extend(data[at : at + CHUNK_BYTES] for at in range(0, len(data), CHUNK_BYTES))
        self._unsent_bytes += len(data)
        self._flush_soon()
        if self._unsent_bytes > self._high and not self._is_full:
            self._is_full = True
            self._tell(self._protocol.pause_writing)

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self._has_ended = True
        self._flush_soon()

    def close(self) -> None:
        if not self._is_closing:
            self._is_closing = self._has_ended = True
            self._flush_soon()

    def abort(self) -> None:
        """End the connection at once: what is on its way is lost."""
        self._lose(None)
        self._other._lose(ConnectionResetError("the connection was reset"))

    # The other end.

    def freeze(self) -> None:
        """Take nothing from the other end, whatever the protocol wants: its machine does not get on."""
        self._is_frozen = True

    def thaw(self) -> None:
        """Take again what the protocol wants."""
        self._is_frozen = False
        self._other._flush_soon()

    @property
    def _takes(self) -> bool:
        return self._is_reading and not self._is_frozen and not self._is_lost

    def _flush_soon(self) -> None:
        if not self._is_flushing:
            self._is_flushing = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._is_flushing = False
        other = self._other
        while self._unsent and other._takes:
            data = self._unsent.popleft()
            self._unsent_bytes -= len(data)
            if not other._is_closing:  # else nobody wants it
                other._receive(data)
        if self._unsent and other._is_lost:
            self._lose(ConnectionResetError("the other end is gone"))
        if self._is_full and self._unsent_bytes <= self._low and not self._is_lost:
            self._is_full = False
            self._tell(self._protocol.resume_writing)
        if self._has_ended and not self._unsent:
            if other._takes and not self._has_told_end:
                self._has_told_end = True
                other._receive_end()
            if self._is_closing:
                self._lose(None)

    def _receive(self, data: bytes) -> None:
        assert isinstance(self._protocol, asyncio.Protocol)
        try:
            self._protocol.data_received(data)
        except Exception as error:  # noqa: BLE001 - as asyncio's transports do
            self._fail("data_received", error)

    def _receive_end(self) -> None:
        assert isinstance(self._protocol, asyncio.Protocol)
        if self._is_closing:
            return
        try:
            stays = self._protocol.eof_received()
        except Exception as error:  # noqa: BLE001 - likewise
            self._fail("eof_received", error)
        else:
            if not stays:
                self.close()

    def _tell(self, call: Callable[[], object]) -> None:
        try:
            call()
        except Exception as error:  # noqa: BLE001 - likewise
            context = {"message": f"{call.__name__} failed", "exception": error, "protocol": self._protocol}
            self._loop.call_exception_handler(context)

    def _fail(self, what: str, error: Exception) -> None:
        context = {"message": f"{what} failed", "exception": error, "protocol": self._protocol}
        self._loop.call_exception_handler(context)
        self._lose(error)
        self._other._lose(ConnectionResetError("the connection was reset"))

    def _lose(self, error: Exception | None) -> None:
        if not self._is_lost:
            self._is_lost = self._is_closing = self._has_ended = True
            self._unsent.clear()
            self._unsent_bytes = 0
            self._loop.call_soon(self._protocol.connection_lost, error)
            self._other._flush_soon()  # what it has for us is not wanted any more


def connect(client: asyncio.Protocol, server: asyncio.Protocol, port: int) -> tuple[PipeTransport, PipeTransport]:
    """Connect two protocols; return the transports of the client and of the server.

    Args:
        port: That of the client's address.
    """
    here, there = PipeTransport(client, ("127.0.0.1", port)), PipeTransport(server, ("127.0.0.1", 80))
    here._other, there._other = there, here
    server.connection_made(there)
    client.connection_made(here)
    return here, there
