"""A fault: something that is wrong from when it is caused until it is ended."""

from __future__ import annotations

from collections.abc import Callable
from typing import Self


class Fault:
    """What a verb like `reader.cut()` returns: `with reader.cut(): …` ends it behind the block, `end()` at any time.

    Args:
        end: What ends it.
    """

    def __init__(self, end: Callable[[], object]) -> None:
        self._end = end
        self.is_over = False

    def end(self) -> None:
        """End it. Harmless if it has ended."""
        if not self.is_over:
            self.is_over = True
            self._end()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()
