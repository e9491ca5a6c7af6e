"""What somebody may do: the outcome of asking who they are.

A pattern is a room's name, or the beginning of one and a `*` at the end: `chat:*`. Nothing else is special, so a
pattern is decided in one comparison and cannot be made slow.
"""

from __future__ import annotations

import re
from typing import Literal, get_args

import msgspec

Action = Literal["read", "write", "signal", "presence", "admin"]
ACTIONS: tuple[Action, ...] = get_args(Action)

# A room's name, or the beginning of one; `*` alone is every room.
PATTERN = re.compile(r"[A-Za-z0-9_.:~-]{1,255}\Z|[A-Za-z0-9_.:~-]{0,254}\*\Z")

Patterns = tuple[str, ...]


class Permissions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Patterns of rooms for each action. Whoever has none may do nothing.

    Attributes:
        read: Follow and poll.
        write: Publish.
        signal: Send what is not logged.
        presence: See who is there.
        admin: Everything that there is to do, in all rooms, to disconnect users and revoke tokens; only `*` means
            anything.
    """

    read: Patterns = ()
    write: Patterns = ()
    signal: Patterns = ()
    presence: Patterns = ()
    admin: Patterns = ()

    def allows(self, action: Action, room: str) -> bool:
        """Whether a pattern of this action matches the room. Administrators may do everything, everywhere."""
        return any(matches(pattern, room) for pattern in getattr(self, action)) or "*" in self.admin

    def for_user(self, user: str) -> Permissions:
        """The same with the user's name in place of `{user}`. A name that is no part of a room's name fits none."""
        return Permissions(**{action: _filled(getattr(self, action), user) for action in ACTIONS})


def matches(pattern: str, room: str) -> bool:
    """Whether the pattern is the room's name, or a beginning of it followed by `*`."""
    return pattern == room or (pattern.endswith("*") and room.startswith(pattern[:-1]))


def check_permissions(permissions: Permissions, *, template: bool = False) -> Permissions:
    """The permissions, if all their patterns are patterns.

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
    # A user called "*" must not turn inbox:{user} into everybody's.
    filled = [pattern.replace("{user}", user) if "*" not in user else pattern for pattern in patterns]
    return tuple(pattern for pattern in filled if PATTERN.match(pattern))


EVERYTHING = Permissions(read=("*",), write=("*",), signal=("*",), presence=("*",), admin=("*",))


class Grant(msgspec.Struct, frozen=True, kw_only=True):
    """Who somebody is and what they may do.

    Attributes:
        user: None if nobody was asked.
        expires_at: Seconds since 1970 UTC; None means never.
        issued_at: The same, of the token; revoking a user refuses what was issued before.
        token_id: The token's own name (`jti`), by which it alone can be revoked.
    """

    user: str | None
    permissions: Permissions = Permissions()
    expires_at: float | None = None
    issued_at: float | None = None
    token_id: str | None = None


ANYBODY = Grant(user=None, permissions=EVERYTHING)  # where nobody is asked
