"""A deadline for a call that blocks: name servers and sockets keep no deadline of their own."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

from trunkline.client.errors import ClientError

T = TypeVar("T")

THREADS_MAX = 64
"""How many calls may be under way at once; those that were given up count until they end by themselves."""

_free = threading.BoundedSemaphore(THREADS_MAX)


def _forked() -> None:
    global _free  # noqa: PLW0603 - the threads of the parent are not here
    _free = threading.BoundedSemaphore(THREADS_MAX)


os.register_at_fork(after_in_child=_forked)


class _Call(Generic[T]):
    def __init__(self, function: Callable[[], T], permit: threading.BoundedSemaphore) -> None:
        self._function = function
        self._permit = permit
        self.result: T
        self.error: BaseException | None = None
        self.ended = threading.Event()

    def run(self) -> None:
        try:
            self.result = self._function()
        except BaseException as error:  # noqa: BLE001 - it belongs to the caller
            self.error = error
        finally:
            self._permit.release()
            self.ended.set()


def within(timeout_s: float, function: Callable[[], T]) -> T:
    """Return what *function* returns, which runs on a thread of its own.

    Args:
        timeout_s: Seconds to wait for it.

    Raises:
        ClientError: `timeout`: it has not ended by then; what it does goes on.
        BaseException: What *function* has raised.
    """
    end = time.monotonic() + timeout_s
    if not _free.acquire(timeout=timeout_s):
        raise ClientError("timeout", f"{THREADS_MAX} calls that were given up have not ended: nothing was sent")
    call = _Call(function, _free)
    try:
        threading.Thread(target=call.run, name="trunkline-call", daemon=True).start()
    except RuntimeError:  # there are no more threads
        _free.release()
        raise
    if not call.ended.wait(max(0.0, end - time.monotonic())):
        raise ClientError("timeout", f"not known to be stored, within {timeout_s:g} s: the server has not answered")
    if call.error is not None:
        raise call.error
    return call.result
