"""Calls: handlers of the application answer clients. A call with an id is carried out at most once, on all nodes.

Before a handler runs, its node claims the call by a record that must not be there yet; a repeat finds it, and waits for
what the record says in the end. If the node has died meanwhile, the outcome is that it is unknown,
for a day.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections import Counter
from collections.abc import Coroutine, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from trunkline.access.policy import Access
from trunkline.core.call import (
    KEPT_MS,
    UNKNOWN_KEPT_MS,
    Call,
    Outcome,
    check_call_name,
    decode_outcome,
    outcome_unknown,
    space_of,
)
from trunkline.core.json_text import check_json
from trunkline.core.membership import LEASE_S
from trunkline.core.message import check_id
from trunkline.core.rate import Rate, too_fast, work
from trunkline.engine.engine import Engine
from trunkline.errors import (
    OTHER_ERRORS,
    REQUEST_ERRORS,
    HookFailed,
    HookTimedOut,
    Refused,
    RequestError,
    ShuttingDown,
    StoreUnavailable,
    TrunklineError,
)
from trunkline.handlers.arguments import CallHandler, encode_result
from trunkline.handlers.registry import Handlers
from trunkline.handlers.runner import Runner, name_of
from trunkline.stores.base import Swap

log = logging.getLogger("trunkline")

LOOK_S = 0.2  # how often it is looked whether a call that runs on another node has ended
UNCLAIMED_MAX = 1000
KIND = KEY = "call"


class Calls:
    """The calls of one node."""

    def __init__(self, engine: Engine, access: Access, handlers: Handlers, runner: Runner) -> None:
        self._engine = engine
        self._access = access
        self._handlers = handlers
        self._runner = runner
        limits = engine.limits
        self._rate = Rate(limits.calls_per_user_per_s, limits.calls_per_user_burst)
        self._of_caller: Counter[str] = Counter()
        self._running: dict[str, asyncio.Future[bytes]] = {}  # those with an id, by the space of their records
        self._unclaimed: dict[str, bytes] = {}  # claims whose answer was lost, by their space
        self._started_at = 0.0
        self._is_stopping = False
        self._settled: asyncio.Event
        self.in_flight = 0

    def start(self) -> None:
        """Begin, on the running event loop."""
        self._settled = asyncio.Event()
        self._is_stopping = False
        self._started_at = self._engine.clock.monotonic()

    def stop(self) -> None:
        """Take no more calls."""
        self._is_stopping = True

    async def drain(self, timeout_s: float) -> None:
        """Wait until the calls that run have ended, or the time is over."""
        try:
            async with asyncio.timeout(timeout_s):
                while self.in_flight:
                    self._settled.clear()
                    await self._settled.wait()
        except TimeoutError:
            log.warning("%d calls are given up: their outcome is unknown", self.in_flight)

    async def call(self, call: Call, json: bytes, key: str | None) -> bytes:
        """Answer a call; return what the handler has returned, as JSON.

        It goes on when the caller is cancelled: a repeat is answered with its outcome.

        Args:
            json: What the client has sent, as JSON.
            key: Under which the limits of its address are counted; None if they are not.

        Raises:
            RequestError: It is not permitted, there is no such handler, or its outcome is unknown; nothing was done
                unless the code is `outcome_unknown`.
            Refused: The application does not want it.
            HookFailed: The handler failed.
            StoreUnavailable, Overloaded, ShuttingDown: Nothing was done; try again with the same id.
        """
        limits = self._engine.limits
        check_call_name(call.name)
        if call.id is not None:
            check_id(call.id, limits.id_bytes_max)
        await self._access.check(call.grant, "call", call.name)
        self._check_rate(call, key, work(len(json)))
        json = check_json(json, limits.message_bytes_max, limits.json_depth_max)
        handler = self._handlers.call(call.name)
        if handler is None:
            raise RequestError("unknown_call", f"the application has no handler for {call.name!r}")
        if self._is_stopping or self._engine.is_draining:
            raise ShuttingDown("the server is stopping; call again on another one, with the same id")
        space = None if call.id is None else space_of(call.user, call.name, call.id)
        if space is not None and space in self._running:
            with self._counted(call, key):
                return await asyncio.shield(self._running[space])
        arguments = handler.arguments(json)
        counted = self._counted(call, key)
        counted.__enter__()  # until the handler has ended, and not its caller
        return await self._begin(space, self._claimed(handler, call, arguments, space), counted)

    def _check_rate(self, call: Call, key: str | None, pieces: int) -> None:
        counted = call.user or key
        if counted is None or key is None or call.grant.permissions.allows("admin", "*"):
            return
        wait = self._rate.take(counted, self._engine.clock.monotonic(), pieces)
        if wait:
            self._engine.counters.activity.refused(call.user, key)
            raise too_fast("too many calls of one user", wait)

    @contextmanager
    def _counted(self, call: Call, key: str | None) -> Iterator[None]:
        """Count a call as one of those in flight.

        Raises:
            RequestError: `too_many_calls`.
        """
        limits, counted = self._engine.limits, call.user or key
        if counted is not None and self._of_caller[counted] >= limits.calls_in_flight_per_user_max:
            most = limits.calls_in_flight_per_user_max
            raise RequestError("too_many_calls", f"at most {most} calls of one user at the same time", 1000)
        if self.in_flight >= limits.calls_in_flight_max:
            raise RequestError("too_many_calls", "the server carries out too many calls already", 1000)
        self.in_flight += 1
        if counted is not None:
            self._of_caller[counted] += 1
        try:
            yield
        finally:
            self.in_flight -= 1
            if counted is not None:
                self._of_caller[counted] -= 1
                if not self._of_caller[counted]:
                    del self._of_caller[counted]
            self._settled.set()

    async def _begin(
        self, space: str | None, work: Coroutine[Any, Any, bytes], counted: AbstractContextManager[None]
    ) -> bytes:
        """Return what is answered, by a task that does not end with its caller."""
        answered: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        answered.add_done_callback(lambda done: done.cancelled() or done.exception())  # if no caller waits any more
        if space is not None:
            self._running[space] = answered
        self._engine.tasks.spawn(self._answer(answered, work, space, counted))
        return await asyncio.shield(answered)

    async def _answer(
        self,
        answered: asyncio.Future[bytes],
        work: Coroutine[Any, Any, bytes],
        space: str | None,
        counted: AbstractContextManager[None],
    ) -> None:
        try:
            answer = await work
        except asyncio.CancelledError:
            answered.set_exception(outcome_unknown("the server stops"))
            raise
        except Exception as error:
            if not isinstance(error, TrunklineError):
                log.exception("a call failed")
                error = HookFailed("the application failed")
            answered.set_exception(error)
        else:
            answered.set_result(answer)
        finally:
            if space is not None:
                del self._running[space]
            counted.__exit__(None, None, None)

    async def _claimed(self, handler: CallHandler, call: Call, arguments: tuple[Any, ...], space: str | None) -> bytes:
        if space is None:
            return _answer_of(await self._run(handler, call, arguments))
        # Of this very attempt, so that no other one is taken for it.
        running = Outcome("running", self._engine.name, message=secrets.token_hex(4)).encoded()
        until = self._engine.clock.wall_ms() + round(self._engine.limits.call_s * 1000) + UNKNOWN_KEPT_MS
        if not await self._claim(space, running, until):
            return _answer_of(await self._elsewhere(space))
        outcome = await self._run(handler, call, arguments)
        await self._note(space, running, outcome)
        return _answer_of(outcome)

    async def _claim(self, space: str, running: bytes, until: int) -> bool:
        """Return whether a call is this attempt's to carry out.

        Raises:
            StoreUnavailable: It is not carried out.
        """
        before = self._unclaimed.pop(space, None)
        try:
            for known in (None, before) if before is not None else (None,):
                if await self._engine.records.swap(Swap(space, KIND, KEY, known, running, None, until)):
                    return True
        except StoreUnavailable:
            self._unclaimed[space] = running  # it may be claimed all the same, by what was never carried out
            if len(self._unclaimed) > UNCLAIMED_MAX:
                del self._unclaimed[next(iter(self._unclaimed))]
            raise
        return False

    async def _run(self, handler: CallHandler, call: Call, arguments: tuple[Any, ...]) -> Outcome:
        """Run a handler, once; return what comes of it."""
        limits, name = self._engine.limits, self._engine.name
        try:
            result = await self._runner.run("call", handler.function, call, *arguments, timeout_s=limits.call_s)
            json = encode_result(result)
        except Refused as error:
            return _refusal(name, error)
        except (TypeError, ValueError) as error:
            failed = self._runner.failed(f"{name_of(handler.function)} has returned no JSON: {error}")
            return _refusal(name, failed)
        except HookTimedOut as error:
            return _refusal(name, outcome_unknown(str(error)), state="unknown")
        except HookFailed as error:
            return _refusal(name, error)
        if len(json) > limits.message_bytes_max:
            many = f"{name_of(handler.function)} has returned {len(json)} bytes, at most {limits.message_bytes_max}"
            return _refusal(name, self._runner.failed(many + " are allowed"))
        return Outcome("done", name, json)

    async def _note(self, space: str, running: bytes, outcome: Outcome) -> None:
        """Let repeats know what has become of a call, for a minute; one that is to be tried again is forgotten, and one
        whose outcome is unknown is not carried out again for a day."""
        until = self._engine.clock.wall_ms() + (UNKNOWN_KEPT_MS if outcome.state == "unknown" else KEPT_MS)
        kept = None if outcome.retry_after_ms is not None else outcome.encoded()
        try:
            noted = await self._engine.records.swap(Swap(space, KIND, KEY, running, kept, None, until))
        except TrunklineError as error:
            log.warning("the outcome of a call was not kept, and a repeat will be told that it is unknown: %s", error)
        else:
            if not noted:
                log.warning("another node took this one for ended: a repeat of a call was told that it is unknown")

    async def _elsewhere(self, space: str) -> Outcome:
        """Return what becomes of a call that was claimed already.

        Raises:
            StoreUnavailable: The log did not answer.
            ShuttingDown: It has not ended, and this node stops.
        """
        end = self._engine.clock.monotonic() + self._engine.limits.call_s + LEASE_S
        while True:
            record = await self._engine.records.get(space, KIND, KEY)
            if record is None:
                return _refusal("", outcome_unknown("its record is gone"), state="unknown")
            outcome = decode_outcome(record)
            if outcome.state != "running":
                return outcome
            if self._is_gone(outcome.node) or self._engine.clock.monotonic() > end:
                unknown = _refusal(outcome.node, outcome_unknown("the node that ran it has ended"), state="unknown")
                until = self._engine.clock.wall_ms() + UNKNOWN_KEPT_MS
                if await self._engine.records.swap(Swap(space, KIND, KEY, record, unknown.encoded(), None, until)):
                    return unknown
                continue
            if self._is_stopping:
                raise ShuttingDown("the server is stopping; call again on another one, with the same id")
            await asyncio.sleep(LOOK_S)

    def _is_gone(self, node: str) -> bool:
        cluster = self._engine.cluster
        if cluster is None or node == self._engine.name:
            return True  # this node runs no call of that id
        if node in cluster:
            return False
        # This one may be too new to know the others.
        return self._engine.clock.monotonic() - self._started_at > LEASE_S


def _refusal(node: str, error: TrunklineError, state: Any = "done") -> Outcome:
    return Outcome(state, node, None, error.code, str(error), error.status, error.retry_after_ms)


def _answer_of(outcome: Outcome) -> bytes:
    """Return the result of a call that has ended.

    Raises:
        TrunklineError: It was refused.
    """
    if outcome.json is not None:
        return outcome.json
    if outcome.code == "internal":
        raise HookFailed(outcome.message)
    if outcome.code in REQUEST_ERRORS:
        raise RequestError(outcome.code, outcome.message, outcome.retry_after_ms)
    if outcome.code in OTHER_ERRORS:
        raise StoreUnavailable(outcome.message)
    raise Refused(outcome.code, outcome.message, status=outcome.status, retry_after_ms=outcome.retry_after_ms)
