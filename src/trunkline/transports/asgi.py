"""The streams as ASGI: for other servers than ours, and for applications that mount `hub.app` or one of its endpoints.

ASGI's `send` is awaited, so each connection here has a task that sends. Fan-out knows nothing of it: a connection
that is given something is full until its task has sent that, and then catches up. Under load this coalesces by
itself, and the bound is the same as on the wire: one piece per reader.
"""

from __future__ import annotations

import asyncio
import contextlib

from starlette.requests import Request
from starlette.types import Send
from starlette.websockets import WebSocket, WebSocketDisconnect

from trunkline.core.batch import Batch, Notification
from trunkline.core.close_codes import CloseCode
from trunkline.core.cursor import Cursor
from trunkline.engine.tasks import cancelled
from trunkline.errors import TrunklineError
from trunkline.transports import refusals
from trunkline.transports.context import Context
from trunkline.transports.duplex import Duplex
from trunkline.transports.sse import EventStream
from trunkline.wire import envelope, sse
from trunkline.wire.batches import sse_notification
from trunkline.wire.credentials import Credentials
from trunkline.wire.query import ReadQuery

END_OF_INPUT = "trunkline.end_of_input"  # an extension of our server's scopes: set when the client sends no more


class _Outbox:
    """What a connection's task is to send next."""

    __slots__ = ("_items", "_moved", "closed")

    def __init__(self) -> None:
        self._items: list[bytes] = []
        self._moved = asyncio.Event()
        self.closed: tuple[int, str] | None = None

    def put(self, items: list[bytes]) -> None:
        self._items += items
        self._moved.set()

    def close(self, code: int, reason: str = "") -> None:
        """Take no more: nothing goes out after what is here already."""
        self.closed = self.closed or (code, reason)
        self._moved.set()

    async def take(self, wait_s: float | None = None) -> list[bytes]:
        """Return the bytes that wait, as soon as there are any; none if it is closed and empty, or the time is over."""
        if not self._items and self.closed is None:
            self._moved.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await self._moved.wait()
        items, self._items = self._items, []
        return items

    def __bool__(self) -> bool:
        return bool(self._items)


class AsgiWebSocket(Duplex):
    """A WebSocket of an ASGI server. The server sends the pings; a peer that is gone ends `receive`."""

    __slots__ = ("_outbox", "_readable", "_socket")

    def __init__(self, context: Context, socket: WebSocket, key: str | None) -> None:
        super().__init__(context, key)
        self._socket = socket
        self._outbox = _Outbox()
        self._readable = asyncio.Event()
        self._readable.set()

    async def run(self, brought: Credentials, query: ReadQuery) -> None:
        """Talk until either side ends."""
        self.presence = query.presence
        offered = self._socket.scope.get("subprotocols", [])
        await self._socket.accept(envelope.VERSION if envelope.VERSION in offered else None)
        self.greet(brought, query.joins)
        sender = asyncio.ensure_future(self._send_all())
        receiver = asyncio.ensure_future(self._receive_all())
        try:
            await asyncio.wait([sender, receiver], return_when=asyncio.FIRST_COMPLETED)
        finally:
            self.closed()
            for error in await cancelled(sender, receiver):
                # A peer that went away while we were sending is no error.
                if not isinstance(error, OSError | RuntimeError | WebSocketDisconnect):
                    raise error

    async def _receive_all(self) -> None:
        while True:
            await self._readable.wait()
            message = await self._socket.receive()
            if message["type"] == "websocket.disconnect":
                return
            text = message.get("text")
            if text is None:
                reason = "commands are JSON in text messages, not binary"
                self._outbox.close(CloseCode.UNSUPPORTED_DATA, reason)
                await asyncio.Future()  # the sender ends it
            elif len(text) > self.context.limits.message_bytes_max + self.context.limits.envelope_bytes_max:
                self._outbox.close(CloseCode.TOO_BIG, f"message of {len(text)} characters is too large")
                await asyncio.Future()
            else:
                self.receive(text.encode())

    async def _send_all(self) -> None:
        while True:
            items = await self._outbox.take()
            for item in items:
                await self._socket.send_text(item.decode())
            if self._outbox:
                continue
            if self._outbox.closed is not None:
                await self._socket.close(*self._outbox.closed)
                return
            self.writable()
            self.release()

    def deliver(self, cursor: Cursor, batch: Batch) -> None:
        self.full = True
        self._outbox.put(envelope.message_events(batch))

    def send(self, event: bytes) -> None:
        self.full = True
        self._readable.clear()  # a peer that asks and does not read is not read from either
        self._outbox.put([event])

    def notify(self, notification: Notification) -> None:
        self.full = True
        self._outbox.put(envelope.notification_events(notification))

    def hold(self) -> None:
        self._readable.clear()

    def release(self) -> None:
        if not (self.is_held or self.full):
            self._readable.set()

    def end(self, code: int, reason: str) -> None:
        self.stop_reading()
        self._outbox.close(code, reason[:100])

    def ping(self) -> None:
        self.heard = True

    def abort(self) -> None:
        self._outbox.close(CloseCode.GOING_AWAY)

    def drain(self, retry_after_ms: int) -> None:
        self._outbox.put([envelope.closing(retry_after_ms)])
        self._outbox.close(CloseCode.SERVICE_RESTART, "the server restarts")


class AsgiEventStream(EventStream):
    """An event stream of an ASGI server."""

    __slots__ = ("_outbox",)

    def __init__(self, context: Context, key: str | None) -> None:
        super().__init__(context, key)
        self._outbox = _Outbox()

    async def respond(self, request: Request, send: Send, query: ReadQuery) -> None:
        """Stream until either side ends. That it is permitted has been checked."""
        headers = [(name.lower().encode(), value.encode()) for name, value in sse.HEADERS]
        gone = asyncio.ensure_future(disconnected(request))
        gone.add_done_callback(lambda _: self._outbox.close(CloseCode.GOING_AWAY))
        try:
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            await send({"type": "http.response.body", "body": sse.KEEP_ALIVE, "more_body": True})
            await self.begin_when_open(query)
            while True:
                items = await self._outbox.take()
                if items:
                    await send({"type": "http.response.body", "body": b"".join(items), "more_body": True})
                if self._outbox:
                    continue
                if self._outbox.closed is not None:
                    break
                self.writable()
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        except OSError:
            pass  # the peer went away
        finally:
            self.closed()
            gone.cancel()

    def is_closing(self) -> bool:
        return self._outbox.closed is not None

    def deliver(self, cursor: Cursor, batch: Batch) -> None:
        self.send(self.events(batch))

    def notify(self, notification: Notification) -> None:
        self.send(notification.encoded(sse_notification))

    def send(self, data: bytes) -> None:
        self.full = True
        self._outbox.put([data])

    def abort(self) -> None:
        self._outbox.close(CloseCode.GOING_AWAY)

    def dismiss(self, error: TrunklineError) -> None:
        self.stop_reading()
        self._outbox.put([refusals.as_closed(self.context.access, error)])
        self._outbox.close(CloseCode.GOING_AWAY)

    def drain(self, retry_after_ms: int) -> None:
        self._outbox.put([b"retry: %d\n\n" % retry_after_ms])
        self._outbox.close(CloseCode.SERVICE_RESTART)


async def disconnected(request: Request) -> None:
    """Wait until the client of a request has gone, or has ended its side of the connection."""
    ended = request.scope.get("extensions", {}).get(END_OF_INPUT)
    if ended is None:
        await _gone(request)
        return
    gone, ending = asyncio.ensure_future(_gone(request)), asyncio.ensure_future(ended.wait())
    try:
        await asyncio.wait([gone, ending], return_when=asyncio.FIRST_COMPLETED)
    finally:
        await cancelled(gone, ending)


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
