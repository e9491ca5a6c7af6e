"""Connection state recovery that survives the death of a node: any node can go on with a socket of any other."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Mapping
from hashlib import sha256
from typing import Any, NamedTuple

import msgspec

from trunkline.core.position import Start
from trunkline.errors import StoreUnavailable
from trunkline.transports.context import Context
from trunkline.transports.socketio.connection_state import (
    ConnectionState,
    Joined,
    Progress,
    decode,
    encode,
    parse_offset,
)
from trunkline.transports.socketio.session import CLIENT_DISCONNECT, SERVER_DISCONNECT, TRANSPORT_CLOSE
from trunkline.transports.socketio.socket import Socket

log = logging.getLogger("trunkline")

SPACE = "$socketio."
KIND, KEY = "state", "-"
KEPT_MS = 24 * 3600 * 1000  # of a socket whose end nobody has seen
REFRESH_S = 3600.0  # how often those that are still connected are kept longer
ID_BYTES = 24
ID_CHARACTERS_MAX = 64
DATA_BYTES_MAX = 16 * 1024
JOINED_MAX = 200

FINAL = (CLIENT_DISCONNECT, SERVER_DISCONNECT)
"""Ends that somebody wanted: nothing is to be recovered."""


class Resumed(NamedTuple):
    """A socket that is to go on.

    Attributes:
        pid: Under which its client knows it.
        state: What was kept.
        starts: Where its rooms go on.
        moved: How far the client says that it has come.
    """

    pid: str
    state: ConnectionState
    starts: dict[str, Start]
    moved: dict[int, int]


class Kept:
    """What is kept of one socket that is connected.

    Attributes:
        pid: Under which its client knows it: a secret.
        record: As the store has it; None if it was not stored yet.
    """

    __slots__ = ("is_lost", "pid", "progress", "record", "state")

    def __init__(self, pid: str, state: ConnectionState, record: bytes | None) -> None:
        self.pid = pid
        self.state = state
        self.record = record
        self.progress = Progress()
        self.is_lost = False


class Recovery:
    """The sockets of one server that can go on.

    Args:
        window_s: How long after its connection has ended a socket can.
    """

    def __init__(self, context: Context, window_s: float) -> None:
        self._context = context
        self._window_ms = round(window_s * 1000)
        self._kept: dict[Socket, Kept] = {}

    def of(self, socket: Socket) -> Kept | None:
        """Return what is kept of a socket."""
        return self._kept.get(socket)

    # Going on.

    async def resume(self, auth: Any, namespace: str, user: str | None) -> Resumed | None:
        """Take a socket over from whichever connection it had; None if there is none that its client may have.

        Args:
            auth: What the client says of itself: with `pid` and `offset`.

        Raises:
            StoreUnavailable: The log is away.
        """
        pid = auth.get("pid") if isinstance(auth, Mapping) else None
        if not isinstance(pid, str) or not 0 < len(pid) <= ID_CHARACTERS_MAX:
            return None
        offset = auth.get("offset", "")
        moved = parse_offset(offset) if isinstance(offset, str) else None
        record = await self._context.engine.records.get(_space(pid), KIND, KEY)
        state = None if record is None else decode(record)
        if record is None or state is None or moved is None:
            return None
        now = self._context.clock.wall_ms()
        is_over = state.ended_at and now - state.ended_at > self._window_ms
        if is_over or state.namespace != namespace or state.user != user:
            return None
        mine = msgspec.structs.replace(state, owner=self._new_owner(), ended_at=0)
        if not await self._swap(pid, record, encode(mine)):
            return None  # another connection of the same client was quicker
        return Resumed(pid, mine, mine.starts(moved), moved)

    async def give_up(self, resumed: Resumed) -> None:
        """Forget a socket that could not go on after all: something that it has missed is gone."""
        await self._swap(resumed.pid, encode(resumed.state), None)

    # Keeping.

    def begin(self, socket: Socket, resumed: Resumed | None) -> Kept:
        """Keep what is needed of a socket from now on, once `save` is called."""
        if resumed is not None:
            kept = Kept(resumed.pid, resumed.state, encode(resumed.state))
        else:
            state = ConnectionState(socket.sid, socket.namespace, socket.grant.user, self._new_owner())
            kept = Kept(secrets.token_urlsafe(ID_BYTES), state, None)
        self._kept[socket] = kept
        return kept

    def joined(self, socket: Socket, room: str, resumed: Resumed | None = None) -> None:
        """Note that a socket is in a room, whose cursor it has."""
        kept = self._kept.get(socket)
        if kept is None:
            return
        cursor, state = socket.rooms[room], kept.state
        if resumed is not None:
            one = next(found for found in state.joined if found.room == room)
            kept.progress.join(cursor.room.name, one.number, one.offset, resumed.moved.get(one.number, 0))
            return
        one = Joined(state.next_number, room, cursor.room.epoch, cursor.offset)
        kept.state = msgspec.structs.replace(state, joined=[*state.joined, one], next_number=one.number + 1)
        kept.progress.join(cursor.room.name, one.number, one.offset)

    def left(self, socket: Socket, room: str, log_room: str) -> None:
        """Note that a socket is in a room no longer."""
        kept = self._kept.get(socket)
        if kept is not None:
            left = [one for one in kept.state.joined if one.room != room]
            kept.state = msgspec.structs.replace(kept.state, joined=left)
            kept.progress.leave(log_room)

    def keep_data(self, socket: Socket) -> None:
        """Note what the application keeps with a socket."""
        kept = self._kept.get(socket)
        if kept is None:
            return
        try:
            data: bytes | None = msgspec.json.encode(socket.data)
        except (TypeError, ValueError, RecursionError):
            data = None
        if data is not None and len(data) > DATA_BYTES_MAX:
            data = None
        kept.state = msgspec.structs.replace(kept.state, data=data)

    async def save(self, socket: Socket) -> None:
        """Store what has changed. A socket that another connection has taken over meanwhile is ended.

        Raises:
            StoreUnavailable: It is stored or not.
        """
        kept = self._kept.get(socket)
        if kept is None or kept.is_lost:
            return
        record = encode(kept.state)
        if record == kept.record:
            return
        before, kept.record = kept.record, record
        try:
            is_ours = await self._swap(kept.pid, before, record)
        except StoreUnavailable:
            is_ours = await self._context.engine.records.get(_space(kept.pid), KIND, KEY) == record
            if not is_ours:
                kept.record = before
                raise
        if not is_ours:
            kept.is_lost = True
            socket.carried_by.end(TRANSPORT_CLOSE)

    async def ended(self, socket: Socket, reason: str) -> bool:
        """Note that the connection of a socket has ended; return whether it can still go on."""
        kept = self._kept.pop(socket, None)
        if kept is None or kept.record is None or kept.is_lost:
            return kept is not None and kept.is_lost
        try:
            if reason in FINAL:
                await self._swap(kept.pid, kept.record, None)
                return False
            ended = msgspec.structs.replace(kept.state, ended_at=self._context.clock.wall_ms())
            until = ended.ended_at + self._window_ms
            await self._swap(kept.pid, kept.record, encode(ended), until)
        except StoreUnavailable:
            pass  # as if this node had died
        return True

    def lose(self, socket: Socket) -> None:
        """Note that another connection has taken a socket over."""
        kept = self._kept.get(socket)
        if kept is not None:
            kept.is_lost = True

    def forget(self, socket: Socket) -> None:
        """Keep nothing of a socket that was never connected."""
        self._kept.pop(socket, None)

    async def refresh(self) -> None:
        """Keep what is kept of those that are connected for longer."""
        for kept in list(self._kept.values()):
            if kept.record is not None and not kept.is_lost:
                await self._swap(kept.pid, kept.record, kept.record)

    def _new_owner(self) -> str:
        return f"{self._context.engine.name}.{secrets.token_hex(4)}"

    async def _swap(self, pid: str, before: bytes | None, after: bytes | None, until: int | None = None) -> bool:
        kept_until = until if until is not None else self._context.clock.wall_ms() + KEPT_MS
        return await self._context.engine.records.replace(_space(pid), KIND, KEY, before, after, kept_until)


def _space(pid: str) -> str:
    return SPACE + sha256(pid.encode()).hexdigest()[:40]  # who can read the store is not given clients' secrets
