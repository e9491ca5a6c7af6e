import pytest

from trunkline.errors import ConfigError
from trunkline.stores.redis.address import parse_address


@pytest.mark.parametrize(
    ("url", "kind", "hosts", "text"),
    [
        ("redis://", "redis", [("localhost", 6379)], "Redis at localhost:6379"),
        ("redis://r:1/2", "redis", [("r", 1)], "Redis at r:1"),
        ("redis+sentinel://a,b:9/house", "sentinel", [("a", 26379), ("b", 9)], "Redis at a:26379,b:9 (house)"),
        ("rediss+cluster://a,b", "cluster", [("a", 6379), ("b", 6379)], "Redis at a:6379,b:6379"),
    ],
)
def test_where_it_is(url: str, kind: str, hosts: list[tuple[str, int]], text: str) -> None:
    address = parse_address(url)
    assert (address.kind, address.hosts, str(address)) == (kind, hosts, text)


def test_options() -> None:
    address = parse_address("rediss://us%40er:p%3Aw@r/3?prefix=x&wait_replicas=1&wait_ms=20&ssl_ca_certs=/ca.pem")
    assert address.options == {
        "username": "us@er", "password": "p:w", "db": 3, "ssl": True, "ssl_ca_certs": "/ca.pem",
    }  # fmt: skip
    assert (address.prefix, address.wait_replicas, address.wait_ms) == ("x", 1, 20)
    sentinel = parse_address("redis+sentinel://a/house?sentinel_username=u&sentinel_password=p")
    assert (sentinel.service, sentinel.sentinel) == ("house", {"username": "u", "password": "p"})


@pytest.mark.parametrize(
    "url",
    [
        "redis://user:secret@a,b",
        "redis://user:secret@a/x",
        "redis://user:secret@a/0/1",
        "redis://user:secret@a?what=1",
        "redis://user:secret@a?prefix",
        "redis://user:secret@a:port",
        "redis+sentinel://user:secret@a",
        "redis+cluster://user:secret@a/1",
        "redis+cluster://user:secret@a?wait_replicas=1",
        "redis://user:secret@a?wait_replicas=-1",
        "redis://user:secret@a?wait_ms=3000",
    ],
)
def test_what_cannot_be_is_refused_without_its_password(url: str) -> None:
    with pytest.raises(ConfigError, match="store:") as caught:
        parse_address(url)
    assert "secret" not in str(caught.value)
