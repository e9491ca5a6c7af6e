"""The sessions of administrators in browsers: a one-time code from the command line becomes a cookie.

So no token is pasted into a page, and none stands in an address. Scripts cannot read the cookie (HttpOnly), it goes to
`/admin/…` alone, and other sites cannot have it sent (SameSite). All that it is good for is to be asked for a token of
a few minutes, which the page keeps in memory and sends in a header. Both say whose they are and until when, and are
signed with a key that is kept in the log: every node knows it.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import logging
import secrets
from typing import Literal, NamedTuple

import msgspec

from trunkline.core.grant import Grant, Permissions
from trunkline.core.notes import SESSION_KEY
from trunkline.engine.engine import Engine
from trunkline.engine.kept_key import kept_key
from trunkline.errors import RequestError, StoreUnavailable

log = logging.getLogger("trunkline")

COOKIE = "trunkline_admin"
TOKEN_PREFIX = "trunkline-admin."  # noqa: S105 - no secret
TOKEN_S = 300.0
CODE_S = 300.0
SESSION_S = 3600.0
_ADMIN = Permissions(admin=("*",))


Kind = Literal["cookie", "token"]


class _Session(msgspec.Struct, array_like=True):
    """What a cookie or a token says.

    Attributes:
        session: Its name, by which signing out ends it.
        issued_at, token_id: Of the token that the session was begun with: what revokes that, revokes this.
        until: When it ends.
        ends_at: When the session does.
    """

    kind: Kind
    session: str
    user: str
    issued_at: float | None
    token_id: str | None
    until: float
    ends_at: float


class AdminSession(NamedTuple):
    """A session that is good.

    Attributes:
        grant: The administrator's.
        name: The session's.
    """

    grant: Grant
    name: str
    ends_at: float


_decode = msgspec.json.Decoder(_Session).decode


class AdminSessions:
    """The sessions of one log, as one node knows them."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._key: bytes | None = None
        self._is_asking = False

    def start(self) -> None:
        """Learn the key, if there is one."""
        self._learn_soon()

    async def begin(self, grant: Grant) -> tuple[str, float]:
        """Return the cookie of a new session of an administrator, and for how many seconds it is good.

        Raises:
            StoreUnavailable: The key could not be read or kept.
        """
        if self._key is None:
            self._key = await kept_key(self._engine.store, SESSION_KEY)
        now = self._engine.clock.wall_ms() / 1000
        ends_at = min(now + SESSION_S, grant.expires_at or now + SESSION_S)
        session = _Session(
            "cookie", secrets.token_hex(8), grant.user or "", grant.issued_at, grant.token_id, ends_at, ends_at
        )
        return self._written(session), ends_at - now

    def lend(self, session: AdminSession) -> tuple[str, float]:
        """Return a token for a session that has shown its cookie, and for how many seconds it is good."""
        now = self._engine.clock.wall_ms() / 1000
        grant, until = session.grant, min(now + TOKEN_S, session.ends_at)
        lent = _Session(
            "token", session.name, grant.user or "", grant.issued_at, grant.token_id, until, session.ends_at
        )
        return self._written(lent), until - now

    def session(self, text: str, kind: Kind) -> AdminSession:
        """Return the session of a cookie or of a token.

        Raises:
            RequestError: `unauthorized`: it is none, or over.
        """
        content, _, signature = text.removeprefix(TOKEN_PREFIX).partition(".")
        found = self._verified(content, signature)
        if found is None or found.kind != kind or found.until <= self._engine.clock.wall_ms() / 1000:
            raise RequestError("unauthorized", "the session is over: sign in with a code of `trunkline admin login`")
        grant = Grant(
            user=found.user,
            permissions=_ADMIN,
            expires_at=found.until,
            issued_at=found.issued_at,
            token_id=found.token_id,
        )
        return AdminSession(grant, found.session, found.ends_at)

    def _written(self, session: _Session) -> str:
        text = msgspec.json.encode(session)
        return f"{TOKEN_PREFIX}{_written(text)}.{_written(self._sign(text))}"

    def _verified(self, text: str, signature: str) -> _Session | None:
        if self._key is None:
            self._learn_soon()
            return None
        try:
            content = _read(text)
            if hmac.compare_digest(_read(signature), self._sign(content)):
                return _decode(content)
        except (ValueError, msgspec.DecodeError):
            pass
        return None

    def _sign(self, text: bytes) -> bytes:
        assert self._key is not None
        return hmac.new(self._key, text, hashlib.sha256).digest()

    def _learn_soon(self) -> None:
        if not self._is_asking:
            self._is_asking = True
            self._engine.tasks.spawn(self._learn_or_log())

    async def _learn_or_log(self) -> None:
        try:
            self._key = (await self._engine.store.notes()).get(SESSION_KEY)
        except StoreUnavailable as error:
            log.debug("the key of administrators' sessions cannot be read: %s", error)
        finally:
            self._is_asking = False


def _read(text: str) -> bytes:
    return base64.b64decode(text, b"-_", validate=True)


def _written(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode()
