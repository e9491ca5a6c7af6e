"""Keys that an issuer publishes."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace
from typing import Any

import pytest
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

from tests.access.signing import KEYS, refused, signed
from tests.access.support import SECRET, token
from trunkline import Issuer, JwtAuth, RequestError
from trunkline.access import jwks as jwks_module


class Keys(ThreadingHTTPServer):
    """An issuer that publishes its keys, and counts who asks."""

    def __init__(self) -> None:
        self.keys: list[dict[str, Any]] = []
        self.asked = 0
        self.answer: bytes | None = None
        self.redirect = ""
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.asked += 1
                body = outer.answer if outer.answer is not None else json.dumps({"keys": outer.keys}).encode()
                self.send_response(302 if outer.redirect else 200)
                if outer.redirect:
                    self.send_header("Location", outer.redirect)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Be quiet."""

        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_address[1]}/keys"

    def publish(self, name: str, algorithm: str) -> None:
        kind: Any = {"RS256": RSAAlgorithm, "ES256": ECAlgorithm, "EdDSA": OKPAlgorithm}[algorithm]
        entry = json.loads(kind.to_jwk(KEYS[algorithm].public_key()))
        self.keys.append(entry | {"kid": name, "use": "sig"})


@pytest.fixture
def keys() -> Iterator[Keys]:
    server = Keys()
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


async def test_published_keys(keys: Keys, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fetched once for all who wait, and asked for again when a new name comes, but not for every invented one."""
    clock = [1000.0]
    monkeypatch.setattr(jwks_module, "time", SimpleNamespace(monotonic=lambda: clock[0], time=time.time))
    keys.publish("one", "RS256")
    keys.publish("two", "ES256")
    keys.keys.append({"kty": "oct", "k": "AAAA", "kid": "shared"})
    keys.keys.append({"kty": "RSA", "kid": "broken"})
    auth = JwtAuth([Issuer(jwks_url=keys.url)])
    assert auth.verify_now(signed("one", "RS256")) is None
    grants = await asyncio.gather(*[auth.verify(signed("one", "RS256")) for _ in range(20)])
    assert {grant.user for grant in grants} == {"ana"}
    assert keys.asked == 1
    assert (await auth.verify(signed("two", "ES256"))).user == "ana"
    for name in ("three", "four", "five"):
        with pytest.raises(RequestError):
            await auth.verify(signed(name, "EdDSA"))
    assert keys.asked == 1
    keys.publish("three", "EdDSA")
    clock[0] += 11
    assert (await auth.verify(signed("three", "EdDSA"))).user == "ana"
    assert keys.asked == 2
    # A key under another's name, and an algorithm that is not the key's.
    assert refused(auth, signed("one", "ES256")) == "unauthorized"
    assert refused(auth, token(key="A" * 32, headers={"kid": "shared"})) == "unauthorized"
    # Withdrawn keys end; an issuer that is away does not end its users' world for a day.
    keys.keys.pop(0)
    clock[0] += 601
    assert (await auth.verify(signed("two", "ES256"))).user == "ana"  # nobody waits for keys that are getting old
    async with asyncio.timeout(5):
        while True:
            try:
                await auth.verify(signed("one", "RS256"))
            except RequestError:
                break
            await asyncio.sleep(0.01)
    keys.answer = b"not JSON"
    clock[0] += 3600
    assert (await auth.verify(signed("two", "ES256", lifetime_s=9999))).user == "ana"
    clock[0] += 86_401
    with pytest.raises(RequestError):
        await auth.verify(signed("two", "ES256"))


@pytest.mark.parametrize(
    "answer", [b"[]", b"{}", b'{"keys":3}', b'{"keys":[3]}', b"x" * 300_000, b"\xff", b'{"keys":[{"kty":[]}]}']
)
async def test_issuers_that_answer_nonsense(keys: Keys, answer: bytes) -> None:
    keys.answer = answer
    auth = JwtAuth([Issuer(jwks_url=keys.url)])
    with pytest.raises(RequestError) as caught:
        await auth.verify(signed("one", "RS256"))
    assert caught.value.code == "unauthorized"


async def test_redirects_are_not_followed(keys: Keys) -> None:
    keys.publish("one", "RS256")
    keys.redirect = keys.url + "2"
    auth = JwtAuth([Issuer(jwks_url=keys.url)])
    with pytest.raises(RequestError):
        await auth.verify(signed("one", "RS256"))
    assert keys.asked == 1


async def test_keys_of_two_issuers_with_one_name(keys: Keys) -> None:
    """A key is known by (issuer, url, name): the same name at another issuer's opens nothing there (CVE-2026-49998)."""
    keys.publish("k", "RS256")
    other = Keys()
    thread = threading.Thread(target=other.serve_forever, args=(0.02,))
    thread.start()
    try:
        other.publish("k", "ES256")
        auth = JwtAuth(
            [
                Issuer(jwks_url=keys.url, issuer="a", user_prefix="a:"),
                Issuer(jwks_url=other.url, issuer="b", user_prefix="b:"),
            ]
        )
        assert (await auth.verify(signed("k", "RS256", iss="a"))).user == "a:ana"
        assert (await auth.verify(signed("k", "ES256", iss="b"))).user == "b:ana"
        for algorithm, issuer in (("RS256", "b"), ("ES256", "a")):
            with pytest.raises(RequestError):
                await auth.verify(signed("k", algorithm, iss=issuer))
    finally:
        other.shutdown()
        thread.join()
        other.server_close()


async def test_a_key_that_is_published_a_moment_later(keys: Keys) -> None:
    """Whoever brings a token of a key that nobody has published yet is told to come again; a forged one is not."""
    keys.publish("old", "RS256")
    auth = JwtAuth([Issuer(jwks_url=keys.url)])
    with pytest.raises(RequestError, match="has published the key of this token yet") as caught:
        await auth.verify(signed("new", "RS256"))
    assert caught.value.retry_after_ms == 10_000
    fixed = JwtAuth([Issuer(secret=SECRET)])
    with pytest.raises(RequestError) as caught:
        await fixed.verify(signed("new", "RS256"))
    assert caught.value.retry_after_ms is None
