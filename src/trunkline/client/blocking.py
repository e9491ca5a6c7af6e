"""Publishing and calling from code that does not await: a script, a thread, a Celery task, a Django view.

Standard library only.
"""

from __future__ import annotations

import http.client
import json
import random
import secrets
import time
from collections.abc import Mapping
from typing import Any

from trunkline.client.calls import REPEAT_MS
from trunkline.client.errors import ClientError
from trunkline.client.http_request import Refused, Unreachable, call_url, room_url, send
from trunkline.client.refusals import TEMPORARY
from trunkline.core.trace import parse_trace, trace_fields

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
    traceparent: str | None = None,
    tracestate: str | None = None,
    timeout_s: float = 30.0,
    headers: Mapping[str, str] | None = None,
) -> int:
    """Publish any JSON value, and block until the log has it; tries again, with the same id, for *timeout_s*.

    Args:
        url: The server's address, such as `http://localhost:8000`.
        room: Name of the room.
        data: Any JSON value.
        id: With the same id it is stored once, however often it is sent; also by a later call, or another process.
        token: The publisher's token, on a server with authentication.
        traceparent, tracestate: The trace that it is part of (W3C Trace Context). One that is not valid is ignored.
        timeout_s: How many seconds to try.
        headers: Sent with the request.

    Returns:
        The offset of the message.

    Raises:
        ClientError: It was refused; or (`timeout`) it is not known whether it was stored: try again, with the same id.
        TypeError, ValueError: *data* is no JSON, or *url* no address.
    """
    address = room_url(url, room)
    trace = trace_fields(parse_trace(traceparent, tracestate))
    message = {"id": secrets.token_hex(16) if id is None else id, "data": data, **trace}
    body = json.dumps(message, allow_nan=False).encode()
    end, delay = time.monotonic() + timeout_s, FIRST_DELAY_S
    while True:
        left = end - time.monotonic()
        wait = 0.0
        try:
            with send(address, body=body, headers=headers, token=token, timeout_s=_patience(left)) as response:
                return int(json.load(response)["offset"])
        except Refused as error:
            # A token may be refused for a moment: then the server says when to come back.
            if error.status not in TEMPORARY_STATUS and not error.retry_after_s:
                raise ClientError(error.code, str(error)) from None
            problem, wait = str(error), error.retry_after_s
        except (Unreachable, OSError, http.client.HTTPException, ValueError, KeyError, TypeError) as error:
            problem = str(error) or type(error).__name__
        pause = wait + random.uniform(0, delay)  # noqa: S311 - full jitter, not a secret
        if time.monotonic() + pause >= end:
            raise ClientError("timeout", f"not known to be stored, within {timeout_s:g} s: {problem}")
        time.sleep(pause)
        delay = min(LONGEST_DELAY_S, delay * 2)


def call(
    url: str,
    name: str,
    data: Any = None,
    *,
    id: str | None = None,  # noqa: A002 - its name on the wire
    token: str | None = None,
    timeout_s: float = 10.0,
    headers: Mapping[str, str] | None = None,
) -> Any:
    """Call a handler of the application, and block until it has answered; the server carries the call out once.

    Args:
        url: The server's address, such as `http://localhost:8000`.
        name: Name of the handler: 1 to 64 of `A-Z a-z 0-9 _ . : ~ -`.
        data: Any JSON value.
        id: With the same id it is carried out once within a minute, however often it is sent; also by a later call, or
            another process.
        token: The caller's token, on a server with authentication.
        timeout_s: How many seconds to wait for the result.
        headers: Sent with the request.

    Returns:
        The result of the handler.

    Raises:
        ClientError: It was refused, with the code of the application or of the server; or `timeout` or
            `outcome_unknown`: the message says whether it may have been carried out.
        TypeError, ValueError: *data* is no JSON, or *url* no address.
    """
    address = call_url(url, name)
    body = json.dumps({"id": secrets.token_hex(16) if id is None else id, "data": data}, allow_nan=False).encode()
    end, delay = time.monotonic() + timeout_s, FIRST_DELAY_S
    lost_at: float | None = None  # when the first request was sent of which it is not known what has become of it
    while True:
        sent_at, wait = time.monotonic(), 0.0
        try:
            left = end - sent_at
            with send(address, body=body, headers=headers, token=token, timeout_s=_patience(left)) as response:
                return json.load(response)["data"]
        except Refused as error:
            # A token may be refused for a moment: then the server says when to come back.
            passes = error.code in TEMPORARY or (error.code == "unauthorized" and error.retry_after_s > 0)
            is_lost = error.code.startswith("http ") and error.status in TEMPORARY_STATUS  # by something on the way
            if not (passes or is_lost):
                raise ClientError(error.code, str(error)) from None
            problem, wait = str(error), error.retry_after_s
        except (Unreachable, OSError, http.client.HTTPException, ValueError, KeyError, TypeError) as error:
            problem, is_lost = str(error) or type(error).__name__, True
        if is_lost and lost_at is None:
            lost_at = sent_at
        fate = "was not carried out" if lost_at is None else "may have been carried out"
        again_at = time.monotonic() + wait + random.uniform(0, delay)  # noqa: S311 - full jitter, not a secret
        if again_at >= end:
            raise ClientError("timeout", f"no result within {timeout_s:g} s: it {fate}: {problem}")
        if lost_at is not None and again_at >= lost_at + REPEAT_MS / 1000:
            raise ClientError("outcome_unknown", f"it is too late to call again: it {fate}: {problem}")
        time.sleep(max(0.0, again_at - time.monotonic()))
        delay = min(LONGEST_DELAY_S, delay * 2)


def _patience(left_s: float) -> float:
    """Return how long one request may take, of the seconds that are left."""
    return max(0.05, min(REQUEST_S, left_s))
