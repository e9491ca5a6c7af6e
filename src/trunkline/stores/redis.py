"""Logs in Redis or Valkey: for several machines.

Theory of operation
===================

A room is a stream, whose ids are its offsets, with a hash that says where it stands and one that finds ids. One script
(`lua/append.lua`) does an append as a whole: look-up of ids, offsets, entries, retention by size, and the hint to those
who follow the room. A room's keys have one hash tag, so all of this works in a cluster, room by room.

Publish/subscribe carries hints only (`redis_bus.py`): a node subscribes to the rooms that somebody reads there, is told
of a room's new head, and reads the stream.

What is guaranteed is what Redis guarantees: see docs/scaling.md for what `appendfsync`, replicas and `wait_replicas`
make of it. Redis acknowledges before its replicas have a message, so a failover may take back the newest ones. That is
never silent: every process that takes over is known by its replication id, each room goes on in a new epoch, and its
lineage tells whose position is still good.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import secrets
from collections import deque
from collections.abc import Iterable, Sequence
from importlib.resources import files
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, unquote, urlsplit

import msgspec
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.cluster import ClusterNode, RedisCluster
from redis.asyncio.connection import AbstractConnection
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError, NoScriptError, OutOfMemoryError, ReadOnlyError, RedisError

from trunkline.core.limits import Retention
from trunkline.core.mark import Mark, by_room
from trunkline.core.message import Draft, Message, Receipt
from trunkline.core.position import Former, Position
from trunkline.errors import ConfigError, StoreUnavailable
from trunkline.stores.base import AHEAD_MS, EMPTY_AGES, Bus, Head, Moved, Page
from trunkline.stores.redis_bus import RedisBus

log = logging.getLogger("trunkline")

ANSWER_S = 3.0  # without an answer for so long, a call has failed
CONNECT_S = 1.0
START_S = 30.0  # how long it may be away when we start
AGAIN_S = 0.5
CONNECTIONS_MAX = 16
DRAFTS_PER_CALL = 500  # a script holds up everybody else: two milliseconds are long enough
BYTES_PER_CALL = 1024 * 1024
ROOMS_PER_TRIM = 100
FORGET_S = int(ANSWER_S + CONNECT_S) + 1  # longer than a call that was begun with the old epoch can take
EMPTY_ROOMS_MAX = 100_000
ROOMS_KNOWN_MAX = 100_000
WAIT_MS = 1000


# No life has this name, so that the next server that uses the room takes it for one of a former life.
_AGE = "return redis.call('EXISTS', KEYS[1]) == 1 and redis.call('HSET', KEYS[1], 'life', '-')"


class Address(NamedTuple):
    """What a URL says.

    Attributes:
        kind: `redis`, `sentinel` or `cluster`.
        hosts: (host, port) of the server, the sentinels, or some of the cluster.
        service: Of sentinels: the name of what they watch.
        options: Of every connection.
        sentinel: Of connections to sentinels: their own credentials.
    """

    kind: str
    hosts: list[tuple[str, int]]
    service: str
    options: dict[str, Any]
    sentinel: dict[str, str]
    prefix: str
    wait_replicas: int
    wait_ms: int

    def __str__(self) -> str:
        hosts = ",".join(f"{host}:{port}" for host, port in self.hosts)
        return f"Redis at {hosts}" + (f" ({self.service})" if self.service else "")


def parse_address(url: str) -> Address:
    """Take a URL apart: `redis[s]://[user:password@]host[:port][/database]`, `redis[s]+sentinel://host,host/service`,
    `redis[s]+cluster://host,host`; behind a `?`: `prefix`, `wait_replicas`, `wait_ms`, `ssl_ca_certs`,
    and of sentinels `sentinel_username` and `sentinel_password`.

    Raises:
        ConfigError: It is none of them. The message does not repeat it, since there may be a password in it.
    """
    scheme, _, rest = url.partition("://")
    parts = urlsplit("//" + rest)
    secure, _, kind = scheme.partition("+")
    credentials, _, hosts = parts.netloc.rpartition("@")
    user, _, password = credentials.partition(":")
    options: dict[str, Any] = {}
    if credentials:
        options |= {"username": unquote(user) or None, "password": unquote(password) or None}
    try:
        addresses = []
        for host in hosts.split(","):
            one = urlsplit(f"//{host}")
            addresses.append((one.hostname or "localhost", one.port or (26379 if kind == "sentinel" else 6379)))
        path = [part for part in parts.path.split("/") if part]
        service = path.pop(0) if kind == "sentinel" else ""
        if path:
            options["db"] = int(path.pop(0))
        query = dict(parse_qsl(parts.query, strict_parsing=bool(parts.query)))
        prefix, wait_replicas = query.pop("prefix", "trunkline"), int(query.pop("wait_replicas", "0"))
        wait_ms = int(query.pop("wait_ms", str(WAIT_MS)))
        own = [name for name in ("username", "password") if kind == "sentinel" and f"sentinel_{name}" in query]
        sentinel = {name: query.pop(f"sentinel_{name}") for name in own}
    except (ValueError, IndexError):
        raise ConfigError(f"store: that is no URL of {scheme}:// (docs/configuration.md shows them)") from None
    if secure == "rediss":
        options["ssl"] = True
        if "ssl_ca_certs" in query:
            options["ssl_ca_certs"] = query.pop("ssl_ca_certs")
    if path or query:
        raise ConfigError(f"store: there is nothing called {', '.join([*path, *query])} in a URL of {scheme}://")
    if not kind and len(addresses) > 1:
        raise ConfigError("store: redis:// is one server; several are redis+sentinel:// or redis+cluster://")
    if kind == "cluster" and (wait_replicas or options.get("db")):
        raise ConfigError("store: a cluster has one database, and wait_replicas is for one server or sentinels")
    if wait_replicas < 0 or not 0 < wait_ms < ANSWER_S * 1000:
        raise ConfigError(f"store: wait_replicas is 0 or more, and wait_ms less than {ANSWER_S * 1000:.0f}")
    return Address(kind or "redis", addresses, service, options, sentinel, prefix, wait_replicas, wait_ms)


class _Script:
    """A script as Redis knows it."""

    def __init__(self, *names: str) -> None:
        folder = files("trunkline.stores").joinpath("lua")
        self.text = "\n".join(folder.joinpath(f"{name}.lua").read_text("utf-8") for name in names)
        self.sha = hashlib.sha1(self.text.encode(), usedforsecurity=False).hexdigest()


class _Call(NamedTuple):
    script: _Script
    keys: list[str]
    arguments: list[Any]

    def command(self, *, known: bool) -> list[Any]:
        """The command, by the script's name or with its text."""
        verb, script = ("EVALSHA", self.script.sha) if known else ("EVAL", self.script.text)
        return [verb, script, len(self.keys), *self.keys, *self.arguments]


class RedisStore:
    """A store in Redis 6.2 or later, or Valkey; in one server, behind Sentinel, or in a cluster.

    Args:
        url: See `parse_address`.
    """

    shared = True

    def __init__(self, url: str, retention: Retention) -> None:
        self.moved: Moved | None = None
        self._address = parse_address(url)
        self._retention = retention
        self._prefix = self._address.prefix
        self._client: Any = None
        # Publish/subscribe knows nothing of databases.
        channels = f"{self._prefix}/{db}" if (db := self._address.options.get("db")) else self._prefix
        self._bus = RedisBus(channels, self._connect, self._publish, self._woken)
        self.bus: Bus | None = self._bus
        self._append_script = _Script("room", "append")
        self._read_script = _Script("room", "read")
        self._head_script = _Script("room", "head")
        self._trim_script = _Script("room", "trim")
        self._forget_script = _Script("room", "forget")
        self._mark_script = _Script("mark")
        self._turns = asyncio.Semaphore(CONNECTIONS_MAX - 4)  # of reads: appends and words need connections, too
        self._trimmed: dict[str, int] = {}
        self._known: set[str] = set()  # rooms that are on the list of those to trim
        self._empty: set[str] = set()  # rooms that were found to hold no message

    @property
    def location(self) -> str:
        return str(self._address)

    async def start(self) -> None:
        self._client = self._make_client()
        end = asyncio.get_running_loop().time() + START_S
        while True:
            try:
                await self._prepare()
                break
            except ConfigError:
                await self._end_client()
                raise
            except (RedisError, OSError, TimeoutError) as error:
                text = f"{self.location} cannot be used: {error or 'no answer'}"
                if isinstance(error, AuthenticationError) or asyncio.get_running_loop().time() > end:
                    await self._end_client()
                    raise ConfigError(f"store: {text}") from None
                log.warning("%s; trying again", text)  # both may be starting, or it is away for a moment
                await asyncio.sleep(AGAIN_S)
        self._bus.start()

    async def _prepare(self) -> None:
        if self._address.kind == "cluster":
            await self._client.initialize()
        await self._begin()
        if self._address.kind != "cluster":
            self._check_memory(await self._client.info("memory"))

    async def _end_client(self) -> None:
        client, self._client = self._client, None
        await client.aclose()

    def _check_memory(self, memory: dict[str, Any]) -> None:
        policy = str(memory.get("maxmemory_policy", "noeviction"))
        if policy.startswith("allkeys") and int(memory.get("maxmemory", 0)):
            raise ConfigError(
                f"store: {self.location} throws messages away when its memory is full (maxmemory-policy {policy});"
                " set it to noeviction: then publishing fails and is tried again"
            )

    async def close(self) -> None:
        if self._client is not None:
            await self._bus.close()
            await self._end_client()

    # Other processes.

    async def follow(self, room: str) -> None:
        await self._bus.follow(room)

    def unfollow(self, room: str) -> None:
        self._bus.unfollow(room)

    async def certain(self) -> bool:
        await self._bus.echo()
        return self._address.kind != "cluster"  # there, hints come by other links than our echo

    def _woken(self, room: str | None, head: int) -> None:
        if self.moved is not None:
            self.moved(None if room is None else {room: head})

    async def _publish(self, words: Iterable[tuple[str, bytes]]) -> None:
        if self._client is not None:
            await self._pipeline([["PUBLISH", channel, data] for channel, data in words])

    # The log.

    async def append(self, drafts: Sequence[Draft]) -> list[Receipt | StoreUnavailable]:
        outcomes: list[Any] = [None] * len(drafts)
        calls = _chunks(drafts)
        while calls:
            # Of each room one call at a time: what is of one room stays in its order.
            now = {room: chunks.popleft() for room, chunks in calls.items()}
            answers = await self._append(now, drafts)
            for (room, numbers), answer in zip(now.items(), answers, strict=True):
                if isinstance(answer, StoreUnavailable):
                    for number in [*numbers, *(number for chunk in calls[room] for number in chunk)]:
                        outcomes[number] = answer
                    calls[room].clear()
                else:
                    for number, receipt in zip(numbers, answer, strict=True):
                        outcomes[number] = receipt
            calls = {room: chunks for room, chunks in calls.items() if chunks}
        if all(isinstance(outcome, StoreUnavailable) for outcome in outcomes) and outcomes:
            raise outcomes[0]
        return outcomes

    async def _append(
        self, now: dict[str, list[int]], drafts: Sequence[Draft]
    ) -> list[list[Receipt] | StoreUnavailable]:
        names = list(now)
        chunks = [[drafts[number] for number in numbers] for numbers in now.values()]
        calls = [self._appending(name, chunk) for name, chunk in zip(names, chunks, strict=True)]
        answers = await self._call_all(calls, wait=True)
        listed = {
            name: min(draft.at for draft in chunk)
            for name, chunk, answer in zip(names, chunks, answers, strict=True)
            if isinstance(answer, list) and (answer[2] or name not in self._known)
        }
        if listed:
            await self._list(listed)
        return [
            answer if isinstance(answer, StoreUnavailable) else self._receipts(name, chunk, answer)
            for name, chunk, answer in zip(names, chunks, answers, strict=True)
        ]

    def _appending(self, room: str, drafts: list[Draft]) -> _Call:
        arguments: list[Any] = [
            self._retention.messages_max, self._retention.bytes_max,
            self._bus.channel(room), self._bus.name, int(self._address.wait_replicas > 0),
        ]  # fmt: skip
        for draft in drafts:
            arguments += (draft.id or "", draft.sender or "", draft.at, draft.json)
        return self._about(room, self._append_script, arguments)

    def _receipts(self, room: str, drafts: list[Draft], answer: list[Any]) -> list[Receipt]:
        epoch = answer[0].decode()
        if answer[1]:
            self._trimmed[room] = answer[1]
        receipts = []
        for draft, offset, at, duplicate in zip(drafts, answer[3::3], answer[4::3], answer[5::3], strict=True):
            message_id = draft.id or f"{epoch}.{offset}"
            receipts.append(Receipt(room, epoch, offset, message_id, at, bool(duplicate)))
        return receipts

    async def _list(self, times: dict[str, int]) -> None:
        """Rooms that retention by age must look at, with the time of their oldest message."""
        pairs = [value for name, at in times.items() for value in (at, name)]
        try:
            await self._pipeline([["ZADD", self._list_key, "LT", *pairs]])
        except (RedisError, OSError, TimeoutError) as error:
            log.warning("rooms cannot be listed for retention now: %s", error)  # their next append tries again
        else:
            if len(self._known) > ROOMS_KNOWN_MAX:
                self._known.clear()  # they are listed once more, which changes nothing
            self._known.update(times)

    async def read(self, room: str, after: int, messages_max: int, bytes_max: int) -> Page:
        [found] = await self._call([self._about(room, self._read_script, [after, messages_max, bytes_max])])
        epoch, first, entries = found
        epoch = epoch.decode()
        messages = [
            Message(
                room,
                offset,
                message_id.decode() or f"{written.decode()}.{offset}",
                sender.decode() or None,
                at,
                msgspec.Raw(data),
            )
            for offset, message_id, sender, at, data, written in entries
        ]
        return Page(epoch, first, messages)

    async def head(self, room: str) -> Head:
        [found] = await self._call([self._about(room, self._head_script, [])])
        epoch, first, head, lineage = found
        former = [one.rpartition(":") for one in lineage.decode().split(",") if one]
        return Head(epoch.decode(), first, head, tuple(Former(name, int(offset)) for name, _, offset in former))

    async def heads(self, rooms: Sequence[str]) -> dict[str, Position]:
        answers = await self._call([self._about(room, self._head_script, []) for room in rooms])
        return {room: Position(answer[0].decode(), answer[2]) for room, answer in zip(rooms, answers, strict=True)}

    # Read cursors.

    async def mark(self, marks: Sequence[Mark]) -> None:
        rooms = by_room(marks)
        calls = [
            _Call(
                self._mark_script,
                self._keys(room, "seen", "seen-at"),
                [value for mark in some for value in (mark.member, mark.offset, mark.at)],
            )
            for room, some in rooms.items()
        ]
        await self._call(calls)
        await self._list({room: min(mark.at for mark in some) for room, some in rooms.items()})

    async def marks(self, room: str, marks_max: int) -> list[Mark]:
        seen, seen_at = self._keys(room, "seen", "seen-at")
        [newest] = await self._ask([["ZREVRANGE", seen_at, 0, marks_max - 1, "WITHSCORES"]])
        if not newest:
            return []
        pairs = [(member, int(at)) for member, at in zip(newest[::2], newest[1::2], strict=True)]
        [offsets] = await self._ask([["HMGET", seen, *(member for member, _ in pairs)]])
        return [
            Mark(room, member.decode(), int(offset), at)
            for (member, at), offset in zip(pairs, offsets, strict=True)
            if offset is not None
        ]

    async def marks_of(self, member: str, rooms: Sequence[str]) -> dict[str, int]:
        if not rooms:
            return {}
        offsets = await self._ask([["HGET", *self._keys(room, "seen"), member] for room in rooms])
        return {room: int(offset) for room, offset in zip(rooms, offsets, strict=True) if offset is not None}

    async def trim(self, now_ms: int) -> dict[str, int]:
        oldest_ms = now_ms - round(self._retention.age_s * 1000)
        # Rooms whose oldest message seems to be of the future: that it is known to be there counts from now on.
        [ahead] = await self._ask([["ZRANGEBYSCORE", self._list_key, now_ms + AHEAD_MS, "+inf", "LIMIT", 0, 1000]])
        if ahead:
            await self._trim(ahead, oldest_ms, now_ms)
        passed = 0
        while True:
            [due] = await self._ask(
                [["ZRANGEBYSCORE", self._list_key, "-inf", f"({oldest_ms}", "LIMIT", passed, ROOMS_PER_TRIM]]
            )
            if not due:
                break
            if not await self._trim(due, oldest_ms, now_ms):
                passed += len(due)  # they are looked at again next time; what there is to free is behind them
        trimmed, self._trimmed = self._trimmed, {}
        return trimmed

    async def _trim(self, rooms: list[bytes], oldest_ms: int, now_ms: int) -> bool:
        """Trim these rooms, and note when they are to be looked at again; False if there is no memory for that."""
        names = [name.decode() for name in rooms]
        arguments = [oldest_ms, now_ms, AHEAD_MS, now_ms - round(EMPTY_AGES * self._retention.age_s * 1000)]
        calls = [self._about(name, self._trim_script, arguments, "seen", "seen-at") for name in names]
        scores: list[Any] = []
        for name, (first, time, empty) in zip(names, await self._call(calls), strict=True):
            if first:
                self._trimmed[name] = first
            if empty and len(self._empty) < EMPTY_ROOMS_MAX:
                self._empty.add(name)
            # A room that is empty now is looked at again when what comes next may be too old.
            scores += (int(time) if time else now_ms, name)
        try:
            await self._ask([["ZADD", self._list_key, "XX", *scores]])
        except StoreUnavailable as error:
            if not isinstance(error.__cause__, OutOfMemoryError):
                raise
            return False
        return True

    async def empty_rooms(self, now_ms: int, rooms_max: int) -> list[str]:
        return sorted(self._empty)[:rooms_max]

    async def forget(self, rooms: Sequence[str]) -> list[str]:
        if not rooms:
            return []
        self._empty.difference_update(rooms)
        # First the epoch of new rooms: one that is forgotten must not begin again in an epoch in which it was read.
        await self._ask([["SET", f"{self._prefix}:epoch", secrets.token_hex(4)]])
        calls = [self._about(room, self._forget_script, [FORGET_S], "seen", "seen-at") for room in rooms]
        answers = await self._call(calls)
        forgotten = [room for room, gone in zip(rooms, answers, strict=True) if gone]
        if forgotten:
            await self._ask([["ZREM", self._list_key, *forgotten]])
            self._known.difference_update(forgotten)
        return forgotten

    async def write_something(self) -> None:
        await self._ask([["SET", f"{self._prefix}:writable", "1", "EX", 60]])

    async def begin_epochs(self) -> None:
        cursor = 0
        while True:
            [[cursor, pairs]] = await self._ask([["ZSCAN", self._list_key, cursor, "COUNT", 500]])
            if pairs:
                await self._ask([["EVAL", _AGE, 1, *self._keys(name.decode(), "room")] for name, _ in pairs])
            if not cursor:
                break
        await self._ask([["SET", f"{self._prefix}:epoch", secrets.token_hex(4)]])

    # Redis.

    def _keys(self, room: str, *what: str) -> list[str]:
        return [f"{self._prefix}:{{{room}}}:{one}" for one in what]

    @property
    def _list_key(self) -> str:
        return f"{self._prefix}:rooms"

    async def _begin(self) -> str:
        """What the epochs of new rooms are made from. Made if it is not there: then nothing else is there either."""
        key = f"{self._prefix}:epoch"
        [epoch] = await self._pipeline([["GET", key]])
        if epoch is None:
            _, epoch = await self._pipeline([["SET", key, secrets.token_hex(4), "NX"], ["GET", key]])
        return str(epoch.decode())

    def _about(self, room: str, script: _Script, arguments: list[Any], *more_keys: str) -> _Call:
        """A call of a script that begins with `room.lua`."""
        keys = self._keys(room, "room", "log", "ids", *more_keys)
        return _Call(script, keys, ["", *arguments])

    async def _call(self, calls: list[_Call]) -> list[Any]:
        """The answers of scripts.

        Raises:
            StoreUnavailable: One of them has none.
        """
        async with self._turns:
            answers = await self._call_all(calls)
        for answer in answers:
            if isinstance(answer, StoreUnavailable):
                raise answer
        return answers

    async def _call_all(self, calls: list[_Call], *, wait: bool = False) -> list[Any]:
        """The answers of scripts, or why there is none; `wait` until replicas have what was written."""
        answers = await self._call_once(calls, wait=wait)
        new = [n for n, answer in enumerate(answers) if answer is None]
        if new:  # rooms that are not there yet
            try:
                epoch = await self._begin()
            except (RedisError, OSError, TimeoutError) as error:
                again: list[Any] = [_unavailable(error)] * len(new)
            else:
                for n in new:
                    calls[n].arguments[0] = epoch
                again = await self._call_once([calls[n] for n in new], wait=wait)
            for n, answer in zip(new, again, strict=True):
                answers[n] = answer
        return answers

    async def _call_once(self, calls: list[_Call], *, wait: bool) -> list[Any]:
        """The same; None for what begins with `room.lua`, if the room is not there and nothing says how to begin it."""
        if not calls:
            return []
        replicas = self._address.wait_replicas if wait else 0
        waiting = [["WAIT", replicas, self._address.wait_ms]] if replicas else []
        answers = await self._try([*(call.command(known=True) for call in calls), *waiting])
        if any(isinstance(answer, NoScriptError) for answer in answers):
            unknown = [n for n, answer in enumerate(answers) if isinstance(answer, NoScriptError)]
            commands = [calls[n].command(known=False) for n in unknown]
            again = await self._try([*commands, *waiting])
            for n, answer in zip(unknown, again, strict=False):
                answers[n] = answer
            if waiting:
                answers[-1] = again[-1]
        reached = answers.pop() if waiting else 0
        if replicas and (isinstance(reached, Exception) or reached < replicas):
            short = StoreUnavailable(f"fewer than {replicas} replicas have it; publish again, with the same id")
            return [short] * len(calls)
        return [_unavailable(answer) if isinstance(answer, Exception) else answer for answer in answers]

    async def _try(self, commands: list[list[Any]]) -> list[Any]:
        """Answers or errors, one for each."""
        try:
            return await self._pipeline(commands, raises=False)
        except (RedisError, OSError, TimeoutError) as error:
            return [error] * len(commands)

    async def _ask(self, commands: list[list[Any]]) -> list[Any]:
        try:
            async with self._turns:
                return await self._pipeline(commands)
        except (RedisError, OSError, TimeoutError) as error:
            raise _unavailable(error) from error

    async def _pipeline(self, commands: list[list[Any]], *, raises: bool = True) -> list[Any]:
        client = self._client
        if client is None:
            raise StoreUnavailable("the log is closed")
        if self._address.kind == "cluster":
            return await self._pipelines(client, commands, raises=raises)
        answers = await self._execute(client.pipeline(transaction=False), commands, raises=raises)
        if any(isinstance(answer, ReadOnlyError) for answer in answers):
            await client.connection_pool.disconnect()  # it is a replica now: ask the sentinels again
        return answers

    async def _pipelines(self, client: Any, commands: list[list[Any]], *, raises: bool) -> list[Any]:
        """A pipeline for each shard: one that is away must not take the others with it."""
        groups: dict[Any, list[int]] = {}
        for n, command in enumerate(commands):
            key = command[3] if command[0].startswith("EVAL") else command[1]
            try:
                shard = client.get_node_from_key(key)
            except RedisError:
                shard = None  # nobody has this slot now
            groups.setdefault(shard and shard.name, []).append(n)
        pieces = [
            self._execute(client.pipeline(), [commands[n] for n in numbers], raises=raises)
            for numbers in groups.values()
        ]
        answers: list[Any] = [None] * len(commands)
        for numbers, found in zip(groups.values(), await asyncio.gather(*pieces, return_exceptions=True), strict=True):
            if isinstance(found, BaseException) and (
                raises or not isinstance(found, RedisError | OSError | TimeoutError)
            ):
                raise found
            for n, answer in zip(numbers, found if isinstance(found, list) else [found] * len(numbers), strict=True):
                answers[n] = answer
        return answers

    @staticmethod
    async def _execute(pipeline: Any, commands: list[list[Any]], *, raises: bool) -> list[Any]:
        for command in commands:
            pipeline.execute_command(*command)
        async with asyncio.timeout(ANSWER_S + CONNECT_S):
            answers: list[Any] = await pipeline.execute(raise_on_error=raises)
        return answers

    # Connecting.

    @property
    def _options(self) -> dict[str, Any]:
        return {
            "socket_timeout": ANSWER_S,
            "socket_connect_timeout": CONNECT_S,
            "retry": Retry(NoBackoff(), 0),  # whoever asked decides: an append must not be done twice
            "protocol": 2,
            **self._address.options,
        }

    def _make_client(self) -> Any:
        hosts, options = self._address.hosts, self._options
        if self._address.kind == "cluster":
            nodes = [ClusterNode(host, port) for host, port in hosts]
            return RedisCluster(startup_nodes=nodes, **options)
        if self._address.kind == "sentinel":
            security = {name: value for name, value in options.items() if name not in ("db", "username", "password")}
            security |= self._address.sentinel
            sentinel = Sentinel(hosts, sentinel_kwargs=security, **options)  # type: ignore[no-untyped-call]
            return sentinel.master_for(self._address.service)
        host, port = hosts[0]
        url = f"{'rediss' if options.pop('ssl', False) else 'redis'}://{f'[{host}]' if ':' in host else host}:{port}"
        pool = BlockingConnectionPool.from_url(url, max_connections=CONNECTIONS_MAX, timeout=ANSWER_S, **options)
        return Redis.from_pool(pool)

    async def _connect(self) -> AbstractConnection:
        """One connection of its own, for the subscription."""
        if self._client is None:
            raise ConnectionError("the log is closed")
        if self._address.kind == "cluster":
            node = self._client.get_random_node()
            options = {name: value for name, value in self._options.items() if name != "ssl"}
            scheme = "rediss" if self._address.options.get("ssl") else "redis"
            pool = BlockingConnectionPool.from_url(f"{scheme}://{node.host}:{node.port}", max_connections=1, **options)
        else:
            pool = self._client.connection_pool
        connection: AbstractConnection = pool.make_connection()  # type: ignore[no-untyped-call]
        await connection.connect()  # type: ignore[no-untyped-call]
        return connection


def _chunks(drafts: Sequence[Draft]) -> dict[str, deque[list[int]]]:
    """The numbers of the drafts of each room, in pieces of what one call may hold."""
    chunks: dict[str, deque[list[int]]] = {}
    sizes: dict[str, int] = {}
    for number, draft in enumerate(drafts):
        of_room = chunks.setdefault(draft.room, deque())
        size = sizes.get(draft.room, 0) + len(draft.json)
        if not of_room or len(of_room[-1]) >= DRAFTS_PER_CALL or size > BYTES_PER_CALL:
            of_room.append([])
            size = len(draft.json)
        of_room[-1].append(number)
        sizes[draft.room] = size
    return chunks


def _unavailable(error: BaseException) -> StoreUnavailable:
    if isinstance(error, StoreUnavailable):
        return error
    full = isinstance(error, OutOfMemoryError)
    text = "the log's memory is full; publish again later, with the same id" if full else "the log could not be reached"
    unavailable = StoreUnavailable(text)  # clients read this: not where it is
    unavailable.__cause__ = error
    return unavailable
