"""Brings acknowledgements of durable consumers outside to the streams that they are for, on whichever node.

A request may come to any node. The name of the stream's session says which one has it, and that one is asked.
"""

from __future__ import annotations

from typing import Protocol

from trunkline.core.cluster_messages import AckConsumed
from trunkline.engine.engine import Engine
from trunkline.errors import Fenced, RequestError, StoreUnavailable

NOT_HERE, COUNTED, FENCED, AWAY = range(4)
"""What has become of an acknowledgement."""

REASON_MAX = 2000


class Consuming(Protocol):
    """A client that consumes by an event stream (consumption.py)."""

    async def settle(self, ack: AckConsumed) -> int:
        """Take what a client says of a message; return what has become of that."""


class Acknowledgements:
    """Those of the streams of all nodes.

    Attributes:
        streams: The streams of this node, by their sessions.
    """

    def __init__(self, engine: Engine) -> None:
        self.streams: dict[str, Consuming] = {}
        self._cluster = engine.cluster
        if self._cluster is not None:
            self._cluster.on_request(AckConsumed, self._settle_here)

    async def settle(self, ack: AckConsumed) -> None:
        """Count an acknowledgement.

        Raises:
            RequestError: `too_large`: the reason is too long.
            Fenced: The stream has ended, or its consumer has lost the room: the message goes to another one.
            StoreUnavailable: It is not known whether it was counted; try again.
        """
        if ack.failed is not None and len(ack.failed) > REASON_MAX:
            raise RequestError("too_large", f"a reason has at most {REASON_MAX} characters")
        done = await self._settle_here(ack)
        if done == NOT_HERE:
            done = await self._settle_elsewhere(ack)
        if done == AWAY:
            raise StoreUnavailable("the log could not be reached; acknowledge again")
        if done != COUNTED:
            raise Fenced(f"another one consumes {ack.room} by now, or the stream has ended: the message comes again")

    async def _settle_here(self, ack: AckConsumed) -> int:
        found = self.streams.get(ack.session)
        return NOT_HERE if found is None else await found.settle(ack)

    async def _settle_elsewhere(self, ack: AckConsumed) -> int:
        node = ack.session.partition("-")[0]
        if self._cluster is None or node not in self._cluster:
            return FENCED
        answers = await self._cluster.ask(ack, node)
        found = [answer for answer in answers.values if isinstance(answer, int)]
        return found[0] if found else AWAY
