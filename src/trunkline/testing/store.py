"""The log of a test: in memory, kept over restarts, and away when the test says so."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Literal, get_args

from trunkline.core.message import Draft, Message, Receipt
from trunkline.core.position import Position
from trunkline.core.read_mark import ReadMark
from trunkline.core.redaction import Redacted, Redaction
from trunkline.core.retention import Retention
from trunkline.errors import StoreUnavailable
from trunkline.stores.base import Deleted, Head, Page, RoomInfo, Sent, Swap
from trunkline.stores.memory import MemoryStore
from trunkline.testing.fault import Fault

Away = Literal["all", "writes", "answers"]


class VirtualStore(MemoryStore):
    """A `MemoryStore` for tests.

    Args:
        on_close: Called when the hub has closed it.

    Attributes:
        appends: How many times messages were given to it.
    """

    location = "memory (of a test)"

    def __init__(self, retention: Retention, on_close: Callable[[], Awaitable[None]] | None = None) -> None:
        super().__init__(retention)
        self._on_close = on_close
        self.appends = 0
        self._away: list[Away] = []

    def away(self, what: Away = "all") -> Fault:
        """Answer nothing until that is over, as a database does that is restarted.

        Args:
            what: `all`; or `writes`, so that it can still be read; or `answers`: it stores what it is given, and the
                answer is lost, so that nobody knows.
        """
        if what not in get_args(Away):
            raise ValueError(f"a log is away for {', '.join(get_args(Away))}, not for {what!r}")
        self._away.append(what)
        return Fault(lambda: self._away.remove(what))

    @property
    def rooms(self) -> list[str]:
        """The rooms that hold messages."""
        return [name for name, log in self._logs.items() if log.messages]

    def messages(self, room: str) -> list[Message]:
        """Return what a room holds."""
        log = self._logs.get(room)
        return [] if log is None else [entry.message for entry in log.messages.values()]

    def drop(self, room: str, keep: int) -> int:
        """Forget a room's oldest messages, as retention does; return the offset of the first that is left.

        Args:
            keep: How many of the newest stay.

        Raises:
            ValueError: The room has no messages, or *keep* is negative.
        """
        log = self._logs.get(room)
        if log is None or keep < 0:
            raise ValueError(f"{room} has no messages" if log is None else f"{keep} messages cannot be kept")
        while len(log.messages) > keep:
            log.drop_first()
        return log.first

    def lose(self) -> None:
        """Forget everything: the log is another one from now on."""
        self._forget_all()

    async def close(self) -> None:
        """Keep the log: the hub may come back to it."""
        if self._on_close is not None:
            await self._on_close()

    def _check(self, *, writes: bool = False) -> None:
        if "all" in self._away or (writes and "writes" in self._away):
            raise StoreUnavailable("the test's log is away")

    async def is_current(self) -> bool:
        self._check()
        return await super().is_current()

    async def check_writable(self) -> None:
        self._check(writes=True)

    async def append(self, drafts: Sequence[Draft]) -> list[Receipt | StoreUnavailable]:
        self._check(writes=True)
        self.appends += 1
        outcomes = await super().append(drafts)
        if "answers" in self._away:
            raise StoreUnavailable("the answer of the test's log is lost")
        return outcomes

    async def find_id(self, room: str, sender: str | None, message_id: str) -> Receipt | None:
        self._check()
        return await super().find_id(room, sender, message_id)

    async def swap(self, swaps: Sequence[Swap]) -> list[bool]:
        self._check(writes=True)
        return await super().swap(swaps)

    async def record(self, space: str, kind: str, key: str) -> bytes | None:
        self._check()
        return await super().record(space, kind, key)

    async def records(self, space: str, kind: str) -> dict[str, bytes]:
        self._check()
        return await super().records(space, kind)

    async def forget_records(self, space: str, kinds: Sequence[str]) -> None:
        self._check(writes=True)
        await super().forget_records(space, kinds)

    async def read(self, room: str, after: int, messages_max: int, bytes_max: int) -> Page:
        self._check()
        return await super().read(room, after, messages_max, bytes_max)

    async def head(self, room: str) -> Head:
        self._check()
        return await super().head(room)

    async def heads(self, rooms: Sequence[str]) -> dict[str, Position]:
        self._check()
        return await super().heads(rooms)

    async def mark(self, marks: Sequence[ReadMark]) -> None:
        self._check(writes=True)
        await super().mark(marks)

    async def marks(self, room: str, marks_max: int) -> list[ReadMark]:
        self._check()
        return await super().marks(room, marks_max)

    async def marks_of(self, member: str, rooms: Sequence[str]) -> dict[str, int]:
        self._check()
        return await super().marks_of(member, rooms)

    async def trim(self, now_ms: int) -> dict[str, int]:
        self._check(writes=True)
        return await super().trim(now_ms)

    async def empty_rooms(self, now_ms: int, rooms_max: int) -> list[str]:
        self._check()
        return await super().empty_rooms(now_ms, rooms_max)

    async def find_rooms(self, prefix: str, after: str, rooms_max: int) -> list[RoomInfo]:
        self._check()
        return await super().find_rooms(prefix, after, rooms_max)

    async def redact(self, redaction: Redaction) -> Redacted:
        self._check(writes=True)
        return await super().redact(redaction)

    async def sent(self, room: str, sender: str, after: int) -> Sent:
        self._check()
        return await super().sent(room, sender, after)

    async def delete(self, room: str, at: int) -> Deleted | None:
        self._check(writes=True)
        return await super().delete(room, at)

    async def erase_marks(self, member: str) -> int:
        self._check(writes=True)
        return await super().erase_marks(member)

    async def notes(self) -> dict[str, bytes]:
        self._check()
        return await super().notes()

    async def note(self, name: str, value: bytes | None) -> None:
        self._check(writes=True)
        await super().note(name, value)

    async def forget(self, rooms: Sequence[str]) -> list[str]:
        self._check(writes=True)
        return await super().forget(rooms)
