from tests.engine.support import virtual
from trunkline.engine.clock import SystemClock, spread_ms
from trunkline.testing.clock import ManualClock


def test_the_clocks_of_the_machine_go_forward() -> None:
    clock = SystemClock()
    assert clock.monotonic() <= clock.monotonic()
    assert clock.steady() <= clock.steady()
    assert clock.wall_ms() > 1_700_000_000_000
    assert 0 <= clock.fraction() < 1


def test_clients_come_back_at_different_times() -> None:
    clock = ManualClock()
    times = {spread_ms(clock, 1000) for _ in range(100)}
    assert len(times) > 80
    assert 100 <= min(times) < max(times) <= 1000


@virtual
async def test_a_manual_clock_and_the_loop_agree() -> None:
    import asyncio

    clock = ManualClock(wall_s=100.0)
    before = clock.monotonic()
    await asyncio.sleep(3600)
    assert clock.monotonic() - before == 3600
    assert clock.wall_ms() == 100_000
    clock.tick(5)
    assert (clock.wall_ms(), clock.steady()) == (105_000, 105.0)
