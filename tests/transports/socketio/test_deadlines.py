"""Deadlines that all come after the same time."""

from trunkline.transports.socketio.deadlines import Deadlines


def test_they_are_due_in_their_order() -> None:
    deadlines: Deadlines[str] = Deadlines(5.0)
    assert deadlines.next_at is None
    deadlines.add("a", 1.0)
    deadlines.add("b", 2.0)
    assert len(deadlines) == 2
    assert deadlines.next_at == 6.0
    assert deadlines.take_due(5.9) == []
    assert deadlines.take_due(6.0) == ["a"]
    assert deadlines.take_due(100.0) == ["b"]


def test_all_can_be_moved() -> None:
    deadlines: Deadlines[str] = Deadlines(1.0)
    deadlines.add("a", 0.0)
    deadlines.postpone(10.0)
    assert deadlines.take_due(10.9) == []
    assert deadlines.take_due(11.0) == ["a"]
