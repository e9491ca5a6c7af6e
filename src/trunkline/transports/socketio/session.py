"""Sessions of Engine.IO: packets both ways, by whatever carries them, kept alive, and ended once.

A session is carried by requests or by a WebSocket (`lifecycle.py`). What it is to send while requests carry it waits
for the next one, within a bound: beyond it the session is full, and its reader falls behind like any other.
"""

from __future__ import annotations

import asyncio
import base64
import logging
import secrets
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from trunkline.core.limits import Limits
from trunkline.engine.clock import Clock
from trunkline.errors import RequestError
from trunkline.transports.socketio.deadlines import Deadlines
from trunkline.transports.socketio.lifecycle import IS_POLLED, TRANSITIONS, Event, State, can
from trunkline.wire import engineio as wire
from trunkline.wire.engineio import Packet, Transport

log = logging.getLogger("trunkline")

BUFFER_BYTES_MAX = 64 * 1024  # with so much to send, a session that is polled is full
SEND_BYTES_MAX = 8 * 1024 * 1024  # beyond it, a client that does not read what it has asked for is cut
NOOP_S = 0.1  # how long a request waits while a WebSocket is tried
LATE_S = 1.0  # a timer that comes later than this was not the only thing that had to wait
LEAVING_S = 5.0  # how long a client that has said goodbye may still ask

CLIENT_DISCONNECT = "client disconnect"
SERVER_DISCONNECT = "server disconnect"
PING_TIMEOUT = "ping timeout"
TRANSPORT_CLOSE = "transport close"
TRANSPORT_ERROR = "transport error"

NO_UPGRADE = "trunkline.no_upgrade"
"""Under this key of a request's scope it is said that its server cannot do WebSockets."""

Out = str | bytes
"""A packet as a WebSocket message: a text with its type in front, or the bytes of a binary message."""


class Settings(NamedTuple):
    """How sessions are held.

    Attributes:
        ping_interval_s: Between two pings.
        ping_timeout_s: How long after a ping the client must have been heard.
        bytes_max: The most that a client may send at once.
        upgrade_s: How long trying a WebSocket may take.
        transports: Those that are served.
        allow_upgrades: Whether a session that is polled may go over to a WebSocket.
    """

    ping_interval_s: float = 25.0
    ping_timeout_s: float = 20.0
    bytes_max: int = 1_000_000
    upgrade_s: float = 10.0
    transports: tuple[str, ...] = ("polling", "websocket")
    allow_upgrades: bool = True

    @property
    def upgrades(self) -> Sequence[Transport]:
        """To what a polled session may go over."""
        return ["websocket"] if self.allow_upgrades and "websocket" in self.transports else []


class Carrier(Protocol):
    """A WebSocket, as a session has it."""

    def send(self, packets: Sequence[Out]) -> None:
        """Send packets."""

    def hold(self) -> None:
        """Stop reading from the client."""

    def release(self) -> None:
        """Read from the client again."""

    def leave(self) -> None:
        """Send a close frame, and end."""

    def unsent(self) -> int:
        """Return how many bytes wait to be sent."""


class Owner(Protocol):
    """Whose session it is: what speaks over it."""

    def received(self, data: str | bytes) -> None:
        """Take a message.

        Raises:
            ValueError: It is none: the session ends.
        """

    def full_changed(self) -> None:
        """Note that the session is full now, or takes packets again."""

    def ended(self, reason: str) -> None:
        """Note that the session has ended."""


class Session:
    """One session.

    Attributes:
        sid: Its id, which opens it to whoever has it.
        request: The scope of the request that opened it.
        owner: What speaks over it.
        carrier: The WebSocket that carries it, if one does.
        full: Whether it takes no more for now.
        held: Whether the client must not be read.
        key: Under which the sessions of its client are counted.
    """

    __slots__ = (
        "_buffer", "_buffered", "_leaving", "_offered", "_poll", "_prober", "_sessions", "carrier", "full", "held",
        "key", "owner", "request", "sid", "state", "unanswered_since",
    )  # fmt: skip

    def __init__(self, sessions: Sessions, sid: str, request: Mapping[str, Any], carrier: Carrier | None) -> None:
        self._sessions = sessions
        self.sid = sid
        self.request = request
        self.owner: Owner
        self.state = State.POLLING if carrier is None else State.WEBSOCKET
        self.full = False
        self.held = False
        self.key: str | None = None
        self.unanswered_since: float | None = None  # a ping
        self.carrier = carrier
        self._offered: list[Carrier] = []  # those that may become it
        self._prober: Carrier | None = None
        self._buffer: list[Out] = []
        self._buffered = 0
        self._poll: asyncio.Future[str | None] | None = None
        self._leaving: asyncio.TimerHandle | None = None

    @property
    def transport(self) -> Transport:
        """What carries it."""
        return "websocket" if self.carrier is not None else "polling"

    @property
    def is_open(self) -> bool:
        """Whether packets can be sent."""
        return self.state in IS_POLLED or self.state is State.WEBSOCKET

    # Sending.

    def send(self, packets: Sequence[Out]) -> None:
        """Send packets, whether the session is full or not: what must not pile up is not sent to one that is."""
        if not packets:
            return
        if self.carrier is not None:
            self.carrier.send(packets)
            if self.carrier.unsent() > SEND_BYTES_MAX:
                self._end_soon()
        elif self.state in IS_POLLED:
            self._buffer += packets
            self._buffered += sum(map(len, packets))
            self._answer_poll()
            if self._buffered > SEND_BYTES_MAX:
                self._end_soon()
            elif self._buffered >= BUFFER_BYTES_MAX:
                self.fill(full=True)

    def _end_soon(self) -> None:
        """End the session when the caller is done, which may be the fan-out."""
        asyncio.get_running_loop().call_soon(self.end, TRANSPORT_ERROR)

    def message(self, *messages: Out) -> None:
        """Send messages: texts, or bytes."""
        self.send([message if isinstance(message, bytes) else wire.MESSAGE + message for message in messages])

    def fill(self, *, full: bool) -> None:
        """Note whether the session takes no more for now."""
        if full is not self.full:
            self.full = full
            self.owner.full_changed()

    def ping(self) -> None:
        """Send a ping."""
        self.send([wire.PING])

    # Receiving.

    def heard(self) -> None:
        """Note that the client is there."""
        self.unanswered_since = None

    def receive(self, packet: Packet) -> None:
        """Take a packet of the client's."""
        if not self.is_open:
            return
        if packet.type == wire.MESSAGE:
            try:
                self.owner.received(packet.data)
            except ValueError as error:
                log.debug("a client of Socket.IO is sent away: %s", error)
                self.end(TRANSPORT_ERROR)
        elif packet.type == wire.CLOSE:
            self._left()
        elif packet.type in (wire.UPGRADE, wire.PING):
            self.end(TRANSPORT_ERROR)  # neither has a place here: no other transport, and no server, sends one

    def hold(self) -> None:
        """Read from the client no more."""
        self.held = True
        if self.carrier is not None:
            self.carrier.hold()

    def release(self) -> None:
        """Read from the client again."""
        self.held = False
        if self.carrier is not None:
            self.carrier.release()

    # Requests.

    def poll(self) -> asyncio.Future[str | None] | None:
        """Return the body of the answer to a GET, when there is something to answer; None if there may be none.

        Two at once mean that the client has lost count: the one that waits is told goodbye, and the session ends.
        """
        if self.state is State.LEAVING:
            self._end_leaving()
            return _done(wire.NOOP)
        if self.state not in IS_POLLED:
            return None
        if self._poll is not None:
            self._answer(wire.CLOSE)
            self.end(TRANSPORT_ERROR)
            return None
        self._poll = asyncio.get_running_loop().create_future()
        waiting = self._poll
        if self._buffer:
            self._answer_poll()
        elif self.state is State.PROBING:
            asyncio.get_running_loop().call_later(NOOP_S, self._answer_noop, waiting)
        return waiting

    def poll_cancelled(self) -> None:
        """Note that the client did not wait for the answer: what was in it is lost, so the session is, too."""
        self._poll = None
        self.end(TRANSPORT_CLOSE)

    def _answer_poll(self) -> None:
        if self._poll is None or not self._buffer:
            return
        buffer, self._buffer, self._buffered = self._buffer, [], 0
        self._answer(wire.SEPARATOR.join(map(_in_payload, buffer)))
        if self.full:
            asyncio.get_running_loop().call_soon(self._drained)

    def _drained(self) -> None:
        if self.is_open:
            self.fill(full=False)

    def _answer(self, body: str | None) -> None:
        waiting, self._poll = self._poll, None
        if waiting is not None and not waiting.done():
            waiting.set_result(body)

    def _answer_noop(self, waiting: asyncio.Future[str | None]) -> None:
        if self._poll is waiting:
            self._answer(wire.NOOP)

    # A WebSocket that is tried.

    def offer(self, carrier: Carrier) -> None:
        """Let a WebSocket be tried. Of several the first that the client goes over to is taken, and the others end."""
        if self.state in IS_POLLED:
            self._offered.append(carrier)
        else:
            carrier.leave()

    def probe(self, carrier: Carrier) -> bool:
        """Try a WebSocket; return whether the session may go over to it."""
        if not can(self.state, Event.PROBED):
            return False
        self._prober = carrier
        self._apply(Event.PROBED)
        self._answer(wire.NOOP)
        return True

    def upgrade(self, carrier: Carrier) -> bool:
        """Go over to a WebSocket that was tried; return whether that could be."""
        if self._prober is not carrier or not can(self.state, Event.UPGRADED):
            return False
        self._apply(Event.UPGRADED)
        self._prober, self.carrier = None, carrier
        self._leave_offered()
        self._answer(None)  # one that waits has come too late
        buffer, self._buffer, self._buffered = self._buffer, [], 0
        self.fill(full=False)  # the carrier says so if it is full with that
        if buffer:
            carrier.send(buffer)
        if self.held:
            carrier.hold()
        return True

    def _leave_offered(self) -> None:
        offered, self._offered = self._offered, []
        for carrier in offered:
            if carrier is not self.carrier:
                carrier.leave()

    def carrier_ended(self, carrier: Carrier) -> None:
        """Note that a WebSocket has ended: the one that carries the session, or the one that was tried."""
        if carrier in self._offered:
            self._offered.remove(carrier)
        if carrier is self.carrier:
            self.carrier = None
            self.end(TRANSPORT_CLOSE)
        elif carrier is self._prober:
            self._prober = None
            if can(self.state, Event.PROBE_ENDED):
                self._apply(Event.PROBE_ENDED)

    # The end.

    def _left(self) -> None:
        """Note that the client has said goodbye."""
        if self.state in IS_POLLED:
            self._apply(Event.LEFT)
            is_told = self._poll is not None
            self._answer(wire.NOOP)
            self._close_carriers()
            self.owner.ended(TRANSPORT_CLOSE)
            if is_told:
                self._end_leaving()
            else:
                self._leaving = asyncio.get_running_loop().call_later(LEAVING_S, self._end_leaving)
        else:
            self.end(TRANSPORT_CLOSE)

    def _end_leaving(self) -> None:
        if self._leaving is not None:
            self._leaving.cancel()
            self._leaving = None
        self._apply(Event.ENDED)
        self._sessions.forget(self)

    def end(self, reason: str) -> None:
        """End the session, and tell the client, if it can be told. Harmless if it has ended."""
        if not self.is_open:
            return
        self._apply(Event.ENDED)
        self._sessions.forget(self)
        buffer, self._buffer = self._buffer, []
        self._answer(wire.SEPARATOR.join(map(_in_payload, [*buffer, wire.CLOSE])))
        self._close_carriers()
        self.owner.ended(reason)

    def _close_carriers(self) -> None:
        carrier, self.carrier, self._prober = self.carrier, None, None
        if carrier is not None:
            carrier.leave()
        self._leave_offered()

    def _apply(self, event: Event) -> None:
        self.state = TRANSITIONS[self.state, event]


def _in_payload(packet: Out) -> str:
    return f"b{base64.b64encode(packet).decode()}" if isinstance(packet, bytes) else packet


def _done(body: str) -> asyncio.Future[str | None]:
    done: asyncio.Future[str | None] = asyncio.get_running_loop().create_future()
    done.set_result(body)
    return done


class Sessions:
    """All sessions of one server of Engine.IO in this process.

    Args:
        node: Returns this process's name, with which the ids of its sessions begin.
        make_owner: Returns what speaks over a new session.
        limits: Returns those of the hub.
    """

    def __init__(
        self,
        settings: Settings,
        clock: Clock,
        node: Callable[[], str],
        make_owner: Callable[[Session], Owner],
        limits: Callable[[], Limits] = Limits,
    ) -> None:
        if settings.ping_interval_s <= 0 or settings.ping_timeout_s <= 0:
            raise ValueError("the ping interval and the ping timeout are more than 0 seconds")
        self.settings = settings
        self._clock = clock
        self._node = node
        self._make_owner = make_owner
        self._limits = limits
        self._by_key: Counter[str] = Counter()
        self._sessions: dict[str, Session] = {}
        self._pings: Deadlines[Session] = Deadlines(settings.ping_interval_s)
        self._pongs: Deadlines[Session] = Deadlines(settings.ping_timeout_s)
        self._timers: dict[int, asyncio.TimerHandle] = {}

    def __len__(self) -> int:
        return len(self._sessions)

    def __iter__(self) -> Iterator[Session]:
        return iter(list(self._sessions.values()))

    def get(self, sid: str) -> Session | None:
        """Return a session by its id."""
        return self._sessions.get(sid)

    def new_sid(self) -> str:
        """Return an id that no session has, and that cannot be guessed: it names its node, and then 120 random bits."""
        return f"{self._node()}.{secrets.token_urlsafe(15)}"

    def check_count(self, key: str | None) -> None:
        """Let one more session be opened: those that are polled hold no connection that would be counted.

        Raises:
            RequestError: `server_full` or `too_many_connections`.
        """
        limits = self._limits()
        if len(self._sessions) >= limits.connections_max:
            raise RequestError("server_full", "this server has all the sessions it can hold", 5000)
        most = limits.connections_per_address_max
        if key is not None and self._by_key[key] >= most:
            raise RequestError("too_many_connections", f"at most {most} sessions of one address", 5000)

    def open(
        self,
        request: Mapping[str, Any],
        carrier: Carrier | None = None,
        made: Callable[[Session], None] = lambda _: None,
        *,
        key: str | None = None,
    ) -> Session:
        """Open a session, and send its handshake.

        Args:
            request: The scope of the request that opens it.
            carrier: The WebSocket that it came by.
            made: Called with it before anything is sent.
            key: Under which the sessions of its client are counted; None if they are not.
        """
        settings = self.settings
        session = Session(self, self.new_sid(), request, carrier)
        made(session)
        session.owner = self._make_owner(session)
        self._sessions[session.sid] = session
        session.key = key
        if key is not None:
            self._by_key[key] += 1
        packet = wire.handshake(
            session.sid,
            [] if carrier is not None or request.get(NO_UPGRADE) else settings.upgrades,
            round(settings.ping_interval_s * 1000),
            round(settings.ping_timeout_s * 1000),
            settings.bytes_max,
        )
        session.send([f"{packet.type}{packet.data!s}"])
        self._pings.add(session, self._clock.monotonic())
        self._set_timer(self._pings, self._send_pings)
        return session

    def forget(self, session: Session) -> None:
        """Forget a session that has ended."""
        if self._sessions.pop(session.sid, None) is not None and session.key is not None:
            self._by_key[session.key] -= 1
            if self._by_key[session.key] <= 0:
                del self._by_key[session.key]

    def end_all(self) -> None:
        """End all sessions: their clients are to come back."""
        for session in self:
            session.end(TRANSPORT_CLOSE)

    def stop(self) -> None:
        """Keep none alive any more."""
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()

    # Life.

    def _set_timer(self, deadlines: Deadlines[Session], call: Callable[[], None]) -> None:
        at = deadlines.next_at
        if at is not None and id(deadlines) not in self._timers:
            delay = max(0.0, at - self._clock.monotonic())
            self._timers[id(deadlines)] = asyncio.get_running_loop().call_later(delay, call)

    def _send_pings(self) -> None:
        self._timers.pop(id(self._pings), None)
        now = self._clock.monotonic()
        for session in self._pings.take_due(now):
            if not session.is_open:
                continue
            session.ping()
            if session.unanswered_since is None:
                session.unanswered_since = now
            self._pings.add(session, now)
            self._pongs.add(session, now)
        self._set_timer(self._pings, self._send_pings)
        self._set_timer(self._pongs, self._end_silent)

    def _end_silent(self) -> None:
        self._timers.pop(id(self._pongs), None)
        now = self._clock.monotonic()
        at = self._pongs.next_at
        if at is not None and now - at > LATE_S:  # this process was away: what has come meanwhile is read first
            self._pongs.postpone(now - at + LATE_S)
        for session in self._pongs.take_due(now):
            since = session.unanswered_since
            if session.held and session.is_open:  # what it has answered may not have been read
                session.heard()
            elif session.is_open and since is not None and now - since >= self._pongs.delay_s - 1e-6:
                session.end(PING_TIMEOUT)
        self._set_timer(self._pongs, self._end_silent)
