"""What the nodes of one log tell each other beside it: who is there, who signals, and who must go.

Everything that matters is in the log. What is here may be lost with a node or a datagram, and is said again (who is
there), asked again (requests have a time to be answered), or was worth only its moment (signals).
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine, Iterable, Iterator, Sequence
from itertools import count
from typing import Any, NamedTuple, Protocol

import msgspec

from trunkline.core import peers
from trunkline.core.grant import Grant
from trunkline.core.mark import Mark, by_room
from trunkline.core.peers import BEAT_S, Change, Order, Peers, Told, Word, told
from trunkline.core.presence import Member, Own
from trunkline.core.signal import Signal
from trunkline.stores.base import Bus

log = logging.getLogger("trunkline")

ANSWER_S = 1.0  # how long a request waits; whoever has not answered by then is missing
PIECE_BYTES_MAX = 16 * 1024  # of members; with what is around them it fits into every bus
PATIENCE_S = 60.0  # with a node that says nothing, and whose process is known to be there
AGAIN_S = 0.01
AGAIN_MAX = 1000
ORDERS_MAX = 10_000
MARKS_MAX = 50  # a member's name may have hundreds of bytes

_encode = msgspec.msgpack.Encoder().encode
_decoder = msgspec.msgpack.Decoder(Word)


class Answers(NamedTuple):
    """What the others have answered, and who has not."""

    all: list[int | Grant | None]
    missing: list[str]


class Neighbour(Protocol):
    """Who carries out what other nodes say."""

    def changed(self, change: Change, until: float | None) -> None:
        """Who is there through another node. Who is gone may come back by another one until then."""

    def own(self) -> Iterator[tuple[str, list[Member]]]:
        """Everybody who is there through us, by room."""

    def own_of(self, room: str) -> list[Member]:
        """Those of one room."""

    def elsewhere(self, room: str, clients: Iterable[tuple[str, str, int]]) -> None:
        """Clients have come to another node."""

    def away(self, room: str, member: str, client: str) -> None:
        """A client that polled does so no longer."""

    def signalled(self, signal: peers.Signalled) -> None:
        """Somebody has signalled."""

    def marked(self, marks: Sequence[Mark]) -> None:
        """Read cursors have moved."""

    def fenced(self, fence: peers.Fence) -> None:
        """A client has opened a stream elsewhere."""

    async def asked(self, order: Order) -> int | Grant | None:
        """A request: carry it out."""


class _Waiting:
    """A request on its way."""

    def __init__(self, nodes: Iterable[str]) -> None:
        self.nodes = set(nodes)
        self.answers: list[int | Grant | None] = []
        self.done = asyncio.get_running_loop().create_future()


class Nodes:
    """The others. Made for one hub.

    Args:
        grace_s: How long after the end of a node its members are still there.
        hears: Whether what others say arrives here at all.
    """

    def __init__(
        self,
        bus: Bus,
        neighbour: Neighbour,
        spawn: Callable[[Coroutine[Any, Any, None]], object],
        grace_s: float,
        hears: Callable[[], bool],
    ) -> None:
        self._bus = bus
        self._neighbour = neighbour
        self._spawn = spawn
        self._grace_s = grace_s
        self._hears = hears
        self._peers = Peers()
        self._clock = 0
        self._beat_at = time.monotonic()
        self._number = 0
        self._requests: dict[int, _Waiting] = {}
        self._request_numbers = count(1)
        self._telling: set[str] = set()
        bus.said = self._said

    @property
    def name(self) -> str:
        """Ours."""
        return self._bus.name

    @property
    def eldest(self) -> bool:
        """Whether it is for us to do what one of all nodes has to do."""
        return all(self.name < node for node in self._peers)

    @property
    def missing(self) -> list[str]:
        """Of whose members not everything is known."""
        return self._peers.unknown

    def __len__(self) -> int:
        return len(self._peers)

    def __contains__(self, node: str) -> bool:
        return node in self._peers

    # Saying.

    def tick(self) -> int:
        """The next time of the clock that all nodes share: after everything that was heard of."""
        self._clock = max(self._clock + 1, time.time_ns() // 1_000_000)
        return self._clock

    def say(self, kind: type[peers.Said], *, to: str | None = None, among: str | None = None, **what: Any) -> bool:
        """Say a word of that kind to all, to the node *to*, or to those that follow the room *among*."""
        return self._bus.say(_encode(kind(node=self.name, clock=self.tick(), **what)), to=to, room=among)

    async def beat_for_ever(self) -> None:
        """Show that we live, and see who does not."""
        while True:
            try:
                self._beat()
            except Exception:
                log.exception("the other nodes could not be told that this one lives")
            await asyncio.sleep(BEAT_S)

    def _beat(self) -> None:
        now = time.monotonic()
        self.say(peers.Beat, number=self._number)
        late, self._beat_at = now - self._beat_at, now
        if late > 2 * BEAT_S or not self._hears():
            self._peers.spare(now)  # that nothing is heard of them, is not their fault: we did not listen
        for node in self._peers.late(now):
            # On a starved machine a node may be late, too. One whose process is there is given time.
            if self._peers.silent_s(node, now) < PATIENCE_S and self._bus.lives(node):
                continue
            log.warning("node %s is gone", node)
            self._ended(node)
        for node in self._peers.wanted(now):
            self.say(peers.Ask, to=node)

    def _ended(self, node: str) -> None:
        for change in self._peers.gone(node):
            self._neighbour.changed(change, time.monotonic() + self._grace_s)
        for waiting in self._requests.values():
            waiting.nodes.discard(node)
            _finish(waiting)

    def bye(self) -> None:
        """We end."""
        self.say(peers.Bye)

    def present(self, room: str, own: Own) -> None:
        """Tell who is there through us now, and who is not any more."""
        pieces = list(_pieces(own.here)) or [[]]
        for n, here in enumerate(pieces):
            self._number += 1
            last = n == len(pieces) - 1
            gone, clients = (own.gone, own.clients) if last else ([], [])
            self.say(peers.Present, number=self._number, room=room, here=here, gone=gone, clients=clients)

    def signalled(self, signal: Signal, client: str) -> None:
        """Tell of a signal."""
        self.say(
            peers.Signalled,
            among=signal.room,
            room=signal.room,
            name=signal.name,
            user=signal.sender,
            member=signal.member,
            client=client,
            json=bytes(signal.json),
        )

    def marked(self, marks: Sequence[Mark]) -> None:
        """Tell of read cursors that have moved."""
        for room, some in by_room(marks).items():
            for at in range(0, len(some), MARKS_MAX):
                self.say(peers.Marked, among=room, marks=some[at : at + MARKS_MAX])

    async def ask(self, order: Order, to: str | None = None) -> Answers:
        """Ask all others, or one. Never waits long, and never fails: who does not answer is missing."""
        nodes = list(self._peers) if to is None else [to]
        if not nodes or len(self._requests) >= ORDERS_MAX:
            return Answers([], nodes)
        number, waiting = next(self._request_numbers), _Waiting(nodes)
        self._requests[number] = waiting
        try:
            self.say(peers.Asked, to=to, number=number, order=order)
            async with asyncio.timeout(ANSWER_S):
                await waiting.done
        except TimeoutError:
            pass
        finally:
            del self._requests[number]
        return Answers(waiting.answers, sorted(waiting.nodes))

    # Hearing.

    def _said(self, data: bytes) -> None:
        try:
            word = _decoder.decode(data)
        except msgspec.DecodeError as error:  # of another version, while one is being replaced by the other
            log.warning("another node said what this one does not understand: %s", error)
            return
        if word.node == self.name:
            return
        self._clock = max(self._clock, word.clock)
        if type(word) is peers.Bye:
            self._ended(word.node)
            return
        new = word.node not in self._peers
        self._peers.heard(word.node, time.monotonic())
        try:
            self._hear(word)
        except Exception:
            log.exception("what another node said could not be done")
        if new:
            self.say(peers.Beat, number=self._number)  # whoever is new knows us sooner

    def _hear(self, word: Word) -> None:
        neighbour = self._neighbour
        match word:
            case peers.Beat():
                self._peers.beat(word)
            case peers.Present():
                change = self._peers.present(word)
                if change is not None:
                    neighbour.changed(change, None)
                neighbour.elsewhere(word.room, word.clients)
            case peers.Ask():
                if word.node not in self._telling:
                    self._telling.add(word.node)
                    self._spawn(self._tell_all(word.node))
            case peers.All():
                for change in self._peers.all(word, time.monotonic()):
                    neighbour.changed(change, None)
            case peers.Away():
                neighbour.away(word.room, word.member, word.client)
            case peers.Signalled():
                neighbour.signalled(word)
            case peers.Marked():
                neighbour.marked(word.marks)
            case peers.Fence():
                neighbour.fenced(word)
            case peers.Asked():
                self._spawn(self._answer(word))
            case peers.Answered():
                waiting = self._requests.get(word.number)
                if waiting is not None and word.node in waiting.nodes:
                    waiting.nodes.discard(word.node)
                    waiting.answers.append(word.answer if word.grant is None else word.grant)
                    _finish(waiting)

    async def _answer(self, asked: peers.Asked) -> None:
        answer = await self._neighbour.asked(asked.order)
        grant = answer if isinstance(answer, Grant) else None
        number = None if answer is None or isinstance(answer, Grant) else int(answer)
        self.say(peers.Answered, to=asked.node, number=asked.number, answer=number, grant=grant)

    async def _tell_all(self, node: str) -> None:
        try:
            piece = 0
            for room, members in self._neighbour.own():
                for here in _pieces(members):
                    # Somebody may have gone since the piece before, and everybody been told.
                    now = {member.member: member for member in self._neighbour.own_of(room)}
                    still = [told(now[one.member]) for one in here if one.member in now]
                    await self._tell_piece(node, piece, room, still, last=False)
                    piece += 1
            await self._tell_piece(node, piece, "", [], last=True)
        finally:
            self._telling.discard(node)

    async def _tell_piece(self, node: str, piece: int, room: str, here: list[Told], *, last: bool) -> None:
        for _ in range(AGAIN_MAX):
            if self.say(peers.All, to=node, number=self._number, piece=piece, last=last, room=room, here=here):
                return
            await asyncio.sleep(AGAIN_S)  # it has not read what it was sent before


def _pieces(members: list[Member]) -> Iterator[list[Told]]:
    piece: list[Told] = []
    size = 0
    for member in map(told, members):
        bytes_max = len(member.member) * 4 + len(member.data) + 32
        if piece and size + bytes_max > PIECE_BYTES_MAX:
            yield piece
            piece, size = [], 0
        piece.append(member)
        size += bytes_max
    if piece:
        yield piece


def _finish(waiting: _Waiting) -> None:
    if not waiting.nodes and not waiting.done.done():
        waiting.done.set_result(None)
