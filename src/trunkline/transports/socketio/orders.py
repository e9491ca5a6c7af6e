"""What is to be done with sockets of other nodes: each node does it with its own, and says whether it had any."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Any, Literal, Protocol

import msgspec

from trunkline.engine.engine import Engine
from trunkline.engine.tunnels import TunnelEnd
from trunkline.errors import TrunklineError
from trunkline.transports.socketio.entry import Event
from trunkline.wire import socketio as wire
from trunkline.wire.socketio import Packet, Type

log = logging.getLogger("trunkline")

REPLY_S = 5.0
ACKS_S = 60.0  # how long acknowledgements are waited for

Ack = Callable[[list[Any]], None]


class Order(msgspec.Struct, tag="o", array_like=True):
    """What is to be done.

    Attributes:
        what: `enter`, `leave` and `disconnect` are for the socket *sid*, `close` for all in the room, `fence` ends the
            connection that a socket had, and `send` sends an event to all in *rooms*.
        wants_acks: Whether acknowledgements are wanted.
    """

    what: Literal["enter", "leave", "disconnect", "close", "fence", "send"]
    namespace: str
    sid: str = ""
    room: str = ""
    rooms: Sequence[str] = ()
    skip: Sequence[str] = ()
    json: bytes = b""
    attachments: Sequence[bytes] = ()
    wants_acks: bool = False

    @property
    def event(self) -> Event:
        """The event that is to be sent."""
        return Event(self.json, self.attachments)


class Done(msgspec.Struct, tag="d", array_like=True):
    """Whether there was anything to do it with, and why it could not be done, if so."""

    found: bool
    error: str = ""


class Acked(msgspec.Struct, tag="a", array_like=True):
    """A client's acknowledgement: a packet."""

    text: str
    attachments: Sequence[bytes] = ()


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Order | Done | Acked).decode


class Obeying(Protocol):
    """Who does it with the sockets of this node."""

    async def obey(self, order: Order, ack: Ack | None) -> bool:
        """Do it; return whether there was anything to do it with.

        Raises:
            TrunklineError: It could not be done.
        """


class Orders:
    """The other nodes, as far as sockets go.

    Args:
        service: The name of the server's tunnels, the same on all nodes.
    """

    def __init__(self, here: Obeying, service: str) -> None:
        self._here = here
        self._service = service
        self._engine: Engine | None = None

    def attach(self, engine: Engine) -> None:
        """Obey the other nodes, by this engine."""
        self._engine = engine
        if engine.tunnels is not None:
            engine.tunnels.serve(self._service, self._accept)

    def _open_all(self) -> list[TunnelEnd]:
        engine = self._engine
        if engine is None or engine.tunnels is None or engine.cluster is None:
            return []
        return [engine.tunnels.open(node, self._service) for node in engine.cluster]

    async def ask(self, order: Order) -> bool:
        """Have all other nodes do something; return whether one of them had anything to do it with.

        Raises:
            TrunklineError: One of them had, and could not do it.
        """
        ends = self._open_all()
        if not ends:
            return False
        answers: asyncio.Queue[Done] = asyncio.Queue()
        for end in ends:
            self._ask(end, order, answers)
        found, error = False, ""
        try:
            async with asyncio.timeout(REPLY_S):
                for _ in ends:
                    answer = await answers.get()
                    found, error = found or answer.found, error or answer.error
        except TimeoutError:
            pass
        finally:
            for end in ends:
                end.end()
        if error:
            raise TrunklineError(error)
        return found

    def _ask(self, end: TunnelEnd, order: Order, answers: asyncio.Queue[Done]) -> None:
        def message(data: bytes) -> None:
            answer = _decode(data)
            if isinstance(answer, Done):
                end.on_end = lambda _: None
                answers.put_nowait(answer)

        end.on_message = message
        end.on_end = lambda _: answers.put_nowait(Done(found=False))
        end.send(_encode(order))

    def send(self, order: Order, ack: Ack | None) -> Callable[[], None]:
        """Have all other nodes send an event; return what stops waiting for acknowledgements."""
        ends = self._open_all()

        def message(data: bytes) -> None:
            answer = _decode(data)
            if isinstance(answer, Acked) and ack is not None:
                ack(_arguments(answer))

        def stop() -> None:
            for end in ends:
                end.end()

        for end in ends:
            end.on_message = message
            end.send(_encode(order))
        if ack is None:
            stop()
        elif ends:
            asyncio.get_running_loop().call_later(ACKS_S, stop)
        return stop

    def _accept(self, end: TunnelEnd) -> None:
        def message(data: bytes) -> None:
            order = _decode(data)
            if isinstance(order, Order) and self._engine is not None:
                self._engine.tasks.spawn(self._obey(order, end))

        end.on_message = message

    async def _obey(self, order: Order, end: TunnelEnd) -> None:
        def ack(arguments: list[Any]) -> None:
            text, *attachments = wire.encode(Packet(Type.ACK, wire.ROOT, 0, arguments))
            end.send(_encode(Acked(str(text), [piece for piece in attachments if isinstance(piece, bytes)])))

        try:
            done = Done(await self._here.obey(order, ack if order.wants_acks else None))
        except TrunklineError as error:
            done = Done(found=True, error=str(error))
        except Exception:
            log.exception("what another node wanted to be done with a socket failed")
            done = Done(found=True, error="the node that has the socket failed")
        end.send(_encode(done))


def _arguments(acked: Acked) -> list[Any]:
    decoder = wire.Decoder(1 << 30, 1 << 20, 1000)
    packet = decoder.feed(acked.text)
    for piece in acked.attachments:
        packet = decoder.feed(piece)
    return [] if packet is None else list(packet.data)
