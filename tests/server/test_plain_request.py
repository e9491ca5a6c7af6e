"""Requests that are answered without ASGI: as through ASGI, but for what it costs."""

import asyncio
import json
from typing import Any

import aiohttp
import pytest

from tests.access.support import SECRET, bearer, token
from trunkline import Hub, Issuer, JwtAuth, Limits
from trunkline.server.plain_request import plain
from trunkline.testing.hub import TestHub
from trunkline.wire.request_head import parse_request

ASGI = {"TE": "trailers"}  # a field that nothing here looks at, which makes a request unusual
ORIGIN = "https://app.example.com"
JSON = {"Content-Type": "application/json"}

PLAIN = [
    b"GET /rooms/r HTTP/1.1\r\nHost: h",
    b"GET /rooms/r?since=now&wait=20 HTTP/1.1\r\nHost: h\r\nAccept: */*",
    b"GET /rooms/%72 HTTP/1.1\r\nHost: h",
    b"POST /rooms/r HTTP/1.1\r\nHost: h\r\nContent-Length: 5",
    b"POST /publish HTTP/1.1\r\nHost: h\r\nContent-Length: 0",
    b"DELETE /rooms/r/presence HTTP/1.1\r\nHost: h",
    b"POST /sessions/s/auth HTTP/1.1\r\nHost: h",
    b"GET /connect?room=a&room=b HTTP/1.1\r\nHost: h\r\nConnection: close",
]
UNUSUAL = [
    b"GET / HTTP/1.1\r\nHost: h",
    b"GET /rooms/ HTTP/1.1\r\nHost: h",
    b"GET /rooms/a/b HTTP/1.1\r\nHost: h",
    b"GET /rooms/a%2Fb HTTP/1.1\r\nHost: h",
    b"GET /sessions/s/auth HTTP/1.1\r\nHost: h",
    b"PUT /rooms/r HTTP/1.1\r\nHost: h",
    b"GET /rooms/r HTTP/1.0\r\nHost: h",
    b"GET /rooms/r HTTP/1.1",
    b"GET /rooms/r HTTP/1.1\r\nHost: h\r\nAccept: text/event-stream",
    b"GET /rooms/r HTTP/1.1\r\nHost: h\r\nContent-Length: 5",
    b"POST /rooms/r HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked",
    b"POST /rooms/r HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nExpect: 100-continue",
    b"POST /rooms/r HTTP/1.1\r\nHost: h\r\nContent-Length: 5, 5",
    b"POST /rooms/r HTTP/1.1\r\nHost: h\r\nContent-Length: +5",
    b"POST /rooms/r HTTP/1.1\r\nHost: h\r\nContent-Length: 99999999999999999999",
    b"GET /rooms/r HTTP/1.1\r\nHost: h\r\nUpgrade: h2c\r\nConnection: upgrade",
]


def is_plain(head: bytes) -> bool:
    parsed = parse_request(head)
    return parsed is not None and plain(*parsed) is not None


@pytest.mark.parametrize("head", PLAIN)
def test_what_is_plain(head: bytes) -> None:
    assert is_plain(head)


@pytest.mark.parametrize("head", UNUSUAL)
def test_what_is_left_to_uvicorn(head: bytes) -> None:
    assert not is_plain(head)


REQUESTS: list[tuple[str, str, dict[str, str], bytes | None]] = [
    ("GET", "/rooms/r", {}, None),
    ("GET", "/rooms/r?since=start&limit=1", {}, None),
    ("GET", "/rooms/r?since=start&since=now", {}, None),
    ("GET", "/rooms/r?since=nonsense", {}, None),
    ("GET", "/rooms/r?limit=0", {}, None),
    ("GET", "/rooms/no%20room", {}, None),
    ("GET", "/connect?room=r&room=s&live=0", {}, None),
    ("GET", "/connect", {}, None),
    ("GET", "/unread?room=r", {}, None),
    ("GET", "/unread", {}, None),
    ("GET", "/whoami", {}, None),
    ("GET", "/rooms/r/presence", {}, None),
    ("GET", "/rooms/r/seen", {}, None),
    ("GET", "/livez", {}, None),
    ("GET", "/readyz", {}, None),
    ("GET", "/rooms/r", {"Origin": ORIGIN}, None),
    ("GET", "/rooms/r", {"Origin": "https://elsewhere.example.com"}, None),
    ("GET", "/rooms/r", {"Sec-Fetch-Site": "cross-site"}, None),
    ("POST", "/rooms/r", JSON, b'{"data": 1, "id": "k"}'),
    ("POST", "/rooms/r", JSON | {"Origin": ORIGIN}, b'{"data": 1, "id": "k"}'),
    ("POST", "/rooms/r", JSON | {"Idempotency-Key": "k"}, b'{"data": 2}'),
    ("POST", "/rooms/r", JSON, b"{"),
    ("POST", "/rooms/r", JSON, b""),
    ("POST", "/rooms/r", {"Content-Type": "text/xml"}, b"<a/>"),
    ("POST", "/rooms/r", {"Content-Type": "text/plain; charset=latin-1"}, b"\xe9"),
    ("POST", "/rooms/r", JSON, b'{"data": "%b"}' % (b"x" * 70_000)),
    ("POST", "/rooms/r", JSON, b"x" * 200_000),
    ("POST", "/publish", JSON, b'[{"room": "r", "data": 1, "id": "k"}, {"room": "s", "data": 2, "id": "l"}]'),
    ("POST", "/publish", JSON, b"[]"),
    ("POST", "/rooms/r/signals", JSON, b'{"name": "typing"}'),
    ("POST", "/rooms/r/seen?client=0123456789abcdef", JSON, b'{"offset": 1}'),
    ("DELETE", "/rooms/r/presence?client=0123456789abcdef", {}, None),
    ("POST", "/tickets", {}, b""),
    ("POST", "/disconnect", JSON, b'{"user": "nobody"}'),
    ("POST", "/revoke", JSON, b"{}"),
]


async def asked(
    http: aiohttp.ClientSession, method: str, path: str, headers: dict[str, str], body: bytes | None
) -> tuple[int, dict[str, str], Any]:
    """Status, header fields and body of an answer, without what differs each time."""
    async with http.request(method, path, headers=headers, data=body) as response:
        text = await response.read()
        fields = {name.lower(): value for name, value in response.headers.items() if name.lower() != "date"}
    parsed: Any = json.loads(text) if text else None
    if isinstance(parsed, dict):
        for name in ("ticket", "expires_in_ms", "session"):
            parsed.pop(name, None)
        if isinstance(parsed.get("live"), dict):
            del parsed["live"]["member"], parsed["live"]["expires_in_ms"]
        if "member" in parsed:
            del parsed["member"]
    assert response.status == 204 or int(fields.pop("content-length")) == len(text)
    if "access-control-allow-origin" not in fields:
        fields.pop("access-control-allow-credentials", None)  # Starlette says so also where it allows nothing
    return response.status, fields, parsed


@pytest.mark.parametrize("origins", [[ORIGIN], ["*"], []], ids=["listed", "all", "own"])
@pytest.mark.parametrize("authenticates", [False, True], ids=["everybody", "tokens"])
async def test_answers_are_those_of_asgi(*, authenticates: bool, origins: list[str]) -> None:
    auth = JwtAuth([Issuer(secret=SECRET)]) if authenticates else None
    async with TestHub(Hub("memory:", auth=auth, origins=origins)) as hub:
        await hub.publish("r", "first")
        await hub.publish("r", 1, id="k")
        await hub.publish("s", 2, id="l")
        brought = bearer(token(rooms={"read": ["*"], "write": ["r"], "presence": ["*"]})) if authenticates else {}
        async with hub.http() as http:
            for credentials in ({}, brought):
                for method, path, headers, body in REQUESTS:
                    given = headers | credentials
                    await asked(http, method, path, given, body)  # so that what it stores is stored
                    here = await asked(http, method, path, given, body)
                    there = await asked(http, method, path, given | ASGI, body)
                    assert here == there, (method, path, headers)


async def test_too_many_requests_are_refused_alike() -> None:
    limits = Limits(requests_per_address_per_s=1, requests_per_address_burst=5)
    async with TestHub(Hub("memory:", limits=limits, trusted=[])) as hub, hub.http() as http:
        answers = [await asked(http, "GET", "/rooms/r", {}, None) for _ in range(7)]
        assert [status for status, _, _ in answers] == [200] * 5 + [429] * 2
        status, fields, _ = await asked(http, "GET", "/rooms/r", ASGI, None)
        assert (status, fields.keys()) == (429, answers[-1][1].keys())


async def test_a_long_poll_waits_and_is_woken() -> None:
    async with TestHub() as hub, hub.http() as http:
        polls = [asyncio.ensure_future(asked(http, "GET", "/rooms/r?since=now&wait=20", {}, None)) for _ in range(3)]
        await hub.until(lambda: hub.hub.statistics()["polls"] == 3)
        await hub.publish("r", "news")
        for poll in polls:
            status, _, page = await poll
            assert (status, page["messages"][0]["data"]) == (200, "news")
        assert hub.hub.statistics()["polls"] == 0
        late = asyncio.ensure_future(asked(http, "GET", "/rooms/r?since=now&wait=20", {}, None))
        await hub.until(late.done, within_s=25)
        assert (await late)[2]["messages"] == []


async def test_a_client_that_goes_away_waits_no_longer() -> None:
    async with TestHub() as hub:
        async with hub.http() as http:
            poll = asyncio.ensure_future(http.get("/rooms/r?since=now&wait=20"))
            await hub.until(lambda: hub.hub.statistics()["polls"] == 1)
            poll.cancel()
            await asyncio.gather(poll, return_exceptions=True)
        await hub.until(lambda: hub.hub.statistics()["polls"] == 0)


async def test_a_mistake_of_ours_is_told(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    async with TestHub() as hub, hub.http() as http:
        monkeypatch.setattr(hub.hub._engine.pages, "poll", None)
        async with http.get("/rooms/r") as response:
            assert (response.status, await response.text()) == (500, "Internal Server Error")
        assert "a request failed: GET /rooms/{room}" in caplog.text
