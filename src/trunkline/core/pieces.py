"""Sequences in pieces, for what takes only so much at once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeVar

T = TypeVar("T")


def pieces(values: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    """Iterate over *values* in order, in pieces of *size*; the last one may be shorter."""
    for at in range(0, len(values), size):
        yield values[at : at + size]
