"""Repeated lines."""

from hypothesis import given
from hypothesis import strategies as st

from trunkline.server import log_limit
from trunkline.server.log_limit import WINDOW_S, LogLimit, Repeated


def test_the_first_lines_are_written_and_the_others_counted() -> None:
    limit = LogLimit()
    assert [limit.allows("a", n, 2, 0.0) for n in range(5)] == [True, True, False, False, False]
    assert limit.allows("b", "other", 2, 0.0)
    assert limit.take_over(WINDOW_S - 0.1) == []
    assert limit.take_over(WINDOW_S) == [Repeated(1, 3)]
    assert limit.allows("a", 9, 2, WINDOW_S)


@given(st.lists(st.tuples(st.integers(0, 3), st.floats(0, 5)), max_size=200))
def test_every_line_is_written_or_counted(lines: list[tuple[int, float]]) -> None:
    limit, now, written, counted = LogLimit(), 0.0, 0, 0
    for kind, passed in lines:
        now += passed
        counted += sum(repeated.times for repeated in limit.take_over(now))
        written += limit.allows(kind, "line", 3, now)
    counted += sum(repeated.times for repeated in limit.take_over(float("inf")))
    assert written + counted == len(lines)


def test_kinds_are_bounded(monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setattr(log_limit, "KINDS_MAX", 3)
    limit = LogLimit()
    for n in range(100):
        assert limit.allows(n, "line", 1, 0.0)
    assert len(limit._kinds) == 3
