"""What `trunkline publish` and `trunkline tail` ask of a running server."""

from __future__ import annotations

import http.client
import random
import time
from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from trunkline.client.http_request import Refused, Unreachable, room_url, send
from trunkline.core.message import check_readable_room
from trunkline.core.trace import Trace, trace_fields
from trunkline.errors import RequestError

CONNECT_S = 10.0
SILENCE_S = 75.0  # longer than the server's keep-alive: a stream that is silent for so long is dead
BACKOFF_S = 0.5
BACKOFF_S_MAX = 5.0


class RemoteError(Exception):
    """The server refused, or could not be reached.

    Attributes:
        exit_code: Of the command: 2 if the call is wrong, 1 if the server is.
    """

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


def publish(
    url: str,
    room: str,
    data: str,
    message_id: str | None,
    token: str | None = None,
    trace: Trace | None = None,
    *,
    check: bool = False,
) -> dict[str, Any]:
    """Publish JSON, or a text if it is none; return the receipt.

    Args:
        check: Have the application's `before_publish` look at it, also if the token is an administrator's.

    Raises:
        RemoteError: The server refused it or is not there.
    """
    try:
        value = msgspec.json.decode(data)
    except (msgspec.DecodeError, RecursionError, UnicodeEncodeError):
        value = data
    try:
        message = {"data": value} if message_id is None else {"data": value, "id": message_id}
        body = msgspec.json.encode(message | trace_fields(trace))
    except UnicodeEncodeError:
        raise RemoteError("the data is not UTF-8", 2) from None
    headers = {"Accept": "application/json"}
    query = {} if check else {"check": "false"}
    with request(_address(url, room, query), body=body, headers=headers, token=token, timeout_s=CONNECT_S) as response:
        try:
            receipt: dict[str, Any] = msgspec.json.decode(response.read(), type=dict[str, Any])
        except (OSError, http.client.HTTPException, msgspec.DecodeError) as error:
            raise RemoteError(f"{url} does not answer like a Trunkline: {error or type(error).__name__}", 1) from None
    return receipt


def follow(
    url: str,
    room: str,
    *,
    since: str | None,
    last: int | None,
    count: int | None,
    warn: Callable[[str], None],
    token: str | None = None,
) -> Iterator[str]:
    """Iterate over the messages and redactions of a room as JSON lines, for ever or *count* of them.

    It takes any number of connections.

    Args:
        since, last: Where to begin, as in `Hub.read`.
        warn: Called with what the user should know: gaps, and connections that are lost.

    Raises:
        RemoteError: The server refuses the request itself; a server that is away is waited for.
    """
    query = {key: str(value) for key, value in (("since", since), ("last", last)) if value is not None}
    address = _address(url, room, query)
    last_id, delay = "", BACKOFF_S
    while count is None or count > 0:
        headers = {"Accept": "text/event-stream"} | ({"Last-Event-ID": last_id} if last_id else {})
        try:
            with request(address, headers=headers, token=token, timeout_s=SILENCE_S) as response:
                delay = BACKOFF_S
                for kind, data, event_id in _events(response, last_id):
                    last_id = event_id
                    if kind == "closed" and '"disconnected"' in data:
                        raise _Ended("the application has ended this connection", 1)
                    if kind in ("gap", "closed"):
                        warn(f"{kind}: {data}")
                    elif data and kind in ("message", "redacted"):
                        yield data
                        count = count - 1 if count else None
                        if count == 0:
                            return
        except RemoteError as error:
            if error.exit_code == 2 or isinstance(error, _Ended):
                raise
            warn(f"{error}; trying again")
        except (OSError, http.client.HTTPException) as error:
            warn(f"connection lost ({error or type(error).__name__}); trying again")
        time.sleep(random.uniform(0, delay))  # noqa: S311 - full jitter, not a secret
        delay = min(delay * 2, BACKOFF_S_MAX)


class _Ended(RemoteError):
    """The server has closed the stream for good."""


def _events(response: http.client.HTTPResponse, last_id: str) -> Iterator[tuple[str, str, str]]:
    """Iterate over server-sent events: type, data, and the last id that there was, also of connections before."""
    kind, data = "message", ""
    for raw in response:
        line = raw.decode().rstrip("\r\n")
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if not line:
            yield kind, data, last_id
            kind, data = "message", ""
        elif field == "event":
            kind = value
        elif field == "data":
            data += value
        elif field == "id":
            last_id = value


def _address(url: str, room: str, query: dict[str, str]) -> str:
    try:
        return room_url(url, check_readable_room(room), query)
    except (RequestError, ValueError) as error:
        raise RemoteError(str(error), 2) from None


def request(address: str, **options: Any) -> http.client.HTTPResponse:
    """Send a request as `http_request.send` does; return the response.

    Raises:
        RemoteError: The server refused it or is not there.
    """
    try:
        return send(address, **options)
    except Refused as error:
        exit_code = 2 if 400 <= error.status < 500 and error.status != 429 else 1
        raise RemoteError(f"{error} (HTTP {error.status})", exit_code) from None
    except Unreachable as error:
        raise RemoteError(str(error), 1) from None
    except ValueError as error:
        raise RemoteError(str(error), 2) from None
