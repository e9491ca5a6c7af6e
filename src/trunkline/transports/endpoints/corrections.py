"""Redacting, deleting and erasing, and the list of rooms."""

from __future__ import annotations

import msgspec

from trunkline.access.policy import ADMIN
from trunkline.core.message import check_room
from trunkline.core.rate import work
from trunkline.core.redaction import check_offsets
from trunkline.errors import ConfigError, RequestError
from trunkline.transports.admission import admit
from trunkline.transports.context import Context
from trunkline.transports.endpoints.bodies import admin_order, decoded, json_answer, read_body
from trunkline.transports.exchange import Answer, Exchange

ROOMS_DEFAULT = 50
BODY_MAX = 32 * 1024  # a thousand offsets


class _Redact(msgspec.Struct):
    """The body of `POST /rooms/{room}/redactions`."""

    offset: int | None = None
    offsets: list[int] = []
    epoch: str | None = None


class _Erase(msgspec.Struct):
    """The body of `POST /admin/erasures`."""

    user: str


class _Backup(msgspec.Struct):
    """The body of `POST /admin/backups`."""

    name: str | None = None


_decode_backup = msgspec.json.Decoder(_Backup).decode
_decode_redact = msgspec.json.Decoder(_Redact).decode
_decode_erase = msgspec.json.Decoder(_Erase).decode


async def redact(context: Context, request: Exchange) -> Answer:
    """Serve `POST /rooms/{room}/redactions {offset | offsets, epoch?}`: take the data of messages away."""
    room = check_room(request.path_parameters["room"])
    caller = await admit(context, request, [])
    context.access.origins.check(request.head, changes=True)
    order = decoded(_decode_redact, await read_body(context, request, caller, [], BODY_MAX), '{"offset": 42}')
    offsets = check_offsets([*order.offsets] if order.offset is None else [order.offset, *order.offsets])
    context.access.check_publish_rate(caller.grant, caller.key, work(rooms=len(offsets)))
    await context.moderation.check_may_redact(caller.grant, room, offsets)
    return json_answer((await context.moderation.redact(room, offsets, caller.grant.user, order.epoch))._asdict())


async def delete_room(context: Context, request: Exchange) -> Answer:
    """Serve `DELETE /admin/rooms/{room}`: delete a room."""
    caller = await admit(context, request, ADMIN)
    room = check_room(request.path_parameters["room"])
    return json_answer((await context.moderation.delete(room, caller.grant.user))._asdict())


async def list_rooms(context: Context, request: Exchange) -> Answer:
    """Serve `GET /admin/rooms?prefix=&after=&limit=`: a page of the rooms of the log."""
    await admit(context, request, ADMIN)
    one = request.head.one
    text = one("limit") or str(ROOMS_DEFAULT)
    if not (text.isascii() and text.isdigit() and 0 < len(text) <= 6 and int(text)):
        raise RequestError("bad_limit", "limit is a number from 1 on")
    page = await context.directory.page(one("prefix") or "", one("after") or "", int(text))
    return json_answer(page._asdict())


async def back_up(context: Context, request: Exchange) -> Answer:
    """Serve `POST /admin/backups {name?}`: write a backup into the folder that is set."""
    _, order = await admin_order(context, request, lambda body: _decode_backup(body or b"{}"), '{"name"?: …}')
    done = await context.backups.write_named(order.name, context.engine.clock.wall_ms() / 1000)
    return json_answer(done._asdict(), 201)


async def examine(context: Context, request: Exchange) -> Answer:
    """Serve `GET /admin/doctor`: what this node finds about its machine."""
    await admit(context, request, ADMIN)
    return json_answer({"node": context.engine.name, "findings": context.examine()})


async def begin_epochs(context: Context, request: Exchange) -> Answer:
    """Serve `POST /admin/epochs`: each room goes on in a new epoch."""
    await admit(context, request, ADMIN)
    try:
        await context.engine.begin_epochs()
    except ConfigError as error:
        raise RequestError("bad_command", str(error)) from None
    return Answer(b"", 204, media_type="")


async def erase(context: Context, request: Exchange) -> Answer:
    """Serve `POST /admin/erasures {user}`: begin to erase a user."""
    caller, order = await admin_order(context, request, _decode_erase, '{"user": …}')
    return json_answer(await context.erasures.begin(order.user, caller.grant.user), 202)


async def list_erasures(context: Context, request: Exchange) -> Answer:
    """Serve `GET /admin/erasures`: those that are running, and the last that are done."""
    await admit(context, request, ADMIN)
    return json_answer({"erasures": await context.erasures.all()})


async def show_erasure(context: Context, request: Exchange) -> Answer:
    """Serve `GET /admin/erasures/{id}`: where one stands."""
    await admit(context, request, ADMIN)
    return json_answer(await context.erasures.get(request.path_parameters["id"]))
