"""The cursors of one instance of a consumer: they move only as long as the instance has their slot."""

from __future__ import annotations

from trunkline.consumers.leases import Leases
from trunkline.consumers.room import ConsumedRoom
from trunkline.core.consumer import LEASE, Progress, cursor_kind, decode_progress, encoded, space_of
from trunkline.engine.records import Records
from trunkline.errors import Fenced, StoreUnavailable
from trunkline.stores.base import Swap


class Cursors:
    """Where an instance is in its rooms, as the log has it."""

    def __init__(self, consumer: str, records: Records, leases: Leases) -> None:
        self._space = space_of(consumer)
        self._records = records
        self._leases = leases

    async def load(self, slot: int) -> dict[str, tuple[bytes, Progress]]:
        """Return the cursors of a slot's rooms, by their names, as records and as what they say.

        Raises:
            StoreUnavailable: The log did not answer.
        """
        found = await self._records.all(self._space, cursor_kind(slot))
        return {name: (record, decode_progress(record)) for name, record in found.items()}

    async def move(self, room: ConsumedRoom, progress: Progress, *, back: bool = False) -> None:
        """Move the cursor of a room. Harmless if it is behind that position of the same log already.

        Args:
            back: Move it in that case, too: the log ends before it.

        Raises:
            Fenced: The room is another instance's by now.
            StoreUnavailable: It is not known whether it was moved.
        """
        async with room.turn:
            guard = self._leases.guard(room.slot)
            if guard is None or room.state == "lost":
                raise fenced(room.name)
            at = room.progress
            if not back and at is not None and at.epoch == progress.epoch and at.offset > progress.offset:
                return  # what was handled meanwhile stays so
            kind, after = cursor_kind(room.slot), encoded(progress)
            while not await self._records.swap(Swap(self._space, kind, room.name, room.record, after, guard)):
                if await self._records.get(self._space, LEASE, guard.key) != guard.value:
                    self._leases.drop(room.slot)
                    raise fenced(room.name)
                known = await self._records.get(self._space, kind, room.name)
                if known == room.record:
                    raise StoreUnavailable("the log does not say why a cursor was not moved")
                room.record = known  # an earlier swap was made, although its answer was lost
            room.record, room.progress = after, progress

    async def forget(self, room: ConsumedRoom) -> bool:
        """Forget the cursor of a room that is gone; return whether there is none any more.

        Raises:
            StoreUnavailable: It is not known whether it is forgotten.
        """
        async with room.turn:
            guard = self._leases.guard(room.slot)
            if guard is None:
                return False
            if room.record is None:
                return True
            swap = Swap(self._space, cursor_kind(room.slot), room.name, room.record, None, guard)
            return await self._records.swap(swap)


def fenced(room: str) -> Fenced:
    """Return the error of what an instance does with a room that it has lost."""
    return Fenced(f"another instance of the consumer has {room} by now: this does not count")
