"""An hour in a moment, and in the right order."""

import asyncio
import threading
import time
from collections.abc import Iterator

import pytest
import uvloop

from trunkline.testing.virtual_clock import VirtualClock


@pytest.fixture
def clock() -> Iterator[VirtualClock]:
    clock = VirtualClock()
    yield clock
    clock.release()


def governing(clock: VirtualClock) -> VirtualClock:
    clock.govern(asyncio.get_running_loop())
    return clock


async def test_an_hour_passes_timer_by_timer(clock: VirtualClock) -> None:
    """Each timer sees the time at which it is due, however long the tick."""
    governing(clock)
    began, real = clock.monotonic(), time.monotonic()
    woken: list[float] = []

    async def wake_every_minute() -> None:
        while True:
            await asyncio.sleep(60)
            woken.append(clock.monotonic() - began)

    task = asyncio.ensure_future(wake_every_minute())
    await clock.tick(3605)
    assert woken == pytest.approx([60 * n for n in range(1, 61)], abs=2)
    assert clock.monotonic() - began == pytest.approx(3605, abs=5)
    assert time.monotonic() - real < 5
    task.cancel()


async def test_all_clocks_agree(clock: VirtualClock) -> None:
    governing(clock)
    before = (clock.wall_s(), clock.steady(), clock.monotonic(), asyncio.get_running_loop().time())
    await clock.tick(1000)
    after = (clock.wall_s(), clock.steady(), clock.monotonic(), asyncio.get_running_loop().time())
    assert [b - a for a, b in zip(before, after, strict=True)] == pytest.approx([1000] * 4, abs=5)
    assert clock.wall_ms() == pytest.approx(time.time() * 1000 + 1_000_000, abs=5000)


async def test_time_passes_by_itself_too(clock: VirtualClock) -> None:
    """What the test itself waits for comes, without a tick."""
    governing(clock)
    await asyncio.sleep(0.01)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await asyncio.Event().wait()


async def test_until_jumps_as_far_as_it_must(clock: VirtualClock) -> None:
    governing(clock)
    began = clock.monotonic()
    event = asyncio.Event()
    asyncio.get_running_loop().call_later(90, event.set)
    assert await clock.until(event.is_set, 100)
    assert clock.monotonic() - began == pytest.approx(90, abs=5)


async def test_until_gives_up_when_the_time_is_over(clock: VirtualClock) -> None:
    governing(clock)
    began = clock.monotonic()
    event = asyncio.Event()
    asyncio.get_running_loop().call_later(90, event.set)
    assert not await clock.until(event.is_set, 30, outside_s=0)
    assert clock.monotonic() - began == pytest.approx(30, abs=5)


async def test_until_waits_for_what_a_thread_brings(clock: VirtualClock) -> None:
    """A thread knows nothing of this clock, and gets a moment of real time."""
    governing(clock)
    loop, event = asyncio.get_running_loop(), asyncio.Event()
    threading.Timer(0.02, lambda: loop.call_soon_threadsafe(event.set)).start()
    assert await clock.until(event.is_set, 1)


async def test_run_lets_time_pass_for_a_coroutine(clock: VirtualClock) -> None:
    governing(clock)

    async def slow() -> str:
        await asyncio.sleep(50)
        return "done"

    assert await clock.run(slow(), 60) == "done"
    with pytest.raises(TimeoutError):
        await clock.run(slow(), 10)


async def test_a_loop_that_never_rests_does_not_hang_a_test(clock: VirtualClock) -> None:
    governing(clock)
    going = True

    def spin() -> None:
        if going:
            asyncio.get_running_loop().call_soon(spin)

    spin()
    await clock.settle()
    going = False


async def test_a_loop_that_never_rests_costs_little(clock: VirtualClock) -> None:
    governing(clock)

    async def spin() -> None:
        while True:
            await asyncio.sleep(0)

    spinning = asyncio.ensure_future(spin())
    began = time.monotonic()
    await clock.tick(300)
    assert time.monotonic() - began < 10
    spinning.cancel()


async def test_several_that_wait_get_on_together(clock: VirtualClock) -> None:
    """Time passes for all of them, up to where the first gives up; and no longer than it must."""
    governing(clock)
    began, event = clock.monotonic(), asyncio.Event()
    asyncio.get_running_loop().call_later(50, event.set)
    waiting = [clock.until(lambda: False, within_s) for within_s in (10, 20, 30)]
    outcomes = await asyncio.gather(*waiting, clock.until(event.is_set, 60), clock.tick(5))
    assert outcomes == [False, False, False, True, None]
    assert clock.monotonic() - began == pytest.approx(50, abs=3)


async def test_one_that_is_cancelled_lets_others_go_on(clock: VirtualClock) -> None:
    governing(clock)
    event = asyncio.Event()
    asyncio.get_running_loop().call_later(50, event.set)
    first = asyncio.ensure_future(clock.until(lambda: False, 1000))
    await asyncio.sleep(0)
    second = asyncio.ensure_future(clock.until(event.is_set, 60))
    await asyncio.sleep(0)
    first.cancel()
    assert await second


async def test_a_fact_that_raises_is_its_owners(clock: VirtualClock) -> None:
    governing(clock)
    event = asyncio.Event()
    asyncio.get_running_loop().call_later(5, event.set)
    outcomes = await asyncio.gather(
        clock.until(event.is_set, 60), clock.until(lambda: 1 / 0, 60), return_exceptions=True
    )
    assert outcomes[0] is True
    assert isinstance(outcomes[1], ZeroDivisionError)


async def test_a_fact_that_raises_when_its_time_is_over_is_its_owners_too(clock: VirtualClock) -> None:
    """Then somebody else lets time pass, and waits for what threads bring."""
    governing(clock)
    end, event = clock.monotonic() + 5, asyncio.Event()
    asyncio.get_running_loop().call_later(50, event.set)

    def late() -> bool:
        if clock.monotonic() > end:
            looks.append(True)
        return len(looks) > 1 and bool(1 / 0)  # not at the first look behind the end, but while it is listened

    looks: list[bool] = []
    idle = asyncio.ensure_future(asyncio.to_thread(time.sleep, 0.5))
    outcomes = await asyncio.gather(clock.until(event.is_set, 60), clock.until(late, 5), return_exceptions=True)
    assert outcomes[0] is True
    assert isinstance(outcomes[1], ZeroDivisionError)
    await idle


async def test_a_thread_has_a_moment_before_time_passes(clock: VirtualClock) -> None:
    """Else everything that waits for one with a time-out would give up at once."""
    governing(clock)
    working = asyncio.ensure_future(asyncio.wait_for(asyncio.to_thread(time.sleep, 0.02), 3))
    assert not await clock.until(lambda: False, 60)
    await working


async def test_time_does_not_go_back(clock: VirtualClock) -> None:
    governing(clock)
    for seconds in (-5, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="time cannot pass by"):
            await clock.tick(seconds)


async def test_a_loop_in_debug_mode_does_not_complain(clock: VirtualClock, caplog: pytest.LogCaptureFixture) -> None:
    loop = asyncio.get_running_loop()
    loop.set_debug(True)
    before = loop.slow_callback_duration
    governing(clock)
    loop.call_later(30, lambda: None)
    await clock.tick(60)
    clock.release()
    loop.set_debug(False)
    assert "took" not in caplog.text
    assert loop.slow_callback_duration == before


async def test_one_clock_for_a_loop(clock: VirtualClock) -> None:
    governing(clock)
    governing(clock)
    with pytest.raises(RuntimeError, match="another virtual clock"):
        governing(VirtualClock())
    clock.release()
    assert asyncio.get_running_loop().time() == pytest.approx(time.monotonic(), abs=5)
    clock.release()


def test_a_loop_whose_time_cannot_be_set(clock: VirtualClock) -> None:
    async def main() -> None:
        governing(clock)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner, pytest.raises(RuntimeError, match="uvloop"):
        runner.run(main())


def test_a_clock_outlives_its_loop(clock: VirtualClock) -> None:
    async def main() -> None:
        governing(clock)

    asyncio.run(main())
    asyncio.run(main())


def test_chance_repeats_itself() -> None:
    one, two = VirtualClock(7), VirtualClock(7)
    assert [one.fraction() for _ in range(5)] == [two.fraction() for _ in range(5)]
