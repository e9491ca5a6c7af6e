"""Bodies of requests, as what they should be, and of answers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import msgspec

from trunkline.access.policy import ADMIN, Need
from trunkline.core.json_text import too_deep
from trunkline.errors import RequestError
from trunkline.transports.admission import Caller, admit
from trunkline.transports.context import Context
from trunkline.transports.exchange import Answer, Exchange

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


async def admin_order(
    context: Context, request: Exchange, decode: Callable[[bytes], T], shape: str
) -> tuple[Caller, T]:
    """Let an administrator in; return the caller, and the request's body as what it should be.

    Args:
        shape: What that is, for a person.

    Raises:
        RequestError: It is not let in; `too_large`, `bad_json` or `too_deep`.
    """
    caller = await admit(context, request, ADMIN)
    body = await read_body(context, request, caller, ADMIN, context.limits.envelope_bytes_max)
    return caller, decoded(decode, body, shape)


def json_answer(value: Any, status: int = 200) -> Answer:
    """Return an answer whose body is that value as JSON."""
    return Answer(msgspec.json.encode(value), status)
