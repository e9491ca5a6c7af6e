"""Tickets, newer tokens, and what administrators do."""

from __future__ import annotations

import msgspec

from trunkline.access.administration import Reached
from trunkline.core.presence_options import member_of
from trunkline.core.tickets import TICKET_S
from trunkline.errors import RequestError
from trunkline.transports.admission import admit
from trunkline.transports.context import Context
from trunkline.transports.endpoints.bodies import decoded, read_body
from trunkline.transports.exchange import Answer, Exchange
from trunkline.wire import envelope
from trunkline.wire.query import parse_presence


class _Order(msgspec.Struct):
    """The body of `POST /disconnect` and `POST /revoke`."""

    user: str | None = None
    token_id: str | None = None


_decode_order = msgspec.json.Decoder(_Order).decode


async def issue_ticket(context: Context, request: Exchange) -> Answer:
    """Serve `POST /tickets`: a single-use ticket, worth what the request's token is worth."""
    caller = await admit(context, request, [])
    body = {"ticket": context.access.issue_ticket(caller.grant), "expires_in_s": TICKET_S}
    return Answer(msgspec.json.encode(body), 201)


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
    order = await _order(context, request)
    if order.user is None:
        raise RequestError("bad_command", "name the user")
    return _reached(await context.administration.disconnect(order.user))


async def revoke(context: Context, request: Exchange) -> Answer:
    """Serve `POST /revoke {user?, token_id?}`: refuse tokens, and end the connections made with them."""
    order = await _order(context, request)
    if order.user is None and order.token_id is None:
        raise RequestError("bad_command", "name the user or the token_id")
    return _reached(await context.administration.revoke(user=order.user, token_id=order.token_id))


async def _order(context: Context, request: Exchange) -> _Order:
    caller = await admit(context, request, [("admin", "*")])
    body = await read_body(context, request, caller, [("admin", "*")], context.limits.envelope_bytes_max)
    return decoded(_decode_order, body, "an object with user or token_id")


def _reached(reached: Reached) -> Answer:
    return Answer(msgspec.json.encode(reached._asdict()))
