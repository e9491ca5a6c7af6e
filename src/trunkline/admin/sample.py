"""What one process tells of itself every two seconds: to its own dashboard, and to those of the other nodes.

Fields are only ever added, at the end and with defaults: nodes of two versions read each other's.
"""

from __future__ import annotations

import msgspec


class SlowReader(msgspec.Struct, frozen=True):
    """A reader whose socket takes no more.

    Attributes:
        lag: By how many messages it is behind.
        behind_ms: How old the first message is that it was not given; None if that is no longer known.
    """

    session: str
    user: str | None
    address: str
    transport: str
    room: str
    lag: int
    behind_ms: int | None = None


class BusyRoom(msgspec.Struct, frozen=True):
    """A room that has moved.

    Attributes:
        messages: How many, since the sample before; 0 of a room to which another process has appended.
        readers: How many read it through this process.
    """

    room: str
    messages: int
    readers: int


class Share(msgspec.Struct, frozen=True):
    """Somebody, and how much of something is theirs since the sample before.

    Attributes:
        who: A user, or an address of which no user is known.
    """

    who: str
    count: int
    is_user: bool = True


class ConsumerShare(msgspec.Struct, frozen=True):
    """What a process has of a durable consumer.

    Attributes:
        lag: How many messages of its rooms are not handled yet.
        failures, set_aside: Tries that failed, and messages that were set aside, since the start.
    """

    name: str
    instances: int
    rooms: int
    lag: int
    failures: int
    set_aside: int


class Sample(msgspec.Struct, array_like=True, kw_only=True):
    """One process at one moment. Counts and histograms go from its start; lists are since the sample before.

    Attributes:
        at_ms: When, in ms since 1970 UTC by the process's own clock.
        started_ms: When the process started.
        host, pid: Which process it is.
        sockets: TCP connections.
        connections: Streams and waiting polls, by transport.
        publish, delivery, loop_delay: Counts by bucket of `observe.histogram.SECONDS`.
        unreadable, unwritable: Why the log cannot be read, or appended to; empty if it can.
        store_waiting_s: For how long the oldest call of the store has had no answer.
        is_watched: Whether somebody looks at a dashboard of this process: then all processes tell the lists.
        slow_readers, busy_rooms, publishers, refused: Those that matter most, the first ten.
        consumers: The durable consumers that it runs.
        counted_s: For how long the lists were kept; 0 if they were not.
    """

    node: str
    at_ms: int
    started_ms: int
    version: str
    host: str
    pid: int
    sockets: int
    connections: dict[str, int]
    rooms: int
    members: int
    readers: int
    stalled: int
    in_flight: int
    published: int
    duplicates: int
    connects: int
    closes: int
    delivered: dict[str, int]
    gaps: dict[str, int]
    refusals: dict[str, int]
    publish: list[int]
    delivery: list[int]
    loop_delay: list[int]
    unreadable: str
    unwritable: str
    store_waiting_s: float
    cpu_s: float
    memory_bytes: int | None
    is_draining: bool
    is_watched: bool
    slow_readers: list[SlowReader]
    busy_rooms: list[BusyRoom]
    publishers: list[Share]
    refused: list[Share]
    counted_s: float = 0.0
    consumers: list[ConsumerShare] = []
