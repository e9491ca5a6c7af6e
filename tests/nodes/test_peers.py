"""What one node knows of the others, whatever is lost between them."""

from hypothesis import given, settings
from hypothesis import strategies as st

from trunkline.core.peers import ASK_AGAIN_S, LEASE_S, All, Beat, Change, Peers, Present, Told


def member(name: str) -> Told:
    return Told(name, 1, b"{}")


def apply(known: dict[str, set[str]], changes: list[Change]) -> None:
    for change in changes:
        members = known.setdefault(change.room, set())
        members |= {one.member for one in change.here}
        members -= set(change.gone)


class Teller:
    """The other node, told in small pieces."""

    def __init__(self) -> None:
        self.number = 0
        self.here: dict[str, set[str]] = {"a": set(), "b": set()}

    def change(self, room: str, name: str, came: bool) -> Present:
        self.number += 1
        (self.here[room].add if came else self.here[room].discard)(name)
        here, gone = ([member(name)], []) if came else ([], [name])
        return Present(node="n", clock=0, number=self.number, room=room, here=here, gone=gone, clients=[])

    def beat(self) -> Beat:
        return Beat(node="n", clock=0, number=self.number)

    def piece(self, n: int) -> All:
        """A piece of the answer, as new as this moment."""
        rooms = list(self.here)
        last = n == len(rooms)
        here = [] if last else [member(name) for name in sorted(self.here[rooms[n]])]
        room = "" if last else rooms[n]
        return All(node="n", clock=0, number=self.number, piece=n, last=last, room=room, here=here)


EVENTS = st.lists(
    st.tuples(st.sampled_from(["change", "piece", "beat"]), st.sampled_from("ab"), st.sampled_from("xyz"), st.booleans()
              , st.sampled_from([True, True, True, False])),
    max_size=60,
)  # fmt: skip


@given(EVENTS)
@settings(max_examples=500, deadline=None)
def test_whatever_is_lost_is_asked_for(events: list[tuple[str, str, str, bool, bool]]) -> None:
    """Changes, heartbeats and pieces of an answer, any of them lost: once all is calm, everybody is known."""
    peers, teller, known = Peers(), Teller(), {}
    peers.heard("n", 0.0)
    next_piece, now = None, 0.0

    def hear(word: Present | Beat | All) -> None:
        if isinstance(word, Present):
            change = peers.present(word)
            apply(known, [change] if change else [])
        elif isinstance(word, Beat):
            peers.beat(word)
        else:
            apply(known, peers.all(word, now))

    for kind, room, name, came, arrives in events:
        now += 0.5
        if next_piece is None and peers.wanted(now):
            next_piece = 0
        if kind == "change":
            word = teller.change(room, name, came)
        elif kind == "piece" and next_piece is not None:
            word = teller.piece(next_piece)
            next_piece = None if word.last else next_piece + 1
        else:
            word = teller.beat()
        if arrives:
            hear(word)
    hear(teller.beat())
    for _ in range(3):
        now += ASK_AGAIN_S
        if peers.wanted(now):
            for n in range(3):
                hear(teller.piece(n))
        hear(teller.beat())
    assert peers.unknown == []
    assert {room: members for room, members in known.items() if members} == {
        room: members for room, members in teller.here.items() if members
    }


def test_a_node_that_is_silent_is_gone() -> None:
    peers, teller = Peers(), Teller()
    peers.heard("n", 0.0)
    peers.present(teller.change("a", "x", True))
    assert peers.late(LEASE_S - 0.1) == []
    peers.heard("n", 3.0)
    assert peers.late(LEASE_S) == []
    assert peers.late(LEASE_S + 3) == ["n"]
    assert peers.gone("n") == [Change("n", "a", [], ["x"])]
    assert peers.gone("n") == []
    assert len(peers) == 0
