"""Sessions of other nodes: a request or a WebSocket that came to the wrong one is passed on by a tunnel.

So a load balancer may send each request wherever it likes. The id of a session names its node.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Literal

import msgspec

from trunkline.engine.engine import Engine
from trunkline.engine.tunnels import TunnelEnd
from trunkline.transports.socketio.names import is_sid
from trunkline.transports.socketio.session import TRANSPORT_CLOSE, TRANSPORT_ERROR, Out, Session, Sessions
from trunkline.transports.socketio.websocket import AsgiPacketSocket, Conversation, PacketSocket
from trunkline.transports.socketio.websocket import Begin as OnWebSocket
from trunkline.wire import engineio as wire

PACKETS_MAX = 1000  # of one POST


class Begin(msgspec.Struct, tag="b", array_like=True):
    """What has come for a session."""

    kind: Literal["get", "post", "websocket"]
    sid: str
    body: str = ""


class Answer(msgspec.Struct, tag="a", array_like=True):
    """What a request is answered with; None if it has no place."""

    body: str | None


class Text(msgspec.Struct, tag="t", array_like=True):
    """A text message of a WebSocket."""

    text: str


class Binary(msgspec.Struct, tag="d", array_like=True):
    """A binary message of a WebSocket."""

    data: bytes


class Hold(msgspec.Struct, tag="h", array_like=True):
    """Whether the client must not be read."""

    held: bool


class Full(msgspec.Struct, tag="f", array_like=True):
    """Whether the client takes no more."""

    full: bool


Message = Begin | Answer | Text | Binary | Hold | Full
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Message).decode


def node_of(sid: str) -> str:
    """Return the node that an id names; empty if it names none."""
    return sid.rpartition(".")[0]


class Relay:
    """The way to the sessions of other nodes, and from them to ours.

    Args:
        service: The name of the server's tunnels, the same on all nodes.
    """

    def __init__(self, sessions: Sessions, service: str) -> None:
        self._sessions = sessions
        self._service = service
        self._engine: Engine | None = None

    def attach(self, engine: Engine) -> None:
        """Serve the other nodes, by this engine."""
        self._engine = engine
        if engine.tunnels is not None:
            engine.tunnels.serve(self._service, self._accept)

    def _open(self, sid: str) -> TunnelEnd | None:
        if not self.knows(sid) or self._engine is None or self._engine.tunnels is None:
            return None
        return self._engine.tunnels.open(node_of(sid), self._service)

    def knows(self, sid: str) -> bool:
        """Return whether a session may be on another node that runs."""
        engine = self._engine
        return (
            engine is not None and is_sid(sid) and engine.cluster is not None and engine.cluster.may_run(node_of(sid))
        )

    # Here, of a session that is elsewhere.

    def request(self, kind: Literal["get", "post"], sid: str, body: str = "") -> Forwarded | None:
        """Pass a request on; None if no node has such a session."""
        end = self._open(sid)
        return None if end is None else Forwarded(end, Begin(kind, sid, body))

    def websocket(self, sid: str) -> TunnelEnd | None:
        """Open the way for a WebSocket; None if no node has such a session."""
        return self._open(sid)

    # Here, of a session that is here.

    def _accept(self, end: TunnelEnd) -> None:
        def begin(data: bytes) -> None:
            message = _decode(data)
            session = self._sessions.get(message.sid) if isinstance(message, Begin) else None
            if session is None or not isinstance(message, Begin):
                end.send(_encode(Answer(None)))
                end.end()
            elif message.kind == "get":
                _answer_get(session, end)
            elif message.kind == "post":
                assert self._engine is not None
                self._engine.tasks.spawn(_answer_post(session, message.body, end))
            else:
                RemoteWebSocket(end, session).begin(self._sessions.settings.upgrade_s)

        end.on_message = begin


class Forwarded:
    """A request that another node answers."""

    def __init__(self, end: TunnelEnd, begin: Begin) -> None:
        self._end = end
        self.answer: asyncio.Future[str | None] = asyncio.get_running_loop().create_future()
        end.on_message = self._answered
        end.on_end = lambda _: self._settle(None)
        end.send(_encode(begin))

    def _answered(self, data: bytes) -> None:
        message = _decode(data)
        self._settle(message.body if isinstance(message, Answer) else None)
        self._end.end()

    def _settle(self, body: str | None) -> None:
        if not self.answer.done():
            self.answer.set_result(body)

    def cancel(self) -> None:
        """Have it answered no more: the client is gone."""
        self._end.end()


def _answer_get(session: Session, end: TunnelEnd) -> None:
    waiting = session.poll()
    if waiting is None:
        end.send(_encode(Answer(None)))
        end.end()
        return

    def message(_: bytes) -> None:
        """Do nothing: a request has nothing more to say."""

    def ended(clean: bool) -> None:
        if not waiting.done():
            waiting.cancel()
            session.poll_cancelled()
        elif not clean:
            session.end(TRANSPORT_CLOSE)  # what was in the answer may be lost

    def answer(done: asyncio.Future[str | None]) -> None:
        if not done.cancelled() and not end.is_closed:
            end.send(_encode(Answer(done.result())))

    end.on_message, end.on_end = message, ended
    waiting.add_done_callback(answer)


async def _answer_post(session: Session, body: str, end: TunnelEnd) -> None:
    end.send(_encode(Answer("ok" if await take_post(session, body) else None)))


async def take_post(session: Session, body: str, patience_s: float = 30.0) -> bool:
    """Take the packets of a POST's body, after those that came before; return False if they have no place.

    Args:
        patience_s: How long to wait for what was sent before it.
    """
    try:
        async with asyncio.timeout(patience_s):
            while session.held and session.is_open:  # noqa: ASYNC110 - rare, and nothing is lost by a moment
                await asyncio.sleep(0.02)
        packets = wire.decode_payload(body, PACKETS_MAX)
    except (TimeoutError, wire.BadPacket):
        session.end(TRANSPORT_ERROR)
        return False
    if not session.is_open:
        return False
    session.heard()
    for packet in packets:
        session.receive(packet)
    return True


class RemoteWebSocket:
    """A WebSocket that another node has, as a session here has it (`session.Carrier`)."""

    def __init__(self, end: TunnelEnd, session: Session) -> None:
        self._end = end
        self._session = session
        self._is_full_there = False
        self._conversation = Conversation(self, session, probing=True)
        end.on_message = self._received
        end.on_end = lambda _: self._conversation.ended()
        end.on_drained = self._drained

    def begin(self, upgrade_s: float) -> None:
        """Be tried for the session."""
        self._conversation.wait_for_upgrade(upgrade_s)
        self._session.offer(self)

    def _received(self, data: bytes) -> None:
        message = _decode(data)
        if isinstance(message, Text):
            self._conversation.receive_text(message.text)
        elif isinstance(message, Binary):
            self._conversation.receive_bytes(message.data)
        elif isinstance(message, Full):
            self._is_full_there = message.full
            self._conversation.full_changed(full=self._is_full_there or self._end.is_full)

    def _drained(self) -> None:
        self._conversation.full_changed(full=self._is_full_there)

    def send(self, packets: Sequence[Out]) -> None:
        for packet in packets:
            self._end.send(_encode(Text(packet) if isinstance(packet, str) else Binary(packet)))
        if self._end.is_full:
            self._conversation.full_changed(full=True)

    def hold(self) -> None:
        self._end.send(_encode(Hold(held=True)))

    def release(self) -> None:
        self._end.send(_encode(Hold(held=False)))

    def leave(self) -> None:
        self._end.end()

    def unsent(self) -> int:
        return self._end.unsent_bytes


class PassedOn:
    """What a client says on a WebSocket whose session is on another node (`websocket.Talk`)."""

    def __init__(self, carrier: PacketSocket | AsgiPacketSocket, end: TunnelEnd, sid: str) -> None:
        self._carrier = carrier
        self._end = end
        self._is_held_there = False
        end.on_message = self._received
        end.on_end = lambda _: carrier.leave()
        end.on_drained = self._update
        end.send(_encode(Begin("websocket", sid)))

    @property
    def is_held(self) -> bool:
        """Whether the client must not be read."""
        return self._is_held_there or self._end.is_full

    def _received(self, data: bytes) -> None:
        message = _decode(data)
        if isinstance(message, Text):
            self._carrier.send([message.text])
        elif isinstance(message, Binary):
            self._carrier.send([message.data])
        elif isinstance(message, Hold):
            self._is_held_there = message.held
            self._update()

    def _update(self) -> None:
        (self._carrier.hold if self.is_held else self._carrier.release)()

    def receive_text(self, text: str) -> None:
        self._pass(Text(text))

    def receive_bytes(self, data: bytes) -> None:
        self._pass(Binary(data))

    def _pass(self, message: Text | Binary) -> None:
        self._end.send(_encode(message))
        if self._end.is_full:
            self._carrier.hold()

    def ended(self) -> None:
        self._end.end()

    def full_changed(self, *, full: bool) -> None:
        self._end.send(_encode(Full(full)))  # so that the node of the session sends no more


def passing_on(relay: Relay, sid: str) -> OnWebSocket:
    """Return what passes on what a WebSocket brings."""

    def begin(carrier: PacketSocket | AsgiPacketSocket) -> None:
        end = relay.websocket(sid)
        if end is not None:
            carrier.listen(PassedOn(carrier, end, sid))
        else:
            carrier.listen(_Nobody())
            carrier.leave()

    return begin


class _Nobody:
    """Listens to nothing (`websocket.Talk`): the node is gone."""

    is_held = False

    def receive_text(self, text: str) -> None:
        """Do nothing."""

    def receive_bytes(self, data: bytes) -> None:
        """Do nothing."""

    def ended(self) -> None:
        """Do nothing."""

    def full_changed(self, *, full: bool) -> None:
        """Do nothing."""
