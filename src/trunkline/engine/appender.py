"""Appending: one task gives the store everything that arrived while the last commit ran (group commit)."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from bisect import bisect_left
from collections.abc import Callable, Container

import msgspec

from trunkline.core.limits import Limits
from trunkline.core.message import Draft, Message, Receipt, with_trace
from trunkline.core.trace import Trace
from trunkline.engine.availability import STALLED_S, Availability
from trunkline.engine.clock import Clock
from trunkline.engine.delivery import Delivery
from trunkline.engine.news import News
from trunkline.engine.rooms import Rooms
from trunkline.engine.tasks import Tasks
from trunkline.errors import Overloaded, ShuttingDown, StoreUnavailable, TrunklineError, explain
from trunkline.observe.counters import Counters
from trunkline.stores.base import LogStore, WritesUnavailable

log = logging.getLogger("trunkline")

Answer = Callable[[Draft, Receipt | None, TrunklineError | None], None]


BeginSpan = Callable[[Draft, Answer], tuple[Draft, Answer]]
"""Called with each draft and its answer; returns what takes their place."""

_Waiting = tuple[Draft, Answer, float]  # what the log does not have yet, what is called when it has, since when


class Appender:
    """The publishes of one process.

    Args:
        on_failure: Called when messages may be stored although the store has not said so.
    """

    def __init__(
        self,
        store: LogStore,
        rooms: Rooms,
        delivery: Delivery,
        limits: Limits,
        counters: Counters,
        tasks: Tasks,
        clock: Clock,
        availability: Availability,
        news: News,
        on_failure: Callable[[], None],
    ) -> None:
        self._store = store
        self._rooms = rooms
        self._delivery = delivery
        self._limits = limits
        self._counters = counters
        self._tasks = tasks
        self._clock = clock
        self._availability = availability
        self._news = news
        self._on_failure = on_failure
        self._begin_span: BeginSpan | None = None
        self._waiting: list[_Waiting] = []
        self._in_flight_bytes = 0
        self._arrived: asyncio.Event
        self._settled: asyncio.Event
        self._is_stopping = False
        self._answered: list[Callable[[], None]] = []
        self.in_flight = 0  # drafts that wait for the log, or that it is being given

    def start(self) -> None:
        """Begin to take drafts."""
        self._arrived, self._settled = asyncio.Event(), asyncio.Event()
        self._is_stopping = False
        self._tasks.spawn(self._run())

    def trace(self, begin_span: BeginSpan) -> None:
        """Record a span of each draft from now on."""
        self._begin_span = begin_span

    async def append(
        self, room: str, message_id: str | None, sender: str | None, json: bytes, trace: Trace | None = None
    ) -> Receipt:
        """Append a message whose fields were checked; return when the log has it.

        Raises:
            StoreUnavailable: It may be stored or not; try again with the same id.
            Overloaded, ShuttingDown: It is not stored; try again with the same id.
        """
        done, answer = _answering()
        self.submit(Draft(room, message_id, sender, self._clock.wall_ms(), json, trace), answer)
        return await done

    @staticmethod
    async def answered(begin: Callable[[Answer], None]) -> Receipt:
        """Return the receipt that an answer is given.

        Args:
            begin: Called with the answer, which it sees to it that is called.

        Raises:
            TrunklineError: That which the answer is given.
        """
        done, answer = _answering()
        begin(answer)
        return await done

    def submit(self, draft: Draft, answer: Answer) -> None:
        """Append a draft, and call *answer* once, with the draft and a receipt or an error."""
        limits = self._limits
        if self._begin_span is not None:
            draft, answer = self._begin_span(draft, answer)
        if self._is_stopping:
            answer(draft, None, ShuttingDown("the server is stopping; publish again on another one, with the same id"))
        elif self.in_flight >= limits.in_flight_max or self._in_flight_bytes >= limits.in_flight_bytes_max:
            answer(draft, None, Overloaded("too many messages wait for the log; publish again, with the same id"))
        else:
            self.in_flight += 1
            self._in_flight_bytes += len(draft.json)
            if not self._waiting:
                self._arrived.set()
            self._waiting.append((draft, answer, self._clock.monotonic()))

    def when_answered(self, call: Callable[[], None]) -> None:
        """Call this once, when all drafts of a commit are answered: from within an *answer* only."""
        self._answered.append(call)

    def stop(self) -> None:
        """Take no more drafts."""
        self._is_stopping = True

    async def drain(self, timeout_s: float) -> None:
        """Take no more drafts, and wait until the log has those that are here, or the time is over."""
        self.stop()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                while self.in_flight:
                    self._settled.clear()
                    await self._settled.wait()

    def close(self) -> None:
        """Refuse what still waits."""
        self._refuse_waiting(ShuttingDown("the server is stopping"))

    async def _run(self) -> None:
        while True:
            await self._arrived.wait()
            self._arrived.clear()
            batch, self._waiting = self._waiting, []
            failed: set[str] = set()
            self._availability.append_began()
            try:
                outcomes = await self._store.append([draft for draft, _, _ in batch])
            except Exception as error:  # noqa: BLE001 - whatever a store does, publishers get an answer
                if isinstance(error, StoreUnavailable):
                    after_s = 0.0 if isinstance(error, WritesUnavailable) else STALLED_S
                    self._availability.cannot_store(explain(error), after_s=after_s)
                else:
                    log.error("append of %d messages failed: %s", len(batch), explain(error))
                    error = StoreUnavailable("the log failed; publish again, with the same id")
                self._refuse(batch, error)
                failed.update(draft.room for draft, _, _ in batch)
            except asyncio.CancelledError:
                self._refuse(batch, ShuttingDown("the server is stopping"))
                raise
            else:
                self._availability.can_store()
                try:
                    self._committed(batch, outcomes, failed)
                except Exception:
                    log.exception("fan-out failed")  # and this task, on which all publishers depend, goes on
            self._availability.append_ended()
            self._settle(batch)
            if failed:
                self._on_failure()
                self._refuse_waiting(StoreUnavailable("an earlier message was not stored; publish both again"), failed)

    def end_answers(self) -> None:
        """Call what waits for the end of the answers (`when_answered`)."""
        answered, self._answered = self._answered, []
        for call in answered:
            try:
                call()
            except Exception:
                log.exception("a publisher could not be answered")

    def _settle(self, batch: list[_Waiting]) -> None:
        self.in_flight -= len(batch)
        self._in_flight_bytes -= sum([len(draft.json) for draft, _, _ in batch])
        self._settled.set()

    def _refuse(self, batch: list[_Waiting], error: TrunklineError) -> None:
        for draft, answer, _ in batch:
            answer(draft, None, error)
        self.end_answers()

    def _refuse_waiting(self, error: TrunklineError, rooms: Container[str] | None = None) -> None:
        """Refuse what waits, in all rooms or in these: what was published later must not be stored first."""
        batch = [waiting for waiting in self._waiting if rooms is None or waiting[0].room in rooms]
        self._waiting = [waiting for waiting in self._waiting if rooms is not None and waiting[0].room not in rooms]
        self._refuse(batch, error)
        self._settle(batch)

    def _committed(self, batch: list[_Waiting], outcomes: list[Receipt | StoreUnavailable], failed: set[str]) -> None:
        """Answer, and hand out what is new; rooms of which something was not stored are added to *failed*."""
        new: dict[tuple[str, str], list[Message]] = {}
        rooms, receipts, duplicates = self._rooms, 0, 0
        now, seen = self._clock.monotonic(), self._counters.publish_s
        bounds, counts = seen.bounds, seen.counts
        activity = self._counters.activity if self._counters.activity.is_watched else None
        for (draft, answer, since), outcome in zip(batch, outcomes, strict=True):
            if isinstance(outcome, StoreUnavailable):
                failed.add(draft.room)
                self._counters.store_errors["append"] += 1
                _call(answer, draft, None, outcome)
                continue
            receipts += 1
            counts[bisect_left(bounds, now - since)] += 1  # `observe`, without a call for each
            seen.total += now - since
            duplicates += outcome.duplicate
            if activity is not None and not outcome.duplicate:
                activity.published(draft.room, draft.sender)
            if rooms.stored(outcome):
                json = msgspec.Raw(draft.json)
                message = Message(draft.room, outcome.offset, outcome.id, draft.sender, outcome.at, json)
                if draft.trace is not None:
                    message = with_trace(message, draft.trace)
                new.setdefault((draft.room, outcome.epoch), []).append(message)
            _call(answer, draft, outcome, None)
        self.end_answers()
        self._counters.committed(receipts, duplicates)
        if self._news.listeners:
            self._news.moved({done.room for done in outcomes if isinstance(done, Receipt) and not done.duplicate})
        for (name, epoch), messages in new.items():
            rooms.append(name, epoch, messages)
        self._delivery.run()


def _answering() -> tuple[asyncio.Future[Receipt], Answer]:
    """Return what waits for an answer, and the answer."""
    done: asyncio.Future[Receipt] = asyncio.get_running_loop().create_future()

    def answer(_: Draft, receipt: Receipt | None, error: TrunklineError | None) -> None:
        if done.done():
            return
        if receipt is not None:
            done.set_result(receipt)
        elif error is not None:
            done.set_exception(error)

    return done, answer


def _call(answer: Answer, draft: Draft, receipt: Receipt | None, error: StoreUnavailable | None) -> None:
    try:
        answer(draft, receipt, error)
    except Exception:
        log.exception("a publisher could not be answered")
