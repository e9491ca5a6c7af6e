"""The rooms that a client reads."""

from tests.client.effects import Effects
from trunkline.client.readings import Readings


def test_a_room_that_was_left_and_joined_anew_is_told_nothing_of_before() -> None:
    effects = Effects()
    readings = Readings(effects)
    readings.join("r", {"last": 5})
    readings.open()
    readings.leave("r")
    readings.join("r", {"last": 5})
    readings.settle(lambda: True)
    assert [effect["command"]["type"] for effect in effects.of("send")] == ["leave", "join"]
    readings.tell("r", {"type": "joined", "room": "r", "epoch": "e", "head": 3})
    assert effects.of("tell") == []
    readings.left("r")
    readings.tell("r", {"type": "joined", "room": "r", "epoch": "e", "head": 3})
    assert len(effects.of("tell")) == 1


def test_a_message_is_told_once_and_moves_the_position() -> None:
    effects = Effects()
    readings = Readings(effects)
    readings.join("r", {"since": "e.4"})
    readings.open()
    for offset in (5, 5, 4, 6):
        readings.tell("r", {"type": "message", "room": "r", "offset": offset})
    assert [effect["event"]["offset"] for effect in effects.of("tell")] == [5, 6]
    assert readings.rooms["r"].start == {"since": "e.6"}
