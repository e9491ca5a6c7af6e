import asyncio

import pytest

from tests.engine.support import virtual
from trunkline.engine.tasks import Tasks, cancelled


@virtual
async def test_what_fails_is_called_again() -> None:
    calls = []

    def fail() -> None:
        calls.append(asyncio.get_running_loop().time())
        raise ValueError("a bug")

    tasks = Tasks()
    tasks.every(10.0, fail)
    await asyncio.sleep(35)
    assert calls == [10, 20, 30]
    await tasks.cancel()
    await asyncio.sleep(60)
    assert len(calls) == 3


@virtual
async def test_tasks_end_with_their_owner() -> None:
    ended = []

    async def wait() -> None:
        try:
            await asyncio.Future()
        finally:
            ended.append(True)

    tasks = Tasks()
    tasks.spawn(wait())
    await asyncio.sleep(0)
    await tasks.cancel()
    assert ended == [True]


@virtual
async def test_a_task_that_takes_its_end_for_a_timeout_ends_all_the_same() -> None:
    """As clients of databases do: they catch the cancellation, and their caller tries again."""
    swallowed: list[bool] = []

    async def look_for_ever() -> None:
        while True:
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                if len(swallowed) == 2:
                    raise
                swallowed.append(True)

    tasks = Tasks()
    tasks.spawn(look_for_ever())
    await asyncio.sleep(0)
    await tasks.cancel()
    assert len(swallowed) == 2


@virtual
async def test_cancelled_tells_what_was_raised() -> None:
    async def fail() -> None:
        raise OSError("gone")

    failing, waiting = asyncio.ensure_future(fail()), asyncio.ensure_future(asyncio.sleep(60))
    await asyncio.sleep(0)
    [error] = await cancelled(failing, waiting)
    assert isinstance(error, OSError)
    with pytest.raises(asyncio.CancelledError):
        waiting.result()
