"""Tickets: single-use credentials for clients that cannot send a header, and should not put a token into a URL."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable

from trunkline.core.grant import Grant
from trunkline.errors import RequestError

TICKET_S = 30.0
TICKETS_MAX = 50_000
TICKETS_PER_USER_MAX = 50  # beyond it the user's oldest one goes: a client that asks for so many does not use them


class Tickets:
    """The tickets that one node has issued.

    A ticket is kept as its hash: a reader of this process's memory would find nothing to use. It names the node that
    issued it, because only that one knows whether it was used.

    Args:
        new_secret: Returns a text that cannot be guessed, for URLs.
        node: This node's name; empty if there are no others.
    """

    def __init__(self, new_secret: Callable[[], str], node: str = "") -> None:
        self.node = node
        self._new_secret = new_secret
        self._grants: OrderedDict[bytes, tuple[float, Grant]] = OrderedDict()
        self._by_user: dict[str | None, OrderedDict[bytes, None]] = {}

    def __len__(self) -> int:
        return len(self._grants)

    def issue(self, grant: Grant, now: float, lifetime_s: float = TICKET_S, purpose: str = "") -> str:
        """Return a ticket that is worth this grant for *lifetime_s* seconds.

        Args:
            now: Seconds of any clock that only goes forward.
            purpose: It is good for this alone.

        Raises:
            RequestError: `rate_limited`: there are so many that more would be forgotten before they are used.
        """
        while self._grants:
            oldest, (until, _) = next(iter(self._grants.items()))
            if until > now:
                break
            self._forget(oldest)
        mine = self._by_user.get(grant.user, ())
        if len(mine) >= TICKETS_PER_USER_MAX:
            self._forget(next(iter(mine)))
        if len(self._grants) >= TICKETS_MAX:
            raise RequestError("rate_limited", "too many tickets are waiting to be used", 1000)
        secret = self._new_secret()
        ticket = f"{self.node}.{secret}" if self.node else secret
        key = _hash(purpose + ticket)
        self._grants[key] = (now + lifetime_s, grant)
        self._by_user.setdefault(grant.user, OrderedDict())[key] = None
        return ticket

    def _forget(self, key: bytes) -> tuple[float, Grant | None]:
        until, grant = self._grants.pop(key, (0.0, None))
        if grant is not None:
            mine = self._by_user[grant.user]
            del mine[key]
            if not mine:
                del self._by_user[grant.user]
        return until, grant

    def redeem(self, ticket: str, now: float) -> Grant:
        """Return the grant of a ticket, once.

        Raises:
            RequestError: `unauthorized`: it was used, it is too old, or it never was one.
        """
        grant = self.take(_hash(ticket), now)
        if grant is None:
            raise ticket_refused()
        return grant

    def take(self, key: bytes, now: float) -> Grant | None:
        """Return the grant of the ticket with this hash, once; None if it is worth nothing."""
        until, grant = self._forget(key)
        return grant if until >= now else None

    def is_ours(self, ticket: str) -> bool:
        """Return whether no other node could have issued a ticket."""
        return ticket.partition(".")[0] == self.node or "." not in ticket

    def address(self, ticket: str, purpose: str = "") -> tuple[str, bytes]:
        """Return the name of the node that has issued a ticket, and the ticket's hash, to ask for its grant."""
        return ticket.partition(".")[0], _hash(purpose + ticket)


def ticket_refused() -> RequestError:
    """Return the answer to a ticket that is worth nothing."""
    return RequestError("unauthorized", "the ticket was used already, or is too old: get a new one")


def _hash(ticket: str) -> bytes:
    return hashlib.sha256(ticket.encode("utf-8", "surrogateescape")).digest()
