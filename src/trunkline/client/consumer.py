"""A durable consumer in another process than the server: an event stream, and a request for each acknowledgement."""

from __future__ import annotations

import asyncio
import inspect
import json
import logging
import random
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import Any, Literal

import aiohttp
from yarl import URL

from trunkline.client.client import GetToken
from trunkline.client.errors import ClientError
from trunkline.client.http import refusal
from trunkline.client.http_headers import request_headers
from trunkline.client.json_text import Json
from trunkline.core.consumer import check_consumer_name, check_patterns
from trunkline.errors import RequestError

log = logging.getLogger("trunkline.client")

SILENCE_S = 75.0  # longer than the server's keep-alive: a stream that is silent for so long is dead
CONNECT_S = 10.0
BACKOFF_S, BACKOFF_S_MAX = 0.5, 10.0
ACK_S = 20.0  # for how long an acknowledgement is tried
TOKENS_MAX = 3  # refusals of tokens in a row
FINAL_STATUS = frozenset({400, 403, 404, 405, 406, 421})

Told = Callable[[Json], Awaitable[None] | None]


class ConsumedMessage:
    """A message of a room, which is to be acknowledged.

    Attributes:
        room, offset, id, sender, at, data: As of every message.
        redacted: Its data was taken away.
        position: Epoch and offset: the same in every try, and good as a key of what was handled already.
        fence: The fencing number of this tenure: larger than that of every instance that had the room before.
        tries: How often it was tried before.
    """

    def __init__(self, stream: _Stream, fields: Json) -> None:
        self._stream = stream
        self._session = stream.session
        self.room: str = fields["room"]
        self.offset: int = fields["offset"]
        self.id: str = fields["id"]
        self.sender: str | None = fields["from"]
        self.at: int = fields["at"]
        self.data: Any = fields["data"]
        self.redacted: bool = fields.get("redacted", False)
        self.position: str = fields["position"]
        self.fence: int = fields["fence"]
        self.tries: int = fields["tries"]

    def __repr__(self) -> str:
        return f"ConsumedMessage({self.room!r}, {self.position!r}, fence={self.fence})"

    async def ack(self) -> None:
        """Note that it was handled: it does not come again, and the next one of its room does.

        Raises:
            ClientError: `fenced`: another instance has the room by now, and gets the message, too. Or it could not be
                told, and it comes again.
        """
        await self._stream.settle(self._session, self, None)

    async def fail(self, reason: str = "") -> None:
        """Note that it could not be handled: it comes again after a while, and nothing of its room before it does.

        Args:
            reason: Why, for the report if it is set aside; up to 2,000 characters.

        Raises:
            ClientError: As from `ack`.
        """
        await self._stream.settle(self._session, self, reason[:2000])


async def consume(
    url: str,
    name: str,
    rooms: str | Sequence[str],
    *,
    get_token: GetToken | None = None,
    since: Literal["start", "now"] = "start",
    on_gap: Told | None = None,
    on_redacted: Told | None = None,
    in_flight: int = 100,
    ack_wait_s: int = 30,
    tries_max: int = 5,
    headers: Mapping[str, str] | None = None,
    cookies: Mapping[str, str] | None = None,
) -> AsyncGenerator[ConsumedMessage, None]:
    """Handle each message of many rooms at least once, in the order of each room, as one of several processes.

    What `Hub.consume` does, from another process. It comes back by itself when the server was away.

    Args:
        url: The server's address, such as `http://localhost:8000`.
        name: Of the consumer: 1 to 64 of `A-Z a-z 0-9 _ . ~ -`.
        rooms: Names of rooms, or beginnings of them and `*`; up to 20.
        get_token: Returns a token, or a coroutine that does; on a server with authentication.
        since: Where a new consumer begins in the rooms that there are.
        on_gap: Called with messages that are gone, as a dictionary; may be `async`. By default it is logged.
        on_redacted: Called with redactions, as a dictionary; may be `async`.
        in_flight: How many messages, of as many rooms, may wait for their acknowledgement.
        ack_wait_s: Seconds after which a message that was not acknowledged counts as failed.
        tries_max: After so many failures a message is set aside.
        headers, cookies: Sent with each request.

    Raises:
        ClientError: The server refuses it for good, or the tokens.
        ValueError: The name, the rooms or the URL are not valid.
    """
    try:
        check_consumer_name(name)
        patterns = check_patterns(rooms)
    except RequestError as error:
        raise ValueError(str(error)) from None
    query = [("rooms", pattern) for pattern in patterns]
    query += [("since", since), ("in_flight", str(in_flight)), ("ack_wait", str(ack_wait_s)), ("tries", str(tries_max))]
    stream = _Stream(url, name, query, get_token, on_gap, on_redacted, request_headers(headers, cookies))
    try:
        async for message in stream.messages():
            yield message
    finally:
        await stream.close()


class _Raised(Exception):
    """What a function of the application has raised, and not the stream."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error


class _Stream:
    def __init__(
        self,
        url: str,
        name: str,
        query: list[tuple[str, str]],
        get_token: GetToken | None,
        on_gap: Told | None,
        on_redacted: Told | None,
        headers: dict[str, str],
    ) -> None:
        address = URL(url)
        self._own_headers = headers
        if address.scheme not in ("http", "https"):
            raise ValueError(f"{url!r} is no http:// or https:// address")
        self.session = ""
        self._url = address / "consumers" / name
        self._query = query
        self._get_token = get_token
        self._on = {"gap": on_gap, "redacted": on_redacted}
        self._http: aiohttp.ClientSession | None = None
        self._refused_tokens = 0

    async def close(self) -> None:
        if self._http is not None:
            await self._http.close()

    async def messages(self) -> AsyncIterator[ConsumedMessage]:
        self._http = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), headers=self._own_headers)
        delay_s = BACKOFF_S
        while True:
            try:
                async for kind, data in self._events():
                    delay_s = BACKOFF_S
                    if kind == "consuming":
                        self.session, self._refused_tokens = data["session"], 0
                    elif kind == "message":
                        yield ConsumedMessage(self, data)
                    elif kind == "closed":
                        if data["code"] in ("disconnected", "revoked", "forbidden"):
                            raise ClientError(data["code"], data["message"])
                        log.info("the stream has ended: %s", data["message"])
                    elif kind in self._on:
                        await self._tell(kind, data)
            except _Raised as raised:
                raise raised.error from None
            except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
                log.info("the stream is lost (%s); trying again", error or type(error).__name__)
            await asyncio.sleep(random.uniform(0, delay_s))  # noqa: S311 - full jitter, not a secret
            delay_s = min(BACKOFF_S_MAX, delay_s * 2)

    async def _tell(self, kind: str, data: Json) -> None:
        told = self._on[kind]
        if told is None:
            if kind == "gap":
                log.error(
                    "messages %s to %s of %s are gone (%s)", data["from"], data["to"], data["room"], data["reason"]
                )
            return
        try:
            waiting = told(data)
            if inspect.isawaitable(waiting):
                await waiting
        except Exception as error:
            raise _Raised(error) from error

    async def _headers(self) -> dict[str, str]:
        if self._get_token is None:
            return {}
        token = self._get_token()
        if inspect.isawaitable(token):
            token = await token
        return {} if token is None else {"Authorization": f"Bearer {token}"}

    async def _events(self) -> AsyncIterator[tuple[str, Json]]:
        assert self._http is not None
        headers = await self._headers() | {"Accept": "text/event-stream"}
        timeout = aiohttp.ClientTimeout(total=None, connect=CONNECT_S, sock_read=SILENCE_S)
        async with self._http.get(self._url, params=self._query, headers=headers, timeout=timeout) as response:
            if response.status >= 400:
                await self._refused(response)
                return
            kind, data = "message", ""
            while line := await response.content.readline():
                field, _, value = line.decode().rstrip("\r\n").partition(":")
                value = value.removeprefix(" ")
                if field == "event":
                    kind = value
                elif field == "data":
                    data += value
                elif not field and not value:
                    if data:
                        yield kind, json.loads(data)
                    kind, data = "message", ""

    async def _refused(self, response: aiohttp.ClientResponse) -> None:
        """Raise a refusal that is for good.

        Raises:
            ClientError: It is.
        """
        code, message = await _problem(response)
        if response.status == 401:
            self._refused_tokens += 1
            if self._get_token is None or self._refused_tokens >= TOKENS_MAX:
                raise ClientError("unauthorized", message)
        elif response.status in FINAL_STATUS:
            raise ClientError(code, message)
        log.warning("the server refuses the stream for now: %s", message)

    async def settle(self, session: str, message: ConsumedMessage, failed: str | None) -> None:
        """Tell the server what has become of a message, and try again as long as that may help.

        Raises:
            ClientError
        """
        body: Json = {
            "session": session,
            "room": message.room,
            "position": message.position,
            "fence": message.fence,
        }
        if failed is not None:
            body["failed"] = failed
        loop = asyncio.get_running_loop()
        end, delay_s = loop.time() + ACK_S, BACKOFF_S
        while True:
            try:
                assert self._http is not None
                timeout = aiohttp.ClientTimeout(total=CONNECT_S)
                async with self._http.post(
                    self._url / "acks", json=body, headers=await self._headers(), timeout=timeout
                ) as response:
                    if response.status < 300:
                        return
                    code, text = await _problem(response)
                    if response.status in FINAL_STATUS or response.status == 409:
                        raise ClientError(code, text)
            except (aiohttp.ClientError, OSError, TimeoutError) as error:
                code, text = "unreachable", str(error) or type(error).__name__
            pause_s = random.uniform(0, delay_s)  # noqa: S311 - full jitter, not a secret
            if loop.time() + pause_s >= end:
                raise ClientError(code, f"it is not known whether this was counted: {text}")
            await asyncio.sleep(pause_s)
            delay_s = min(BACKOFF_S_MAX, delay_s * 2)


async def _problem(response: aiohttp.ClientResponse) -> tuple[str, str]:
    down = await refusal(response)
    return down["reason"], down["text"] or f"{response.url.host} answered {response.status}"
