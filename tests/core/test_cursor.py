"""The cursor's table."""

import pytest

from tests.readers import SilentReader
from trunkline.core.cursor import TRANSITIONS, Cursor, Event, Room, State


def test_every_state_can_be_reached_and_left() -> None:
    """From QUEUED, where cursors begin, the table leads everywhere; only GONE has no way out but LEFT."""
    reached = {State.QUEUED}
    for _ in State:
        reached |= {after for (before, _), after in TRANSITIONS.items() if before in reached}
    assert reached == set(State)
    for state in State:
        ways = {event for before, event in TRANSITIONS if before is state}
        assert ways == {Event.LEFT} if state is State.GONE else ways > {Event.LEFT}


def test_what_is_no_row_cannot_happen() -> None:
    cursor = Cursor(SilentReader(), Room("r", "e", 1, 0), 0)
    with pytest.raises(KeyError):
        cursor.apply(Event.WRITABLE)
    assert cursor.state is State.QUEUED
