"""Durable consumers by HTTP: `GET /consumers/{name}`, `POST /consumers/{name}/acks`, and what administrators see."""

from __future__ import annotations

import msgspec

from trunkline.access.policy import ADMIN, Need
from trunkline.core.cluster_messages import AckConsumed
from trunkline.core.consumer import check_consumer_name
from trunkline.errors import RequestError
from trunkline.transports.admission import admit
from trunkline.transports.context import Context
from trunkline.transports.endpoints.bodies import decoded, json_answer, read_body
from trunkline.transports.endpoints.reading import Outcome, StreamAnswer
from trunkline.transports.exchange import NO_CONTENT, Answer, Exchange
from trunkline.wire import sse
from trunkline.wire.query import parse_consume_query


class _Ack(msgspec.Struct):
    """The body of `POST /consumers/{name}/acks`."""

    session: str
    room: str
    position: str
    fence: int
    failed: str | None = None


_decode_ack = msgspec.json.Decoder(_Ack).decode


async def consume(context: Context, request: Exchange) -> Outcome:
    """Serve `GET /consumers/{name}?rooms=…`: an event stream of what falls to this instance of the consumer."""
    query = parse_consume_query(request.head, request.path_parameters["name"])
    if not request.head.is_sse:
        raise RequestError("not_acceptable", "a consumer reads an event stream: send Accept: text/event-stream")
    caller = await admit(context, request, list(query.needs()))
    if request.method == "HEAD":
        return Answer(headers=sse.HEADERS, media_type="")
    return StreamAnswer(caller, query)


async def acknowledge(context: Context, request: Exchange) -> Answer:
    """Serve `POST /consumers/{name}/acks {session, room, position, fence, failed?}`: what has become of a message."""
    name = check_consumer_name(request.path_parameters["name"])
    needs: list[Need] = [("consume", name)]
    caller = await admit(context, request, needs)
    body = await read_body(context, request, caller, needs, context.limits.envelope_bytes_max * 4)
    ack = decoded(_decode_ack, body, '{"session", "room", "position", "fence", "failed"?}')
    told = AckConsumed(ack.session, name, caller.grant.user, ack.room, ack.position, ack.fence, ack.failed)
    await context.acknowledgements.settle(told)
    return NO_CONTENT


async def list_consumers(context: Context, request: Exchange) -> Answer:
    """Serve `GET /admin/consumers`: all durable consumers, and how far they are."""
    await admit(context, request, ADMIN)
    return json_answer({"consumers": [found._asdict() for found in await context.consumers.all()]})


async def delete_consumer(context: Context, request: Exchange) -> Answer:
    """Serve `DELETE /admin/consumers/{name}`: forget a consumer that does not run."""
    await admit(context, request, ADMIN)
    await context.consumers.delete(check_consumer_name(request.path_parameters["name"]))
    return NO_CONTENT
