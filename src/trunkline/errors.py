"""Every error that Trunkline raises or sends.

    TrunklineError
    ├── RequestError        the client erred: the answer names the code and what to do next
    │   └── Fenced          another instance of a durable consumer has taken over
    ├── StoreUnavailable    we erred: the log cannot be reached now; the same call may be tried again
    ├── ShuttingDown        we are about to stop: try again, on another worker or in a moment
    ├── Refused             the application has refused it: its handler has raised this, with a code of its own
    ├── HookFailed          the application erred: one of its hooks or handlers has raised, or took too long
    ├── WrongLoop           the application erred: it used a hub from where the hub does not run
    ├── ConfigError         the operator erred: one line, exit code 2
    └── GapError            a reader's messages are gone: carries the gap (core/position.py)

A code is part of the protocol (PROTOCOL.md lists them all); a message is for people and may change.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus


class TrunklineError(Exception):
    """The root of all errors of Trunkline.

    Attributes:
        code: As PROTOCOL.md has it.
        status: The HTTP status of an answer that tells it.
        retry_after_ms: In how many ms the same request may succeed; None if that is not known, or never.
    """

    code = "internal"
    status = 500
    retry_after_ms: int | None = None


# code → HTTP status. The keys are the error codes that a client can meet because of what it sent.
REQUEST_ERRORS = {
    "bad_json": 400,
    "bad_command": 400,
    "bad_room": 400,
    "bad_position": 400,
    "bad_id": 400,
    "bad_limit": 400,
    "unknown_type": 400,
    "room_required": 400,
    "not_joined": 409,
    "not_found": 404,
    "method_not_allowed": 405,
    "not_acceptable": 406,
    "unsupported_media_type": 415,
    "too_large": 413,
    "too_deep": 400,
    "too_many_rooms": 400,
    "too_many_members": 429,
    "too_many_calls": 429,
    "unknown_call": 404,
    "bad_arguments": 422,
    "outcome_unknown": 504,
    "fenced": 409,
    "unauthorized": 401,
    "token_expired": 401,
    "revoked": 401,
    "forbidden": 403,
    "disconnected": 403,
    "replaced": 409,
    "bad_origin": 403,
    "bad_host": 421,
    "rate_limited": 429,
    "too_many_connections": 429,
    "server_full": 503,
}


OTHER_ERRORS = ("internal", "store_unavailable", "overloaded", "shutting_down", "config")
"""Codes of errors that are not the client's."""


class RequestError(TrunklineError):
    """The client sent a request that cannot be carried out; nothing was stored.

    Args:
        code: One of REQUEST_ERRORS.
        message: What was wrong and what is allowed, for a person.
        retry_after_ms: If the same request may succeed after so long.
    """

    def __init__(self, code: str, message: str, retry_after_ms: int | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.status = REQUEST_ERRORS[code]
        self.retry_after_ms = retry_after_ms


class Fenced(RequestError):
    """Another instance of the consumer has the room by now: this one's acknowledgement was not counted."""

    def __init__(self, message: str) -> None:
        super().__init__("fenced", message)


class StoreUnavailable(TrunklineError):
    """The log could not be written or read. Nothing of the failed call was acknowledged; retry with the same id."""

    code = "store_unavailable"
    status = 503
    retry_after_ms = 1000


class Overloaded(TrunklineError):
    """More publishes wait for the log than we agree to hold. Nothing was stored; retry with the same id."""

    code = "overloaded"
    status = 503
    retry_after_ms = 500


class ShuttingDown(TrunklineError):
    """This node is about to stop and takes no new messages. Nothing was stored; retry with the same id."""

    code = "shutting_down"
    status = 503
    retry_after_ms = 1000


class HookFailed(TrunklineError):
    """A hook or a handler of the application has raised, or took too long; the client is refused."""


class HookTimedOut(HookFailed):
    """A hook or a handler of the application has taken too long, and was given up: what it did is not known."""


_CLIENT_ERRORS = frozenset(status.value for status in HTTPStatus if 400 <= status <= 499)
REFUSAL_CODE = re.compile(r"[a-z][a-z0-9_]{0,63}\Z")
REFUSALS_OF_OURS = ("forbidden", "rate_limited")
"""Codes of ours that an application may refuse with: clients do with them what they say."""


class Refused(TrunklineError):
    """The application does not want that: raised by its own hooks and handlers, and told to the client as it is.

    Args:
        code: A code of the application's, `[a-z][a-z0-9_]*` of up to 64 characters, for the client's program; or
            `forbidden` or `rate_limited`.
        message: For a person.
        status: The HTTP status of the answer: one of HTTP's from 400 to 499.
        retry_after_ms: If the same may be accepted after so long. Clients of ours then send a message again, and a call
            if the code is `rate_limited`; a repeat of a call with the same id is carried out.

    Raises:
        ValueError: The code or the status is none, or the code is one of ours.
    """

    def __init__(self, code: str, message: str = "", *, status: int = 422, retry_after_ms: int | None = None) -> None:
        if REFUSAL_CODE.match(code) is None:
            raise ValueError(f"a code is [a-z][a-z0-9_]*, up to 64 characters, not {code!r}")
        if code not in REFUSALS_OF_OURS and (code in REQUEST_ERRORS or code in OTHER_ERRORS):
            raise ValueError(f"{code!r} is a code of the protocol, which clients act upon: choose another one")
        if status not in _CLIENT_ERRORS:
            raise ValueError(f"a refusal has a status of HTTP's from 400 to 499, not {status}")
        super().__init__(message.encode(errors="replace").decode() or code)  # an error's text may have no UTF-8
        self.code = code
        self.status = REQUEST_ERRORS.get(code, status)
        self.retry_after_ms = retry_after_ms


class WrongLoop(TrunklineError, RuntimeError):
    """A hub was used on another event loop, thread or process than the one it runs on; the message says how to reach it
    from there."""


class ConfigError(TrunklineError):
    """A setting is wrong; the message says which, and what would be right."""

    code = "config"


@contextmanager
def setting(where: str) -> Iterator[None]:
    """Say which setting is wrong, if one turns out to be.

    Args:
        where: What is put in front of the reason.

    Raises:
        ConfigError: A ConfigError, a RequestError or a ValueError was raised inside.
    """
    try:
        yield
    except (ConfigError, RequestError, ValueError) as error:
        raise ConfigError(f"{where}: {error}") from None


def error_headers(error: TrunklineError) -> list[tuple[str, str]]:
    """Return the headers of an error's HTTP response (RFC 9110 sections 10.2.3 and 11.6.1)."""
    headers = []
    if error.retry_after_ms is not None:
        headers.append(("Retry-After", str(-(-error.retry_after_ms // 1000))))
    if error.status == 401:
        headers.append(("WWW-Authenticate", "Bearer"))
    return headers


def explain(error: Exception) -> str:
    """Return an error with its cause, for the server's own log, which may say where the store is."""
    cause = str(error.__cause__ or "")
    return str(error) if cause in str(error) else f"{error} ({cause})"
