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
from trunkline.transports.endpoints.reading import StreamAnswer
from trunkline.transports.endpoints.table import STARTS_NOTHING, Found, find
from trunkline.transports.exchange import Answer
from trunkline.transports.poll import WaitingPoll
from trunkline.wire.origin import cors_headers
from trunkline.wire.request_head import RequestHead

log = logging.getLogger("trunkline")

STATUS_LINES = {status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in HTTPStatus}

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
        self._waiting: WaitingPoll | None = None
        self._client_has_ended = False
        self.keeps_alive = b"close" not in head.tokens(b"connection")
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

    async def body(self, bytes_max: int) -> bytes:
        if self._left + sum(map(len, self._body)) > bytes_max:
            raise RequestError("too_large", f"the body is larger than {bytes_max} bytes")
        if self._left:
            self._whole = asyncio.get_running_loop().create_future()
            await self._whole
        return self._body[0] if len(self._body) == 1 else b"".join(self._body)

    def broken_off(self) -> None:
        """Note that the rest of the body will not come."""
        if self._whole is not None:
            self._whole.cancel()

    async def ended(self) -> None:
        await self._connection.ended()

    # The answer.

    async def answer(self) -> None:
        """Carry the request out, and write the answer; or let it wait. Never raises, but for being cancelled."""
        await self._write_outcome(self._carry_out())

    async def _carry_out(self) -> Answer | None:
        self._context.access.check_request_rate(self.key)
        if self._found.path not in STARTS_NOTHING:
            await self._context.ensure_started()
        answer = await self._found.endpoint(self._context, self)
        assert not isinstance(answer, StreamAnswer)
        if isinstance(answer, WaitingPoll):
            self._waiting = waiting = answer
            waiting.begin(lambda: self._connection.spawn(self._write_outcome(waiting.finish())))
            if self._client_has_ended:
                waiting.wake()
            return None
        return answer

    def client_ended(self) -> None:
        """Note that the client has gone, or has ended its side: it waits for nothing."""
        self._client_has_ended = True
        if self._waiting is not None:
            self._waiting.wake()

    async def _write_outcome(self, work: Coroutine[Any, Any, Answer | None]) -> None:
        try:
            try:
                answer = await work
            except TrunklineError as error:
                answer = refusals.as_answer(self._context.access, error)
        except asyncio.CancelledError:
            if not self._context.engine.is_draining and not (self._whole is not None and self._whole.cancelled()):
                raise
            self._connection.answered(close=True)
        except Exception:
            log.exception("a request failed: %s %s", self.method, self._found.path)
            await self._write(Answer(b"Internal Server Error", 500, (), "text/plain; charset=utf-8"), close=True)
        else:
            if answer is not None:
                await self._write(answer)

    async def _write(self, answer: Answer, *, close: bool = False) -> None:
        close = close or not self.keeps_alive
        lines = [*answer.headers, *cors_headers(self._context.access.origins, self.head)]
        head = b"%b%b%bx-content-type-options: nosniff\r\n%b" % (
            STATUS_LINES[answer.status],
            self._headers,
            b"".join(
                b"%b: %b\r\n" % (name.encode("latin-1").lower(), value.encode("latin-1")) for name, value in lines
            ),
            b"connection: close\r\n" if close else b"",
        )
        if not answer.media_type:
            self._connection.write(head + b"\r\n")
        else:
            head += b"cache-control: no-store\r\n" if not any(name == "Cache-Control" for name, _ in lines) else b""
            head += b"content-length: %d\r\ncontent-type: %b\r\n\r\n" % (len(answer.body), answer.media_type.encode())
            if len(answer.body) <= PIECE_BYTES:
                self._connection.write(head + answer.body)
            else:
                await self._write_pieces(head, answer.body)
        self._connection.answered(close=close)

    async def _write_pieces(self, head: bytes, body: bytes) -> None:
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
