"""Whether the wall clock can be believed, found out by comparing it with a clock that only goes forward.

Retention by age deletes for good, and an hour that a wrong NTP answer or a dead battery has added to the clock would
delete an hour too much. A step shows as a difference between the two clocks that is not what it was. After a step
nothing is trimmed by age until the new time has held for `HOLD_S`; if the clock goes back to where it was, at once.
"""

from __future__ import annotations

STEP_S = 1.0  # between two looks; a clock that is slewed moves by half a millisecond a second
HOLD_S = 600.0


class WallClock:
    """The difference between the wall clock and a steady one, as it is seen from time to time."""

    def __init__(self) -> None:
        self._trusted: float | None = None  # the difference that is believed
        self._new = 0.0  # another one, which has to hold
        self._since: float | None = None  # when it was seen first, by the steady clock; None if there is none

    @property
    def is_trusted(self) -> bool:
        """Whether the time that was looked at last may be acted on."""
        return self._since is None

    def look(self, wall_s: float, steady_s: float) -> float:
        """Compare the two clocks, at one moment.

        Args:
            wall_s: Seconds since 1970 UTC.
            steady_s: Seconds of any clock that only goes forward and also counts while the machine sleeps.

        Returns:
            By how many seconds the wall clock has jumped since the last look; 0 if it has not.
        """
        offset = wall_s - steady_s
        last = self._trusted if self._since is None else self._new
        if self._trusted is None or abs(offset - self._trusted) <= STEP_S:
            self._trusted, self._since = offset, None
        elif self._since is None or abs(offset - self._new) > STEP_S:
            self._new, self._since = offset, steady_s
        elif steady_s - self._since >= HOLD_S:
            self._trusted, self._since = offset, None
        else:
            self._new = offset
        return offset - last if last is not None and abs(offset - last) > STEP_S else 0.0
