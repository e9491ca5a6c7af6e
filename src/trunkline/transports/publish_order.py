"""The order of one connection's messages behind one that was refused for now: it is stored first, if it comes again."""

from __future__ import annotations

from trunkline.errors import StoreUnavailable

FIRST_S = 5.0  # how long messages that were published later wait for one that was refused


class PublishOrder:
    """The messages that were refused for now, at most one a room.

    Args:
        rooms_max: In how many rooms the order is kept.
    """

    def __init__(self, rooms_max: int) -> None:
        self._rooms_max = rooms_max
        self._first: dict[str, tuple[str, float]] = {}  # by room: the id, and until when others wait for it

    def refused(self, room: str, message_id: str, now: float) -> None:
        """Let other messages of a room wait for this one, unless another one is first already."""
        if len(self._first) < self._rooms_max:
            self._first.setdefault(room, (message_id, now + FIRST_S))

    def check(self, room: str, message_id: str | None, now: float) -> None:
        """Let a message be published now.

        Raises:
            StoreUnavailable: Another one comes before it.
        """
        if message_id is None or room not in self._first:
            return
        first, until = self._first[room]
        if message_id != first and now < until:
            raise StoreUnavailable(f"{first} was not stored and comes before it: publish that first")
        del self._first[room]
