"""The keys that an issuer publishes (RFC 7517): fetched when a token needs them, and kept for a while."""

from __future__ import annotations

import asyncio
import logging
import time
import urllib.error
import urllib.request
from typing import Any

import jwt
import msgspec

log = logging.getLogger("trunkline")

JWKS_BYTES_MAX = 256 * 1024
JWKS_TIMEOUT_S = 5.0
JWKS_FRESH_S = 600.0  # a key that was withdrawn is refused after this long
JWKS_STALE_S = 86_400.0  # an issuer that cannot be reached keeps its users for this long
JWKS_RETRY_S = 10.0  # tokens with invented key names must not make us ask more often than this

ALGORITHMS_BY_KEY_TYPE = {"RSA": ["RS256"], "EC": ["ES256"], "OKP": ["EdDSA"]}


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
        """Return whether the issuer should be asked again before a token with this key id is verified."""
        now = time.monotonic()
        if now - self._asked_at < JWKS_RETRY_S and self._asking is None:
            return False
        if not self._candidates(key_id) or now - self._fetched_at > JWKS_STALE_S:
            return True
        if now - self._fetched_at > JWKS_FRESH_S and self._asking is None:
            self._asking = asyncio.ensure_future(self._ask())  # no caller waits for it: the present keys are still good
        return False

    def find(self, key_id: str | None, algorithm: str) -> list[Any]:
        """Return the keys with which a token can be verified."""
        if time.monotonic() - self._fetched_at > JWKS_STALE_S:
            return []
        return [
            key.key
            for key in self._candidates(key_id)
            if algorithm in ALGORITHMS_BY_KEY_TYPE.get(key.key_type or "", [])
        ]

    async def refresh(self) -> None:
        """Ask the issuer, once for all callers that wait for it."""
        if self._asking is None:
            self._asking = asyncio.ensure_future(self._ask())
        await asyncio.shield(self._asking)

    async def _ask(self) -> None:
        try:
            async with asyncio.timeout(JWKS_TIMEOUT_S):  # urllib's own is per read, and a drop a second is a read
                self._keys = await asyncio.to_thread(_fetch, self._url)
            self._fetched_at = time.monotonic()
        except Exception as error:  # noqa: BLE001 - whatever an issuer answers, callers that wait must be answered
            log.warning("cannot fetch the issuer's keys from %s: %s", self._url, error or type(error).__name__)
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
        if (
            entry.get("kty") in list(ALGORITHMS_BY_KEY_TYPE) and entry.get("use", "sig") == "sig"
        ):  # no secret is published
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
    """Follows no redirect: only the URL that was set is asked."""

    def redirect_request(self, *_: Any) -> None:
        return None
