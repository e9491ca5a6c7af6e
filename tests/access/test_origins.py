"""From where: pages of our own origin and of listed ones, on every transport (R51)."""

import aiohttp
import pytest

from tests.access.support import COOKIE, ORIGIN, bearer, knock, token
from tests.support import Server


def headers_for(server: Server, origin: str) -> dict[str, str]:
    own = server.url.removeprefix("http://")
    return {"Origin": origin.replace("OWN", own).replace("PORT", str(server.port))} if origin else {}


@pytest.mark.parametrize("place", ["header", "cookie"])
@pytest.mark.parametrize(
    ("origin", "allowed"),
    [
        ("", True),
        ("http://OWN", True),
        ("https://OWN", True),
        (ORIGIN, True),
        ("http://app.example.com", False),
        ("https://app.example.com.evil.com", False),
        ("https://evil.com", False),
        ("http://127.0.0.1:1", False),
        ("http://127.0.0.1", False),
        ("http://localhost:PORT", False),
        ("null", False),
        ("garbage", False),
        ("http://[", False),
    ],
)
async def test_origins(
    server: Server, http: aiohttp.ClientSession, transport: str, origin: str, allowed: bool, place: str
) -> None:
    headers = headers_for(server, origin)
    headers |= bearer(token()) if place == "header" else {"Cookie": f"{COOKIE}={token()}"}
    outcome = await knock(http, transport, f"{server.url}/rooms/a", headers=headers)
    assert outcome == ("ok" if allowed else "403" if transport == "websocket" else "bad_origin")
    if transport == "shortpoll":
        async with http.post(f"{server.url}/rooms/a", json={"data": 1}, headers=headers) as response:
            assert response.status == (201 if allowed else 403)


async def test_what_listed_pages_may_read(server: Server, http: aiohttp.ClientSession, transport: str) -> None:
    """CORS headers, without which the browser would not show a listed page what it got."""
    if transport == "websocket":
        return
    accept = {"Accept": "text/event-stream"} if transport == "sse" else {}
    for origin, granted in ((ORIGIN, ORIGIN), (server.url, None)):
        headers = bearer(token()) | accept | {"Origin": origin}
        async with http.get(f"{server.url}/rooms/a", headers=headers) as response:
            assert response.headers.get("Access-Control-Allow-Origin") == granted
    async with http.get(f"{server.url}/rooms/a", headers=accept | {"Origin": ORIGIN}) as response:
        assert response.status == 401
        assert response.headers["Access-Control-Allow-Origin"] == ORIGIN  # the page may read why


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
async def test_preflight(server: Server, http: aiohttp.ClientSession, method: str) -> None:
    for origin, status in ((ORIGIN, 200), ("https://evil.com", 400)):
        headers = {"Origin": origin, "Access-Control-Request-Method": method}
        headers["Access-Control-Request-Headers"] = "authorization,content-type,idempotency-key"
        async with http.options(f"{server.url}/rooms/a", headers=headers) as response:
            assert response.status == status


async def test_pages_that_do_not_say_their_origin(server: Server, http: aiohttp.ClientSession) -> None:
    """An <img> or <script> of another site; a link that somebody follows is no attack."""
    for site, mode, outcome in (
        ("cross-site", "no-cors", "bad_origin"),
        ("same-site", "no-cors", "bad_origin"),
        ("same-origin", "cors", "ok"),
        ("cross-site", "navigate", "ok"),
    ):
        headers = bearer(token()) | {"Sec-Fetch-Site": site, "Sec-Fetch-Mode": mode}
        assert await knock(http, "shortpoll", f"{server.url}/rooms/a", headers=headers) == outcome


async def test_names_that_point_to_this_machine(http: aiohttp.ClientSession, transport: str) -> None:
    """DNS rebinding: without tokens, a server on loopback answers to loopback's names only."""
    with Server("--origins", "https://listed.example") as server:
        for host, outcome in (
            ("evil.com", "421" if transport == "websocket" else "bad_host"),
            (f"localhost:{server.port}", "ok"),
            ("app.localhost", "ok"),
            ("127.9.9.9:1", "ok"),
            ("[::1]:1", "ok"),
            ("127.evil.com", "421" if transport == "websocket" else "bad_host"),
            ("listed.example", "ok"),
        ):
            assert await knock(http, transport, f"{server.url}/rooms/a", headers={"Host": host}) == outcome, host


@pytest.mark.parametrize(
    ("more", "outcome"),
    [
        ({"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}, "bad_origin"),
        ({"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "navigate"}, "bad_origin"),
        ({}, "bad_origin"),  # an image of a browser that says nothing
        ({"Sec-Fetch-Site": "same-origin", "Sec-Fetch-Mode": "cors"}, "ok"),
        ({"Sec-Fetch-Site": "none", "Sec-Fetch-Mode": "navigate"}, "ok"),  # somebody typed it
        ({"Origin": ORIGIN}, "ok"),
    ],
)
@pytest.mark.parametrize("how", ["shortpoll", "sse"])
async def test_a_link_shows_nobody(
    server: Server, http: aiohttp.ClientSession, how: str, more: dict[str, str], outcome: str
) -> None:
    """A GET that others notice must not be made by a page that its user only followed a link on, with their cookie."""
    rooms = {"read": ["*"], "presence": ["*"]}
    headers = {"Cookie": f"{COOKIE}={token('victim', rooms=rooms)}", **more}
    for presence, expected in (("%7B%22name%22%3A%22x%22%7D", outcome), ("1", outcome), ("watch", "ok")):
        if expected == "ok" and more.get("Sec-Fetch-Site") in ("cross-site", "same-site") and how == "sse":
            continue  # browsers make no event stream of a link
        target = f"{server.url}/rooms/link?since=now&presence={presence}"
        assert await knock(http, how, target, headers=headers) == expected, presence
    # Whoever sends a token in a header is no link.
    target = f"{server.url}/rooms/other?since=now&presence=1"
    assert await knock(http, how, target, headers=bearer(token(rooms=rooms))) == "ok"
