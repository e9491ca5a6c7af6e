"""Headers and cookies that an application wants its client to send."""

from __future__ import annotations

from collections.abc import Mapping


def request_headers(headers: Mapping[str, str] | None, cookies: Mapping[str, str] | None) -> dict[str, str]:
    """Return the headers of each request.

    Args:
        cookies: Sent as one `Cookie` header (RFC 6265 section 4.2.1).

    Raises:
        ValueError: A name or a value cannot stand in a header.
    """
    found = dict(headers or {})
    if cookies:
        for name, value in cookies.items():
            if not name or any(letter in ";=, \t" for letter in name) or ";" in value:
                raise ValueError(f"a cookie cannot be called {name!r}, or have that value")
        found["Cookie"] = "; ".join(f"{name}={value}" for name, value in cookies.items())
    for name, value in found.items():
        if not name or not (name + value).isprintable():
            raise ValueError(f"the header {name!r} has letters that cannot be sent")
    return found
