"""What the dashboard asks for: figures, a room, connections, and to follow one of them. Administrators alone may."""

from __future__ import annotations

import msgspec

from trunkline.access.policy import ADMIN
from trunkline.core.cluster_messages import Follow, ListConnections
from trunkline.core.message import check_readable_room
from trunkline.core.position import Start, parse_last
from trunkline.core.system_rooms import follow_room
from trunkline.transports.admission import admit
from trunkline.transports.context import Context
from trunkline.transports.endpoints.bodies import admin_order, json_answer
from trunkline.transports.exchange import Answer, Exchange

TAIL_DEFAULT, TAIL_MAX = 20, 100
MEMBERS_MAX = 100


class _FollowOrder(msgspec.Struct):
    """The body of `POST /admin/follow`."""

    session: str
    contents: bool = False


_decode_follow = msgspec.json.Decoder(_FollowOrder).decode


async def overview(context: Context, request: Exchange) -> Answer:
    """Serve `GET /admin/overview`: all that the dashboard shows, with the last quarter of an hour."""
    await admit(context, request, ADMIN)
    context.overview.watch()
    return json_answer(context.overview.as_json(history=True))


async def room(context: Context, request: Exchange) -> Answer:
    """Serve `GET /admin/rooms/{room}?last=20`: where a room stands, its newest messages, readers and members."""
    await admit(context, request, ADMIN)
    name = check_readable_room(request.path_parameters["room"])
    last = min(TAIL_MAX, parse_last(request.head.one("last") or TAIL_DEFAULT).number)
    page = await context.engine.pages.read(name, Start("last", last), limit=TAIL_MAX)
    found = await context.lookup.connections(ListConnections(room=name))
    count, members = context.engine.presence.members(name)
    return json_answer(
        {
            "room": name,
            "epoch": page.epoch,
            "head": page.head,
            "messages": page.messages,
            "redactions": page.redactions,
            "readers": found.connections,
            "members_count": count,
            "members": members[:MEMBERS_MAX],
            "has_more": found.has_more,
            "missing_nodes": found.missing_nodes,
        }
    )


async def connections(context: Context, request: Exchange) -> Answer:
    """Serve `GET /admin/connections?user=|room=|session=`: streaming connections on all nodes."""
    await admit(context, request, ADMIN)
    wanted = ListConnections(*(request.head.one(name) for name in ("user", "room", "session")))
    found = await context.lookup.connections(wanted)
    return json_answer(found._asdict())


async def follow(context: Context, request: Exchange) -> Answer:
    """Serve `POST /admin/follow {session, contents?}`: tell what a session does, for a minute, in a room of its own."""
    _, order = await admin_order(context, request, _decode_follow, "an object with session and, if wanted, contents")
    await context.follows.follow(Follow(order.session, order.contents))
    return json_answer({"room": follow_room(order.session)})
