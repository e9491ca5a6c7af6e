"""uvicorn's WebSockets, for paths that are not ours, and for those that an application serves until a stream of ours
takes the socket over: with `uvicorn_http.py` the files that know uvicorn's insides.
"""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from trunkline.core.address_limits import Admission
from trunkline.core.close_codes import CloseCode
from trunkline.errors import RequestError
from trunkline.server.gate import Gate
from trunkline.server.socket_handover import LeftTransport, SocketHandover
from trunkline.transports import refusals
from trunkline.transports.frames import Frames
from trunkline.transports.handover import HANDOVER


def counted_websocket(gate: Gate) -> type[asyncio.Protocol]:
    """Return uvicorn's WebSocket class: counted as a connection, and watched until its handshake is done."""

    class CountedWebSocket(WebSocketsSansIOProtocol):
        admission: Admission

        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            self._generation = gate.admit(self)
            self._handover: SocketHandover | None = None
            self._early = b""  # what the client has sent before its handshake was answered
            self._client_has_ended = False
            self._taken: Frames | None = None  # who has the socket now
            super().connection_made(transport)

        def data_received(self, data: bytes) -> None:
            if self._handover is None or self.handshake_complete:
                super().data_received(data)
            else:
                self._early += data
                self.transport.pause_reading()

        def handle_connect(self, event: Any) -> None:
            if gate.hands_over:
                self._handover = SocketHandover(self.transport, self.admission, deflates=gate.deflates)
            super().handle_connect(event)
            if not hasattr(self, "scope"):  # the handshake was refused
                return
            # As ASGI wants them, and as uvicorn has them that hears its WebSockets from its own parser.
            self.scope["headers"] = [(name.lower(), value) for name, value in self.scope["headers"]]
            if self._handover is not None:
                self.scope["extensions"][HANDOVER] = self._handover  # type: ignore[assignment]

        def eof_received(self) -> None:
            self._client_has_ended = True
            super().eof_received()

        async def send(self, message: Any) -> None:
            if self._taken is not None:
                self._send_by_stream(self._taken, message)
                return
            handover = self._handover
            if handover is not None and handover.is_offered and "Sec-WebSocket-Extensions" in self.response.headers:
                del self.response.headers["Sec-WebSocket-Extensions"]  # what uvicorn would compress, the stream may not
            await super().send(message)
            if handover is None or not (self.handshake_complete or self.initial_response):
                return
            self._handover = None
            is_gone = self._client_has_ended or self.transport.is_closing()
            if handover.is_offered and message["type"] == "websocket.accept" and not is_gone:
                self._hand_over(handover)
            else:
                handover.decline()
                self._take_early()

        def _hand_over(self, handover: SocketHandover) -> None:
            self.stop_keepalive()
            self._generation.discard(self)
            self.connections.discard(self)
            transport, self.transport = self.transport, LeftTransport()
            protocol = handover.accept(chunked=False)
            assert isinstance(protocol, Frames)
            self._taken = protocol
            transport.resume_reading()
            if self._early:
                protocol.data_received(self._early)

        def _send_by_stream(self, stream: Frames, message: Any) -> None:
            """Send what a middleware still has to say behind the handshake."""
            if message["type"] == "websocket.close":
                stream.end(message.get("code", CloseCode.NORMAL), message.get("reason") or "")
            elif message.get("text") is not None:
                stream.send_text(message["text"].encode())

        def _take_early(self) -> None:
            early, self._early = self._early, b""
            if early and not self.transport.is_closing():
                self.transport.resume_reading()
                super().data_received(early)

        def expire(self) -> None:
            """Cut the connection, because the application did not decide about this WebSocket in time."""
            if not self.handshake_complete:
                error = RequestError("bad_command", "the handshake was not completed in time")
                self.transport.write(refusals.as_response(gate.front.access, error))
                self.transport.close()

        def connection_lost(self, exc: Exception | None) -> None:
            self._generation.discard(self)
            self.admission.release()
            if self._handover is not None:
                self._handover.decline()
            super().connection_lost(exc)

    return CountedWebSocket
