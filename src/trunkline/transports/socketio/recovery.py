"""Connection state recovery that survives the death of a node: any node can go on with a socket of any other."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
from collections.abc import Callable, Coroutine, Mapping
from hashlib import sha256
from typing import Any, Literal, NamedTuple

import msgspec

from trunkline.core.position import Start
from trunkline.engine.engine import Engine
from trunkline.errors import StoreUnavailable
from trunkline.transports.context import Context
from trunkline.transports.socketio.connection_state import (
    ConnectionState,
    Joined,
    Progress,
    decode,
    encode,
    parse_offset,
    tag_of,
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
UNKEPT = b""  # what the application keeps cannot be kept here
TRIES = 3
OVER_S = 5.0  # behind the window
WAITING_MAX = 100_000

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

    __slots__ = ("is_lost", "is_spoilt", "is_unsure", "lock", "pid", "progress", "record", "state")

    def __init__(self, pid: str, state: ConnectionState, record: bytes | None) -> None:
        self.pid = pid
        self.state = state
        self.record = record
        self.progress = Progress(tag_of(pid))
        self.is_lost = False  # another connection has taken it over
        self.is_spoilt = False  # it has missed something, so it must not go on
        self.is_unsure = False  # whether the record was stored
        self.lock = asyncio.Lock()


class Recovery:
    """The sockets of one server that can go on.

    Args:
        window_s: How long after its connection has ended a socket can.
    """

    def __init__(self, context: Context, window_s: float) -> None:
        self._context = context
        self._window_ms = round(window_s * 1000)
        self._kept: dict[Socket, Kept] = {}
        self._waiting = 0
        self._has_warned = False

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
        moved = parse_offset(offset, tag_of(pid)) if isinstance(offset, str) else None
        for _ in range(TRIES):  # while a node that has just seen the end writes that down
            resumed = await self._take_over(pid, moved, namespace, user)
            if resumed is not False:
                return resumed
        return None

    async def _take_over(
        self, pid: str, moved: dict[int, int] | None, namespace: str, user: str | None
    ) -> Resumed | Literal[False] | None:
        """Return a socket that was taken over, None if it cannot be, False if its record has changed meanwhile."""
        record = await self._context.engine.records.get(_space(pid), KIND, KEY)
        state = None if record is None else decode(record)
        if record is None or state is None or moved is None:
            return None
        now = self._context.clock.wall_ms()
        is_over = state.data == UNKEPT or (state.ended_at and now - state.ended_at > self._window_ms)
        if is_over or state.namespace != namespace or state.user != user:
            return None
        mine = msgspec.structs.replace(state, owner=self._new_owner(), ended_at=0)
        if not await self._swap(pid, record, encode(mine)):
            return False
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
        one = Joined(state.next_number, room, cursor.room.name, cursor.room.epoch, cursor.offset)
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
            data = msgspec.json.encode(socket.data)
        except (TypeError, ValueError, RecursionError):
            data = UNKEPT
        if len(data) > DATA_BYTES_MAX:
            data = UNKEPT
        if data is UNKEPT and not self._has_warned:
            self._has_warned = True
            log.warning("what is saved with a socket cannot be JSON, or is too large: it cannot go on elsewhere")
        kept.state = msgspec.structs.replace(kept.state, data=data)

    async def save(self, socket: Socket) -> None:
        """Store what has changed. A socket that another connection has taken over meanwhile is ended.

        Raises:
            StoreUnavailable: It is stored or not.
        """
        kept = self._kept.get(socket)
        if kept is None:
            return
        async with kept.lock:
            record = encode(kept.state)
            if kept.is_lost or kept.is_spoilt or record == kept.record:
                return
            if kept.is_unsure:
                await self._look(kept)
            kept.is_unsure = True
            is_ours = await self._swap(kept.pid, kept.record, record)
            kept.is_unsure = False
            if is_ours:
                kept.record = record
                return
        kept.is_lost = True
        socket.carried_by.end(TRANSPORT_CLOSE)

    async def _look(self, kept: Kept) -> None:
        """Find out what is stored, after it was not said whether something was."""
        record = await self._context.engine.records.get(_space(kept.pid), KIND, KEY)
        state = None if record is None else decode(record)
        if record is None or (state is not None and state.owner == kept.state.owner):
            kept.record = record

    async def ended(self, socket: Socket, reason: str) -> str | None:
        """Note that the connection of a socket has ended.

        Returns:
            Under which id it can still go on; None if it cannot, and an empty one if it has gone on already.
        """
        kept = self._kept.pop(socket, None)
        if kept is None or (kept.record is None and not kept.is_unsure):
            return None
        if kept.is_lost:
            return ""
        is_final = reason in FINAL or kept.is_spoilt
        ended = msgspec.structs.replace(kept.state, ended_at=self._context.clock.wall_ms())
        until = ended.ended_at + self._window_ms
        try:
            async with kept.lock:
                if kept.is_unsure:
                    await self._look(kept)
                is_ours = await self._swap(kept.pid, kept.record, None if is_final else encode(ended), until)
        except StoreUnavailable:
            return kept.pid  # as if this node had died
        if not is_ours:
            return ""
        return None if is_final else kept.pid

    def spoil(self, socket: Socket) -> None:
        """Let a socket never go on: it has missed something."""
        kept = self._kept.get(socket)
        if kept is not None:
            kept.is_spoilt = True

    def owner(self, socket: Socket) -> str | None:
        """Return which connection a socket has, as its record says."""
        kept = self._kept.get(socket)
        return None if kept is None else kept.state.owner

    def when_over(self, pid: str, call: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Call this when the window of a socket is over, unless it has gone on; not if this node ends before that."""
        if self._waiting < WAITING_MAX:
            self._waiting += 1
            delay = self._window_ms / 1000 + OVER_S
            asyncio.get_running_loop().call_later(delay, self._over, self._context.engine, pid, call)

    def _over(self, engine: Engine, pid: str, call: Callable[[], Coroutine[Any, Any, None]]) -> None:
        self._waiting -= 1
        if engine.is_running:
            engine.tasks.spawn(self._call_if_over(pid, call))

    async def _call_if_over(self, pid: str, call: Callable[[], Coroutine[Any, Any, None]]) -> None:
        with contextlib.suppress(StoreUnavailable):
            record = await self._context.engine.records.get(_space(pid), KIND, KEY)
            state = None if record is None else decode(record)
            if record is None or (state is not None and state.ended_at and await self._swap(pid, record, None)):
                await call()

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
