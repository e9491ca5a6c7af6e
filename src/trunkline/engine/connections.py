"""The streaming connections of one process: kept alive, at most one for each client, and ended in order."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from itertools import count
from typing import Protocol

from trunkline.core.attempt import compare_attempts
from trunkline.core.cluster_messages import StreamOpened
from trunkline.core.cursor import Reader
from trunkline.core.grant import Grant
from trunkline.core.heartbeat import Heartbeat
from trunkline.core.presence_options import PresenceOptions
from trunkline.engine.clock import Clock, spread_ms
from trunkline.engine.cluster import Cluster
from trunkline.errors import RequestError
from trunkline.observe.counters import Counters


class Connection(Reader, Protocol):
    """A streaming connection."""

    heard: bool
    """Set to True by whatever arrives."""

    grant: Grant
    presence: PresenceOptions

    def ping(self) -> None:
        """Send something that keeps proxies awake and, on WebSocket, makes the peer answer."""

    def expire(self) -> None:
        """End the connection, because nothing was heard in time after a ping."""

    def abort(self) -> None:
        """Free everything now."""

    def drain(self, retry_after_ms: int) -> None:
        """Tell the client to come back after this time, and close."""

    def dismiss(self, error: RequestError) -> None:
        """Tell the client why it may not stay, and close."""


class Connections:
    """All streaming connections.

    Args:
        name: This process's, with which the names of sessions begin.
        ping_interval_s, ping_timeout_s: How often each is pinged, and how long after that something must be heard from
            a WebSocket, in seconds.

    Raises:
        ValueError: The timeout is not shorter than the interval.
    """

    def __init__(
        self,
        name: str,
        ping_interval_s: float,
        ping_timeout_s: float,
        counters: Counters,
        clock: Clock,
        cluster: Cluster | None,
    ) -> None:
        self.name = name
        self.ping_interval_s = ping_interval_s
        self.ping_timeout_s = ping_timeout_s
        self._counters = counters
        self._clock = clock
        self._cluster = cluster
        self._heartbeat: Heartbeat[Connection] = Heartbeat(ping_interval_s, ping_timeout_s)
        self._session_numbers = count(1)
        self._by_client: dict[tuple[str | None, str], tuple[int, Connection]] = {}
        self._timer: asyncio.TimerHandle | None = None
        if cluster is not None:
            cluster.on_message(StreamOpened, self._opened_elsewhere)

    def __len__(self) -> int:
        return len(self._heartbeat)

    def __iter__(self) -> Iterator[Connection]:
        return iter(list(self._heartbeat))

    def start(self) -> None:
        """Begin to ping."""
        self._timer = asyncio.get_running_loop().call_later(self._heartbeat.tick_s, self._tick)

    def stop(self) -> None:
        """Ping no more."""
        if self._timer is not None:
            self._timer.cancel()

    def new_session(self) -> str:
        """Return a short name for a connection, unique and no secret, for logs and `welcome`."""
        return f"{self.name}-{next(self._session_numbers)}"

    def add(self, connection: Connection) -> int:
        """Keep a connection alive; return the number that `remove` wants."""
        return self._heartbeat.add(connection)

    def remove(self, connection: Connection, bucket: int) -> None:
        """Keep it alive no longer."""
        self._heartbeat.remove(connection, bucket)

    def send_away(self, retry_after_ms: int) -> None:
        """Tell all clients to come back, at different times of up to *retry_after_ms*, and close."""
        for connection in self:
            connection.drain(spread_ms(self._clock, retry_after_ms))

    async def drain(self, retry_after_ms: int, timeout_s: float) -> None:
        """Send all clients away, wait until they are gone, and cut those that do not go in time."""
        self.send_away(retry_after_ms)
        end = self._clock.monotonic() + timeout_s
        while len(self) and self._clock.monotonic() < end:  # noqa: ASYNC110 - each leaves in its own way
            await asyncio.sleep(0.01)
        self.abort_all()

    def abort_all(self) -> None:
        """Cut all connections."""
        for connection in self:
            connection.abort()

    # One stream for each client.

    def replace_others(self, connection: Connection) -> bool:
        """End the streams that the same user's client has opened before, here and on other nodes.

        Returns:
            False if the client says that this one is the older: then this one was ended.
        """
        client_id = connection.presence.client_id
        if client_id is None:
            return True
        key = (connection.grant.user, client_id)
        _, before = self._by_client.get(key, (0, None))
        if before is not None and before is not connection:
            age = compare_attempts(connection.presence.attempt, before.presence.attempt, unknown=1)
            if age < 0:
                connection.dismiss(_replaced())
                return False
            if age > 0:
                before.dismiss(_replaced())
        self._by_client[key] = (0 if self._cluster is None else self._cluster.tick(), connection)
        self._tell_opened(*key)
        return True

    def find(self, user: str | None, client_id: str | None) -> Reader | None:
        """Return the stream of a user's client, if it has one here and gives itself a name."""
        return self._by_client.get((user, client_id or ""), (0, None))[1]

    def closed(self, connection: Connection) -> None:
        """Forget a stream that has ended. Harmless if it was replaced, or its client has no name."""
        client_id = connection.presence.client_id
        if client_id is not None and self.find(connection.grant.user, client_id) is connection:
            del self._by_client[connection.grant.user, client_id]

    def _tell_opened(self, user: str | None, client_id: str) -> None:
        at, connection = self._by_client[user, client_id]
        if self._cluster is not None:
            self._cluster.send(StreamOpened, user=user, client=client_id, at=at, attempt=connection.presence.attempt)

    def _opened_elsewhere(self, opened: StreamOpened) -> None:
        at, connection = self._by_client.get((opened.user, opened.client), (0, None))
        if connection is None or self._cluster is None:
            return
        is_later = (opened.at, opened.node) > (at, self._cluster.name)  # on one of the two nodes, always
        age = compare_attempts(opened.attempt, connection.presence.attempt, unknown=int(is_later))
        if age > 0:
            connection.dismiss(_replaced())
        elif age < 0:
            self._tell_opened(opened.user, opened.client)  # the stream that came late there does not know of this one

    def _tick(self) -> None:
        self.start()
        due, late = self._heartbeat.tick()
        for connection in late:
            connection.expire()
        for connection in due:
            connection.ping()

    def expired(self) -> None:
        """Count a connection that was ended because it did not answer a ping."""
        self._counters.expired += 1


def _replaced() -> RequestError:
    return RequestError("replaced", "another connection of the same client has taken over")
