"""Sends signed requests, to no other address than one that was checked, and believes little of what is answered."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.resolver import ThreadedResolver

from trunkline.core.webhook import Network, is_allowed, is_listed
from trunkline.errors import ConfigError

ANSWER_BYTES_MAX = 256 * 1024
HEADERS = {"User-Agent": "Trunkline", "Content-Type": "application/json"}


class Answer(NamedTuple):
    """What was answered.

    Attributes:
        body: The first ANSWER_BYTES_MAX bytes, and one more if there are more.
        retry_after_s: What the header of that name says, if it is a number.
    """

    status: int
    body: bytes
    retry_after_s: float | None


class Unsent(Exception):
    """The request was not answered.

    Attributes:
        was_sent: Whether it may have arrived all the same.
    """

    def __init__(self, why: str, *, was_sent: bool) -> None:
        super().__init__(why)
        self.was_sent = was_sent


class Refused(Unsent):
    """The address is not one that may be sent to."""

    def __init__(self, why: str) -> None:
        super().__init__(why, was_sent=False)


class _Resolver(AbstractResolver):
    """Resolves names to addresses that may be sent to. What it returns is what is connected to."""

    def __init__(self, may: Callable[[str], bool] | None) -> None:
        self._may = may
        self._inner = ThreadedResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        found = await self._inner.resolve(host, port, family)
        if self._may is None:
            return found
        allowed = [one for one in found if self._may(one["host"])]
        if not allowed:
            raise _NotAllowed(f"{host} is at {', '.join(one['host'] for one in found)}, which is not allowed")
        return allowed

    async def close(self) -> None:
        await self._inner.close()


class _NotAllowed(OSError):
    pass


class Sender:
    """Sends to one URL.

    Args:
        networks: Private addresses that may be sent to; None for any address.
        connections_max: How many there may be at the same time; more requests wait.

    Raises:
        ConfigError: The URL is none that may be sent to.
    """

    def __init__(
        self, url: str, networks: Sequence[Network] | None, timeout_s: float, connections_max: int = 20
    ) -> None:
        try:
            parts = urlsplit(url)
            host, port = parts.hostname, parts.port
            (host or "").encode("idna")
        except ValueError:  # of which UnicodeError is one: a label that is empty, or too long
            host, port = None, None
        if host is None or port == 0 or parts.scheme not in ("http", "https") or not url.isascii():
            raise ConfigError("the URL is http://… or https://…")
        if parts.username is not None or parts.password is not None:
            raise ConfigError("the URL has a user or a password, which would be in every log on the way: sign instead")
        self._may = None if networks is None else partial(_MAY[parts.scheme], networks=networks)
        if networks is not None and parts.scheme == "http" and not networks:
            raise ConfigError("the URL is https://…; http is for addresses that are listed in `networks`")
        if self._may is not None and _is_address(host) and not self._may(host):
            raise ConfigError(f"{host} is not public, or http: list it in `networks`, if it is yours")
        self.url = url
        self._connections_max = connections_max
        self._timeout_s = timeout_s
        self._session: aiohttp.ClientSession | None = None

    async def post(self, body: bytes, headers: dict[str, str]) -> Answer:
        """Post a body, once; return the answer.

        Raises:
            Refused: The address may not be sent to.
            Unsent: There was no answer in time.
        """
        if self._session is None:
            self._session = self._open()
        sent = asyncio.Event()
        try:
            async with asyncio.timeout(self._timeout_s):
                async with self._session.post(
                    self.url, data=body, headers=HEADERS | headers, allow_redirects=False, trace_request_ctx=sent
                ) as response:
                    read = b""
                    while len(read) <= ANSWER_BYTES_MAX and (piece := await response.content.read(16 * 1024)):
                        read += piece
                    return Answer(response.status, read, _seconds(response.headers.get("Retry-After")))
        except TimeoutError:
            raise Unsent("there was no answer in time", was_sent=sent.is_set()) from None
        except aiohttp.ClientConnectorError as error:
            if isinstance(error.os_error, _NotAllowed):
                raise Refused(str(error.os_error)) from None
            raise Unsent(f"it cannot be connected to: {error.os_error or error}", was_sent=False) from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            why = f"the connection has failed: {error or type(error).__name__}"
            raise Unsent(why, was_sent=sent.is_set()) from None

    def _open(self) -> aiohttp.ClientSession:
        trace = aiohttp.TraceConfig()
        trace.on_request_headers_sent.append(_note_sent)
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                resolver=_Resolver(self._may), use_dns_cache=False, limit=self._connections_max
            ),
            trace_configs=[trace],
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None),
            trust_env=False,  # a proxy of the environment would connect to whatever it likes
            auto_decompress=False,  # a small answer stays small
        )

    async def close(self) -> None:
        """Close the connections."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()


async def _note_sent(_session: aiohttp.ClientSession, context: Any, _headers: Any) -> None:
    context.trace_request_ctx.set()


_MAY = {"http": is_listed, "https": is_allowed}


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        # What the system takes for an address, too: 127.1, 0x7f000001 and the like.
        try:
            socket.inet_aton(host)
        except OSError:
            return False
    return True


def _seconds(header: Any) -> float | None:
    text = str(header or "")
    return float(text) if text.isascii() and text.isdigit() and len(text) <= 9 else None
