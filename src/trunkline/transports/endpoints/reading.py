"""`GET /rooms/{room}` and `GET /connect`: a poll, or an event stream."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any, NamedTuple

from trunkline.transports.admission import Caller, admit_reading, authenticate
from trunkline.transports.context import Context
from trunkline.transports.exchange import Answer, Exchange, Pending
from trunkline.transports.poll import answer_poll
from trunkline.wire import sse
from trunkline.wire.query import Kind, ReadQuery


class StreamAnswer(NamedTuple):
    """The request is to be answered with an event stream, which is permitted."""

    caller: Caller
    query: ReadQuery


Outcome = Answer | StreamAnswer | Pending
"""What an endpoint gives: an answer, or who will have it."""

Outcoming = Outcome | Coroutine[Any, Any, Outcome]
"""An outcome, or the coroutine that returns it where a hook, an issuer or the log must be asked first."""


async def outcome_of(outcoming: Outcoming) -> Outcome:
    """Return the outcome, now or when it is there."""
    return await outcoming if isinstance(outcoming, Coroutine) else outcoming


def read_room(context: Context, request: Exchange) -> Outcoming:
    """Serve `GET /rooms/{room}`: one room."""
    return _read(context, request, request.path_parameters["room"])


def connect(context: Context, request: Exchange) -> Outcoming:
    """Serve `GET /connect`: the rooms that the query names."""
    return _read(context, request, None)


def _read(context: Context, request: Exchange, room: str | None) -> Outcoming:
    kind: Kind = "sse" if request.head.is_sse else "poll"
    query = admit_reading(context, request.head, request.key, room, kind, is_counted=request.is_counted)
    caller = authenticate(context, request, list(query.needs()))
    if not isinstance(caller, Caller):
        return _answer_when_admitted(context, request, caller, kind, query)
    return _answer(context, request, caller, kind, query)


async def _answer_when_admitted(
    context: Context, request: Exchange, admitting: Coroutine[Any, Any, Caller], kind: Kind, query: ReadQuery
) -> Outcome:
    return await outcome_of(_answer(context, request, await admitting, kind, query))


def _answer(context: Context, request: Exchange, caller: Caller, kind: Kind, query: ReadQuery) -> Outcoming:
    if kind == "poll":
        return answer_poll(context, request, caller, query)
    if request.method == "HEAD":
        return Answer(headers=sse.HEADERS, media_type="")
    return StreamAnswer(caller, query)
