"""The states of a consumed room."""

import pytest

from trunkline.consumers.room import TRANSITIONS, ConsumedRoom
from trunkline.core.consumer import Progress


async def test_a_room_goes_its_way() -> None:
    room = ConsumedRoom("r", 0)
    assert [room.go(why) for why in ("news", "begin", "news", "ack", "nothing")] == [
        "ready", "busy", "busy", "ready", "idle",
    ]  # fmt: skip
    assert [room.go(why) for why in ("news", "begin", "fail", "news", "time", "begin", "fail", "ack")] == [
        "ready", "busy", "paused", "paused", "ready", "busy", "paused", "ready",
    ]  # fmt: skip
    with pytest.raises(KeyError):
        room.go("fail")


async def test_each_state_can_be_lost_and_a_lost_one_stays_so() -> None:
    """Whatever still comes for it: an acknowledgement, the time of a retry, or news."""
    for ways in TRANSITIONS.values():
        assert ways["lost"] == "lost"
        assert set(TRANSITIONS["lost"]) >= set(ways) - {"begin"}
    assert set(TRANSITIONS["lost"].values()) == {"lost"}


async def test_the_lag_is_what_is_retained_and_not_handled() -> None:
    room = ConsumedRoom("r", 0)
    room.first, room.head = 11, 20
    assert room.lag == 10
    room.progress = Progress("e", 15)
    assert room.lag == 5
    room.progress = Progress("e", 20)
    assert room.lag == 0
