"""Corrections in one process: what is being read, and what is in memory, while the log changes."""

import asyncio

from trunkline import Hub
from trunkline.core.position import BEGINNING
from trunkline.core.retention import Retention
from trunkline.hub import context_of
from trunkline.stores.base import Page
from trunkline.stores.memory import MemoryStore


class SlowStore(MemoryStore):
    """A store whose next reads stay on their way until the test lets them arrive."""

    def __init__(self) -> None:
        super().__init__(Retention())
        self.go: asyncio.Event | None = None
        self.read_began = asyncio.Event()

    async def read(self, room: str, after: int, messages_max: int, bytes_max: int) -> Page:
        page = await super().read(room, after, messages_max, bytes_max)
        if self.go is not None:
            go, self.go = self.go, None
            self.read_began.set()
            await go.wait()
        return page


async def test_a_page_that_was_being_read_is_read_again() -> None:
    """The store has answered with the data; but it was redacted before the answer was given to anybody."""
    store = SlowStore()
    async with Hub(store) as hub:
        await hub.publish("r", "secret")
        await hub.publish("r", "2")
        engine = context_of(hub).engine
        async with engine.follower.opened(["r"]) as [room]:
            room.change_epoch(room.epoch, room.first, room.head, room.lineage)  # nothing is in memory
            store.go = go = asyncio.Event()
            reading = asyncio.ensure_future(engine.pages.read("r", BEGINNING))
            await store.read_began.wait()
            await hub.admin.redact("r", 1)
            go.set()
            page = await reading
        assert [message.data for message in page.messages] == [None, "2"]


async def test_the_messages_in_memory_are_redacted() -> None:
    async with Hub("memory:") as hub:
        for data in ("1", "secret", "3"):
            await hub.publish("r", data)
        engine = context_of(hub).engine
        async with engine.follower.opened(["r"]) as [room]:
            assert [message.data for message in room.messages] == ["1", "secret", "3"]
            size = room.messages_bytes
            redacted = await hub.admin.redact("r", [2])
            assert (redacted.redacted, redacted.offset, redacted.missing_nodes, redacted.unpurged) == ([2], 4, [], [])
            assert [message.data for message in room.messages] == ["1", None, "3", None]
            assert room.messages_bytes > size  # the redaction is an entry, too
            assert (room.head, room.redacted_to) == (4, 4)


async def test_a_reader_in_python_is_told_in_place() -> None:
    async with Hub("memory:") as hub:
        await hub.publish("r", "1")
        told: list[object] = []
        reading = hub.read("r", since="start", on_redacted=lambda entry: told.append((entry.offset, entry.redacts)))
        assert (await anext(reading)).data == "1"
        await hub.admin.redact("r", 1)
        await hub.publish("r", "2")
        told.append((await anext(reading)).data)
        assert told == [(2, (1,)), "2"]
        page = await hub.page("r", since="start")
        assert [message.data for message in page.messages] == [None, "2"]
        assert [entry.redacts for entry in page.redactions] == [(1,)]


async def test_readers_of_a_deleted_room_get_a_gap_and_go_on() -> None:
    async with Hub("memory:") as hub:
        await hub.publish("r", "1")
        engine = context_of(hub).engine
        async with engine.follower.opened(["r"]) as [room]:
            before = room.epoch
            deleted = await hub.admin.delete("r")
            assert (deleted.messages, deleted.epoch == room.epoch != before) == (1, True)
        page = await hub.page("r", since=f"{before}.1")
        assert page.gap is not None
        assert (page.gap.reason, page.messages) == ("deleted", [])
        receipt = await hub.publish("r", "new")
        assert (receipt.offset, receipt.epoch) == (1, deleted.epoch)
        assert (await hub.admin.delete("nobody")).epoch is None


async def test_a_poll_that_waits_is_told_of_a_redaction() -> None:
    async with Hub("memory:") as hub:
        first = await hub.publish("r", "1")
        waiting = asyncio.ensure_future(hub.page("r", since=f"{first.epoch}.1", wait_s=20))
        await asyncio.sleep(0)
        await hub.admin.redact("r", 1)
        page = await waiting
        assert (page.messages, [entry.redacts for entry in page.redactions]) == ([], [(1,)])
        assert page.next == f"{first.epoch}.2"
