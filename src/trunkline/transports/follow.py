"""Following one client: what comes of it and goes to it, for a minute, told in the room `$follow.SESSION`.

Theory of operation
===================

A connection that nobody follows pays nothing: there is no hook in it. One that is followed is given another class, a
subclass of its own that notes what passes and then does the same. `__slots__` are the same, so an object can go over
to it and back. What was noted goes out four times a second: into the room here, or to the node that has asked for it,
which tells it in the same room.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from functools import cache
from typing import Any

import msgspec

from trunkline.core.batch import Batch, Notification
from trunkline.core.cluster_messages import Follow, Followed
from trunkline.core.cursor import Cursor
from trunkline.core.position import Gap
from trunkline.core.session import COMMANDS
from trunkline.core.system_rooms import follow_room
from trunkline.engine.engine import Engine
from trunkline.errors import RequestError, TrunklineError
from trunkline.transports.duplex import Duplex
from trunkline.transports.stream import Stream

FOLLOW_S = 60.0
TELL_S = 0.25
TOLD_AT_ONCE = 10  # events, in one signal and one datagram
EVENTS_BYTES_MAX = 48 * 1024  # between two tellings, far within what a room keeps; what more there is, is counted
FIELD_MAX = 255  # characters
TEXT_MAX = 500  # characters of one event
FOLLOWED_MAX = 20  # sessions, of one process
NOT_HERE, FOLLOWED, TOO_MANY = range(3)
"""What a process answers that is asked to follow a session."""

_encode = msgspec.json.Encoder().encode


class Follows:
    """The sessions of this process that are followed, and those of others that are followed from here."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._by_session: dict[str, _Session] = {}
        if engine.cluster is not None:
            engine.cluster.on_request(Follow, self._follow_here)
            engine.cluster.on_message(Followed, lambda told: self._told(told.session, told.number, told.events))

    async def follow(self, wanted: Follow) -> None:
        """Tell what a session does in its room, for a minute. To be asked again before that is over, if it is to go on.

        Raises:
            RequestError: `not_found`, or `rate_limited`: so many are followed already.
        """
        answer = await self._follow_here(wanted)
        node, cluster = wanted.session.partition("-")[0], self._engine.cluster
        if answer == NOT_HERE and cluster is not None and node in cluster:
            answers = (await cluster.ask(wanted, node)).values
            answer = max([int(one) for one in answers if isinstance(one, int)], default=NOT_HERE)
        if answer == NOT_HERE:
            raise RequestError("not_found", "there is no such session, or its node does not answer")
        if answer == TOO_MANY:
            most = f"{FOLLOWED_MAX} sessions of that process are followed already"
            raise RequestError("rate_limited", f"{most}: try again when one of them is over", round(FOLLOW_S * 1000))

    async def _follow_here(self, wanted: Follow) -> int:
        followed = self._by_session.get(wanted.session)
        if followed is None:
            stream = next((s for s in self._engine.connections if getattr(s, "session", "") == wanted.session), None)
            if not isinstance(stream, Stream):
                return NOT_HERE
            if len(self._by_session) >= FOLLOWED_MAX:
                return TOO_MANY
            followed = self._by_session[wanted.session] = _Session(stream, self._tell, self._by_session.pop)
        followed.go_on(contents=wanted.contents)
        return FOLLOWED

    def _tell(self, session: str, number: int, events: bytes) -> None:
        self._told(session, number, events)
        if self._engine.cluster is not None:
            self._engine.cluster.send(Followed, session=session, number=number, events=events)

    def _told(self, session: str, number: int, events: bytes) -> None:
        # A name of its own: of signals with one name only the newest counts.
        self._engine.signals.tell_here(follow_room(session), f"events.{number}", events)


class _Session:
    """A session that is followed.

    Args:
        tell: Called with the session, a number, and what has happened, as a JSON list.
        ended: Called with the session when nobody follows it any more.
    """

    def __init__(
        self,
        stream: Stream,
        tell: Callable[[str, int, bytes], None],
        ended: Callable[[str], object],
    ) -> None:
        self._stream = stream
        self._tell = tell
        self._ended = ended
        self._events: list[bytes] = []
        self._size = 0
        self._left_out = 0
        self._number = 0
        self._contents = False
        self._until = 0.0
        self._class = type(stream)
        stream.__class__ = _followed_class(self._class)  # type: ignore[arg-type]  # classes are hashable
        _SESSIONS[id(stream)] = self
        self._timer = self._later()

    def go_on(self, *, contents: bool) -> None:
        """Follow it for FOLLOW_S from now on.

        Args:
            contents: Tell what messages hold, too.
        """
        self._contents = contents
        self._until = self._stream.context.clock.monotonic() + FOLLOW_S

    def note(self, direction: str, kind: str, size: int, text: bytes | None = None, **more: str | int | None) -> None:
        """Note an event.

        Args:
            direction: `in` comes from the client, `out` goes to it.
            kind: What it is. Like all of *more* it may be of the client's own making, and is clipped.
            size: In bytes.
            text: What it says; told only if contents are.
        """
        event: dict[str, Any] = {"at": self._stream.context.clock.wall_ms(), "direction": direction}
        event |= {"kind": kind[:FIELD_MAX], "bytes": size}
        for name, value in more.items():
            if value is not None:
                event[name] = value[:FIELD_MAX] if isinstance(value, str) else value
        if self._contents and text is not None:
            event["text"] = text[: 4 * TEXT_MAX].decode(errors="replace")[:TEXT_MAX]
        encoded = _encode(event)
        if self._size + len(encoded) > EVENTS_BYTES_MAX:
            self._left_out += 1
        else:
            self._events.append(encoded)
            self._size += len(encoded)

    def end(self, code: int) -> None:
        """Note that the connection has ended, and follow it no longer."""
        self.note("out", "ended", 0, code=code)
        self._timer.cancel()
        self._stop()

    def _later(self) -> asyncio.TimerHandle:
        return asyncio.get_running_loop().call_later(TELL_S, self._tell_noted)

    def _tell_noted(self) -> None:
        self._flush()
        if self._stream.context.clock.monotonic() >= self._until:
            self._stop()
        else:
            self._timer = self._later()

    def _flush(self) -> None:
        events, self._events, self._size = self._events, [], 0
        if self._left_out:
            left_out = {"at": self._stream.context.clock.wall_ms(), "kind": "left out", "count": self._left_out}
            events.append(_encode(left_out))
            self._left_out = 0
        for at in range(0, len(events), TOLD_AT_ONCE):
            self._number += 1
            self._tell(self._stream.session, self._number, b"[%b]" % b",".join(events[at : at + TOLD_AT_ONCE]))

    def _stop(self) -> None:
        del _SESSIONS[id(self._stream)]
        self._stream.__class__ = self._class
        self._flush()
        self._ended(self._stream.session)


_SESSIONS: dict[int, _Session] = {}  # by the id of the stream, which lives as long as it is in here


@cache
def _followed_class(plain: type[Stream]) -> type[Stream]:
    """Return the class of a followed connection."""

    class FollowedStream(plain):  # type: ignore[misc, valid-type]  # a base that is only known now
        __slots__ = ()

        def deliver(self, cursor: Cursor, batch: Batch) -> None:
            first, last = batch.messages[0], batch.messages[-1]
            size = sum([len(memoryview(message.json)) for message in batch.messages])
            _SESSIONS[id(self)].note(
                "out", "messages", size, bytes(last.json), room=last.room, offset=first.offset, to=last.offset
            )
            plain.deliver(self, cursor, batch)

        def gap(self, cursor: Cursor, gap: Gap) -> None:
            _SESSIONS[id(self)].note("out", "gap", 0, room=gap.room, reason=gap.reason, offset=gap.first, to=gap.last)
            plain.gap(self, cursor, gap)

        def notify(self, notification: Notification) -> None:
            for kind, body in notification.events:
                _SESSIONS[id(self)].note("out", kind, len(body), body)
            plain.notify(self, notification)

        def ping(self) -> None:
            _SESSIONS[id(self)].note("out", "ping", 0)
            plain.ping(self)

        def dismiss(self, error: TrunklineError) -> None:
            _SESSIONS[id(self)].note("out", "dismissed", 0, reason=error.code)
            plain.dismiss(self, error)

        def closed(self) -> None:
            followed = _SESSIONS.get(id(self))
            plain.closed(self)
            if followed is not None:
                followed.end(self.end_code)

        if issubclass(plain, Duplex):

            def receive(self, text: bytes) -> None:
                _note_text(_SESSIONS[id(self)], "in", text)
                plain.receive(self, text)

            def send(self, *events: bytes) -> None:
                for event in events:
                    _note_text(_SESSIONS[id(self)], "out", event)
                plain.send(self, *events)

    return FollowedStream


class _Line(msgspec.Struct):
    """What is told of a command or an event without its contents."""

    type: str = "?"
    room: str | None = None
    id: str | None = None
    offset: int | None = None
    code: str | None = None


_decode_line = msgspec.json.Decoder(_Line).decode
_TOKEN = re.compile(rb'"token"', re.IGNORECASE)


def _note_text(session: _Session, direction: str, text: bytes) -> None:
    """Note a command or an event. What may hold a token is never told: of the client's only what is a command."""
    try:
        line = _decode_line(text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        line = _Line()
    is_known = direction == "out" or (line.type in COMMANDS and line.type != "auth")
    told = text if is_known and _TOKEN.search(text) is None else None
    kind = line.type if direction == "out" or line.type in COMMANDS else "no command"
    session.note(direction, kind, len(text), told, room=line.room, id=line.id, offset=line.offset, code=line.code)
