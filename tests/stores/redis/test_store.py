"""What Redis may do to a log, and what its users then notice (R28, R30, R31)."""

import asyncio
import secrets
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.readers import SilentConnection
from tests.redis_servers import Cluster, RedisServer, SentinelServer, needs_redis
from tests.stores.support import stored
from tests.support import WAIT_S, eventually
from trunkline import Hub
from trunkline.core import membership as peers
from trunkline.core.grant import Grant
from trunkline.core.position import Former, Gap
from trunkline.core.retention import Retention
from trunkline.engine import availability as availability_module
from trunkline.errors import ConfigError, ShuttingDown, StoreUnavailable
from trunkline.stores.redis import RedisStore
from trunkline.stores.redis import store as module
from trunkline.stores.redis.address import parse_address
from trunkline.testing.correction_contract import AMPLE, draft, traced
from trunkline.testing.store_contract import PARENT

pytestmark = needs_redis


async def hears(hub: Hub) -> bool:
    store = hub._engine.store.inner
    assert isinstance(store, RedisStore)
    return await hears_store(store)


async def publish(hub: Hub, n: int, room: str = "a") -> None:
    """As a client does: again, with the same id, until it is stored."""
    while True:
        try:
            await hub.publish(room, n, id=f"id-{n}")
        except StoreUnavailable:
            await asyncio.sleep(0.05)
        else:
            return


class Following:
    """Everything that a hub delivers of a room."""

    def __init__(self, hub: Hub, room: str = "a") -> None:
        self.data: list[int] = []
        self.offsets: list[int] = []
        self.gaps: list[Gap] = []
        self.task = asyncio.ensure_future(self._read(hub, room))

    async def _read(self, hub: Hub, room: str) -> None:
        since: str | None = "start"
        while True:
            try:
                page = await hub.page(room, since=since, wait_s=5)
            except StoreUnavailable:
                await asyncio.sleep(0.05)
                continue
            except ShuttingDown:
                return
            since = page.next
            self.gaps += [page.gap] if page.gap else []
            self.data += [message.data for message in page.messages]
            self.offsets += [message.offset for message in page.messages]

    async def come_to(self, count: int) -> None:
        await self.has(count)
        self.task.cancel()

    async def has(self, count: int) -> None:
        async with asyncio.timeout(WAIT_S):
            while len(self.data) < count:
                assert not self.task.done(), self.task.exception()
                await asyncio.sleep(0.01)


@pytest.mark.parametrize("fault", ["kill", "pause", "clients"])
async def test_redis_goes_and_comes_back(fault: str, tmp_path: Path) -> None:
    """Three hubs publish and follow meanwhile: nothing lost, repeated or reordered, and no gap."""
    with RedisServer(tmp_path) as server:
        async with AsyncExitStack() as stack:
            hubs = [await stack.enter_async_context(Hub(server.url)) for _ in range(3)]
            followers = [Following(hub) for hub in hubs]

            async def write(hub: Hub, first: int) -> None:
                for n in range(first, first + 100):
                    await publish(hub, n)
                    await asyncio.sleep(0.01)

            writing = [asyncio.ensure_future(write(hub, 1000 * n)) for n, hub in enumerate(hubs)]
            for _ in range(3):
                await asyncio.sleep(0.2)
                if fault == "kill":
                    server.kill()
                    await asyncio.sleep(0.1)
                    await asyncio.to_thread(server.start)
                elif fault == "pause":
                    server.pause()
                    await asyncio.sleep(0.5)
                    server.go_on()
                else:
                    server.client.client_kill_filter(_type="normal", skipme=True)
                    server.client.client_kill_filter(_type="pubsub", skipme=True)
            await asyncio.gather(*writing)
            for follower in followers:
                await follower.come_to(300)
            for follower in followers:
                assert follower.offsets == list(range(1, 301))
                assert follower.data == followers[0].data
                assert follower.gaps == []
            for hub in hubs:  # and all of them still hear
                await eventually(partial(hears, hub))
            for n in range(3):  # each publisher's in its order
                mine = [number for number in followers[0].data if number // 1000 == n]
                assert mine == list(range(1000 * n, 1000 * n + 100))


async def test_a_replica_takes_over(tmp_path: Path) -> None:
    """Sentinel promotes a replica that has everything: publishers and readers go on there, and notice nothing."""
    with (
        RedisServer(tmp_path) as master,
        RedisServer(tmp_path, "--replicaof", "127.0.0.1", str(master.port)) as replica,
    ):

        async def linked() -> bool:
            return bool(replica.client.info("replication")["master_link_status"] == "up")

        await eventually(linked)
        with SentinelServer(tmp_path, master, 1) as sentinel:

            async def knows_the_replica() -> bool:
                return bool(sentinel.client.execute_command("SENTINEL", "replicas", "house"))

            await eventually(knows_the_replica)
            url = f"redis+sentinel://127.0.0.1:{sentinel.port}/house"
            async with Hub(url) as one, Hub(url) as other:
                followers = [Following(hub) for hub in (one, other)]
                for n in range(100):
                    await publish(one, n)
                written = master.client.info("replication")["master_repl_offset"]

                async def has_it() -> bool:
                    return bool(replica.client.info("replication")["slave_repl_offset"] >= written)

                await eventually(has_it)
                master.kill()
                for n in range(100, 200):
                    await publish(one, n)
                for follower in followers:
                    await follower.come_to(200)
                    assert follower.data == list(range(200))
                    assert follower.offsets == list(range(1, 201))
                    assert follower.gaps == []


async def test_sentinels_that_ask_who_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Their password is another one than that of Redis, and neither is in an error."""
    with RedisServer(tmp_path) as master, SentinelServer(tmp_path, master, 1) as sentinel:
        sentinel.client.execute_command("SENTINEL", "set", "house", "auth-pass", "of the log")
        sentinel.client.execute_command("ACL", "SETUSER", "default", "resetpass", ">of the sentinel")
        master.client.config_set("requirepass", "of the log")
        url = f"redis+sentinel://:of%20the%20log@127.0.0.1:{sentinel.port}/house"
        async with Hub(f"{url}?sentinel_password=of%20the%20sentinel") as hub:
            await publish(hub, 1)
        monkeypatch.setattr(module, "START_S", 0.1)
        with pytest.raises(ConfigError) as refused:
            await RedisStore(f"{url}?sentinel_password=of%20the%20guess", Retention()).start()
        assert "of the" not in str(refused.value)
        assert "%20" not in str(refused.value)


async def test_a_shard_goes_and_comes_back(tmp_path: Path) -> None:
    """Its rooms wait for it, those of the others go on; in the end everybody has everything of all of them."""
    with Cluster(tmp_path) as cluster:
        async with Hub(cluster.url) as one, Hub(cluster.url) as other:
            rooms = [f"room-{n}" for n in range(12)]  # on all shards
            followers = {(hub, room): Following(hub, room) for hub in (one, other) for room in rooms}

            async def write(room: str) -> None:
                for n in range(100):
                    await publish(one, n, room)
                    await asyncio.sleep(0.005)

            writing = {room: asyncio.ensure_future(write(room)) for room in rooms}
            await followers[other, rooms[0]].has(10)
            cluster.servers[1].kill()
            done, _ = await asyncio.wait(writing.values(), timeout=WAIT_S, return_when=asyncio.FIRST_COMPLETED)
            assert done, "rooms on the other shards stand still, too"
            await asyncio.to_thread(cluster.servers[1].start)
            await asyncio.gather(*writing.values())
            for follower in followers.values():
                await follower.come_to(100)
                assert follower.data == list(range(100))
                assert follower.offsets == list(range(1, 101))
                assert follower.gaps == []


async def test_a_server_that_lacks_the_end(tmp_path: Path) -> None:
    """A replica that takes over without the last messages: whoever has read them has a gap that names them."""
    with RedisServer(tmp_path, "--save", "") as server, RedisServer(tmp_path, "--save", "") as other:
        store = RedisStore(server.url, Retention())
        await store.start()
        await store.append([draft("a", str(n)) for n in range(1, 11)])
        before = await store.head("a")
        for key in server.client.keys("*"):  # what has come to the replica
            other.client.restore(key, 0, server.client.dump(key))
        lost = stored(await store.append([draft("a", "11"), draft("a", "12")]))
        assert [receipt.offset for receipt in lost] == [11, 12]
        await store.close()
        store = RedisStore(other.url, Retention())
        await store.start()
        after = await store.head("a")
        assert (after.head, after.lineage) == (10, (Former(before.epoch, 10),))
        await store.close()
        async with Hub(other.url) as hub:
            await hub.publish("a", "instead")
            assert (await hub.page("a", since=f"{before.epoch}.10")).gap is None
            page = await hub.page("a", since=f"{before.epoch}.12")
            assert page.gap == Gap("a", after.epoch, 11, 12, "epoch", f"{after.epoch}.10")
            assert [message.data for message in page.messages] == ["instead"]


async def test_a_log_that_was_deleted_is_another_one(tmp_path: Path) -> None:
    with RedisServer(tmp_path) as server:
        async with Hub(server.url) as hub:
            receipt = await hub.publish("a", 1)
            server.client.flushall()
            again = await hub.publish("a", 2)
            assert again.offset == 1
            assert again.epoch != receipt.epoch
            page = await hub.page("a", since=f"{receipt.epoch}.1")
            assert page.gap is not None
            assert page.gap.reason == "epoch"
            assert [message.data for message in page.messages] == [2]


async def test_a_full_memory_refuses(tmp_path: Path) -> None:
    """Nothing is acknowledged that is not stored; what is there can be read; and it goes on when there is room."""
    with RedisServer(tmp_path) as server:
        async with Hub(server.url) as hub:
            await hub.publish("a", 1)
            server.client.config_set("maxmemory", "1")
            with pytest.raises(StoreUnavailable, match="memory is full"):
                await hub.publish("a", 2, id="two")
            assert (await hub.page("a", since="start")).head == 1
            server.client.config_set("maxmemory", "0")
            assert (await hub.publish("a", 2, id="two")).offset == 2
        server.client.config_set("maxmemory", "100mb")
        server.client.config_set("maxmemory-policy", "allkeys-lru")
        with pytest.raises(ConfigError, match="throws messages away"):
            await RedisStore(server.url, Retention()).start()


async def test_only_those_who_follow_are_told(redis_server: RedisServer) -> None:
    """A node is told of rooms that are read there (R31); a lost subscription is noticed within a second or two."""
    prefix = secrets.token_hex(4)
    url = f"{redis_server.url}?prefix={prefix}"
    async with Hub(url) as one, Hub(url) as other:
        reading = Following(other)
        await eventually(lambda: asyncio.sleep(0, other._engine.rooms.get("a") is not None))
        channels = {name.decode() for name in redis_server.client.pubsub_channels(f"{prefix}:r:*")}
        assert channels == {f"{prefix}:r:a", f"{prefix}:r:$revocations"}
        for n in range(20):
            await one.publish("b", n)
            await one.publish("a", n)
        await reading.come_to(20)
        assert f"{prefix}:r:b" not in {name.decode() for name in redis_server.client.pubsub_channels("*")}


class Client(SilentConnection):
    """Counts how often it is sent away."""

    def __init__(self) -> None:
        self.sent_away = 0

    def drain(self, retry_after_ms: int) -> None:
        self.sent_away += 1


async def test_who_is_sent_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Redis is away for all: not ready, and clients stay. One node is deaf (R29): its clients move to another one."""
    monkeypatch.setattr(availability_module, "STALLED_S", 2.5)
    with RedisServer(tmp_path) as server:
        async with Hub(server.url) as hub:
            client = Client()
            bucket = hub._engine.connections.add(client)

            async def unready() -> bool:
                return hub._engine.unready is not None

            server.kill()
            await eventually(unready)
            await asyncio.sleep(2)  # nothing is to happen, for as long as it is looked twice
            assert client.sent_away == 0
            await asyncio.to_thread(server.start)
            await eventually(partial(hears, hub))
            monkeypatch.setattr(hub._engine.store.bus, "_hear", lambda message: None)
            await eventually(lambda: asyncio.sleep(0, client.sent_away))
            hub._engine.connections.remove(client, bucket)


async def test_wait_replicas(tmp_path: Path) -> None:
    with RedisServer(tmp_path) as server:
        store = RedisStore(f"{server.url}?wait_replicas=1&wait_ms=100", Retention())
        await store.start()
        with pytest.raises(StoreUnavailable, match="fewer than 1 replicas"):
            await store.append([draft("a", "1", id="k")])
        with RedisServer(tmp_path, "--replicaof", "127.0.0.1", str(server.port)) as _:

            async def stored() -> Any:
                try:
                    return await store.append([draft("a", "1", id="k")])
                except StoreUnavailable:
                    return None

            [receipt] = await eventually(stored)
            assert receipt.offset == 1
        await store.close()


def test_addresses() -> None:
    """What a URL says; and no error repeats it."""
    address = parse_address("rediss://ana:s%40cret@db.example:7000/2?prefix=chat")
    assert address.hosts == [("db.example", 7000)]
    assert address.options == {"username": "ana", "password": "s@cret", "db": 2, "ssl": True}
    assert "cret" not in str(address)
    address = parse_address("redis+sentinel://:pw@a,b:1/house?wait_replicas=1")
    assert (address.kind, address.hosts, address.service) == ("sentinel", [("a", 26379), ("b", 1)], "house")
    for wrong in (
        "redis://:secret@host:x",
        "redis://host/secret",
        "redis://host?secret=1",
        "redis+cluster://host/1",
        "redis+sentinel://:secret@host",
        "redis://host?sentinel_password=:secret",
        "redis://host?wait_ms=9999",
    ):
        with pytest.raises(ConfigError) as refused:
            parse_address(wrong)
        assert ":secret" not in str(refused.value)


async def test_nobody_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is waited for, for a while."""
    monkeypatch.setattr(module, "START_S", 0.6)
    with pytest.raises(ConfigError, match="cannot be used"):
        await RedisStore("redis://127.0.0.1:1", Retention()).start()


async def test_a_log_that_is_older_than_its_readers(tmp_path: Path) -> None:
    """Redis comes back with less than it had, also without whole rooms: readers are told, and revocations hold."""
    with RedisServer(tmp_path, "--save", "") as server:
        async with Hub(server.url) as one, Hub(server.url) as other:
            await one.publish("old", 1)
            await one.revoke(token_id="first")
            server.client.save()
            follower = Following(other, "young")
            for n in range(5):
                receipt = await one.publish("young", n)
            await follower.has(5)
            server.kill()
            await asyncio.to_thread(server.start)
            for hub in (one, other):
                await eventually(partial(hears, hub))
            for n in range(7):
                await publish(one, 100 + n, "young")
            await follower.come_to(12)
            assert follower.data == [*range(5), *range(100, 107)]
            assert [gap.reason for gap in follower.gaps] == ["epoch"]
            page = await other.page("young", since=f"{receipt.epoch}.5")
            assert page.gap is not None
            assert [message.data for message in page.messages] == list(range(100, 107))
            await one.revoke(token_id="stolen")
            grant = Grant(user="ana", token_id="stolen")
            await eventually(lambda: asyncio.sleep(0, other._access.revocations.refuses(grant)))


async def test_a_master_that_is_one_again(tmp_path: Path) -> None:
    """The same process, after another one was master: what it had then is not what it has now."""
    with RedisServer(tmp_path, "--save", "") as first, RedisServer(tmp_path, "--save", "") as second:

        async def follows(replica: RedisServer, master: RedisServer) -> None:
            replica.client.replicaof("127.0.0.1", master.port)
            await eventually(lambda: asyncio.sleep(0, replica.client.info("replication")["master_link_status"] == "up"))

        store = RedisStore(first.url, Retention())
        await store.start()
        await follows(second, first)
        await store.append([draft("quiet", n) for n in "123"])
        first.client.wait(1, 5000)
        second.client.replicaof("NO", "ONE")
        lost = stored(await store.append([draft("quiet", n) for n in "45"]))
        await follows(first, second)
        first.client.replicaof("NO", "ONE")
        head = await store.head("quiet")
        assert (head.head, head.lineage) == (3, (Former(lost[-1].epoch, 3),))
        await store.close()


async def test_what_was_stored_and_not_acked(tmp_path: Path) -> None:
    """Its publisher's own node delivers it, too, although nobody has told it that it is there."""
    with (
        RedisServer(tmp_path, "--save", "") as master,
        RedisServer(tmp_path, "--save", "", "--replicaof", "127.0.0.1", str(master.port)) as replica,
    ):
        await eventually(lambda: asyncio.sleep(0, replica.client.info("replication")["master_link_status"] == "up"))
        async with Hub(f"{master.url}?wait_replicas=1&wait_ms=300") as hub:
            follower = Following(hub)
            await publish(hub, 1)
            await follower.has(1)
            replica.pause()
            with pytest.raises(StoreUnavailable, match="fewer than 1"):
                await hub.publish("a", 2, id="id-2")
            await follower.has(2)  # it is there, if only on one of them
            replica.go_on()
            await publish(hub, 2)
            await publish(hub, 3)
            await follower.come_to(3)
            assert follower.data == [1, 2, 3]


async def test_databases_know_nothing_of_each_other(redis_server: RedisServer) -> None:
    prefix = secrets.token_hex(4)
    async with (
        Hub(f"{redis_server.url}/0?prefix={prefix}") as one,
        Hub(f"{redis_server.url}/1?prefix={prefix}") as other,
        Hub(f"{redis_server.url}/1?prefix={prefix}") as third,
    ):
        other._engine.presence.enter("a", "ana", "", b"{}")
        await eventually(lambda: asyncio.sleep(0, third.members("a")))
        assert one.members("a") == []
        assert one._engine.cluster is not None
        assert len(one._engine.cluster) == 0


async def test_presence_while_redis_is_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """That nothing is heard of other nodes is not their fault: their members stay, and orders name them as missing."""
    monkeypatch.setattr(peers, "LEASE_S", 4.0)
    with RedisServer(tmp_path) as server:
        async with Hub(server.url, presence_grace_s=0.1) as one, Hub(server.url) as other:
            other._engine.presence.enter("a", "ana", "", b"{}")
            await eventually(lambda: asyncio.sleep(0, one.members("a")))
            server.kill()
            assert one._engine.cluster is not None
            ended = asyncio.get_running_loop().time() + 7
            while asyncio.get_running_loop().time() < ended:  # nothing is to happen, for so long
                assert [member.member for member in one.members("a")] == ["ana"]
                await asyncio.sleep(0.1)
            assert other._engine.cluster is not None
            assert (await one.disconnect("ana")).missing_nodes == [other._engine.name]
            await asyncio.to_thread(server.start)
            await eventually(partial(hears, one))
            assert [member.member for member in one.members("a")] == ["ana"]
            other._engine.presence.leave("a", "ana", "", at_once=True)
            await eventually(lambda: asyncio.sleep(0, not one.members("a")))


async def test_a_full_memory_can_be_read_and_emptied(tmp_path: Path) -> None:
    """Also by a process that was started anew: retention frees what it can, room after room."""
    with RedisServer(tmp_path) as server:
        store = RedisStore(server.url, Retention(age_s=10))
        await store.start()
        for n in range(module.ROOMS_PER_TRIM + 20):
            await store.append([draft(f"small-{n}", "1", at=1000)])
        await store.append([draft("large", "1", at=2000)])
        server.kill()
        await asyncio.to_thread(server.start)
        server.client.config_set("maxmemory", "1")
        await eventually(lambda: hears_store(store))
        assert (await store.read("large", 0, 10, 1000)).messages
        assert (await store.head("empty")).head == 0
        await store.trim(1_000_000)
        assert not (await store.read("large", 0, 10, 1000)).messages
        await store.close()


async def hears_store(store: RedisStore) -> bool:
    try:
        return await store.is_current()
    except StoreUnavailable:
        return False


# As it was before there were traces: of a node of that version, in the middle of a rolling update.
VALUES_BEFORE_TRACES = """
local function values(entry)
  local fields = entry[2]
  local epoch, stored = '', fields[6]
  for n = 9, #fields, 2 do
    if fields[n] == 'e' then
      epoch = fields[n + 1]
    else
      stored = fields[n + 1]
    end
  end
  return fields[2], fields[4], fields[6], fields[8], epoch, tonumber(stored)
end
local all = {}
for n, entry in ipairs(redis.call('XRANGE', KEYS[1], '-', '+')) do
  all[n] = {values(entry)}
end
return all
"""


async def test_nodes_of_before_there_were_traces_share_the_log(redis_server: RedisServer) -> None:
    """They read entries with a trace as they read others, and what they add is read here."""
    store = RedisStore(f"{redis_server.url}?prefix={secrets.token_hex(4)}", Retention())
    await store.start()
    drafts = [draft("r", "a", id="k", at=9), draft("r", "b", at=10), draft("r", "c", at=5)]
    stored(await store.append([traced(one, PARENT, "a=1") for one in drafts]))
    log = store._keys("r", "log")
    [entries] = await store._client.ask([["EVAL", VALUES_BEFORE_TRACES, 1, *log]])
    assert entries == [
        [b"k", b"", b"9", b'"a"', b"", 9], [b"", b"", b"10", b'"b"', b"", 10], [b"", b"", b"10", b'"c"', b"", 5],
    ]  # fmt: skip
    await store._client.ask([["XADD", *log, "4-0", "i", "k2", "s", "", "a", "11", "d", '"d"']])
    await store._client.ask([["HSET", *store._keys("r", "room"), "head", "4"]])
    read = (await store.read("r", 0, 10, AMPLE)).messages
    assert [(m.data, m.at, m.traceparent) for m in read] == [
        ("a", 9, PARENT), ("b", 10, PARENT), ("c", 10, PARENT), ("d", 11, None),
    ]  # fmt: skip
    await store.close()


async def test_rooms_that_match_a_pattern_are_told_of(redis_server: RedisServer) -> None:
    """Each room that begins so, also a new one; a pattern and a room of the same name do not end each other."""
    url = f"{redis_server.url}?prefix={secrets.token_hex(4)}"
    here, there = RedisStore(url, Retention()), RedisStore(url, Retention())
    heard: list[dict[str, int] | None] = []
    here.on_append = lambda heads: heard.append(None if heads is None else dict(heads))
    await here.start()
    await there.start()
    try:
        await here.subscribe_matching("orders:*")
        await here.subscribe_matching("one")
        await here.subscribe("one")
        heard.clear()
        stored(await there.append([draft("orders:7", "x"), draft("other:7", "x")]))
        await eventually(lambda: {"orders:7": 1} in heard)
        here.unsubscribe("one")
        stored(await there.append([draft("one", "x")]))
        await eventually(lambda: {"one": 1} in heard)
        here.unsubscribe_matching("orders:*")
        await here.is_current()
        stored(await there.append([draft("orders:8", "x"), draft("one", "y")]))
        await eventually(lambda: {"one": 2} in heard)
        assert all(heads is not None and not {"orders:8", "other:7"} & heads.keys() for heads in heard)
    finally:
        await here.close()
        await there.close()
