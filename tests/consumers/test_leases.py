"""Leases: shared out evenly, taken over from the dead, and never two owners whose acknowledgements count."""

from __future__ import annotations

import random

import pytest

from trunkline.consumers.leases import LEASE_S, Leases, Left
from trunkline.core.consumer import LEASE, MEMBER, SLOTS, decode_lease, space_of
from trunkline.core.retention import Retention
from trunkline.engine.records import Records
from trunkline.engine.tasks import Tasks
from trunkline.errors import StoreUnavailable
from trunkline.stores.base import Store, Swap
from trunkline.testing.store import VirtualStore
from trunkline.testing.virtual_clock import VirtualClock


class Clock(VirtualClock):
    """A clock that only a test moves."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now

    def wall_ms(self) -> int:
        return round(self.now * 1000)


class Instance:
    def __init__(
        self, store: Store, name: str, clock: Clock, *, alone: bool = False, rooms: tuple[str, ...] = ("*",)
    ) -> None:
        self.busy: set[int] = set()
        self.taken: dict[int, Left] = {}
        self.lost: list[int] = []
        self.leases = Leases(
            "c",
            name,
            rooms,
            Records(store, Tasks()),
            clock,
            alone=alone,
            is_busy=self.busy.__contains__,
            taken=self.taken.__setitem__,
            lost=self.lost.append,
        )

    @property
    def mine(self) -> set[int]:
        return {slot for slot in range(SLOTS) if slot in self.leases}


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store() -> VirtualStore:
    return VirtualStore(Retention())


async def settle(*instances: Instance) -> None:
    for _ in range(3):
        for instance in instances:
            await instance.leases.tick()


async def test_one_takes_all_and_shares_with_who_comes(store: VirtualStore, clock: Clock) -> None:
    one, two, three = (Instance(store, f"{n}.1", clock) for n in "abc")
    await settle(one)
    assert one.mine == set(range(SLOTS))
    await settle(one, two)
    assert (len(one.mine), len(two.mine), one.mine & two.mine) == (32, 32, set())
    assert set(two.taken.values()) == {"released"}
    await settle(one, two, three)
    assert sorted([len(one.mine), len(two.mine), len(three.mine)]) == [21, 21, 22]
    await two.leases.close()
    await settle(one, three)
    assert one.mine | three.mine == set(range(SLOTS))


async def test_a_slot_is_given_back_when_its_messages_are_handled(store: VirtualStore, clock: Clock) -> None:
    """Those that have nothing to do go first."""
    one, two = Instance(store, "a.1", clock), Instance(store, "b.1", clock)
    await settle(one)
    one.busy.update(range(40))
    await settle(one, two)
    assert len(two.mine) == 24
    assert sum(one.leases.is_leaving(slot) for slot in one.mine) == 8
    one.busy.clear()
    await settle(one, two)
    assert len(one.mine) == len(two.mine) == 32


async def test_who_is_silent_is_taken_for_dead_and_counts_no_more(store: VirtualStore, clock: Clock) -> None:
    """By the time of who looks; the fencing numbers rise; and the dead one, if it was only slow, notices."""
    one, two = Instance(store, "a.1", clock), Instance(store, "b.1", clock)
    await settle(one)
    fences = {slot: lease.fence for slot in one.mine if (lease := one.leases.get(slot))}
    await two.leases.tick()
    clock.now += LEASE_S - 0.1
    await two.leases.tick()
    assert two.mine == set()
    assert not one.leases.is_sure
    clock.now += 0.2
    await two.leases.tick()
    assert two.mine == set(range(SLOTS))
    assert set(two.taken.values()) == {"died"}
    for slot in two.mine:
        lease = two.leases.get(slot)
        assert lease is not None
        assert lease.fence > fences[slot]
    guard = one.leases.guard(3)
    assert guard is not None
    assert await store.swap([Swap(space_of("c"), "cursor:3", "r", None, b"x", guard)]) == [False]
    await one.leases.tick()
    assert one.mine == set()
    assert sorted(one.lost) == list(range(SLOTS))
    await settle(one, two)
    assert len(one.mine) == len(two.mine) == 32


async def test_who_is_alone_takes_what_a_former_process_has_left(store: VirtualStore, clock: Clock) -> None:
    """At once: nobody else can use the log."""
    await settle(Instance(store, "before.1", clock, alone=True))
    one, two = Instance(store, "now.1", clock, alone=True), Instance(store, "now.2", clock, alone=True)
    await one.leases.tick()
    assert one.mine == set(range(SLOTS))
    await settle(one, two)
    assert len(two.mine) == 32
    before = await store.records(space_of("c"), MEMBER)
    clock.now += 100
    await settle(one, two)
    assert await store.records(space_of("c"), MEMBER) == before  # nobody needs a beat
    assert len(one.mine) == len(two.mine) == 32


async def test_those_with_other_rooms_than_the_newest_wait_for_its_end(
    store: VirtualStore, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """Else the rooms that only the newest is to have would have nobody in the slots of the others."""
    old = Instance(store, "z", clock, rooms=("a:*",))
    await settle(old)
    assert len(old.mine) == SLOTS
    clock.now += 1
    new = Instance(store, "a", clock, rooms=("a:*", "b:*"))
    await settle(old, new)
    assert (len(old.mine), len(new.mine)) == (0, SLOTS)
    assert "an instance was begun later with other rooms" in caplog.text
    await new.leases.close()
    await settle(old)
    assert len(old.mine) == SLOTS


async def test_a_log_that_is_away_changes_nothing(store: VirtualStore, clock: Clock) -> None:
    one = Instance(store, "a.1", clock)
    await settle(one)
    assert one.leases.is_sure
    with store.away():
        with pytest.raises(StoreUnavailable):
            await one.leases.tick()
        assert one.mine == set(range(SLOTS))
        clock.now += 4
        assert not one.leases.is_sure
    await one.leases.tick()
    assert one.leases.is_sure
    with store.away():
        await one.leases.close()  # which others see when it is silent


@pytest.mark.parametrize("seed", range(20))
async def test_whatever_happens_no_fence_is_given_twice(seed: int, clock: Clock) -> None:
    """Instances come, are killed, sleep and wake: of those that believe to have a slot, one counts."""
    choose, store = random.Random(seed), VirtualStore(Retention())
    instances: list[Instance] = []
    given: dict[tuple[int, int], str] = {}
    for step in range(120):
        what = choose.random()
        if what < 0.08 and len(instances) < 6:
            instances.append(Instance(store, f"{step}.1", clock))
        elif what < 0.12 and instances:
            instances.remove(choose.choice(instances))  # kill -9
        elif what < 0.16 and instances:
            leaving = instances.pop(choose.randrange(len(instances)))
            await leaving.leases.close()
        clock.now += choose.choice((0.1, 1.0, 1.0, 3.0))
        for instance in choose.sample(instances, choose.randint(0, len(instances))):
            await instance.leases.tick()
            for slot in instance.mine:
                lease = instance.leases.get(slot)
                assert lease is not None
                assert given.setdefault((slot, lease.fence), lease.owner) == lease.owner
        records = await store.records(space_of("c"), LEASE)
        for slot in range(SLOTS):
            guards = [guard for one in instances if (guard := one.leases.guard(slot)) is not None]
            assert sum(records.get(guard.key) == guard.value for guard in guards) <= 1
    for _ in range(12):
        clock.now += 1.0
        for instance in instances:
            await instance.leases.tick()
    if instances:
        assert sorted(slot for one in instances for slot in one.mine) == list(range(SLOTS))
        members = await store.records(space_of("c"), MEMBER)
        assert len(members) == len(instances)
        owners = {decode_lease(record).owner for record in (await store.records(space_of("c"), LEASE)).values()}
        assert owners == set(members)
