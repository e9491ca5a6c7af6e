"""Pings in buckets (R17, R19)."""

import pytest

from trunkline.core.heartbeat import TICKS, Heartbeat


class Peer:
    heard = False


def test_each_is_pinged_once_an_interval() -> None:
    heartbeat: Heartbeat[Peer] = Heartbeat(30.0, 10.0)
    peers = [Peer() for _ in range(100)]
    for peer in peers:
        heartbeat.add(peer)
    assert heartbeat.tick_s == 1.0
    pings = [heartbeat.tick()[0] for _ in range(TICKS)]
    assert sorted(id(peer) for pinged in pings for peer in pinged) == sorted(map(id, peers))
    assert max(map(len, pings)) == 4, "spread over the interval"


def test_who_is_silent_is_late_after_the_timeout() -> None:
    """Any byte after the ping counts; without one, the peer is late exactly `timeout` after it."""
    heartbeat: Heartbeat[Peer] = Heartbeat(30.0, 10.0)
    dead, alive = Peer(), Peer()
    heartbeat.add(dead)
    heartbeat.add(alive)
    pinged: dict[int, int] = {}
    late: dict[int, int] = {}
    for tick in range(45):
        due, expired = heartbeat.tick()
        for peer in due:
            pinged.setdefault(id(peer), tick)
            alive.heard = True
        for peer in expired:
            late.setdefault(id(peer), tick)
        if tick % 5 == 4:
            alive.heard = True
    assert late == {id(dead): pinged[id(dead)] + 10}


def test_who_leaves_is_forgotten() -> None:
    heartbeat: Heartbeat[Peer] = Heartbeat(30.0, 10.0)
    peer = Peer()
    bucket = heartbeat.add(peer)
    assert (len(heartbeat), list(heartbeat)) == (1, [peer])
    heartbeat.remove(peer, bucket)
    assert len(heartbeat) == 0
    assert all(heartbeat.tick() == ([], []) for _ in range(60))


@pytest.mark.parametrize(("interval", "timeout"), [(10.0, 10.0), (10.0, 0.0), (1.0, 2.0)])
def test_the_timeout_is_the_shorter_one(interval: float, timeout: float) -> None:
    with pytest.raises(ValueError, match="shorter"):
        Heartbeat(interval, timeout)
