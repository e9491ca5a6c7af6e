import pytest

from trunkline.wire.credentials import cookies, credentials
from trunkline.wire.request_head import RequestHead


def head(query: list[tuple[str, str]] | None = None, **headers: str) -> RequestHead:
    return RequestHead("/", query or [], {k.replace("_", "-").encode(): v.encode() for k, v in headers.items()})


@pytest.mark.parametrize(
    "request_head",
    [
        head(authorization="Bearer secret"),
        head(authorization="bearer  secret "),
        head(sec_websocket_protocol="trunkline.v1, trunkline.token.secret"),
        head([("token", "secret")]),
        head(cookie="a=b; session=secret"),
        head([("token", "other")], authorization="Bearer secret", cookie="session=third"),
    ],
)
def test_a_token_wherever_it_stands(request_head: RequestHead) -> None:
    found = credentials(request_head, "1.1.1.1", "session")
    assert (found.token, found.ticket, found.address) == ("secret", None, "1.1.1.1")
    assert "secret" not in repr(found)


def test_a_ticket_counts_without_a_token() -> None:
    assert credentials(head([("ticket", "t")]), "", None).ticket == "t"
    assert credentials(head([("ticket", "t"), ("token", "x")]), "", None).ticket is None


def test_no_cookie_counts_unless_one_is_named() -> None:
    assert credentials(head(cookie="session=secret"), "", None).token is None
    assert cookies(head(cookie='a="1"; b=2; a=3; nothing')) == {"a": "1", "b": "2"}


def test_nothing() -> None:
    assert credentials(head(authorization="Basic x"), "", None).token is None
    assert credentials(head([("token", "")]), "", None).token is None
