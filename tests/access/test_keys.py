"""Whose tokens count: keys of all kinds."""

from __future__ import annotations

import json
import secrets
import time
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tests.access.signing import KEYS, RSA, pem, refused
from tests.access.support import SECRET, token
from trunkline import ConfigError, Grant, Issuer, JwtAuth, Permissions, RequestError
from trunkline.core import tickets as tickets_module
from trunkline.core.tickets import Tickets


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


def test_a_logout_token_lets_nobody_in() -> None:
    """A provider signs it with the same keys, and for the same client."""
    auth = JwtAuth([Issuer(secret=SECRET)])
    claims = {"sub": "ana", "exp": time.time() + 60, "events": {}}
    for kind in ("logout+jwt", "application/logout+JWT"):
        assert refused(auth, jwt.encode(claims, SECRET, "HS256", headers={"typ": kind})) == "unauthorized"
    assert auth.verify_now(jwt.encode(claims, SECRET, "HS256", headers={"typ": "at+jwt"})) is not None
