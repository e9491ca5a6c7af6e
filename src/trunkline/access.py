"""Who is here and what they may do: asks, remembers, and takes back.

Three questions in this order, and each has its own answer. From where, and how often (core/door.py, wire/origin.py):
before anybody is asked who they are. Who are you (`grant`): a token, a ticket, or what the application says. What may
you do (`check`): at each join, each publish and each poll, so a permission that is gone is gone at the next of them.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import time
from collections import Counter, OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol, TypeVar

from trunkline.auth import JwtAuth, Tickets, ticket_refused
from trunkline.core.door import LOOPBACK, Door
from trunkline.core.grant import ANYBODY, Action, Grant
from trunkline.core.guests import Guest, Guests
from trunkline.core.limits import Limits
from trunkline.core.rate import Rate, too_fast
from trunkline.core.revocation import Revocations
from trunkline.errors import ConfigError, HookFailed, RequestError, TrunklineError
from trunkline.wire.credentials import Credentials, credentials
from trunkline.wire.origin import Origins, check_origin_setting
from trunkline.wire.request import RequestHead

log = logging.getLogger("trunkline")

T = TypeVar("T")
Authenticate = Callable[[Credentials], Awaitable[Grant | None] | Grant | None]
Authorize = Callable[[Grant, Action, str], Awaitable[bool] | bool]

EXPIRED = "the token of this connection has expired: get a new one"
REVOKED = "the token was revoked: get a new one"


class Visitor(Protocol):
    """A WebSocket that has not said who it is."""

    def dismiss(self, error: RequestError) -> None:
        """It has waited too long."""


class Access:
    """The rules of one hub, and everybody whom they let in.

    Args:
        auth: Verifies tokens; None lets anybody do anything, unless a hook is set.
        cookie: Name of the cookie that may hold a token.
        origins: Pages of other origins that may come: `https://app.example.com`, or `*`.
        trusted: Addresses of our own proxies and back ends.

    Raises:
        ConfigError: Settings that do not go together.
    """

    def __init__(
        self,
        limits: Limits,
        *,
        auth: JwtAuth | None = None,
        cookie: str | None = None,
        origins: Sequence[str] = (),
        loopback_only: bool = False,
        trusted: Sequence[str] = LOOPBACK,
        revocations_keep_s: float = 7 * 86_400.0,
    ) -> None:
        try:
            self.origins = Origins(
                allowed=tuple(check_origin_setting(origin) for origin in origins), loopback_only=loopback_only
            )
            self.door = Door(limits, trusted)
        except ValueError as error:
            raise ConfigError(str(error)) from None
        if cookie is not None and "*" in origins:
            raise ConfigError(
                "origins = * with a cookie would let every page on the internet act as your users; list the origins"
            )
        self.limits = limits
        self.cookie = cookie
        self.guests: Guests[Guest] = Guests()
        self.tickets = Tickets()
        self.revocations = Revocations(revocations_keep_s)
        self.refusals: Counter[str] = Counter()  # by error code
        self.authenticate: Authenticate | None = None
        self.authorize: Authorize | None = None
        self.redeem_elsewhere: Callable[[str, bytes], Awaitable[Grant | None]] | None = None
        self._auth = auth
        self._visitors: OrderedDict[Visitor, float] = OrderedDict()
        self._publishes = Rate(limits.publishes_per_user_s, limits.publishes_per_user_burst)

    @property
    def required(self) -> bool:
        """Whether anybody is asked who they are."""
        return self._auth is not None or self.authenticate is not None

    # From where, and how often.

    def knock(self, client: str | None, pieces: int = 1) -> None:
        """Let a client in that asks for so many pieces of work (`core.rate.work`).

        Raises:
            RequestError: `rate_limited`.
        """
        self.door.request(client, time.monotonic(), pieces)

    def publishing(self, grant: Grant, client: str | None, pieces: int = 1) -> None:
        """Let a user publish something that is so many pieces of work (`core.rate.work`).

        Raises:
            RequestError: `rate_limited`.
        """
        if grant.user is None or client is None or grant.permissions.allows("admin", "*"):
            return
        wait = self._publishes.take(grant.user, time.monotonic(), pieces)
        if wait:
            raise too_fast("too many messages of one user", wait)

    # Who are you.

    nothing = Credentials(None, None, RequestHead("", [], {}), "")  # what is known of somebody after the handshake

    def credentials(self, head: RequestHead, client: str | None) -> Credentials:
        """What the request brings to be recognised by."""
        return credentials(head, client or "trusted", self.cookie)

    def grant_now(self, brought: Credentials) -> Grant | None:
        """The grant, if it can be known without waiting; None if `grant` must be asked.

        Raises:
            RequestError: `unauthorized`, `token_expired` or `revoked`.
        """
        if not self.required:
            return ANYBODY
        if brought.ticket is not None:
            if self.redeem_elsewhere is not None and not self.tickets.is_ours(brought.ticket):
                return None
            return self.current(self.tickets.redeem(brought.ticket, time.monotonic()))
        if self.authenticate is not None:
            return None
        if brought.token is None:
            raise RequestError("unauthorized", "this server asks who you are: send a token (docs/authentication.md)")
        assert self._auth is not None
        grant = self._auth.verify_now(brought.token)
        return None if grant is None else self.current(grant)

    async def grant(self, brought: Credentials) -> Grant:
        """The grant, whatever must be asked for it. Raises like `grant_now`."""
        grant = self.grant_now(brought)
        if grant is not None:
            return grant
        if brought.ticket is not None:
            assert self.redeem_elsewhere is not None
            found = await self.redeem_elsewhere(*self.tickets.address(brought.ticket))
            if found is None:
                raise ticket_refused()
            return self.current(found)
        if self.authenticate is not None:
            said = await self._ask(self.authenticate, brought)
            if said is not None:
                return self.current(said)
            if self._auth is None or brought.token is None:
                raise RequestError("unauthorized", "the application does not know who you are")
        assert self._auth is not None
        assert brought.token is not None
        return self.current(await self._auth.verify(brought.token))

    def current(self, grant: Grant) -> Grant:
        """The grant, if it still counts: to be asked again after whatever was waited for.

        Raises:
            RequestError: `revoked` or `token_expired`.
        """
        if self.revocations.refuses(grant):
            raise RequestError("revoked", REVOKED)
        if grant.expires_at is not None and grant.expires_at <= time.time():
            raise RequestError("token_expired", EXPIRED)
        return grant

    def ticket(self, grant: Grant) -> str:
        """A single-use ticket that is worth this grant."""
        return self.tickets.issue(grant, time.monotonic())

    # What may you do.

    def may_now(self, grant: Grant, action: Action, room: str) -> bool | None:
        """Whether it may; None if `check` must be asked. Who administers is for grants to say, never for a hook."""
        if self.authorize is not None and action != "admin":
            return None
        return grant.permissions.allows(action, room)

    async def check(self, grant: Grant, action: Action, room: str) -> None:
        """Let it do that.

        Raises:
            RequestError: `forbidden`, which says nothing of whether the room exists.
        """
        may = self.may_now(grant, action, room)
        if may is None:
            assert self.authorize is not None
            may = await self._ask(self.authorize, grant, action, room)
            self.current(grant)
        if not may:
            raise forbidden(action, room)

    async def _ask(self, hook: Callable[..., Awaitable[T] | T], *arguments: object) -> T:
        """What the application says. If it fails, it has said nothing that anybody could go by: nobody is let in.

        Raises:
            HookFailed: It raised something other than our own errors, or took longer than `limits.auth_s`.
        """
        try:
            answer = hook(*arguments)
            if inspect.isawaitable(answer):
                async with asyncio.timeout(self.limits.auth_s):
                    return await answer
            return answer
        except TrunklineError:
            raise
        except Exception:
            log.exception("the application's %s failed", getattr(hook, "__name__", "hook"))
            raise HookFailed("the application could not decide") from None

    # Being here.

    def visit(self, visitor: Visitor) -> None:
        """Somebody who has not said who they are: they have `limits.auth_s`."""
        self._visitors[visitor] = time.monotonic() + self.limits.auth_s

    def unvisit(self, visitor: Visitor) -> None:
        """They have, or they are gone."""
        self._visitors.pop(visitor, None)

    def arrive(self, guest: Guest) -> None:
        """Remember a connection or a waiting poll, if it is somebody's.

        Raises:
            RequestError: `too_many_connections` of this user, or the grant has ended meanwhile.
        """
        if guest.grant is ANYBODY:
            return
        self.current(guest.grant)
        most = self.limits.connections_per_user_max
        if guest.grant.user is not None and self.guests.count(guest.grant.user) >= most:
            raise RequestError("too_many_connections", f"at most {most} connections of one user", 5000)
        self.guests.arrive(guest)

    def renew(self, session: str, grant: Grant) -> bool:
        """A newer token for a stream; False if there is none of that name and user. Others' are as good as none."""
        found = self.guests.find(session)
        if found is None or found.grant.user is None or found.grant.user != grant.user:
            return False
        try:
            self.current(grant)
        except RequestError:
            return False  # whoever checked it did not know yet that it was revoked
        self.guests.renew(found, grant)
        found.regranted(grant)
        return True

    def second(self) -> None:
        """Called about once a second: send away whose time is over."""
        now = time.monotonic()
        while self._visitors:
            visitor, until = next(iter(self._visitors.items()))
            if until > now:
                break
            del self._visitors[visitor]
            visitor.dismiss(
                RequestError("unauthorized", f"nobody said who this is within {self.limits.auth_s:g} s of connecting")
            )
        for guest in self.guests.over(time.time()):
            guest.dismiss(RequestError("token_expired", EXPIRED))

    def dismiss_refused(self) -> int:
        """Send away who is connected by what was revoked since; returns how many."""
        refused = [guest for guest in self.guests if self.revocations.refuses(guest.grant)]
        for guest in refused:
            guest.dismiss(RequestError("revoked", REVOKED))
        return len(refused)


_DEEDS = {"read": "read", "write": "publish to", "signal": "signal in", "presence": "be told who is in"}


def forbidden(action: Action, room: str) -> RequestError:
    """The answer to whoever may not, the same whether the room exists or not."""
    if action == "admin":
        return RequestError("forbidden", "that takes a token of an administrator")
    return RequestError("forbidden", f"you may not {_DEEDS[action]} {room}")
