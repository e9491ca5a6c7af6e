"""The edge: what uvicorn is given in place of its HTTP protocol, so that streams need not pass through ASGI.

first bytes ─► Edge ─► a WebSocket or event stream on one of our paths? ─► WebSocketConnection, SseConnection
                 │                      (gate.py)
                 └───► anything else ─► HttpProtocol: uvicorn's own, with the bytes replayed (uvicorn_http.py)
                                           ├─► the same question again at each further request of the connection
                                           └─► a WebSocket of another path ─► uvicorn's WebSocket class
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

from trunkline.errors import RequestError
from trunkline.transports.gate import Expiring, Gate, Refused, peer_of, refusal
from trunkline.transports.uvicorn_http import HttpProtocol, http2_class

# Under which name a connection is counted, and whether it is one too many.
Counted = tuple[str | None, RequestError | None]


class Edge(asyncio.Protocol):
    """A connection of which nothing is known yet.

    Args:
        counted: It was counted before its TLS handshake.
        arguments: What uvicorn wants its own protocol to be made with.
    """

    __slots__ = (
        "_arguments",
        "_buffer",
        "_client",
        "_counted",
        "_gate",
        "_generation",
        "_refused",
        "_transport",
    )

    def __init__(self, gate: Gate, counted: Counted | None = None, **arguments: Any) -> None:
        self._gate = gate
        self._counted = counted
        if counted is not None:
            self._client, self._refused = counted
        self._arguments = arguments  # what uvicorn wants its own protocol to be made with
        self._buffer = b""
        self._transport: asyncio.Transport
        self._generation: set[Expiring]

    @property
    def made(self) -> bool:
        """Whether there is a connection, or was one."""
        return hasattr(self, "_transport")

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]
        self._generation = self._gate.admit(self)
        door = self._gate.hub.access.door
        if self._counted is None:
            self._client = door.client(peer_of(self._transport))
            self._refused = door.arrive(self._client, time.monotonic())
        if self._refused is not None and door.overrun(self._client):
            self._transport.abort()
        tls = None if self._counted is None else transport.get_extra_info("ssl_object")
        if tls is not None and tls.selected_alpn_protocol() == "h2":
            if self._refused is not None:
                self._transport.abort()
            else:
                self._hand_on(http2_class()(self._gate, self._client, **self._arguments))

    def _hand_on(self, protocol: asyncio.Protocol) -> None:
        self._generation.discard(self)
        self._transport.set_protocol(protocol)
        protocol.connection_made(self._transport)

    def data_received(self, data: bytes) -> None:
        if not self._buffer:
            data = data.lstrip(b"\r\n")  # RFC 9112 section 2.2: empty lines before a request are nothing
            if not data:
                return
        if self._refused is not None:
            # Only now: an answer to a question that was not asked yet is one that many clients do not read.
            self._gate.hub.access.refusals[self._refused.code] += 1
            self._generation.discard(self)
            Refused(self._transport, self._gate.hub.access.door, self._client, refusal(self._refused))
            return
        if self._buffer:
            data = self._buffer + data
        # Only a head of ours is worth waiting for: the parser of uvicorn waits for its own.
        if (
            b"\r\n\r\n" not in data
            and self._gate.may_become_ours(data)
            and len(data) <= self._gate.hub.limits.head_bytes_max
        ):
            self._buffer = data
            return
        self._generation.discard(self)
        if self._gate.take(self._transport, data, self._client) is None:
            http = HttpProtocol(self._gate, self._client, **self._arguments)
            self._hand_on(http)
            http.data_received(data)

    def eof_received(self) -> None:
        self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self._generation.discard(self)
        self._gate.hub.access.door.leave(self._client)

    def expire(self) -> None:
        """The head did not come in time."""
        self._transport.abort()
