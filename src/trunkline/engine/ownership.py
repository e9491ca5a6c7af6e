"""Which event loop an engine runs on, and how it is reached from elsewhere.

A future that is made on one event loop is never woken on another, so an engine that is used from elsewhere would store
and then wait for ever. Every way in checks this first.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import os
import threading
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from trunkline.engine.background import BackgroundLoop, run_on
from trunkline.errors import WrongLoop

T = TypeVar("T")

CLOSE_S = 10.0


class Ownership:
    """The event loop of one engine.

    Args:
        forked: Called when the engine is first used in a process that was forked from the one that made it.
        close: Closes the engine when the process ends, if `run_sync` has started it.

    Attributes:
        start_lock: To be held while the engine starts.
    """

    def __init__(self, forked: Callable[[], None], close: Callable[[], Coroutine[Any, Any, None]]) -> None:
        self._forked = forked
        self._close = close
        self._loop: asyncio.AbstractEventLoop | None = None  # the loop that starts the engine, or has
        self._lock = threading.Lock()
        self._lock_loop: asyncio.AbstractEventLoop | None = None  # that of `start_lock`
        self._process = os.getpid()
        self._background: BackgroundLoop | None = None
        self.start_lock: asyncio.Lock

    def claim(self) -> None:
        """Let the running event loop own the engine, unless another one does: two threads may start it at once.

        Raises:
            WrongLoop: Another one does.
        """
        here = asyncio.get_running_loop()
        with self._lock:
            if self._loop is None:
                if os.getpid() != self._process:
                    self._process = os.getpid()
                    self._forked()
                self._loop = here
                if self._lock_loop is not here:
                    self._lock_loop, self.start_lock = here, asyncio.Lock()
        self.check()

    def release(self) -> None:
        """Let another event loop own the engine: it is closed, or could not be started."""
        self._loop = None

    @property
    def loop(self) -> asyncio.AbstractEventLoop | None:
        """The event loop that owns the engine, if one does."""
        return self._loop

    @property
    def is_background(self) -> bool:
        """Whether the event loop is one that `run_sync` has started."""
        return self._background is not None and self._loop is self._background.loop

    def check(self) -> None:
        """Refuse a caller that nothing would ever wake.

        Raises:
            WrongLoop: The engine runs on another event loop than the running one, or in another process.
        """
        owner = self._loop
        if owner is None or (asyncio.get_running_loop() is owner and os.getpid() == self._process):
            return
        self._check_process()
        if owner.is_closed():
            raise WrongLoop(
                "the event loop that this hub ran on has ended, and the hub with it: do everything in one asyncio.run()"
                " (`async with Hub(…) as hub`), or everything with hub.publish_sync(…), which needs no event loop"
            )
        if self._background is not None and owner is self._background.loop:
            raise WrongLoop(
                "publish_sync has started this hub on a thread of its own (in a test, a reader of blocking_hub does so,"
                " too): in an application that runs the hub, start it first (hub.lifespan, `await hub.start()`, or"
                " `with TestClient(app)`); from elsewhere, go on with publish_sync"
            )
        raise WrongLoop(
            "this hub runs on another event loop: call hub.publish_sync(…) from other threads; for anything else,"
            " asyncio.run_coroutine_threadsafe(…, loop).result() with the loop that it was started on"
        )

    def run_sync(self, call: Callable[[], Coroutine[Any, Any, T]], timeout_s: float) -> T:
        """Return what a coroutine returns, run on the engine's event loop from another thread.

        If no event loop owns the engine, one is started on a thread of its own.

        Args:
            call: Makes the coroutine; called again if another thread starts the engine at the same moment.

        Raises:
            TimeoutError: It took longer than *timeout_s* seconds.
            WrongLoop: This is the thread of the engine's own event loop, or a forked process.
        """
        owner = self._loop
        try:
            here = asyncio.get_running_loop()
        except RuntimeError:
            here = None
        if here is not None and owner in (None, here):
            raise WrongLoop("publish_sync would block the event loop that runs here: await hub.publish(…) instead")
        if owner is not None:
            self._check_process()
        if owner is None or owner.is_closed():
            background = self._background_loop()
            try:
                return background.run(call(), timeout_s)
            except WrongLoop:
                owner = self._loop
                if owner is None or owner.is_closed() or owner is background.loop:
                    raise
                # Another thread has begun to start it at the same moment.
        return run_on(owner, call(), timeout_s)

    def _check_process(self) -> None:
        if os.getpid() != self._process:
            raise WrongLoop(
                "this process was forked from the one that the hub runs in: make the hub after the fork"
                " (in Celery, in a task or on worker_process_init; in gunicorn, without preload_app)"
            )

    def _background_loop(self) -> BackgroundLoop:
        with self._lock:
            if self._background is None or self._background.process != os.getpid():
                self._background = BackgroundLoop()
                atexit.register(self._end_background)
            return self._background

    def stop_background(self) -> None:
        """End the thread that `run_sync` has started, when the engine is closed. Harmless if there is none."""
        with self._lock:
            background, self._background = self._background, None
        if background is not None:
            atexit.unregister(self._end_background)
            background.stop()

    def _end_background(self) -> None:
        if self._background is not None and self._background.process == os.getpid():
            with contextlib.suppress(Exception):
                self._background.run(self._close(), CLOSE_S)
            self._background.stop()
