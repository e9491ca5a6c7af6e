"""Epochs and lineages: what follows from the lives of a log."""

from hypothesis import given
from hypothesis import strategies as st

from trunkline.core.epochs import LINEAGE_MAX, epoch_in, format_lineage, go_on, parse_lineage
from trunkline.core.position import Former, Start, resolve


def test_an_epoch_is_the_same_for_all_who_compute_it() -> None:
    """It depends on the room's first epoch and the life alone, and can stand in a position."""
    assert epoch_in("life1", "k3f9x2") == epoch_in("life1", "k3f9x2")
    assert len({epoch_in(life, origin) for life in ("a", "b") for origin in ("x", "y")}) == 4
    assert epoch_in("a", "x").isalnum()


def test_lives_in_which_nothing_was_written_keep_their_epochs() -> None:
    """A reader that was told one of them has lost nothing."""
    epoch, lineage = go_on("e0", (), 7, "e0", ["a", "b", "c"])
    assert epoch == epoch_in("c", "e0")
    assert lineage == (Former("e0", 7), Former(epoch_in("a", "e0"), 7), Former(epoch_in("b", "e0"), 7))


def test_fifty_lives_cost_a_reader_at_the_head_nothing() -> None:
    """However the lives are distributed over writes."""
    epoch, told = "e0", ["e0"]
    lineage: tuple[Former, ...] = ()
    for n in range(50):
        epoch, lineage = go_on(epoch, lineage, 7, "e0", [f"life{n}"])
        told.append(epoch)
    for former in told:
        assert resolve(Start("after", 7, former), "r", epoch, 1, 7, lineage) == (7, None)


def test_a_lineage_is_bounded() -> None:
    _, lineage = go_on("e0", (), 7, "e0", [f"life{n}" for n in range(200)])
    assert len(lineage) == LINEAGE_MAX


def test_a_log_that_went_back_again_shortens_what_is_known_of_earlier_lives() -> None:
    """What a former epoch had above the present head is gone, whoever it was."""
    _, lineage = go_on("e1", (Former("e0", 9),), 4, "e0", ["b"])
    assert lineage == (Former("e0", 4), Former("e1", 4))


@given(st.lists(st.tuples(st.from_regex(r"[a-z0-9]{1,16}", fullmatch=True), st.integers(0, 2**53)), max_size=10))
def test_what_is_written_is_read_again(pairs: list[tuple[str, int]]) -> None:
    lineage = tuple(Former(*pair) for pair in pairs)
    assert parse_lineage(format_lineage(lineage)) == lineage
