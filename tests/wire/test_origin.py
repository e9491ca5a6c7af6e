import pytest

from trunkline.errors import RequestError
from trunkline.wire.origin import Origins, check_origin_setting, cors_headers, is_loopback
from trunkline.wire.request_head import RequestHead


def head(**headers: str) -> RequestHead:
    return RequestHead("/", [], {k.replace("_", "-").encode(): v.encode() for k, v in headers.items()})


def test_pages_of_other_origins() -> None:
    origins = Origins(allowed=("https://app.example.com",))
    origins.check(head(host="rooms.example.com"))
    origins.check(head(host="rooms.example.com", origin="https://app.example.com"))
    with pytest.raises(RequestError) as caught:
        origins.check(head(host="rooms.example.com", origin="https://evil.example"))
    assert caught.value.code == "bad_origin"


def test_a_server_for_this_machine_alone() -> None:
    origins = Origins(allowed=(), loopback_only=True)
    origins.check(head(host="localhost:8000"))
    with pytest.raises(RequestError) as caught:
        origins.check(head(host="rebound.example"))
    assert caught.value.code == "bad_host"


def test_settings() -> None:
    assert check_origin_setting("https://app.example.com") == "https://app.example.com"
    for bad in ("app.example.com", "https://app.example.com/path", "ftp://x"):
        with pytest.raises(ValueError, match="origin"):
            check_origin_setting(bad)


def test_answers_name_the_page_that_may_read_them() -> None:
    origins = Origins(allowed=("https://app.example.com",))
    headers = dict(cors_headers(origins, head(origin="https://app.example.com")))
    assert headers["Access-Control-Allow-Origin"] == "https://app.example.com"
    assert cors_headers(origins, head(origin="https://evil.example")) == [("Vary", "Origin")]


@pytest.mark.parametrize(
    ("host", "does"), [("127.0.0.1", True), ("::1", True), ("localhost", True), ("10.0.0.1", False)]
)
def test_loopback(host: str, does: bool) -> None:
    assert is_loopback(host) is does
