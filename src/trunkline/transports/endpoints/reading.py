"""`GET /rooms/{room}` and `GET /connect`: a poll, or an event stream."""

from __future__ import annotations

from typing import NamedTuple

from trunkline.transports.admission import Caller, admit_reading, authenticate
from trunkline.transports.context import Context
from trunkline.transports.exchange import Answer, Exchange
from trunkline.transports.poll import WaitingPoll, answer_poll
from trunkline.wire import sse
from trunkline.wire.query import Kind, ReadQuery


class StreamAnswer(NamedTuple):
    """The request is to be answered with an event stream, which is permitted."""

    caller: Caller
    query: ReadQuery


async def read_room(context: Context, request: Exchange) -> Answer | StreamAnswer | WaitingPoll:
    """Serve `GET /rooms/{room}`: one room."""
    return await _read(context, request, request.path_parameters["room"])


async def connect(context: Context, request: Exchange) -> Answer | StreamAnswer | WaitingPoll:
    """Serve `GET /connect`: the rooms that the query names."""
    return await _read(context, request, None)


async def _read(context: Context, request: Exchange, room: str | None) -> Answer | StreamAnswer | WaitingPoll:
    kind: Kind = "sse" if request.head.is_sse else "poll"
    query = admit_reading(context, request.head, request.key, room, kind, is_counted=request.is_counted)
    caller = await authenticate(context, request, list(query.needs()))
    if kind == "poll":
        return await answer_poll(context, request, caller, query)
    if request.method == "HEAD":
        return Answer(headers=sse.HEADERS, media_type="")
    return StreamAnswer(caller, query)
