"""Who is there, who comes and who goes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkline.core import presence as module
from trunkline.core.presence import Presence
from trunkline.errors import RequestError


def told(presence: Presence) -> tuple[list[str], list[str]]:
    changes = presence.take_changes()
    return [member.member for member in changes.joined], changes.left


def test_coming_and_going() -> None:
    presence = Presence()
    presence.arrive("ana", b"{}", 1)
    presence.arrive("ben", b"{}", 2)
    assert told(presence) == (["ana", "ben"], [])
    presence.depart("ana", until=10.0)
    presence.expire(9.0)
    assert told(presence) == ([], [])
    presence.expire(10.0)
    assert told(presence) == ([], ["ana"])
    assert [member.member for member in presence.members()] == ["ben"]


def test_a_blip_says_nothing() -> None:
    """Gone for less than the grace time, or replaced by another connection: nobody is told (R22)."""
    presence = Presence()
    presence.arrive("ana", b"{}", 1)
    told(presence)
    presence.depart("ana", until=10.0)
    presence.arrive("ana", b"{}", 2)
    presence.expire(11.0)
    presence.arrive("ana", b"{}", 3)
    presence.depart("ana", until=None)
    presence.expire(12.0)
    assert told(presence) == ([], [])
    assert [member.at for member in presence.members()] == [1]


def test_only_the_last_connection_counts() -> None:
    presence = Presence()
    for _ in range(3):
        presence.arrive("ana", b"{}", 1)
    presence.depart("ana", until=None)
    presence.leave("ana")
    presence.depart("ana", until=None)
    assert "ana" in presence
    presence.depart("ana", until=None)
    assert "ana" not in presence


def test_who_was_never_told_of_is_not_told_of() -> None:
    presence = Presence()
    presence.arrive("ana", b"{}", 1)
    presence.depart("ana", until=None)
    assert told(presence) == ([], [])


def test_other_data_is_told_again() -> None:
    presence = Presence()
    presence.arrive("ana", b"{}", 1)
    told(presence)
    presence.arrive("ana", b'{"at":"desk"}', 2)
    changes = presence.take_changes()
    assert [(member.member, bytes(member.json)) for member in changes.joined] == [("ana", b'{"at":"desk"}')]
    assert changes.new == []


def test_a_poller_leaves() -> None:
    presence = Presence()
    presence.arrive("ana", b"{}", 1)
    presence.depart("ana", until=30.0)
    presence.leave("ana")
    assert len(presence) == 0


def test_a_poller_leaves_while_its_poll_is_still_there() -> None:
    """The request that says goodbye may overtake the end of the one that waits."""
    presence = Presence()
    presence.arrive("ana", b"{}", 1)
    presence.leave("ana")
    assert "ana" in presence
    presence.depart("ana", until=30.0)
    assert len(presence) == 0
    presence.arrive("ana", b"{}", 1)
    presence.leave("ana")
    presence.arrive("ana", b"{}", 2)  # they have thought better of it
    presence.depart("ana", until=30.0)
    presence.depart("ana", until=30.0)
    assert "ana" in presence


def test_each_client_for_itself() -> None:
    """A tab that leaves takes away itself alone: not the phone that polls, nor the grace of another tab."""
    presence = Presence()
    presence.arrive("ana", b"{}", 1, "phone")
    presence.depart("ana", 30.0, "phone")  # between two polls
    presence.arrive("ana", b"{}", 1, "tab")
    presence.depart("ana", None, "tab")
    presence.leave("ana", "tab")
    assert "ana" in presence
    presence.arrive("ana", b"{}", 1, "other tab")
    presence.leave("ana", "phone")
    assert "ana" in presence
    presence.depart("ana", 10.0, "other tab")
    presence.expire(9.0)
    assert "ana" in presence
    presence.expire(10.0)
    assert len(presence) == 0


def test_there_is_an_end_to_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MEMBERS_MAX", 2)
    presence = Presence()
    presence.arrive("a", b"{}", 1)
    presence.arrive("b", b"{}", 1)
    with pytest.raises(RequestError, match="at most 2"):
        presence.arrive("c", b"{}", 1)
    presence.arrive("a", b"{}", 2)


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["arrive", "depart", "leave", "tell", "wait"]), st.sampled_from("abc"), st.sampled_from("xy")
    )
)


@given(STEPS)
def test_whoever_follows_the_changes_knows_who_is_there(steps: list[tuple[str, str, str]]) -> None:
    """A reader who adds `joined` and removes `left` has the same members as the room, after every telling."""
    presence, now = Presence(), 0.0
    known: set[str] = set()
    for step, member, by in steps:
        if step == "arrive":
            presence.arrive(member, b"{}", 1, by)
        elif step == "depart":
            presence.depart(member, now + 2, by)
        elif step == "leave":
            presence.leave(member, by)
        elif step == "wait":
            now += 1
            presence.expire(now)
        else:
            joined, left = told(presence)
            assert not set(joined) & set(left)
            assert set(left) <= known
            known = (known | set(joined)) - set(left)
            assert known == {member.member for member in presence.members()}


@given(st.lists(st.tuples(st.sampled_from(["poll", "tell"]), st.integers(0, 2), st.integers(0, 2))))
def test_polls_of_many_nodes(steps: list[tuple[str, int, int]]) -> None:
    """However what nodes tell of a client crosses: in the end it is held by one, that of its last poll."""
    nodes = [Presence(alone=False) for _ in range(3)]
    on_the_way: dict[tuple[int, int], list[tuple[str, str, int]]] = {}

    def tell(sender: int, to: int) -> None:
        told = nodes[sender].take_local().clients
        for other in {0, 1, 2} - {sender}:
            on_the_way.setdefault((sender, other), []).extend(told)
        for member, client, at in on_the_way.pop((sender, to), []):
            nodes[to].elsewhere(member, client, at)

    last = None
    for at, (step, one, other) in enumerate(steps):
        if step == "poll":
            nodes[one].arrive("ana", b"{}", at, "phone")
            nodes[one].depart("ana", at + 30, "phone")
            last = one
        else:
            tell(one, other)
    while any(node.untold for node in nodes) or any(on_the_way.values()):
        for one in range(3):
            for other in range(3):
                tell(one, other)
    assert [number for number, node in enumerate(nodes) if "ana" in node] == ([] if last is None else [last])
