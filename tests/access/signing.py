"""Keys of all kinds, and tokens that are signed with them."""

from __future__ import annotations

from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.access.support import token
from trunkline import JwtAuth, RequestError

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


def signed(name: str, algorithm: str, **claims: Any) -> str:
    return token(key=KEYS[algorithm], algorithm=algorithm, headers={"kid": name}, **claims)
