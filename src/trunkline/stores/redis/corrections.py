"""Corrections of a log in Redis: listing, redacting, deleting and erasing."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Protocol

from redis.exceptions import ResponseError

from trunkline.core.epochs import format_lineage, lineage_of_copy, parse_lineage
from trunkline.core.message import Message
from trunkline.core.redaction import Redacted, Redaction, stored_form
from trunkline.errors import StoreUnavailable
from trunkline.stores.base import Deleted, RoomCopy, RoomInfo, Sent
from trunkline.stores.journal import Journal, Journalled, epochs_of
from trunkline.stores.redis.bus import RedisBus
from trunkline.stores.redis.client import Call, RedisClient, Script

REDACTED, REDACTION = b"1", b"2"  # as in room.lua
OFFSETS_PER_CALL = 50  # each may move hundreds of neighbours, and a script holds up all other calls
NODE_ENTRIES = 256  # of a stream: by default 100, and no more fit into its 4 KiB if their number is not bounded
NODE_ENTRIES_MAX = 2000
ROOMS_AT_ONCE = 500
PURGE_S = 60.0
PURGE_LOOK_S = 0.1
CLUSTER_LEFT = "the append-only files and dumps of the cluster's servers: run BGREWRITEAOF and BGSAVE on each of them"


class About(Protocol):
    """Makes a call of a script that begins with `room.lua`."""

    def __call__(self, room: str, script: Script, arguments: list[Any], *more_keys: str) -> Call: ...


class RedisCorrections:
    """What is corrected in the rooms of one log."""

    def __init__(
        self,
        client: RedisClient,
        bus: RedisBus,
        prefix: str,
        about: About,
        *,
        cluster: bool,
        journal: str | None = None,
    ) -> None:
        self._client = client
        self._bus = bus
        self._prefix = prefix
        self._about = about
        self._is_cluster = cluster
        self._names_key = f"{prefix}:names"  # of all rooms, in order
        self._notes_key = f"{prefix}:notes"
        self._redact_script = Script("room", "redact")
        self._delete_script = Script("room", "delete")
        self._sent_script = Script("room", "sent")
        self._info_script = Script("room", "info")
        self._put_script = Script("room", "put")
        self._head_script = Script("room", "head")
        self._journal = None if journal is None else Journal(Path(journal))
        self._node_entries = 0  # 0: not known yet
        self._is_listed = False

    def listing(self, rooms: Iterable[str]) -> list[Any]:
        """Return the command that notes that these rooms are there."""
        return ["ZADD", self._names_key, *(value for name in rooms for value in (0, name))]

    def unlisting(self, rooms: Iterable[str]) -> list[Any]:
        """Return the command that notes that these rooms are not there any more."""
        return ["ZREM", self._names_key, *rooms]

    async def find_rooms(self, prefix: str, after: str, rooms_max: int, list_key: str) -> list[RoomInfo]:
        """Return rooms by prefix; see `CorrectionStore.find_rooms`."""
        await self._list_all(list_key)
        found: list[RoomInfo] = []
        low = f"({after}" if after >= prefix else f"[{prefix}"
        while len(found) < rooms_max:
            [names] = await self._client.ask(
                [["ZRANGEBYLEX", self._names_key, low, b"[" + prefix.encode() + b"\xff", "LIMIT", 0, rooms_max]]
            )
            if not names:
                break
            low = b"(" + names[-1]
            rooms = [name.decode() for name in names]
            answers = await self._client.call([self._about(room, self._info_script, []) for room in rooms])
            for room, (epoch, first, head, size, at) in zip(rooms, answers, strict=True):
                if head and len(found) < rooms_max:
                    found.append(RoomInfo(room, epoch.decode(), first, head, int(size), int(at)))
        return found

    async def _list_all(self, list_key: str) -> None:
        """List the rooms of a log that an earlier version has begun."""
        if self._is_listed:
            return
        flag = f"{self._prefix}:names-complete"
        [is_complete] = await self._client.ask([["EXISTS", flag]])
        if not is_complete:
            async for names in self._client.scan_all(list_key, ROOMS_AT_ONCE):
                await self._client.ask([self.listing(name.decode() for name in names)])
            await self._client.ask([["SET", flag, "1"]])
        self._is_listed = True

    async def begun_again(self, rooms: list[str]) -> dict[str, int]:
        """Return which of these rooms hold messages, with their newest stamps: published while they were forgotten."""
        answers = await self._client.call([self._about(room, self._info_script, []) for room in rooms])
        return {room: int(at) for room, (_, _, head, _, at) in zip(rooms, answers, strict=True) if head}

    async def redact(self, redaction: Redaction) -> Redacted:
        """Redact, a few messages in each step; see `CorrectionStore.redact`."""
        around = await self._entries_of_a_node()
        room, redacted = redaction.room, Redacted("", 0, [])
        arguments = [redaction.at, self._bus.channel(room), self._bus.name, int(redaction.erases), around]
        offsets = sorted(offset for offset in set(redaction.offsets) if offset > 0)
        await self._write_down(Journalled(redaction.at, room, [], offsets, redaction.erases))
        for at in range(0, max(1, len(offsets)), OFFSETS_PER_CALL):
            some = offsets[at : at + OFFSETS_PER_CALL]
            [(epoch, offset, *done)] = await self._client.call(
                [self._about(room, self._redact_script, [*arguments, *some])], wait=True
            )
            of_all = redacted.offsets + [int(one) for one in done]
            redacted = Redacted(epoch.decode(), offset or redacted.offset, of_all)
        return redacted

    async def _entries_of_a_node(self) -> int:
        if self._is_cluster:
            return NODE_ENTRIES
        if not self._node_entries:
            try:
                [(_, value)] = await self._client.pipeline([["CONFIG", "GET", "stream-node-max-entries"]])
                self._node_entries = min(NODE_ENTRIES_MAX, max(NODE_ENTRIES, int(value)))
            except (ResponseError, ValueError):  # a service that does not let its settings be read
                self._node_entries = NODE_ENTRIES
            except (OSError, TimeoutError) as error:
                raise StoreUnavailable("the log could not be reached") from error
        return self._node_entries

    async def sent(self, room: str, sender: str, after: int) -> Sent:
        """Return some of a sender's messages; see `CorrectionStore.sent`."""
        [(to, head, *offsets)] = await self._client.call([self._about(room, self._sent_script, [sender, after])])
        return Sent(offsets, to, head)

    async def delete(self, room: str, at: int) -> Deleted | None:
        """Delete a room; see `CorrectionStore.delete`."""
        await self._write_down(Journalled(at, room, [], deletes=True))
        arguments = [at, self._bus.channel(room), self._bus.name, secrets.token_hex(4)]
        [(epoch, messages)] = await self._client.call(
            [self._about(room, self._delete_script, arguments, "seen", "seen-at")], wait=True
        )
        return None if messages < 0 else Deleted(epoch.decode(), messages)

    async def _write_down(self, line: Journalled) -> None:
        """Write a line of the journal, if there is one: before it is carried out, so that none is missing."""
        if self._journal is None or not (line.offsets or line.deletes):
            return
        [(epoch, _, head, text)] = await self._client.call([self._about(line.room, self._head_script, [])])
        line.epochs, line.head = epochs_of(epoch.decode(), parse_lineage(text.decode())), head
        try:
            self._journal.add(line)
        except OSError as error:
            raise StoreUnavailable(f"the journal of redactions cannot be written: {error}") from error

    async def erase_marks(self, member: str, list_key: str) -> int:
        """Forget all read marks of a member."""
        count = 0
        async for names in self._client.scan_all(list_key, ROOMS_AT_ONCE):
            keys = [f"{self._prefix}:{{{name.decode()}}}:" for name in names]
            commands = [["HDEL", f"{key}seen", member] for key in keys]
            commands += [["ZREM", f"{key}seen-at", member] for key in keys]
            count += sum((await self._client.ask(commands))[: len(keys)])
        return count

    async def put_room(self, room: RoomCopy) -> None:
        """Make a room; see `CorrectionStore.put_room`."""
        lineage = format_lineage(lineage_of_copy(room.epoch, room.head, room.lineage))
        await self._client.call(
            [self._about(room.room, self._put_script, [room.first, secrets.token_hex(4), lineage, room.at])]
        )

    async def put_messages(self, room: str, messages: Sequence[Message]) -> None:
        """Append messages as they are; see `CorrectionStore.put_messages`."""
        arguments: list[Any] = ["", "", ""]
        for message in messages:
            entry = stored_form(message)
            arguments += (message.offset, entry.id or "", message.sender or "", message.at)
            arguments += (entry.data, entry.epoch or "", entry.trace or "", entry.kind or "")
        await self._client.call([self._about(room, self._put_script, arguments)], wait=True)

    async def purge(self) -> list[str]:
        """Have Redis write its files anew; see `CorrectionStore.purge`."""
        if self._is_cluster:
            return [CLUSTER_LEFT]
        left = []
        try:
            if (await self._persistence()).get("aof_enabled") == "1":
                await self._client.pipeline([["BGREWRITEAOF"]])
                left += await self._written("aof_rewrite_in_progress", "aof_rewrite_scheduled", what="append-only file")
            [(_, saves)] = await self._client.pipeline([["CONFIG", "GET", "save"]])
            if saves:
                await self._client.pipeline([["BGSAVE", "SCHEDULE"]])
                left += await self._written("rdb_bgsave_in_progress", what="dump")
            [replication] = await self._client.info("replication")
        except ResponseError as error:
            return [f"the files of Redis, which does not let them be written anew ({error}): do that by its operator"]
        except (OSError, TimeoutError) as error:
            raise StoreUnavailable("the log could not be reached") from error
        count = replication.get("connected_slaves", "0")
        if count != "0":
            left.append(f"the files of {count} replicas of Redis: run BGREWRITEAOF and BGSAVE on each of them")
        return left

    async def _written(self, *flags: str, what: str) -> list[str]:
        """Wait until a file is written; return what is left."""
        end = asyncio.get_running_loop().time() + PURGE_S
        while True:
            await asyncio.sleep(PURGE_LOOK_S)
            found = await self._persistence()
            if not any(found.get(flag) == "1" for flag in flags):
                break
            if asyncio.get_running_loop().time() > end:
                return [f"the {what} of Redis, which is still being written after {PURGE_S:.0f} s"]
        status = "aof_last_bgrewrite_status" if "aof" in flags[0] else "rdb_last_bgsave_status"
        if found.get(status) == "err":
            return [f"the {what} of Redis, which could not be written: see its log"]
        return []

    async def _persistence(self) -> dict[str, str]:
        [found] = await self._client.info("persistence")
        return found

    async def notes(self) -> dict[str, bytes]:
        """Return the notes of the system."""
        [pairs] = await self._client.ask([["HGETALL", self._notes_key]])
        items = pairs.items() if isinstance(pairs, dict) else zip(pairs[::2], pairs[1::2], strict=True)
        return {name.decode(): value for name, value in items}

    async def note(self, name: str, value: bytes | None) -> None:
        """Keep or forget a note."""
        command = ["HDEL", self._notes_key, name] if value is None else ["HSET", self._notes_key, name, value]
        await self._client.ask([command])
