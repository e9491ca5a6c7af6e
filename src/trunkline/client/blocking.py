"""Publishing from code that does not await: a script, a thread, a Celery task, a Django view. Standard library only."""

from __future__ import annotations

import http.client
import json
import random
import secrets
import time
from typing import Any

from trunkline.client.errors import ClientError
from trunkline.client.http_request import Refused, Unreachable, room_url, send
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
            with send(address, body=body, token=token, timeout_s=max(0.05, min(REQUEST_S, left))) as response:
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
            raise ClientError("timeout", f"not known to be stored after {timeout_s:g} s: {problem}")
        time.sleep(pause)
        delay = min(LONGEST_DELAY_S, delay * 2)
