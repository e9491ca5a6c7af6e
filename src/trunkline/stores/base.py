"""The port that every store fills.

The smallest store that can work keeps a dict of lists: see `memory.py`. What any store promises:

- `append` assigns offsets 1, 2, 3 … per room without holes, in the order of the drafts. When it returns, the
  messages are as durable as the store ever makes them. What has no receipt is not acknowledged, and may be stored.
- A draft whose (room, sender, id) is retained already is not stored again; its receipt is the first one's.
- `read` sees at least everything whose append has returned.
- An epoch changes only when the log was lost, or its end may have been: then the lineage says from where it goes on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, Protocol

from trunkline.core.mark import Mark
from trunkline.core.message import Draft, Message, Receipt
from trunkline.core.position import Lineage, Position
from trunkline.errors import StoreUnavailable


class Head(NamedTuple):
    """Where a room stands.

    Attributes:
        first: The earliest retained offset; head + 1 if nothing is retained.
        head: The newest offset; 0 if there never was a message.
        lineage: Former epochs that this one goes on from.
    """

    epoch: str
    first: int
    head: int
    lineage: Lineage = ()


class Page(NamedTuple):
    """Consecutive messages, and the epoch and the earliest offset of the room when they were read."""

    epoch: str
    first: int
    messages: list[Message]


Moved = Callable[[Mapping[str, int] | None], None]


class Deaf(StoreUnavailable):
    """The log may well be there, but this process does not hear of it."""


class Bus(Protocol):
    """How the processes of one log talk to each other beside it. Nothing here is sure to arrive, but what arrives from
    one process is in the order in which it was sent."""

    name: str
    """Ours, and nobody else's ever."""

    said: Callable[[bytes], None] | None
    """Set before `start`. Called on the event loop with what others have said, and perhaps with our own words."""

    def say(self, data: bytes, *, to: str | None = None, room: str | None = None) -> bool:
        """Tell all others; or the one with this name; or (at least) those that follow the room.

        Returns:
            False if it was seen at once that not everybody could be told.
        """


class Store(Protocol):
    """Where logs live. Every method may raise StoreUnavailable; whoever calls may then try again."""

    shared: bool
    """Whether other processes use the same log, too. Then `moved` is called when they append."""

    bus: Bus | None
    """How to talk to them; None if there are none."""

    moved: Moved | None
    """Set before `start`. Called on the event loop with rooms to which other processes have appended, and their heads;
    with None if it could be any. It is a hint: it may come late, twice, or (rarely) not at all. Only rooms that are
    followed need to be named."""

    @property
    def location(self) -> str:
        """For people: where the data is."""

    async def start(self) -> None:
        """Open; called once, on the event loop that all other calls come from.

        Raises:
            ConfigError: The store cannot be used as it is, and trying again does not help.
        """

    async def close(self) -> None:
        """Finish what runs, then let go. Idempotent."""

    async def follow(self, room: str) -> None:
        """From when this returns until `unfollow`, `moved` is called for this room, too."""

    def unfollow(self, room: str) -> None:
        """It need not be called for this room any more. Harmless if it was not followed."""

    async def certain(self) -> bool:
        """Whether `moved` was called for everything that others have appended until this was asked.

        Raises:
            Deaf: The log answers, and does not wake us.
            StoreUnavailable: The log does not answer.
        """

    async def append(self, drafts: Sequence[Draft]) -> list[Receipt | StoreUnavailable]:
        """Store them; for each, in their order, its receipt, or why there is none. What is of one room stays together.

        Raises:
            StoreUnavailable: There are no receipts at all.
        """

    async def read(self, room: str, after: int, messages_max: int, bytes_max: int) -> Page:
        """The messages after offset *after*, at least one if there is any, as many as fit both bounds."""

    async def head(self, room: str) -> Head:
        """Where the room stands; a room that nobody has published to stands at 0, and is not created by asking."""

    async def heads(self, rooms: Sequence[str]) -> dict[str, Position]:
        """The newest positions of these rooms; those that nobody has published to may be left out."""

    async def mark(self, marks: Sequence[Mark]) -> None:
        """Move read cursors forward, all or none; one that would go back stays where it is."""

    async def marks(self, room: str, marks_max: int) -> list[Mark]:
        """The read cursors of a room, those that moved last first."""

    async def marks_of(self, member: str, rooms: Sequence[str]) -> dict[str, int]:
        """The offset up to which a member has seen each of these rooms; those without a mark are left out."""

    async def trim(self, now_ms: int) -> dict[str, int]:
        """Apply retention by age; the rooms that were trimmed, with their new first offset.

        Marks go too: what they cover was older than they are, so nothing is unread that was not before.
        """
