"""uvicorn's HTTP, given its input in bites: with `uvicorn_http2.py` and `uvicorn_websocket.py` the files that know
uvicorn's insides.

Theory of operation
===================

uvicorn's protocol class parses all that one read brought, up to 256 KiB: ten thousand pipelined requests become ten
thousand tasks' worth of objects before one of them is answered. So it is not given a read, but what it can use:

    between requests   a whole head, and only when the request before is answered; a head that is not whole waits here,
                       and is tried by a parser that is thrown away, so that what is no HTTP is answered at once
    in a body          a bite, unless uvicorn has had enough of it for now

What is not taken yet stops the reading, so a connection holds at most one read, and the answer that it waits for. A
head that asks for a stream is given to the gate first. An upgrade to anything but a WebSocket is taken out of its head:
a server may ignore it (RFC 9110 section 7.8), and uvicorn's parser would drop the body with it.

A client that ends its side of the connection behind a request has sent all that it wants to send; it is answered (a
poll that waits, at once), and then the connection is closed.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable, Coroutine
from typing import Any

import httptools
from uvicorn._types import ASGI3Application
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from trunkline.core.address_limits import Admission
from trunkline.errors import RequestError
from trunkline.server.gate import Expiring, Gate
from trunkline.server.plain_connection import PlainConnection
from trunkline.server.socket_handover import LeftTransport, SocketHandover
from trunkline.transports import refusals
from trunkline.transports.asgi import END_OF_INPUT
from trunkline.transports.handover import HANDOVER
from trunkline.transports.stream import LINGER_S
from trunkline.wire import sse

BITE_BYTES = 16 * 1024
CHUNKED_BITE_BYTES = 1024  # of a body whose end is not known: what stands behind it in a bite is a request too early
FIELDS_MAX = 100  # of a WebSocket handshake that is passed on: uvicorn's class gives up at 128 without an answer

_UPGRADE = re.compile(rb"\r\nupgrade:([^\r\n]*)", re.IGNORECASE)
_CONNECTION = re.compile(rb"\r\nconnection:([^\r\n]*)", re.IGNORECASE)
_BODY = re.compile(rb"\r\n(?:transfer-encoding:|content-length:[ \t]*0*[1-9])", re.IGNORECASE)


class _Flow(FlowControl):
    """Whether the socket is read: not while uvicorn has had enough, and not while there is input that was not taken."""

    def __init__(self, transport: asyncio.Transport, more: Callable[[], None]) -> None:
        super().__init__(transport)
        self.full = False  # uvicorn has had enough for now
        self.held = False
        self._more = more

    def pause_reading(self) -> None:
        self.full = True
        super().pause_reading()

    def resume_reading(self) -> None:
        if self.full:
            self.full = False
            self._more()
        if not self.held:
            super().resume_reading()

    def hold(self, held: bool) -> None:
        """Read nothing as long as this is true."""
        if held:
            super().pause_reading()
        self.held = held
        if not (held or self.full):
            super().resume_reading()


class _Ignored:
    """Takes nothing of what a parser finds: that parser is only there to find errors."""


class HttpProtocol(HttpToolsProtocol):
    """uvicorn's HTTP, which lets go of the connection when a stream is asked for on it.

    Args:
        admission: How the connection is counted.
        arguments: What uvicorn wants its own protocol to be made with.
    """

    flow: _Flow

    def __init__(self, gate: Gate, admission: Admission, **arguments: Any) -> None:
        super().__init__(**arguments)
        self._gate = gate
        self._admission = admission
        self._has_left = False  # another protocol has the connection
        self._input = b""
        self._at = 0  # up to here it was taken
        self._tried: httptools.HttpRequestParser | None = None  # of a head that is not whole yet
        self._tried_bytes = 0
        self._between_requests = True
        self._in_head = False  # of the parser
        self._body_left = 0  # bytes; -1 if it is chunked
        self._bytes_since_body = 0
        self._too_early = False  # the parser has met the next request in a bite of this one's body
        self._scheduled = False
        self._ended = False  # the last answer was sent, and what comes is discarded
        self._generation: set[Expiring] | None = None
        self._end_of_input = asyncio.Event()
        self._stalled_at = 0.0
        self._unsent = 0
        self._plain = PlainConnection(self, gate, self.timeout_keep_alive)
        self._handover: SocketHandover | None = None  # of the last request that ASGI was given
        self._has_plain_body = False  # what comes is the body of a request of ours

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.flow = _Flow(transport, self._schedule)

    # Input.

    def data_received(self, data: bytes) -> None:
        if self._ended:
            return
        self._input = self._input[self._at :] + data if self._at < len(self._input) else data
        self._at = 0
        if not self._scheduled:
            self._take_input()

    def _schedule(self) -> None:
        if not self._scheduled and self._at < len(self._input):
            self._scheduled = True
            self.loop.call_soon(self._take_scheduled)

    def _take_scheduled(self) -> None:
        self._scheduled = False
        self._take_input()

    def _take_input(self) -> None:
        """Take a bite, or what can be taken now."""
        begin = self._at
        while self._at < len(self._input) and not self._is_over():
            before = self._at
            if not self._between_requests:
                self._take_body()
            elif self._owes_answer():
                break
            elif self._take_head():
                self._schedule()  # one request of ours, and then others have their turn
                break
            if self._at == before:
                break
            if self._at - begin >= BITE_BYTES:
                self._schedule()
                break
        if self._is_over():
            return
        # A little may wait here unread: on a socket that is not read from, the end of the client is not noticed either.
        waits = len(self._input) - self._at > BITE_BYTES and not self._is_head_to_come()
        if waits or self.flow.held:
            self.flow.hold(waits)

    def _is_over(self) -> bool:
        return self._ended or self.parser is None or self._has_left or self.transport.is_closing()

    def _owes_answer(self) -> bool:
        return self._plain.request is not None or (self.cycle is not None and not self.cycle.response_complete)

    def is_between_requests(self) -> bool:
        return self._between_requests and not self._owes_answer() and self._tried is None

    def _is_head_to_come(self) -> bool:
        return self._between_requests and self._tried is not None and not self._owes_answer()

    def _take_head(self) -> bool:
        """Take a head, or what there is of it; return whether it is a request of ours that has been begun."""
        data, at = self._input, self._at
        if data[at : at + 1] in (b"\r", b"\n"):  # RFC 9112 section 2.2: empty lines, which keep nothing alive
            at = self._at = len(data) - len(data[at:].lstrip(b"\r\n"))
            if at == len(data):
                return False
        self._unset_keepalive_if_required()
        end = data.find(b"\r\n\r\n", at)
        size = (end + 4 if end >= 0 else len(data)) - at
        if self._tried is not None and end >= 0:
            self._tried, self._tried_bytes = None, 0
        if size > self._gate.front.limits.head_bytes_max:
            self._end(b"431 Request Header Fields Too Large")
        elif end < 0:
            self._owe_request()
            self._try(data[at + self._tried_bytes :])
        else:
            self._at = end + 4
            return self._take_whole_head(data[at : end + 4])
        return False

    def _owe_request(self) -> None:
        """Note that the client owes us the rest of a request."""
        if self._generation is None:
            self._generation = self._gate.admit(self)

    def _try(self, piece: bytes) -> None:
        """Find out whether this can be the beginning of a head."""
        if self._tried is None:
            self._tried = httptools.HttpRequestParser(_Ignored())
        self._tried_bytes += len(piece)
        try:
            self._tried.feed_data(piece)
        except httptools.HttpParserUpgrade:
            pass
        except httptools.HttpParserError:
            self.send_400_response("Invalid HTTP request received.")

    def _take_whole_head(self, head: bytes) -> bool:
        if self.flow.held:
            self.flow.hold(False)  # a stream that takes the connection over reads from it
        taken = self._gate.take(self.transport, head, self._admission)
        if taken is not None:
            self.leave()
            rest, self._input = self._input[self._at :], b""
            if rest and isinstance(taken, asyncio.Protocol):
                taken.data_received(rest)
            return False
        if self._take_plain(head):
            return True
        self._owe_request()
        upgrades = _tokens(_UPGRADE, head)
        if b"websocket" in upgrades and b"upgrade" in _tokens(_CONNECTION, head):
            self._pass_on_websocket(head)
            return False
        self._body_left = 0
        self._feed(_UPGRADE.sub(b"", head) if upgrades else head)
        if self._gate.has_application:
            self._forget()
        if not self._between_requests and not self._is_over():
            self._begin_body()
        return False

    # Requests of ours.

    def _take_plain(self, head: bytes) -> bool:
        """Begin to answer a request without ASGI; return False if it is not one of ours, or not a plain one."""
        request = self._plain.take(head, self._admission, self.server_state.default_headers)
        if request is None:
            return False
        left = request.left
        here = self._input[self._at : self._at + left] if left else b""
        if left and len(here) == left <= BITE_BYTES:
            self._at += left
            request.feed(here)
            left = 0
        if left:
            self._owe_request()
            self._between_requests, self._has_plain_body, self._body_left = False, True, left
        else:
            self._forget()
        request.begin()
        return True

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = self.loop.create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def drain(self) -> None:
        await self.flow.drain()

    async def ended(self) -> None:
        await self._end_of_input.wait()

    def take_next(self) -> None:
        self._schedule()

    def end_with(self, answer: bytes) -> None:
        self._between_requests = True
        self._end_with(answer)

    def shutdown(self) -> None:
        if self._plain.request is not None:
            self._plain.end_soon()
        else:
            super().shutdown()

    def _begin_body(self) -> None:
        headers = dict(self.headers)
        length = headers.get(b"content-length", b"")
        self._body_left = int(length) if length.isdigit() and b"transfer-encoding" not in headers else -1

    def _take_body(self) -> None:
        if self.flow.full:
            return
        bite = CHUNKED_BITE_BYTES if self._body_left < 0 else min(BITE_BYTES, self._body_left)
        piece = self._input[self._at : self._at + bite]
        self._at += len(piece)
        if self._body_left > 0:
            self._body_left -= len(piece)
        if self._has_plain_body:
            if not self._body_left:
                self._between_requests, self._has_plain_body = True, False
                self._forget()
            if self._plain.request is not None:  # else it is answered, and the rest of its body is thrown away
                self._plain.request.feed(piece)
            return
        self._bytes_since_body += len(piece)
        self._feed(piece)
        if self._body_left < 0 and self._bytes_since_body > self._gate.front.limits.head_bytes_max:
            # Neither a chunk's head nor a trailer is so long; the parser would gather either until it ends.
            self.transport.abort()

    def _feed(self, data: bytes) -> None:
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade:  # CONNECT
            self._end(b"400 Bad Request")
        except httptools.HttpParserError:
            self.send_400_response("Invalid HTTP request received.")

    def eof_received(self) -> bool:  # type: ignore[override]
        self._end_of_input.set()
        self._plain.client_ended()
        if self._handover is not None:
            self._handover.decline()
        if (
            self._ended
            or not self._owes_answer()
            or not self._between_requests
            or self.transport.get_extra_info("ssl_object")
        ):
            return False
        if self._plain.request is not None:
            self._plain.end_soon()
        else:
            self.cycle.keep_alive = False
        return True

    # WebSockets of other paths.

    def _pass_on_websocket(self, head: bytes) -> None:
        why = None
        if not head.startswith(b"GET ") or not head.partition(b"\r\n")[0].endswith(b" HTTP/1.1"):
            why = "a WebSocket begins with a GET of HTTP/1.1"
        elif _BODY.search(head):
            why = "a WebSocket's handshake has no body"
        elif head.count(b"\r\n") > FIELDS_MAX:
            why = f"a WebSocket's handshake has at most {FIELDS_MAX} header fields"
        if why is not None:
            self._end_with(refusals.as_response(self._gate.front.access, RequestError("bad_command", why)))
            return
        rest, self._input = self._input[self._at :], b""
        self.leave()
        websocket_class: Any = self.ws_protocol_class
        protocol = websocket_class(config=self.config, server_state=self.server_state, app_state=self.app_state)
        protocol.admission = self._admission
        self.transport.set_protocol(protocol)
        protocol.connection_made(self.transport)
        protocol.data_received(head)
        if rest:
            protocol.data_received(rest)

    # Ending.

    def leave(self) -> None:
        """Leave the connection to another protocol."""
        self.connections.discard(self)
        self._gate.stalled.discard(self)
        self._forget()
        self._plain.close()
        self._has_left = True

    def expire(self) -> None:
        """Cut the connection, because a request did not come whole in time."""
        self.transport.abort()

    def _forget(self) -> None:
        if self._generation is not None:
            self._generation.discard(self)
            self._generation = None

    def _end(self, status: bytes) -> None:
        self._end_with(b"HTTP/1.1 %b\r\nContent-Length: 0\r\nConnection: close\r\n\r\n" % status)

    def _end_with(self, answer: bytes) -> None:
        """Send an answer, take nothing more, and wait a moment for the client to go.

        If we just closed, the kernel would answer what the client is still sending with a reset, and a reset can
        overtake the answer.
        """
        self._forget()
        self._unset_keepalive_if_required()
        self._ended = True
        self._input = b""
        self.transport.write(answer)
        if self.transport.can_write_eof():
            self.transport.write_eof()
            self.flow.hold(False)
            self.loop.call_later(LINGER_S, self.transport.abort)
        else:
            self.transport.close()

    def send_400_response(self, msg: str) -> None:
        if self._plain.request is not None:  # what comes behind a request of ours is no HTTP: it is still answered
            self._plain.end_soon()
            self._input = b""
            return
        if self._owes_answer():
            if self.cycle.response_started:  # an answer that is under way must not be mixed with this one
                self._forget()
                self.transport.close()
                return
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        self._end(b"400 Bad Request")

    def connection_lost(self, exc: Exception | None) -> None:
        self._forget()
        self._gate.stalled.discard(self)
        self._input = b""
        self._end_of_input.set()
        self._plain.close()
        if self._handover is not None:
            self._handover.decline()  # an answer that has not begun to come out until now never will
        if not self._has_left:
            self._admission.release()
        super().connection_lost(exc)

    # Output.

    def pause_writing(self) -> None:
        super().pause_writing()
        if self._gate.has_application and self._plain.request is None:
            return
        self._stalled_at, self._unsent = time.monotonic(), self.transport.get_write_buffer_size()
        self._gate.stalled.add(self)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._gate.stalled.discard(self)

    def cut_if_stalled(self, now: float, patience_s: float) -> None:
        """End a connection whose client has taken nothing of its answer for so long."""
        unsent = self.transport.get_write_buffer_size()
        if unsent < self._unsent:
            self._stalled_at, self._unsent = now, unsent
        elif now - self._stalled_at > patience_s:
            self.transport.abort()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._plain.was_answered()
        self._schedule()

    # What the parser finds.

    def on_message_begin(self) -> None:
        if not self._between_requests or self._owes_answer():
            self._too_early = True
            if self.cycle is not None:
                self.cycle.keep_alive = False  # the client sends it again on another connection
            self._input = b""
            return
        self._between_requests = False
        self._in_head = True
        super().on_message_begin()
        self.scope["extensions"] = {END_OF_INPUT: self._end_of_input}  # type: ignore[dict-item]

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        if self._gate.hands_over:
            handover = SocketHandover(self.transport, self._admission, deflates=self._gate.deflates)
            self._handover = handover
            cycle.scope["extensions"][HANDOVER] = handover  # type: ignore[assignment]
            app = _handing_over(app, self, cycle, handover)
        super()._start_asgi_task(cycle, app)

    def may_hand_over(self) -> bool:
        """Return whether the client is still there, and listens."""
        return not (self._end_of_input.is_set() or self.transport.is_closing())

    def hand_over(self, cycle: RequestResponseCycle, handover: SocketHandover) -> None:
        """Let the stream that is being answered have the socket."""
        cycle.response_complete = True  # to uvicorn this answer has ended
        cycle.transport = LeftTransport()  # also if the application fails afterwards
        self.flow.hold(False)
        self.leave()
        handover.accept(chunked=bool(cycle.chunked_encoding))

    def on_url(self, url: bytes) -> None:
        if not self._too_early:
            super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        # What comes behind a body is no header (RFC 9110 section 6.5.1): uvicorn would add it to those that were read
        # already, one as long as the other, and a proxy's word could be overwritten by its client.
        if self._in_head:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        if not self._too_early:
            self._in_head = False
            self._bytes_since_body = 0
            super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        if not self._too_early:
            self._bytes_since_body = 0
            super().on_body(body)

    def on_message_complete(self) -> None:
        if not self._too_early:
            self._between_requests = True
            self._forget()
            super().on_message_complete()


def _handing_over(
    app: ASGI3Application, protocol: HttpProtocol, cycle: RequestResponseCycle, handover: SocketHandover
) -> ASGI3Application:
    """Return the application, watched for the beginning of a stream that wants the socket."""

    async def watched(scope: Any, receive: Any, send: Any) -> None:
        begins = is_taken = False

        async def look_and_send(message: Any) -> None:
            nonlocal begins, is_taken
            if is_taken:
                return
            if not handover.is_offered:
                await send(message)
                return
            if message["type"] == "http.response.start":
                headers = {name.lower(): value for name, value in message.get("headers", ())}
                is_plain = b"content-encoding" not in headers and b"content-length" not in headers
                begins = is_plain and headers.get(b"content-type", b"").startswith(b"text/event-stream")
                await send(message)
                if not begins:
                    handover.decline()
            elif begins and message.get("body") == sse.KEEP_ALIVE and protocol.may_hand_over():
                is_taken = True
                protocol.hand_over(cycle, handover)
            else:
                await send(message)
                handover.decline()

        try:
            await app(scope, receive, look_and_send)
        finally:
            handover.decline()

    return watched


def _tokens(field: re.Pattern[bytes], head: bytes) -> set[bytes]:
    """Return the values of a header field that is a list, lower case."""
    return {token.strip().lower() for value in field.findall(head) for token in value.split(b",")} - {b""}
