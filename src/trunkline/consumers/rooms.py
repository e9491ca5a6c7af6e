"""The rooms of the slots that one instance of a consumer has, and whose cursors it knows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from trunkline.consumers.room import ConsumedRoom
from trunkline.core.consumer import Progress, slot_of


class ConsumedRooms:
    """Rooms by name, and by slot."""

    def __init__(self) -> None:
        self._rooms: dict[str, ConsumedRoom] = {}
        self._of_slot: dict[int, set[str]] = {}
        self._careful: set[int] = set()  # slots whose former instance has died

    def __len__(self) -> int:
        return len(self._rooms)

    def __iter__(self) -> Iterator[ConsumedRoom]:
        return iter(list(self._rooms.values()))

    @property
    def slots(self) -> set[int]:
        """The slots."""
        return set(self._of_slot)

    @property
    def lag(self) -> int:
        """How many messages are not handled yet, as far as is known."""
        return sum([room.lag for room in self._rooms.values()])

    def get(self, name: str) -> ConsumedRoom | None:
        """Return a room if it is known."""
        return self._rooms.get(name)

    def room(self, name: str) -> ConsumedRoom | None:
        """Return a room, known from now on; None if it is in a slot of another instance."""
        room = self._rooms.get(name)
        if room is None:
            slot = slot_of(name)
            names = self._of_slot.get(slot)
            if names is None:
                return None
            names.add(name)
            room = self._rooms[name] = ConsumedRoom(name, slot)
            room.is_careful = slot in self._careful
        return room

    def add_slot(self, slot: int, cursors: Mapping[str, tuple[bytes, Progress]], *, is_careful: bool) -> None:
        """Have a slot from now on.

        Args:
            is_careful: The instance that had it has died, perhaps of one of its messages.
        """
        self._of_slot[slot] = set()
        if is_careful:
            self._careful.add(slot)
        for name, (record, progress) in cursors.items():
            room = self.room(name)
            if room is not None:
                room.record, room.progress = record, progress

    def lose_slot(self, slot: int) -> list[ConsumedRoom]:
        """Have a slot no longer; return its rooms, which are lost."""
        self._careful.discard(slot)
        lost = [self._rooms.pop(name) for name in self._of_slot.pop(slot, ())]
        for room in lost:
            room.go("lost")
        return lost

    def lose_all(self) -> None:
        """Have no slot any more."""
        for slot in list(self._of_slot):
            self.lose_slot(slot)

    def forget(self, room: ConsumedRoom) -> None:
        """Forget a room that is gone."""
        if self._rooms.pop(room.name, None) is not None:
            self._of_slot.get(room.slot, set()).discard(room.name)
            room.go("lost")
