"""Sequences in pieces."""

from hypothesis import given
from hypothesis import strategies as st

from trunkline.core.pieces import pieces


@given(st.lists(st.integers()), st.integers(1, 20))
def test_pieces_are_the_whole_and_all_but_the_last_are_full(values: list[int], size: int) -> None:
    found = [*pieces(values, size)]
    assert [value for piece in found for value in piece] == values
    assert all(len(piece) == size for piece in found[:-1])
    assert all(0 < len(piece) <= size for piece in found)
