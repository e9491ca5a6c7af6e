"""An echo: each message goes back unchanged. For conformance tests of the codec, and for nothing else.

It is the WebSocket of the rooms without rooms: the same frames and the same states. It sends nothing of its own, no
pings either: a test's client counts what arrives.
"""

from __future__ import annotations

from trunkline.transports.frames import State
from trunkline.transports.websocket import WebSocketConnection
from trunkline.wire import websocket as ws
from trunkline.wire.deflate import Agreement, deflate

SIZE_MAX = 16 * 1024 * 1024  # the largest message of the Autobahn cases


class EchoConnection(WebSocketConnection):
    """One echoing WebSocket."""

    __slots__ = ("_bits",)

    @property
    def size_max(self) -> int:
        return SIZE_MAX

    def begin_echo(self, response: bytes, agreement: Agreement | None) -> None:
        """Complete the handshake."""
        self._bits = None if agreement is None else agreement.bits
        self.opened()
        self._transport.write(response)

    def receive(self, text: bytes) -> None:
        self._send_back(ws.Opcode.TEXT, text)

    def receive_binary(self, data: bytes) -> None:
        self._send_back(ws.Opcode.BINARY, data)

    def ping(self) -> None:
        self.heard = True

    def _send_back(self, opcode: ws.Opcode, data: bytes) -> None:
        if self._state is State.OPEN:
            # Deflated even where that makes it larger: tests of compression want to see it.
            small = data if self._bits is None else deflate(data, self._bits)
            self._write_reply(ws.frame(opcode, small, deflated=self._bits is not None))
