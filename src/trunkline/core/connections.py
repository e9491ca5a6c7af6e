"""The authenticated connections of one process: found by user, by session, and by when their token expires.

Seconds are whole numbers here; a token that expires within a second is found when the next one begins.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import ceil
from typing import Generic, Protocol, TypeVar

from trunkline.core.grant import Grant
from trunkline.errors import RequestError


class Registered(Protocol):
    """A connection, or a poll that waits."""

    grant: Grant

    @property
    def session(self) -> str:
        """Its name."""

    def dismiss(self, error: RequestError) -> None:
        """End it, and tell the client why."""

    def recheck(self) -> None:
        """Check again what it may do."""

    def renewed(self, grant: Grant) -> None:
        """Go on under the grant of a newer token of the same user."""


C = TypeVar("C", bound=Registered)


class ConnectionRegistry(Generic[C]):
    """All registered connections of one process."""

    def __init__(self) -> None:
        self._by_user: dict[str | None, dict[str, C]] = {}
        self._by_session: dict[str, C] = {}
        self._by_expiry: dict[int, set[str]] = {}
        self._expiry: dict[str, int] = {}
        self._searched: int | None = None  # tokens that expired before this second have been found

    def __len__(self) -> int:
        return len(self._by_session)

    def __iter__(self) -> Iterator[C]:
        return iter(list(self._by_session.values()))

    def count(self, user: str | None) -> int:
        """Return how many connections a user has."""
        return len(self._by_user.get(user, ()))

    def of_user(self, user: str | None) -> list[C]:
        """Return all connections of a user."""
        return list(self._by_user.get(user, {}).values())

    def find(self, session: str) -> C | None:
        """Return the connection with this session name."""
        return self._by_session.get(session)

    def add(self, connection: C) -> None:
        """Register a connection under its grant."""
        self._by_session[connection.session] = connection
        self._by_user.setdefault(connection.grant.user, {})[connection.session] = connection
        if connection.grant.expires_at is not None:
            # A token that has expired already is found with the next second.
            expiry = max(ceil(connection.grant.expires_at), (self._searched or 0) + 1)
            self._expiry[connection.session] = expiry
            self._by_expiry.setdefault(expiry, set()).add(connection.session)

    def remove(self, connection: C) -> None:
        """Forget a connection. Harmless if it is not registered."""
        if self._by_session.pop(connection.session, None) is None:
            return
        sessions = self._by_user[connection.grant.user]
        del sessions[connection.session]
        if not sessions:
            del self._by_user[connection.grant.user]
        expiry = self._expiry.pop(connection.session, None)
        expiring = None if expiry is None else self._by_expiry.get(expiry)
        if expiry is not None and expiring is not None:
            expiring.discard(connection.session)
            if not expiring:
                del self._by_expiry[expiry]

    def renew(self, connection: C, grant: Grant) -> None:
        """Register a connection under a new grant."""
        self.remove(connection)
        connection.grant = grant
        self.add(connection)

    def expired(self, now: float) -> list[C]:
        """Return the connections whose tokens have expired by *now* (seconds since 1970 UTC), each once.

        They stay registered until they are removed.
        """
        first, self._searched = self._searched, int(now)
        if first is None or len(self._by_expiry) < self._searched - first:
            ends = [end for end in self._by_expiry if end <= now]
        else:
            ends = [end for end in range(first, self._searched + 1) if end in self._by_expiry]
        return [self._by_session[session] for end in ends for session in self._by_expiry.pop(end)]
