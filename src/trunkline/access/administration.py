"""Administration: disconnect users, recheck permissions and revoke tokens, on this node and all others."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import NamedTuple

import msgspec

from trunkline.access.policy import Access
from trunkline.core.cluster_messages import Disconnect, Recheck, Redeem, Renew, Request, Revoked
from trunkline.core.grant import Grant
from trunkline.core.position import Position
from trunkline.engine.cluster import Answers
from trunkline.engine.engine import Engine
from trunkline.errors import RequestError

log = logging.getLogger("trunkline")

REVOCATIONS = "$revocations"  # the room of the log of revocations; no client can name it: "$" is in no room's name


class Reached(NamedTuple):
    """The result of `Hub.recheck`, `Hub.disconnect` and `Hub.revoke`.

    Attributes:
        connections: How many connections were checked or ended, on the nodes that have answered.
        missing_nodes: The nodes that have not answered within a second.
    """

    connections: int
    missing_nodes: list[str]


class _Revocation(msgspec.Struct, omit_defaults=True):
    """An entry of the log of revocations."""

    at: float
    user: str | None = None
    token_id: str | None = None


class Administration:
    """Orders of administrators, carried out here and asked of the other nodes.

    Attributes:
        when_rechecked: Called with each user whose permissions are checked again.
    """

    def __init__(self, engine: Engine, access: Access) -> None:
        self._engine = engine
        self._access = access
        self._cluster = engine.cluster
        self.when_rechecked: list[Callable[[str], None]] = []
        self._read_to = Position("", 0)  # of the log of revocations
        engine.follower.watch(REVOCATIONS, self._read_revocations)
        if self._cluster is not None:
            access.redeem_elsewhere(self._redeem_elsewhere)
            self._cluster.on_request(Disconnect, self._disconnect_here)
            self._cluster.on_request(Recheck, self._recheck_here)
            self._cluster.on_request(Revoked, self._revoke_here)
            self._cluster.on_request(Redeem, self._redeem_here)
            self._cluster.on_request(Renew, self._renew_here)

    async def disconnect(self, user: str) -> Reached:
        """End all connections of a user, on all transports and nodes. Their tokens stay valid."""
        return await self._reach(Disconnect(user), await self._disconnect_here(Disconnect(user)))

    async def recheck(self, user: str) -> Reached:
        """Check again what a user may read, on all nodes."""
        return await self._reach(Recheck(user), await self._recheck_here(Recheck(user)))

    async def revoke(self, *, user: str | None = None, token_id: str | None = None) -> Reached:
        """Refuse a token from now on, or all tokens that a user was issued until now, and end their connections.

        Raises:
            StoreUnavailable, ShuttingDown: It is not revoked; try again.
        """
        entry = _Revocation(self._engine.clock.wall_ms() / 1000, user, token_id)
        await self._engine.appender.append(REVOCATIONS, None, None, msgspec.json.encode(entry))
        self._add(entry)
        return await self._reach(Revoked(), await self._revoke_here(Revoked()))

    async def renew(self, session: str, grant: Grant) -> bool:
        """Give a session the grant of a newer token, on whichever node it is; return False if the grant's user has no
        such session."""
        if self._access.renew(session, grant):
            return True
        node = session.partition("-")[0]
        if self._cluster is None or node not in self._cluster:
            return False
        answers = await self._cluster.ask(Renew(session, grant), node)
        return any(bool(answer) for answer in answers.values)

    async def _reach(self, request: Request, here: int) -> Reached:
        elsewhere = Answers([], []) if self._cluster is None else await self._cluster.ask(request)
        if elsewhere.missing_nodes:
            nodes = ", ".join(elsewhere.missing_nodes)
            log.warning("nodes %s did not answer: %s", nodes, type(request).__name__)
        counts = [answer for answer in elsewhere.values if isinstance(answer, int)]
        return Reached(here + sum(counts), elsewhere.missing_nodes)

    async def _disconnect_here(self, asked: Disconnect) -> int:
        connections = self._access.registry.of_user(asked.user)
        for connection in connections:
            connection.dismiss(RequestError("disconnected", "the application has ended this connection"))
        return len(connections)

    async def _recheck_here(self, asked: Recheck) -> int:
        for call in self.when_rechecked:
            call(asked.user)
        connections = self._access.registry.of_user(asked.user)
        for connection in connections:
            connection.recheck()
        return len(connections)

    async def _revoke_here(self, _: Revoked) -> int:
        await self._load_revocations()
        return self._access.dismiss_revoked()

    async def _redeem_here(self, asked: Redeem) -> Grant | None:
        return self._access.tickets.take(asked.ticket, self._engine.clock.monotonic())

    async def _renew_here(self, asked: Renew) -> bool:
        return self._access.renew(asked.session, asked.grant)

    async def _redeem_elsewhere(self, node: str, ticket: bytes) -> Grant | None:
        if self._cluster is None or node not in self._cluster:
            return None
        answers = await self._cluster.ask(Redeem(ticket), node)
        return next((answer for answer in answers.values if isinstance(answer, Grant)), None)

    async def _read_revocations(self) -> None:
        await self._load_revocations()
        self._access.dismiss_revoked()

    async def _load_revocations(self) -> None:
        """Learn what was revoked since this was called last.

        Raises:
            StoreUnavailable: The log could not be read.
        """
        store = self._engine.store
        epoch, first, head, _ = await store.head(REVOCATIONS)
        after = max(first - 1, self._read_to.offset) if self._read_to.epoch == epoch else first - 1
        while after < head:
            page = await store.read(REVOCATIONS, after, 1000, self._engine.tuning.tail_bytes_max)
            if not page.messages:
                break
            for message in page.messages:
                self._add(msgspec.json.decode(message.json, type=_Revocation))
            after = page.messages[-1].offset
        self._read_to = Position(epoch, after)

    def _add(self, entry: _Revocation) -> None:
        if entry.user is not None:
            self._access.revocations.revoke_user(entry.user, entry.at)
        if entry.token_id is not None:
            self._access.revocations.revoke_token(entry.token_id, entry.at)
