"""A client that has connected, or is gone: what `on_connect` and `on_disconnect` get."""

from __future__ import annotations

from typing import NamedTuple

from trunkline.core.grant import Grant


class ConnectionEvent(NamedTuple):
    """What there is to know of a connection.

    Attributes:
        session: Its name, the same when it connects and when it is gone.
        grant: Who it is, and what it may do.
        address: The address of its client.
        transport: `websocket` or `sse`.
        at: When this happened, in ms since 1970 UTC.
        reason: Why it is gone: `closed` (by the client), `lost` (without a word, or it did not answer),
            `service_restart`, or what it was told, such as `disconnected` or `token_expired`; None when it connects.
        code: The close code with which it ended, as if it were a WebSocket; None when it connects.
        seconds: How long it was there; None when it connects.
    """

    session: str
    grant: Grant
    address: str
    transport: str
    at: int
    reason: str | None = None
    code: int | None = None
    seconds: float | None = None

    @property
    def user(self) -> str | None:
        """The user; None without authentication."""
        return self.grant.user
