"""One blocking HTTP request, by the standard library: what `publish` and the command line need of HTTP."""

from __future__ import annotations

import http.client
import json
import ssl
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping


class Unreachable(Exception):
    """There is no answer: no server, no connection, or a certificate that cannot be trusted. Trying again may help."""


class Refused(Exception):
    """The server has answered with an error.

    Attributes:
        status: The HTTP status.
        code: The error code of PROTOCOL.md, or `http STATUS` if the answer is not of our server.
        retry_after_s: After how many seconds the same may succeed; 0 if the server does not say.
    """

    def __init__(self, status: int, code: str, message: str, retry_after_s: float) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.retry_after_s = retry_after_s


def room_url(url: str, room: str, query: Mapping[str, str] | None = None) -> str:
    """Return the URL of a room.

    Args:
        url: The server's, whose path may be that of a mount.

    Raises:
        ValueError: It is no http:// or https:// URL.
    """
    address = f"{_checked(url)}/rooms/{urllib.parse.quote(room, safe='')}"
    return f"{address}?{urllib.parse.urlencode(query)}" if query else address


def call_url(url: str, name: str) -> str:
    """Return the URL of a handler of calls.

    Args:
        url: The server's, whose path may be that of a mount.

    Raises:
        ValueError: It is no http:// or https:// URL.
    """
    return f"{_checked(url)}/calls/{urllib.parse.quote(name, safe='')}"


def _checked(url: str) -> str:
    if not url.startswith(("http://", "https://")):
        raise ValueError(f"{url!r} is no http:// or https:// address")
    return url.rstrip("/")


def send(
    url: str,
    *,
    body: bytes | None = None,
    headers: Mapping[str, str] | None = None,
    token: str | None = None,
    timeout_s: float,
    method: str | None = None,
) -> http.client.HTTPResponse:
    """Send a request, and return the response; its body is still to be read.

    Args:
        body: JSON; the request is a POST then.
        token: The token that the request carries.
        timeout_s: Seconds without any byte.
        method: By default POST with a body, and GET without one.

    Raises:
        Refused: The server has answered with an error.
        Unreachable: There is no answer.
        ValueError: *url* is no URL.
    """
    all_headers = dict(headers or {})
    if body is not None:
        all_headers["Content-Type"] = "application/json"
    if token is not None:
        all_headers["Authorization"] = f"Bearer {token}"
    try:
        request = urllib.request.Request(url, body, all_headers, method=method)  # noqa: S310 - `room_url` has checked the scheme
        response: http.client.HTTPResponse = urllib.request.urlopen(request, timeout=timeout_s)  # noqa: S310
    except urllib.error.HTTPError as error:
        with error:
            raise _refused(error) from None
    except http.client.InvalidURL:
        raise ValueError(f"{url!r} is no address") from None
    except urllib.error.URLError as error:
        what = "cannot trust" if isinstance(error.reason, ssl.SSLError) else "no server at"
        raise Unreachable(f"{what} {urllib.parse.urlsplit(url).netloc.rpartition('@')[2]}: {error.reason}") from None
    except (OSError, http.client.HTTPException) as error:
        raise Unreachable(str(error) or type(error).__name__) from None
    return response


def _refused(error: urllib.error.HTTPError) -> Refused:
    try:
        problem = json.load(error)["error"]
        after_s = (problem.get("retry_after_ms") or 0) / 1000
        return Refused(error.code, str(problem["code"]), str(problem["message"]), after_s)
    except (OSError, http.client.HTTPException) as broken:
        raise Unreachable(str(broken) or type(broken).__name__) from None
    except (ValueError, KeyError, TypeError, AttributeError):
        return Refused(error.code, f"http {error.code}", str(error.reason), 0.0)
