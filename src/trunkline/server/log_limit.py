"""How often a line may be repeated in the log: what goes wrong 10,000 times is to be read once, with the number."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from typing import NamedTuple

WINDOW_S = 10.0
KINDS_MAX = 1000  # of lines that are told apart; the one that has not come for the longest is forgotten


class Repeated(NamedTuple):
    """Lines that were left out.

    Attributes:
        line: The last line of that kind that was written.
        times: How many more there were.
    """

    line: object
    times: int


class _Kind:
    __slots__ = ("began_at", "last", "left_out", "written")

    def __init__(self, began_at: float) -> None:
        self.began_at = began_at
        self.written = 0
        self.left_out = 0
        self.last: object = None


class LogLimit:
    """Lets so many lines of a kind through in WINDOW_S, and counts the others."""

    def __init__(self) -> None:
        self._kinds: OrderedDict[Hashable, _Kind] = OrderedDict()

    def allows(self, kind: Hashable, line: object, most: int, now: float) -> bool:
        """Return whether a line is to be written.

        Args:
            kind: Which lines are counted together.
            line: The line, for `Repeated`.
            most: The most lines of this kind in WINDOW_S.
            now: Seconds of a clock that only goes forward.
        """
        of_kind = self._kinds.get(kind)
        if of_kind is None:
            while len(self._kinds) >= KINDS_MAX:
                self._kinds.popitem(last=False)
            of_kind = self._kinds[kind] = _Kind(now)
        if of_kind.written < most:
            of_kind.written += 1
            of_kind.last = line
            return True
        of_kind.left_out += 1
        return False

    def take_over(self, now: float) -> list[Repeated]:
        """Return what was left out in windows that are over by *now*. To be called about once a second."""
        over = [kind for kind, of_kind in self._kinds.items() if now - of_kind.began_at >= WINDOW_S]
        ended = [self._kinds.pop(kind) for kind in over]
        return [Repeated(of_kind.last, of_kind.left_out) for of_kind in ended if of_kind.left_out]
