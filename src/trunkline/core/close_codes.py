"""The close codes of WebSockets (RFC 6455 section 7.4): which one a refusal has, and what a client does after it."""

from __future__ import annotations

from enum import Enum, IntEnum

from trunkline.errors import TrunklineError


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


NO_CODE = 1005  # the peer's close frame had none; never sent (RFC 6455 section 7.4.1)
ABNORMAL = 1006  # there was no close frame; never sent
_KNOWN = {*CloseCode, NO_CODE, ABNORMAL}

# error code → the close code of a WebSocket that may not stay because of it.
DISMISSALS = {
    "too_many_connections": CloseCode.TOO_MANY_CONNECTIONS,
    "unauthorized": CloseCode.UNAUTHORIZED,
    "token_expired": CloseCode.TOKEN_EXPIRED,
    "revoked": CloseCode.REVOKED,
    "disconnected": CloseCode.DISCONNECTED,
    "replaced": CloseCode.REPLACED,
}


def code_of(error: TrunklineError) -> CloseCode:
    """Return the close code of a connection that may not stay because of this error."""
    return DISMISSALS.get(error.code, CloseCode.INTERNAL_ERROR)


_REASONS: dict[int, str] = {
    **{int(code): error for error, code in DISMISSALS.items()},
    CloseCode.NORMAL: "closed",
    CloseCode.GOING_AWAY: "closed",
    NO_CODE: "closed",
    ABNORMAL: "lost",
}


def reason_of(code: int) -> str:
    """Return why a connection has ended, in a word."""
    known = _REASONS.get(code)
    return known or (CloseCode(code).name.lower() if code in _KNOWN else "other")


def label(code: int) -> str:
    """Return the name under which a close code is counted: peers may send any, and there are to be few names."""
    return str(int(code)) if code in _KNOWN else "other"


def after_close(code: int) -> Then:
    """Return what a client is to do after this close code, also for codes that do not exist yet."""
    if code in (1002, 1003, 1007, 1009, 1010) or 4200 <= code <= 4999:
        return Then.GIVE_UP
    if 4100 <= code <= 4199:
        return Then.REFRESH
    return Then.RETRY
