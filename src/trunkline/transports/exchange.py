"""A request and its answer, by whichever server: what endpoints are written against."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from trunkline.wire.body_text import JSON
from trunkline.wire.request_head import RequestHead


class Exchange(Protocol):
    """One request.

    Attributes:
        key: Under which the limits of the client's address are counted; None if they are not.
        is_counted: Whether the request was counted already.
        path_parameters: Named parts of the path, decoded.
        scope: The ASGI scope, if the request came through an application.
    """

    method: str
    head: RequestHead
    key: str | None
    is_counted: bool
    path_parameters: Mapping[str, str]
    scope: Mapping[str, Any] | None

    def body_now(self, bytes_max: int) -> bytes | None:
        """Return the body, if all of it is here; None if `body` must be awaited. Raises like it."""

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


class Pending(Protocol):
    """An answer that comes later: an object, and no task that waits for it.

    Attributes:
        waits_for_news: Whether there is something to answer before it comes, for a client that has gone or has ended
            its side of the connection.
    """

    waits_for_news: bool

    def begin(self, answered: Callable[[Answer | Exception], None]) -> None:
        """Wait, and call *answered* once, perhaps before this returns."""

    def hurry(self) -> None:
        """Answer soon with what there is. Harmless if it was answered."""

    def leave(self) -> None:
        """Let go of everything, and answer no more. Harmless if it was done."""


NO_CONTENT = Answer(b"", 204, (), "")
