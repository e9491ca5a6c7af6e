"""The one subscription of a node: hints that rooms have moved, what other nodes say, and our own echo.

Redis hands on whatever is published to a connection in the order of publishing, or cuts the connection. So what proves
that no hint was lost is a message of our own: when its echo is here, every hint of before it is. A connection without
an echo is given up, and a new one subscribes to the same channels; what was published in between could be anything, and
the follower reads the log itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Iterable
from itertools import count
from typing import Any

from redis.asyncio.connection import AbstractConnection
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as ConnectTimeout

from trunkline.errors import StoreUnavailable
from trunkline.stores.base import FeedUnavailable

log = logging.getLogger("trunkline")

ECHO_S = 1.0
IDLE_S = 86_400.0  # our own echo is what shows whether a connection lives
AGAIN_S = 0.2  # between two attempts to connect
OUTBOX_MAX = 10_000  # messages to other nodes that wait for Redis; more are dropped
CHANNELS_PER_COMMAND = 500
ECHO, HINT, SAID = b"c", b"h", b"s"

Publish = Callable[[Iterable[tuple[str, bytes]]], Awaitable[None]]


class RedisBus:
    """A subscription that comes back by itself.

    Args:
        prefix: In front of all channels.
        connect: Makes a connection, for this alone.
        publish: Publishes to channels; may raise RedisError or OSError.
        woken: Called on the event loop with a room and its head; with None if any room may have moved.
    """

    def __init__(
        self,
        prefix: str,
        connect: Callable[[], Awaitable[AbstractConnection]],
        publish: Publish,
        woken: Callable[[str | None, int], None],
    ) -> None:
        self.name = secrets.token_hex(4)
        self.on_message: Callable[[bytes], None] | None = None
        self._prefix = prefix
        self._connect = connect
        self._publish = publish
        self._woken = woken
        self._rooms: set[str] = set()
        self._patterns: set[str] = set()
        self._confirming: Counter[tuple[str, str]] = Counter()  # subscriptions on their way, as they were asked for
        self._confirmed: dict[tuple[str, str], asyncio.Future[None]] = {}
        self._commands: deque[tuple[str, str]] = deque()
        self._echoes: dict[int, asyncio.Future[None]] = {}
        self._echo_numbers = count(1)
        self._connection: AbstractConnection | None = None
        self._anew = False  # connected, and not subscribed to everything yet
        self._severed = False  # nothing comes back from there: the fault may be on our own way to it
        self._outbox: deque[tuple[str, bytes]] = deque()
        self._arrived = asyncio.Event()
        self._wanted = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    def channel(self, room: str) -> str:
        """Return the channel of a room's hints."""
        return f"{self._prefix}:r:{room}"

    def start(self) -> None:
        """Begin, on the running event loop."""
        self._tasks = [
            asyncio.ensure_future(work())
            for work in (self._listen_for_ever, self._subscribe_for_ever, self._say_for_ever)
        ]

    async def close(self) -> None:
        """Say what is still to be said, if that is possible, and end."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(ECHO_S / 2):
                while self._outbox:  # noqa: ASYNC110 - it ends in a moment
                    await asyncio.sleep(0.005)
        left = set(self._tasks)
        while left:  # redis-py takes some cancellations for a timeout
            for task in left:
                task.cancel()
            _, left = await asyncio.wait(left, timeout=0.1)
        self._tasks = []
        await self._drop()

    # Following.

    async def subscribe(self, room: str) -> None:
        """Subscribe to a room, from when this returns.

        Raises:
            StoreUnavailable: Redis does not confirm it.
        """
        await self._subscribe(self._rooms, "SUBSCRIBE", self.channel(room))

    async def subscribe_matching(self, pattern: str) -> None:
        """Subscribe to all rooms that a pattern matches, from when this returns.

        Raises:
            StoreUnavailable: Redis does not confirm it.
        """
        await self._subscribe(self._patterns, "PSUBSCRIBE", self.channel(pattern))

    async def _subscribe(self, subscribed: set[str], verb: str, channel: str) -> None:
        asked = (verb, channel)
        if channel in subscribed and asked not in self._confirming:
            return
        if channel not in subscribed:
            subscribed.add(channel)
            if self._connection is not None:
                self._command(verb, channel)
        confirmed = self._confirmed.get(asked)
        if confirmed is None:
            confirmed = self._confirmed[asked] = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout(2 * ECHO_S):
                await asyncio.shield(confirmed)
        except TimeoutError:
            raise StoreUnavailable("Redis does not confirm a subscription") from None

    def unsubscribe(self, room: str) -> None:
        """End a subscription."""
        self._unsubscribe(self._rooms, "UNSUBSCRIBE", self.channel(room))

    def unsubscribe_matching(self, pattern: str) -> None:
        """End a subscription to a pattern."""
        self._unsubscribe(self._patterns, "PUNSUBSCRIBE", self.channel(pattern))

    def _unsubscribe(self, subscribed: set[str], verb: str, channel: str) -> None:
        if channel in subscribed:
            subscribed.discard(channel)
            if self._connection is not None:
                self._command(verb, channel)

    async def echo(self) -> None:
        """Wait until everything that was published before is here.

        Raises:
            FeedUnavailable: The echo was published, and did not come back.
            StoreUnavailable: Redis does not answer.
        """
        number = next(self._echo_numbers)
        heard = self._echoes[number] = asyncio.get_running_loop().create_future()
        connection = self._connection
        subscribed = connection is not None and ("SUBSCRIBE", self._own) not in self._confirming
        published = False
        try:
            async with asyncio.timeout(ECHO_S):
                await self._publish([(self._own, ECHO + str(number).encode())])
                published = True
                if subscribed:
                    await heard
        except (TimeoutError, RedisError, OSError) as error:
            if connection is self._connection:
                await self._drop()
            if not published and self._severed:
                raise FeedUnavailable("this node cannot connect to Redis") from None
            if not published:
                raise StoreUnavailable(f"Redis does not answer: {error or 'no answer in time'}") from None
            subscribed = False
        finally:
            self._echoes.pop(number, None)
        if not subscribed:
            raise FeedUnavailable("Redis accepts messages, but does not deliver them to this node")

    # Saying.

    def send(self, data: bytes, *, to: str | None = None, room: str | None = None) -> bool:
        if len(self._outbox) >= OUTBOX_MAX:
            return False
        channel = f"{self._prefix}:n:{to}" if to else self.channel(room) if room else f"{self._prefix}:all"
        self._outbox.append((channel, SAID + data))
        self._arrived.set()
        return True

    def is_alive(self, name: str) -> bool:
        return False  # that cannot be known here

    async def _say_for_ever(self) -> None:
        while True:
            await self._arrived.wait()
            self._arrived.clear()
            words, self._outbox = self._outbox, deque()
            try:
                await self._publish(words)
            except Exception as error:  # noqa: BLE001 - this task must not end
                log.debug("%d messages to other nodes were lost: %s", len(words), error)  # as they may be

    # The connection.

    @property
    def _own(self) -> str:
        return f"{self._prefix}:n:{self.name}"

    async def _listen_for_ever(self) -> None:
        failing = False
        while True:
            try:
                connection = await self._connect()
                self._severed = False
                self._confirming.clear()
                self._commands.clear()
                self._connection = connection
                for channel in (self._own, f"{self._prefix}:all", *self._rooms):
                    self._command("SUBSCRIBE", channel)
                for channel in self._patterns:
                    self._command("PSUBSCRIBE", channel)
                if failing:
                    log.warning("Redis is back")
                failing = False
                self._anew = True
                while True:
                    self._hear(await connection.read_response(disable_decoding=True, timeout=IDLE_S))
            except Exception as error:  # noqa: BLE001 - this task must not end
                if not failing:
                    log.warning("the subscription to Redis has ended: %s", error or type(error).__name__)
                failing = True
                # A server that refuses or is silent is down for all; one that cannot be reached, perhaps only for us.
                self._severed = isinstance(error, ConnectTimeout) and "connecting" in str(error)
                await self._drop()
                await asyncio.sleep(AGAIN_S)

    async def _subscribe_for_ever(self) -> None:
        """Send one command after the other, many channels in each: what was asked last is true in the end."""
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            while self._commands and (connection := self._connection) is not None:
                verb, _ = self._commands[0]
                channels: list[str] = []
                while self._commands and self._commands[0][0] == verb and len(channels) < CHANNELS_PER_COMMAND:
                    channels.append(self._commands.popleft()[1])
                try:
                    if not connection.is_connected:  # it would connect by itself, without its subscriptions
                        raise ConnectionError("it has ended")
                    await connection.send_command(verb, *channels)
                except Exception as error:  # noqa: BLE001 - whatever it is, a new connection is made
                    log.debug("%s did not reach Redis: %s", verb, error)
                    if connection is self._connection:
                        await self._drop()

    def _command(self, verb: str, channel: str) -> None:
        if verb in ("SUBSCRIBE", "PSUBSCRIBE"):
            self._confirming[verb, channel] += 1
        self._commands.append((verb, channel))
        self._wanted.set()

    async def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            try:
                await connection.disconnect(nowait=True)
            except Exception as error:  # noqa: BLE001 - it is to end anyway
                log.debug("a connection to Redis did not close: %s", error)

    def _hear(self, message: Any) -> None:
        kind, channel, data = message[0], message[-2 if message[0] == b"pmessage" else 1].decode(), message[-1]
        if kind in (b"subscribe", b"psubscribe"):
            asked = (kind.decode().upper(), channel)
            self._confirming[asked] -= 1
            if self._confirming[asked] <= 0:
                del self._confirming[asked]
                confirmed = self._confirmed.pop(asked, None)
                if confirmed is not None and not confirmed.done():
                    confirmed.set_result(None)
            if self._anew and not self._confirming:
                self._anew = False
                self._woken(None, 0)  # what was published before that did not reach us
        elif kind in (b"message", b"pmessage") and data[:1] == HINT:
            node, _, head = data[1:].decode().partition(" ")
            if node != self.name:
                self._woken(channel.removeprefix(f"{self._prefix}:r:"), int(head))
        elif kind == b"message" and data[:1] == SAID:
            if self.on_message is not None:
                self.on_message(data[1:])
        elif kind == b"message" and data[:1] == ECHO:
            heard = self._echoes.get(int(data[1:]))
            if heard is not None and not heard.done():
                heard.set_result(None)
