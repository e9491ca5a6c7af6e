"""One writing task a turn: who waits holds nobody up, and everything is sent in its own context."""

import asyncio
from collections.abc import Coroutine
from contextvars import Context, ContextVar, copy_context
from typing import Any

from trunkline import Hub
from trunkline.hub import context_of
from trunkline.transports.asgi_writer import SLICE, AsgiWriter

NAME: ContextVar[str] = ContextVar("name", default="nobody")


class Connection:
    """One that sends once, and may wait for its client meanwhile."""

    def __init__(self, log: list[Any], name: int, waits: asyncio.Event | None = None) -> None:
        self.variables: Context | None = None
        self.writer: asyncio.Task[Any] | None = None
        self.task: asyncio.Task[Any] | None = None
        self._log = log
        self._name = name
        self._waits = waits

    async def send_due(self) -> None:
        self.task = asyncio.current_task()
        assert self.task is self.writer
        if self._waits is not None:
            await self._waits.wait()
            assert asyncio.current_task() is self.task
        self._log.append((self._name, NAME.get()))


class Spawner:
    def __init__(self) -> None:
        self.tasks: list[asyncio.Task[None]] = []

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        self.tasks.append(asyncio.get_running_loop().create_task(work))


async def settle(turns: int = 50) -> None:
    for _ in range(turns):
        await asyncio.sleep(0)


async def test_all_that_is_due_is_sent_in_order_by_one_task() -> None:
    log: list[Any] = []
    spawner = Spawner()
    writer = AsgiWriter(spawner.spawn)
    for name in range(10):
        writer.add(Connection(log, name))
    await settle()
    assert [name for name, _ in log] == list(range(10))
    assert len(spawner.tasks) == 1


async def test_a_long_list_leaves_the_event_loop_its_turn() -> None:
    log: list[Any] = []
    spawner = Spawner()
    writer = AsgiWriter(spawner.spawn)
    for name in range(3 * SLICE):
        writer.add(Connection(log, name))
    seen = set()
    while len(log) < 3 * SLICE:
        await asyncio.sleep(0)
        seen.add(len(log))
    assert seen >= {SLICE, 2 * SLICE}
    assert [name for name, _ in log] == list(range(3 * SLICE))


async def test_one_that_waits_holds_nobody_up() -> None:
    log: list[Any] = []
    spawner, taken = Spawner(), asyncio.Event()
    writer = AsgiWriter(spawner.spawn)
    slow = [Connection(log, name, taken) for name in (2, 5)]
    for name in range(8):
        writer.add(slow[(2, 5).index(name)] if name in (2, 5) else Connection(log, name))
    await settle()
    assert [name for name, _ in log] == [0, 1, 3, 4, 6, 7]
    writer.add(Connection(log, 8))  # what comes later is not held up either
    await settle()
    assert [name for name, _ in log][-1] == 8
    taken.set()
    await settle()
    assert [name for name, _ in log][-2:] == [2, 5]
    assert all(task.done() for task in spawner.tasks)
    assert len({connection.task for connection in slow}) == 2


async def test_each_is_sent_with_its_own_context_variables() -> None:
    log: list[Any] = []
    writer = AsgiWriter(Spawner().spawn)
    taken = asyncio.Event()
    connections = [Connection(log, 0), Connection(log, 1, taken), Connection(log, 2)]
    for connection in connections[:2]:
        context = copy_context()
        context.run(NAME.set, f"user {connections.index(connection)}")
        connection.variables = context
    for connection in connections:
        writer.add(connection)
    await settle()
    taken.set()
    await settle()
    assert log == [(0, "user 0"), (2, "nobody"), (1, "user 1")]


async def test_one_that_is_cancelled_ends_alone() -> None:
    log: list[Any] = []
    spawner = Spawner()
    writer = AsgiWriter(spawner.spawn)
    stuck = Connection(log, 0, asyncio.Event())
    stuck.variables = copy_context()
    writer.add(stuck)
    writer.add(Connection(log, 1))
    await settle()
    assert stuck.writer is not None
    stuck.writer.cancel()
    writer.add(Connection(log, 2))
    await settle()
    assert [name for name, _ in log] == [1, 2]
    assert spawner.tasks[0].cancelled()


async def test_what_whoever_came_first_had_set_is_not_seen_by_others() -> None:
    log: list[Any] = []
    async with Hub("memory:") as hub:
        NAME.set("ana")
        writer = context_of(hub).asgi_writer
        for name in range(2 * SLICE):
            writer.add(Connection(log, name))
        await settle()
    assert {seen for _, seen in log} == {"nobody"}
