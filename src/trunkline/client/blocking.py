"""Publishing from code that does not await: a script, a thread, a Celery task, a Django view. Standard library only."""

from __future__ import annotations

import http.client
import json
import random
import secrets
import time
import urllib.error
import urllib.parse
import urllib.request
from typing import Any

from trunkline.client.errors import ClientError

REQUEST_S = 10.0
FIRST_DELAY_S = 0.25
LONGEST_DELAY_S = 5.0
TEMPORARY_STATUS = frozenset({408, 425, 429, 500, 502, 503, 504})


def publish(
    url: str,
    room: str,
    data: Any,
    *,
    id: str | None = None,  # noqa: A002 - its name on the wire
    token: str | None = None,
    timeout_s: float = 30.0,
) -> int:
    """Publish any JSON value, and block until the log has it; tries again, with the same id, for *timeout_s*.

    Args:
        url: Where the server is, such as `http://localhost:8000`.
        id: With the same id it is stored once, however often it is sent; also by a later call, or another process.
        token: Who publishes, on a server that asks.
        timeout_s: How long to try.

    Returns:
        The offset of the message.

    Raises:
        ClientError: It was refused; or (`timeout`) it is not known whether it was stored: try again, with the same id.
        TypeError, ValueError: *data* is no JSON, or *url* no address.
    """
    if not url.startswith(("http://", "https://")):
        raise ValueError(f"{url!r} is no http:// or https:// address")
    address = f"{url.rstrip('/')}/rooms/{urllib.parse.quote(room, safe='')}"
    body = json.dumps({"id": secrets.token_hex(16) if id is None else id, "data": data}, allow_nan=False).encode()
    headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {token}"} if token else {})
    end, delay = time.monotonic() + timeout_s, FIRST_DELAY_S
    while True:
        left = end - time.monotonic()
        try:
            offset, problem, wait = _post(address, body, headers, max(0.05, min(REQUEST_S, left)))
        except (OSError, http.client.HTTPException, ValueError) as error:
            offset, problem, wait = None, str(error) or type(error).__name__, 0.0
        if offset is not None:
            return offset
        pause = wait + random.uniform(0, delay)  # noqa: S311 - full jitter, not a secret
        if time.monotonic() + pause >= end:
            raise ClientError("timeout", f"not known to be stored after {timeout_s:g} s: {problem}")
        time.sleep(pause)
        delay = min(LONGEST_DELAY_S, delay * 2)


def _post(address: str, body: bytes, headers: dict[str, str], timeout_s: float) -> tuple[int | None, str, float]:
    """The offset; or None, what is the trouble, and how long the server wants us to wait.

    Raises:
        ClientError: Trying again will not help.
    """
    request = urllib.request.Request(address, body, headers)  # noqa: S310 - checked by who calls
    try:
        with urllib.request.urlopen(request, timeout=timeout_s) as response:  # noqa: S310
            return int(json.load(response)["offset"]), "", 0.0
    except urllib.error.HTTPError as error:
        with error:
            try:
                problem = json.load(error)["error"]
                code, text, after = problem["code"], problem["message"], problem.get("retry_after_ms") or 0
            except (ValueError, KeyError, TypeError):
                code, text, after = f"http {error.code}", error.reason, 0
        if error.code not in TEMPORARY_STATUS and not after:  # a token may be refused for a moment
            raise ClientError(code, text) from None
        return None, text, after / 1000
