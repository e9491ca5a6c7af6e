"""Tunnels between nodes (`core/tunnel.py`): over the bus, opened by name of a service."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from itertools import count

from trunkline.core.cluster_messages import Tunnelled
from trunkline.core.tunnel import AGAIN_S, PIECE_BYTES_MAX, WINDOW, Piece, Tunnel
from trunkline.engine.clock import Clock
from trunkline.engine.cluster import Cluster

log = logging.getLogger("trunkline")

TUNNELS_MAX = 50_000  # that other nodes may have opened to this one
FULL_BYTES = 64 * 1024

_Name = tuple[str, int]  # the node that has opened it, and its number there


class TunnelEnd:
    """One end of a tunnel: messages to the other end, and callbacks for what comes from there.

    Attributes:
        node: The other one.
        on_message: Called with each message of the other end.
        on_end: Called once, when nothing comes any more: with whether the other end has said so, and knows all that it
            was sent.
        on_drained: Called when it is not full any more.
    """

    def __init__(self, tunnels: Tunnels, name: _Name, node: str, service: str) -> None:
        self._tunnels = tunnels
        self._name = name
        self.node = node
        self.service = service
        self.tunnel = Tunnel()
        self.on_message: Callable[[bytes], None] = lambda _: None
        self.on_end: Callable[[bool], None] = lambda _: None
        self.on_drained: Callable[[], None] = lambda: None
        self.is_closed = False
        self.was_full = False
        self.owes_acknowledgement = False

    @property
    def is_full(self) -> bool:
        """Whether the other end is behind."""
        return self.tunnel.unsent_bytes >= FULL_BYTES

    @property
    def unsent_bytes(self) -> int:
        """Of what the other end does not have yet."""
        return self.tunnel.unsent_bytes

    def send(self, message: bytes) -> None:
        """Send a message."""
        self.tunnel.send(message)
        self.was_full = self.was_full or self.is_full
        self._tunnels.flush(self._name)

    def end(self) -> None:
        """Send nothing more, and take nothing more once the other end has that. Harmless if done twice."""
        self.tunnel.end()
        self._tunnels.flush(self._name)

    def close(self, *, clean: bool) -> None:
        """Call `on_end`, once: the tunnel is over."""
        if not self.is_closed:
            self.is_closed = True
            self.on_end(clean)


class Tunnels:
    """The tunnels of one node."""

    def __init__(self, cluster: Cluster, clock: Clock) -> None:
        self._cluster = cluster
        self._clock = clock
        self._ends: dict[_Name, TunnelEnd] = {}
        self._numbers = count(1)
        self._services: dict[str, Callable[[TunnelEnd], None]] = {}
        self._to_flush: set[_Name] = set()
        self._timers: dict[_Name, asyncio.TimerHandle] = {}
        cluster.on_message(Tunnelled, self._received)
        cluster.when_ended(self._node_ended)

    def __len__(self) -> int:
        return len(self._ends)

    def serve(self, service: str, accept: Callable[[TunnelEnd], None]) -> None:
        """Let other nodes open tunnels of this name: *accept* is called with each."""
        self._services[service] = accept

    def open(self, node: str, service: str) -> TunnelEnd:
        """Open a tunnel. It ends like any other if the node does not run, or does not serve that."""
        name = (self._cluster.name, next(self._numbers))
        end = self._ends[name] = TunnelEnd(self, name, node, service)
        return end

    def close(self) -> None:
        """Let go of all tunnels."""
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
        ends, self._ends = self._ends, {}
        for end in ends.values():
            end.close(clean=False)

    # Sending.

    def flush(self, name: _Name) -> None:
        """Send what is due, when the callers of this turn have had their say."""
        if not self._to_flush:
            asyncio.get_running_loop().call_soon(self._flush_all)
        self._to_flush.add(name)

    def _flush_all(self) -> None:
        names, self._to_flush = self._to_flush, set()
        for name in names:
            end = self._ends.get(name)
            if end is not None:
                self._flush(name, end)

    def _flush(self, name: _Name, end: TunnelEnd) -> None:
        now = self._clock.monotonic()
        if end.tunnel.is_lost(now):
            self._forget(name, clean=False)
            return
        pieces = end.tunnel.outgoing(now)
        owes, end.owes_acknowledgement = end.owes_acknowledgement, False
        while pieces or owes:
            owes = False
            some: list[Piece] = []
            size = 0
            while pieces and (not some or size + len(pieces[0].data) <= PIECE_BYTES_MAX):
                size += len(pieces[0].data)
                some.append(pieces.pop(0))
            self._cluster.send(
                Tunnelled,
                to=end.node,
                opener=name[0],
                number=name[1],
                service=end.service,
                pieces=[(*piece,) for piece in some],
                wanted=end.tunnel.wanted,
            )
        if end.tunnel.is_waiting and name not in self._timers:
            self._timers[name] = asyncio.get_running_loop().call_later(AGAIN_S, self._again, name)

    def _again(self, name: _Name) -> None:
        del self._timers[name]
        end = self._ends.get(name)
        if end is not None and end.tunnel.is_waiting:
            self._flush(name, end)

    def _forget(self, name: _Name, *, clean: bool) -> None:
        end = self._ends.pop(name, None)
        timer = self._timers.pop(name, None)
        if timer is not None:
            timer.cancel()
        if end is not None:
            end.close(clean=clean)

    def _node_ended(self, node: str, _: bool) -> None:
        for name, end in list(self._ends.items()):
            if end.node == node:
                self._forget(name, clean=False)

    # Receiving.

    def _received(self, message: Tunnelled) -> None:
        name = (message.opener, message.number)
        end = self._ends.get(name)
        if end is None:
            end = self._accept(name, message)
            if end is None:
                return
        if end.node != message.node:
            return
        if message.wanted < 0:  # the other end knows of no such tunnel
            self._forget(name, clean=False)
            return
        tunnel = end.tunnel
        tunnel.acknowledged(message.wanted, self._clock.monotonic())
        for piece in message.pieces:
            try:
                found = tunnel.receive(Piece(*piece))
            except ValueError as error:
                log.warning("a message of another node is too large: %s", error)
                self._forget(name, clean=False)
                return
            if found is not None and not end.is_closed:
                end.on_message(found)
        if tunnel.has_ended and not end.is_closed:
            end.close(clean=not tunnel.is_waiting)
            tunnel.end()
        end.owes_acknowledgement = end.owes_acknowledgement or bool(message.pieces)
        self.flush(name)
        if end.was_full and not end.is_full:
            end.was_full = False
            end.on_drained()
        if tunnel.has_ended and tunnel.is_done and name in self._ends:
            self._flush(name, end)  # so that the other end knows
            self._forget(name, clean=True)

    def _accept(self, name: _Name, message: Tunnelled) -> TunnelEnd | None:
        accept = self._services.get(message.service)
        first = message.pieces[0][0] if message.pieces else -1
        if accept is None or first or name[0] == self._cluster.name or len(self._ends) >= TUNNELS_MAX:
            if accept is None or first >= WINDOW:  # else the first piece may come again
                self._cluster.send(
                    Tunnelled,
                    to=message.node,
                    opener=name[0],
                    number=name[1],
                    service=message.service,
                    pieces=[],
                    wanted=-1,
                )
            return None
        end = self._ends[name] = TunnelEnd(self, name, message.node, message.service)
        accept(end)
        return end
