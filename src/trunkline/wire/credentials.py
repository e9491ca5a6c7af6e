"""Credentials: the places of a request that may hold a token or a ticket.

place                                                    for whom
`Authorization: Bearer <token>` (RFC 6750 section 2.1)   anything that can set headers
`Sec-WebSocket-Protocol: trunkline.v1, trunkline.token.<token>`   a browser's WebSocket
`?token=<token>`                                         clients with no other way; URLs end up in logs
`?ticket=<ticket>`                                       EventSource: worth nothing a moment later
`Cookie: <name>=<token>`                                 pages of our own origin, if a name is set

If there are several, the first of this table counts. A WebSocket that brings none says it in its first message.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from trunkline.wire.request_head import RequestHead

TOKEN_PROTOCOL = "trunkline.token."  # noqa: S105 - a prefix
TOKEN_BYTES_MAX = 8 * 1024

GRANT = "trunkline.grant"
"""Under this key of a request's ASGI scope, the application in front of the rooms says who the client is."""


class Credentials(NamedTuple):
    """What a request brings to be authenticated by.

    Attributes:
        token: A token, from wherever it stood.
        ticket: A single-use ticket.
        head: The request itself: its headers, cookies and query, for applications that decide by those.
        address: The client's, as far as trusted proxies tell it.
        scope: The ASGI scope of a request that came through an application whose hook wants it, or that carries a grant
            of the application's own (`GRANT`); else None.
    """

    token: str | None
    ticket: str | None
    head: RequestHead
    address: str
    scope: Mapping[str, Any] | None = None

    @property
    def cookies(self) -> dict[str, str]:
        """The request's cookies."""
        return cookies(self.head)

    def __repr__(self) -> str:
        return f"Credentials(address={self.address!r})"  # a log is no place for the rest


def credentials(
    head: RequestHead, address: str, cookie: str | None, scope: Mapping[str, Any] | None = None
) -> Credentials:
    """Return the credentials that a request carries.

    Args:
        cookie: Name of the cookie that holds a token, or None if cookies do not count.

    Raises:
        RequestError: `bad_command`: there are two of what there may be one of.
    """
    token = _bearer(head) or _subprotocol(head) or head.one("token")
    if token is None and cookie is not None:
        token = cookies(head).get(cookie)
    ticket = head.one("ticket") if token is None else None
    return Credentials(token or None, ticket or None, head, address, scope)


def cookies(head: RequestHead) -> dict[str, str]:
    """Return the cookies of a request (RFC 6265 section 4.2.1). The first of a name counts, as browsers order them."""
    found: dict[str, str] = {}
    for pair in head.headers.get(b"cookie", b"").decode("latin-1").replace(", ", "; ").split(";"):
        name, equals, value = pair.strip().partition("=")
        if equals:
            found.setdefault(name, value.strip('"'))
    return found


def _bearer(head: RequestHead) -> str | None:
    scheme, _, token = head.headers.get(b"authorization", b"").decode("latin-1").partition(" ")
    return token.strip() or None if scheme.lower() == "bearer" else None


def _subprotocol(head: RequestHead) -> str | None:
    for name in head.headers.get(b"sec-websocket-protocol", b"").decode("latin-1").split(","):
        if name.strip().startswith(TOKEN_PROTOCOL):
            return name.strip().removeprefix(TOKEN_PROTOCOL)
    return None
