"""The edge: the protocol that uvicorn is given in place of its own, so that streams need not pass through ASGI.

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

from trunkline.core.address_limits import Admission
from trunkline.server.gate import Expiring, Gate, Refused, peer_of
from trunkline.server.uvicorn_http import HttpProtocol
from trunkline.server.uvicorn_http2 import http2_class


class Edge(asyncio.Protocol):
    """A connection of which nothing is known yet. It is counted from here, or from `accept` on, to its end, once.

    Args:
        admission: How it is counted; None if it is not yet.
        arguments: What uvicorn makes its own protocol with.
    """

    __slots__ = ("_admission", "_arguments", "_buffer", "_gate", "_generation", "_has_tls", "_transport")

    def __init__(self, gate: Gate, admission: Admission | None = None, **arguments: Any) -> None:
        self._gate = gate
        self._has_tls = admission is not None  # if at all: only the server's own accept counts before the handshake
        if admission is not None:
            self._admission = admission
        self._arguments = arguments
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
        if not self._has_tls:
            addresses = self._gate.front.access.addresses
            peer = peer_of(self._transport)
            self._admission = addresses.admit(addresses.key(peer), time.monotonic(), peer)
        if self._admission.must_drop:
            self._transport.abort()
        tls = transport.get_extra_info("ssl_object") if self._has_tls else None
        if tls is not None and tls.selected_alpn_protocol() == "h2":
            if self._admission.error is not None:
                self._transport.abort()
            else:
                self._hand_on(http2_class()(self._gate, self._admission, **self._arguments))

    def _hand_on(self, protocol: asyncio.Protocol) -> None:
        self._generation.discard(self)
        self._transport.set_protocol(protocol)
        protocol.connection_made(self._transport)

    def data_received(self, data: bytes) -> None:
        if not self._buffer:
            data = data.lstrip(b"\r\n")  # RFC 9112 section 2.2: empty lines before a request are nothing
            if not data:
                return
        if self._admission.error is not None:
            # Only now: many clients do not read an answer to a request that they have not sent yet.
            self._generation.discard(self)
            Refused(self._gate, self._transport, self._admission, self._admission.error)
            return
        if self._buffer:
            data = self._buffer + data
        # Only a head of ours is worth waiting for: the parser of uvicorn waits for its own.
        if (
            b"\r\n\r\n" not in data
            and self._gate.may_become_ours(data)
            and len(data) <= self._gate.front.limits.head_bytes_max
        ):
            self._buffer = data
            return
        self._generation.discard(self)
        if self._gate.take(self._transport, data, self._admission) is None:
            http = HttpProtocol(self._gate, self._admission, **self._arguments)
            self._hand_on(http)
            http.data_received(data)

    def eof_received(self) -> None:
        self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self._generation.discard(self)
        self._admission.release()

    def expire(self) -> None:
        """Cut the connection, because the head did not come in time."""
        self._transport.abort()
