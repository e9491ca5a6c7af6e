"""A deadline for a call that blocks: name servers and sockets keep no deadline of their own."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

from trunkline.client.errors import ClientError

T = TypeVar("T")

THREADS_MAX = 64
"""How many calls may be under way at once; those that were given up count until they end by themselves."""

_free = threading.BoundedSemaphore(THREADS_MAX)


class _Call(Generic[T]):
    def __init__(self, function: Callable[[], T]) -> None:
        self._function = function
        self.result: T
        self.error: BaseException | None = None
        self.ended = threading.Event()

    def run(self) -> None:
        try:
            self.result = self._function()
        except BaseException as error:  # noqa: BLE001 - it belongs to the caller
            self.error = error
        finally:
            _free.release()
            self.ended.set()


def within(timeout_s: float, function: Callable[[], T]) -> T:
    """Return what *function* returns, which runs on a thread of its own.

    Args:
        timeout_s: Seconds to wait for it.

    Raises:
        ClientError: `timeout`: it has not ended by then; what it does goes on.
        BaseException: What *function* has raised.
    """
    if not _free.acquire(timeout=timeout_s):
        raise ClientError("timeout", f"{THREADS_MAX} calls that were given up have not ended: nothing was sent")
    call = _Call(function)
    try:
        threading.Thread(target=call.run, name="trunkline-call", daemon=True).start()
    except RuntimeError:  # there are no more threads
        _free.release()
        raise
    if not call.ended.wait(timeout_s):
        raise ClientError("timeout", f"not known to be stored after {timeout_s:g} s: the server has not answered")
    if call.error is not None:
        raise call.error
    return call.result
