"""The users of a test: the hub takes a client for the user that the test names."""

from __future__ import annotations

import itertools
from typing import Any

from trunkline.access.policy import Access
from trunkline.core.grant import EVERYTHING, Grant, Permissions
from trunkline.errors import RequestError
from trunkline.testing.virtual_clock import VirtualClock
from trunkline.wire.credentials import Credentials

USER_PERMISSIONS = EVERYTHING
"""What a user of a test may do unless it says otherwise: everything but administration."""


class VirtualAccess(Access):
    """The access rules of a hub, which also know the users of a test. All other clients are asked as always.

    Attributes:
        issued: The grants of the test's own tokens.
    """

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self.issued: dict[str, Grant] = {}

    def asks(self, brought: Credentials) -> bool:
        return brought.token in self.issued or super().asks(brought)

    @property
    def is_open(self) -> bool:
        return not self.issued and super().is_open

    def grant_now(self, brought: Credentials) -> Grant | None:
        grant = self.issued.get(brought.token or "")
        return super().grant_now(brought) if grant is None else self.current(grant)


class NoMoreTokens(Exception):
    """A test's user gets no token any more."""

    status = 401


class Identity:
    """A user of a test, and its tokens.

    Args:
        permissions: What the user may do; `{user}` in a pattern is its name.
        expires_in_s: Seconds that a token lasts; None means for ever.
        renews: Whether there is another token when one has expired.
    """

    _numbers = itertools.count(1)

    def __init__(
        self,
        access: VirtualAccess,
        clock: VirtualClock,
        user: str,
        permissions: Permissions | None = None,
        expires_in_s: float | None = None,
        *,
        renews: bool = True,
    ) -> None:
        self._access = access
        self._clock = clock
        self._user = user
        self._permissions = (USER_PERMISSIONS if permissions is None else permissions).for_user(user)
        self._expires_in_s = expires_in_s
        self._renews = renews
        self.token = ""

    def get_token(self) -> str:
        """Return a token: the one before, if it is still good.

        Raises:
            NoMoreTokens: It is not, and there is no other one.
        """
        now = self._clock.wall_s()
        before = self._access.issued.get(self.token)
        if before is not None and (before.expires_at is None or before.expires_at > now):
            return self.token
        if before is not None and not self._renews:
            raise NoMoreTokens("the test's user gets no other token")
        self.token = f"test.{next(self._numbers)}"
        expires_at = None if self._expires_in_s is None else now + self._expires_in_s
        self._access.issued[self.token] = Grant(
            user=self._user, permissions=self._permissions, expires_at=expires_at, issued_at=now, token_id=self.token
        )
        return self.token

    def expire(self) -> None:
        """Let the present token expire now; the hub notices within a second."""
        before = self._access.issued.get(self.token)
        if before is None:
            raise RuntimeError("this client has no token that could expire")
        ended = Grant(
            user=before.user, permissions=before.permissions, expires_at=self._clock.wall_s(), token_id=self.token
        )
        self._access.issued[self.token] = ended
        for connection in list(self._access.registry):
            if connection.grant.token_id == self.token:
                connection.dismiss(RequestError("token_expired", "the test let the token expire"))
