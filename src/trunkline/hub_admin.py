"""`hub.admin`: what operators and moderators do, for code of the application, which is trusted."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

from trunkline.access.erasures import Erasure
from trunkline.access.moderation import DeletedRoom, RedactedHere
from trunkline.admin.directory import RoomPage
from trunkline.consumers.registry import ConsumerInfo
from trunkline.core.finding import Finding
from trunkline.core.message import check_room
from trunkline.core.redaction import check_offsets
from trunkline.stores.backup import BackedUp
from trunkline.transports.context import Context


class HubAdmin:
    """Looks into the rooms of a hub, redacts, deletes and erases, over all nodes.

    Nothing here asks for a permission: who may call it, your application decides.
    """

    def __init__(self, context: Context, ensure_started: Callable[[], Awaitable[None]]) -> None:
        self._context = context
        self._ensure_started = ensure_started

    async def rooms(self, prefix: str = "", *, after: str = "", limit: int = 50) -> RoomPage:
        """Return a page of the rooms whose names begin with *prefix*, in the order of their names.

        Args:
            prefix: The beginning of the names.
            after: The `next` of the page before.
            limit: The most rooms, up to 500.

        Raises:
            StoreUnavailable: The log could not be read.
            ShuttingDown, WrongLoop: The hub is closed, or runs on another event loop.
        """
        await self._ensure_started()
        return await self._context.directory.page(prefix, after, limit)

    async def redact(
        self, room: str, offsets: int | Sequence[int], *, by: str | None = None, epoch: str | None = None
    ) -> RedactedHere:
        """Take the data of messages away, for all readers and for good. It cannot be undone.

        When it returns, no node that has answered gives the data to any reader; readers that are connected are told by
        `redacted`, and so are those that come back.

        Args:
            room: Name of the room.
            offsets: The offset of the message, or of up to 1,000.
            by: Who does it, for the audit log.
            epoch: The one in which the offsets count, to be sure that they are still those messages.

        Raises:
            RequestError: `bad_room`, `too_large`; or `bad_position`, for no offset, or an epoch that is over.
            StoreUnavailable: It may be done or not; try again.
            ShuttingDown, WrongLoop: The hub is closed, or runs on another event loop.
        """
        await self._ensure_started()
        wanted = [offsets] if isinstance(offsets, int) else offsets
        return await self._context.moderation.redact(check_room(room), check_offsets(wanted), by, epoch)

    async def delete(self, room: str, *, by: str | None = None) -> DeletedRoom:
        """Delete a room, with its messages, ids and read marks. It cannot be undone.

        Readers are told by a gap with the reason `deleted`. What is published later begins at offset 1 of a new epoch.

        Args:
            room: Name of the room.
            by: Who does it, for the audit log.

        Raises:
            RequestError: `bad_room`.
            StoreUnavailable: It may be done or not; try again.
            ShuttingDown, WrongLoop: The hub is closed, or runs on another event loop.
        """
        await self._ensure_started()
        return await self._context.moderation.delete(check_room(room), by)

    async def backup(self, path: str | Path) -> BackedUp:
        """Write the log to a file, while it is in use. `trunkline restore` puts it back.

        Args:
            path: The file, which must not be there yet. It is a SQLite log, whatever store it is of, which only its
                owner may read.

        Raises:
            ConfigError: The file is there already, or cannot be written.
            StoreUnavailable: The log could not be read.
            ShuttingDown, WrongLoop: The hub is closed, or runs on another event loop.
        """
        await self._ensure_started()
        return await self._context.backups.write(Path(path))

    async def doctor(self) -> list[Finding]:
        """Return what this process finds about its machine: open files, the kernel's settings, the disk of the log.

        Raises:
            ShuttingDown, WrongLoop: The hub is closed, or runs on another event loop.
        """
        await self._ensure_started()
        return self._context.examine()

    async def new_epochs(self) -> None:
        """Begin a new epoch in every room: the log is an older copy of itself, and could not find that out.

        Raises:
            ConfigError: Other processes use the log, and would not notice.
            StoreUnavailable: Tried again, it may work.
            ShuttingDown, WrongLoop: The hub is closed, or runs on another event loop.
        """
        await self._ensure_started()
        await self._context.engine.begin_epochs()

    async def erase(self, user: str, *, by: str | None = None) -> Erasure:
        """Begin to erase a user: all that they sent is redacted, in all rooms, and they with it. It cannot be undone.

        Their connections end, and their read marks go. It returns at once; `erasure` tells where it stands. It goes on
        after a restart, or on another node.

        Args:
            user: The user, as its tokens or the `authenticate` hook name it.
            by: Who does it, for the audit log, which has only a keyed hash of the user.

        Raises:
            RequestError: `bad_command`: no user is named.
            StoreUnavailable: It is not begun.
            ShuttingDown, WrongLoop: The hub is closed, or runs on another event loop.
        """
        await self._ensure_started()
        return await self._context.erasures.begin(user, by)

    async def consumers(self) -> list[ConsumerInfo]:
        """Return all durable consumers: who runs them, and how far they are. It looks at all of their rooms.

        Raises:
            StoreUnavailable: The log could not be read.
            ShuttingDown, WrongLoop: The hub is closed, or runs on another event loop.
        """
        await self._ensure_started()
        return await self._context.consumers.all()

    async def delete_consumer(self, name: str) -> None:
        """Forget a durable consumer that does not run, with its cursors. Under its name a new one may begin.

        Args:
            name: Of the consumer.

        Raises:
            RequestError: `not_found`; or `bad_command`: it runs.
            StoreUnavailable: It may be forgotten or not; try again.
            ShuttingDown, WrongLoop: The hub is closed, or runs on another event loop.
        """
        await self._ensure_started()
        await self._context.consumers.delete(name)

    async def erasure(self, erasure_id: str) -> Erasure:
        """Return where an erasure stands.

        Args:
            erasure_id: The `id` that `erase` has returned.

        Raises:
            RequestError: `not_found`.
            StoreUnavailable: The log could not be read.
            ShuttingDown, WrongLoop: The hub is closed, or runs on another event loop.
        """
        await self._ensure_started()
        return await self._context.erasures.get(erasure_id)

    async def erasures(self) -> list[Erasure]:
        """Return the erasures that are running, and the last 100 that are done; the newest first.

        Raises:
            StoreUnavailable: The log could not be read.
            ShuttingDown, WrongLoop: The hub is closed, or runs on another event loop.
        """
        await self._ensure_started()
        return await self._context.erasures.all()
