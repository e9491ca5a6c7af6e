"""The port that every store fills.

The smallest store that can work keeps a dict of lists: see `memory.py`. What any store promises:

- `append` assigns offsets 1, 2, 3 … per room without holes, in the order of the drafts. When it returns, the
  messages are as durable as the store ever makes them. If it raises, none of them was stored.
- A draft whose (room, sender, id) is retained already is not stored again; its receipt is the first one's.
- `read` sees at least everything whose append has returned.
- An epoch changes only when the log was lost.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, Protocol

from trunkline.core.mark import Mark
from trunkline.core.message import Draft, Message, Receipt


class Head(NamedTuple):
    """Where a room stands.

    Attributes:
        first: The earliest retained offset; head + 1 if nothing is retained.
        head: The newest offset; 0 if there never was a message.
    """

    epoch: str
    first: int
    head: int


class Page(NamedTuple):
    """Consecutive messages, and the earliest offset that was retained when they were read."""

    first: int
    messages: list[Message]


Moved = Callable[[Mapping[str, int] | None], None]


class Store(Protocol):
    """Where logs live. Every method may raise StoreUnavailable; whoever calls may then try again."""

    shared: bool
    """Whether other processes use the same log, too. Then `moved` is called when they append."""

    moved: Moved | None
    """Set before `start`. Called on the event loop with rooms to which other processes have appended, and their heads;
    with None if it could be any. It is a hint: it may come late, twice, or (rarely) not at all."""

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

    async def append(self, drafts: Sequence[Draft]) -> list[Receipt]:
        """Store all or none; one receipt per draft, in their order."""

    async def read(self, room: str, after: int, messages_max: int, bytes_max: int) -> Page:
        """The messages after offset *after*, at least one if there is any, as many as fit both bounds."""

    async def head(self, room: str) -> Head:
        """Where the room stands; a room that nobody has published to stands at 0, and is not created by asking."""

    async def heads(self, rooms: Sequence[str]) -> dict[str, int]:
        """The newest offsets of these rooms; those that nobody has published to may be left out."""

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
