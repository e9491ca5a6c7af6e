"""Server-Sent Events straight on the socket's transport: the same bytes to every reader of a room."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from trunkline.core.attendance import NONE
from trunkline.core.cursor import Cursor
from trunkline.core.fanout import Batch
from trunkline.core.grant import ANYBODY, Grant
from trunkline.core.notice import Notice
from trunkline.core.position import Gap, Start
from trunkline.core.room import Room
from trunkline.errors import RequestError, TrunklineError
from trunkline.hub import Hub
from trunkline.transports.stream import LINGER_S, Stream
from trunkline.wire import envelope, poll, sse

_HEAD = b"".join(
    [
        b"HTTP/1.1 200 OK\r\n",
        *(f"{name}: {value}\r\n".encode() for name, value in sse.HEADERS),
    ]
)


class EventStream(Stream):
    """Events for one or several rooms, however their bytes leave.

    A stream of one room sends what all readers of that room are sent. With several, every event's id names all
    rooms' positions, so events are put together for this reader alone.
    """

    __slots__ = ("_positions",)

    def __init__(self, hub: Hub, client: str | None = None) -> None:
        super().__init__(hub, client)
        self._positions: dict[str, str] | None = None

    def send(self, data: bytes) -> None:
        """Send these events."""
        raise NotImplementedError

    def begin(self, joins: list[tuple[Room, Start]], *, many: bool) -> None:
        """Say where the stream begins, and read on from there.

        Args:
            many: Positions name their rooms, as on `/connect`, even if there is only one.
        """
        self.opened()
        hub = self.hub
        begun = []
        at = {}
        for room, start in joins:
            cursor, gap = self.hub.join(self, room, start)
            begun.append((cursor, gap))
            # If the stream is cut before its first gap has arrived, the reader must be told again.
            at[room.name] = f"{room.epoch}.{cursor.offset}" if gap is None else str(start)
        if many:
            self._positions = at
            self.send(sse.opening(poll.positions(at)))
        else:
            self.send(sse.opening(next(iter(at.values()))))
        if self.grant.expires_at is not None or self.attendance is not NONE:  # it has something to renew, or a name
            self.session = self.session or hub.session_id()
            self.send(sse.other_event(b"welcome", self.welcome_body()))
        for cursor, gap in begun:
            if gap is not None:
                self.lose(cursor, gap)
        self.attach(cursor for cursor, _ in begun)
        if hub.fence(self) and self.attendance.watch:
            try:
                for room, _ in joins:
                    self.attend(room.name, self.attendance.within(room.name))
            except RequestError as error:
                self.dismiss(error)

    def is_closing(self) -> bool:
        """Whether the connection has ended, or is about to."""
        raise NotImplementedError

    async def begin_when_open(self, joins: list[tuple[str, Start]], *, many: bool) -> None:
        """`begin`, once the rooms are open, if the stream may still read them then."""
        names = [name for name, _ in joins]
        try:
            async with self.hub.opened(names) as rooms:
                await self.check_read(names)
                if not self.is_closing():
                    starts = [start for _, start in joins]
                    self.begin(list(zip(rooms, starts, strict=True)), many=many)
        except TrunklineError as error:
            if not self.is_closing():
                self.dismiss(error)

    @property
    def messages_max(self) -> int:  # type: ignore[override]
        """Every event of many rooms repeats where all of them stand, so fewer of them make a piece."""
        if self._positions is None:
            return super().messages_max
        return max(1, self.hub.tuning.piece_bytes_max // (len(poll.positions(self._positions)) + 1))

    def may_read_now(self, grant: Grant, room: str) -> bool | None:
        """Whether it may read the room, and be told who is there if its URL wants that; None if it must be asked."""
        may = self.hub.access.may_now(grant, "read", room)
        if may and self.attendance.within(room).watch:
            may = self.hub.access.may_now(grant, "presence", room)
        return may

    async def check_one(self, grant: Grant, room: str) -> None:
        """The same, asked.

        Raises:
            RequestError: It may not.
        """
        await self.hub.access.check(grant, "read", room)
        if self.attendance.within(room).watch:
            await self.hub.access.check(grant, "presence", room)

    async def check_read(self, rooms: Sequence[str]) -> None:
        for room in rooms:
            if self.attendance.within(room).watch:
                await self.hub.access.check(self.grant, "presence", room)
        await super().check_read(rooms)

    def admit(self, grant: Grant) -> None:
        """It is this user's.

        Raises:
            RequestError: `too_many_connections`.
        """
        if grant is not ANYBODY:
            self.session = self.hub.session_id()
            self.grant = grant
            self.hub.access.arrive(self)

    def deny(self, cursor: Cursor, error: TrunklineError) -> None:
        self.dismiss(error)  # a stream's rooms are in its URL: what comes back without this room is another stream

    def blind(self, room: str, error: TrunklineError) -> None:
        self.dismiss(error)  # so is what it wants to be told of them

    def lose(self, cursor: Cursor, gap: Gap) -> None:
        self.send(sse.gap_event(gap, self._moved(gap.room, gap.next)))

    def turn(self, cursor: Cursor) -> None:
        """Nothing to say: the next event's id is of the new epoch, and until then the old one is still understood."""

    def ping(self) -> None:
        if not self.full:
            self.send(sse.KEEP_ALIVE)
        self.heard = True  # there is no answer to wait for: TCP_USER_TIMEOUT notices those who are gone

    def events(self, batch: Batch) -> bytes:
        """The batch's events, with the ids of this stream."""
        if self._positions is None:
            return batch.encoded(sse.events)
        return b"".join(
            [
                sse.event(envelope.message_body(m), self._moved(m.room, f"{batch.epoch}.{m.offset}"))
                for m in batch.messages
            ]
        )

    def _moved(self, room: str, position: str) -> bytes:
        if self._positions is None:
            return position.encode()
        self._positions[room] = position
        return poll.positions(self._positions).encode()


class SseConnection(EventStream, asyncio.Protocol):
    """One event stream on its own transport.

    Args:
        chunked: Not so for a client of HTTP/1.0, whose body ends with the connection (RFC 9112 section 6.1).
    """

    __slots__ = ("_chunked", "_transport")

    def __init__(
        self, hub: Hub, transport: asyncio.Transport, client: str | None = None, *, chunked: bool = True
    ) -> None:
        super().__init__(hub, client)
        self._transport = transport
        self._chunked = chunked

    def respond(self, headers: list[tuple[str, str]]) -> None:
        """Send the head of the response: at once, before anything is known of the rooms."""
        more = "".join(f"{name}: {value}\r\n" for name, value in headers).encode("latin-1")
        framing = b"Transfer-Encoding: chunked\r\n" if self._chunked else b"Connection: close\r\n"
        self._write(b"%b%b%b\r\n" % (_HEAD, framing, more))

    def refuse(self, response: bytes) -> None:
        """Answer with something else than a stream."""
        self._write(response)
        self._transport.close()

    def dismiss(self, error: TrunklineError) -> None:
        self.hub.access.refusals[error.code] += 1
        self.part()
        self.send(sse.other_event(b"closed", envelope.problem_body(error)))
        self._finish()
        self._transport.close()
        asyncio.get_running_loop().call_later(LINGER_S, self._transport.abort)  # whoever does not read is cut off

    def data_received(self, data: bytes) -> None:
        """A reader has nothing more to say; what it sends is ignored."""

    def eof_received(self) -> None:
        self._transport.close()

    def pause_writing(self) -> None:
        self.full = True

    def resume_writing(self) -> None:
        self.unblocked()

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed()
        self.hub.access.door.leave(self.client)

    def notify(self, notice: Notice) -> None:
        self._write(notice.encoded(sse.chunked_notice if self._chunked else sse.notice_events))

    def deliver(self, cursor: Cursor, batch: Batch) -> None:
        if self._positions is None and self._chunked:
            self._transport.write(batch.encoded(sse.chunked_events))
        else:
            self.send(self.events(batch))

    def send(self, data: bytes) -> None:
        self._write(sse.chunk(data) if self._chunked else data)

    def _finish(self) -> None:
        if self._chunked:
            self._write(sse.LAST_CHUNK)

    def _write(self, data: bytes) -> None:
        """Write to a peer that may be gone already: then it is nothing (R58)."""
        if not self._transport.is_closing():
            self._transport.write(data)

    def is_closing(self) -> bool:
        return self._transport.is_closing()

    def abort(self) -> None:
        self._transport.abort()

    def drain(self, retry_after_ms: int) -> None:
        self.send(b"retry: %d\n\n" % retry_after_ms)
        self._finish()
        self._transport.close()
