"""The ports of a store: the logs, their corrections, read marks, records, the change feed, and the bus between
processes.

The smallest store that can work keeps a dict of lists: see `memory.py`. Every store promises:

- `append` assigns offsets 1, 2, 3 … per room without holes, in the order of the drafts. When it returns, the
  messages are as durable as the store ever makes them. What has no receipt is not acknowledged, and may be stored.
- A draft whose (room, sender, id) is retained already is not stored again; its receipt is the first one's.
- `read` sees at least everything whose append has returned.
- An epoch belongs to a room. It changes only when the room was lost or forgotten, or its end may have been: then the
  lineage says from where it goes on. A new epoch changes no message, and no id that the store has given one.
- A message has the trace of its draft; that of a draft that was not stored again is ignored.
- A message that was redacted is empty for every read that begins after that, and its data is nowhere in the store.
- Stamps (`at`) never go backwards in a room: a draft whose stamp is earlier than the newest message's gets that one's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, Protocol

from trunkline.core.message import Draft, Message, Receipt
from trunkline.core.position import Lineage, Position
from trunkline.core.read_mark import ReadMark
from trunkline.core.redaction import Redacted, Redaction
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


class RoomInfo(NamedTuple):
    """What there is of a room.

    Attributes:
        first: The earliest retained offset; head + 1 if nothing is retained.
        head: The newest offset.
        size: The bytes of all messages together, as retention counts them.
        at: When the newest message was published, in ms since 1970 UTC.
    """

    room: str
    epoch: str
    first: int
    head: int
    size: int
    at: int


class Sent(NamedTuple):
    """Some of the messages of a sender.

    Attributes:
        offsets: Their offsets.
        to: The last offset that was looked at; the room's head at the end.
        head: The room's head.
    """

    offsets: list[int]
    to: int
    head: int


class RoomCopy(NamedTuple):
    """Where a room stands in another log, for `put_room`."""

    room: str
    epoch: str
    first: int
    head: int
    lineage: Lineage
    at: int = 0


class Deleted(NamedTuple):
    """What a room had that was deleted.

    Attributes:
        epoch: The one in which it begins again.
        messages: How many messages it had.
    """

    epoch: str
    messages: int


class Guard(NamedTuple):
    """Another record of the same space that must have this value."""

    kind: str
    key: str
    value: bytes


class Swap(NamedTuple):
    """A record that gets another value, if it has the one that the caller knows.

    Attributes:
        space: What belongs together. Records of one space can guard each other.
        kind, key: Which record of the space.
        before: The value that it must have; None if there must be no such record.
        after: The value that it gets; None if it is forgotten.
        guard: What must be so, too.
        until: When it may be forgotten, in ms since 1970 UTC, if it is the only one of its space; 0 for never.
    """

    space: str
    kind: str
    key: str
    before: bytes | None
    after: bytes | None
    guard: Guard | None = None
    until: int = 0


OnAppend = Callable[[Mapping[str, int] | None], None]


class FeedUnavailable(StoreUnavailable):
    """The log can be read, but this process is not told when it moves."""


class WritesUnavailable(StoreUnavailable):
    """The log can be read, but nothing can be stored in it."""


class Bus(Protocol):
    """Messages between the processes of one log, beside it. No message is sure to arrive, but those of one process
    arrive in the order in which they were sent."""

    name: str
    """This process's own name, which no other one ever has. Set anew, before `start`, in a process that was forked."""

    on_message: Callable[[bytes], None] | None
    """Set before `start`. Called on the event loop with the messages of others, and perhaps with those of our own."""

    def send(self, data: bytes, *, to: str | None = None, room: str | None = None) -> bool:
        """Send to all others; or to the one named *to*; or (at least) to those that have subscribed to *room*.

        Returns:
            False if it was seen at once that not all of them could be sent to.
        """

    def is_alive(self, name: str) -> bool:
        """Return whether the process of this name is known to run; False where that cannot be known."""


class ChangeFeed(Protocol):
    """How a process is told that others have appended to the same log."""

    shared: bool
    """Whether other processes use the same log, too."""

    bus: Bus | None
    """How to send them messages; None if there are none."""

    on_append: OnAppend | None
    """Set before `start`. Called on the event loop with the rooms to which other processes have appended, and their
    heads; with None if it could be any room. It is a hint: it may come late, twice, or (rarely) not at all. Only rooms
    that are subscribed to need to be named."""

    async def subscribe(self, room: str) -> None:
        """Call `on_append` for this room, too, from when this returns until `unsubscribe`."""

    def unsubscribe(self, room: str) -> None:
        """Stop calling `on_append` for this room. Harmless if it was not subscribed to."""

    async def subscribe_matching(self, pattern: str) -> None:
        """Call `on_append` for all rooms that a pattern matches (`core.grant.matches`), too, from when this returns."""

    def unsubscribe_matching(self, pattern: str) -> None:
        """Stop calling `on_append` for the rooms of a pattern. Harmless if it was not subscribed to."""

    async def is_current(self) -> bool:
        """Return whether `on_append` was called for everything that others had appended when this was called.

        Raises:
            FeedUnavailable: The log answers, and does not tell this process when it moves.
            WritesUnavailable: The log can be read, and what would be stored in it now could not be found again.
            StoreUnavailable: The log does not answer.
        """


class LogStore(Protocol):
    """The logs of all rooms. Every method may raise StoreUnavailable; the caller may then try again."""

    async def append(self, drafts: Sequence[Draft]) -> list[Receipt | StoreUnavailable]:
        """Store drafts; return for each, in their order, its receipt, or why there is none.

        Drafts of one room stay together. A draft that no store can take does not affect the others.

        Raises:
            StoreUnavailable: There are no receipts at all.
        """

    async def find_id(self, room: str, sender: str | None, message_id: str) -> Receipt | None:
        """Return the receipt of a message that is retained, as a repeat of it would get it; None if there is none."""

    async def check_writable(self) -> None:
        """Find out whether messages can be stored, after one could not.

        Raises:
            StoreUnavailable: They cannot.
        """

    async def read(self, room: str, after: int, messages_max: int, bytes_max: int) -> Page:
        """Return a page of messages, in order; at least one if there is any, and as many as fit both bounds.

        Args:
            room: Name of the room.
            after: The offset after which it begins.
            messages_max: The most messages.
            bytes_max: The most bytes of all messages together.

        Raises:
            StoreUnavailable: The log did not answer.
        """

    async def head(self, room: str) -> Head:
        """Return where a room stands. A room without any message stands at 0, and is not created by asking."""

    async def heads(self, rooms: Sequence[str]) -> dict[str, Position]:
        """Return the newest positions of rooms; those without any message may be left out."""

    async def trim(self, now_ms: int) -> dict[str, int]:
        """Apply retention by age; return the rooms that were trimmed, with their new first offsets.

        A message is as old as its stamp says, or as the newest message behind it that was stored earlier; if its stamp
        is of the future, as long as that has been known. Read marks go too: what they cover was older than they are, so
        nothing is unread that was not before.
        """

    async def empty_rooms(self, now_ms: int, rooms_max: int) -> list[str]:
        """Return rooms that hold no message, and whose newest one was stored EMPTY_AGES times as long ago as retention
        keeps messages: a reader that comes back to the end of such a room until then has missed nothing."""

    async def forget(self, rooms: Sequence[str]) -> list[str]:
        """Forget those of these rooms that hold no message, with their read marks; return which.

        The next message of one of them begins a new epoch, at offset 1.
        """

    async def begin_epochs(self) -> None:
        """Let each room go on in a new epoch from its next use on: the operator knows that the log went back.

        Raises:
            ConfigError: Other processes use the log, and would not notice.
            StoreUnavailable: Tried again, it may work.
        """


class ReadMarkStore(Protocol):
    """The read marks of all members. Every method may raise StoreUnavailable."""

    async def mark(self, marks: Sequence[ReadMark]) -> None:
        """Move read marks forward, all or none; one that would go back stays where it is."""

    async def marks(self, room: str, marks_max: int) -> list[ReadMark]:
        """Return the read marks of a room, those that moved last first."""

    async def marks_of(self, member: str, rooms: Sequence[str]) -> dict[str, int]:
        """Return the offsets up to which a member has seen these rooms; rooms without a mark are left out."""


class CorrectionStore(Protocol):
    """What operators and moderators do to logs. Every method may raise StoreUnavailable; it may then be tried again."""

    async def find_rooms(self, prefix: str, after: str, rooms_max: int) -> list[RoomInfo]:
        """Return the rooms whose names begin with *prefix* and are behind *after*, in the order of their names (by
        code point); not those that never had a message, nor those that were deleted since."""

    async def redact(self, redaction: Redaction) -> Redacted:
        """Take the data of messages away, and append the redaction to the room, in one step.

        Messages that are not retained, that have no data any more, or that are redactions are left out. With `erases`,
        messages without data that have a sender count, too. If none is left, nothing is appended.
        """

    async def sent(self, room: str, sender: str, after: int) -> Sent:
        """Return the offsets of a sender's messages behind *after*, as far as one short step looks."""

    async def delete(self, room: str, at: int) -> Deleted | None:
        """Delete a room, its messages, ids and read marks; None if it has never had a message.

        It begins again at offset 1 of a new epoch, whose lineage says that the former ones were deleted. So that
        readers are told, this is kept like an empty room whose newest message was stored at *at*.
        """

    async def erase_marks(self, member: str) -> int:
        """Forget all read marks of a member; return how many there were."""

    async def purge(self) -> list[str]:
        """Let go of the copies of what was redacted or deleted that the store keeps for its own purposes.

        Returns:
            What could not be purged, for the operator; for example what replicas still hold.
        """

    async def put_room(self, room: RoomCopy) -> None:
        """Make a room that is not there yet, with nothing in it, so that `put_messages` goes on behind `first` - 1.

        It is in an epoch of its own, whose lineage goes on from the epochs of the copy.
        """

    async def put_messages(self, room: str, messages: Sequence[Message]) -> None:
        """Append messages and redactions of another log as they are, with the offsets that come next."""

    async def notes(self) -> dict[str, bytes]:
        """Return the notes of the system: small values by name, kept with the log."""

    async def note(self, name: str, value: bytes | None) -> None:
        """Keep a note; with None, forget it, so that its value is nowhere in the store."""


class RecordStore(Protocol):
    """Small values beside the logs, that several processes change, each by one step that succeeds or changes nothing.

    Every method may raise StoreUnavailable; a swap may then be made or not.
    """

    async def swap(self, swaps: Sequence[Swap]) -> list[bool]:
        """Change records, one after the other; return for each whether it was as expected, and has been changed."""

    async def record(self, space: str, kind: str, key: str) -> bytes | None:
        """Return the value of a record, as the last swap that has returned made it; None if there is none."""

    async def records(self, space: str, kind: str) -> dict[str, bytes]:
        """Return all records of a kind, by their keys."""

    async def forget_records(self, space: str, kinds: Sequence[str]) -> None:
        """Forget all records of these kinds."""


class Store(LogStore, CorrectionStore, ReadMarkStore, RecordStore, ChangeFeed, Protocol):
    """Everything that a store does: what a store of your own implements.

    The beginning of this module says what it promises, and `trunkline.testing.store_contract` tests that. A part of the
    engine is given only the port that it needs.
    """

    @property
    def location(self) -> str:
        """Where the data is, for people."""

    async def start(self) -> None:
        """Open the store; called once, on the event loop that all other calls come from.

        Raises:
            ConfigError: The store cannot be used as it is, and trying again does not help.
        """

    async def close(self) -> None:
        """Finish what runs, then let go. Idempotent."""
