"""The other nodes of one log: messages to and from them, requests that they answer, and which of them run.

Everything that matters is in the log. What is sent here may be lost with a node or a datagram, and is sent again
(presence), asked again (requests have a time-out), or was worth only its moment (signals).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Iterator
from itertools import count
from typing import Any, NamedTuple, Protocol, TypeVar

import msgspec

from trunkline.core import cluster_messages as messages
from trunkline.core.cluster_messages import AnyMessage, ClusterMessage, PresenceEntry, Request, entry_of
from trunkline.core.grant import Grant
from trunkline.core.membership import HEARTBEAT_S, Membership, PresenceChange
from trunkline.core.presence import LocalChanges, Member
from trunkline.engine.clock import Clock
from trunkline.engine.tasks import Tasks
from trunkline.stores.base import Bus

log = logging.getLogger("trunkline")
M = TypeVar("M", bound=ClusterMessage)
R = TypeVar("R", bound=Request)

Answer = int | bool | Grant | bytes | None

ANSWER_S = 1.0  # how long a request waits; a node that has not answered by then is missing
PIECE_BYTES_MAX = 16 * 1024  # of members; with the rest of the message it fits into every bus
PATIENCE_S = 60.0  # with a node that is silent, and whose process is known to run
AGAIN_S = 0.01
AGAIN_MAX = 1000
REQUESTS_MAX = 10_000
SETTLED_S = 10.0  # after its start a node has heard of all others, also on a machine with too much to do

_encode = msgspec.msgpack.Encoder().encode
_decoder = msgspec.msgpack.Decoder(AnyMessage)


class Answers(NamedTuple):
    """What other nodes have answered.

    Attributes:
        values: The answers.
        missing_nodes: The nodes that have not answered in time.
    """

    values: list[int | Grant | bytes | None]
    missing_nodes: list[str]


class Members(Protocol):
    """The members of all rooms, as they are told to other nodes and by them."""

    def local(self) -> Iterator[tuple[str, list[Member]]]:
        """Iterate over the rooms, and the members who are present through this node."""

    def local_of(self, room: str) -> list[Member]:
        """Return the members of a room who are present through this node."""

    def changed_elsewhere(self, change: PresenceChange, until: float | None) -> None:
        """Take what a node tells. Members who are gone may come back through another node until then."""

    def client_elsewhere(self, room: str, clients: Iterable[tuple[str, str, int]]) -> None:
        """Stop waiting for clients that have connected to another node."""


class _Waiting:
    """A request on its way."""

    def __init__(self, nodes: Iterable[str]) -> None:
        self.nodes = set(nodes)
        self.answers: list[int | Grant | bytes | None] = []
        self.done = asyncio.get_running_loop().create_future()

    def finish_if_answered(self) -> None:
        if not self.nodes and not self.done.done():
            self.done.set_result(None)


class Cluster:
    """The other nodes, as one node sees them.

    Args:
        grace_s: How many seconds after the end of a node its members are still present.
        hears: Returns whether messages of others arrive here at all.
    """

    def __init__(self, bus: Bus, tasks: Tasks, clock: Clock, grace_s: float, hears: Callable[[], bool]) -> None:
        self._bus = bus
        self._tasks = tasks
        self._clock = clock
        self._grace_s = grace_s
        self._hears = hears
        self._membership = Membership()
        self._logical_ms = 0
        self._heartbeat_at = self._started_at = clock.monotonic()
        self._number = 0  # of the last change of presence
        self._requests: dict[int, _Waiting] = {}
        self._request_numbers = count(1)
        self._sending_all: set[str] = set()
        self._members: Members
        self._handlers: dict[type[ClusterMessage], Callable[[Any], None]] = {
            messages.Heartbeat: self._membership.heartbeat,
            messages.PresenceChanged: self._presence_changed,
            messages.PresenceRequest: self._presence_requested,
            messages.PresenceSnapshot: self._presence_snapshot,
            messages.Asked: self._asked,
            messages.Answered: lambda message: self._answered(
                message, message.answer if message.grant is None else message.grant
            ),
            messages.AnsweredInFull: lambda message: self._answered(message, message.data),
        }
        self._when_ended: list[Callable[[str, bool], None]] = []
        self._requested: dict[type, Callable[[Any], Awaitable[Answer]]] = {}
        bus.on_message = self._received

    @property
    def name(self) -> str:
        """This node's name."""
        return self._bus.name

    @property
    def is_eldest(self) -> bool:
        """Whether it is for this node to do what one of all nodes has to do."""
        return all(self.name < node for node in self._membership)

    @property
    def incomplete_nodes(self) -> list[str]:
        """Nodes whose members are not all known."""
        return self._membership.incomplete

    def __len__(self) -> int:
        return len(self._membership)

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names of the other nodes that run, as far as is known."""
        return iter(self._membership)

    def __contains__(self, node: str) -> bool:
        return node in self._membership

    def on_message(self, kind: type[M], handle: Callable[[M], None]) -> None:
        """Call *handle* with messages of this kind."""
        self._handlers[kind] = handle

    def on_request(self, kind: type[R], answer: Callable[[R], Awaitable[Answer]]) -> None:
        """Answer requests of this kind with what *answer* returns."""
        self._requested[kind] = answer

    def share_members(self, members: Members) -> None:
        """Tell the other nodes of these members, and these of the others'."""
        self._members = members

    def may_run(self, node: str) -> bool:
        """Return whether a node may run: one that was just started has not heard of all others yet."""
        is_new = self._clock.monotonic() - self._started_at < SETTLED_S
        return node != self.name and (node in self._membership or is_new or self._bus.is_alive(node))

    def start(self) -> None:
        """Begin to send heartbeats."""
        self._started_at = self._clock.monotonic()
        self._tasks.spawn(self._send_heartbeats())

    # Sending.

    def tick(self) -> int:
        """Return the next time of the clock that all nodes share: after everything that was received."""
        self._logical_ms = max(self._logical_ms + 1, self._clock.wall_ms())
        return self._logical_ms

    def send(
        self, kind: type[ClusterMessage], *, to: str | None = None, among: str | None = None, **fields: Any
    ) -> bool:
        """Send a message to all nodes, to the node *to*, or to those that follow the room *among*."""
        return self._bus.send(_encode(kind(node=self.name, clock=self.tick(), **fields)), to=to, room=among)

    def send_presence(self, room: str, changes: LocalChanges) -> None:
        """Tell who is present through this node now, and who no longer is."""
        pieces = list(_pieces(changes.here)) or [[]]
        for n, here in enumerate(pieces):
            self._number += 1
            last = n == len(pieces) - 1
            gone, clients = (changes.gone, changes.clients) if last else ([], [])
            self.send(messages.PresenceChanged, number=self._number, room=room, here=here, gone=gone, clients=clients)

    def leave(self) -> None:
        """Tell the others that this node stops."""
        self.send(messages.Leaving)

    async def ask(self, request: Request, to: str | None = None) -> Answers:
        """Ask all other nodes, or one. It takes ANSWER_S at most and never fails: silent nodes are missing."""
        nodes = list(self._membership) if to is None else [to]
        if not nodes or len(self._requests) >= REQUESTS_MAX:
            return Answers([], nodes)
        number, waiting = next(self._request_numbers), _Waiting(nodes)
        self._requests[number] = waiting
        try:
            self.send(messages.Asked, to=to, number=number, order=request)
            async with asyncio.timeout(ANSWER_S):
                await waiting.done
        except TimeoutError:
            pass
        finally:
            del self._requests[number]
        return Answers(waiting.answers, sorted(waiting.nodes))

    async def _send_heartbeats(self) -> None:
        while True:
            try:
                self._send_heartbeat()
            except Exception:
                log.exception("the other nodes could not be told that this one runs")
            await asyncio.sleep(HEARTBEAT_S)

    def _send_heartbeat(self) -> None:
        now = self._clock.monotonic()
        self.send(messages.Heartbeat, number=self._number)
        late, self._heartbeat_at = now - self._heartbeat_at, now
        if late > 2 * HEARTBEAT_S or not self._hears():
            self._membership.extend_leases(now)  # this node did not listen: their silence says nothing
        for node in self._membership.late(now):
            # On a starved machine a node may be late, too. One whose process runs is given time.
            if self._membership.silent_s(node, now) < PATIENCE_S and self._bus.is_alive(node):
                continue
            log.warning("node %s is silent and counts as ended: its members leave", node)
            self._ended(node, said=False)
        for node in self._membership.to_ask(now):
            self.send(messages.PresenceRequest, to=node)

    def when_ended(self, call: Callable[[str, bool], None]) -> None:
        """Call this with the name of each node that has ended, and whether it has said so."""
        self._when_ended.append(call)

    def _ended(self, node: str, *, said: bool) -> None:
        for call in self._when_ended:
            call(node, said)
        for change in self._membership.ended(node):
            self._members.changed_elsewhere(change, self._clock.monotonic() + self._grace_s)
        for waiting in self._requests.values():
            waiting.nodes.discard(node)
            waiting.finish_if_answered()

    # Receiving.

    def _received(self, data: bytes) -> None:
        try:
            message = _decoder.decode(data)
        except msgspec.DecodeError as error:  # of another version, while one is being replaced by the other
            log.warning("a message of another node, perhaps of another version, cannot be decoded: %s", error)
            return
        if message.node == self.name:
            return
        self._logical_ms = max(self._logical_ms, message.clock)
        if type(message) is messages.Leaving:
            self._ended(message.node, said=True)
            return
        is_new = message.node not in self._membership
        self._membership.heard(message.node, self._clock.monotonic())
        try:
            self._handlers[type(message)](message)
        except Exception:
            log.exception("a message of another node could not be handled")
        if is_new:
            self.send(messages.Heartbeat, number=self._number)  # a new node knows this one sooner

    def _presence_changed(self, message: messages.PresenceChanged) -> None:
        change = self._membership.presence_changed(message)
        if change is not None:
            self._members.changed_elsewhere(change, None)
        self._members.client_elsewhere(message.room, message.clients)

    def _presence_requested(self, message: messages.PresenceRequest) -> None:
        if message.node not in self._sending_all:
            self._sending_all.add(message.node)
            self._tasks.spawn(self._send_all(message.node))

    def _presence_snapshot(self, message: messages.PresenceSnapshot) -> None:
        for change in self._membership.presence_snapshot(message, self._clock.monotonic()):
            self._members.changed_elsewhere(change, None)

    def _asked(self, message: messages.Asked) -> None:
        self._tasks.spawn(self._answer(message))

    def _answered(
        self, message: messages.Answered | messages.AnsweredInFull, answer: int | Grant | bytes | None
    ) -> None:
        waiting = self._requests.get(message.number)
        if waiting is not None and message.node in waiting.nodes:
            waiting.nodes.discard(message.node)
            waiting.answers.append(answer)
            waiting.finish_if_answered()

    async def _answer(self, asked: messages.Asked) -> None:
        answer = await self._requested[type(asked.order)](asked.order)
        if isinstance(answer, bytes):
            self.send(messages.AnsweredInFull, to=asked.node, number=asked.number, data=answer)
            return
        grant = answer if isinstance(answer, Grant) else None
        number = None if answer is None or isinstance(answer, Grant) else int(answer)
        self.send(messages.Answered, to=asked.node, number=asked.number, answer=number, grant=grant)

    async def _send_all(self, node: str) -> None:
        try:
            piece = 0
            for room, members in self._members.local():
                for here in _pieces(members):
                    # Some may have gone since the piece before, and all nodes been told.
                    now = {member.member: member for member in self._members.local_of(room)}
                    still = [entry_of(now[entry.member]) for entry in here if entry.member in now]
                    await self._send_piece(node, piece, room, still, last=False)
                    piece += 1
            await self._send_piece(node, piece, "", [], last=True)
        finally:
            self._sending_all.discard(node)

    async def _send_piece(self, node: str, piece: int, room: str, here: list[PresenceEntry], *, last: bool) -> None:
        fields: dict[str, Any] = {"piece": piece, "last": last, "room": room, "here": here}
        for _ in range(AGAIN_MAX):
            if self.send(messages.PresenceSnapshot, to=node, number=self._number, **fields):
                return
            await asyncio.sleep(AGAIN_S)  # it has not read what it was sent before


def _pieces(members: list[Member]) -> Iterator[list[PresenceEntry]]:
    piece: list[PresenceEntry] = []
    size = 0
    for entry in map(entry_of, members):
        bytes_max = len(entry.member) * 4 + len(entry.data) + 32
        if piece and size + bytes_max > PIECE_BYTES_MAX:
            yield piece
            piece, size = [], 0
        piece.append(entry)
        size += bytes_max
    if piece:
        yield piece
