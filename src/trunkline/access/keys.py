"""The keys with which the tokens of one issuer are verified, by its settings."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from trunkline.access.issuer import Issuer
from trunkline.access.jwks import Jwks
from trunkline.errors import ConfigError
from trunkline.wire.origin import is_loopback

SECRET_BYTES_MIN = 32  # RFC 7518 section 3.2: a key of the hash's size or larger
LEEWAY_S_MAX = 300.0  # RFC 7519 section 4.1.5: "usually no more than a few minutes"


class FixedKey:
    """One key that does not change."""

    learns = False

    def __init__(self, key: Any, algorithms: list[str]) -> None:
        self._key = key
        self._algorithms = algorithms

    def stale(self, key_id: str | None) -> bool:
        """Return whether the key must be fetched again: never."""
        return False

    def find(self, key_id: str | None, algorithm: str) -> list[Any]:
        """Return the keys with which a token can be verified."""
        return [self._key] if algorithm in self._algorithms else []

    async def refresh(self) -> None:
        """Do nothing: the key was given."""


Keys = FixedKey | Jwks


def keys_of(issuer: Issuer) -> Keys:
    """Return the keys of an issuer.

    Raises:
        ConfigError: Its settings are wrong, or its key cannot be read.
    """
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
    return FixedKey(secret_of(issuer), ["HS256"])


def secret_of(issuer: Issuer) -> bytes:
    """Return the secret that an issuer shares with this server.

    Raises:
        ConfigError: It is too short, or cannot be read.
    """
    secret = issuer.secret.encode() if issuer.secret is not None else _read(issuer.secret_file or "").strip()
    if len(secret) < SECRET_BYTES_MIN:
        raise ConfigError(
            f"the secret has {len(secret)} bytes, at least {SECRET_BYTES_MIN} are needed: openssl rand -hex 32"
        )
    return secret


def _public_key(pem: bytes) -> FixedKey:
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
        return FixedKey(key, ["RS256"])
    if isinstance(key, EllipticCurvePublicKey) and key.curve.name == "secp256r1":
        return FixedKey(key, ["ES256"])
    if isinstance(key, Ed25519PublicKey):
        return FixedKey(key, ["EdDSA"])
    raise ConfigError("public_key_file holds a key that is neither RSA nor P-256 nor Ed25519")


def _read(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from None
