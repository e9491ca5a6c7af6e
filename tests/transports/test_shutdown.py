import asyncio
import signal
import threading

import pytest

from tests.support import WAIT_S
from trunkline.transports.shutdown import called_on_signals


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_the_handler_of_before_is_called_too(number: int) -> None:
    called, before = asyncio.Event(), []
    former = signal.signal(number, lambda number, _: before.append(number))
    try:
        with called_on_signals(called.set):
            signal.raise_signal(number)
            await asyncio.wait_for(called.wait(), WAIT_S)
        assert before == [number]
        signal.raise_signal(number)
        assert before == [number, number]
    finally:
        signal.signal(number, former)


async def test_on_another_thread_no_handler_is_set() -> None:
    before = signal.getsignal(signal.SIGTERM)

    def enter() -> None:
        with called_on_signals(lambda: None):
            assert signal.getsignal(signal.SIGTERM) is before

    thread = threading.Thread(target=enter)
    thread.start()
    await asyncio.to_thread(thread.join)
    assert signal.getsignal(signal.SIGTERM) is before
