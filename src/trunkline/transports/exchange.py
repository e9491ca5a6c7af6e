"""A request and its answer, by whichever server: what endpoints are written against."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

from trunkline.wire.body_text import JSON
from trunkline.wire.request_head import RequestHead


class Exchange(Protocol):
    """One request.

    Attributes:
        key: Under which the limits of the client's address are counted; None if they are not.
        is_counted: Whether the request was counted already.
        path_parameters: Named parts of the path, decoded.
    """

    method: str
    head: RequestHead
    key: str | None
    is_counted: bool
    path_parameters: Mapping[str, str]

    async def body(self, bytes_max: int) -> bytes:
        """Return the body.

        Raises:
            RequestError: `too_large`.
        """

    async def ended(self) -> None:
        """Return when the client has gone, or has ended its side of the connection."""


class Answer(NamedTuple):
    """The answer to a request.

    Attributes:
        body: All of it.
        media_type: Of the body; empty if there is none.
    """

    body: bytes = b""
    status: int = 200
    headers: Sequence[tuple[str, str]] = ()
    media_type: str = JSON


NO_CONTENT = Answer(b"", 204, (), "")
