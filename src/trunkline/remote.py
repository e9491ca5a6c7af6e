"""What `trunkline publish` and `trunkline tail` need of a running server: two HTTP requests, standard library only."""

from __future__ import annotations

import http.client
import random
import ssl
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any

import msgspec

CONNECT_S = 10.0
SILENCE_S = 75.0  # longer than the server's keep-alive: a stream that says nothing for so long is dead
BACKOFF_S = 0.5
BACKOFF_S_MAX = 5.0


class RemoteError(Exception):
    """The server refused, or could not be reached."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


def publish(url: str, room: str, data: str, message_id: str | None, token: str | None = None) -> dict[str, Any]:
    """Publish JSON, or a text if it is none; the receipt.

    Raises:
        RemoteError: The server refused it or is not there.
    """
    try:
        value = msgspec.json.decode(data)
    except (msgspec.DecodeError, RecursionError, UnicodeEncodeError):
        value = data
    body = {"data": value} if message_id is None else {"data": value, "id": message_id}
    request = _request(url, room, {}, "application/json", token)
    try:
        request.data = msgspec.json.encode(body)
    except UnicodeEncodeError:
        raise RemoteError("the data is not UTF-8", 2) from None
    request.add_header("Content-Type", "application/json")
    try:
        with _open(request, CONNECT_S) as response:
            receipt: dict[str, Any] = msgspec.json.decode(response.read(), type=dict[str, Any])
            return receipt
    except (OSError, http.client.HTTPException, msgspec.DecodeError) as error:
        raise RemoteError(f"{url} does not answer like a Trunkline: {error or type(error).__name__}", 1) from None


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
    """The messages of a room as JSON lines, for ever or *count* of them, over as many connections as it takes.

    Raises:
        RemoteError: The server refuses the request itself; a server that is away is waited for.
    """
    query = {key: str(value) for key, value in (("since", since), ("last", last)) if value is not None}
    last_id, delay = "", BACKOFF_S
    while count is None or count > 0:
        request = _request(url, room, query, "text/event-stream", token)
        if last_id:
            request.add_header("Last-Event-ID", last_id)
        try:
            with _open(request, SILENCE_S) as response:
                delay = BACKOFF_S
                for kind, data, event_id in _events(response, last_id):
                    last_id = event_id
                    if kind == "closed" and '"disconnected"' in data:
                        raise RemoteError("the application has ended this connection", 1)
                    if kind in ("gap", "closed"):
                        warn(f"{kind}: {data}")
                    elif data and kind == "message":
                        yield data
                        count = count - 1 if count else None
                        if count == 0:
                            return
        except RemoteError as error:
            if error.exit_code == 2 or "ended this connection" in str(error):
                raise
            warn(f"{error}; trying again")
        except (OSError, http.client.HTTPException) as error:
            warn(f"connection lost ({error or type(error).__name__}); trying again")
        time.sleep(random.uniform(0, delay))  # noqa: S311 - full jitter, not a secret
        delay = min(delay * 2, BACKOFF_S_MAX)


def _events(response: http.client.HTTPResponse, last_id: str) -> Iterator[tuple[str, str, str]]:
    """Server-sent events as (type, data, id); the id is the last one there was, also of the connections before."""
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


def _request(url: str, room: str, query: dict[str, str], accept: str, token: str | None) -> urllib.request.Request:
    if not url.startswith(("http://", "https://")):
        raise RemoteError(f"{url!r} is no http:// or https:// address", 2)
    address = f"{url.rstrip('/')}/rooms/{urllib.parse.quote(room, safe='')}"
    if query:
        address += "?" + urllib.parse.urlencode(query)
    headers = {"Accept": accept}
    if token is not None:
        headers["Authorization"] = f"Bearer {token}"
    return urllib.request.Request(address, headers=headers)  # noqa: S310


def _open(request: urllib.request.Request, timeout_s: float) -> http.client.HTTPResponse:
    try:
        response: http.client.HTTPResponse = urllib.request.urlopen(request, timeout=timeout_s)  # noqa: S310
        return response
    except urllib.error.HTTPError as error:
        try:
            text = msgspec.json.decode(error.read())["error"]["message"]
        except (msgspec.DecodeError, KeyError, TypeError):
            text = error.reason
        raise RemoteError(
            f"{text} (HTTP {error.code})", 2 if 400 <= error.code < 500 and error.code != 429 else 1
        ) from None
    except (http.client.InvalidURL, ValueError):
        raise RemoteError(f"{request.full_url!r} is no address", 2) from None
    except urllib.error.URLError as error:
        what = "cannot trust" if isinstance(error.reason, ssl.SSLError) else "no server at"
        raise RemoteError(f"{what} {request.host}: {error.reason}", 1) from None
