"""The streams as ASGI: for other servers than ours, and for applications that mount `hub.app` or one of its endpoints.

What a connection is given waits in its outbox until the writer of the turn (asgi_writer.py) sends it. Under load this
coalesces by itself, and the bound is the same as on the wire: a reader whose outbox is full is given nothing more, and
catches up from where it stands.
"""

from __future__ import annotations

import asyncio
from contextvars import copy_context
from typing import Any, Protocol

from starlette.requests import Request
from starlette.types import Send
from starlette.websockets import WebSocket, WebSocketDisconnect

from trunkline.core.batch import Batch, Notification
from trunkline.core.close_codes import ABNORMAL, CloseCode, code_of
from trunkline.core.cursor import Cursor
from trunkline.engine.tasks import cancelled
from trunkline.errors import TrunklineError
from trunkline.transports import refusals
from trunkline.transports.asgi_writer import AsgiWriter
from trunkline.transports.context import Context
from trunkline.transports.duplex import Duplex
from trunkline.transports.sse import EventStream
from trunkline.wire import envelope, sse
from trunkline.wire.batches import notification_texts, sse_notification, texts
from trunkline.wire.credentials import Credentials
from trunkline.wire.query import ReadQuery

END_OF_INPUT = "trunkline.end_of_input"  # an extension of our server's scopes: set when the client sends no more
OUTBOX_BYTES_MAX = 64 * 1024  # with so much in its outbox, a reader is full


class OutboxOwner(Protocol):
    """Whose outbox it is."""

    async def send_items(self, items: list[str | bytes]) -> None:
        """Send these."""

    async def send_end(self, code: int, reason: str) -> None:
        """Send the end of the stream."""

    def sent(self) -> None:
        """Note that the outbox is empty."""


class Outbox:
    """What a connection is to send next (`asgi_writer.Due`).

    Attributes:
        closed: The code and the reason with which it ends, once it is to end.
        ended: Set when nothing more will be sent, to what was raised by sending, if anything.
    """

    __slots__ = ("_is_due", "_items", "_owner", "_size", "_turns", "closed", "ended", "variables", "writer")

    def __init__(self, writer: AsgiWriter, owner: OutboxOwner) -> None:
        self._turns = writer
        self._owner = owner
        self._items: list[str | bytes] = []
        self._size = 0
        self._is_due = False  # waits for its turn, or is being sent
        self.closed: tuple[int, str] | None = None
        self.ended: asyncio.Future[Exception | None] = asyncio.get_running_loop().create_future()
        variables = copy_context()
        self.variables = variables if len(variables) else None
        self.writer: asyncio.Task[Any] | None = None

    def put(self, *items: str | bytes) -> bool:
        """Take these; return whether it is full now."""
        self._items += items
        self._size += len(items[0]) if len(items) == 1 else sum(map(len, items))
        if not self._is_due:
            self._is_due = True
            self._turns.add(self)
        return self._size >= OUTBOX_BYTES_MAX

    def close(self, code: int, reason: str = "") -> None:
        """Take no more: nothing goes out after what is here already."""
        self.closed = self.closed or (code, reason)
        self._be_due()

    def _be_due(self) -> None:
        if not self._is_due:
            self._is_due = True
            self._turns.add(self)

    async def send_due(self) -> None:
        try:
            while self._items and not self.ended.done():
                items, self._items, self._size = self._items, [], 0
                await self._owner.send_items(items)
            if self.closed is not None and not self.ended.done():
                await self._owner.send_end(*self.closed)
                self.end()
        except Exception as error:  # noqa: BLE001 - whose connection it is decides what it means
            self.end(error)
        self._is_due = False
        if not self.ended.done():
            self._owner.sent()

    def end(self, error: Exception | None = None) -> None:
        """Send nothing more, not even what a server has not taken yet."""
        self._items.clear()
        if not self.ended.done():
            self.ended.set_result(error)
        if self.writer is not None and self.writer is not asyncio.current_task():
            self.writer.cancel()


class AsgiWebSocket(Duplex):
    """A WebSocket of an ASGI server. The server sends the pings; a peer that is gone ends `receive`.

    Args:
        send: By which messages are sent: the server's own, or the socket's.
    """

    __slots__ = ("_outbox", "_readable", "_send", "_socket")

    def __init__(self, context: Context, socket: WebSocket, send: Send, key: str | None) -> None:
        super().__init__(context, key, address_of(socket))
        self._socket = socket
        self._send = send
        self._outbox = Outbox(context.asgi_writer, self)
        self._readable = asyncio.Event()
        self._readable.set()

    async def run(self, brought: Credentials, query: ReadQuery) -> None:
        """Talk until either side ends, on a socket that was accepted."""
        self.presence = query.presence
        self.greet(brought, query.joins)
        ended = self._outbox.ended
        receiver = asyncio.ensure_future(self._receive_all())
        either: list[asyncio.Future[Any]] = [ended, receiver]
        try:
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self.closed()
            self._outbox.end()
            for error in [*await cancelled(receiver), ended.result()]:
                # A peer that went away while we were sending is no error.
                if error is not None and not isinstance(error, OSError | RuntimeError | WebSocketDisconnect):
                    raise error

    async def _receive_all(self) -> None:
        while True:
            await self._readable.wait()
            message = await self._socket.receive()
            if message["type"] == "websocket.disconnect":
                if self._outbox.closed is None:
                    self.end_code = message.get("code") or ABNORMAL
                return
            text = message.get("text")
            if text is None:
                reason = "commands are JSON in text messages, not binary"
                self._close(CloseCode.UNSUPPORTED_DATA, reason)
                await asyncio.Future()  # the end of the outbox ends it
            elif len(text) > self.context.limits.message_bytes_max + self.context.limits.envelope_bytes_max:
                self._close(CloseCode.TOO_BIG, f"message of {len(text)} characters is too large")
                await asyncio.Future()
            else:
                self.receive(text.encode())

    # What the outbox calls.

    async def send_items(self, items: list[str | bytes]) -> None:
        for item in items:
            await self._send({"type": "websocket.send", "text": item})

    async def send_end(self, code: int, reason: str) -> None:
        await self._socket.close(code, reason)

    def sent(self) -> None:
        if self.full:
            self.writable()
        if not self._readable.is_set():
            self.release()

    # What the engine and the commands call.

    def deliver(self, cursor: Cursor, batch: Batch) -> None:
        self.full = self._outbox.put(*batch.encoded(texts))

    def send(self, *events: bytes) -> None:
        self._readable.clear()  # a peer that asks and does not read is not read from either
        self.full = self._outbox.put(*[event.decode() for event in events])

    def notify(self, notification: Notification) -> None:
        self.full = self._outbox.put(*notification.encoded(notification_texts))

    def hold(self) -> None:
        self._readable.clear()

    def release(self) -> None:
        if not (self.is_held or self.full):
            self._readable.set()

    def end(self, code: int, reason: str) -> None:
        self.stop_reading()
        self._close(code, reason[:100])

    def ping(self) -> None:
        self.heard = True

    def abort(self) -> None:
        self._outbox.close(CloseCode.GOING_AWAY)

    def drain(self, retry_after_ms: int) -> None:
        self._outbox.put(envelope.closing(retry_after_ms).decode())
        self._close(CloseCode.SERVICE_RESTART, "the server restarts")

    def _close(self, code: int, reason: str) -> None:
        self.end_code = code
        self._outbox.close(code, reason)


class AsgiEventStream(EventStream):
    """An event stream of an ASGI server."""

    __slots__ = ("_outbox", "_send")

    def __init__(self, context: Context, key: str | None) -> None:
        super().__init__(context, key)
        self._outbox = Outbox(context.asgi_writer, self)
        self._send: Send

    async def respond(self, request: Request, send: Send, query: ReadQuery) -> None:
        """Stream until either side ends, behind `begin_events`. That it is permitted has been checked."""
        self._send = send
        self.address = address_of(request)
        gone = asyncio.ensure_future(disconnected(request))
        gone.add_done_callback(lambda _: self._gone())
        try:
            await self.begin_when_open(query)
            error = await self._outbox.ended
            if error is not None and not isinstance(error, OSError):
                raise error
        except OSError:
            pass  # the peer went away
        finally:
            self.closed()
            self._outbox.end()
            gone.cancel()

    def is_closing(self) -> bool:
        return self._outbox.closed is not None

    def _gone(self) -> None:
        if not self.is_closing():
            self.end_code = CloseCode.NORMAL
            self._outbox.close(CloseCode.GOING_AWAY)

    # What the outbox calls.

    async def send_items(self, items: list[str | bytes]) -> None:
        body = items[0] if len(items) == 1 else b"".join(items)  # type: ignore[arg-type]  # all of them are bytes
        await self._send({"type": "http.response.body", "body": body, "more_body": True})

    async def send_end(self, code: int, reason: str) -> None:
        await self._send({"type": "http.response.body", "body": b"", "more_body": False})

    def sent(self) -> None:
        if self.full:
            self.writable()

    # What the engine calls.

    def deliver(self, cursor: Cursor, batch: Batch) -> None:
        self.send(self.events(batch))

    def notify(self, notification: Notification) -> None:
        self.send(notification.encoded(sse_notification))

    def send(self, data: bytes) -> None:
        self.full = self._outbox.put(data)

    def abort(self) -> None:
        self._outbox.close(CloseCode.GOING_AWAY)

    def dismiss(self, error: TrunklineError) -> None:
        self.end_code = code_of(error)
        self.stop_reading()
        self._outbox.put(refusals.as_closed(self.context.access, error, self.who))
        self._outbox.close(CloseCode.GOING_AWAY)

    def drain(self, retry_after_ms: int) -> None:
        self.end_code = CloseCode.SERVICE_RESTART
        self._outbox.put(b"retry: %d\n\n" % retry_after_ms)
        self._outbox.close(CloseCode.SERVICE_RESTART)


def address_of(request: Request | WebSocket) -> str:
    """Return the address of the client; empty if the ASGI server does not know it."""
    return request.client.host if request.client else ""


async def begin_events(send: Send) -> None:
    """Send the beginning of an event stream: at once, before anything is known of the rooms."""
    headers = [(name.lower().encode(), value.encode()) for name, value in sse.HEADERS]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": sse.KEEP_ALIVE, "more_body": True})


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


async def gone_or_ended(request: Request) -> None:
    """Wait as `disconnected` does, with one task: our server says both at once."""
    ended = request.scope.get("extensions", {}).get(END_OF_INPUT)
    await (_gone(request) if ended is None else ended.wait())


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
