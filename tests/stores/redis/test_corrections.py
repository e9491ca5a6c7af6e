"""Corrections of a log in Redis: what is taken away is in none of its files, and the rest is there."""

import asyncio
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.redis_servers import RedisServer, needs_redis
from tests.stores.support import files_with
from tests.support import until
from trunkline.core.redaction import Redaction
from trunkline.core.retention import Retention
from trunkline.errors import StoreUnavailable
from trunkline.stores.redis import RedisStore
from trunkline.testing.correction_contract import draft, messages_of, stored

pytestmark = needs_redis

SECRET = "4111111111111111"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    """A server that writes an append-only file, and dumps."""
    arguments = ("--appendonly", "yes", "--appendfsync", "always", "--save", "3600 1", "--rdbcompression", "no")
    with RedisServer(tmp_path, *arguments) as server:
        yield server


async def opened(server: RedisServer, retention: Retention | None = None) -> RedisStore:
    store = RedisStore(server.url, retention or Retention())
    await store.start()
    return store


async def test_redacted_data_is_in_no_file_of_redis(server: RedisServer, tmp_path: Path) -> None:
    """Its neighbours in the stream are there, in the dump, too."""
    store = await opened(server)
    texts = [f"{SECRET}-{n}" if n % 37 == 5 else f"public-{n}" for n in range(1000)]
    await stored(store, [draft("r", text, id=f"k{n}") for n, text in enumerate(texts)])
    server.client.save()
    assert len(files_with(tmp_path, SECRET)) >= 2  # the dump, and the append-only file
    offsets = [n + 1 for n, text in enumerate(texts) if text.startswith(SECRET)]
    assert (await store.redact(Redaction("r", offsets, 2))).offsets == offsets
    assert await store.purge() == []
    until(lambda: not files_with(tmp_path, SECRET), "the data is gone from all files")
    assert files_with(tmp_path, "public-500")
    kept = [message.data for message in await messages_of(store, "r") if not (message.redacted or message.redacts)]
    assert kept == [text for text in texts if text.startswith("public")]
    await store.close()


async def test_an_erased_user_and_a_deleted_room_are_in_no_file_of_redis(server: RedisServer, tmp_path: Path) -> None:
    store = await opened(server)
    await stored(store, [draft("r", "x", id=f"their-id-{n}", sender="ana-secret") for n in range(300)])
    await stored(store, [draft("gone", SECRET) for _ in range(300)])
    sent = await store.sent("r", "ana-secret", 0)
    await store.redact(Redaction("r", sent.offsets, 2, erases=True))
    await store.delete("gone", 3)
    assert await store.purge() == []
    for text in ("ana-secret", "their-id-", SECRET):
        until(lambda text=text: not files_with(tmp_path, text), f"{text} is gone")  # type: ignore[misc]
    await store.close()


async def test_what_a_replica_has_is_said(server: RedisServer, tmp_path: Path) -> None:
    with RedisServer(tmp_path, "--replicaof", "127.0.0.1", str(server.port)):
        until(lambda: server.client.info("replication")["connected_slaves"] == 1, "the replica is there")
        store = await opened(server)
        assert ["1 replicas" in text for text in await store.purge()] == [True]
        await store.close()


async def test_a_service_that_permits_no_rewriting_is_named(server: RedisServer) -> None:
    server.client.execute_command("ACL", "SETUSER", "app", "on", ">p", "~*", "&*", "+@all", "-bgrewriteaof", "-config")
    store = RedisStore(server.url.replace("redis://", "redis://app:p@"), Retention())
    await store.start()
    await stored(store, [draft("r", "x")])
    assert (await store.redact(Redaction("r", [1], 2))).offsets == [1]
    [left] = await store.purge()
    assert "operator" in left
    await store.close()


async def test_a_log_of_random_corrections_is_what_a_model_says(server: RedisServer) -> None:
    """Appends, redactions, erasures, retention by size, and reads from anywhere."""
    chance = random.Random(7)
    store = await opened(server, Retention(messages_max=700))
    model: list[str | None] = []  # what each offset reads; None for what was redacted, and for redactions
    for _ in range(120):
        if chance.random() < 0.6:
            some = [f"m{len(model) + n}" for n in range(chance.randrange(1, 40))]
            await stored(store, [draft("r", text, sender=chance.choice("ab")) for text in some])
            model += some
        elif model:
            wanted = sorted({chance.randrange(1, len(model) + 1) for _ in range(chance.randrange(1, 60))})
            erases = chance.random() < 0.3
            redacted = await store.redact(Redaction("r", wanted, 1, erases=erases))
            for offset in redacted.offsets:
                model[offset - 1] = None
            while len(model) < (await store.head("r")).head:
                model.append(None)
        if model:
            head = await store.head("r")
            assert head.head == len(model)
            after = chance.randrange(head.first - 1, head.head)
            page = (await store.read("r", after, 50, 1 << 30)).messages
            assert [message.data for message in page] == model[after : after + len(page)]
            assert [message.offset for message in page] == list(range(after + 1, after + 1 + len(page)))
    assert (await store.head("r")).first > 1
    await store.close()


async def test_rooms_of_an_earlier_version_are_listed(server: RedisServer) -> None:
    store = await opened(server)
    await stored(store, [draft("old", "x")])
    server.client.delete("trunkline:names")
    assert [info.room for info in await store.find_rooms("", "", 10)] == ["old"]
    await store.close()


async def test_nodes_that_redact_at_once_redact_once(server: RedisServer) -> None:
    one, two = await opened(server), await opened(server)
    await stored(one, [draft("r", str(n)) for n in range(100)])
    redaction = Redaction("r", list(range(1, 101)), 1)
    done = await asyncio.gather(one.redact(redaction), two.redact(redaction))
    assert sorted(offset for redacted in done for offset in redacted.offsets) == list(range(1, 101))
    await one.close()
    await two.close()


async def test_nodes_of_a_stream_may_be_large(server: RedisServer) -> None:
    """More entries than one command can name move; retention then cuts exactly."""
    server.client.config_set("stream-node-max-entries", 4000)
    store = await opened(server, Retention(messages_max=9_000))
    for at in range(0, 8_000, 1000):
        await stored(store, [draft("r", str(n)) for n in range(at, at + 1000)])
    assert (await store.redact(Redaction("r", [4000], 1))).offsets == [4000]
    server.client.config_set("stream-node-max-entries", 100)
    other = await opened(server, Retention(messages_max=2_000))
    await other.redact(Redaction("r", [7000], 1))
    await stored(other, [draft("r", "x")])
    head = await other.head("r")
    offsets, after = [], head.first - 1
    while after < head.head:
        page = (await other.read("r", after, 500, 1 << 30)).messages
        offsets += [message.offset for message in page]
        after = page[-1].offset
    assert offsets == list(range(head.first, head.head + 1))
    await store.close()
    await other.close()


async def test_nothing_is_redacted_that_cannot_be_journalled(server: RedisServer, tmp_path: Path) -> None:
    """Nor deleted; and what is tried again then has its line."""
    journal = tmp_path / "folder" / "redactions"
    store = RedisStore(f"{server.url}?journal={journal}", Retention())
    await store.start()
    await stored(store, [draft("r", "x"), draft("gone", "x")])
    for _ in range(2):
        with pytest.raises(StoreUnavailable, match="journal"):
            await store.redact(Redaction("r", [1], 1))
        with pytest.raises(StoreUnavailable, match="journal"):
            await store.delete("gone", 1)
    assert (await messages_of(store, "r"))[0].data == "x"
    journal.parent.mkdir()
    assert (await store.redact(Redaction("r", [1], 1))).offsets == [1]
    assert await store.delete("gone", 1) is not None
    assert len(journal.read_text("utf-8").splitlines()) == 2
    await store.close()


async def test_a_room_that_is_published_to_while_it_is_forgotten_is_listed(server: RedisServer) -> None:
    """Erasing, backing up and copying look for rooms there."""
    one, two = await opened(server), await opened(server)
    await stored(one, [draft("r", "x", at=1)])
    await one.trim(10**13)
    ask = one._client.ask

    async def ask_late(commands: list[list[Any]]) -> list[Any]:
        if commands[0][0] == "ZREM":
            await stored(two, [draft("r", "new", at=10**12)])
        return await ask(commands)

    one._client.ask = ask_late  # type: ignore[method-assign]
    assert await one.forget(["r"]) == ["r"]
    assert [info.room for info in await two.find_rooms("", "", 10)] == ["r"]
    assert server.client.zscore("trunkline:rooms", "r") is not None
    await one.close()
    await two.close()
