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

import msgspec

from trunkline.core.grant import Grant, Permissions
from trunkline.engine.engine import Engine
from trunkline.errors import RequestError, StoreUnavailable

log = logging.getLogger("trunkline")

COOKIE = "trunkline_admin"
TOKEN_PREFIX = "trunkline-admin."  # noqa: S105 - no secret
TOKEN_S = 300.0
CODE_S = 300.0
SESSION_S = 3600.0
KEY_NOTE = "admin-session-key"
_ADMIN = Permissions(admin=("*",))


class _Session(msgspec.Struct, array_like=True):
    user: str
    issued_at: float
    until: float


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

    async def issue(self, user: str, lifetime_s: float) -> str:
        """Return a new token of an administrator.

        Raises:
            StoreUnavailable: The key could not be read or kept.
        """
        if self._key is None and not await self._learn():
            await self._engine.store.note(KEY_NOTE, secrets.token_bytes(32))
            await self._learn()
        now = self._engine.clock.wall_ms() / 1000
        text = msgspec.json.encode(_Session(user, now, now + lifetime_s))
        return f"{TOKEN_PREFIX}{_written(text)}.{_written(self._sign(text))}"

    def grant(self, token: str) -> Grant:
        """Return the grant of a token, or of a cookie.

        Raises:
            RequestError: `unauthorized`: it is none, or over.
        """
        text, _, signature = token.removeprefix(TOKEN_PREFIX).partition(".")
        session = self._verified(text, signature)
        if session is None or session.until <= self._engine.clock.wall_ms() / 1000:
            raise RequestError("unauthorized", "the session is over: sign in with a code of `trunkline admin login`")
        return Grant(user=session.user, permissions=_ADMIN, expires_at=session.until, issued_at=session.issued_at)

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
            await self._learn()
        except StoreUnavailable as error:
            log.debug("the key of administrators' sessions cannot be read: %s", error)
        finally:
            self._is_asking = False

    async def _learn(self) -> bool:
        self._key = (await self._engine.store.notes()).get(KEY_NOTE)
        return self._key is not None


def _read(text: str) -> bytes:
    return base64.b64decode(text, b"-_", validate=True)


def _written(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode()
