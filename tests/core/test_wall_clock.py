"""When the wall clock can be believed."""

from trunkline.core.wall_clock import HOLD_S, WallClock


def test_a_clock_that_goes_is_trusted() -> None:
    """Also one that is slewed, half a millisecond a second, for days."""
    clock = WallClock()
    for n in range(100_000):
        assert clock.look(1e9 + 4.002 * n, 4.0 * n) == 0
        assert clock.is_trusted


def test_after_a_jump_nothing_is_believed_until_it_has_held() -> None:
    clock = WallClock()
    clock.look(1e9, 0)
    assert clock.look(1e9 + 3600 + 4, 4) == 3600
    assert not clock.is_trusted
    for second in range(8, int(HOLD_S) + 4, 4):
        assert clock.look(1e9 + 3600 + second, second) == 0
        assert not clock.is_trusted
    clock.look(1e9 + 3600 + HOLD_S + 4, HOLD_S + 4)
    assert clock.is_trusted


def test_a_clock_that_goes_back_to_where_it_was_is_believed_at_once() -> None:
    """It was the jump that was wrong."""
    clock = WallClock()
    clock.look(1e9, 0)
    clock.look(2e9, 4)
    assert not clock.is_trusted
    assert clock.look(1e9 + 8, 8) < -1e8
    assert clock.is_trusted


def test_each_jump_begins_to_hold_anew() -> None:
    clock = WallClock()
    clock.look(0, 0)
    clock.look(100, 4)
    assert clock.look(500, HOLD_S - 200) != 0
    clock.look(500 + 204, HOLD_S + 4)
    assert not clock.is_trusted
