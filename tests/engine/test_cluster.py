import asyncio
from collections.abc import Callable, Iterable, Iterator

import msgspec

from tests.engine.support import virtual
from trunkline.core.cluster_messages import Disconnect, PollerLeft
from trunkline.core.membership import HEARTBEAT_S, LEASE_S, PresenceChange
from trunkline.core.presence import LocalChanges, Member
from trunkline.engine.cluster import Cluster
from trunkline.engine.tasks import Tasks
from trunkline.testing.clock import ManualClock


class Wire:
    """Carries messages between buses, unless it is cut."""

    def __init__(self) -> None:
        self.buses: dict[str, Bus] = {}
        self.is_cut = False


class Bus:
    def __init__(self, wire: Wire, name: str) -> None:
        self.name = name
        self.on_message: Callable[[bytes], None] | None = None
        self._wire = wire
        wire.buses[name] = self

    def send(self, data: bytes, *, to: str | None = None, room: str | None = None) -> bool:
        for name, bus in self._wire.buses.items():
            if name != self.name and to in (None, name) and bus.on_message is not None and not self._wire.is_cut:
                asyncio.get_running_loop().call_soon(bus.on_message, data)
        return True

    def is_alive(self, name: str) -> bool:
        return False


class Members:
    """The members through one node, and what it was told of others."""

    def __init__(self) -> None:
        self.here: dict[str, list[Member]] = {}
        self.elsewhere: dict[str, set[str]] = {}

    def local(self) -> Iterator[tuple[str, list[Member]]]:
        yield from list(self.here.items())

    def local_of(self, room: str) -> list[Member]:
        return self.here.get(room, [])

    def changed_elsewhere(self, change: PresenceChange, until: float | None) -> None:
        members = self.elsewhere.setdefault(change.room, set())
        members.update(member.member for member in change.here)
        members.difference_update(change.gone)

    def client_elsewhere(self, room: str, clients: Iterable[tuple[str, str, int]]) -> None: ...


def member(name: str) -> Member:
    return Member(name, 1, msgspec.Raw(b"{}"))


def nodes(wire: Wire, *names: str) -> list[tuple[Cluster, Members]]:
    made = []
    for name in names:
        cluster, members = Cluster(Bus(wire, name), Tasks(), ManualClock(), 1.0, lambda: True), Members()
        cluster.share_members(members)
        cluster.start()
        made.append((cluster, members))
    return made


@virtual
async def test_nodes_find_each_other_and_tell_of_members() -> None:
    wire = Wire()
    (one, here), (other, there) = nodes(wire, "one", "two")
    here.here["r"] = [member(f"m{n}") for n in range(2000)]
    await asyncio.sleep(5)
    assert ("two" in one, len(other)) == (True, 1)
    assert (one.is_eldest, other.is_eldest) == (True, False)
    assert len(there.elsewhere["r"]) == 2000
    assert other.incomplete_nodes == []
    one.send_presence("r", LocalChanges([member("new")], ["m0"], []))
    await asyncio.sleep(0.1)
    assert "new" in there.elsewhere["r"]
    assert "m0" not in there.elsewhere["r"]


@virtual
async def test_what_was_lost_is_asked_for() -> None:
    wire = Wire()
    (one, here), (_, there) = nodes(wire, "one", "two")
    await asyncio.sleep(5)
    wire.is_cut = True
    here.here["r"] = [member("ana")]
    one.send_presence("r", LocalChanges([member("ana")], [], []))
    await asyncio.sleep(HEARTBEAT_S)
    assert "r" not in there.elsewhere
    wire.is_cut = False
    await asyncio.sleep(5)
    assert there.elsewhere["r"] == {"ana"}


@virtual
async def test_a_silent_node_is_gone_with_its_members() -> None:
    wire = Wire()
    (_, here), (other, there) = nodes(wire, "one", "two")
    here.here["r"] = [member("ana")]
    await asyncio.sleep(5)
    wire.is_cut = True
    await asyncio.sleep(LEASE_S + 2)
    assert "one" not in other
    assert there.elsewhere["r"] == set()


@virtual
async def test_requests_are_answered_or_the_node_is_missing() -> None:
    wire = Wire()
    (one, _), (other, _), (third, _) = nodes(wire, "one", "two", "zzz")

    async def disconnect(asked: Disconnect) -> int:
        return len(asked.user)

    other.on_request(Disconnect, disconnect)
    third.on_request(Disconnect, disconnect)
    await asyncio.sleep(3)
    assert await one.ask(Disconnect("ana")) == ([3, 3], [])
    assert await one.ask(Disconnect("ana"), "two") == ([3], [])
    wire.buses["zzz"].on_message = None
    assert await one.ask(Disconnect("ana")) == ([3], ["zzz"])


@virtual
async def test_a_handler_that_fails_and_nonsense_end_nothing() -> None:
    wire = Wire()
    (one, _), (other, _) = nodes(wire, "one", "two")
    left: list[str] = []

    def fail(message: PollerLeft) -> None:
        left.append(message.member)
        raise ValueError("a bug")

    other.on_message(PollerLeft, fail)
    for _ in range(2):
        one.send(PollerLeft, room="r", member="ana", client="c")
    for nonsense in (b"", b"x", b"\xff" * 1000):
        wire.buses["one"].send(nonsense)
    await asyncio.sleep(5)
    assert left == ["ana", "ana"]
    assert "one" in other
