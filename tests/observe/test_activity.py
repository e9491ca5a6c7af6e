"""Who does how much."""

from trunkline.observe import activity as module
from trunkline.observe.activity import Activity


def test_what_is_taken_begins_anew() -> None:
    activity = Activity()
    activity.published("a", "ana")
    activity.published("a", None)
    activity.refused("ana", "1.1.1.1")
    activity.refused(None, "1.1.1.1")
    activity.moved("b")
    rooms, moved, publishers, refused = activity.take()
    assert (rooms, moved, publishers) == ({"a": 2}, {"b": 1}, {"ana": 1})
    assert refused == {("ana", True): 1, ("1.1.1.1", False): 1}
    assert [not of for of in activity.take()] == [True] * 4


def test_only_so_many_are_told_apart(monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setattr(module, "KINDS_MAX", 3)
    activity = Activity()
    for n in range(10):
        activity.published(f"room {n}", "ana")
    activity.published("room 0", "ana")
    rooms, _, publishers, _ = activity.take()
    assert rooms == {"room 0": 2, "room 1": 1, "room 2": 1}
    assert publishers == {"ana": 11}
