"""Server-Sent Events straight on the socket's transport: the same bytes to every reader of a room."""

from __future__ import annotations

import asyncio

from trunkline.core.address_limits import Counted
from trunkline.core.batch import Batch, Notification
from trunkline.core.close_codes import CloseCode, code_of
from trunkline.core.cursor import Cursor, Room
from trunkline.core.grant import UNAUTHENTICATED, Grant
from trunkline.core.position import Gap
from trunkline.core.presence_options import NO_PRESENCE
from trunkline.errors import RequestError, TrunklineError
from trunkline.transports import refusals
from trunkline.transports.consumption import Consumption
from trunkline.transports.context import Context
from trunkline.transports.stream import LINGER_S, Stream
from trunkline.wire import poll, sse
from trunkline.wire.batches import sse_chunk, sse_events, sse_notification, sse_notification_chunk
from trunkline.wire.query import ReadQuery

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

    __slots__ = ("_consumption", "_positions")

    transport = "sse"

    def __init__(self, context: Context, key: str | None = None, address: str = "") -> None:
        super().__init__(context, key, address)
        self._positions: dict[str, str] | None = None
        self._consumption: Consumption | None = None

    def send(self, data: bytes) -> None:
        """Send these events."""
        raise NotImplementedError

    def is_closing(self) -> bool:
        """Return whether the connection has ended, or is about to."""
        raise NotImplementedError

    # Beginning.

    def admit(self, grant: Grant) -> None:
        """Let the stream be of this grant.

        Raises:
            RequestError: `too_many_connections`.
        """
        if grant is not UNAUTHENTICATED:
            self.session = self.context.engine.connections.new_session()
            self.grant = grant
            self.context.access.register(self)

    def begin(self, query: ReadQuery, rooms: list[Room]) -> None:
        """Say where the stream begins, and read on from there. The rooms are open."""
        self.opened()
        self.context.connected(self)
        engine = self.context.engine
        begun = []
        at = {}
        for room, (_, start) in zip(rooms, query.joins, strict=True):
            self.joined(start)
            cursor, gap = engine.delivery.join(self, room, start)
            begun.append((cursor, gap))
            # If the stream is cut before its first gap has arrived, the reader must be told again.
            at[room.name] = f"{room.epoch}.{cursor.offset}" if gap is None else str(start)
        if query.consume is not None:
            self._consumption = Consumption(self.context, self, query.consume)
            self._consumption.begin()
        elif query.names_rooms:
            self._positions = at
            self.send(sse.opening(poll.positions(at)))
        else:
            self.send(sse.opening(next(iter(at.values()))))
        if self.grant.expires_at is not None or self.presence is not NO_PRESENCE:  # a token to renew, or a name
            self.send(sse.other_event(b"welcome", self.welcome_body()))
        for cursor, gap in begun:
            if gap is not None:
                self.gap(cursor, gap)
        self.attach(cursor for cursor, _ in begun)
        if engine.connections.replace_others(self) and self.presence.watch:
            try:
                for room in rooms:
                    self.enter_presence(room.name, self.presence.for_room(room.name))
            except RequestError as error:
                self.dismiss(error)

    def stop_reading(self) -> None:
        if self._consumption is not None:
            self._consumption.end()
        super().stop_reading()

    async def begin_when_open(self, query: ReadQuery) -> None:
        """Begin, as `begin` does, once the rooms are open, if the stream may still read them then."""
        try:
            async with self.context.engine.follower.opened(query.rooms) as rooms:
                await self.check_needs(list(query.needs()))
                if not self.is_closing():
                    self.begin(query, rooms)
        except TrunklineError as error:
            if not self.is_closing():
                self.dismiss(error)

    # What the engine calls.

    @property
    def messages_max(self) -> int:  # type: ignore[override]
        """Every event of many rooms repeats where all of them stand, so fewer of them make a piece."""
        if self._positions is None:
            return super().messages_max
        return max(1, self.context.engine.tuning.piece_bytes_max // (len(poll.positions(self._positions)) + 1))

    def gap(self, cursor: Cursor, gap: Gap) -> None:
        self.gaps += 1
        self.send(sse.gap_event(gap, self._moved(gap.room, gap.next)))

    def epoch_changed(self, cursor: Cursor) -> None:
        """Do nothing: the next event's id is of the new epoch, and until then the old one is still understood."""

    def read_revoked(self, cursor: Cursor, error: TrunklineError) -> None:
        self.dismiss(error)  # a stream's rooms are in its URL: one without this room is another stream

    async def recheck_rooms(self) -> None:
        await super().recheck_rooms()
        if self._consumption is not None:
            try:
                await self.context.access.check_all(self.grant, self._consumption.query.needs())
            except TrunklineError as error:
                self.dismiss(error)

    def presence_revoked(self, room: str, error: TrunklineError) -> None:
        self.dismiss(error)  # so is what it watches

    def ping(self) -> None:
        if not self.full:
            self.send(sse.KEEP_ALIVE)
        self.heard = True  # there is no answer to wait for: TCP_USER_TIMEOUT notices a client that is gone

    def events(self, batch: Batch) -> bytes:
        """Return the batch's events, with the ids of this stream."""
        if self._positions is None:
            return batch.encoded(sse_events)
        return b"".join(
            [
                sse.entry(message, self._moved(message.room, f"{batch.epoch}.{message.offset}"))
                for message in batch.messages
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
        admission: How the connection is counted.
        chunked: Not so for a client of HTTP/1.0, whose body ends with the connection (RFC 9112 section 6.1).
    """

    __slots__ = ("_admission", "_chunked", "_transport")

    def __init__(
        self, context: Context, transport: asyncio.Transport, admission: Counted, *, chunked: bool = True
    ) -> None:
        super().__init__(context, admission.key, admission.address)
        self._transport = transport
        self._admission = admission
        self._chunked = chunked

    def respond(self, headers: list[tuple[str, str]]) -> None:
        """Send the head of the response: at once, before anything is known of the rooms."""
        more = "".join(f"{name}: {value}\r\n" for name, value in headers).encode("latin-1")
        framing = b"Transfer-Encoding: chunked\r\n" if self._chunked else b"Connection: close\r\n"
        self._write(b"%b%b%b\r\n" % (_HEAD, framing, more))

    def take_over(self, query: ReadQuery, *, chunked: bool) -> asyncio.BaseProtocol:
        """Go on with a response whose head is sent already, and begin once the rooms are open."""
        self._chunked = chunked
        self._transport.set_protocol(self)
        self.send(sse.KEEP_ALIVE)
        self.context.engine.tasks.spawn(self.begin_when_open(query))
        return self

    def refuse(self, response: bytes) -> None:
        """Answer with something else than a stream."""
        self._write(response)
        self._transport.close()

    def dismiss(self, error: TrunklineError) -> None:
        self.end_code = code_of(error)
        self.stop_reading()
        self.send(refusals.as_closed(self.context.access, error, self.who))
        self._finish()
        self._transport.close()
        asyncio.get_running_loop().call_later(LINGER_S, self._transport.abort)  # a client that does not read is cut

    # What the transport calls.

    def data_received(self, data: bytes) -> None:
        """Ignore it: a reader has nothing more to say."""

    def eof_received(self) -> None:
        self.end_code = CloseCode.NORMAL
        self._transport.close()

    def pause_writing(self) -> None:
        self.full = True

    def resume_writing(self) -> None:
        self.writable()

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed()
        self._admission.release()

    # What the engine calls.

    def notify(self, notification: Notification) -> None:
        self._write(notification.encoded(sse_notification_chunk if self._chunked else sse_notification))

    def deliver(self, cursor: Cursor, batch: Batch) -> None:
        if self._positions is None and self._chunked:
            self._transport.write(batch.encoded(sse_chunk))
        else:
            self.send(self.events(batch))

    def send(self, data: bytes) -> None:
        self._write(sse.chunk(data) if self._chunked else data)

    def is_closing(self) -> bool:
        return self._transport.is_closing()

    def abort(self) -> None:
        self._transport.abort()

    def drain(self, retry_after_ms: int) -> None:
        self.end_code = CloseCode.SERVICE_RESTART
        self.send(b"retry: %d\n\n" % retry_after_ms)
        self._finish()
        self._transport.close()

    def _finish(self) -> None:
        if self._chunked:
            self._write(sse.LAST_CHUNK)

    def _write(self, data: bytes) -> None:
        """Write, unless the peer has gone already."""
        if not self._transport.is_closing():
            self._transport.write(data)
