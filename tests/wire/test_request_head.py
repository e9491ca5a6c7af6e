"""Request heads: what the edge may take over, and what it must leave to the real parser."""

import httptools
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.wire.heads import parse_head
from trunkline.errors import RequestError
from trunkline.wire.query import refuse_repeats
from trunkline.wire.request_head import wants_events


def test_a_plain_head() -> None:
    head = parse_head(
        b"GET /rooms/a%20b?since=now&room=a&room=b&x= HTTP/1.1\r\n"
        b"Host: h\r\nAccept:text/event-stream \r\nX-A: 1\r\nx-a: 2"
    )
    assert head is not None
    assert head.path == "/rooms/a b"
    assert head.query == [("since", "now"), ("room", "a"), ("room", "b"), ("x", "")]
    assert head.headers == {b"host": b"h", b"accept": b"text/event-stream", b"x-a": b"1, 2"}
    assert head.one("none") is None
    assert head.is_sse
    assert not head.is_websocket
    assert not head.has_body


@pytest.mark.parametrize(
    "head",
    [
        b"",
        b"GET / HTTP/1.1",  # no Host
        b"GET / HTTP/0.9\r\nHost: localhost",
        b"POST / HTTP/1.1\r\nHost: localhost",
        b"GET  / HTTP/1.1\r\nHost: localhost",
        b"GET http://h/ HTTP/1.1\r\nHost: localhost",
        b"GET / HTTP/1.1\r\nHost : h",  # a space before the colon: RFC 9112 section 5.1
        b"GET / HTTP/1.1\r\nHost: localhost\r\n folded: x",  # obsolete folding: section 5.2
        b"GET / HTTP/1.1\r\nHost: h\nX: y",  # a bare LF
        b"GET / HTTP/1.1\r\nHost: localhost\r\nX: \x00",
        b"GET / HTTP/1.1\r\nHost: localhost\r\n: empty",
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET /\xff HTTP/1.1\r\nHost: localhost",
    ],
)
def test_what_is_unusual_is_left_alone(head: bytes) -> None:
    assert parse_head(head) is None


def test_bodies_are_seen() -> None:
    for header in (b"Content-Length: 5", b"Transfer-Encoding: chunked", b"Content-Length: 0, 5"):
        head = parse_head(b"GET / HTTP/1.1\r\nHost: localhost\r\n" + header)
        assert head is not None
        assert head.has_body


@pytest.mark.parametrize(
    ("accept", "wanted"),
    [
        (b"text/event-stream", True),
        (b"text/html, Text/Event-Stream;q=0.9", True),
        (b"text/event-stream;q=0, application/json", False),
        (b"text/event-stream; charset=utf-8; Q=0.000", False),
        (b"text/event-stream;q=0.001", True),
        (b"text/event-stream;q=0.0001", True),  # no weight has four digits: it is none
        (b"*/*", False),
        (b"", False),
        (b"text/event-streams", False),
    ],
)
def test_who_wants_events(accept: bytes, wanted: bool) -> None:
    assert wants_events(accept) is wanted


class Judge:
    """What uvicorn's parser makes of the same bytes."""

    def __init__(self) -> None:
        self.headers: list[tuple[bytes, bytes]] = []
        self.complete = False

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        self.complete = True


TEXT = st.text(st.characters(min_codepoint=1, max_codepoint=255), max_size=12)


@given(st.lists(st.tuples(TEXT, TEXT), max_size=4), st.sampled_from(["/rooms/a", "/", "/a?b=c"]))
def test_nothing_is_taken_that_the_real_parser_refuses(fields: list[tuple[str, str]], path: str) -> None:
    """If we accept a head, httptools does too, and reads the same fields (no smuggling through the edge)."""
    lines = [f"GET {path} HTTP/1.1", "Host: localhost", *(f"{name}: {value}" for name, value in fields)]
    head = "\r\n".join(lines).encode("latin-1")
    ours = parse_head(head)
    if ours is None or ours.has_body or b"upgrade" in ours.headers:
        return
    judge = Judge()
    httptools.HttpRequestParser(judge).feed_data(head + b"\r\n\r\n")
    assert judge.complete
    theirs: dict[bytes, bytes] = {}
    for name, value in judge.headers:
        value = value.rstrip(b" \t")
        theirs[name] = theirs[name] + b", " + value if name in theirs else value
    assert ours.headers == theirs


def test_a_parameter_that_is_given_twice_is_nobodys_guess() -> None:
    """The first or the last? Parsers differ, and so would transports."""
    head = parse_head(b"GET /x?since=1&last=2&since=3&empty= HTTP/1.1\r\nHost: h")
    assert head is not None
    assert (head.one("last"), head.one("empty")) == ("2", "")
    with pytest.raises(RequestError, match="since stands in the address more than once"):
        refuse_repeats(head)
    rooms = parse_head(b"GET /x?since=1&last=2&room=a&room=b HTTP/1.1\r\nHost: h")
    assert rooms is not None
    refuse_repeats(rooms)


def test_http_1_0() -> None:
    """It needs no Host, and knows no WebSocket."""
    head = parse_head(b"GET /x HTTP/1.0\r\nUpgrade: websocket\r\nConnection: upgrade")
    assert head is not None
    assert head.version == "1.0"
    assert not head.is_websocket
