"""Bodies of requests, as what they should be."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import msgspec

from trunkline.access.policy import Need
from trunkline.core.json_text import too_deep
from trunkline.errors import RequestError
from trunkline.transports.admission import Caller
from trunkline.transports.context import Context
from trunkline.transports.exchange import Exchange

T = TypeVar("T")


async def read_body(
    context: Context, request: Exchange, caller: Caller, needs: Sequence[Need], bytes_max: int
) -> bytes:
    """Return a request's body, and check again what is permitted: the body may have been on its way for long.

    Raises:
        RequestError: `too_large`, or it is no longer permitted.
    """
    body = await request.body(bytes_max)
    await context.access.check_all(caller.grant, needs)
    return body


def decoded(decode: Callable[[bytes], T], body: bytes, shape: str) -> T:
    """Return a body as what it should be.

    Args:
        shape: What that is, for a person.

    Raises:
        RequestError: `bad_json` or `too_deep`.
    """
    try:
        return decode(body)
    except RecursionError:
        raise too_deep() from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise RequestError("bad_json", f"the body is {shape}: {error}") from None
