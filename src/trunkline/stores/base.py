"""The port that every store fills.

The smallest store that can work keeps a dict of lists: see `memory.py`. What any store promises:

- `append` assigns offsets 1, 2, 3 … per room without holes, in the order of the drafts. When it returns, the
  messages are as durable as the store ever makes them. What has no receipt is not acknowledged, and may be stored.
- A draft whose (room, sender, id) is retained already is not stored again; its receipt is the first one's.
- `read` sees at least everything whose append has returned.
- An epoch belongs to a room. It changes only when the room was lost or forgotten, or its end may have been: then the
  lineage says from where it goes on. A new epoch changes no message, and no id that the store has given one.
- Stamps (`at`) never go backwards in a room: a draft whose stamp is earlier than the newest message's gets that one's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, Protocol

from trunkline.core.mark import Mark
from trunkline.core.message import Draft, Message, Receipt
from trunkline.core.position import Lineage, Position
from trunkline.errors import StoreUnavailable

EMPTY_AGES = 4
AHEAD_MS = 60_000  # a stamp that is further ahead of the clock than this is of a clock that was wrong


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


class Unwritable(StoreUnavailable):
    """The log may well be read, but nothing can be stored in it."""


class Bus(Protocol):
    """How the processes of one log talk to each other beside it. Nothing here is sure to arrive, but what arrives from
    one process is in the order in which it was sent."""

    name: str
    """Ours, and no other process's ever. Set anew, before `start`, in a process that was forked."""

    said: Callable[[bytes], None] | None
    """Set before `start`. Called on the event loop with what others have said, and perhaps with our own words."""

    def say(self, data: bytes, *, to: str | None = None, room: str | None = None) -> bool:
        """Tell all others; or the one with this name; or (at least) those that follow the room.

        Returns:
            False if it was seen at once that not everybody could be told.
        """

    def lives(self, name: str) -> bool:
        """Whether the process of this name is known to be there; False where that cannot be known."""


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
            Unwritable: The log can be read, and what would be stored in it now could not be found again.
            StoreUnavailable: The log does not answer.
        """

    async def write_something(self) -> None:
        """Find out whether messages can be stored, after one could not.

        Raises:
            StoreUnavailable: They cannot.
        """

    async def append(self, drafts: Sequence[Draft]) -> list[Receipt | StoreUnavailable]:
        """Store them; for each, in their order, its receipt, or why there is none. What is of one room stays together.
        A draft that no store can take costs its neighbours nothing.

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

        A message is as old as its stamp says, or as the newest message behind it that was stored earlier; if its stamp
        is of the future, as long as that has been known. Marks go too: what they cover was older than they are, so
        nothing is unread that was not before.
        """

    async def empty_rooms(self, now_ms: int, rooms_max: int) -> list[str]:
        """Rooms that hold no message, and whose newest one was stored EMPTY_AGES times as long ago as retention keeps
        messages: a reader that comes back to the end of such a room until then has missed nothing and is told so."""

    async def forget(self, rooms: Sequence[str]) -> list[str]:
        """Forget those of these rooms that hold no message, with their marks; returns which.

        The next message of one of them begins a new epoch, at offset 1.
        """

    async def begin_epochs(self) -> None:
        """Let each room go on in a new epoch from its next use on: the operator knows that the log went back.

        Raises:
            ConfigError: Other processes use the log, and would not notice.
            StoreUnavailable: Tried again, it may work.
        """
