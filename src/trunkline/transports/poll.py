"""Polls, short and long: one answer with what is new in rooms, at once or as soon as there is something.

A poll is a request head and an answer that may have to be waited for; which server carries it does not matter here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from trunkline.core.grant import Grant
from trunkline.core.page import Page
from trunkline.core.presence_options import PresenceOptions, lasting_member, member_of
from trunkline.engine.live import LiveWatch
from trunkline.engine.notifier import LEASE_S
from trunkline.engine.tasks import cancelled
from trunkline.errors import RequestError
from trunkline.transports.admission import Caller
from trunkline.transports.context import Context
from trunkline.transports.exchange import Answer, Exchange
from trunkline.wire import poll
from trunkline.wire.query import ReadQuery

T = TypeVar("T")


async def answer_poll(context: Context, request: Exchange, caller: Caller, query: ReadQuery) -> Answer:
    """Return the answer of a poll that is permitted.

    Raises:
        RequestError: The query is not valid, or the client may not stay while it waits.
        StoreUnavailable: The log did not answer in time.
    """
    live = _LivePoll.of(context, caller, query)

    async def ask(wait_s: float) -> Answer:
        watch = None if live is None else live.watch
        pages = await context.engine.pages.poll(query.joins, query.limit, wait_s, watch, lambda: context.poll_bytes_max)
        return _encoded(query, pages, None if live is None else await live.body())

    try:
        if live is not None:
            live.enter()  # before anything is awaited: the client may say right behind this request that it leaves
        if not query.wait_s:
            return await ask(0)
        return await WaitingPoll(context, caller).stay(request, ask, query.wait_s)
    finally:
        if live is not None:
            live.leave()


def _encoded(query: ReadQuery, pages: list[Page], live: bytes | None) -> Answer:
    return Answer(poll.encode_pages(pages, live) if query.names_rooms else poll.encode_page(pages[0], live))


class WaitingPoll:
    """A poll that waits, as it is registered: it can be dismissed like a stream."""

    def __init__(self, context: Context, caller: Caller) -> None:
        self._access = context.access
        self._context = context
        self._ended: asyncio.Future[Any]
        self.grant = caller.grant
        self.session = caller.session

    async def stay(self, request: Exchange, ask: Callable[[float], Awaitable[T]], wait_s: float) -> T:
        """Return what *ask* returns within *wait_s* seconds; at once if the client has ended its side, or is gone.

        Raises:
            RequestError: The client may not stay.
        """
        self._ended = asyncio.get_running_loop().create_future()
        task = asyncio.ensure_future(ask(wait_s))
        gone = asyncio.ensure_future(request.ended())
        self._context.waiting_polls += 1
        try:
            self._access.register(self)
            await asyncio.wait((task, gone, self._ended), return_when=asyncio.FIRST_COMPLETED)
            if self._ended.done():
                self._ended.result()
            return task.result() if task.done() else await ask(0)
        finally:
            self._context.waiting_polls -= 1
            self._access.registry.remove(self)
            await cancelled(task, gone)

    def dismiss(self, error: RequestError) -> None:
        if not self._ended.done():
            self._ended.set_exception(error)

    def renewed(self, grant: Grant) -> None:
        self.recheck()

    def recheck(self) -> None:
        # The client asks again at once, and is authenticated as always.
        self.dismiss(RequestError("forbidden", "what you may read has changed: ask again"))


class _LivePoll:
    """What one poll asks beside messages: a member for as long as it takes, and a while after.

    It enters and leaves once, also if it is answered early: between the two its client may have said that it left.
    """

    def __init__(self, context: Context, query: ReadQuery, grant: Grant, member: str, options: PresenceOptions) -> None:
        self._context = context
        self._grant = grant
        self._member = member
        self._options = options
        self._rooms = query.rooms
        self._version = context.engine.notifier.parse_version(query.live or "")
        self._entered: list[str] = []
        self.watch = LiveWatch(context.engine.notifier, self._rooms, self._version, options)

    @classmethod
    def of(cls, context: Context, caller: Caller, query: ReadQuery) -> _LivePoll | None:
        """Return what a poll asks beside messages; None if it asks for nothing.

        Raises:
            RequestError: `bad_command`: it wants to be shown, and gives itself no name.
        """
        options = query.presence
        if query.live is None and not options.watch:
            return None
        if options.data is None and not options.other_rooms:
            member = member_of(caller.grant, options.client_id or caller.session)
        else:
            member = lasting_member(caller.grant, options.client_id)  # each poll would be another member
        return cls(context, query, caller.grant, member, options)

    def enter(self) -> None:
        """Make the client a member of the rooms, once.

        Raises:
            RequestError: `too_many_members`.
        """
        for room in self._rooms:
            data = self._options.for_room(room).data
            if data is not None:
                self._context.engine.presence.enter(room, self._member, self._options.client_id or "", data)
                self._entered.append(room)

    def leave(self) -> None:
        """Leave in LEASE_S, unless the client polls again."""
        rooms, self._entered = self._entered, []
        for room in rooms:
            self._context.engine.presence.leave(room, self._member, self._options.client_id or "", grace_s=LEASE_S)

    async def body(self) -> bytes:
        """Return the `live` of the answer."""
        engine = self._context.engine
        following = engine.notifier.version  # before anything is looked up, so that nothing falls in between
        pages = {}
        for room in self._rooms:
            pages[room] = await engine.live.page(room, self._version, watch=self._options.for_room(room).watch)
        now_ms, retry_max_ms = engine.clock.wall_ms(), self._context.retry_max_ms
        return poll.encode_live(following, self._member, self._grant, now_ms, retry_max_ms, pages)
