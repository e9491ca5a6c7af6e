"""Tickets, newer tokens, and what administrators do."""

from __future__ import annotations

import contextlib

import msgspec

from trunkline.access.admin_sessions import CODE_S, COOKIE, AdminSessions
from trunkline.access.policy import ADMIN, forbidden
from trunkline.core.presence_options import member_of
from trunkline.core.tickets import TICKET_S
from trunkline.errors import RequestError
from trunkline.transports.admission import admit
from trunkline.transports.context import Context
from trunkline.transports.endpoints.bodies import admin_order, decoded, json_answer
from trunkline.transports.exchange import Answer, Exchange
from trunkline.wire import envelope
from trunkline.wire.credentials import cookies
from trunkline.wire.query import parse_presence


class _Order(msgspec.Struct):
    """The body of `POST /disconnect` and `POST /revoke`."""

    user: str | None = None
    token_id: str | None = None


class _Code(msgspec.Struct):
    """The body of `POST /admin/login`."""

    code: str


_decode_code = msgspec.json.Decoder(_Code).decode
_decode_order = msgspec.json.Decoder(_Order).decode
ORDER = "an object with user or token_id"


async def issue_ticket(context: Context, request: Exchange) -> Answer:
    """Serve `POST /tickets`: a single-use ticket, worth what the request's token is worth."""
    caller = await admit(context, request, [])
    body = {"ticket": context.access.issue_ticket(caller.grant), "expires_in_s": TICKET_S}
    return json_answer(body, 201)


async def issue_code(context: Context, request: Exchange) -> Answer:
    """Serve `POST /admin/codes`: a one-time code with which an administrator signs in at the dashboard."""
    caller = await admit(context, request, ADMIN)
    body = {"code": context.access.issue_code(caller.grant), "expires_in_s": CODE_S}
    return json_answer(body, 201)


async def sign_in(context: Context, request: Exchange) -> Answer:
    """Serve `POST /admin/login {code}`: a cookie for the code, which is good once."""
    sessions = _sessions(context, request, changes=True)
    order = decoded(_decode_code, await request.body(context.limits.envelope_bytes_max), '{"code": …}')
    grant = await context.access.redeem_code(order.code)
    await context.access.check_all(grant, ADMIN)
    cookie, lasts_s = await sessions.begin(grant)
    return Answer(b"", 204, [_cookie(request, cookie, lasts_s)], media_type="")


async def session_token(context: Context, request: Exchange) -> Answer:
    """Serve `GET /admin/token`: a token of a few minutes, for the page that has the cookie."""
    sessions = _sessions(context, request, changes=False)
    cookie = cookies(request.head).get(COOKIE)
    if cookie is None:  # the page asks before the operator has signed in: that is no refusal
        return json_answer({"token": None, "expires_in_s": 0})
    token, lasts_s = sessions.lend(context.access.admin_session(cookie, "cookie"))
    return json_answer({"token": token, "expires_in_s": lasts_s})


async def sign_out(context: Context, request: Exchange) -> Answer:
    """Serve `POST /admin/logout`: the session ends, and the cookie is taken away."""
    _sessions(context, request, changes=True)
    cookie = cookies(request.head).get(COOKIE)
    with contextlib.suppress(RequestError):  # it has ended already
        if cookie is not None:
            await context.administration.revoke(token_id=context.access.admin_session(cookie, "cookie").name)
    return Answer(b"", 204, [_cookie(request, "", 0)], media_type="")


def _sessions(context: Context, request: Exchange, *, changes: bool) -> AdminSessions:
    access = context.access
    if request.key is not None:
        access.check_request_rate(request.key, 1 - request.is_counted)
    access.origins.check(request.head, changes=changes)
    if access.admin_sessions is None or not access.is_required:
        raise forbidden("admin", "*")
    return access.admin_sessions


def _cookie(request: Exchange, value: str, lifetime_s: float) -> tuple[str, str]:
    # Without a path, so that it is that of `/admin/…` as the browser knows it, also below a mount or a proxy's prefix.
    secure = "; Secure" if request.head.headers.get(b"origin", b"").startswith(b"https:") else ""
    return ("Set-Cookie", f"{COOKIE}={value}; Max-Age={lifetime_s:.0f}; HttpOnly; SameSite=Strict{secure}")


async def renew(context: Context, request: Exchange) -> Answer:
    """Serve `POST /sessions/{session}/auth`: a newer token for a stream that is open."""
    caller = await admit(context, request, [])
    if not await context.administration.renew(request.path_parameters["session"], caller.grant):
        raise RequestError("not_found", "you have no open stream of that name")
    return Answer(envelope.authenticated(caller.grant, context.engine.clock.wall_ms()))


async def whoami(context: Context, request: Exchange) -> Answer:
    """Serve `GET /whoami`: the user and the member's name, for clients that have no stream to be told by."""
    caller = await admit(context, request, [])
    client_id = parse_presence(request.head, context.limits).client_id
    member = member_of(caller.grant, client_id or caller.session)
    return Answer(context.welcome_body(caller.session, caller.grant, member))


async def disconnect(context: Context, request: Exchange) -> Answer:
    """Serve `POST /disconnect {user}`: end a user's connections."""
    _, order = await admin_order(context, request, _decode_order, ORDER)
    if order.user is None:
        raise RequestError("bad_command", "name the user")
    return json_answer((await context.administration.disconnect(order.user))._asdict())


async def revoke(context: Context, request: Exchange) -> Answer:
    """Serve `POST /revoke {user?, token_id?}`: refuse tokens, and end the connections made with them."""
    _, order = await admin_order(context, request, _decode_order, ORDER)
    if order.user is None and order.token_id is None:
        raise RequestError("bad_command", "name the user or the token_id")
    reached = await context.administration.revoke(user=order.user, token_id=order.token_id)
    return json_answer(reached._asdict())
