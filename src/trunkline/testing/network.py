"""The network between the clients of a test and the hub, within the process."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from typing import Any

import aiohttp

from trunkline.testing.fault import Fault
from trunkline.testing.pipe import PipeTransport, connect

FIRST_PORT = 50_000

Accept = Callable[[], asyncio.Protocol]


class Line:
    """One client's way to the server; its faults are those of that client alone.

    Args:
        accept: Returns the server's protocol for a new connection.
        ports: Gives each connection an address.
    """

    def __init__(self, accept: Accept, ports: itertools.count[int]) -> None:
        self._accept = accept
        self._ports = ports
        self._open: list[PipeTransport] = []
        self._cuts = 0
        self._freezes = 0

    def connect(self, client: asyncio.Protocol) -> None:
        """Connect a client.

        Raises:
            ConnectionRefusedError: The line is cut.
        """
        if self._cuts:
            raise ConnectionRefusedError("the line is cut")
        transport, _ = connect(client, self._accept(), next(self._ports))
        if self._freezes:
            transport.freeze()
        self._open = [connection for connection in self._open if not connection.is_closing()] + [transport]

    def reset(self) -> None:
        """Break all connections, as a network does; new ones get through."""
        connections, self._open = self._open, []
        for connection in connections:
            connection.abort()

    def cut(self) -> Fault:
        """Break all connections, and let none through until that is over."""
        self._cuts += 1
        self.reset()

        def mend() -> None:
            self._cuts -= 1

        return Fault(mend)

    def freeze(self) -> Fault:
        """Let the client take nothing that it is sent, until that is over."""
        self._freezes += 1
        for connection in self._open:
            connection.freeze()

        def thaw() -> None:
            self._freezes -= 1
            if not self._freezes:
                for connection in self._open:
                    connection.thaw()

        return Fault(thaw)


class Network:
    """All lines to one server.

    Args:
        accept: Returns the server's protocol for a new connection.
    """

    def __init__(self, accept: Accept) -> None:
        self._accept = accept
        self._ports = itertools.count(FIRST_PORT)
        self._lines: list[Line] = []

    def line(self, accept: Accept | None = None) -> Line:
        """Return a new line.

        Args:
            accept: What is at its other end, if not the network's server.
        """
        line = Line(accept or self._accept, self._ports)
        self._lines.append(line)
        return line

    def reset(self) -> None:
        """Break all connections."""
        for line in self._lines:
            line.reset()


class LineConnector(aiohttp.BaseConnector):
    """Connects aiohttp over a line, whatever host it is asked for."""

    def __init__(self, line: Line) -> None:
        super().__init__(limit=0)
        self._line = line

    async def _create_connection(self, req: Any, traces: Any, timeout: Any) -> Any:
        protocol = self._factory()
        try:
            self._line.connect(protocol)
        except OSError as error:
            raise aiohttp.ClientConnectorError(req.connection_key, error) from error
        return protocol
