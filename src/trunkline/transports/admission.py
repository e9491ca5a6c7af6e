"""Admission: everything that is checked before a request is carried out, in one order for all transports.

how often from this address · of which page it is · what it asks for · how much that is · who it is · whether it may
"""

from __future__ import annotations

from collections.abc import Coroutine, Sequence
from typing import Any

from trunkline.access.policy import Need
from trunkline.core.grant import UNAUTHENTICATED, Grant
from trunkline.core.message import SYSTEM_PREFIX
from trunkline.core.rate import work
from trunkline.errors import RequestError
from trunkline.transports.context import Context
from trunkline.transports.exchange import Exchange
from trunkline.wire.credentials import Credentials
from trunkline.wire.query import Kind, ReadQuery, parse_presence, parse_read_query, refuse_repeats
from trunkline.wire.request_head import RequestHead


class Caller:
    """The client that has sent a request, for as long as that takes."""

    __slots__ = ("_context", "_session", "grant", "key")

    def __init__(self, context: Context, grant: Grant, key: str | None) -> None:
        self._context = context
        self._session = ""
        self.grant = grant
        self.key = key

    @property
    def session(self) -> str:
        """A name for it, the same each time."""
        self._session = self._session or self._context.engine.connections.new_session()
        return self._session


def admit_reading(
    context: Context, head: RequestHead, key: str | None, room: str | None, kind: Kind, *, is_counted: bool = False
) -> ReadQuery:
    """Check a request to read, up to where it must be known who it is; return what it asks for.

    Args:
        room: The room that the path names; None on `/connect`.
        kind: What the request is answered with.
        is_counted: Whether the request was counted already.

    Raises:
        RequestError: It is not let in.
    """
    access = context.access
    if key is not None and not is_counted:
        access.check_request_rate(key)
    presence = parse_presence(head, context.limits)
    access.origins.check(head, changes=presence.is_visible)
    query = parse_read_query(head, room, context.limits, kind, presence)
    if key is not None:
        access.check_request_rate(key, work(rooms=len(query.joins)) - 1)
    if not query.joins and kind != "websocket":
        raise RequestError("room_required", "name the rooms: /connect?room=a&room=b")
    return query


Admitting = Caller | Coroutine[Any, Any, Caller]
"""The caller; or what must be awaited to know it, if an issuer or a hook of the application is to be asked."""


async def admit(context: Context, request: Exchange, needs: Sequence[Need]) -> Caller:
    """Let a request in that does something in these rooms.

    Raises:
        RequestError: It is not let in.
        HookFailed: The application could not decide.
    """
    admitting = begin_admission(context, request, needs)
    return admitting if isinstance(admitting, Caller) else await admitting


def begin_admission(context: Context, request: Exchange, needs: Sequence[Need]) -> Admitting:
    """Do what `admit` does, without a coroutine unless an issuer or a hook must be asked; raises like it."""
    access, key = context.access, request.key
    if key is not None:
        access.check_request_rate(key, work(rooms=len(needs)) - request.is_counted)
    # What administrators change takes a token in a header, or the proof that a page of ours has asked.
    changes = request.method not in ("GET", "HEAD") and any(action == "admin" for action, _ in needs)
    access.origins.check(request.head, changes=changes)
    refuse_repeats(request.head)
    return authenticate(context, request, needs)


def authenticate(context: Context, request: Exchange, needs: Sequence[Need]) -> Admitting:
    """Let a request in whose address, URL and origin were checked; raises like `admit`."""
    access = context.access
    brought = access.credentials(request.head, request.key, request.scope)
    if access.is_open and brought.scope is None:
        for action, room in needs:  # everything but administration is permitted, without being asked about each time
            if action == "admin" or room.startswith(SYSTEM_PREFIX):
                access.check_now(UNAUTHENTICATED, [(action, room)])
        return Caller(context, UNAUTHENTICATED, request.key)
    grant = access.grant_now(brought)
    if grant is not None and access.check_now(grant, needs):
        return Caller(context, grant, request.key)
    return _authenticate_by_asking(context, brought, grant, request.key, needs)


async def _authenticate_by_asking(
    context: Context, brought: Credentials, grant: Grant | None, key: str | None, needs: Sequence[Need]
) -> Caller:
    access = context.access
    if grant is None:
        grant = await access.authenticate(brought)
    for action, room in needs:
        await access.check(grant, action, room)
    return Caller(context, grant, key)
