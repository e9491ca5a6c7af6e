"""A plain HTTP request of ours, answered without ASGI: the same endpoints as in `transports/app.py`, by another caller.

A request is plain if its head is whole and ordinary, its path is an endpoint's, and the size of its body is known; all
others go to uvicorn, and reach the same endpoints through ASGI: slower, never wrong.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Mapping
from http import HTTPStatus
from typing import Any, Protocol

from trunkline.errors import RequestError, TrunklineError
from trunkline.transports import refusals
from trunkline.transports.context import PIECE_BYTES, Context
from trunkline.transports.endpoints.reading import Outcome, Outcoming, StreamAnswer, outcome_of
from trunkline.transports.endpoints.table import STARTS_NOTHING, Found, find
from trunkline.transports.exchange import Answer, Pending
from trunkline.wire.origin import cors_headers
from trunkline.wire.request_head import RequestHead

log = logging.getLogger("trunkline")

_HEADS: dict[tuple[int, str], bytes] = {}  # the first lines of an answer, by its status and media type

_UNUSUAL = frozenset((b"transfer-encoding", b"expect", b"upgrade", b"content-encoding", b"te"))


class Connection(Protocol):
    """The connection that a request came on."""

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Run a coroutine as a task of the connection."""

    async def drain(self) -> None:
        """Wait until the client has taken most of what was written."""

    def write(self, data: bytes) -> None:
        """Write some of the answer."""

    def answered(self, *, close: bool) -> None:
        """Note that the answer is written.

        Args:
            close: The connection is not to be used again.
        """

    async def ended(self) -> None:
        """Wait until the client has gone, or has ended its side."""


def plain(method: str, head: RequestHead) -> tuple[Found, int] | None:
    """Return the endpoint of a request, and the size of its body; None if the request is not plain."""
    headers = head.headers
    if head.version != "1.1" or not _UNUSUAL.isdisjoint(headers):
        return None
    length = headers.get(b"content-length", b"0")
    if not length.isdigit() or len(length) > 18 or (length != b"0" and method == "GET"):
        return None
    found = find(method, head.path)
    if found is None or (method == "GET" and head.is_sse):
        return None
    return found, int(length)


class PlainRequest:
    """One request (`transports.exchange.Exchange`), and how it is answered.

    Args:
        length: Of its body, in bytes.
        headers: Header lines that every answer of this server has.
    """

    is_counted = True
    scope: Mapping[str, Any] | None = None

    def __init__(
        self,
        context: Context,
        connection: Connection,
        method: str,
        head: RequestHead,
        key: str | None,
        found: Found,
        length: int,
        headers: bytes,
    ) -> None:
        self._context = context
        self._connection = connection
        self._found = found
        self._left = length
        self._body: list[bytes] = []
        self._whole: asyncio.Future[None] | None = None
        self._headers = headers
        self._pending: Pending | None = None
        self._client_has_ended = False
        self.keeps_alive = b"connection" not in head.headers or b"close" not in head.tokens(b"connection")
        self.method = method
        self.head = head
        self.key = key
        self.path_parameters: Mapping[str, str] = found.parameters

    # The body.

    def feed(self, piece: bytes) -> None:
        """Take more of the body."""
        self._left -= len(piece)
        self._body.append(piece)
        if not self._left and self._whole is not None and not self._whole.done():
            self._whole.set_result(None)

    @property
    def left(self) -> int:
        """How many bytes of the body are still to come."""
        return self._left

    def body_now(self, bytes_max: int) -> bytes | None:
        if self._left + sum(map(len, self._body)) > bytes_max:
            raise RequestError("too_large", f"the body is larger than {bytes_max} bytes")
        if self._left:
            return None
        return self._body[0] if len(self._body) == 1 else b"".join(self._body)

    async def body(self, bytes_max: int) -> bytes:
        while (body := self.body_now(bytes_max)) is None:
            self._whole = asyncio.get_running_loop().create_future()
            await self._whole
        return body

    async def ended(self) -> None:
        await self._connection.ended()

    # The answer.

    def begin(self) -> None:
        """Carry the request out, and write the answer: before this returns, if nothing must be waited for."""
        context = self._context
        try:
            if self.key is not None:
                context.access.check_request_rate(self.key)
            if context.engine.is_running or self._found.path in STARTS_NOTHING:
                outcome = self._found.endpoint(context, self)
            else:
                outcome = self._start_hub()
        except Exception as error:  # noqa: BLE001 - it is told to the client, and logged if it is none of ours
            self._settle(error)
        else:
            self._go_on(outcome)

    async def _start_hub(self) -> Outcome:
        await self._context.ensure_started()
        return await outcome_of(self._found.endpoint(self._context, self))

    def _go_on(self, outcome: Outcoming) -> None:
        if type(outcome) is Answer:
            self._settle(outcome)
        elif isinstance(outcome, Coroutine):
            self._connection.spawn(self._wait(outcome))
        else:
            assert not isinstance(outcome, Answer | StreamAnswer)
            self._pending = outcome
            outcome.begin(self._settle)
            if self._client_has_ended:
                outcome.hurry()

    async def _wait(self, work: Coroutine[Any, Any, Outcome]) -> None:
        try:
            outcome = await work
        except asyncio.CancelledError:
            if not self._context.engine.is_draining and not (self._whole is not None and self._whole.cancelled()):
                raise
            self._connection.answered(close=True)
        except Exception as error:  # noqa: BLE001 - as above
            self._settle(error)
        else:
            self._go_on(outcome)

    def client_ended(self) -> None:
        """Note that the client has ended its side: it waits for nothing."""
        self._client_has_ended = True
        if self._pending is not None:
            self._pending.hurry()

    def client_gone(self) -> None:
        """Note that the client's connection is gone, and with it whoever would read the answer."""
        if self._whole is not None:
            self._whole.cancel()
        if self._pending is not None:
            self._pending.leave()

    def _settle(self, outcome: Answer | Exception) -> None:
        close = not self.keeps_alive
        if isinstance(outcome, TrunklineError):
            outcome = refusals.as_answer(self._context.access, outcome, who=self.key or "")
        elif isinstance(outcome, Exception):
            log.error("a request failed: %s %s", self.method, self._found.path, exc_info=outcome)
            outcome = Answer(b"Internal Server Error", 500, (), "text/plain; charset=utf-8")
            close = True
        head = self._head_of(outcome, close=close)
        if len(outcome.body) > PIECE_BYTES:
            self._connection.spawn(self._write_pieces(head, outcome.body, close=close))
        else:
            self._connection.write(head + outcome.body)
            self._connection.answered(close=close)

    def _head_of(self, answer: Answer, *, close: bool) -> bytes:
        origins = self._context.access.origins
        first = _HEADS.get((answer.status, answer.media_type)) or _first_lines(answer.status, answer.media_type)
        more = b"connection: close\r\n" if close else b""
        is_cacheable = not answer.media_type
        if answer.headers or origins.allowed:
            for name, value in (*answer.headers, *cors_headers(origins, self.head)):
                more += b"%b: %b\r\n" % (name.lower().encode("latin-1"), value.encode("latin-1"))
                is_cacheable |= name == "Cache-Control"
        if not answer.media_type:
            return b"%b%b%b\r\n" % (first, self._headers, more)
        if not is_cacheable:
            more += b"cache-control: no-store\r\n"
        return b"%b%b%bcontent-length: %d\r\n\r\n" % (first, self._headers, more, len(answer.body))

    async def _write_pieces(self, head: bytes, body: bytes, *, close: bool) -> None:
        """Write a large answer as its client takes it. What is not sent yet makes the answers to others smaller."""
        view, unsent = memoryview(body), len(body)
        self._context.unsent_bytes += unsent
        try:
            self._connection.write(head)
            for at in range(0, len(view), PIECE_BYTES):
                piece = bytes(view[at : at + PIECE_BYTES])
                await self._connection.drain()
                self._connection.write(piece)
                unsent -= len(piece)
                self._context.unsent_bytes -= len(piece)
        finally:
            self._context.unsent_bytes -= unsent
        self._connection.answered(close=close)


def _first_lines(status: int, media_type: str) -> bytes:
    """Return the first lines of an answer, which are kept: there are few."""
    lines = f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\nx-content-type-options: nosniff\r\n"
    if media_type:
        lines += f"content-type: {media_type}\r\n"
    _HEADS[status, media_type] = lines.encode()
    return lines.encode()
