"""Which web page's request this is, as browsers tell it (RFC 6454, the Fetch standard).

Browsers let any page open a WebSocket to any server, and send cookies along; nothing but the Origin header tells whose
page it is. So a request with an Origin must come from a page of our own host, or of a listed one. A request without
Origin is either no browser's, or one that the browser itself allows (same-origin GET).

A server on loopback without authentication has a second enemy: a page whose host name was made to point to
127.0.0.1 after it was loaded ("DNS rebinding"). To the browser it is same-origin. So there the name must be loopback's
own, or a listed one.
"""

from __future__ import annotations

import re
from functools import lru_cache
from urllib.parse import urlsplit

import msgspec

from trunkline.errors import RequestError
from trunkline.wire.request_head import RequestHead

_DEFAULT_PORTS = {"http": 80, "https": 443}
_LOOPBACK = re.compile(
    r"(?:localhost|[a-z0-9.-]+\.localhost|127\.\d{1,3}\.\d{1,3}\.\d{1,3}|\[::1\])(?::\d{1,5})?\Z",
    re.ASCII | re.IGNORECASE,
)
# Scheme, host and port as browsers write them: no user, no path, nothing that two parsers could read in two ways.
_ORIGIN = re.compile(r"(https?)://([a-z0-9._-]+|\[[0-9a-f:.]+\])(?::(\d{1,5}))?\Z", re.ASCII)
_HOST = re.compile(r"([a-z0-9._-]+|\[[0-9a-f:.]+\])(?::(\d{1,5}))?\Z", re.ASCII | re.IGNORECASE)


class Origins(msgspec.Struct, frozen=True, kw_only=True):
    """The origins whose pages may use the server.

    Attributes:
        allowed: Origins beside our own, such as `https://app.example.com`; `*` is any.
        loopback_only: Our own names are loopback's only.
    """

    allowed: tuple[str, ...] = ()
    loopback_only: bool = False

    def check(self, head: RequestHead, *, changes: bool = False) -> None:
        """Let the request pass.

        Args:
            changes: It is a GET that others notice. A page of another site can have a browser make it, with the cookies
                of the browser's user, by a link: only what the browser says of that tells.

        Raises:
            RequestError: `bad_host` or `bad_origin`.
        """
        if "*" in self.allowed:
            return
        host = head.headers.get(b"host", b"").decode("latin-1")
        if self.loopback_only and not _names_loopback(host) and not self._lists(host):
            raise RequestError(
                "bad_host",
                "this server answers to localhost only, because it has no authentication; to serve other names,"
                " list their origins (--origins https://app.example.com)",
            )
        origin = head.headers.get(b"origin")
        if origin is None:
            # Pages of other sites that do not read the answer (<img>, <script>) send no Origin; some browsers say so.
            site = head.headers.get(b"sec-fetch-site")
            if site is not None and site.lower() in (b"cross-site", b"same-site"):
                mode = head.headers.get(b"sec-fetch-mode", b"").lower()
                if changes or mode != b"navigate":
                    raise _refused("another site")
            by_cookie = b"cookie" in head.headers and b"authorization" not in head.headers
            if changes and by_cookie and b"sec-fetch-site" not in head.headers:
                raise RequestError(
                    "bad_origin",
                    "a cookie alone does not show which page sent this request: send an Origin header, as"
                    " browsers do, or a token in a header",
                )
        elif not self.allows(origin.decode("latin-1"), host):
            raise _refused(origin.decode("latin-1")[:200])

    def allows(self, origin: str, host: str) -> bool:
        """Return whether a page of this origin may use the server that it called by this Host."""
        return "*" in self.allowed or origin in self.allowed or _is_same(origin, host)

    def _lists(self, host: str) -> bool:
        return any(_is_same(origin, host) for origin in self.allowed)


@lru_cache(256)
def _names_loopback(host: str) -> bool:
    return _LOOPBACK.match(host) is not None


def cors_headers(origins: Origins, head: RequestHead) -> list[tuple[str, str]]:
    """Return what lets a listed page of another origin read the answer (the Fetch standard, section 3.3)."""
    if not origins.allowed:
        return []
    origin = head.headers.get(b"origin", b"").decode("latin-1")
    if "*" in origins.allowed and origin:
        return [("Access-Control-Allow-Origin", "*"), ("Vary", "Origin")]
    if origin in origins.allowed:
        return [
            ("Access-Control-Allow-Origin", origin),
            ("Access-Control-Allow-Credentials", "true"),
            ("Vary", "Origin"),
        ]
    return [("Vary", "Origin")]


def is_loopback(host: str) -> bool:
    """Return whether a host name or address, without port, can only be this machine."""
    return (
        host in ("localhost", "::1", "[::1]")
        or host.endswith(".localhost")
        or (host.startswith("127.") and all(part.isdigit() for part in host.split(".")))
    )


def check_origin_setting(origin: str) -> str:
    """Check an entry of a list of origins; return it.

    Raises:
        ValueError: It is neither `*` nor a scheme and a host.
    """
    parts = urlsplit(origin)
    plain = f"{parts.scheme}://{parts.netloc}" == origin and parts.scheme in ("http", "https") and parts.hostname
    if origin != "*" and not plain:
        raise ValueError(f"an origin is a scheme and a host, such as https://app.example.com, not {origin!r}")
    return origin


def _refused(whose: str) -> RequestError:
    return RequestError("bad_origin", f"pages of {whose} may not use this server")


def _is_same(origin: str, host: str) -> bool:
    """Return whether host and port are the same. Not the scheme: behind a proxy that ends TLS we do not know it."""
    theirs, ours = _ORIGIN.match(origin), _HOST.match(host)
    if theirs is None or ours is None:
        return False
    default = _DEFAULT_PORTS[theirs[1]]
    return theirs[2] == ours[1].lower() and int(theirs[3] or default) == int(ours[2] or default)
