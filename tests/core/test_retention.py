"""How much is kept of which room."""

from math import inf

import pytest

from trunkline.core.retention import DAY_S, Retention, RoomRetention


def test_rooms_without_a_rule_have_the_general_bounds() -> None:
    assert Retention().for_room("r") == Retention()
    assert Retention(age_s=5, rooms={"x": RoomRetention(age_s=1)}).for_room("r") == Retention(age_s=5)


def test_a_name_counts_before_a_pattern_and_a_long_pattern_before_a_short_one() -> None:
    rules = {"chat:*": RoomRetention(age_s=2), "chat:vip:*": RoomRetention(age_s=3), "chat:1": RoomRetention(age_s=4)}
    retention = Retention(age_s=1, messages_max=10, rooms=rules)
    ages = {name: retention.for_room(name).age_s for name in ("chat:1", "chat:10", "chat:vip:1", "chat", "other")}
    assert ages == {"chat:1": 4, "chat:10": 2, "chat:vip:1": 3, "chat": 1, "other": 1}
    assert retention.for_room("chat:1").messages_max == 10
    assert retention.shortest_age_s == 1


def test_forever_is_older_than_everything() -> None:
    retention = Retention(rooms={"keep:*": RoomRetention(forever=True)})
    assert retention.for_room("keep:1").age_s == inf
    assert retention.for_room("keep:1").oldest_ms(10) < -(10**15)
    assert Retention(age_s=5).oldest_ms(6000) == 1000


def test_the_audit_log_is_kept_for_a_year_unless_a_rule_says_otherwise() -> None:
    assert Retention().for_room("$audit").age_s > 365 * DAY_S
    assert Retention(rooms={"$audit": RoomRetention(age_s=5)}).for_room("$audit").age_s == 5


@pytest.mark.parametrize(
    "rooms",
    [
        {"": RoomRetention()},
        {"a*b": RoomRetention()},
        {"no room!": RoomRetention()},
        {"a": RoomRetention(age_s=0)},
        {"a": RoomRetention(messages_max=-1)},
        {"a": RoomRetention(forever=True, age_s=5)},
        {"' OR 1=1 --": RoomRetention()},
    ],
)
def test_rules_that_are_none_are_refused(rooms: dict[str, RoomRetention]) -> None:
    with pytest.raises(ValueError, match="retention"):
        Retention(rooms=rooms)
