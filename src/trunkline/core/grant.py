"""Permissions: what an authenticated client may do.

A pattern is a room's name, or the beginning of one and a `*` at the end: `chat:*`. Nothing else is special, so a
pattern is decided in one comparison and cannot be made slow.
"""

from __future__ import annotations

import re
from typing import Literal, get_args

import msgspec

from trunkline.core.message import SYSTEM_PREFIX

Action = Literal["read", "write", "signal", "presence", "redact", "redact_own", "call", "consume", "admin"]
ACTIONS: tuple[Action, ...] = get_args(Action)

# A room's name, or the beginning of one; `*` alone is every room.
PATTERN = re.compile(r"[A-Za-z0-9_.:~-]{1,255}\Z|[A-Za-z0-9_.:~-]{0,254}\*\Z")

Patterns = tuple[str, ...]


class Permissions(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename={"redact_own": "redact:own"}
):
    """Patterns of rooms for each action. An action without a pattern is not permitted.

    Attributes:
        read: Follow and poll.
        write: Publish.
        signal: Send what is not logged.
        presence: See the members of a room, and be shown to them.
        redact: Take the data of all messages away.
        redact_own: The same of one's own, for `limits.redact_own_s`; `redact:own` in a token.
        call: Call handlers of the application; the patterns are of their names.
        consume: Read with a durable consumer; the patterns are of the consumers' names. Its rooms take `read`.
        admin: Everything that there is to do, in all rooms, to disconnect users and revoke tokens; only `*` means
            anything.
    """

    read: Patterns = ()
    write: Patterns = ()
    signal: Patterns = ()
    presence: Patterns = ()
    redact: Patterns = ()
    redact_own: Patterns = ()
    call: Patterns = ()
    consume: Patterns = ()
    admin: Patterns = ()

    def allows(self, action: Action, room: str) -> bool:
        """Return whether a pattern of this action matches the room.

        Administrators may do everything in all rooms of the application. The system's own they may read, and nobody
        else.
        """
        if room.startswith(SYSTEM_PREFIX):
            return action == "read" and "*" in self.admin
        for pattern in getattr(self, action):
            if pattern == "*" or matches(pattern, room):
                return True
        return "*" in self.admin

    def for_user(self, user: str) -> Permissions:
        """Return the permissions with `{user}` replaced by the name. A name that no room can contain matches none."""
        return Permissions(**{action: _filled(getattr(self, action), user) for action in ACTIONS})


def matches(pattern: str, room: str) -> bool:
    """Return whether the pattern is the room's name, or a beginning of it followed by `*`.

    In place of a room a pattern may stand: all of its rooms match then.
    """
    return pattern == room or (pattern.endswith("*") and room.startswith(pattern[:-1]))


def check_pattern(pattern: str) -> str:
    """Check a pattern; return it.

    Raises:
        ValueError: It is none.
    """
    if PATTERN.match(pattern) is None:
        raise ValueError(f"{pattern[:300]!r} is neither a room's name nor the beginning of one and *")
    return pattern


def check_permissions(permissions: Permissions, *, template: bool = False) -> Permissions:
    """Check that all patterns of the permissions are valid; return the permissions.

    Args:
        template: `{user}` may stand in them.

    Raises:
        ValueError: One is not; the message names it.
    """
    for action in ACTIONS:
        for pattern in getattr(permissions, action):
            if PATTERN.match(pattern.replace("{user}", "u") if template else pattern) is None:
                raise ValueError(f"{action}: {pattern[:300]!r} is neither a room's name nor the beginning of one and *")
    return permissions


def _filled(patterns: Patterns, user: str) -> Patterns:
    # A user called "*" must not turn inbox:{user} into the inbox of all users.
    filled = [pattern.replace("{user}", user) if "*" not in user else pattern for pattern in patterns]
    return tuple(pattern for pattern in filled if PATTERN.match(pattern))


EVERYTHING = Permissions(  # administration is none of it
    read=("*",), write=("*",), signal=("*",), presence=("*",), call=("*",), consume=("*",)
)


class Grant(msgspec.Struct, frozen=True, kw_only=True):
    """An authenticated client: its user, its permissions, and when they end.

    Attributes:
        user: The user; None without authentication.
        expires_at: Seconds since 1970 UTC; None means never.
        issued_at: The same, of the token; revoking a user refuses what was issued before.
        token_id: The token's own name (`jti`), by which it alone can be revoked.
    """

    user: str | None
    permissions: Permissions = Permissions()
    expires_at: float | None = None
    issued_at: float | None = None
    token_id: str | None = None


UNAUTHENTICATED = Grant(user=None, permissions=EVERYTHING)
"""Every client without authentication: none of them is an administrator."""
