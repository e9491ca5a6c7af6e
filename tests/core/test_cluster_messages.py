"""The messages between nodes, as they are sent: those of two versions run beside each other during an update."""

import msgspec
import pytest

from trunkline.core import cluster_messages as messages
from trunkline.core.grant import Grant
from trunkline.core.read_mark import ReadMark

ENCODED = [
    (messages.Heartbeat(node="n", clock=1, number=2), ["Beat", 2, "n", 1]),
    (messages.Leaving(node="n", clock=1), ["Bye", "n", 1]),
    (
        messages.PresenceChanged(node="n", clock=1, number=2, room="r", here=[], gone=["ana"], clients=[("a", "c", 3)]),
        ["Present", 2, "r", [], ["ana"], [["a", "c", 3]], "n", 1],
    ),
    (messages.PresenceRequest(node="n", clock=1), ["Ask", "n", 1]),
    (
        messages.PresenceSnapshot(node="n", clock=1, number=2, piece=0, last=True, room="r", here=[]),
        ["All", 2, 0, True, "r", [], "n", 1],
    ),
    (messages.PollerLeft(node="n", clock=1, room="r", member="m", client="c"), ["Away", "r", "m", "c", "n", 1]),
    (
        messages.SignalSent(node="n", clock=1, room="r", name="s", user=None, member="m", client="c", json=b"1"),
        ["Signalled", "r", "s", None, "m", "c", b"1", "n", 1],
    ),
    (
        messages.ReadMarksMoved(node="n", clock=1, marks=[ReadMark("r", "m", 1, 2)]),
        ["Marked", [["r", "m", 1, 2]], "n", 1],
    ),
    (messages.StreamOpened(node="n", clock=1, user="u", client="c", at=5), ["Fence", "u", "c", 5, None, "n", 1]),
    (
        messages.Asked(node="n", clock=1, number=1, order=messages.Disconnect("u")),
        ["Asked", 1, ["Disconnect", "u"], "n", 1],
    ),
    (
        messages.Asked(node="n", clock=1, number=1, order=messages.RoomsInUse(["r"])),
        ["Asked", 1, ["InUse", ["r"]], "n", 1],
    ),
    (messages.Answered(node="n", clock=1, number=1, answer=3, grant=None), ["Answered", 1, 3, None, "n", 1]),
    (messages.AnsweredInFull(node="n", clock=1, number=1, data=b"x"), ["AnsweredInFull", 1, b"x", "n", 1]),
    (messages.Sampled(node="n", clock=1, sample=b"x"), ["Sample", b"x", "n", 1]),
    (messages.Followed(node="n", clock=1, session="s", number=2, events=b"[]"), ["Followed", "s", 2, b"[]", "n", 1]),
    (
        messages.Asked(node="n", clock=1, number=1, order=messages.ListConnections("u")),
        ["Asked", 1, ["ListConnections", "u", None, None], "n", 1],
    ),
    (
        messages.Asked(node="n", clock=1, number=1, order=messages.Follow("s", contents=True)),
        ["Asked", 1, ["Follow", "s", True], "n", 1],
    ),
]


@pytest.mark.parametrize(("message", "encoded"), ENCODED)
def test_the_wire_between_nodes(message: messages.ClusterMessage, encoded: list[object]) -> None:
    data = msgspec.msgpack.encode(message)
    assert msgspec.msgpack.decode(data) == encoded
    assert msgspec.msgpack.decode(data, type=messages.AnyMessage) == message


def test_a_grant_comes_back_as_it_was() -> None:
    asked = messages.Asked(node="n", clock=1, number=1, order=messages.Renew("s", Grant(user="ana", expires_at=1.0)))
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(asked), type=messages.AnyMessage) == asked
