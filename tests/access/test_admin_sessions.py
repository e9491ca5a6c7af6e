"""Sessions of administrators: by a code that is good once, to a cookie, to tokens of some minutes."""

import json

import pytest

from tests.transports.endpoints.test_endpoints import SECRET, Request, request
from trunkline import Hub, JwtAuth
from trunkline.access.admin_sessions import COOKIE, TOKEN_PREFIX
from trunkline.access.issuer import Issuer
from trunkline.access.jwt import sign
from trunkline.core.grant import Permissions
from trunkline.errors import RequestError
from trunkline.hub import context_of
from trunkline.transports.endpoints import admin, corrections
from trunkline.transports.exchange import Answer

HOST = {b"host": b"rooms.example.com", b"origin": b"https://rooms.example.com"}


def bearing(token: str, method: str = "POST", body: object = None) -> Request:
    made = request(method, body)
    made.head.headers[b"authorization"] = f"Bearer {token}".encode()
    return made


def from_page(method: str, body: object = None, cookie: str = "", **more: bytes) -> Request:
    made = request(method, body)
    made.head.headers.update(HOST)
    if cookie:
        made.head.headers[b"cookie"] = f"{COOKIE}={cookie}".encode()
    made.head.headers.update({name.encode(): value for name, value in more.items()})
    return made


def cookie_of(answer: Answer) -> str:
    [(name, text)] = answer.headers
    assert (name, answer.status) == ("Set-Cookie", 204)
    assert "; HttpOnly; SameSite=Strict; Secure" in text
    assert "Path" not in text
    return text.partition("=")[2].partition(";")[0]


async def test_a_code_becomes_a_cookie_and_that_a_token() -> None:
    async with Hub("memory:", auth=JwtAuth([Issuer(secret=SECRET)])) as hub:
        context = context_of(hub)
        root = sign(Issuer(secret=SECRET), "root", 60, Permissions(admin=("*",)))
        code = json.loads((await admin.issue_code(context, bearing(root))).body)["code"]
        cookie = cookie_of(await admin.sign_in(context, from_page("POST", {"code": code})))
        with pytest.raises(RequestError):  # it was used
            await admin.sign_in(context, from_page("POST", {"code": code}))
        token = json.loads((await admin.session_token(context, from_page("GET", cookie=cookie))).body)["token"]
        assert token.startswith(TOKEN_PREFIX)
        assert (await corrections.list_rooms(context, bearing(token, "GET"))).status == 200
        # The cookie alone does nothing else, and a token that was changed is none.
        with pytest.raises(RequestError):
            await corrections.list_rooms(context, from_page("GET", cookie=cookie))
        for wrong in (token[:-4] + "AAA=", TOKEN_PREFIX, TOKEN_PREFIX + "a.b", token + "x", TOKEN_PREFIX + "é.é"):
            with pytest.raises(RequestError) as caught:
                await corrections.list_rooms(context, bearing(wrong, "GET"))
            assert caught.value.code == "unauthorized"
        assert json.loads((await admin.session_token(context, from_page("GET"))).body)["token"] is None
        out = await admin.sign_out(context, from_page("POST", cookie=cookie))
        assert "Max-Age=0" in dict(out.headers)["Set-Cookie"]


async def test_revoking_an_administrator_ends_the_session() -> None:
    async with Hub("memory:", auth=JwtAuth([Issuer(secret=SECRET)])) as hub:
        context = context_of(hub)
        sessions = context.access.admin_sessions
        assert sessions is not None
        token = await sessions.issue("root", 60)
        assert (await corrections.list_rooms(context, bearing(token, "GET"))).status == 200
        await hub.revoke(user="root")
        with pytest.raises(RequestError) as caught:
            await corrections.list_rooms(context, bearing(token, "GET"))
        assert caught.value.code == "revoked"


async def test_a_session_that_is_over_is_none() -> None:
    async with Hub("memory:", auth=JwtAuth([Issuer(secret=SECRET)])) as hub:
        sessions = context_of(hub).access.admin_sessions
        assert sessions is not None
        with pytest.raises(RequestError):
            sessions.grant(await sessions.issue("root", -1))


async def test_no_code_for_those_who_are_no_administrators() -> None:
    async with Hub("memory:", auth=JwtAuth([Issuer(secret=SECRET)])) as hub:
        context = context_of(hub)
        ana = sign(Issuer(secret=SECRET), "ana", 60, Permissions(read=("*",)))
        with pytest.raises(RequestError):
            await admin.issue_code(context, bearing(ana))
        # A ticket of a user is no code.
        ticket = json.loads((await admin.issue_ticket(context, bearing(ana))).body)["ticket"]
        with pytest.raises(RequestError) as caught:
            await admin.sign_in(context, from_page("POST", {"code": ticket}))
        assert caught.value.code == "forbidden"
    async with Hub("memory:") as hub:
        with pytest.raises(RequestError):
            await admin.sign_in(context_of(hub), from_page("POST", {"code": "x"}))


async def test_other_sites_cannot_sign_in_or_use_the_cookie() -> None:
    async with Hub("memory:", auth=JwtAuth([Issuer(secret=SECRET)])) as hub:
        context = context_of(hub)
        sessions = context.access.admin_sessions
        assert sessions is not None
        cookie = await sessions.issue("root", 60)
        for made in (
            from_page("POST", {"code": "x"}, origin=b"https://evil.example"),
            from_page("POST", cookie=cookie, origin=b"https://evil.example"),
        ):
            with pytest.raises(RequestError) as caught:
                await (admin.sign_in if made._body else admin.sign_out)(context, made)
            assert caught.value.code == "bad_origin"
        with pytest.raises(RequestError) as caught:
            await admin.session_token(context, from_page("GET", cookie=cookie, origin=b"https://evil.example"))
        assert caught.value.code == "bad_origin"
