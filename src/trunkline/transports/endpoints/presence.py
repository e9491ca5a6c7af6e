"""What is true now, by plain requests: signals, presence, read marks and unread counts."""

from __future__ import annotations

import msgspec

from trunkline.core.message import check_room, check_rooms
from trunkline.core.presence_options import lasting_member, member_of
from trunkline.core.read_mark import check_offset
from trunkline.core.signal import SIGNAL_BYTES_MAX, check_signal
from trunkline.errors import RequestError
from trunkline.transports.admission import admit
from trunkline.transports.context import Context
from trunkline.transports.endpoints.bodies import decoded, read_body
from trunkline.transports.exchange import NO_CONTENT, Answer, Exchange
from trunkline.wire import envelope
from trunkline.wire.query import named_rooms, parse_presence


class _Signal(msgspec.Struct):
    """The body of `POST /rooms/{room}/signals`."""

    name: str
    data: msgspec.Raw = msgspec.Raw(b"null")


class _Seen(msgspec.Struct):
    """The body of `POST /rooms/{room}/seen`."""

    offset: int


_decode_signal = msgspec.json.Decoder(_Signal).decode
_decode_seen = msgspec.json.Decoder(_Seen).decode


async def send_signal(context: Context, request: Exchange) -> Answer:
    """Serve `POST /rooms/{room}/signals {name, data?}`."""
    room, engine = check_room(request.path_parameters["room"]), context.engine
    caller = await admit(context, request, [("signal", room)])
    client_id = parse_presence(request.head, context.limits).client_id
    bytes_max = context.limits.envelope_bytes_max + SIGNAL_BYTES_MAX
    body = await read_body(context, request, caller, [("signal", room)], bytes_max)
    asked = decoded(_decode_signal, body, '{"name": …, "data"?: …}')
    name, text = check_signal(asked.name, bytes(asked.data))
    context.access.check_publish_rate(caller.grant, caller.key)
    member, user = member_of(caller.grant, client_id or caller.session), caller.grant.user
    origin = engine.connections.find(user, client_id)
    engine.signals.send(room, name, user, member, text, origin, client_id or "")
    return NO_CONTENT


async def list_members(context: Context, request: Exchange) -> Answer:
    """Serve `GET /rooms/{room}/presence`: the members."""
    room, presence = check_room(request.path_parameters["room"]), context.engine.presence
    await admit(context, request, [("presence", room)])
    return Answer(envelope.members_body(room, *presence.members(room), presence.incomplete_nodes))


async def leave(context: Context, request: Exchange) -> Answer:
    """Serve `DELETE /rooms/{room}/presence`: a client that polled will not poll again."""
    room = check_room(request.path_parameters["room"])
    caller = await admit(context, request, [("presence", room)])
    client_id = parse_presence(request.head, context.limits).client_id
    context.engine.presence.leave_poller(room, lasting_member(caller.grant, client_id), client_id or "")
    return NO_CONTENT


async def list_read_marks(context: Context, request: Exchange) -> Answer:
    """Serve `GET /rooms/{room}/seen`: the members' read marks."""
    room = check_room(request.path_parameters["room"])
    await admit(context, request, [("presence", room)])
    return Answer(envelope.seen_body(room, await context.engine.read_marks.of_room(room)))


async def mark_seen(context: Context, request: Exchange) -> Answer:
    """Serve `POST /rooms/{room}/seen {offset}`: move the member's own read mark."""
    room = check_room(request.path_parameters["room"])
    caller = await admit(context, request, [("read", room)])
    member = lasting_member(caller.grant, parse_presence(request.head, context.limits).client_id)
    body = await read_body(context, request, caller, [("read", room)], context.limits.envelope_bytes_max)
    offset = check_offset(decoded(_decode_seen, body, '{"offset": …}').offset)
    context.access.check_publish_rate(caller.grant, caller.key)
    return Answer(msgspec.json.encode(await context.engine.read_marks.mark(room, member, offset)))


async def count_unread(context: Context, request: Exchange) -> Answer:
    """Serve `GET /unread?room=a&room=b`: how much of these rooms the member has not seen."""
    rooms = check_rooms(named_rooms(request.head), context.limits.rooms_per_connection_max)
    if not rooms:
        raise RequestError("room_required", "name the rooms: /unread?room=a&room=b")
    caller = await admit(context, request, [("read", room) for room in rooms])
    member = lasting_member(caller.grant, parse_presence(request.head, context.limits).client_id)
    return Answer(envelope.unread_body(await context.engine.read_marks.unread(member, rooms)))
