"""`POST /rooms/{room}` and `POST /publish`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import msgspec

from trunkline.core.json_text import check_json
from trunkline.core.message import Draft, Receipt, check_id, check_room
from trunkline.core.rate import work
from trunkline.core.trace import Trace, parse_trace
from trunkline.errors import RequestError, TrunklineError
from trunkline.transports.admission import Admitting, Caller, admit, begin_admission
from trunkline.transports.context import Context
from trunkline.transports.endpoints.bodies import decoded, read_body
from trunkline.transports.endpoints.reading import Outcome, Outcoming
from trunkline.transports.exchange import Answer, Exchange, Pending
from trunkline.wire import envelope
from trunkline.wire.body_text import JSON, TEXT, check_json_charset, decode_text, parse_content_type
from trunkline.wire.request_head import RequestHead

BITE_BYTES = 16 * 1024  # of a list that is checked, before others have their turn


class Post(msgspec.Struct):
    """The body of `POST /rooms/{room}`; `POST /publish` takes a list of them, each with its room."""

    data: msgspec.Raw
    id: str | None = None
    room: str | None = None
    traceparent: str | None = None
    tracestate: str | None = None


_decode_post = msgspec.json.Decoder(Post).decode
_decode_posts = msgspec.json.Decoder(list[Post]).decode
_encode = msgspec.json.Encoder().encode


def publish_one(context: Context, request: Exchange) -> Outcoming:
    """Serve `POST /rooms/{room}`: one message; its receipt."""
    room = check_room(request.path_parameters["room"])
    try:
        caller = begin_admission(context, request, [("write", room)])
        if not isinstance(caller, Caller):
            return _publish_when_here(context, request, room, caller)
        content = _content_of(request.head)
        body = request.body_now(_bytes_max(context))
    except TrunklineError as error:
        context.engine.publish_refused(room, None, _trace_of(request.head), error)
        raise
    if body is None:
        return _publish_when_here(context, request, room, caller)
    return _publish(context, request, room, caller, content, body)


async def _publish_when_here(context: Context, request: Exchange, room: str, admitting: Admitting) -> Outcome:
    try:
        caller = admitting if isinstance(admitting, Caller) else await admitting
        content = _content_of(request.head)
        body = await read_body(context, request, caller, [("write", room)], _bytes_max(context))
    except TrunklineError as error:
        context.engine.publish_refused(room, None, _trace_of(request.head), error)
        raise
    return _publish(context, request, room, caller, content, body)


def _bytes_max(context: Context) -> int:
    return context.limits.message_bytes_max + context.limits.envelope_bytes_max


def _content_of(head: RequestHead) -> tuple[str, str]:
    """Return the media type of a message and its charset.

    Raises:
        RequestError: `unsupported_media_type`.
    """
    content = head.headers.get(b"content-type", b"")
    if content == b"application/json":
        return JSON, ""
    media_type, charset = parse_content_type(content.decode("latin-1"))
    if media_type not in (JSON, TEXT, ""):
        raise RequestError("unsupported_media_type", f"send {JSON} or {TEXT}, not {media_type!r}")
    return media_type, charset


def _publish(
    context: Context, request: Exchange, room: str, caller: Caller, content: tuple[str, str], body: bytes
) -> Pending:
    media_type, charset = content
    message_id, trace = None, _trace_of(request.head)
    try:
        context.access.check_publish_rate(caller.grant, caller.key, work(len(body)))
        if media_type == JSON:
            check_json_charset(charset)
            post = decoded(_decode_post, body, '{"data": …, "id"?: …}')
        elif not body and not media_type:
            raise RequestError("bad_json", f"there is nothing to publish: send {JSON} or {TEXT}")
        else:
            post = Post(msgspec.Raw(_encode(decode_text(body, charset))))
        key = request.head.headers.get(b"idempotency-key")
        message_id = post.id = post.id if key is None else key.decode("latin-1")
        trace = _trace_of_post(post, trace)
        text = _checked(context, post)
    except TrunklineError as error:
        context.engine.publish_refused(room, message_id, trace, error)
        raise
    draft = Draft(room, message_id, caller.grant.user, context.engine.clock.wall_ms(), text, trace)
    return _Storing(context, caller, draft, is_checked=_is_checked(request, caller))


def _is_checked(request: Exchange, caller: Caller) -> bool:
    """Return whether the application looks at the messages first: unless an administrator says `?check=false`."""
    return request.head.one("check") != "false" or not caller.grant.permissions.allows("admin", "*")


class _Storing:
    """A message on its way to the log: its receipt is the answer."""

    waits_for_news = False

    def __init__(self, context: Context, caller: Caller, draft: Draft, *, is_checked: bool) -> None:
        self._context = context
        self._caller = caller
        self._draft = draft
        self._is_checked = is_checked
        self._answered: Callable[[Answer | Exception], None] | None = None

    def begin(self, answered: Callable[[Answer | Exception], None]) -> None:
        self._answered = answered
        self._context.publishing.submit(self._caller, self._draft, self._stored, is_checked=self._is_checked)

    def _stored(self, _: Draft, receipt: Receipt | None, error: TrunklineError | None) -> None:
        answered, self._answered = self._answered, None
        if answered is None:
            return  # the client has gone
        if receipt is not None:
            answered(Answer(_encode(receipt), 200 if receipt.duplicate else 201))
        elif error is not None:
            answered(error)

    def hurry(self) -> None:
        """Do nothing: a message that is not stored has no receipt."""

    def leave(self) -> None:
        self._answered = None


async def publish_list(context: Context, request: Exchange) -> Answer:
    """Serve `POST /publish`: a list of messages, for back ends; one receipt or error each, in order."""
    limits = context.limits
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
    checked, size, trace, now_ms = [], 0, _trace_of(request.head), context.engine.clock.wall_ms()
    for post in posts:
        text = _checked(context, post)
        draft = Draft(post.room or "", post.id, caller.grant.user, now_ms, text, _trace_of_post(post, trace))
        checked.append(draft)
        size += len(text)
        if size > BITE_BYTES:
            size = 0
            await asyncio.sleep(0)
    await context.access.check_all(caller.grant, [("write", room) for room in rooms])
    is_checked = _is_checked(request, caller)
    results = await asyncio.gather(
        *[context.publishing.publish(caller, draft, is_checked=is_checked) for draft in checked],
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


def _checked(context: Context, post: Post) -> bytes:
    """Return a message's data, if that and its id may be one.

    Raises:
        RequestError: They may not.
    """
    limits = context.limits
    if post.id is not None:
        check_id(post.id, limits.id_bytes_max)
    return check_json(bytes(post.data), limits.message_bytes_max, limits.json_depth_max)


def _trace_of_post(post: Post, of_request: Trace | None) -> Trace | None:
    """Return the trace of a message: its own, or that of its request if it has no field of its own."""
    return of_request if post.traceparent is None else parse_trace(post.traceparent, post.tracestate)


def _trace_of(head: RequestHead) -> Trace | None:
    parent = head.headers.get(b"traceparent")
    if parent is None:
        return None
    return parse_trace(parent.decode("latin-1"), head.headers.get(b"tracestate", b"").decode("latin-1"))
