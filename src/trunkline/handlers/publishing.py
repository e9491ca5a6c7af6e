"""The one way of clients' messages to the log: past the application's `before_publish`, if it has one.

Messages of one publisher and one room are looked at one after the other, each when the one before is stored or refused;
so they stay in their order whatever the hook does. If one of them is refused for now, so is what waits behind it.

A repeat of an id that is stored gets its receipt, and the hook does not see it again.
"""

from __future__ import annotations

from collections import deque
from contextvars import ContextVar
from typing import NamedTuple, Protocol

from trunkline.access.policy import Access
from trunkline.core.grant import EVERYTHING, UNAUTHENTICATED, Grant
from trunkline.core.incoming import IncomingMessage
from trunkline.core.json_text import check_json, refuse_repeated_keys
from trunkline.core.message import Draft, Receipt
from trunkline.engine.appender import Answer
from trunkline.engine.engine import Engine
from trunkline.errors import (
    HookFailed,
    HookTimedOut,
    Overloaded,
    RequestError,
    ShuttingDown,
    StoreUnavailable,
    TrunklineError,
)
from trunkline.handlers.registry import Handlers
from trunkline.handlers.runner import Runner


class Publisher(Protocol):
    """Whose messages stay in their order: a connection, or a request.

    Attributes:
        grant: What it may do, at any time.
    """

    grant: Grant


class Trusted:
    """Code of the application, in the name of a user."""

    __slots__ = ("grant",)

    def __init__(self, sender: str | None) -> None:
        self.grant = UNAUTHENTICATED if sender is None else Grant(user=sender, permissions=EVERYTHING)


class _Waiting(NamedTuple):
    publisher: Publisher
    draft: Draft
    answer: Answer
    depth: int


DEPTH_MAX = 8
_depth: ContextVar[int] = ContextVar("depth", default=0)
"""How many messages are being looked at, each of which was published by a hook that looked at the one before."""

_Lane = tuple[int, str]  # a publisher, and a room


class Publishing:
    """The messages of clients."""

    def __init__(self, engine: Engine, access: Access, handlers: Handlers, runner: Runner) -> None:
        self._engine = engine
        self._access = access
        self._handlers = handlers
        self._hooks = handlers.of_messages  # most applications have none, and each message asks
        self._runner = runner
        self._lanes: dict[_Lane, deque[_Waiting]] = {}
        self._count = self._bytes = 0

    def submit(self, publisher: Publisher, draft: Draft, answer: Answer, *, is_checked: bool = True) -> None:
        """Store a message that may be published; call *answer* once, with the draft and a receipt or an error.

        Args:
            is_checked: Whether the application looks at it first.
        """
        if not (self._hooks and is_checked and self._handlers.publish_hooks(draft.room)):
            self._engine.appender.submit(draft, answer)
            return
        limits = self._engine.limits
        if self._engine.is_draining:
            error: TrunklineError = ShuttingDown(
                "the server is stopping; publish again on another one, with the same id"
            )
        elif self._count >= limits.in_flight_max or self._bytes >= limits.in_flight_bytes_max:
            error = Overloaded("too many messages wait for the application; publish again, with the same id")
        elif _depth.get() >= DEPTH_MAX:
            error = self._runner.failed(f"before_publish: a hook publishes what is looked at {DEPTH_MAX} times over")
        else:
            self._count += 1
            self._bytes += len(draft.json)
            name = (id(publisher), draft.room)  # which is kept alive by what waits
            lane = self._lanes.get(name)
            if lane is None:
                lane = self._lanes[name] = deque()
                self._engine.tasks.spawn(self._run(name, lane))
            lane.append(_Waiting(publisher, draft, answer, _depth.get()))
            return
        self._refuse(draft, answer, error)

    async def publish(self, publisher: Publisher, draft: Draft, *, is_checked: bool = True) -> Receipt:
        """Store a message; return when the log has it.

        Args:
            is_checked: Whether the application looks at it first.

        Raises:
            Refused: The application does not want it.
            HookFailed, StoreUnavailable, Overloaded, ShuttingDown: It may be stored or not; try again with the same id.
        """
        return await self._engine.appender.answered(
            lambda answer: self.submit(publisher, draft, answer, is_checked=is_checked)
        )

    async def _run(self, name: _Lane, lane: deque[_Waiting]) -> None:
        try:
            while lane:
                waiting = lane[0]
                error = await self._pass(waiting)
                lane.popleft()
                self._settle(waiting)
                if isinstance(error, HookFailed | StoreUnavailable | Overloaded):
                    self._empty(lane, StoreUnavailable("an earlier message was not stored; publish both again"))
        finally:
            del self._lanes[name]
            self._empty(lane, ShuttingDown("the server is stopping"))

    def _settle(self, waiting: _Waiting) -> None:
        self._count -= 1
        self._bytes -= len(waiting.draft.json)

    def _empty(self, lane: deque[_Waiting], error: TrunklineError) -> None:
        while lane:
            waiting = lane.popleft()
            self._settle(waiting)
            self._refuse(waiting.draft, waiting.answer, error)

    async def _pass(self, waiting: _Waiting) -> TrunklineError | None:
        """Have a message looked at and stored, and its publisher answered; return why it was not, if so."""
        publisher, draft, answer, depth = waiting
        try:
            known = None if draft.id is None else await self._known(draft, draft.id)
            if known is None:
                _depth.set(depth + 1)
                draft = await self._looked_at(publisher, draft)
        except Exception as raised:  # noqa: BLE001 - whatever it is, the publisher gets an answer
            error = raised if isinstance(raised, TrunklineError) else self._runner.failed(f"before_publish: {raised!r}")
            self._refuse(draft, answer, error)
            return error
        if known is not None:
            self._engine.counters.duplicates += 1
            answer(draft, known, None)
            self._engine.appender.end_answers()
            return None
        try:
            receipt = await self._engine.appender.answered(lambda told: self._engine.appender.submit(draft, told))
        except TrunklineError as error:
            answer(draft, None, error)  # whose span, if there are any, the appender has ended
            self._engine.appender.end_answers()
            return error
        answer(draft, receipt, None)
        self._engine.appender.end_answers()
        return None

    async def _known(self, draft: Draft, message_id: str) -> Receipt | None:
        return await self._engine.store.find_id(draft.room, draft.sender, message_id)

    async def _looked_at(self, publisher: Publisher, draft: Draft) -> Draft:
        """Return a message as the application lets it through.

        Raises:
            TrunklineError: It does not, or its publisher may not publish any more.
        """
        limits = self._engine.limits
        refuse_repeated_keys(draft.json)
        message = IncomingMessage(draft.room, draft.id, draft.json)
        for hook in self._handlers.publish_hooks(draft.room):
            try:
                await self._runner.run("before_publish", hook, publisher.grant, message, timeout_s=limits.hook_s)
            except HookTimedOut as error:  # nothing was stored, so nothing is unknown
                raise HookFailed(str(error)) from None
        json = draft.json
        try:
            changed = message.json()
            if changed is not json:
                json = check_json(changed, limits.message_bytes_max, limits.json_depth_max)
        except (TypeError, ValueError, RequestError) as error:
            raise self._runner.failed(f"before_publish has left data that cannot be stored: {error}") from None
        if not isinstance(publisher, Trusted):
            await self._access.check_all(publisher.grant, [("write", draft.room)])
        return Draft(draft.room, draft.id, draft.sender, draft.at, json, draft.trace)

    def _refuse(self, draft: Draft, answer: Answer, error: TrunklineError) -> None:
        self._engine.publish_refused(draft.room, draft.id, draft.trace, error)
        answer(draft, None, error)
        self._engine.appender.end_answers()
