import pytest

from trunkline.core.joins import parse_joins, parse_positions
from trunkline.core.position import NOW, Start
from trunkline.errors import RequestError


def test_rooms_and_where_each_begins() -> None:
    assert parse_joins(["a", "b"], None, None, 10, NOW) == [("a", NOW), ("b", NOW)]
    assert parse_joins(["a", "b"], None, "5", 10, NOW) == [("a", Start("last", 5)), ("b", Start("last", 5))]
    assert parse_joins([], "a=e.1,b:c=now", None, 10, NOW) == [("a", Start("after", 1, "e")), ("b:c", NOW)]
    assert parse_joins(["b", "a"], "a=e.1", None, 10, NOW) == [("b", NOW), ("a", Start("after", 1, "e"))]


@pytest.mark.parametrize(
    ("named", "since", "last", "code"),
    [
        (["a", "b", "c"], None, None, "too_many_rooms"),
        (["a b"], None, None, "bad_room"),
        (["a"], "a=e.1", "3", "bad_position"),
        (["a"], "a=x", None, "bad_position"),
        ([], "=e.1,b=e.1", None, "bad_position"),
    ],
)
def test_what_cannot_be_joined(named: list[str], since: str | None, last: str | None, code: str) -> None:
    with pytest.raises(RequestError) as caught:
        parse_joins(named, since, last, 2, NOW)
    assert caught.value.code == code


def test_a_room_may_have_a_colon() -> None:
    assert parse_positions("a=k.1,b:c=5") == {"a": Start("after", 1, "k"), "b:c": Start("after", 5)}
