"""A proxy with faults: what networks and other people's proxies do to a connection, when a test says so."""

from __future__ import annotations

import asyncio
import random
import re
from collections.abc import Callable
from typing import Any, Self

from trunkline.testing.fault import Fault

PIECE_BYTES = 64 * 1024
HEAD_BYTES_MAX = 64 * 1024
DELAY_MAX_S = 3600
PIECES_MAX = 64  # that wait for their time, in each direction of a connection

_UPGRADE = re.compile(rb"\r\n(upgrade|connection|sec-websocket-[a-z-]+)[ \t]*:[^\r\n]*", re.IGNORECASE)
_CONNECTION = re.compile(rb"\r\n(connection|keep-alive)[ \t]*:[^\r\n]*", re.IGNORECASE)
_EVENT_STREAM = re.compile(rb"\r\ncontent-type[ \t]*:[ \t]*text/event-stream", re.IGNORECASE)


class Proxy:
    """A proxy for HTTP/1.1 and WebSockets on 127.0.0.1. Use it as `async with Proxy(port) as proxy: …`.

    Each verb causes a fault and returns it: `with proxy.cut(): …`, or `fault.end()`.

    Args:
        target: The server's port on 127.0.0.1; it may be set anew at any time.
        port: Its own; by default a free one.

    Attributes:
        connections: How many there are now.
        broken: How many it has broken.
        requests: The first line of what each connection asked for first, the newest last: at most 1,000.
    """

    def __init__(self, target: int, port: int = 0) -> None:
        self.target = target
        self.port = port
        self.requests: list[str] = []
        self.broken = 0
        self._server: asyncio.Server
        self._serving: dict[asyncio.Task[None], asyncio.StreamWriter] = {}
        self._cuts = 0
        self._delays_s: list[float] = []
        self._forgets = 0
        self._buffers = 0
        self._hangs = 0
        self._flows = asyncio.Event()  # nothing hangs
        self._flushes = asyncio.Event()  # nothing is buffered

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def connections(self) -> int:
        return len(self._serving)

    async def start(self) -> None:
        """Listen.

        Raises:
            OSError: The port is taken.
        """
        self._flows.set()
        self._flushes.set()
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port, limit=HEAD_BYTES_MAX)
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        """Break all connections, and listen no more."""
        self._server.close()
        self.reset()
        if self._serving:
            await asyncio.wait(list(self._serving))
        await self._server.wait_closed()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    # Faults.

    def reset(self, pick: random.Random | None = None) -> None:
        """Break all connections, as a network does; new ones get through.

        Args:
            pick: Break one alone, which this picks.
        """
        for task, writer in self._some(pick):
            self.broken += 1
            writer.transport.abort()
            task.cancel()

    def half_close(self, pick: random.Random | None = None) -> None:
        """End one direction of all connections: their clients hear no more, and may still speak.

        Args:
            pick: Of one alone, which this picks.
        """
        for _, writer in self._some(pick):
            if writer.can_write_eof() and not writer.is_closing():
                writer.write_eof()

    def _some(self, pick: random.Random | None) -> list[tuple[asyncio.Task[None], asyncio.StreamWriter]]:
        serving = list(self._serving.items())
        return serving if pick is None or not serving else [pick.choice(serving)]

    def cut(self) -> Fault:
        """Break all connections, and let none through."""
        self._cuts += 1
        self.reset()
        return Fault(lambda: self._count("_cuts", -1))

    def delay(self, seconds: float) -> Fault:
        """Let everything arrive so much later, in both directions.

        Raises:
            ValueError: It is no such time.
        """
        if not 0 <= seconds <= DELAY_MAX_S:
            raise ValueError(f"a delay is 0 to {DELAY_MAX_S} seconds, not {seconds!r}")
        self._delays_s.append(seconds)
        return Fault(lambda: self._delays_s.remove(seconds))

    def hang(self) -> Fault:
        """Let nothing through on connections that stay open, as where a machine is gone without a word."""
        self._count("_hangs", 1)
        self._flows.clear()
        return Fault(lambda: self._count("_hangs", -1, self._flows.set))

    def buffer(self) -> Fault:
        """Keep what event streams bring, as proxies that wait for the end of a response. Breaks connections first."""
        self._count("_buffers", 1)
        self._flushes.clear()
        self.reset()
        return Fault(lambda: self._count("_buffers", -1, self._flushes.set))

    def forget_upgrade(self) -> Fault:
        """Drop the header `Upgrade`, as proxies do that do not know WebSockets. Breaks connections first."""
        self._count("_forgets", 1)
        self.reset()
        return Fault(lambda: self._count("_forgets", -1))

    def _count(self, name: str, by: int, when_none: Callable[[], object] | None = None) -> None:
        left = getattr(self, name) + by
        setattr(self, name, left)
        if not left and when_none is not None:
            when_none()

    # Connections.

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._cuts:
            writer.transport.abort()
            return
        task = asyncio.ensure_future(self._serve(reader, writer))
        self._serving[task] = writer
        task.add_done_callback(lambda _: self._serving.pop(task, None))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far: asyncio.StreamWriter | None = None
        try:
            far_reader, far = await asyncio.open_connection("127.0.0.1", self.target, limit=HEAD_BYTES_MAX)
            head = await reader.readuntil(b"\r\n\r\n")
            self.requests = [*self.requests[-999:], head.partition(b"\r\n")[0].decode("latin-1")]
            await asyncio.sleep(sum(self._delays_s))
            await self._flows.wait()
            far.write(self._changed(head))
            there = asyncio.ensure_future(self._pump(reader, far))
            back = asyncio.ensure_future(self._answer(far_reader, writer))
            try:
                await asyncio.wait((there, back), return_when=asyncio.FIRST_EXCEPTION)
            finally:
                there.cancel()
                back.cancel()
                await asyncio.gather(there, back, return_exceptions=True)
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass
        finally:
            for end in (writer, far):
                if end is not None:
                    end.transport.abort()

    def _changed(self, head: bytes) -> bytes:
        """Return a request's head as it is passed on."""
        upgrades = re.search(rb"\r\nupgrade[ \t]*:", head, re.IGNORECASE)
        if upgrades and self._forgets:
            head = _UPGRADE.sub(b"", head)
        elif upgrades or not (self._forgets or self._buffers):
            return head
        # One request for each connection, so that each one's head is looked at.
        return _CONNECTION.sub(b"", head)[:-2] + b"Connection: close\r\n\r\n"

    async def _answer(self, far: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        first = b""
        while b"\r\n\r\n" not in first and len(first) <= HEAD_BYTES_MAX:
            piece = await far.read(PIECE_BYTES)
            first += piece
            if not piece or not self._buffers:
                break
        if self._buffers and _EVENT_STREAM.search(first.partition(b"\r\n\r\n")[0]):
            held, flushing = bytearray(first), asyncio.ensure_future(self._flushes.wait())
            while not flushing.done():
                reading = asyncio.ensure_future(far.read(PIECE_BYTES))
                await asyncio.wait((reading, flushing), return_when=asyncio.FIRST_COMPLETED)
                if not reading.done():
                    reading.cancel()
                    await asyncio.gather(reading, return_exceptions=True)
                    break
                piece = reading.result()
                held += piece
                if not piece or len(held) > PIECES_MAX * PIECE_BYTES:
                    break
            flushing.cancel()
            first = bytes(held)
        await self._pump(far, writer, first)

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, first: bytes = b"") -> None:
        """Pass on what comes, each piece as late as it was delayed when it came, until it ends."""
        loop = asyncio.get_running_loop()
        pieces: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(PIECES_MAX)

        async def read() -> None:
            data = first or await reader.read(PIECE_BYTES)
            while data:
                await pieces.put((loop.time() + sum(self._delays_s), data))
                data = await reader.read(PIECE_BYTES)
            await pieces.put((loop.time() + sum(self._delays_s), b""))

        reading = asyncio.ensure_future(read())
        try:
            while True:
                getting = asyncio.ensure_future(pieces.get())
                await asyncio.wait((getting, reading), return_when=asyncio.FIRST_COMPLETED)
                if not getting.done():  # the reader has failed; else it puts the end there
                    getting.cancel()
                    reading.result()
                due, data = await getting
                await asyncio.sleep(max(0.0, due - loop.time()))
                await self._flows.wait()
                if not data:
                    if writer.can_write_eof():
                        writer.write_eof()
                    return
                writer.write(data)
                await writer.drain()
        finally:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)


FAULTS: dict[str, tuple[Callable[..., Fault], tuple[Callable[[str], Any], ...], str]] = {
    "cut": (Proxy.cut, (), "break all connections, and let none through"),
    "hang": (Proxy.hang, (), "let nothing through on connections that stay open"),
    "delay": (Proxy.delay, (float,), "SECONDS: let everything arrive so much later"),
    "buffer": (Proxy.buffer, (), "keep what event streams bring"),
    "forget-upgrade": (Proxy.forget_upgrade, (), "drop the header Upgrade: no WebSockets"),
}
"""The faults by the names that people type, with the types of their arguments and what they do."""
