"""The access policy of one hub: rate limits, authentication, authorization, and the authenticated connections.

Three questions in this order, and each has its own answer. From where, and how often (core/address_limits.py,
wire/origin.py): before authentication. Who is it (`authenticate`): a token, a ticket, or what the application says.
What may it do (`check`): at each join, each publish and each poll, so a permission that is gone is gone at the next of
them.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import secrets
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol, TypeVar

import msgspec

from trunkline.access.admin_sessions import CODE_S, TOKEN_PREFIX, AdminSession, AdminSessions, Kind
from trunkline.access.jwt import JwtAuth
from trunkline.core.address_limits import LOOPBACK, AddressLimits
from trunkline.core.connections import ConnectionRegistry, Registered
from trunkline.core.grant import UNAUTHENTICATED, Action, Grant
from trunkline.core.limits import Limits
from trunkline.core.message import SYSTEM_PREFIX
from trunkline.core.rate import Rate, too_fast
from trunkline.core.revocation import Revocations
from trunkline.core.tickets import Tickets, ticket_refused
from trunkline.engine.clock import Clock
from trunkline.errors import ConfigError, HookFailed, Refused, RequestError, TrunklineError
from trunkline.observe.counters import Counters
from trunkline.wire.credentials import GRANT, Credentials, credentials
from trunkline.wire.origin import Origins, check_origin_setting
from trunkline.wire.request_head import RequestHead

log = logging.getLogger("trunkline")

T = TypeVar("T")
AuthenticateHook = Callable[[Credentials], Awaitable[Grant | None] | Grant | None]
"""`(credentials) -> grant`: the application's own authentication. Returns None for no user; may be async."""
AuthorizeHook = Callable[[Grant, Action, str], Awaitable[bool] | bool]
"""`(grant, action, room) -> bool`: the application's own decision whether that is permitted; may be async."""

WHAT_TO_DO = {
    "bad_origin": "if that page is yours, list its origin in `origins`",
    "bad_host": "without authentication this server is for this machine alone: set `auth`, or use a loopback name",
    "unauthorized": "clients need a token of an issuer that is configured (docs/authentication.md)",
    "token_expired": "clients get new tokens by their getToken; if these are new, compare the clocks",
    "revoked": "nothing, if the user was to be logged out",
    "forbidden": "if it should be permitted, the token's `rooms`, or the setting `permissions`, must say so",
    "too_many_connections": "limits.connections_per_address_max and limits.connections_per_user_max",
    "rate_limited": "one client asks too often; the dashboard tells which",
    "server_full": "limits.connections_max, or another node",
}
"""Refusals that are logged, by error code, with what an operator can do about it."""

CODE = "code"
EXPIRED = "the token of this connection has expired: get a new one"
REVOKED = "the token was revoked: get a new one"
NEXT_SECOND_MS = 1000
REVOCATIONS_KEEP_S = 7 * 86_400.0

Need = tuple[Action, str]
"""Something that must be permitted: an action, and the room for it."""

ADMIN: tuple[Need, ...] = (("admin", "*"),)
"""What an administrator must be permitted."""


class Unauthenticated(Protocol):
    """A WebSocket that has not authenticated itself yet."""

    def dismiss(self, error: RequestError) -> None:
        """Tell the client why it may not stay, and close."""


class Access:
    """The rules of one hub, and the clients that they have let in.

    Args:
        auth: Verifies tokens; without it, and without a hook, every client may do everything.
        cookie: Name of the cookie that may hold a token.
        origins: Pages of other origins that may use the rooms: `https://app.example.com`, or `*`.
        loopback_only: The server is for this machine alone.
        trusted: Addresses of our own proxies and back ends.
        node: This node's name; empty if there are no others.

    Raises:
        ConfigError: Settings contradict each other.
    """

    def __init__(
        self,
        limits: Limits,
        counters: Counters,
        clock: Clock,
        *,
        auth: JwtAuth | None = None,
        cookie: str | None = None,
        origins: Sequence[str] = (),
        loopback_only: bool = False,
        trusted: Sequence[str] = LOOPBACK,
        node: str = "",
    ) -> None:
        if isinstance(origins, str):
            raise ConfigError("origins is a list of origins, not one text")
        try:
            self.origins = Origins(
                allowed=tuple(check_origin_setting(origin) for origin in origins), loopback_only=loopback_only
            )
            self.addresses = AddressLimits(limits, trusted)
        except ValueError as error:
            raise ConfigError(str(error)) from None
        if cookie is not None and "*" in origins:
            raise ConfigError(
                "origins = * with a cookie would let every page on the internet act as your users; list the origins"
            )
        self.limits = limits
        self.registry: ConnectionRegistry[Registered] = ConnectionRegistry()
        self.tickets = Tickets(lambda: secrets.token_urlsafe(32), node)
        self.revocations = Revocations(REVOCATIONS_KEEP_S)
        self.admin_sessions: AdminSessions | None = None
        self.authenticate_hook: AuthenticateHook | None = None
        self.authorize_hook: AuthorizeHook | None = None
        self._counters = counters
        self._clock = clock
        self._cookie = cookie
        self._auth = auth
        self._redeem: Callable[[str, bytes], Awaitable[Grant | None]] | None = None
        self._deadlines: OrderedDict[Unauthenticated, float] = OrderedDict()
        self._publishes = Rate(limits.publishes_per_user_per_s, limits.publishes_per_user_burst)

    @property
    def is_required(self) -> bool:
        """Whether clients must authenticate themselves."""
        return self._auth is not None or self.authenticate_hook is not None

    @property
    def is_open(self) -> bool:
        """Whether every client may do everything, whatever it brings."""
        return not self.is_required and self.authorize_hook is None

    @property
    def needs_scope(self) -> bool:
        """Whether the application's hook wants the request as the application sees it (`trunkline.starlette.Rooms`)."""
        return getattr(self.authenticate_hook, "needs_scope", False)

    def asks(self, brought: Credentials) -> bool:
        """Return whether it must be found out who a client with these credentials is."""
        return self.is_required or brought.scope is not None

    def redeem_elsewhere(self, redeem: Callable[[str, bytes], Awaitable[Grant | None]]) -> None:
        """Ask *redeem* for the grants of tickets of other nodes: it gets the node's name and the ticket's hash."""
        self._redeem = redeem

    # From where, and how often.

    def check_request_rate(self, key: str | None, pieces: int = 1) -> None:
        """Count a request that is so many pieces of work (`core.rate.work`) under its address's key.

        Raises:
            RequestError: `rate_limited`.
        """
        if not pieces:
            return
        try:
            self.addresses.check_request_rate(key, self._clock.monotonic(), pieces)
        except RequestError:
            self._counters.activity.refused(None, key or "")
            raise

    def check_publish_rate(self, grant: Grant, key: str | None, pieces: int = 1) -> None:
        """Count a publish that is so many pieces of work (`core.rate.work`) for its user.

        Raises:
            RequestError: `rate_limited`.
        """
        if grant.user is None or key is None or grant.permissions.allows("admin", "*"):
            return
        wait = self._publishes.take(grant.user, self._clock.monotonic(), pieces)
        if wait:
            self._counters.activity.refused(grant.user, key)
            raise too_fast("too many messages of one user", wait)

    def refused(self, error: TrunklineError, who: str = "") -> None:
        """Count a refusal. What the operator may have to do something about is logged, too.

        Args:
            who: The client: a user or, if none is known, an address; empty if neither is.
        """
        self._counters.refusals["refused" if isinstance(error, Refused) else error.code] += 1
        what_to_do = WHAT_TO_DO.get(error.code)
        if what_to_do is not None:
            fields = {"code": error.code, "client": who, "reason": str(error), "what_to_do": what_to_do}
            log.info("client refused", extra=fields)

    # Who is it.

    nothing = Credentials(None, None, RequestHead("", [], {}), "")  # what is known of a client after the handshake

    def credentials(self, head: RequestHead, key: str | None, scope: Mapping[str, Any] | None = None) -> Credentials:
        """Return what a request brings for authentication; nothing if no client is asked who it is.

        Args:
            scope: That of a request that came through an application.
        """
        if scope is not None and not (self.needs_scope or GRANT in scope):
            scope = None
        if self.is_open and scope is None:
            return self.nothing
        return credentials(head, key or "trusted", self._cookie, scope)

    def grant_now(self, brought: Credentials) -> Grant | None:
        """Return the grant, if it can be known without waiting; None if `authenticate` must be called.

        Raises:
            RequestError: `unauthorized`, `token_expired` or `revoked`.
        """
        given = None if brought.scope is None else brought.scope.get(GRANT)
        if isinstance(given, Grant):
            return self.current(self._dated(given))
        if not self.is_required:
            return UNAUTHENTICATED
        if self.admin_sessions is not None and brought.token is not None and brought.token.startswith(TOKEN_PREFIX):
            return self.admin_session(brought.token, "token").grant
        if brought.ticket is not None:
            if self._redeem is not None and not self.tickets.is_ours(brought.ticket):
                return None
            return self.current(self.tickets.redeem(brought.ticket, self._clock.monotonic()))
        if self.authenticate_hook is not None:
            return None
        if brought.token is None:
            raise RequestError(
                "unauthorized", "this server requires authentication: send a token (docs/authentication.md)"
            )
        assert self._auth is not None
        grant = self._auth.verify_now(brought.token)
        return None if grant is None else self.current(grant)

    async def authenticate(self, brought: Credentials) -> Grant:
        """Return the grant, after asking the issuer or the hook if needed. Raises like `grant_now`, and HookFailed."""
        grant = self.grant_now(brought)
        if grant is not None:
            return grant
        if brought.ticket is not None:
            assert self._redeem is not None
            found = await self._redeem(*self.tickets.address(brought.ticket))
            if found is None:
                raise ticket_refused()
            return self.current(found)
        if self.authenticate_hook is not None:
            answer = await self._ask(self.authenticate_hook, brought)
            if answer is not None:
                return self.current(self._dated(answer))
            if self._auth is None or brought.token is None:
                raise RequestError("unauthorized", "the application did not accept your credentials: log in again")
        assert self._auth is not None
        assert brought.token is not None
        return self.current(await self._auth.verify(brought.token))

    def _dated(self, grant: Grant) -> Grant:
        """Return a grant that the application has just given, which is of this moment if it does not say otherwise."""
        if grant.issued_at is not None:
            return grant
        return msgspec.structs.replace(grant, issued_at=self._clock.wall_ms() / 1000)

    def current(self, grant: Grant) -> Grant:
        """Return the grant, if it is still good; to be called again after anything was awaited.

        Raises:
            RequestError: `revoked` or `token_expired`.
        """
        if self.revocations.refuses(grant):
            raise RequestError("revoked", REVOKED, NEXT_SECOND_MS if self.revocations.may_be_newer(grant) else None)
        if grant.expires_at is not None and grant.expires_at <= self._clock.wall_ms() / 1000:
            raise RequestError("token_expired", EXPIRED)
        return grant

    def issue_ticket(self, grant: Grant) -> str:
        """Return a single-use ticket that is worth this grant."""
        return self.tickets.issue(grant, self._clock.monotonic())

    def issue_code(self, grant: Grant) -> str:
        """Return a single-use code with which an administrator signs in. It is no ticket, and no ticket is one."""
        return self.tickets.issue(grant, self._clock.monotonic(), CODE_S, purpose=CODE)

    async def redeem_code(self, code: str) -> Grant:
        """Return the grant of a code, once, whichever node has issued it.

        Raises:
            RequestError: `unauthorized`.
        """
        node, key = self.tickets.address(code, purpose=CODE)
        grant = self.tickets.take(key, self._clock.monotonic())
        if grant is None and self._redeem is not None and not self.tickets.is_ours(code):
            grant = await self._redeem(node, key)
        if grant is None:
            raise RequestError("unauthorized", "the code was used already, or is too old: get a new one")
        return self.current(grant)

    def admin_session(self, text: str, kind: Kind) -> AdminSession:
        """Return the session of an administrator's cookie or token.

        Raises:
            RequestError: `unauthorized`, `revoked`, `token_expired`.
        """
        assert self.admin_sessions is not None
        session = self.admin_sessions.session(text, kind)
        self.current(session.grant)
        if self.revocations.refuses(Grant(user=None, token_id=session.name)):
            raise RequestError("revoked", REVOKED)
        return session

    # What may it do.

    def permits_now(self, grant: Grant, action: Action, room: str) -> bool | None:
        """Return whether the grant permits that; None if `check` must be asked.

        Administration, and the system's own rooms, are for grants to permit, never for a hook.
        """
        if self.authorize_hook is not None and action != "admin" and not room.startswith(SYSTEM_PREFIX):
            return None
        return grant.permissions.allows(action, room)

    def permits_all_now(self, grant: Grant, needs: Iterable[Need]) -> bool | None:
        """Return whether the grant permits all of *needs*; None if `check_all` must be asked."""
        answer: bool | None = True
        for action, room in needs:
            permitted = self.permits_now(grant, action, room)
            if not permitted:
                answer = permitted
                break
        return answer

    def check_now(self, grant: Grant, needs: Iterable[Need]) -> bool:
        """Check that the grant permits all of *needs*; return False if `check_all` must be asked.

        Raises:
            RequestError: `forbidden`.
        """
        for action, room in needs:
            permitted = self.permits_now(grant, action, room)
            if permitted is None:
                return False
            if not permitted:
                raise forbidden(action, room)
        return True

    async def check(self, grant: Grant, action: Action, room: str) -> None:
        """Check that the grant permits *action* in *room*.

        Raises:
            RequestError: `forbidden`, which does not tell whether the room exists.
            HookFailed: The application could not decide.
        """
        permitted = self.permits_now(grant, action, room)
        if permitted is None:
            assert self.authorize_hook is not None
            permitted = await self._ask(self.authorize_hook, grant, action, room)
            self.current(grant)
        if not permitted:
            raise forbidden(action, room)

    async def check_all(self, grant: Grant, needs: Iterable[Need]) -> None:
        """Check that the grant permits all of *needs*, and has not ended meanwhile.

        Raises:
            RequestError: `forbidden`, `revoked` or `token_expired`.
            HookFailed: The application could not decide.
        """
        if grant is not UNAUTHENTICATED:
            self.current(grant)
        for action, room in needs:
            await self.check(grant, action, room)
        if grant is not UNAUTHENTICATED:
            self.current(grant)

    async def _ask(self, hook: Callable[..., Awaitable[T] | T], *arguments: object) -> T:
        """Call a hook of the application. If it fails, the client is not let in.

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
        except (Exception, SystemExit):
            log.exception("the application's %s failed", getattr(hook, "__name__", "hook"))
            raise HookFailed("the application could not decide") from None

    # Clients that are connected.

    def start_auth_deadline(self, connection: Unauthenticated) -> None:
        """Dismiss a connection unless it authenticates itself within `limits.auth_s`."""
        self._deadlines[connection] = self._clock.monotonic() + self.limits.auth_s

    def stop_auth_deadline(self, connection: Unauthenticated) -> None:
        """Let a connection stay: it has authenticated itself. Or it is gone. Harmless if there is no deadline."""
        self._deadlines.pop(connection, None)

    def register(self, connection: Registered) -> None:
        """Remember an authenticated connection, or a poll that waits.

        Raises:
            RequestError: `too_many_connections` of this user, or the grant has ended meanwhile.
        """
        if connection.grant is UNAUTHENTICATED:
            return
        self.current(connection.grant)
        most = self.limits.connections_per_user_max
        if connection.grant.user is not None and self.registry.count(connection.grant.user) >= most:
            raise RequestError("too_many_connections", f"at most {most} connections of one user", 5000)
        self.registry.add(connection)

    def renew(self, session: str, grant: Grant) -> bool:
        """Give a session the grant of a newer token; return False if the grant's user has no such session."""
        found = self.registry.find(session)
        if found is None or found.grant.user is None or found.grant.user != grant.user:
            return False
        try:
            self.current(grant)
        except RequestError:
            return False  # the node that verified it did not know yet that it was revoked
        self.registry.renew(found, grant)
        found.renewed(grant)
        return True

    def expire(self) -> None:
        """Dismiss connections whose tokens or deadlines are over. To be called each second."""
        now = self._clock.monotonic()
        while self._deadlines:
            connection, until = next(iter(self._deadlines.items()))
            if until > now:
                break
            del self._deadlines[connection]
            connection.dismiss(
                RequestError("unauthorized", f"no token came within {self.limits.auth_s:g} s of connecting")
            )
        for expired in self.registry.expired(self._clock.wall_ms() / 1000):
            expired.dismiss(RequestError("token_expired", EXPIRED))

    def dismiss_revoked(self) -> int:
        """Dismiss connections whose grants are revoked; return how many there were."""
        revoked = [connection for connection in self.registry if self.revocations.refuses(connection.grant)]
        for connection in revoked:
            connection.dismiss(RequestError("revoked", REVOKED))
        return len(revoked)


_VERBS = {
    "read": "read",
    "write": "publish to",
    "signal": "signal in",
    "presence": "be told who is in",
    "redact": "redact messages of",
    "redact_own": "redact messages of",
    "call": "call",
    "consume": "consume as",
}


def forbidden(action: Action, room: str) -> RequestError:
    """Return the answer to what is not permitted, the same whether the room exists or not."""
    if action == "admin":
        return RequestError("forbidden", "that takes the token of an administrator (docs/operating.md)")
    return RequestError("forbidden", f"you may not {_VERBS[action]} {room}")
