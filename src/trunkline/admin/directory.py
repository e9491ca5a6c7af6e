"""The directory: all rooms of the log by prefix, page by page, with what all nodes know of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from trunkline.core.cluster_messages import ROOMS_ASKED_MAX, CountReaders
from trunkline.core.pieces import pieces
from trunkline.engine.engine import Engine

PAGE_MAX = 500

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list[int]).decode


class ListedRoom(msgspec.Struct, frozen=True):
    """A room of the log.

    Attributes:
        first: The earliest retained offset; head + 1 if nothing is retained.
        head: The newest offset.
        messages: How many entries are retained: messages, and redactions.
        bytes: What they take, as retention counts it.
        at: When the newest one was published, in ms since 1970 UTC.
        readers: How many streams read it, on the nodes that have answered.
        members: How many members it has.
    """

    room: str
    epoch: str
    first: int
    head: int
    messages: int
    bytes: int
    at: int
    readers: int
    members: int


class RoomPage(NamedTuple):
    """A page of the directory.

    Attributes:
        next: The name after which the next page begins; None at the end.
        missing_nodes: The nodes that have not answered within a second: their readers are not counted.
    """

    rooms: list[ListedRoom]
    next: str | None
    missing_nodes: list[str]


class Directory:
    """The rooms of one log."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        if engine.cluster is not None:
            engine.cluster.on_request(CountReaders, self._count_for_other)

    async def page(self, prefix: str = "", after: str = "", limit: int = 50) -> RoomPage:
        """Return rooms whose names begin with *prefix* and are behind *after*, in the order of their names.

        Args:
            limit: The most rooms; PAGE_MAX at most.

        Raises:
            StoreUnavailable: The log could not be read.
        """
        limit = max(1, min(limit, PAGE_MAX))
        found = await self._engine.store.find_rooms(prefix, after, limit + 1)
        shown = found[:limit]
        readers, missing = await self._readers([info.room for info in shown])
        rooms = [
            ListedRoom(
                info.room,
                info.epoch,
                info.first,
                info.head,
                info.head - info.first + 1,
                info.size,
                info.at,
                count,
                self._engine.presence.members(info.room)[0],
            )
            for info, count in zip(shown, readers, strict=True)
        ]
        return RoomPage(rooms, shown[-1].room if len(found) > limit else None, missing)

    async def _readers(self, rooms: Sequence[str]) -> tuple[list[int], list[str]]:
        counts, missing = dict(zip(rooms, self._count(rooms), strict=True)), set[str]()
        if self._engine.cluster is not None:
            for some in pieces(rooms, ROOMS_ASKED_MAX):
                answers = await self._engine.cluster.ask(CountReaders([*some]))
                missing.update(answers.missing_nodes)
                for answer in answers.values:
                    if isinstance(answer, bytes):
                        for room, count in zip(some, _decode(answer), strict=True):
                            counts[room] += count
        return [counts[room] for room in rooms], sorted(missing)

    def _count(self, rooms: Sequence[str]) -> list[int]:
        found = [self._engine.rooms.get(name) for name in rooms]
        return [0 if room is None else room.readers for room in found]

    async def _count_for_other(self, asked: CountReaders) -> bytes:
        return _encode(self._count(asked.rooms))
