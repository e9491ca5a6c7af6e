"""What an operator looks up: the connections of a user, of a room, or one by its session; here and on all nodes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import NamedTuple, Protocol, runtime_checkable

import msgspec

from trunkline.access.policy import Access
from trunkline.admin.overview import Described
from trunkline.core.cluster_messages import ListConnections
from trunkline.core.cursor import Cursor
from trunkline.engine.engine import Engine

LISTED_MAX = 100  # connections, of each process
ROOMS_MAX = 5  # of each connection
BYTES_MAX = 32 * 1024  # of an answer: it fits into every bus

_encode = msgspec.msgpack.Encoder().encode


class ReadRoom(msgspec.Struct, frozen=True):
    """A room that a connection reads.

    Attributes:
        offset: Up to where it was given the messages.
        lag: How many more there are.
    """

    room: str
    offset: int
    lag: int


class Connected(msgspec.Struct, frozen=True):
    """A streaming connection, as an operator sees it.

    Attributes:
        messages: How many it was given.
        is_full: Whether its socket takes no more.
        rooms: Some of those that it reads.
        rooms_count: How many it reads.
    """

    node: str
    session: str
    user: str | None
    address: str
    transport: str
    seconds: float
    messages: int
    gaps: int
    is_full: bool
    rooms: list[ReadRoom]
    rooms_count: int


class Listed(msgspec.Struct, array_like=True):
    """What one process answers.

    Attributes:
        is_cut: Whether there are more.
    """

    connections: list[Connected]
    is_cut: bool


_decode = msgspec.msgpack.Decoder(Listed).decode


class Found(NamedTuple):
    """The connections that were found.

    Attributes:
        missing_nodes: The nodes that have not answered within a second.
        has_more: Whether a process had more than it has named.
    """

    connections: list[Connected]
    missing_nodes: list[str]
    has_more: bool


@runtime_checkable
class Inspected(Described, Protocol):
    """A streaming connection."""

    full: bool
    gaps: int
    cursors: tuple[Cursor, ...]

    @property
    def age_s(self) -> float:
        """How long it has been open, in seconds."""

    @property
    def given(self) -> int:
        """How many messages it was given."""


class Lookup:
    """Finds connections."""

    def __init__(self, engine: Engine, access: Access) -> None:
        self._engine = engine
        self._access = access
        if engine.cluster is not None:
            engine.cluster.on_request(ListConnections, self._list_for_other)

    async def connections(self, wanted: ListConnections) -> Found:
        """Return connections on all nodes."""
        listed, missing = self.here(wanted), []
        found, has_more = listed.connections, listed.is_cut
        if self._engine.cluster is not None:
            answers = await self._engine.cluster.ask(wanted)
            missing = answers.missing_nodes
            for answer in answers.values:
                if isinstance(answer, bytes):
                    elsewhere = _decode(answer)
                    found += elsewhere.connections
                    has_more = has_more or elsewhere.is_cut
        return Found(found, missing, has_more)

    def here(self, wanted: ListConnections) -> Listed:
        """Return connections of this process: those that fit all that is asked for."""
        fitting = (
            reader
            for reader in self._candidates(wanted)
            if isinstance(reader, Inspected)
            and (wanted.user is None or reader.grant.user == wanted.user)
            and (wanted.session is None or reader.session == wanted.session)
            and (wanted.room is None or any(cursor.room.name == wanted.room for cursor in reader.cursors))
        )
        found = [self._describe(reader) for reader in islice(fitting, LISTED_MAX + 1)]
        return Listed(found[:LISTED_MAX], len(found) > LISTED_MAX)

    def _candidates(self, wanted: ListConnections) -> Iterable[object]:
        if wanted.user is not None:
            return self._access.registry.of_user(wanted.user)
        if wanted.room is not None:
            return self._readers_of(wanted.room)
        return self._engine.connections

    def _readers_of(self, name: str) -> Iterator[object]:
        room = self._engine.rooms.get(name)
        if room is None:
            return
        for cursor in self._engine.delivery.stalled:
            if cursor.room is room:
                yield cursor.reader
        for cohort in room.cohorts:
            for cursor in cohort.cursors:
                yield cursor.reader

    def _describe(self, reader: Inspected) -> Connected:
        rooms = [
            ReadRoom(cursor.room.name, cursor.offset, cursor.lag)
            for cursor in sorted(reader.cursors, key=lambda cursor: -cursor.lag)[:ROOMS_MAX]
        ]
        return Connected(
            self._engine.name,
            reader.session,
            reader.grant.user,
            reader.address,
            reader.transport,
            round(reader.age_s, 1),
            reader.given,
            reader.gaps,
            reader.full,
            rooms,
            len(reader.cursors),
        )

    async def _list_for_other(self, wanted: ListConnections) -> bytes:
        listed = self.here(wanted)
        while len(encoded := _encode(listed)) > BYTES_MAX:
            del listed.connections[-max(1, len(listed.connections) // 8) :]
            listed.is_cut = True
        return encoded
