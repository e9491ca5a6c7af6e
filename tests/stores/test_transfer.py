"""Copies of logs from one store to another: the same entries, and readers that go on where they were."""

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from tests.redis_servers import RedisServer, needs_redis
from trunkline.core.message import Draft, Message
from trunkline.core.position import Start, resolve
from trunkline.core.read_mark import ReadMark
from trunkline.core.redaction import Redaction
from trunkline.core.retention import Retention
from trunkline.core.trace import Trace
from trunkline.errors import ConfigError, StoreUnavailable
from trunkline.stores import MemoryStore, SqliteStore, Store
from trunkline.stores.journal import Journal
from trunkline.stores.redis import RedisStore
from trunkline.stores.transfer import copy_log, replay
from trunkline.testing.correction_contract import draft, messages_of, stored

TRACE = Trace("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "a=1")


class Stores:
    """Makes stores of each kind, started."""

    def __init__(self, folder: Path, stack: AsyncExitStack) -> None:
        self._folder = folder
        self._stack = stack
        self._count = 0

    async def make(self, kind: str, retention: Retention | None = None) -> Store:
        self._count += 1
        retention = retention or Retention()
        store: Store
        if kind == "memory":
            store = MemoryStore(retention)
        elif kind == "sqlite":
            store = SqliteStore(self._folder / f"log-{self._count}.db", retention)
        else:
            server = self._stack.enter_context(RedisServer(self._folder))
            store = RedisStore(server.url, retention)
        await store.start()
        self._stack.push_async_callback(store.close)
        return store


@pytest.fixture
async def stores(tmp_path: Path) -> AsyncIterator[Stores]:
    async with AsyncExitStack() as stack:
        yield Stores(tmp_path, stack)


async def fill(store: Store) -> None:
    """Everything that there can be in a log."""
    await stored(store, [draft("plain", str(n), id=f"k{n}", sender="ana", at=n + 1) for n in range(1200)])
    await stored(store, [Draft("r", None, None, 5, b'{"n":[1,null]}', TRACE), draft("r", "x", at=3)])
    await stored(store, [draft("r", "secret", id="s", sender="bob", at=7), draft("r", "theirs", sender="ana", at=8)])
    await store.redact(Redaction("r", [3], 9))
    await store.redact(Redaction("r", [4], 9, erases=True))
    await stored(store, [draft("gone", "x")])
    await store.delete("gone", 10)
    await stored(store, [draft("gone", "again", at=11)])
    await store.mark([ReadMark("r", "ana", 2, 5), ReadMark("r", "bob", 4, 6)])
    await store.note("audit-key", b"\x00key")


PAIRS = [
    ("memory", "sqlite"),
    ("sqlite", "memory"),
    pytest.param("sqlite", "redis", marks=needs_redis),
    pytest.param("redis", "sqlite", marks=needs_redis),
]


@pytest.mark.parametrize(("source_kind", "target_kind"), PAIRS)
async def test_a_copy_has_everything(stores: Stores, source_kind: str, target_kind: str) -> None:
    """Also a part of a room whose beginning retention has cut."""
    source, target = await stores.make(source_kind, Retention(messages_max=1000)), await stores.make(target_kind)
    await fill(source)
    progress: list[tuple[str, int, int]] = []
    copied = await copy_log(source, target, lambda *one: progress.append(one))
    assert (copied.rooms, copied.marks, [name for name, *_ in progress]) == (3, 2, ["gone", "plain", "r"])
    for room in ("gone", "plain", "r"):
        assert await messages_of(target, room) == await messages_of(source, room)
        before, now = await source.head(room), await target.head(room)
        assert (now.first, now.head, now.epoch != before.epoch) == (before.first, before.head, True)
        # A reader of the source goes on in the target.
        start = Start("after", before.head, before.epoch)
        assert resolve(start, room, now.epoch, now.first, now.head, now.lineage) == (before.head, None)
    assert {(mark.member, mark.offset) for mark in await target.marks("r", 10)} == {("ana", 2), ("bob", 4)}
    assert await target.notes() == {"audit-key": b"\x00key"}
    # Ids are known, also those of redacted messages; and the log goes on.
    receipts = await stored(
        target, [draft("plain", "x", id="k1199", sender="ana"), draft("r", "x", id="s", sender="bob")]
    )
    assert [receipt.duplicate for receipt in receipts] == [True, True]
    [receipt] = await stored(target, [draft("r", "next", at=20)])
    assert receipt.offset == 7
    assert copied.messages >= 1000 + 6 + 1


async def test_a_copy_needs_an_empty_target(stores: Stores) -> None:
    source, target = await stores.make("memory"), await stores.make("sqlite")
    await stored(target, [draft("r", "x")])
    with pytest.raises(ConfigError, match="has rooms already"):
        await copy_log(source, target)


async def test_a_copy_that_differs_is_found_out(stores: Stores) -> None:
    """A store that loses a message, or changes one."""

    class Losing(MemoryStore):
        async def put_messages(self, room: str, messages: Sequence[Message]) -> None:
            await super().put_messages(room, messages[:-1])

    source, target = await stores.make("sqlite"), Losing(Retention())
    await fill(source)
    with pytest.raises(StoreUnavailable):
        await copy_log(source, target)


@needs_redis
async def test_a_journal_of_redis_is_carried_out_again(tmp_path: Path, stores: Stores) -> None:
    """What was redacted and deleted after a copy was made is so in the copy."""
    journal = tmp_path / "redactions"
    with RedisServer(tmp_path) as server:
        source = RedisStore(f"{server.url}?journal={journal}", Retention())
        await source.start()
        await stored(source, [draft("r", str(n)) for n in range(5)] + [draft("gone", "x")])
        backup = await stores.make("sqlite")
        await copy_log(source, backup)
        await source.redact(Redaction("r", [2, 4], 9))
        await source.delete("gone", 9)
        await stored(source, [draft("r", "later")])
        await source.redact(Redaction("r", [7], 10))
        await source.close()
    target = await stores.make("redis")
    await copy_log(backup, target)
    assert await replay(target, Journal(journal).read()) == 3
    assert [message.redacted for message in await messages_of(target, "r")][:5] == [False, True, False, True, False]
    assert await messages_of(target, "gone") == []
    assert await replay(target, Journal(journal).read()) == 0
