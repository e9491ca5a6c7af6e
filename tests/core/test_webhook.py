"""Secrets, signatures and addresses of webhooks."""

import base64
import os

import pytest
from standardwebhooks.webhooks import Webhook as Verifier
from standardwebhooks.webhooks import WebhookVerificationError

from trunkline.core.webhook import is_allowed, new_secret, parse_networks, parse_secret, signature


def test_signatures_are_what_receivers_verify() -> None:
    """By the reference implementation: each of two secrets, and not another body, id or time."""
    import time

    now, body = int(time.time()), b'{"a":"\xc3\xa9"}'
    old, new = new_secret(os.urandom(32)), new_secret(os.urandom(24))
    headers = signature([parse_secret(new), parse_secret(old)], "msg_1", now, body)
    for secret in (old, new):
        assert Verifier(secret).verify(body, headers) == {"a": "é"}
    for wrong in (
        {"webhook-id": "msg_2"},
        {"webhook-timestamp": str(now - 1)},
        {"webhook-timestamp": str(now - 600)},
    ):
        with pytest.raises(WebhookVerificationError):
            Verifier(new).verify(body, headers | wrong)
    with pytest.raises(WebhookVerificationError):
        Verifier(new).verify(body + b" ", headers)
    with pytest.raises(WebhookVerificationError):
        Verifier(new_secret(os.urandom(32))).verify(body, headers)


@pytest.mark.parametrize(
    "text",
    ["", "whsec_", "secret", "whsec_" + base64.b64encode(b"x" * 23).decode(), "whsec_!!!!",
     "whsec_" + base64.b64encode(b"x" * 65).decode(), base64.b64encode(b"x" * 32).decode()],
)  # fmt: skip
def test_what_is_no_secret_is_not_repeated(text: str) -> None:
    with pytest.raises(ValueError, match="whsec_") as refused:
        parse_secret(text)
    assert len(text) < 10 or text.removeprefix("whsec_") not in str(refused.value)


@pytest.mark.parametrize("address", ["93.184.215.14", "2606:2800:21f:cb07:6820:80da:af6b:8b2c", "1.1.1.1"])
def test_public_addresses_may_be_sent_to(address: str) -> None:
    assert is_allowed(address, [])


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "127.255.0.1", "10.0.0.1", "172.16.3.4", "192.168.1.1", "169.254.169.254", "0.0.0.0", "100.64.0.1",
        "224.0.0.1", "255.255.255.255", "198.18.0.1", "192.0.2.1", "240.0.0.1", "::1", "::", "fe80::1", "fe80::1%eth0",
        "fc00::1", "fd12::1", "ff02::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254", "::127.0.0.1",
        "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "2002:7f00:1::1", "2002:a00:1::", "2001:0:0:0:0:0:80ff:fffe",
        "2001:db8::1", "no address", "", "fec0::1", "64:ff9b:1::7f00:1", "::ffff:0:127.0.0.1", "::2", "192.0.0.8",
        "192.0.0.192", "168.63.129.16",
    ],
)  # fmt: skip
def test_other_addresses_may_not(address: str) -> None:
    assert not is_allowed(address, [])


def test_unless_they_are_listed() -> None:
    networks = parse_networks(["10.1.0.0/16", "127.0.0.1", "fd12::/16"])
    assert is_allowed("10.1.2.3", networks)
    assert is_allowed("::ffff:10.1.2.3", networks)
    assert is_allowed("127.0.0.1", networks)
    assert is_allowed("fd12::5", networks)
    assert not is_allowed("10.2.0.1", networks)
    assert not is_allowed("127.0.0.2", networks)
    with pytest.raises(ValueError, match="network"):
        parse_networks(["example.com"])
