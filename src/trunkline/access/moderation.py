"""Moderation: messages are redacted and rooms deleted, by those who may, with an entry in the audit log."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from trunkline.access.audit import Audit
from trunkline.access.policy import Access
from trunkline.core.epochs import epochs_with
from trunkline.core.grant import Grant
from trunkline.engine.engine import Engine
from trunkline.errors import RequestError


class RedactedHere(NamedTuple):
    """The result of `HubAdmin.redact`.

    Attributes:
        epoch: Of the room.
        offset: Of the redaction, which is an entry of the room; None if there was nothing to redact.
        redacted: The offsets of the messages whose data was taken away.
        missing_nodes: The nodes that have not answered within a second, and may have the data in memory until they do.
        unpurged: What could not be overwritten, such as files of replicas; empty if the data is nowhere any more.
    """

    room: str
    epoch: str
    offset: int | None
    redacted: list[int]
    missing_nodes: list[str]
    unpurged: list[str]


class DeletedRoom(NamedTuple):
    """The result of `HubAdmin.delete`.

    Attributes:
        messages: How many messages the room had.
        epoch: The one in which it begins again; None if it never had a message.
        missing_nodes, unpurged: As in `RedactedHere`.
    """

    room: str
    messages: int
    epoch: str | None
    missing_nodes: list[str]
    unpurged: list[str]


class Moderation:
    """What is corrected by order of an administrator, a moderator or an author."""

    def __init__(self, engine: Engine, access: Access, audit: Audit) -> None:
        self._engine = engine
        self._access = access
        self._audit = audit

    async def check_may_redact(self, grant: Grant, room: str, offsets: Sequence[int]) -> None:
        """Check that a client may redact these messages: all messages, or its own of the last time.

        Raises:
            RequestError: `forbidden`.
            StoreUnavailable: The log did not say whose messages they are.
        """
        try:
            await self._access.check(grant, "redact", room)
        except RequestError as error:
            if grant.user is None or error.code != "forbidden":
                raise
            await self._access.check(grant, "redact_own", room)
            await self._check_own(grant.user, room, offsets)
            await self._access.check(grant, "redact_own", room)

    async def _check_own(self, user: str, room: str, offsets: Sequence[int]) -> None:
        limit_s = self._access.limits.redact_own_s
        since_ms = self._engine.clock.wall_ms() - limit_s * 1000
        for offset in offsets:
            found = (await self._engine.store.read(room, offset - 1, 1, 1)).messages
            if not found or found[0].offset != offset or found[0].sender != user:
                raise RequestError("forbidden", f"you may redact messages of your own in {room}, and no others")
            if found[0].at < since_ms:
                raise RequestError("forbidden", f"you may redact a message of your own for {limit_s:g} s")

    async def redact(self, room: str, offsets: Sequence[int], by: str | None, epoch: str | None = None) -> RedactedHere:
        """Take the data of messages away, in the log and on all nodes.

        Args:
            by: Who does it, for the audit log.
            epoch: The one in which *offsets* count; None for the room's present one.

        Raises:
            RequestError: `bad_position`: the offsets are of a life of the room that is over.
            StoreUnavailable: It may be done or not; try again.
        """
        if epoch is not None:
            head = await self._engine.store.head(room)
            if epoch not in epochs_with(max(offsets, default=0), head.epoch, head.lineage):
                raise RequestError(
                    "bad_position", f"{room} is in epoch {head.epoch}, which does not go on from {epoch}"
                )
        redacted, missing = await self._engine.corrections.redact(room, sorted(set(offsets)))
        unpurged = await self._engine.purge.run()
        if redacted.offsets:
            await self._audit.add("redact", by, len(redacted.offsets), room=room, offsets=redacted.offsets)
        return RedactedHere(room, redacted.epoch, redacted.offset or None, redacted.offsets, missing, unpurged)

    async def delete(self, room: str, by: str | None) -> DeletedRoom:
        """Delete a room. It begins again at offset 1 of a new epoch.

        Args:
            by: Who does it, for the audit log.

        Raises:
            StoreUnavailable: It may be done or not; try again.
        """
        deleted, missing = await self._engine.corrections.delete(room)
        unpurged = await self._engine.purge.run()
        if deleted is None:
            return DeletedRoom(room, 0, None, missing, unpurged)
        await self._audit.add("delete", by, deleted.messages, room=room)
        return DeletedRoom(room, deleted.messages, deleted.epoch, missing, unpurged)
