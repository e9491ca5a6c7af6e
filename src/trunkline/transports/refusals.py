"""Refusals: an error as each transport tells it. Whatever is refused is encoded here, and counted here."""

from __future__ import annotations

from collections.abc import Sequence
from http import HTTPStatus

from trunkline.access.policy import Access
from trunkline.errors import TrunklineError, error_headers
from trunkline.transports.exchange import Answer
from trunkline.wire import envelope, sse


def as_event(
    access: Access,
    error: TrunklineError,
    about: str | None = None,
    room: str | None = None,
    message_id: str | None = None,
    who: str = "",
) -> bytes:
    """Return an error as an event on a WebSocket.

    Args:
        who: The client, for the log: a user or, if none is known, an address.
        about: The command that was refused; None for what the server does by itself.
    """
    access.refused(error, who)
    return envelope.error_event(error, message_id, room, about)


def as_closed(access: Access, error: TrunklineError, who: str = "") -> bytes:
    """Return an error as the last event of an event stream."""
    access.refused(error, who)
    return sse.other_event(b"closed", envelope.problem_body(error))


def as_answer(access: Access, error: TrunklineError, status: int | None = None, who: str = "") -> Answer:
    """Return an error as the answer to a request."""
    access.refused(error, who)
    return Answer(envelope.problem(error), status or error.status, error_headers(error))


def as_response(
    access: Access,
    error: TrunklineError,
    headers: Sequence[tuple[str, str]] = (),
    more_lines: bytes = b"",
    who: str = "",
) -> bytes:
    """Return an error as a whole HTTP/1.1 response that ends its connection.

    Args:
        more_lines: Header lines, as they are sent.
    """
    access.refused(error, who)
    body = envelope.problem(error)
    lines = b"".join(f"{name}: {value}\r\n".encode("latin-1") for name, value in (*error_headers(error), *headers))
    return (
        b"HTTP/1.1 %d %b\r\nContent-Type: application/json\r\nContent-Length: %d\r\nCache-Control: no-store\r\n"
        b"X-Content-Type-Options: nosniff\r\n%bConnection: close\r\n\r\n%b"
        % (error.status, HTTPStatus(error.status).phrase.encode(), len(body), lines + more_lines, body)
    )
