import asyncio
import threading
from functools import partial

import pytest

from trunkline.errors import StoreUnavailable
from trunkline.stores.sqlite.serial_thread import SerialThread


async def test_calls_are_made_one_after_the_other_on_one_thread() -> None:
    thread = SerialThread("test")
    order: list[int] = []

    def call(n: int) -> str:
        order.append(n)
        return threading.current_thread().name

    names = await asyncio.gather(*(thread.call(partial(call, n)) for n in range(20)))
    assert (order, set(names)) == (list(range(20)), {"test"})
    await thread.close()


async def test_what_a_call_raises_is_raised_where_it_is_awaited() -> None:
    thread = SerialThread("test")

    def fail() -> None:
        raise KeyError("a mistake")

    with pytest.raises(KeyError, match="a mistake"):
        await thread.call(fail)
    assert await thread.call(lambda: 1) == 1
    await thread.close()


async def test_closing_finishes_what_was_asked_for() -> None:
    thread, may_end = SerialThread("test"), threading.Event()
    running = asyncio.ensure_future(thread.call(lambda: may_end.wait(20)))
    await asyncio.sleep(0)
    closing = asyncio.ensure_future(thread.close())
    await asyncio.sleep(0)
    with pytest.raises(StoreUnavailable, match="closed"):
        await thread.call(lambda: 1)
    may_end.set()
    await closing
    assert await running


async def test_a_caller_that_was_cancelled_disturbs_no_other() -> None:
    thread, may_end = SerialThread("test"), threading.Event()
    gone = asyncio.ensure_future(thread.call(lambda: may_end.wait(20)))
    await asyncio.sleep(0)
    gone.cancel()
    may_end.set()
    assert await thread.call(lambda: 2) == 2
    await thread.close()
