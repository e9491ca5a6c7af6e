import asyncio
import threading

import pytest

from trunkline.engine.background import BackgroundLoop, run_on


def test_a_loop_on_a_thread_of_its_own() -> None:
    background = BackgroundLoop()

    async def where() -> str:
        return threading.current_thread().name

    assert background.run(where(), 5.0) == "trunkline-loop"
    assert run_on(background.loop, where(), 5.0) == "trunkline-loop"
    with pytest.raises(TimeoutError):
        background.run(asyncio.sleep(60), 0.05)
    background.stop()
    assert background.loop.is_closed()
