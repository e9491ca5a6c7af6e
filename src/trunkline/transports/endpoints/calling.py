"""`POST /calls/{name}`: a call of a handler of the application."""

from __future__ import annotations

import msgspec

from trunkline.core.call import Call, check_call_name
from trunkline.core.presence_options import member_of
from trunkline.transports.admission import admit
from trunkline.transports.context import Context
from trunkline.transports.endpoints.bodies import decoded, read_body
from trunkline.transports.exchange import Answer, Exchange
from trunkline.wire import envelope
from trunkline.wire.query import parse_presence


class _Call(msgspec.Struct):
    """The body of `POST /calls/{name}`."""

    data: msgspec.Raw = msgspec.Raw(b"null")
    id: str | None = None


_decode = msgspec.json.Decoder(_Call).decode


async def call(context: Context, request: Exchange) -> Answer:
    """Serve `POST /calls/{name} {data?, id?}`: have a handler carry it out; its result."""
    name = check_call_name(request.path_parameters["name"])
    caller = await admit(context, request, [("call", name)])
    bytes_max = context.limits.message_bytes_max + context.limits.envelope_bytes_max
    body = await read_body(context, request, caller, [("call", name)], bytes_max)
    asked = decoded(_decode, body or b"{}", '{"data"?: …, "id"?: …}')
    key = request.head.headers.get(b"idempotency-key")
    call_id = asked.id if key is None else key.decode("latin-1")
    member = member_of(caller.grant, parse_presence(request.head, context.limits).client_id or caller.session)
    made = Call(name=name, id=call_id, grant=caller.grant, member=member, session="", address=request.key or "")
    return Answer(envelope.result_body(call_id, await context.calls.call(made, bytes(asked.data), caller.key)))
