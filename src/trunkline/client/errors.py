"""The errors of the client. `code` is an error code of PROTOCOL.md, or one of those below."""

from __future__ import annotations


class ClientError(Exception):
    """A message was not stored or a call has no result, or it cannot be known.

    Attributes:
        code: `closed` (the client was closed before the ack or the result), `outbox_full`, `timeout`, `aborted`,
            `unreachable`, `unauthorized`, or what the server or the application said.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class RoomError(ClientError):
    """A room may not be read."""
