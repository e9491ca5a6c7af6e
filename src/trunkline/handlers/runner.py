"""Runs functions of the application: coroutines on the event loop, others on threads; each no longer than it may."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import logging
import threading
from collections.abc import Callable
from contextvars import copy_context
from functools import partial
from typing import Any

from trunkline.engine.clock import Clock
from trunkline.errors import HookFailed, HookTimedOut, Refused
from trunkline.observe.counters import Counters

log = logging.getLogger("trunkline")


class Runner:
    """Runs hooks and handlers.

    A thread cannot be ended. One whose function never returns is given up after its time, and counts as one of the
    threads until it does; when none is left, further functions wait, each no longer than its time.

    Args:
        threads_max: How many functions run on threads at the same time.
    """

    def __init__(self, threads_max: int, counters: Counters, clock: Clock) -> None:
        self._threads_max = threads_max
        self._counters = counters
        self._clock = clock
        self._turns: asyncio.Semaphore

    def start(self) -> None:
        """Begin, on the running event loop."""
        self._turns = asyncio.Semaphore(self._threads_max)

    @staticmethod
    def failed(why: str) -> HookFailed:
        """Return what a client is told when the application has failed, and log why."""
        log.error("%s", why)
        return HookFailed("the application failed")

    async def run(self, kind: str, function: Callable[..., Any], *arguments: Any, timeout_s: float) -> Any:
        """Return what a function of the application returns.

        Args:
            kind: What it is, for the metrics.

        Raises:
            Refused: The function does not want it.
            HookFailed: It has raised something else, which is logged: also an error of ours, which is about what the
                function wanted, and not about what its client did.
            HookTimedOut: It has taken too long.
        """
        began = self._clock.monotonic()
        try:
            return await self._run(function, arguments, timeout_s)
        except HookFailed:
            self._counters.handler_failures[kind] += 1
            raise
        finally:
            self._counters.handler_s[kind].observe(self._clock.monotonic() - began)

    async def _run(self, function: Callable[..., Any], arguments: tuple[Any, ...], timeout_s: float) -> Any:
        name = name_of(function)
        try:
            async with asyncio.timeout(timeout_s) as deadline:
                if inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(
                    getattr(function, "__call__", None)  # noqa: B004 - an object may have one that is a coroutine
                ):
                    return await function(*arguments)
                answer = await self._on_thread(function, arguments)
                return await answer if inspect.isawaitable(answer) else answer
        except (Refused, HookFailed):
            raise
        except TimeoutError:
            if not deadline.expired():
                log.exception("the application's %s failed", name)
                raise HookFailed("the application failed") from None
            log.error("the application's %s has taken longer than %g s, and was given up", name, timeout_s)
            raise HookTimedOut(f"the application did not answer within {timeout_s:g} s") from None
        except (Exception, SystemExit):
            log.exception("the application's %s failed", name)
            raise HookFailed("the application failed") from None

    async def _on_thread(self, function: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
        loop = asyncio.get_running_loop()
        turns = self._turns
        await turns.acquire()
        answered: asyncio.Future[Any] = loop.create_future()

        def ended(answer: Any, error: BaseException | None) -> None:
            turns.release()
            if answered.done():
                return
            if error is None:
                answered.set_result(answer)
            else:
                answered.set_exception(error)

        def work(call: Callable[[], Any]) -> None:
            answer: Any = None
            error: BaseException | None = None
            try:
                answer = call()
            except BaseException as raised:  # noqa: BLE001 - it belongs to the caller
                error = raised
                if isinstance(raised, StopIteration) or not isinstance(raised, Exception):
                    # What a future cannot hold, or would end the event loop.
                    error = RuntimeError(f"the function raised {raised!r}")
                    error.__cause__ = raised
            with contextlib.suppress(RuntimeError):  # the loop has ended
                loop.call_soon_threadsafe(ended, answer, error)

        # Of its own, and a daemon: a pool's threads would be waited for at the end of the process.
        run = partial(copy_context().run, function, *arguments)
        try:
            threading.Thread(target=work, args=(run,), name="trunkline-hook", daemon=True).start()
        except RuntimeError:  # there are no more threads
            turns.release()
            raise
        return await answered


def name_of(function: Callable[..., Any]) -> str:
    """Return a function's name, for people."""
    return str(getattr(function, "__qualname__", None) or type(function).__name__)
