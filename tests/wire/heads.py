"""Heads of requests."""

from trunkline.wire.request_head import RequestHead, parse_request


def parse_head(head: bytes) -> RequestHead | None:
    """Parse a head, without its final empty line; return None if it is not a plain GET."""
    parsed = parse_request(head)
    return parsed[1] if parsed is not None and parsed[0] == "GET" else None
