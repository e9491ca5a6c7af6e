"""Polls, short and long: one answer with what is new in rooms, at once or as soon as there is something.

A poll is a request head and an answer that may have to be waited for; which server carries it does not matter here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from functools import partial
from typing import Any, TypeVar

from trunkline.core.grant import Grant
from trunkline.core.page import Page
from trunkline.core.presence_options import PresenceOptions, lasting_member, member_of
from trunkline.engine.live import LiveWatch
from trunkline.engine.notifier import LEASE_S
from trunkline.engine.pages import Parked
from trunkline.engine.tasks import cancelled
from trunkline.errors import RequestError, ShuttingDown, StoreUnavailable
from trunkline.transports.admission import Caller
from trunkline.transports.context import WAITING_POLLS, Context
from trunkline.transports.exchange import Answer, Exchange, Pending
from trunkline.wire import poll
from trunkline.wire.query import ReadQuery

T = TypeVar("T")


def answer_poll(
    context: Context, request: Exchange, caller: Caller, query: ReadQuery
) -> Answer | Pending | Coroutine[Any, Any, Answer | Pending]:
    """Return the answer of a poll that is permitted; or the poll, if there is none yet and it may wait; or what must be
    awaited, because the log or presence has to be asked.

    Raises:
        RequestError: The query is not valid, or the client may not stay while it waits.
        StoreUnavailable: The log did not answer in time.
    """
    live = _LivePoll.of(context, caller, query)
    if live is None:
        pages = context.engine.pages
        found = pages.look_now(query.joins, query.limit, context.poll_bytes_max, parks=query.wait_s > 0)
        if found is not None:
            page, parked = found
            if parked is None:
                return _encoded(context, query, page, None)
            return WaitingPoll(context, caller, query, None, parked)
    else:
        live.enter()  # before anything is awaited: the client may say right behind this request that it leaves
    return _answer_by_asking(context, request, caller, query, live)


async def _answer_by_asking(
    context: Context, request: Exchange, caller: Caller, query: ReadQuery, live: _LivePoll | None
) -> Answer | Pending:
    waits = False
    try:
        if not query.wait_s:
            return await _ask(context, query, live, 0)
        try:
            pages, parked = await context.engine.pages.look(query.joins, query.limit, lambda: context.poll_bytes_max)
        except StoreUnavailable:
            ask = partial(_ask, context, query, live)
            return await _PatientPoll(context, caller).stay(request, ask, query.wait_s)
        if parked is not None and live is not None and live.watch.has_news():
            parked.close()
            parked = None
        if parked is None:
            if live is None:
                return _encoded(context, query, pages, None)
            return await _ask(context, query, live, 0)
        waits = True
        return WaitingPoll(context, caller, query, live, parked)
    finally:
        if live is not None and not waits:
            live.leave()


async def _ask(context: Context, query: ReadQuery, live: _LivePoll | None, wait_s: float) -> Answer:
    read, redactions = context.engine.pages.poll, context.engine.redactions
    watch = None if live is None else live.watch
    while True:
        pages = await read(query.joins, query.limit, wait_s, watch, lambda: context.poll_bytes_max)
        count = redactions.count
        body = None if live is None else await live.body()
        if not redactions.is_stale(count, *query.rooms):
            return _encoded(context, query, pages, body)
        wait_s = 0  # the messages were read before the log lost some of their data


def _encoded(context: Context, query: ReadQuery, pages: list[Page], live: bytes | None) -> Answer:
    counters, delivered = context.engine.counters, 0
    for page in pages:
        delivered += len(page.messages) + len(page.redactions)
        if page.gap is not None:
            counters.gaps[page.gap.reason] += 1
    if delivered:
        counters.delivered[WAITING_POLLS if query.wait_s else "shortpoll"] += delivered
    return Answer(poll.encode_pages(pages, live) if query.names_rooms else poll.encode_page(pages[0], live))


class WaitingPoll:
    """A poll that waits (`exchange.Pending`): an object that its rooms know, and no task.

    It is registered, and can be dismissed like a stream.
    """

    waits_for_news = True

    def __init__(
        self, context: Context, caller: Caller, query: ReadQuery, live: _LivePoll | None, parked: Parked
    ) -> None:
        self._context = context
        self._query = query
        self._live = live
        self._parked = parked
        self._error: RequestError | None = None
        self._answered: Callable[[Answer | Exception], None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._is_woken = False
        self._is_over = False
        self.grant = caller.grant
        self.session = caller.session

    def begin(self, answered: Callable[[Answer | Exception], None]) -> None:
        self._answered = answered
        self._context.engine.counters.open[WAITING_POLLS] += 1
        self._parked.add_waiter(self.hurry)
        if self._live is not None:
            self._live.watch.add_waiter(self.hurry)
        self._timer = asyncio.get_running_loop().call_later(self._query.wait_s, self.hurry)
        try:
            self._context.access.register(self)
        except RequestError as error:
            self._settle(error)

    def hurry(self) -> None:
        if not (self._is_woken or self._is_over):
            self._is_woken = True
            asyncio.get_running_loop().call_soon(self._finish)

    def _finish(self) -> None:
        if self._is_over:
            return
        if self._error is not None:
            self._settle(self._error)
            return
        context, query = self._context, self._query
        pages = None
        if self._live is None:
            pages = context.engine.pages.look_again_now(self._parked, query.limit, context.poll_bytes_max)
        if pages is None:
            context.engine.tasks.spawn(self._finish_by_asking())
        else:
            self._settle(_encoded(context, query, pages, None))

    async def _finish_by_asking(self) -> None:
        context, query = self._context, self._query
        try:
            live = None if self._live is None else await self._live.body()
            pages = await context.engine.pages.look_again(self._parked, query.limit, lambda: context.poll_bytes_max)
            self._settle(_encoded(context, query, pages, live))
        except asyncio.CancelledError:
            self._settle(ShuttingDown("the server is stopping; ask another one"))
            raise
        except Exception as error:  # noqa: BLE001 - who is told of it decides what it means
            self._settle(error)

    def _settle(self, outcome: Answer | Exception) -> None:
        answered, is_over = self._answered, self._is_over
        self.leave()
        if answered is not None and not is_over:
            answered(outcome)

    def leave(self) -> None:
        if self._is_over:
            return
        self._is_over, self._answered = True, None
        self._context.engine.counters.open[WAITING_POLLS] -= 1
        self._context.access.registry.remove(self)
        if self._timer is not None:
            self._timer.cancel()
        if self._live is not None:
            self._live.watch.remove_waiter(self.hurry)
            self._live.leave()
        self._parked.close(self.hurry)

    def dismiss(self, error: RequestError) -> None:
        self._error = self._error or error
        self.hurry()

    def renewed(self, grant: Grant) -> None:
        self.recheck()

    def recheck(self) -> None:
        self.dismiss(_ask_again())


async def wait_out(request: Exchange, pending: Pending) -> Answer:
    """Return an answer that comes later, for a server that waits for answers.

    Raises:
        TrunklineError: There is none.
    """
    waiting: asyncio.Future[Answer | Exception] = asyncio.get_running_loop().create_future()
    pending.begin(lambda outcome: None if waiting.done() else waiting.set_result(outcome))
    ended = asyncio.ensure_future(request.ended()) if pending.waits_for_news and not waiting.done() else None
    if ended is not None:
        ended.add_done_callback(lambda _: pending.hurry())
    try:
        outcome = await waiting
    finally:
        pending.leave()
        if ended is not None:
            await cancelled(ended)
    if isinstance(outcome, Exception):
        raise outcome
    return outcome


class _PatientPoll:
    """A poll that waits for a log that is away. It can be dismissed like a stream."""

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
        self._context.engine.counters.open[WAITING_POLLS] += 1
        try:
            self._access.register(self)
            await asyncio.wait((task, gone, self._ended), return_when=asyncio.FIRST_COMPLETED)
            if self._ended.done():
                self._ended.result()
            return task.result() if task.done() else await ask(0)
        finally:
            self._context.engine.counters.open[WAITING_POLLS] -= 1
            self._access.registry.remove(self)
            await cancelled(task, gone)

    def dismiss(self, error: RequestError) -> None:
        if not self._ended.done():
            self._ended.set_exception(error)

    def renewed(self, grant: Grant) -> None:
        self.recheck()

    def recheck(self) -> None:
        self.dismiss(_ask_again())


def _ask_again() -> RequestError:
    # The client asks again at once, and is authenticated as always.
    return RequestError("forbidden", "what you may read has changed: ask again")


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
