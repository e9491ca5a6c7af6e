"""What is kept of signals: the newest of each, and never much."""

import msgspec

from trunkline.core.signal import KEPT_S, SIGNALS_BYTES_MAX, Newest, Signal, Signals


def signal(member: str, name: str = "typing", data: bytes = b"null") -> Signal:
    return Signal("a", name, None, member, 1, msgspec.Raw(data))


def test_the_newest_of_each() -> None:
    kept: Newest[int] = Newest()
    for n, member in enumerate(["ana", "ben", "ana", "ana"]):
        kept.put(signal(member), n)
    assert list(kept) == [1, 3]


def test_large_ones_push_out_old_ones() -> None:
    kept: Newest[int] = Newest()
    for n in range(1000):
        kept.put(signal(f"member-{n}", data=b'"%b"' % (b"x" * 4000)), n)
    assert 0 < len(kept) * 4000 <= SIGNALS_BYTES_MAX
    assert list(kept)[-1] == 999
    for _ in range(len(kept)):
        kept.drop_oldest()
    kept.put(signal("ana"), 1)
    assert list(kept) == [1]


def test_what_polls_are_told() -> None:
    signals = Signals()
    signals.put(signal("ana"), 1, now=0.0)
    signals.put(signal("ben"), 2, now=5.0)
    assert [one.member for one in signals.since(0)] == ["ana", "ben"]
    assert [one.member for one in signals.since(1)] == ["ben"]
    signals.expire(KEPT_S)
    assert [one.member for one in signals.since(0)] == ["ben"]
    signals.expire(KEPT_S + 5.0)
    assert len(signals) == 0
