"""What blocks, blocks no longer than it may."""

from __future__ import annotations

import os
import threading
import time

import pytest

from trunkline.client.deadline import THREADS_MAX, within
from trunkline.client.errors import ClientError


def test_what_a_call_returns_or_raises_comes_back() -> None:
    assert within(5, lambda: 7) == 7
    with pytest.raises(ZeroDivisionError):
        within(5, lambda: 1 / 0)


def test_a_call_that_hangs_is_given_up_and_many_of_them_hold_up_no_longer() -> None:
    may = threading.Event()
    began = time.monotonic()
    for _ in range(THREADS_MAX):
        with pytest.raises(ClientError, match="not answered"):
            within(0.001, lambda: may.wait(60))
    with pytest.raises(ClientError, match="nothing was sent"):
        within(0.1, lambda: 1)
    assert time.monotonic() - began < 10
    may.set()
    assert within(20, lambda: 2) == 2  # they have ended


def test_a_process_that_is_forked_meanwhile_has_all_its_threads() -> None:
    may = threading.Event()
    for _ in range(THREADS_MAX):
        with pytest.raises(ClientError):
            within(0.001, lambda: may.wait(60))
    child = os.fork()
    if not child:
        os._exit(0 if within(5, lambda: 3) == 3 else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    may.set()
    assert within(20, lambda: 2) == 2
