"""The close codes of WebSockets (RFC 6455 section 7.4): which one a refusal has, and what a client does after it."""

from __future__ import annotations

from enum import Enum, IntEnum


class Then(Enum):
    """What a client does after a close code. Codes come in ranges, so that one it never heard of still works."""

    RETRY = "connect again after a back-off"
    REFRESH = "get a new token, then connect again"
    GIVE_UP = "do not connect again: the same client would be closed again"


class CloseCode(IntEnum):
    """WebSocket close codes that we send (RFC 6455 section 7.4; 4000 and up are ours)."""

    NORMAL = 1000
    GOING_AWAY = 1001
    PROTOCOL_ERROR = 1002
    UNSUPPORTED_DATA = 1003
    INVALID_PAYLOAD = 1007
    TOO_BIG = 1009
    INTERNAL_ERROR = 1011
    SERVICE_RESTART = 1012
    TRY_AGAIN_LATER = 1013
    TOO_MANY_CONNECTIONS = 4000
    UNAUTHORIZED = 4100
    TOKEN_EXPIRED = 4101
    REVOKED = 4102
    DISCONNECTED = 4200
    REPLACED = 4201


# error code → the close code of a WebSocket that may not stay because of it.
DISMISSALS = {
    "too_many_connections": CloseCode.TOO_MANY_CONNECTIONS,
    "unauthorized": CloseCode.UNAUTHORIZED,
    "token_expired": CloseCode.TOKEN_EXPIRED,
    "revoked": CloseCode.REVOKED,
    "disconnected": CloseCode.DISCONNECTED,
    "replaced": CloseCode.REPLACED,
}


def after_close(code: int) -> Then:
    """Return what a client is to do after this close code, also for codes that do not exist yet."""
    if code in (1002, 1003, 1007, 1009, 1010) or 4200 <= code <= 4999:
        return Then.GIVE_UP
    if 4100 <= code <= 4199:
        return Then.REFRESH
    return Then.RETRY
