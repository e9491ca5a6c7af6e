"""Tokens and tickets: from a secret that somebody brings to what they may do.

A token is a JWT (RFC 7519) that the application's own back end signed. Which key verifies it is decided by our
settings alone: its header is believed only as far as choosing among the keys of one configured issuer, and none of
its claims is looked at before the signature is good (R55).

    claim    meaning
    sub      the user; required
    exp      the end, enforced on living connections too; required
    iat      when it was issued; `revoke(user)` refuses what was issued before
    jti      its own name, to revoke it alone
    rooms    what it permits: {"read": ["chat:*"], "write": ["chat:42"], …}
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import secrets
import time
import urllib.error
import urllib.request
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import jwt
import msgspec

from trunkline.core.grant import Grant, Permissions, check_permissions
from trunkline.errors import ConfigError, RequestError
from trunkline.wire.credentials import TOKEN_BYTES_MAX
from trunkline.wire.origin import is_loopback

log = logging.getLogger("trunkline")

SECRET_BYTES_MIN = 32  # RFC 7518 section 3.2: a key of the hash's size or larger
USER_MAX = 255
LEEWAY_S_MAX = 300.0  # RFC 7519 section 4.1.5: "usually no more than a few minutes"
FOREVER = 253_402_300_800  # the year 10000
JWKS_BYTES_MAX = 256 * 1024
JWKS_TIMEOUT_S = 5.0
JWKS_FRESH_S = 600.0  # a key that was withdrawn is refused after this long
JWKS_STALE_S = 86_400.0  # an issuer that cannot be reached keeps its users for this long
MOMENT_S = 60.0  # clients keep trying for so long with a token that is refused for a moment
JWKS_RETRY_S = 10.0  # tokens with invented key names must not make us ask more often than this

_BY_KEY_TYPE = {"RSA": ["RS256"], "EC": ["ES256"], "OKP": ["EdDSA"]}


class Issuer(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Somebody whose tokens count. Exactly one of the first four says how they are verified.

    Attributes:
        secret, secret_file: Shared secret of at least 32 bytes (HS256), or the file that holds it.
        public_key_file: A public key in PEM: RSA (RS256), P-256 (ES256) or Ed25519 (EdDSA).
        jwks_url: Where the issuer publishes its keys (RFC 7517); https, or http on loopback.
        issuer, audience: What `iss` and `aud` must be, if given.
        user_prefix: Put before `sub`, so that two issuers' users are never the same user.
        leeway_s: By how many seconds the issuer's clock may be ahead of ours: a token counts so much before its `nbf`.
    """

    secret: str | None = None
    secret_file: str | None = None
    public_key_file: str | None = None
    jwks_url: str | None = None
    issuer: str | None = None
    audience: str | None = None
    user_prefix: str = ""
    leeway_s: float = 10.0

    def __repr__(self) -> str:
        return f"Issuer(issuer={self.issuer!r})"


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
        self._verifiers = [(issuer, _keys(issuer)) for issuer in issuers]

    def verify_now(self, token: str) -> Grant | None:
        """The token's grant; None if a key must be fetched first.

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
        raise refusal or RequestError("unauthorized", "the token is of no issuer, key or algorithm that counts here")

    async def verify(self, token: str) -> Grant:
        """The token's grant, fetching keys if need be.

        Raises:
            RequestError: `unauthorized` or `token_expired`.
        """
        grant = self.verify_now(token)
        if grant is None:
            key_id, _ = _header(token)
            await asyncio.gather(*[keys.refresh() for _, keys in self._verifiers if keys.stale(key_id)])
            grant = self.verify_now(token)
        if grant is None:
            raise RequestError("unauthorized", "the keys of the token's issuer cannot be had now", 5000)
        return grant

    def _grant(self, issuer: Issuer, claims: dict[str, Any]) -> Grant:
        user = claims["sub"]
        if not isinstance(user, str) or not 0 < len(user) <= USER_MAX or not user.isprintable():
            raise RequestError("unauthorized", f"the token's sub is not a text of 1 to {USER_MAX} characters")
        user = issuer.user_prefix + user
        expires_at = _time(claims["exp"])
        if expires_at is None:
            raise RequestError("unauthorized", "the token's exp is no time that anybody will see")
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
    """The answer to a token whose `nbf` is of the future, once its signature is known to be good."""
    claims = jwt.decode(token, options={"verify_signature": False})
    ahead_s = (_time(claims.get("nbf")) or FOREVER) - time.time() - issuer.leeway_s
    if ahead_s > MOMENT_S:
        return RequestError("unauthorized", "the token does not count yet, and will not for long")
    text = f"the token does not count yet: the clock of its issuer is ahead of ours by more than {issuer.leeway_s:g} s"
    return RequestError("unauthorized", text, max(100, round(ahead_s * 1000)))


def sign(issuer: Issuer, user: str, lifetime_s: float, permissions: Permissions | None = None) -> str:
    """A token as an application would sign it, with a shared secret (HS256).

    Args:
        permissions: The `rooms` claim; None leaves it to the server's settings.

    Raises:
        ConfigError: The issuer has no shared secret, or the permissions are no patterns.
    """
    if issuer.secret is None and issuer.secret_file is None:
        raise ConfigError("only a shared secret can sign: set jwt.secret or jwt.secret_file")
    now = int(time.time())
    claims: dict[str, Any] = {"sub": user, "iat": now, "exp": now + round(lifetime_s), "jti": secrets.token_hex(8)}
    if permissions is not None:
        try:
            check_permissions(permissions)
        except ValueError as error:
            raise ConfigError(str(error)) from None
        claims["rooms"] = {name: list(patterns) for name, patterns in msgspec.structs.asdict(permissions).items()}
    if issuer.issuer is not None:
        claims["iss"] = issuer.issuer
    if issuer.audience is not None:
        claims["aud"] = issuer.audience
    return jwt.encode(claims, _secret(issuer), algorithm="HS256")


# Keys.


class _FixedKey:
    """One key that does not change."""

    learns = False

    def __init__(self, key: Any, algorithms: list[str]) -> None:
        self._key = key
        self._algorithms = algorithms

    def stale(self, key_id: str | None) -> bool:
        return False

    def find(self, key_id: str | None, algorithm: str) -> list[Any]:
        return [self._key] if algorithm in self._algorithms else []

    async def refresh(self) -> None:
        """There is nothing to fetch."""


class Jwks:
    """The keys that one issuer publishes. Each issuer has its own, so a key is known by (issuer, url, key id)."""

    learns = True

    def __init__(self, url: str) -> None:
        self._url = url
        self._keys: dict[str | None, jwt.PyJWK] = {}
        self._fetched_at = -JWKS_STALE_S
        self._asked_at = -JWKS_RETRY_S
        self._asking: asyncio.Future[None] | None = None

    def stale(self, key_id: str | None) -> bool:
        """Whether it is worth asking the issuer again before this key id is decided."""
        now = time.monotonic()
        if now - self._asked_at < JWKS_RETRY_S and self._asking is None:
            return False
        if not self._candidates(key_id) or now - self._fetched_at > JWKS_STALE_S:
            return True
        if now - self._fetched_at > JWKS_FRESH_S and self._asking is None:
            self._asking = asyncio.ensure_future(self._ask())  # nobody waits for it: the keys that are here still count
        return False

    def find(self, key_id: str | None, algorithm: str) -> list[Any]:
        """The keys that this token can be verified with."""
        if time.monotonic() - self._fetched_at > JWKS_STALE_S:
            return []
        return [key.key for key in self._candidates(key_id) if algorithm in _BY_KEY_TYPE.get(key.key_type or "", [])]

    async def refresh(self) -> None:
        """Ask the issuer, once for all who wait for it."""
        if self._asking is None:
            self._asking = asyncio.ensure_future(self._ask())
        await asyncio.shield(self._asking)

    async def _ask(self) -> None:
        try:
            async with asyncio.timeout(JWKS_TIMEOUT_S):  # urllib's own is per read, and a drop a second is a read
                self._keys = await asyncio.to_thread(_fetch, self._url)
            self._fetched_at = time.monotonic()
        except Exception as error:  # noqa: BLE001 - whatever an issuer answers, those who wait must be answered
            log.warning("the keys at %s could not be had: %s", self._url, error or type(error).__name__)
        finally:
            self._asked_at = time.monotonic()
            self._asking = None

    def _candidates(self, key_id: str | None) -> list[jwt.PyJWK]:
        if key_id is None:
            return list(self._keys.values()) if len(self._keys) == 1 else []
        return [self._keys[key_id]] if key_id in self._keys else []


def _fetch(url: str) -> dict[str | None, jwt.PyJWK]:
    request = urllib.request.Request(url, headers={"Accept": "application/json"})  # noqa: S310 - checked in _keys
    with urllib.request.build_opener(_NoRedirect).open(request, timeout=JWKS_TIMEOUT_S) as response:
        body, end = b"", time.monotonic() + JWKS_TIMEOUT_S
        while piece := response.read1(65536):
            body += piece
            if len(body) > JWKS_BYTES_MAX or time.monotonic() > end:
                raise ValueError(f"more than {JWKS_BYTES_MAX} bytes, or slower than {JWKS_TIMEOUT_S} s")
    keys: dict[str | None, jwt.PyJWK] = {}
    for entry in msgspec.json.decode(body, type=_KeySet).keys:
        if entry.get("kty") in list(_BY_KEY_TYPE) and entry.get("use", "sig") == "sig":  # no secret is published
            try:
                key = jwt.PyJWK(entry)
            except Exception:  # noqa: BLE001, S112 - of a kind that we do not know, or broken; others may do
                continue
            keys[key.key_id] = key
    return keys


class _KeySet(msgspec.Struct):
    """RFC 7517 section 5."""

    keys: list[dict[str, Any]]


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """What was set is asked, and nobody whom that names."""

    def redirect_request(self, *_: Any) -> None:
        return None


_Keys = _FixedKey | Jwks


def _keys(issuer: Issuer) -> _Keys:
    if not 0 <= issuer.leeway_s <= LEEWAY_S_MAX:
        raise ConfigError(f"leeway_s is 0 to {LEEWAY_S_MAX:g} s, not {issuer.leeway_s:g}")
    given = [issuer.secret, issuer.secret_file, issuer.public_key_file, issuer.jwks_url]
    if sum(value is not None for value in given) != 1:
        raise ConfigError("an issuer has exactly one of secret, secret_file, public_key_file and jwks_url")
    if issuer.jwks_url is not None:
        parts = urlsplit(issuer.jwks_url)
        if parts.scheme != "https" and not (parts.scheme == "http" and is_loopback(parts.hostname or "")):
            raise ConfigError(f"jwks_url must be https, not {issuer.jwks_url}")
        return Jwks(issuer.jwks_url)
    if issuer.public_key_file is not None:
        return _public_key(_read(issuer.public_key_file))
    return _FixedKey(_secret(issuer), ["HS256"])


def _secret(issuer: Issuer) -> bytes:
    secret = issuer.secret.encode() if issuer.secret is not None else _read(issuer.secret_file or "").strip()
    if len(secret) < SECRET_BYTES_MIN:
        raise ConfigError(
            f"the secret has {len(secret)} bytes, at least {SECRET_BYTES_MIN} are needed: openssl rand -hex 32"
        )
    return secret


def _public_key(pem: bytes) -> _FixedKey:
    # Here, because most servers share a secret and need not load all this.
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey  # noqa: PLC0415
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey  # noqa: PLC0415
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey  # noqa: PLC0415
    from cryptography.hazmat.primitives.serialization import load_pem_public_key  # noqa: PLC0415

    try:
        key = load_pem_public_key(pem)
    except ValueError:
        raise ConfigError("public_key_file holds no public key in PEM") from None
    if isinstance(key, RSAPublicKey):
        return _FixedKey(key, ["RS256"])
    if isinstance(key, EllipticCurvePublicKey) and key.curve.name == "secp256r1":
        return _FixedKey(key, ["ES256"])
    if isinstance(key, Ed25519PublicKey):
        return _FixedKey(key, ["EdDSA"])
    raise ConfigError("public_key_file holds a key that is neither RSA nor P-256 nor Ed25519")


def _read(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from None


# Tickets.

TICKET_S = 30.0
TICKETS_MAX = 50_000
TICKETS_PER_USER_MAX = 50  # the oldest goes: whoever asks for so many does not use them


class Tickets:
    """Single-use passes for those who cannot send a header and do not want a token in a URL.

    A ticket is kept as its hash: whoever could read our memory by some mistake would find nothing to use. It names the
    node that made it, because only that one knows whether it was used.
    """

    def __init__(self) -> None:
        self.node = ""
        self._grants: OrderedDict[bytes, tuple[float, Grant]] = OrderedDict()
        self._by_user: dict[str | None, OrderedDict[bytes, None]] = {}

    def __len__(self) -> int:
        return len(self._grants)

    def issue(self, grant: Grant, now: float) -> str:
        """A ticket that is worth this grant for TICKET_S seconds. *now* is of any clock that only goes forward.

        Raises:
            RequestError: `rate_limited`: so many are out that more would be forgotten before they are used.
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
        ticket = secrets.token_urlsafe(32) if not self.node else f"{self.node}.{secrets.token_urlsafe(32)}"
        self._grants[_hash(ticket)] = (now + TICKET_S, grant)
        self._by_user.setdefault(grant.user, OrderedDict())[_hash(ticket)] = None
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
        """The grant, once.

        Raises:
            RequestError: `unauthorized`: it was used, it is too old, or it never was one.
        """
        grant = self.take(_hash(ticket), now)
        if grant is None:
            raise ticket_refused()
        return grant

    def take(self, key: bytes, now: float) -> Grant | None:
        """The same for a ticket's hash; None if it is worth nothing."""
        until, grant = self._forget(key)
        return grant if until >= now else None

    def is_ours(self, ticket: str) -> bool:
        """Whether no other node could have made it."""
        return ticket.partition(".")[0] == self.node or "." not in ticket

    def address(self, ticket: str) -> tuple[str, bytes]:
        """The node to ask for it, and what to ask for."""
        return ticket.partition(".")[0], _hash(ticket)


def ticket_refused() -> RequestError:
    """The answer to whoever brings a ticket that is worth nothing."""
    return RequestError("unauthorized", "the ticket was used already, or is older than 30 s: get a new one")


def _hash(ticket: str) -> bytes:
    return hashlib.sha256(ticket.encode("utf-8", "surrogateescape")).digest()
