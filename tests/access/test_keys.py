"""Whose tokens count: keys of all kinds, and keys that an issuer publishes (R55)."""

from __future__ import annotations

import asyncio
import json
import secrets
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

from tests.access.support import SECRET, token
from trunkline import ConfigError, Grant, Issuer, JwtAuth, Permissions, RequestError
from trunkline.access import jwks as jwks_module
from trunkline.core import tickets as tickets_module
from trunkline.core.tickets import Tickets

RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048)
EC = ec.generate_private_key(ec.SECP256R1())
ED = ed25519.Ed25519PrivateKey.generate()
KEYS: dict[str, Any] = {"RS256": RSA, "ES256": EC, "EdDSA": ED}


def pem(key: Any) -> bytes:
    data: bytes = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return data


def refused(auth: JwtAuth, text: str) -> str:
    with pytest.raises(RequestError) as caught:
        auth.verify_now(text)
    assert text not in str(caught.value)
    return caught.value.code


@pytest.mark.parametrize("algorithm", KEYS)
def test_public_keys(tmp_path: Path, algorithm: str) -> None:
    path = tmp_path / "key.pem"
    path.write_bytes(pem(KEYS[algorithm]))
    auth = JwtAuth([Issuer(public_key_file=str(path))])
    grant = auth.verify_now(token("ana", key=KEYS[algorithm], algorithm=algorithm))
    assert grant is not None
    assert (grant.user, grant.permissions.read) == ("ana", ("*",))
    # The public key is public: whoever signs with it as if it were a shared secret has signed nothing.
    confused = jwt.api_jws.PyJWS()
    setattr(confused._algorithms["HS256"], "prepare_key", lambda key: key)  # noqa: B010 - a method
    body = json.dumps({"sub": "eve", "exp": time.time() + 60}).encode()
    assert refused(auth, confused.encode(body, path.read_bytes(), "HS256")) == "unauthorized"
    for other, key in KEYS.items():
        if other != algorithm:
            assert refused(auth, token(key=key, algorithm=other)) == "unauthorized"


def test_two_issuers_are_two_peoples() -> None:
    """A user of one is never a user of the other, though both are called ana."""
    other = "another secret of another issuer, 32 bytes"
    auth = JwtAuth(
        [
            Issuer(secret=SECRET, issuer="https://a.example", audience="rooms"),
            Issuer(secret=other, issuer="https://b.example", user_prefix="b:"),
        ]
    )
    first = auth.verify_now(token("ana", iss="https://a.example", aud="rooms"))
    second = auth.verify_now(token("ana", key=other, iss="https://b.example", jti="1"))
    assert first is not None
    assert second is not None
    assert (first.user, second.user, second.token_id) == ("ana", "b:ana", "b:1")
    others: list[dict[str, Any]] = [
        {"iss": "https://b.example", "aud": "rooms"},
        {"iss": "https://a.example"},
        {"aud": "rooms"},
    ]
    for claims in others:
        assert refused(auth, token("ana", **claims)) == "unauthorized"


def test_permissions_of_the_settings() -> None:
    auth = JwtAuth([Issuer(secret=SECRET)], Permissions(read=("public:*", "inbox:{user}")))
    for user, room, may in (
        ("ana", "inbox:ana", True),
        ("ana", "public:x", True),
        ("ana", "inbox:ben", False),
        ("*", "inbox:ana", False),
        ("a b", "inbox:a b", False),
        ("{user}", "inbox:ana", False),
    ):
        grant = auth.verify_now(token(user, rooms=None))
        assert grant is not None
        assert grant.permissions.allows("read", room) is may, (user, room)
        assert not grant.permissions.allows("write", room)


@pytest.mark.parametrize(
    ("issuer", "message"),
    [
        (Issuer(), "exactly one"),
        (Issuer(secret=SECRET, jwks_url="https://x"), "exactly one"),
        (Issuer(secret="short"), "at least 32"),
        (Issuer(secret_file="/nowhere"), "No such file"),
        (Issuer(public_key_file=__file__), "no public key"),
        (Issuer(jwks_url="http://example.com/keys"), "must be https"),
        (Issuer(jwks_url="file:///etc/passwd"), "must be https"),
    ],
)
def test_settings_that_cannot_be(issuer: Issuer, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        JwtAuth([issuer])
    assert SECRET not in repr(issuer)


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


def signed(name: str, algorithm: str, **claims: Any) -> str:
    return token(key=KEYS[algorithm], algorithm=algorithm, headers={"kid": name}, **claims)


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


def test_tickets() -> None:
    tickets = Tickets(lambda: secrets.token_urlsafe(32))
    grant = Grant(user="ana")
    ticket = tickets.issue(grant, 0)
    assert tickets.redeem(ticket, 29) is grant
    for text in (ticket, "", "x", "\udcff"):
        with pytest.raises(RequestError):
            tickets.redeem(text, 29)
    late = tickets.issue(grant, 0)
    with pytest.raises(RequestError):
        tickets.redeem(late, 31)
    other = tickets.issue(Grant(user="ben"), 100)
    mine = [tickets.issue(grant, 100) for _ in range(tickets_module.TICKETS_PER_USER_MAX + 1)]
    with pytest.raises(RequestError):  # the oldest of one user goes, and nobody else's
        tickets.redeem(mine[0], 100)
    assert tickets.redeem(mine[1], 100) is grant
    assert tickets.redeem(other, 100).user == "ben"
    tickets.issue(grant, 131)
    assert len(tickets) == 1
    for n in range(tickets_module.TICKETS_MAX - 1):
        tickets.issue(Grant(user=f"u{n}"), 131)
    with pytest.raises(RequestError):
        tickets.issue(Grant(user="late"), 131)


def test_private_keys_are_not_public(tmp_path: Path) -> None:
    path = tmp_path / "private.pem"
    path.write_bytes(RSA.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    with pytest.raises(ConfigError):
        JwtAuth([Issuer(public_key_file=str(path))])


def test_clocks_differ() -> None:
    """A token counts a little before its `nbf`; one that will count soon says when, one that will not says no."""
    auth = JwtAuth([Issuer(secret=SECRET, leeway_s=10)])

    def ahead(seconds: float) -> str:
        return token("ana", nbf=time.time() + seconds, iat=time.time() + seconds, exp=time.time() + seconds + 600)

    assert auth.verify_now(ahead(8)) is not None
    for seconds, about_ms in ((15, 5000), (60, 50_000)):
        with pytest.raises(RequestError, match="does not count yet") as caught:
            auth.verify_now(ahead(seconds))
        assert caught.value.retry_after_ms is not None
        assert about_ms - 2000 < caught.value.retry_after_ms <= about_ms
    with pytest.raises(RequestError, match="will not for long") as caught:
        auth.verify_now(ahead(600))
    assert caught.value.retry_after_ms is None
    with pytest.raises(RequestError) as caught:  # leeway is for the beginning: the end is the end
        auth.verify_now(token("ana", exp=time.time() - 60))
    assert caught.value.code == "token_expired"
    strict = JwtAuth([Issuer(secret=SECRET, leeway_s=0)])
    with pytest.raises(RequestError, match="yet"):
        strict.verify_now(ahead(5))
    with pytest.raises(ConfigError, match="leeway_s is 0 to 300 s"):
        JwtAuth([Issuer(secret=SECRET, leeway_s=301)])


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
