"""Tunnels between two nodes whose bus loses messages."""

from __future__ import annotations

import asyncio
from typing import Any

from tests.engine.support import virtual
from tests.engine.test_cluster import Bus, Members, Wire
from trunkline.core.tunnel import PATIENCE_S
from trunkline.engine.cluster import Cluster
from trunkline.engine.tasks import Tasks
from trunkline.engine.tunnels import FULL_BYTES, TunnelEnd, Tunnels
from trunkline.testing.clock import ManualClock


class Node:
    def __init__(self, wire: Wire, name: str) -> None:
        clock: Any = LoopClock()
        self.cluster = Cluster(Bus(wire, name), Tasks(), clock, 1.0, lambda: True)
        self.cluster.share_members(Members())
        self.tunnels = Tunnels(self.cluster, clock)
        self.accepted: list[TunnelEnd] = []
        self.tunnels.serve("echo", self._accept)

    def _accept(self, end: TunnelEnd) -> None:
        self.accepted.append(end)
        end.on_message = end.send


class LoopClock(ManualClock):
    """The time of the event loop that runs, which is a virtual one."""

    def monotonic(self) -> float:
        return asyncio.get_running_loop().time()


class Seen:
    def __init__(self, end: TunnelEnd) -> None:
        self.messages: list[bytes] = []
        self.ends: list[bool] = []
        end.on_message = self.messages.append
        end.on_end = self.ends.append


@virtual
async def test_messages_go_there_and_back() -> None:
    wire = Wire()
    a, b = Node(wire, "a"), Node(wire, "b")
    end = a.tunnels.open("b", "echo")
    seen = Seen(end)
    for text in (b"one", b"two", bytes(100_000)):
        end.send(text)
    await asyncio.sleep(0.1)
    assert seen.messages == [b"one", b"two", bytes(100_000)]
    end.end()
    await asyncio.sleep(0.1)
    assert seen.ends == [True]
    assert (len(a.tunnels), len(b.tunnels)) == (0, 0)


@virtual
async def test_a_bus_that_is_cut_for_a_moment_loses_nothing() -> None:
    wire = Wire()
    a, _ = Node(wire, "a"), Node(wire, "b")
    end = a.tunnels.open("b", "echo")
    seen = Seen(end)
    wire.is_cut = True
    end.send(b"one")
    await asyncio.sleep(PATIENCE_S / 2)
    wire.is_cut = False
    end.send(b"two")
    await asyncio.sleep(1)
    assert seen.messages == [b"one", b"two"]
    assert seen.ends == []


@virtual
async def test_a_node_that_is_silent_ends_it() -> None:
    wire = Wire()
    a, b = Node(wire, "a"), Node(wire, "b")
    end = a.tunnels.open("b", "echo")
    seen = Seen(end)
    end.send(b"one")
    await asyncio.sleep(0.1)
    there = Seen(b.accepted[0])
    wire.is_cut = True
    end.send(b"two")
    b.accepted[0].send(b"three")
    await asyncio.sleep(PATIENCE_S + 1)
    assert (seen.ends, there.ends) == ([False], [False])
    assert (len(a.tunnels), len(b.tunnels)) == (0, 0)


@virtual
async def test_what_is_not_served_ends() -> None:
    wire = Wire()
    a, _ = Node(wire, "a"), Node(wire, "b")
    seen = []
    for node, service in (("b", "something else"), ("nowhere", "echo")):
        end = a.tunnels.open(node, service)
        seen.append(Seen(end))
        end.send(b"x")
    await asyncio.sleep(0.1)
    assert seen[0].ends == [False]
    await asyncio.sleep(PATIENCE_S + 1)
    assert seen[1].ends == [False]


@virtual
async def test_a_node_that_says_goodbye_ends_it_at_once() -> None:
    wire = Wire()
    a, b = Node(wire, "a"), Node(wire, "b")
    end = a.tunnels.open("b", "echo")
    seen = Seen(end)
    end.send(b"x")
    await asyncio.sleep(0.1)
    b.cluster.leave()
    await asyncio.sleep(0.1)
    assert seen.ends == [False]


@virtual
async def test_who_sends_too_much_is_told_when_there_is_room() -> None:
    wire = Wire()
    a, _ = Node(wire, "a"), Node(wire, "b")
    end = a.tunnels.open("b", "echo")
    drained = []
    end.on_drained = lambda: drained.append(end.unsent_bytes)
    end.send(bytes(FULL_BYTES))
    assert end.is_full
    await asyncio.sleep(1)
    assert not end.is_full
    assert len(drained) == 1


@virtual
async def test_closing_lets_go_of_all() -> None:
    wire = Wire()
    a, _ = Node(wire, "a"), Node(wire, "b")
    seen = Seen(a.tunnels.open("b", "echo"))
    a.tunnels.close()
    assert seen.ends == [False]
