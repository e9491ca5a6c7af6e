"""`POST /rooms/{room}` and `POST /publish`."""

from __future__ import annotations

import asyncio

import msgspec

from trunkline.core.json_text import check_json
from trunkline.core.message import check_id, check_room
from trunkline.core.rate import work
from trunkline.errors import RequestError, TrunklineError
from trunkline.transports.admission import admit
from trunkline.transports.context import Context
from trunkline.transports.endpoints.bodies import decoded, read_body
from trunkline.transports.exchange import Answer, Exchange
from trunkline.wire import envelope
from trunkline.wire.body_text import JSON, TEXT, check_json_charset, decode_text, parse_content_type

BITE_BYTES = 16 * 1024  # of a list that is checked, before others have their turn


class Post(msgspec.Struct):
    """The body of `POST /rooms/{room}`; `POST /publish` takes a list of them, each with its room."""

    data: msgspec.Raw
    id: str | None = None
    room: str | None = None


_decode_post = msgspec.json.Decoder(Post).decode
_decode_posts = msgspec.json.Decoder(list[Post]).decode
_encode = msgspec.json.encode


async def publish_one(context: Context, request: Exchange) -> Answer:
    """Serve `POST /rooms/{room}`: one message; its receipt."""
    room, headers, limits = check_room(request.path_parameters["room"]), request.head.headers, context.limits
    caller = await admit(context, request, [("write", room)])
    media_type, charset = parse_content_type(headers.get(b"content-type", b"").decode("latin-1"))
    if media_type not in (JSON, TEXT, ""):
        raise RequestError("unsupported_media_type", f"send {JSON} or {TEXT}, not {media_type!r}")
    bytes_max = limits.message_bytes_max + limits.envelope_bytes_max
    body = await read_body(context, request, caller, [("write", room)], bytes_max)
    context.access.check_publish_rate(caller.grant, caller.key, work(len(body)))
    if media_type == JSON:
        check_json_charset(charset)
        post = decoded(_decode_post, body, '{"data": …, "id"?: …}')
    elif not body and not media_type:
        raise RequestError("bad_json", f"there is nothing to publish: send {JSON} or {TEXT}")
    else:
        post = Post(msgspec.Raw(_encode(decode_text(body, charset))))
    key = headers.get(b"idempotency-key")
    post.id = post.id if key is None else key.decode("latin-1")
    message_id, text = _checked(context, post)
    receipt = await context.engine.appender.append(room, message_id, caller.grant.user, text)
    return Answer(_encode(receipt), 200 if receipt.duplicate else 201)


async def publish_list(context: Context, request: Exchange) -> Answer:
    """Serve `POST /publish`: a list of messages, for back ends; one receipt or error each, in order."""
    limits, appender = context.limits, context.engine.appender
    caller = await admit(context, request, [])
    body = await request.body(limits.publish_list_max * 1024 + limits.message_bytes_max)
    posts = decoded(_decode_posts, body, "a list of {room, data, id?}")
    if len(posts) > limits.publish_list_max:
        raise RequestError("too_large", f"{len(posts)} messages, at most {limits.publish_list_max} allowed")
    rooms = dict.fromkeys(check_room(post.room or "") for post in posts)
    await context.access.check_all(caller.grant, [("write", room) for room in rooms])
    context.access.check_publish_rate(caller.grant, caller.key, len(posts) + work(len(body)) - 1)
    # Checked as a whole before the first is stored, so that a typing error stores nothing; and in bites, because
    # others wait meanwhile.
    checked, size = [], 0
    for post in posts:
        checked.append((post.room or "", *_checked(context, post)))
        size += len(checked[-1][2])
        if size > BITE_BYTES:
            size = 0
            await asyncio.sleep(0)
    await context.access.check_all(caller.grant, [("write", room) for room in rooms])
    results = await asyncio.gather(
        *[appender.append(room, message_id, caller.grant.user, text) for room, message_id, text in checked],
        return_exceptions=True,
    )
    failed = [result for result in results if isinstance(result, BaseException)]
    for result in failed:
        if not isinstance(result, TrunklineError):
            raise result
    if failed and len(failed) == len(results):
        raise failed[0]
    answers = [
        msgspec.Raw(envelope.problem(result)) if isinstance(result, TrunklineError) else result for result in results
    ]
    return Answer(_encode(answers), 207 if failed else 201)


def _checked(context: Context, post: Post) -> tuple[str | None, bytes]:
    """Return a message's id and data, if they may be one.

    Raises:
        RequestError: They may not.
    """
    limits = context.limits
    if post.id is not None:
        check_id(post.id, limits.id_bytes_max)
    return post.id, check_json(bytes(post.data), limits.message_bytes_max, limits.json_depth_max)
