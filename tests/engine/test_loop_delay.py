"""How late the event loop is."""

import asyncio
import time

from tests.engine.support import virtual
from trunkline.engine.loop_delay import LOOK_S, LoopDelay
from trunkline.observe.histogram import Histogram


@virtual
async def test_a_loop_that_has_nothing_to_do_is_on_time() -> None:
    seen = Histogram()
    delay = LoopDelay(seen)
    delay.start()
    await asyncio.sleep(10 * LOOK_S + 0.01)
    delay.stop()
    assert seen.counts[0] == sum(seen.counts) == 10
    await asyncio.sleep(10)
    assert sum(seen.counts) == 10


async def test_a_loop_that_was_blocked_is_late() -> None:
    seen = Histogram()
    delay = LoopDelay(seen)
    delay.start()
    time.sleep(LOOK_S + 0.2)
    while not sum(seen.counts):
        await asyncio.sleep(0.01)
    delay.stop()
    assert delay.last_s >= 0.19
