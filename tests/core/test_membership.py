"""What one node knows of the others, whatever is lost between them."""

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from trunkline.core.cluster_messages import Heartbeat, PresenceChanged, PresenceEntry, PresenceSnapshot
from trunkline.core.membership import ASK_AGAIN_S, LEASE_S, Membership, PresenceChange


def member(name: str) -> PresenceEntry:
    return PresenceEntry(name, 1, b"{}")


def apply(known: dict[str, set[str]], changes: list[PresenceChange]) -> None:
    for change in changes:
        members = known.setdefault(change.room, set())
        members |= {one.member for one in change.here}
        members -= set(change.gone)


class Teller:
    """The other node, told in small pieces."""

    def __init__(self) -> None:
        self.number = 0
        self.here: dict[str, set[str]] = {"a": set(), "b": set()}

    def change(self, room: str, name: str, came: bool) -> PresenceChanged:
        self.number += 1
        (self.here[room].add if came else self.here[room].discard)(name)
        here, gone = ([member(name)], []) if came else ([], [name])
        return PresenceChanged(node="n", clock=0, number=self.number, room=room, here=here, gone=gone, clients=[])

    def beat(self) -> Heartbeat:
        return Heartbeat(node="n", clock=0, number=self.number)

    def piece(self, n: int) -> PresenceSnapshot:
        """A piece of the answer, as new as this moment."""
        rooms = list(self.here)
        last = n == len(rooms)
        here = [] if last else [member(name) for name in sorted(self.here[rooms[n]])]
        room = "" if last else rooms[n]
        return PresenceSnapshot(node="n", clock=0, number=self.number, piece=n, last=last, room=room, here=here)


EVENTS = st.lists(
    st.tuples(st.sampled_from(["change", "piece", "beat"]), st.sampled_from("ab"), st.sampled_from("xyz"), st.booleans()
              , st.sampled_from([True, True, True, False])),
    max_size=60,
)  # fmt: skip


@given(EVENTS)
@settings(max_examples=500, deadline=None)
def test_whatever_is_lost_is_asked_for(events: list[tuple[str, str, str, bool, bool]]) -> None:
    """Changes, heartbeats and pieces of an answer, any of them lost: once all is calm, everybody is known."""
    nodes, teller = Membership(), Teller()
    known: dict[Any, Any] = {}
    nodes.heard("n", 0.0)
    next_piece, now = None, 0.0

    def hear(word: PresenceChanged | Heartbeat | PresenceSnapshot) -> None:
        if isinstance(word, PresenceChanged):
            change = nodes.presence_changed(word)
            apply(known, [change] if change else [])
        elif isinstance(word, Heartbeat):
            nodes.heartbeat(word)
        else:
            apply(known, nodes.presence_snapshot(word, now))

    for kind, room, name, came, arrives in events:
        now += 0.5
        if next_piece is None and nodes.to_ask(now):
            next_piece = 0
        word: PresenceChanged | Heartbeat | PresenceSnapshot
        if kind == "change":
            word = teller.change(room, name, came)
        elif kind == "piece" and next_piece is not None:
            word = piece = teller.piece(next_piece)
            next_piece = None if piece.last else next_piece + 1
        else:
            word = teller.beat()
        if arrives:
            hear(word)
    hear(teller.beat())
    for _ in range(3):
        now += ASK_AGAIN_S
        if nodes.to_ask(now):
            for n in range(3):
                hear(teller.piece(n))
        hear(teller.beat())
    assert nodes.incomplete == []
    assert {room: members for room, members in known.items() if members} == {
        room: members for room, members in teller.here.items() if members
    }


def test_a_node_that_is_silent_is_gone() -> None:
    nodes, teller = Membership(), Teller()
    nodes.heard("n", 0.0)
    nodes.presence_changed(teller.change("a", "x", True))
    assert nodes.late(LEASE_S - 0.1) == []
    nodes.heard("n", 3.0)
    assert nodes.late(LEASE_S) == []
    assert nodes.late(LEASE_S + 3) == ["n"]
    assert nodes.ended("n") == [PresenceChange("n", "a", [], ["x"])]
    assert nodes.ended("n") == []
    assert len(nodes) == 0
