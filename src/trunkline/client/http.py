"""Event streams and polls: carries out what `http_driver.py` decides, by aiohttp and timers."""

from __future__ import annotations

import asyncio
import codecs
import json
import logging
from collections import deque
from collections.abc import Sequence

import aiohttp

from trunkline.client.http_driver import EventStreamDriver, HttpDriver, PollDriver
from trunkline.client.json_text import Json, dumps
from trunkline.client.websocket import Wire

log = logging.getLogger("trunkline.client")

CONNECT_S = 10.0
POLL_WAIT_S = 25


class HttpLink:
    """One connection over event streams or polls."""

    def __init__(self, wire: Wire, driver: HttpDriver) -> None:
        self._wire = wire
        self._driver = driver
        self._over = False
        self._inputs: deque[Json] = deque()
        self._is_stepping = False
        self._timer: asyncio.TimerHandle | None = None
        self._open: dict[int, asyncio.Task[None]] = {}
        asyncio.get_running_loop().call_soon(self._start)

    def send(self, command: Json) -> None:
        self._step({"type": "send", "command": command})

    def auth(self, token: str) -> None:
        self._step({"type": "auth", "token": token})

    def close(self) -> None:
        self._over = True
        self._step({"type": "close"})

    async def wait_closed(self) -> None:
        await asyncio.gather(*self._open.values(), return_exceptions=True)

    def _start(self) -> None:
        if not self._over:
            self._step({"type": "start"})

    def _step(self, given: Json) -> None:
        """Take an input, after those before it and what they have led to."""
        self._inputs.append(given)
        if self._is_stepping:
            return
        self._is_stepping = True
        try:
            while self._inputs:
                for effect in self._driver.step(self._inputs.popleft()):
                    self._carry_out(effect)
        except Exception as error:
            log.exception("the connection failed")
            self._inputs.clear()
            for effect in self._driver.step({"type": "close"}):
                self._carry_out(effect)
            self._carry_out({"do": "down", "down": {"reason": "internal", "text": f"{type(error).__name__}: {error}"}})
        finally:
            self._is_stepping = False

    def _carry_out(self, effect: Json) -> None:
        kind = effect["do"]
        if kind == "request":
            self._open[effect["id"]] = asyncio.ensure_future(self._send_request(effect))
        elif kind == "abort":
            if effect["id"] in self._open:
                self._open[effect["id"]].cancel()
        elif kind == "timer":
            timer = {"type": "timer"}
            self._timer = asyncio.get_running_loop().call_later(effect["ms"] / 1000, self._step, timer)
        elif kind == "cancel":
            if self._timer is not None:
                self._timer.cancel()
        elif kind == "heard":
            self._wire.heard()
        elif kind == "event":
            if not self._over:
                self._wire.event(effect["event"])
        elif kind == "down" and not self._over:
            self._over = True
            self._wire.down(effect["down"])

    async def _send_request(self, request: Json) -> None:
        request_id = request["id"]
        try:
            outcome = await self._outcome(request)
        except aiohttp.ClientConnectorError as error:
            outcome = _failed(error, unreachable=True)
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
            outcome = _failed(error)
        except Exception as error:
            log.exception("the connection failed")  # a mistake of ours must not leave the session deaf
            outcome = {"type": "refused", "down": {"reason": "internal", "text": str(error) or type(error).__name__}}
        finally:
            self._open.pop(request_id, None)
        self._step({**outcome, "id": request_id})

    async def _outcome(self, request: Json) -> Json:
        """Send a request; return the input that its answer is."""
        headers = {"Authorization": f"Bearer {request['token']}"} if request["token"] else {}
        if request["stream"]:
            headers["Accept"] = "text/event-stream"
        body = request.get("body")
        if body is not None:
            headers["Content-Type"] = "application/json"
        total_s = request["timeoutMs"] / 1000 or None
        async with self._wire.http.request(
            request["method"],
            self._wire.url / request["path"],
            params=[("client", self._wire.client_id), *((name, str(value)) for name, value in request["query"])],
            data=None if body is None else dumps(body),
            headers=headers,
            timeout=aiohttp.ClientTimeout(total=total_s, connect=CONNECT_S),
        ) as response:
            if response.status >= 400:
                return {"type": "refused", "down": await refusal(response)}
            if request["stream"]:
                decoder = codecs.getincrementaldecoder("utf-8")()
                async for piece in response.content.iter_any():
                    self._step({"type": "text", "id": request["id"], "text": decoder.decode(piece)})
                return {"type": "ended"}
            text = await response.text()
            return {"type": "answer", "body": json.loads(text) if text else None}


def open_http(transport: str, wire: Wire, joins: Sequence[Json]) -> HttpLink:
    """Open a connection by `sse`, `longpoll` or `shortpoll`."""
    kind = EventStreamDriver if transport == "sse" else PollDriver
    driver = kind(
        token=wire.token,
        joins=joins,
        wait_s=POLL_WAIT_S if transport == "longpoll" else 0,
        poll_ms=wire.poll_ms,
        attempt=wire.attempt,
        random=wire.random,
    )
    return HttpLink(wire, driver)


def _failed(error: Exception, *, unreachable: bool = False) -> Json:
    down: Json = {"reason": "network", "text": str(error) or type(error).__name__}
    return {"type": "refused", "down": {**down, "unreachable": True} if unreachable else down}


async def refusal(response: aiohttp.ClientResponse) -> Json:
    """Return why a request was refused, as the session is told."""
    status = response.status
    try:
        error = json.loads(await response.text())["error"]
        code, text, after_ms = error["code"], error.get("message"), error.get("retry_after_ms")
    except (ValueError, KeyError, TypeError, aiohttp.ClientError, OSError):
        code, text, after_ms = f"http {status}", None, None  # not from our server, then
    if after_ms is None:
        header = response.headers.get("Retry-After", "")
        after_ms = int(header) * 1000 if header.isdigit() else 0
    return {"reason": code, "status": status, "text": text, "retryAfterMs": after_ms}
