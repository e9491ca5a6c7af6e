"""Several processes, one file: what each of them writes, the others know."""

import asyncio
import random
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from tests.stores.support import stored
from tests.support import WAIT_S
from trunkline import Hub
from trunkline.core.message import Draft
from trunkline.core.position import Position
from trunkline.core.read_mark import ReadMark
from trunkline.core.retention import Retention
from trunkline.errors import ConfigError
from trunkline.stores import SqliteStore, open_store
from trunkline.stores.sqlite import writer as module


def draft(room: str, n: int, message_id: str | None = None) -> Draft:
    return Draft(room, message_id, "ana", n, str(n).encode())


@pytest.fixture
async def stores(tmp_path: Path) -> AsyncIterator[list[SqliteStore]]:
    opened = [SqliteStore(tmp_path / "log.db", Retention(messages_max=200), shared=True) for _ in range(3)]
    await asyncio.gather(*[store.start() for store in opened])  # all at once, and the file is new
    yield opened
    for store in opened:
        await store.close()
    assert [path.name for path in (tmp_path / "log.db-wake").iterdir()] == []


async def test_each_offset_once(stores: list[SqliteStore]) -> None:
    """Appends from everywhere at once: no offset twice, none left out, and each reads what all have written."""
    answers = await asyncio.gather(
        *[store.append([draft("a", n, f"{n % 3}-{n}")]) for n in range(40) for store in stores[n % 3 : n % 3 + 1]]
    )
    receipts = [receipt for answer in answers for receipt in stored(answer)]
    assert sorted(receipt.offset for receipt in receipts) == list(range(1, 41))
    for store in stores:
        assert [message.offset for message in (await store.read("a", 0, 100, 1 << 20)).messages] == list(range(1, 41))
        assert (await store.heads(["a", "b"])) == {"a": Position(receipts[0].epoch, 40)}


@pytest.mark.parametrize("merge_ids", [2, 16_384])
async def test_an_id_is_stored_once_by_whomever(
    stores: list[SqliteStore], merge_ids: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether it is in the tree of ids, only in the rows, or was trimmed: all agree."""
    monkeypatch.setattr(module, "MERGE_IDS", merge_ids)
    rng = random.Random(7)
    known: dict[str, int] = {}
    for n in range(120):
        message_id = f"id-{rng.randrange(40)}"
        [receipt] = stored(await rng.choice(stores).append([draft("a", n, message_id)]))
        assert receipt.duplicate == (message_id in known)
        assert known.setdefault(message_id, receipt.offset) == receipt.offset
    for n in range(300):  # trimmed by one, forgotten by all
        await stores[n % 2].append([draft("a", n)])
    assert not stored(await stores[2].append([draft("a", 1, "id-1")]))[0].duplicate


async def test_the_others_are_told(stores: list[SqliteStore]) -> None:
    told: list[dict[str, int]] = []
    arrived = asyncio.Event()

    def on_append(heads: Mapping[str, int] | None) -> None:
        told.append(dict(heads or {}))
        arrived.set()

    stores[1].on_append = on_append
    await stores[0].append([draft("a", 1), draft("b", 2), draft("a", 3)])
    async with asyncio.timeout(WAIT_S):
        await arrived.wait()
    assert told == [{"a": 2, "b": 1}]
    arrived.clear()
    await stores[0].append([draft("r" * 200 + str(n), n) for n in range(400)])  # too much for a hint: look yourself
    async with asyncio.timeout(WAIT_S):
        await arrived.wait()
    assert told[1:] == [{}]


async def test_whoever_does_not_listen_is_no_trouble(stores: list[SqliteStore]) -> None:
    """A process that died left its socket behind; one that reads nothing is full."""
    wake = stores[1]._bus
    assert wake is not None
    assert wake._socket is not None
    asyncio.get_running_loop().remove_reader(wake._socket)
    for n in range(2000):
        await stores[0].append([draft("a", n)])
    wake._socket.close()
    wake._socket = None
    await asyncio.sleep(0)
    await stores[0].append([draft("a", 1)])
    assert wake.name not in [path.name for path in wake._folder.iterdir()]


async def test_marks(stores: list[SqliteStore]) -> None:
    await stores[0].mark([ReadMark("a", "ana", 5, 1)])
    await stores[1].mark([ReadMark("a", "ana", 3, 2)])
    assert await stores[2].marks_of("ana", ["a"]) == {"a": 5}


async def test_alone_or_together(tmp_path: Path) -> None:
    alone = SqliteStore(tmp_path / "log.db", Retention())
    shared = open_store(f"sqlite:///{tmp_path}/log.db?shared=1", Retention())
    assert shared.shared
    await alone.start()
    with pytest.raises(ConfigError, match="is in use"):
        await shared.start()
    await alone.close()
    await shared.start()
    with pytest.raises(ConfigError, match="shared=1"):
        await alone.start()
    await shared.close()
    with pytest.raises(ConfigError, match="shared=1, not"):
        open_store("sqlite:///log.db?mode=ro", Retention())


async def test_hubs_read_what_others_publish(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three hubs, publishing and reading at once; also if nobody is told of anything, within a second or two."""
    async with asyncio.timeout(2 * WAIT_S), AsyncExitStack() as stack:
        hubs = [await stack.enter_async_context(Hub(f"sqlite:///{tmp_path}/log.db?shared=1")) for _ in range(3)]

        async def read(hub: Hub, count: int) -> list[int]:
            offsets = []
            async for message in hub.read("a", since="start"):
                offsets.append(message.offset)
                if len(offsets) == count:
                    break
            return offsets

        reading = [asyncio.ensure_future(read(hub, 91)) for hub in hubs for _ in range(2)]
        await asyncio.gather(*[hub.publish("a", n) for n in range(30) for hub in hubs])
        for hub in hubs:
            assert (await hub.page("a", since=89)).messages[0].offset == 90  # at once, whoever was told what
        for hub in hubs:
            monkeypatch.setattr(hub._engine.store.inner, "_bus", None)
        await hubs[0].publish("a", "the last")
        assert await asyncio.gather(*reading) == [list(range(1, 92))] * 6
