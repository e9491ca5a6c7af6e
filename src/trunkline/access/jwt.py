"""Tokens: from the secret that a client sends to what it may do.

A token is a JWT (RFC 7519) signed by the application's own back end. Which key verifies it is decided by our
settings alone: its header is believed only as far as choosing among the keys of one configured issuer, and none of
its claims is looked at before the signature is good.

    claim    meaning
    sub      the user; required
    exp      the end, enforced on living connections too; required
    iat      when it was issued; `revoke(user)` refuses what was issued before
    jti      its own name, to revoke it alone
    rooms    what it permits: {"read": ["chat:*"], "write": ["chat:42"], …}
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Sequence
from typing import Any

import jwt
import msgspec

from trunkline.access.issuer import Issuer
from trunkline.access.jwks import JWKS_RETRY_S
from trunkline.access.keys import keys_of, secret_of
from trunkline.core.grant import Grant, Permissions, check_permissions
from trunkline.errors import ConfigError, RequestError
from trunkline.wire.credentials import TOKEN_BYTES_MAX

USER_MAX = 255
FOREVER = 253_402_300_800  # the year 10000
MOMENT_S = 60.0  # clients keep trying for so long with a token that is refused for a moment


class JwtAuth:
    """Verifies the tokens of one or several issuers.

    Args:
        issuers: Whose tokens count.
        permissions: What a token without a `rooms` claim permits; `{user}` in a pattern is the user's name.

    Raises:
        ConfigError: An issuer's settings are wrong, or its key cannot be read.
    """

    def __init__(self, issuers: Sequence[Issuer], permissions: Permissions | None = None) -> None:
        if not issuers:
            raise ConfigError(
                "auth = jwt needs a key: jwt.secret, jwt.secret_file, jwt.public_key_file or jwt.jwks_url"
            )
        self._permissions = permissions or Permissions()
        try:
            check_permissions(self._permissions, template=True)
        except ValueError as error:
            raise ConfigError(f"permissions.{error}") from None
        self._verifiers = [(issuer, keys_of(issuer)) for issuer in issuers]

    def verify_now(self, token: str) -> Grant | None:
        """Return the token's grant; None if a key must be fetched first.

        Raises:
            RequestError: `unauthorized` or `token_expired`.
        """
        key_id, algorithm = _header(token)
        refusal: RequestError | None = None
        for issuer, keys in self._verifiers:
            if keys.stale(key_id):
                return None
            for key in keys.find(key_id, algorithm):
                try:
                    return self._grant(issuer, _decode(token, key, algorithm, issuer))
                except RequestError as error:
                    if refusal is None or error.code == "token_expired":
                        refusal = error
        if refusal is None and key_id is not None and any(keys.learns for _, keys in self._verifiers):
            # It may have been published a moment ago: issuers do that before they sign with it, more or less.
            text = "no issuer has published the key of this token yet"
            refusal = RequestError("unauthorized", text, round(JWKS_RETRY_S * 1000))
        raise refusal or RequestError(
            "unauthorized", "no configured issuer accepts this token (issuer, key or algorithm)"
        )

    async def verify(self, token: str) -> Grant:
        """Return the token's grant, fetching keys if need be.

        Raises:
            RequestError: `unauthorized` or `token_expired`.
        """
        grant = self.verify_now(token)
        if grant is None:
            key_id, _ = _header(token)
            await asyncio.gather(*[keys.refresh() for _, keys in self._verifiers if keys.stale(key_id)])
            grant = self.verify_now(token)
        if grant is None:
            raise RequestError("unauthorized", "the keys of the token's issuer cannot be fetched now", 5000)
        return grant

    def _grant(self, issuer: Issuer, claims: dict[str, Any]) -> Grant:
        user = claims["sub"]
        if not isinstance(user, str) or not 0 < len(user) <= USER_MAX or not user.isprintable():
            raise RequestError("unauthorized", f"the token's sub is not a text of 1 to {USER_MAX} characters")
        user = issuer.user_prefix + user
        expires_at = _time(claims["exp"])
        if expires_at is None:
            raise RequestError("unauthorized", "the token's exp must be seconds since 1970, before the year 10000")
        if "rooms" in claims:
            try:
                permissions = check_permissions(msgspec.convert(claims["rooms"], Permissions))
            except (msgspec.ValidationError, ValueError) as error:
                raise RequestError("unauthorized", f"the token's rooms are not patterns by action: {error}") from None
        else:
            permissions = self._permissions.for_user(user)
        token_id = claims.get("jti")
        return Grant(
            user=user,
            permissions=permissions,
            expires_at=expires_at,
            issued_at=_time(claims.get("iat")),
            token_id=f"{issuer.user_prefix}{token_id}" if isinstance(token_id, str) else None,
        )


def _time(claim: object) -> float | None:
    # NaN is smaller than no moment, so it would be younger than every revocation; and True is a kind of 1.
    return (
        float(claim) if isinstance(claim, (int, float)) and type(claim) is not bool and abs(claim) < FOREVER else None
    )


def _header(token: str) -> tuple[str | None, str]:
    if len(token) > TOKEN_BYTES_MAX:
        raise RequestError("unauthorized", f"the token is longer than {TOKEN_BYTES_MAX} bytes")
    try:
        header = jwt.get_unverified_header(token)
    except (jwt.PyJWTError, ValueError, RecursionError):
        raise RequestError("unauthorized", "the token is not a JWT") from None
    if str(header.get("typ", "")).lower().endswith("logout+jwt"):  # of the same issuer and keys, and for something else
        raise RequestError("unauthorized", "this is a logout token: connect with an access token")
    key_id, algorithm = header.get("kid"), header.get("alg")
    return key_id if isinstance(key_id, str) else None, algorithm if isinstance(algorithm, str) else ""


def _decode(token: str, key: Any, algorithm: str, issuer: Issuer) -> dict[str, Any]:
    try:
        claims: dict[str, Any] = jwt.decode(
            token,
            key,
            algorithms=[algorithm],
            issuer=issuer.issuer,
            audience=issuer.audience,
            leeway=issuer.leeway_s,
            options={
                "require": ["exp", "sub"],
                "verify_aud": issuer.audience is not None,
                "verify_iat": False,  # two clocks are never the same; exp and nbf are what the issuer means
                "enforce_minimum_key_length": True,
            },
        )
    except jwt.ExpiredSignatureError:
        raise RequestError("token_expired", "the token has expired: get a new one") from None
    except jwt.ImmatureSignatureError:
        raise _immature(token, issuer) from None
    except (jwt.PyJWTError, ValueError, TypeError, RecursionError, OverflowError) as error:
        kind = type(error).__name__.removesuffix("Error")  # not its text, which may quote the token
        raise RequestError("unauthorized", f"the token is not valid here: {kind}") from None
    return claims


def _immature(token: str, issuer: Issuer) -> RequestError:
    """Return the answer to a token whose `nbf` is of the future, once its signature is known to be good."""
    claims = jwt.decode(token, options={"verify_signature": False})
    ahead_s = (_time(claims.get("nbf")) or FOREVER) - time.time() - issuer.leeway_s
    if ahead_s > MOMENT_S:
        return RequestError("unauthorized", "the token does not count yet, and will not for long")
    text = f"the token does not count yet: the clock of its issuer is ahead of ours by more than {issuer.leeway_s:g} s"
    return RequestError("unauthorized", text, max(100, round(ahead_s * 1000)))


def sign(
    issuer: Issuer,
    user: str,
    lifetime_s: float,
    permissions: Permissions | None = None,
    token_id: str | None = None,
) -> str:
    """Sign a token as an application would, with a shared secret (HS256).

    Args:
        permissions: The `rooms` claim; None leaves it to the server's settings.
        token_id: Its own name (`jti`); by default a random one.

    Raises:
        ConfigError: The issuer has no shared secret, or the permissions are no patterns.
    """
    if issuer.secret is None and issuer.secret_file is None:
        raise ConfigError("only a shared secret can sign: set jwt.secret or jwt.secret_file")
    now = int(time.time())
    name = token_id or secrets.token_hex(8)
    claims: dict[str, Any] = {"sub": user, "iat": now, "exp": now + round(lifetime_s), "jti": name}
    if permissions is not None:
        try:
            check_permissions(permissions)
        except ValueError as error:
            raise ConfigError(str(error)) from None
        claims["rooms"] = {name: patterns for name, patterns in msgspec.to_builtins(permissions).items() if patterns}
    if issuer.issuer is not None:
        claims["iss"] = issuer.issuer
    if issuer.audience is not None:
        claims["aud"] = issuer.audience
    return jwt.encode(claims, secret_of(issuer), algorithm="HS256")
