"""What can be found out from outside, through the proxies that clients come through."""

from __future__ import annotations

import base64
import contextlib
import http.client
import secrets
import socket
import ssl
import time
import urllib.parse
from collections.abc import Callable, Iterator
from email.utils import parsedate_to_datetime

import msgspec

from trunkline.admin.doctor import certificate_finding
from trunkline.core.finding import Finding, ahead, clock_finding, ok

ANSWER_S = 10.0
CLOCK_MAX_S = 2.0
FIRST_BYTES_S = 3.0
ROOM = "trunkline-doctor"


class _Told(msgspec.Struct):
    """The answer of `GET /admin/doctor`."""

    node: str
    findings: list[Finding]


_decode = msgspec.json.Decoder(_Told).decode


class Visit:
    """A server as a client reaches it.

    Args:
        url: Its public address.
        token: Of a user who may read the room `trunkline-doctor`; an administrator's shows what its node finds, too.
    """

    def __init__(self, url: str, token: str | None) -> None:
        self._parts = urllib.parse.urlsplit(url.rstrip("/"))
        self._token = token

    def findings(self, idle_s: float, progress: Callable[[str], None]) -> Iterator[Finding]:
        """Iterate over what is found; the last takes *idle_s* seconds."""
        if self._parts.scheme not in ("http", "https") or not self._parts.hostname:
            yield Finding(
                "fault", "the address", f"{self._parts.geturl()} is no http:// or https:// address", "give it"
            )
            return
        if self._parts.scheme == "https":
            yield from self._certificate()
        try:
            yield from self._ready()
            yield from self._node()
            yield self._websocket()
            yield from self._events(idle_s, progress)
        except (OSError, http.client.HTTPException) as error:
            text = f"{self._parts.netloc} cannot be reached: {error or type(error).__name__}"
            yield Finding("fault", "the server", text, "start it, or look at the proxy's own log")

    def _certificate(self) -> Iterator[Finding]:
        host, port = self._parts.hostname or "", self._parts.port or 443
        try:
            context = ssl.create_default_context()
            with socket.create_connection((host, port), ANSWER_S) as plain:
                context.wrap_socket(plain, server_hostname=host).close()
        except ssl.SSLCertVerificationError as error:
            yield Finding(
                "fault", "the certificate", f"clients do not trust it: {error.verify_message}", "serve the whole chain"
            )
        except OSError:
            return  # said by what comes next
        with contextlib.suppress(OSError):
            pem = ssl.get_server_certificate((host, port), timeout=ANSWER_S).encode()
            yield certificate_finding(pem, "the certificate")

    def _connect(self, timeout_s: float = ANSWER_S) -> http.client.HTTPConnection:
        host, port = self._parts.hostname or "", self._parts.port
        if self._parts.scheme == "https":
            context = ssl.create_default_context()
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # said above
            return http.client.HTTPSConnection(host, port, timeout=timeout_s, context=context)
        return http.client.HTTPConnection(host, port, timeout=timeout_s)

    def _headers(self, **more: str) -> dict[str, str]:
        own = {} if self._token is None else {"Authorization": f"Bearer {self._token}"}
        return own | {name.replace("_", "-"): value for name, value in more.items()}

    def _ready(self) -> Iterator[Finding]:
        connection = self._connect()
        began = time.time()
        connection.request("GET", f"{self._parts.path}/readyz")
        response = connection.getresponse()
        body = response.read(1000)
        ended = time.time()
        connection.close()
        if response.status == 200:
            yield ok("the server", f"ready, after {(ended - began) * 1000:.0f} ms")
        elif response.status == 503:
            yield Finding("fault", "the server", f"not ready: {body.decode('utf-8', 'replace')}", "see its log")
        else:
            text = f"/readyz is answered with {response.status}: that is no Trunkline, or the proxy sends it elsewhere"
            yield Finding("fault", "the server", text, "compare the proxy's settings with docs/proxies.md")
        date = response.getheader("Date")
        with contextlib.suppress(ValueError):
            if date is not None:
                ahead_s = ahead(parsedate_to_datetime(date).timestamp(), began, ended, resolution_s=1.0)
                yield clock_finding("the server's clock", ahead_s, allowed_s=CLOCK_MAX_S)

    def _node(self) -> Iterator[Finding]:
        """Iterate over what the node that answers finds, if it tells an administrator."""
        if self._token is None:
            return
        connection = self._connect()
        connection.request("GET", f"{self._parts.path}/admin/doctor", headers=self._headers())
        response = connection.getresponse()
        body = response.read()
        connection.close()
        if response.status == 200:
            with contextlib.suppress(msgspec.DecodeError):
                told = _decode(body)
                for found in told.findings:
                    yield msgspec.structs.replace(found, what=f"node {told.node}: {found.what}")

    def _websocket(self) -> Finding:
        what, key = "WebSocket", base64.b64encode(secrets.token_bytes(16)).decode()
        connection = self._connect()
        upgrade = {
            "Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Key": key, "Sec-WebSocket-Version": "13",
        }  # fmt: skip
        connection.request("GET", f"{self._parts.path}/connect", headers=self._headers() | upgrade)
        response = connection.getresponse()
        connection.close()
        if response.status == 101:
            return ok(what, "`Upgrade` passes")
        text = f"the handshake is answered with {response.status}: clients fall back to event streams or polls"
        if response.status in (200, 400, 404, 426):
            return Finding("warning", what, text, "let the proxy pass `Upgrade` and `Connection` on (docs/proxies.md)")
        return Finding("warning", what, text, "the answer names the reason; with authentication, set TRUNKLINE_TOKEN")

    def _events(self, idle_s: float, progress: Callable[[str], None]) -> Iterator[Finding]:
        what = "event streams"
        connection = self._connect(FIRST_BYTES_S)
        connection.request("GET", f"{self._parts.path}/rooms/{ROOM}", headers=self._headers(Accept="text/event-stream"))
        try:
            response = connection.getresponse()
            if response.status in (401, 403):
                yield Finding(
                    "warning", what, f"not tried: {response.status}", "set TRUNKLINE_TOKEN to a token that may read"
                )
                return
            if response.status != 200:
                yield Finding("fault", what, f"they are answered with {response.status}", "compare docs/proxies.md")
                return
            first = response.fp.readline()
            yield (
                ok(what, "the first bytes come at once")
                if first
                else Finding("fault", what, "they end at once", "see the proxy's log")
            )
        except TimeoutError:
            text = f"nothing came within {FIRST_BYTES_S:.0f} s: the proxy gathers the answer before it passes it on"
            yield Finding("fault", what, text, "`proxy_buffering off` in nginx; see docs/proxies.md")
            return
        yield from self._stays_open(connection, response, idle_s, progress)

    def _stays_open(
        self,
        connection: http.client.HTTPConnection,
        response: http.client.HTTPResponse,
        idle_s: float,
        progress: Callable[[str], None],
    ) -> Iterator[Finding]:
        what, began = "idle streams", time.monotonic()
        if idle_s <= 0:
            return
        progress(f"waiting {idle_s:.0f} s, to see whether an idle stream is cut …")
        while (left := idle_s - (time.monotonic() - began)) > 0:
            if connection.sock is not None:
                connection.sock.settimeout(left)
            try:
                if not response.fp.readline():
                    raise ConnectionResetError("it was closed")
            except TimeoutError:
                break
            except OSError as error:
                text = f"one was cut after {time.monotonic() - began:.0f} s ({error})"
                advice = "raise the proxy's read time-out, or lower `ping_interval` below it (docs/proxies.md)"
                yield Finding("fault", what, text, advice)
                return
        connection.close()
        yield ok(what, f"one stayed open for {idle_s:.0f} s")
