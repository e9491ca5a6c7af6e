"""Revocations: tokens refused by name, and all tokens that a user was issued before a moment.

Kept for as long as a token can live and not longer, and never more than so many: this is a list that only an
administrator can make longer.
"""

from __future__ import annotations

from trunkline.core.grant import Grant


class Revocations:
    """The refused.

    Args:
        keep_s: How long an entry is kept; tokens that live longer come back to life after it.
        entries_max: Of each kind; beyond it the oldest goes.
    """

    def __init__(self, keep_s: float, entries_max: int = 100_000) -> None:
        self._keep_s = keep_s
        self._entries_max = entries_max
        self._tokens: dict[str, float] = {}  # name → when it was revoked
        self._users: dict[str, float] = {}

    def __len__(self) -> int:
        return len(self._tokens) + len(self._users)

    def revoke_token(self, token_id: str, at: float) -> None:
        """Refuse this token."""
        self._add(self._tokens, token_id, at)

    def revoke_user(self, user: str, at: float) -> None:
        """Refuse whatever this user was issued until *at*, in seconds since 1970 UTC."""
        self._add(self._users, user, at)

    def refuses(self, grant: Grant) -> bool:
        """Return whether the grant's token is revoked. One that does not say when it was issued is as old as can be."""
        if grant.token_id is not None and grant.token_id in self._tokens:
            return True
        before = None if grant.user is None else self._users.get(grant.user)
        return before is not None and (grant.issued_at or 0.0) <= before

    def may_be_newer(self, grant: Grant) -> bool:
        """Return whether a grant that is refused may be newer than that: of the very second, which is all that its
        token says of when it was issued."""
        if grant.token_id in self._tokens or grant.user is None or grant.issued_at is None:
            return False
        return int(grant.issued_at) == int(self._users.get(grant.user, -1.0))

    def _add(self, entries: dict[str, float], name: str, at: float) -> None:
        at = max(at, entries.pop(name, at))
        entries[name] = at
        while entries:
            oldest = next(iter(entries))
            if len(entries) <= self._entries_max and entries[oldest] > at - self._keep_s:
                break
            del entries[oldest]
