"""Stopping with the process, in an application that some ASGI server runs."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any


@contextmanager
def called_on_signals(drain: Callable[[], object]) -> Iterator[None]:
    """Call *drain* on SIGTERM and Ctrl-C, then the handler that was set before.

    ASGI tells an application to shut down only after its last response has ended, and an event stream does not end by
    itself: the server would wait for the streams, and the streams for the server. The signal is the one thing that
    both see in time. Handlers can be set on the main thread only; elsewhere, call `hub.drain()` yourself.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    loop = asyncio.get_running_loop()
    before: dict[int, Any] = {}

    def handle(number: int, frame: FrameType | None) -> None:
        loop.call_soon_threadsafe(drain)
        if callable(before[number]):
            before[number](number, frame)
        elif before[number] == signal.SIG_DFL:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)

    for number in (int(signal.SIGTERM), int(signal.SIGINT)):
        before[number] = signal.signal(number, handle)
    try:
        yield
    finally:
        for number, handler in before.items():
            if signal.getsignal(number) is handle:
                signal.signal(number, handler)
