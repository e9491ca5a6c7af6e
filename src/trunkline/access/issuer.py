"""The settings of an issuer of tokens."""

from __future__ import annotations

import msgspec


class Issuer(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An issuer whose tokens are accepted. Exactly one of the first four attributes says how they are verified.

    Attributes:
        secret, secret_file: Shared secret of at least 32 bytes (HS256), or the file that holds it.
        public_key_file: A public key in PEM: RSA (RS256), P-256 (ES256) or Ed25519 (EdDSA).
        jwks_url: Where the issuer publishes its keys (RFC 7517); https, or http on loopback.
        issuer, audience: What `iss` and `aud` must be, if given.
        user_prefix: Put before `sub`, so that two issuers' users are never the same user.
        leeway_s: By how many seconds the issuer's clock may be ahead: a token is accepted so long before its `nbf`.
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
