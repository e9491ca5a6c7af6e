"""Positions, and where reading goes on (R3)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkline.core.joins import parse_positions
from trunkline.core.position import Former, Gap, Position, Start, parse_start, resolve, trimmed
from trunkline.errors import RequestError

NOW = Start("now")


@pytest.mark.parametrize(
    ("since", "last", "expected"),
    [
        (None, None, NOW),
        ("now", None, NOW),
        ("start", None, Start("start")),
        ("0", None, Start("after", 0)),
        (42, None, Start("after", 42)),
        ("k3f9x2.42", None, Start("after", 42, "k3f9x2")),
        (None, "5", Start("last", 5)),
        (None, 0, Start("last", 0)),
    ],
)
def test_starts(since: str | int | None, last: str | int | None, expected: Start) -> None:
    """Every way to say where to begin."""
    assert parse_start(since, last, NOW) == expected


@pytest.mark.parametrize(
    ("since", "last"),
    [
        ("", None), ("-1", None), ("01", None), ("1.2.3", None), ("K.1", None), ("a.", None), (".1", None),
        ("9" * 17, None), ("9007199254740992", None), ("now ", None), (None, "-1"), (None, "x"), ("1", "1"),
        ("a" * 17 + ".1", None), ("1\n", None), ("１", None),
    ],
)  # fmt: skip
def test_what_is_no_start(since: str | None, last: str | None) -> None:
    """Anything else is refused with one code."""
    with pytest.raises(RequestError) as caught:
        parse_start(since, last, NOW)
    assert caught.value.code == "bad_position"


def test_positions_of_many_rooms() -> None:
    assert parse_positions("a=k.1,b:c=5") == {"a": Start("after", 1, "k"), "b:c": Start("after", 5)}
    for bad in ("a", "=1", "a=1,", "a=1,,b=2"):
        with pytest.raises(RequestError):
            parse_positions(bad)


@pytest.mark.parametrize(
    ("start", "first", "head", "after", "gap"),
    [
        # An empty room: nothing to miss, and its position is good.
        (Start("after", 0, "e"), 1, 0, 0, None),
        (NOW, 1, 0, 0, None),
        (Start("start"), 1, 0, 0, None),
        (Start("last", 10), 1, 0, 0, None),
        # A room as it grew.
        (Start("after", 3, "e"), 1, 5, 3, None),
        (Start("after", 5, "e"), 1, 5, 5, None),
        (Start("last", 2), 1, 5, 3, None),
        (Start("last", 9), 1, 5, 0, None),
        (NOW, 1, 5, 5, None),
        # Trimmed: 1 to 3 are gone.
        (Start("after", 3, "e"), 4, 5, 3, None),
        (Start("after", 2, "e"), 4, 5, 3, (3, 3, "trimmed", "e.3")),
        (Start("after", 0), 4, 5, 3, (1, 3, "trimmed", "e.3")),
        (Start("start"), 4, 5, 3, None),
        (Start("last", 9), 4, 5, 3, None),
        # Everything is trimmed.
        (Start("after", 2, "e"), 6, 5, 5, (3, 5, "trimmed", "e.5")),
        # A future offset: the log ends before it.
        (Start("after", 9, "e"), 1, 5, 5, (6, 9, "future", "e.5")),
        # Another life of the log, complete and trimmed.
        (Start("after", 2, "old"), 1, 5, 0, (1, 0, "epoch", "e.0")),
        (Start("after", 2, "old"), 4, 5, 3, (1, 3, "epoch", "e.3")),
        (Start("after", 9, "old"), 1, 0, 0, (1, 0, "epoch", "e.0")),
    ],
)
def test_resolve(start: Start, first: int, head: int, after: int, gap: tuple[int, int, str, str] | None) -> None:
    """Exactly the missing messages, or a gap that names what is lost and where it goes on."""
    expected = Gap("r", "e", *gap) if gap else None  # type: ignore[arg-type]
    assert resolve(start, "r", "e", first, head) == (after, expected)


@pytest.mark.parametrize(
    ("start", "first", "after", "gap"),
    [
        (Start("after", 40, "old"), 1, 40, None),  # still known: it goes on as if nothing had happened
        (Start("after", 44, "old"), 1, 44, None),
        (Start("after", 46, "old"), 1, 44, (45, 46, "epoch", "e.44")),  # read what the log has lost
        (Start("after", 46, "old"), 50, 49, (45, 49, "epoch", "e.49")),  # and what came instead is trimmed already
        (Start("after", 30, "old"), 40, 39, (31, 39, "trimmed", "e.39")),
        (Start("after", 31, "older"), 1, 30, (31, 31, "epoch", "e.30")),
        (Start("after", 3, "unheard"), 1, 0, (1, 0, "epoch", "e.0")),
    ],
)
def test_a_life_that_goes_on(start: Start, first: int, after: int, gap: tuple[int, int, str, str] | None) -> None:
    """A log that lost its end goes on where it is still known; only who has read further is told."""
    lineage = (Former("older", 30), Former("old", 44))
    expected = Gap("r", "e", *gap) if gap else None  # type: ignore[arg-type]
    assert resolve(start, "r", "e", first, 60, lineage) == (after, expected)


@given(st.integers(0, 50), st.integers(0, 50), st.sampled_from([None, "e", "old"]), st.integers(0, 60))
def test_never_neither(head: int, cut: int, epoch: str | None, number: int) -> None:
    """Whatever is asked of whatever log: all retained messages after it, or a gap that says what is lacking."""
    first = min(cut, head) + 1
    after, gap = resolve(Start("after", number, epoch), "r", "e", first, head)
    assert first - 1 <= after <= head
    if gap is None:
        assert after == number
    else:
        assert gap.next == str(Position("e", after))
        assert gap.reason == ("epoch" if epoch == "old" else "future" if number > head else "trimmed")


def test_trimmed_names_what_is_missing() -> None:
    assert trimmed("r", "e", 3, 10, "slow") == Gap("r", "e", 4, 9, "slow", "e.9")
