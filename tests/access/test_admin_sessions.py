"""Sessions of administrators: by a code that is good once, to a cookie, to tokens of some minutes."""

import json

import pytest

from tests.transports.endpoints.test_endpoints import SECRET, Request, request
from trunkline import Grant, Hub, JwtAuth
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
        with pytest.raises(RequestError):  # also for one who has kept it
            await admin.session_token(context, from_page("GET", cookie=cookie))
        with pytest.raises(RequestError):
            await corrections.list_rooms(context, bearing(token, "GET"))


async def test_revoking_an_administrator_ends_the_session() -> None:
    async with Hub("memory:", auth=JwtAuth([Issuer(secret=SECRET)])) as hub:
        context = context_of(hub)
        sessions = context.access.admin_sessions
        assert sessions is not None
        cookie, _ = await sessions.begin(Grant(user="root", issued_at=1.0))
        token, _ = sessions.lend(context.access.admin_session(cookie, "cookie"))
        assert (await corrections.list_rooms(context, bearing(token, "GET"))).status == 200
        await hub.revoke(user="root")
        with pytest.raises(RequestError) as caught:
            await corrections.list_rooms(context, bearing(token, "GET"))
        assert caught.value.code == "revoked"


async def test_a_session_is_not_longer_than_the_token_it_was_begun_with() -> None:
    """Nor good when that is revoked by its name."""
    async with Hub("memory:", auth=JwtAuth([Issuer(secret=SECRET)])) as hub:
        context = context_of(hub)
        sessions, now = context.access.admin_sessions, context.clock.wall_ms() / 1000
        assert sessions is not None
        over, lasts_s = await sessions.begin(Grant(user="root", expires_at=now - 1))
        assert lasts_s < 0
        with pytest.raises(RequestError):
            context.access.admin_session(over, "cookie")
        cookie, lasts_s = await sessions.begin(Grant(user="root", expires_at=now + 20, token_id="J1", issued_at=now))
        token, lent_s = sessions.lend(context.access.admin_session(cookie, "cookie"))
        assert lent_s <= lasts_s <= 20
        assert (await corrections.list_rooms(context, bearing(token, "GET"))).status == 200
        await hub.revoke(token_id="J1")
        for made in (bearing(token, "GET"), bearing(cookie, "GET")):
            with pytest.raises(RequestError):
                await corrections.list_rooms(context, made)
        with pytest.raises(RequestError):
            await admin.session_token(context, from_page("GET", cookie=cookie))


async def test_a_cookie_is_no_token_and_a_token_no_cookie() -> None:
    async with Hub("memory:", auth=JwtAuth([Issuer(secret=SECRET)])) as hub:
        context = context_of(hub)
        sessions = context.access.admin_sessions
        assert sessions is not None
        cookie, _ = await sessions.begin(Grant(user="root"))
        token, _ = sessions.lend(context.access.admin_session(cookie, "cookie"))
        with pytest.raises(RequestError):
            await corrections.list_rooms(context, bearing(cookie, "GET"))
        with pytest.raises(RequestError):
            await admin.session_token(context, from_page("GET", cookie=token))


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
        assert caught.value.code == "unauthorized"
        # Nor is an administrator's; and a code is no ticket.
        root = sign(Issuer(secret=SECRET), "root", 60, Permissions(admin=("*",)))
        ticket = json.loads((await admin.issue_ticket(context, bearing(root))).body)["ticket"]
        with pytest.raises(RequestError):
            await admin.sign_in(context, from_page("POST", {"code": ticket}))
        code = json.loads((await admin.issue_code(context, bearing(root))).body)["code"]
        with pytest.raises(RequestError):
            await corrections.list_rooms(context, request("GET", ticket=code))
    async with Hub("memory:") as hub:
        with pytest.raises(RequestError):
            await admin.sign_in(context_of(hub), from_page("POST", {"code": "x"}))


async def test_other_sites_cannot_sign_in_or_use_the_cookie() -> None:
    async with Hub("memory:", auth=JwtAuth([Issuer(secret=SECRET)])) as hub:
        context = context_of(hub)
        sessions = context.access.admin_sessions
        assert sessions is not None
        cookie, _ = await sessions.begin(Grant(user="root"))
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
