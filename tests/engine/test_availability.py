import asyncio

import pytest

from tests.engine.support import virtual
from trunkline.engine.availability import STALLED_S, Availability
from trunkline.errors import StoreUnavailable
from trunkline.testing.clock import ManualClock


@virtual
async def test_a_log_that_is_silent_makes_this_process_unready() -> None:
    availability = Availability(ManualClock())
    availability.start()
    assert availability.unready is None
    assert availability.hears
    await asyncio.sleep(STALLED_S + 1)
    assert availability.unready == "the log has not answered for 11 s"
    assert not availability.hears
    availability.answered()
    assert availability.unready is None


@virtual
async def test_what_cannot_be_stored_may_pass_by_itself() -> None:
    availability = Availability(ManualClock())
    availability.start()
    availability.cannot_store("the disk is full", after_s=5.0)
    await asyncio.sleep(4)
    assert availability.unready is None
    assert availability.should_try_to_store
    await asyncio.sleep(2)
    assert availability.unready == "nothing can be stored: the disk is full"
    availability.can_store()
    assert availability.unready is None


@virtual
async def test_an_append_that_takes_too_long() -> None:
    availability = Availability(ManualClock())
    availability.start()
    availability.append_began()
    await asyncio.sleep(STALLED_S + 2)
    availability.answered()
    assert availability.unready == "nothing has been stored for 12 s"
    availability.append_ended()
    assert availability.unready is None


@virtual
async def test_a_reader_waits_for_the_log() -> None:
    availability = Availability(ManualClock())
    availability.start()
    loop = asyncio.get_running_loop()

    async def read() -> str:
        if loop.time() < 7:
            raise StoreUnavailable("away")
        return "there"

    loop.call_later(8, availability.answered)
    assert await availability.patiently(read, 30.0, lambda: False) == ("there", 22.0)
    with pytest.raises(ZeroDivisionError):
        await availability.patiently(lambda: 1 / 0, 1.0, lambda: False)  # type: ignore[arg-type,return-value]


@virtual
async def test_a_reader_does_not_wait_for_ever() -> None:
    availability = Availability(ManualClock())
    availability.start()

    async def read() -> str:
        raise StoreUnavailable("away")

    with pytest.raises(StoreUnavailable):
        await availability.patiently(read, 5.0, lambda: False)
    assert asyncio.get_running_loop().time() == 5
    waiting = asyncio.ensure_future(availability.patiently(read, 3600.0, lambda: True))
    await asyncio.sleep(1)
    availability.end_waiting()
    with pytest.raises(StoreUnavailable):
        await waiting
    assert asyncio.get_running_loop().time() == 6
