"""The connections to Redis: one server, Sentinel or a cluster; pipelines, and scripts that are called by name."""

from __future__ import annotations

import asyncio
import hashlib
import secrets
from collections.abc import AsyncIterator
from importlib.resources import files
from typing import Any, NamedTuple

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.cluster import ClusterNode, RedisCluster
from redis.asyncio.connection import AbstractConnection
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel
from redis.backoff import NoBackoff
from redis.exceptions import NoScriptError, OutOfMemoryError, ReadOnlyError, RedisError

from trunkline.errors import StoreUnavailable
from trunkline.stores.redis.address import ANSWER_S, Address

CONNECT_S = 1.0
CONNECTIONS_MAX = 16


class Script:
    """A script as Redis knows it."""

    def __init__(self, *names: str) -> None:
        folder = files("trunkline.stores.redis").joinpath("lua")
        self.text = "\n".join(folder.joinpath(f"{name}.lua").read_text("utf-8") for name in names)
        self.sha = hashlib.sha1(self.text.encode(), usedforsecurity=False).hexdigest()


class Call(NamedTuple):
    script: Script
    keys: list[str]
    arguments: list[Any]

    def command(self, *, known: bool) -> list[Any]:
        """Return the command, by the script's name or with its text."""
        verb, script = ("EVALSHA", self.script.sha) if known else ("EVAL", self.script.text)
        return [verb, script, len(self.keys), *self.keys, *self.arguments]


class RedisClient:
    """What a log asks Redis.

    Args:
        address: Where Redis is.
    """

    def __init__(self, address: Address) -> None:
        self._address = address
        self._client: Any = None
        self._turns = asyncio.Semaphore(CONNECTIONS_MAX - 4)  # of reads: appends and messages need connections, too

    @property
    def is_open(self) -> bool:
        """Whether `open` was called, and `close` was not."""
        return self._client is not None

    def open(self) -> None:
        """Make the client; connections are made when they are needed."""
        self._client = self._make_client()

    async def prepare(self) -> dict[str, Any]:
        """Return what Redis says of its memory, once it answers and there is an epoch; nothing of a cluster."""
        if self._address.kind == "cluster":
            await self._client.initialize()
        await self.first_epoch()
        memory: dict[str, Any] = {} if self._address.kind == "cluster" else await self._client.info("memory")
        return memory

    async def close(self) -> None:
        """Close all connections."""
        client, self._client = self._client, None
        await client.aclose()

    async def first_epoch(self) -> str:
        """Return the epoch of new rooms. If there is none, it is made: then nothing else is there either."""
        key = f"{self._address.prefix}:epoch"
        [epoch] = await self.pipeline([["GET", key]])
        if epoch is None:
            _, epoch = await self.pipeline([["SET", key, secrets.token_hex(4), "NX"], ["GET", key]])
        return str(epoch.decode())

    async def call(self, calls: list[Call], *, wait: bool = False) -> list[Any]:
        """Return the answers of scripts.

        Args:
            wait: Wait until replicas have what was written, if the address says so.

        Raises:
            StoreUnavailable: One of them has none.
        """
        async with self._turns:
            answers = await self.call_all(calls, wait=wait)
        for answer in answers:
            if isinstance(answer, StoreUnavailable):
                raise answer
        return answers

    async def call_all(self, calls: list[Call], *, wait: bool = False) -> list[Any]:
        """Return the answers of scripts, or why there is none; `wait` until replicas have what was written."""
        answers = await self._call_once(calls, wait=wait)
        new = [n for n, answer in enumerate(answers) if answer is None]
        if new:  # rooms that are not there yet
            try:
                epoch = await self.first_epoch()
            except (RedisError, OSError, TimeoutError) as error:
                again: list[Any] = [unavailable(error)] * len(new)
            else:
                for n in new:
                    calls[n].arguments[0] = epoch
                again = await self._call_once([calls[n] for n in new], wait=wait)
            for n, answer in zip(new, again, strict=True):
                answers[n] = answer
        return answers

    async def _call_once(self, calls: list[Call], *, wait: bool) -> list[Any]:
        """Call scripts once; None for each that begins with `room.lua` whose room is missing and cannot be begun."""
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
        return [unavailable(answer) if isinstance(answer, Exception) else answer for answer in answers]

    async def _try(self, commands: list[list[Any]]) -> list[Any]:
        """Return answers or errors, one for each."""
        try:
            return await self.pipeline(commands, raises=False)
        except (RedisError, OSError, TimeoutError) as error:
            return [error] * len(commands)

    async def ask(self, commands: list[list[Any]]) -> list[Any]:
        try:
            async with self._turns:
                return await self.pipeline(commands)
        except (RedisError, OSError, TimeoutError) as error:
            raise unavailable(error) from error

    async def scan(self, key: str, cursor: int, count: int) -> tuple[int, list[bytes]]:
        """Return where to go on, which is 0 at the end, and about *count* members of a sorted set."""
        [[after, pairs]] = await self.ask([["ZSCAN", key, cursor, "COUNT", count]])
        return after, [member for member, _ in pairs]

    async def scan_all(self, key: str, count: int) -> AsyncIterator[list[bytes]]:
        """Iterate over all members of a sorted set, about *count* at once; some may come twice."""
        cursor = 0
        while True:
            cursor, members = await self.scan(key, cursor, count)
            if members:
                yield members
            if not cursor:
                return

    async def info(self, *sections: str) -> list[dict[str, str]]:
        """Return what Redis says of itself, as a dict for each section."""
        return [_fields(found) for found in await self.pipeline([["INFO", section] for section in sections])]

    async def pipeline(self, commands: list[list[Any]], *, raises: bool = True) -> list[Any]:
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
        """Return a pipeline for each shard: one that is away must not take the others with it."""
        groups: dict[Any, list[int]] = {}
        for n, command in enumerate(commands):
            key = command[3] if command[0].startswith("EVAL") else command[1]
            try:
                shard = client.get_node_from_key(key)
            except RedisError:
                shard = None  # no shard has this slot now
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

    @property
    def _options(self) -> dict[str, Any]:
        return {
            "socket_timeout": ANSWER_S,
            "socket_connect_timeout": CONNECT_S,
            "retry": Retry(NoBackoff(), 0),  # the caller decides: an append must not be done twice
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

    async def connect(self) -> AbstractConnection:
        """Return one connection of its own, for the subscription."""
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


def unavailable(error: BaseException) -> StoreUnavailable:
    """Return an error of Redis as one of ours. Its text is for clients, and does not say where Redis is."""
    if isinstance(error, StoreUnavailable):
        return error
    full = isinstance(error, OutOfMemoryError)
    text = "the log's memory is full; publish again later, with the same id" if full else "the log could not be reached"
    unavailable = StoreUnavailable(text)
    unavailable.__cause__ = error
    return unavailable


def _fields(found: Any) -> dict[str, str]:
    """Return an answer to INFO, which the driver may have taken apart already."""
    if isinstance(found, dict):
        return {str(name): str(value) for name, value in found.items()}
    lines = (line.split(":", 1) for line in found.decode().splitlines() if ":" in line)
    return {name: value.strip() for name, value in lines}
