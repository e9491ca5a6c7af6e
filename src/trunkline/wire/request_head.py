"""The head of an HTTP request (RFC 9112), as far as the edge must understand it to take a stream over.

This is no second HTTP server: whatever is unusual here is None, and goes to uvicorn, whose parser is the judge of
what is malformed. So nothing is accepted by this file that the real parser would have refused.
"""

from __future__ import annotations

import re
from typing import NamedTuple
from urllib.parse import parse_qsl, unquote

# Field names are tokens (RFC 9110 section 5.6.2); values hold no control characters but tab (section 5.5).
# Every quantifier is possessive: a head that does not match must be found out in one pass, whatever is in it.
_FIELD = rb"([!#$%&'*+.^_`|~0-9A-Za-z-]++):[ \t]*+([\t\x20-\x7e\x80-\xff]*+)(?:\r\n|\Z)"
_HEAD = re.compile(rb"(GET|POST|DELETE) (/[!-~]*+) HTTP/(1\.[01])\r\n(?:" + _FIELD.replace(b"(", b"(?:", 2) + rb")*+\Z")
_FIELDS = re.compile(_FIELD)


class RequestHead(NamedTuple):
    """The head of a request.

    Attributes:
        path: Percent-decoded.
        query: Decoded pairs, in order.
        headers: Lower-case names; values of repeated headers are joined with ", " (RFC 9110 section 5.3).
        version: Of HTTP.
    """

    path: str
    query: list[tuple[str, str]]
    headers: dict[bytes, bytes]
    version: str = "1.1"

    def one(self, name: str) -> str | None:
        """Return the first query parameter of this name; None if there is none."""
        for key, value in self.query:
            if key == name:
                return value
        return None

    def tokens(self, name: bytes) -> list[bytes]:
        """Return the values of a comma-separated header, lower case."""
        return [token.strip().lower() for token in self.headers.get(name, b"").split(b",")]

    @property
    def is_websocket(self) -> bool:
        upgrade = self.headers.get(b"upgrade")
        if upgrade is None:
            return False
        if upgrade == b"websocket" and self.headers.get(b"connection") == b"Upgrade":
            return self.version != "1.0"
        upgrades = b"websocket" in self.tokens(b"upgrade") and b"upgrade" in self.tokens(b"connection")
        return upgrades and self.version != "1.0"

    @property
    def is_sse(self) -> bool:
        return wants_events(self.headers.get(b"accept", b""))

    @property
    def has_body(self) -> bool:
        return b"transfer-encoding" in self.headers or self.headers.get(b"content-length", b"0") != b"0"


_REFUSED = re.compile(rb"q\s*=\s*0(\.0{0,3})?\Z", re.IGNORECASE)


def wants_events(accept: bytes) -> bool:
    """Return whether an Accept header asks for an event stream, and not only by a wildcard.

    A weight of 0 means that the client will not have it (RFC 9110 section 12.4.2).
    """
    if b"event-stream" not in accept.lower():
        return False
    for part in accept.split(b","):
        kind, *parameters = part.split(b";")
        if kind.strip().lower() == b"text/event-stream":
            return not any(_REFUSED.match(parameter.strip()) for parameter in parameters)
    return False


SINGLE = frozenset((b"content-type", b"idempotency-key"))
"""Header fields that are no lists: of several, the first counts."""


def parse_request(head: bytes) -> tuple[str, RequestHead] | None:
    """Parse a head, without its final empty line; return the method with it, or None if it is not a plain one."""
    match = _HEAD.match(head)
    if match is None:
        return None
    headers: dict[bytes, bytes] = {}
    for name, value in _FIELDS.findall(head, match.end(3) + len("\r\n")):
        name, value = name.lower(), value.rstrip(b" \t")
        if name not in headers:
            headers[name] = value
        elif name not in SINGLE:
            headers[name] += b", " + value
    version = match[3].decode("ascii")
    if b"host" not in headers and version != "1.0":
        return None
    path, _, query = match[2].decode("ascii").partition("?")
    return match[1].decode("ascii"), RequestHead(unquote(path), parse_query(query), headers, version)


def parse_query(query: str) -> list[tuple[str, str]]:
    """Return the decoded pairs of a query, in order; what has no `=` has an empty value."""
    if "%" in query or "+" in query:
        return parse_qsl(query, keep_blank_values=True)
    pairs = [pair.partition("=") for pair in query.split("&") if pair]
    return [(name, value) for name, _, value in pairs]
