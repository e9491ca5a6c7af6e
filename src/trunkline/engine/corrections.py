"""Corrections: messages are redacted and rooms deleted in the log, and in the memory of all nodes.

A correction is done when the log has it and every node that answers has read it: from then on none of them gives the
data to any reader. A node that does not answer is named; it learns of it when it reaches the log again.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

from trunkline.core.cluster_messages import ROOMS_ASKED_MAX, Corrected
from trunkline.core.pieces import pieces
from trunkline.core.redaction import OFFSETS_MAX, RecentRedactions, Redacted, Redaction
from trunkline.engine.clock import Clock
from trunkline.engine.cluster import Cluster
from trunkline.engine.follower import Follower
from trunkline.engine.news import News
from trunkline.engine.purge import Purge
from trunkline.errors import StoreUnavailable, explain
from trunkline.stores.base import CorrectionStore, Deleted

log = logging.getLogger("trunkline")

RETRY_S = 1.0


class Corrections:
    """What is corrected.

    Args:
        redactions: Told of each, so that what is being read meanwhile is read again.
    """

    def __init__(
        self,
        store: CorrectionStore,
        follower: Follower,
        redactions: RecentRedactions,
        cluster: Cluster | None,
        clock: Clock,
        purge: Purge,
        news: News,
    ) -> None:
        self._store = store
        self._follower = follower
        self._redactions = redactions
        self._cluster = cluster
        self._clock = clock
        self._purge = purge
        self._news = news
        if cluster is not None:
            cluster.on_request(Corrected, self._corrected_elsewhere)

    async def redact(self, room: str, offsets: Sequence[int]) -> tuple[Redacted, list[str]]:
        """Take the data of messages away; return what was redacted, and the nodes that have not answered.

        Args:
            offsets: At most OFFSETS_MAX.

        Raises:
            StoreUnavailable: It may be done or not; try again.
        """
        await self._purge.due()
        redacted = await self._store.redact(Redaction(room, offsets, self._clock.wall_ms()))
        return redacted, await self.corrected([room])

    async def delete(self, room: str) -> tuple[Deleted | None, list[str]]:
        """Delete a room; return what it had, and the nodes that have not answered.

        Raises:
            StoreUnavailable: It may be done or not; try again.
        """
        await self._purge.due()
        deleted = await self._store.delete(room, self._clock.wall_ms())
        return deleted, await self.corrected([room])

    async def erase(self, room: str, sender: str) -> int:
        """Redact all messages of a sender in a room, and erase the sender; return how many there were. It ends with
        `corrected`, by the caller, so that many rooms are told of together.

        Raises:
            StoreUnavailable: Some may be erased; try again.
        """
        await self._purge.due()
        count, to = 0, 0
        while True:
            sent = await self._store.sent(room, sender, to)
            for offsets in pieces(sent.offsets, OFFSETS_MAX):
                erased = await self._store.redact(Redaction(room, offsets, self._clock.wall_ms(), erases=True))
                count += len(erased.offsets)
            if sent.to >= sent.head:
                return count
            to = sent.to

    async def corrected(self, rooms: Sequence[str]) -> list[str]:
        """Let all nodes read these rooms anew; return the names of those that have not done so within a second.

        Raises:
            StoreUnavailable: This one could not.
        """
        missing: set[str] = set()
        for some in pieces(rooms, ROOMS_ASKED_MAX):
            await self._corrected_here(some)
            if self._cluster is not None:
                missing.update((await self._cluster.ask(Corrected(list(some)))).missing_nodes)
        if missing:
            log.warning(
                "nodes %s did not answer: what was corrected may be in their memory", ", ".join(sorted(missing))
            )
        return sorted(missing)

    async def _corrected_here(self, rooms: Sequence[str]) -> None:
        for room in rooms:
            self._redactions.add(room)
        for room in rooms:
            await self._follower.refresh(room)
        self._news.moved(rooms, has_new=False)

    async def _corrected_elsewhere(self, corrected: Corrected) -> bool:
        while True:  # the node that asks counts this one as missing, until then
            try:
                await self._corrected_here(corrected.rooms)
            except StoreUnavailable as error:
                log.warning("rooms that were corrected cannot be read now: %s", explain(error))
                await asyncio.sleep(RETRY_S)
            else:
                return True
