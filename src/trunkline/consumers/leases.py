"""The slots that one instance of a consumer has, by leases.

Each instance lets a number in its record of membership beat. Who sees the same number for LEASE_S, by its own clock,
takes the other one for dead, and its slots; so no two clocks are compared. Slots are shared out evenly among those who
live: who has too many gives some back, when their messages are handled. Those that were begun with other patterns than
the newest one get none: they would leave rooms out that it is to have.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Literal

from trunkline.core.consumer import (
    LEASE,
    MEMBER,
    Lease,
    Member,
    decode_lease,
    decode_member,
    encoded,
    free_slots,
    in_charge,
    next_fence,
    share,
    space_of,
)
from trunkline.engine.clock import Clock
from trunkline.engine.records import Records
from trunkline.errors import StoreUnavailable, explain
from trunkline.stores.base import Guard, Swap

log = logging.getLogger("trunkline")

BEAT_S = 1.0
LEASE_S = 5.0
SURE_S = 3.5  # after so long without a beat that the store has taken, others may soon take over

Left = Literal["released", "died"]
"""How the tenure before ended."""


class Leases:
    """The leases of one instance.

    Args:
        me: Its name, which no other one ever has.
        rooms: The patterns of its rooms.
        alone: No other process uses the log: who is of another one has ended with it, and who is of this one lives, so
            there is no beat.
        is_busy: Returns whether a slot has messages that are being handled.
        taken: Called with a slot that is this instance's now, and how the tenure before ended.
        lost: Called with a slot that is not this instance's any more.
    """

    def __init__(
        self,
        consumer: str,
        me: str,
        rooms: tuple[str, ...],
        records: Records,
        clock: Clock,
        *,
        alone: bool,
        is_busy: Callable[[int], bool],
        taken: Callable[[int, Left], None],
        lost: Callable[[int], None],
    ) -> None:
        self._name = consumer
        self._space = space_of(consumer)
        self._me = me
        self._member = Member(0, clock.wall_ms(), rooms)
        self._is_in_charge = True
        self._records = records
        self._clock = clock
        self._alone = alone
        self._is_busy = is_busy
        self._taken = taken
        self._lost = lost
        self._beat_record: bytes | None = None
        self._beat_at = float("-inf")
        self._seen: dict[str, tuple[bytes, float]] = {}  # the others: their last beat, and since when it is known
        self._mine: dict[int, Lease] = {}
        self._leaving: set[int] = set()

    def __contains__(self, slot: int) -> bool:
        return slot in self._mine

    def __len__(self) -> int:
        return len(self._mine)

    @property
    def is_sure(self) -> bool:
        """Whether no other instance can have taken this one for dead."""
        return self._clock.monotonic() - self._beat_at < SURE_S

    def is_leaving(self, slot: int) -> bool:
        """Return whether a slot is to be given back: nothing of it is to be begun any more."""
        return slot in self._leaving

    def get(self, slot: int) -> Lease | None:
        """Return the lease of a slot, if it is this instance's."""
        return self._mine.get(slot)

    def guard(self, slot: int) -> Guard | None:
        """Return what must be so for this instance to move the cursors of a slot; None if it is not its slot."""
        lease = self._mine.get(slot)
        return None if lease is None else Guard(LEASE, str(slot), encoded(lease))

    def drop(self, slot: int) -> None:
        """Note that a slot is another instance's."""
        if self._mine.pop(slot, None) is not None:
            self._leaving.discard(slot)
            self._lost(slot)

    async def tick(self) -> None:
        """Show that this instance lives, and take or give back slots. To be called every BEAT_S.

        Raises:
            StoreUnavailable: The log did not answer.
        """
        began = self._clock.monotonic()
        await self._show()
        members = await self._records.all(self._space, MEMBER)
        alive = await self._alive(members)
        leases = {
            int(slot): decode_lease(value) for slot, value in (await self._records.all(self._space, LEASE)).items()
        }
        for slot in [slot for slot, lease in self._mine.items() if leases.get(slot) != lease]:
            self.drop(slot)
        self._beat_at = began
        wanted = self._wanted({name: decode_member(members[name]) for name in alive if name in members})
        await self._give_back(len(self._mine) - wanted)
        await self._take(free_slots(leases, alive), wanted - len(self._mine), leases)

    def _wanted(self, alive: dict[str, Member]) -> int:
        """Return how many slots this instance is to have."""
        charged = in_charge(alive | {self._me: self._member})
        if (self._me in charged) != self._is_in_charge:
            self._is_in_charge = self._me in charged
            if not self._is_in_charge:
                why = "an instance was begun later with other rooms; this one waits until that has ended"
                log.warning("consumer %s: %s", self._name, why)
        return share(self._me, charged) if self._is_in_charge else 0

    async def _show(self) -> None:
        """Let this instance's number beat; if its record is not as it left it, it was taken for dead."""
        if self._alone and self._beat_record is not None:
            return
        self._member = Member(self._member.beat + 1, self._member.began_at, self._member.rooms)
        record = encoded(self._member)
        swap = Swap(self._space, MEMBER, self._me, self._beat_record, record)
        try:
            shown = await self._records.swap(swap)
        except StoreUnavailable:
            self._beat_record = await self._records.get(self._space, MEMBER, self._me)
            raise
        if shown:
            self._beat_record = record
            return
        self._beat_record = await self._records.get(self._space, MEMBER, self._me)
        if await self._records.swap(Swap(self._space, MEMBER, self._me, self._beat_record, record)):
            self._beat_record = record

    async def _alive(self, members: dict[str, bytes]) -> set[str]:
        """Return the instances that live, and forget those that do not."""
        now, alive = self._clock.monotonic(), {self._me}
        for name, beat in members.items():
            if name == self._me:
                continue
            seen = self._seen.get(name)
            if seen is None or seen[0] != beat:
                self._seen[name] = seen = (beat, now)
            is_ended = self._alone and name.partition(".")[0] != self._me.partition(".")[0]
            if not is_ended and (self._alone or now - seen[1] < LEASE_S):
                alive.add(name)
            elif await self._records.swap(Swap(self._space, MEMBER, name, beat, None)):
                log.warning("consumer %s: instance %s is silent and counts as dead", self._name, name)
                self._seen.pop(name, None)
        self._seen = {name: seen for name, seen in self._seen.items() if name in members}
        return alive

    async def _take(self, free: list[int], count: int, leases: dict[int, Lease]) -> None:
        for slot in free:
            if count <= 0:
                return
            before = leases.get(slot)
            lease = Lease(self._me, next_fence(before, self._clock.wall_ms()))
            record = None if before is None else encoded(before)
            if slot not in self._mine and await self._records.swap(
                Swap(self._space, LEASE, str(slot), record, encoded(lease))
            ):
                self._mine[slot] = lease
                count -= 1
                self._taken(slot, "died" if before is not None and before.owner else "released")

    async def _give_back(self, count: int) -> None:
        if count <= 0:
            self._leaving.clear()
            return
        # Those that have nothing to do first; the others are given back when they have.
        for slot in sorted(self._mine, key=lambda slot: (self._is_busy(slot), -slot))[:count]:
            self._leaving.add(slot)
            if not self._is_busy(slot):
                await self.release(slot)

    async def release(self, slot: int) -> None:
        """Give a slot back.

        Raises:
            StoreUnavailable: The log did not answer; the slot is taken by others when this instance is silent.
        """
        lease = self._mine.get(slot)
        if lease is not None:
            self.drop(slot)
            free = Lease("", lease.fence)
            await self._records.swap(Swap(self._space, LEASE, str(slot), encoded(lease), encoded(free)))

    async def close(self) -> None:
        """Give everything back, and be no member any more."""
        try:
            for slot in list(self._mine):
                await self.release(slot)
            # Not as it was left, since a beat may have been on its way.
            record = await self._records.get(self._space, MEMBER, self._me)
            if record is not None:
                await self._records.swap(Swap(self._space, MEMBER, self._me, record, None))
            self._beat_record = None
        except StoreUnavailable as error:
            log.warning("consumer %s: its slots are free in %g s: %s", self._name, LEASE_S, explain(error))
