import asyncio

from tests.engine.support import FaultyStore, Listener, publish, running, settled, virtual
from trunkline.core.read_mark import ReadMark
from trunkline.errors import StoreUnavailable


@virtual
async def test_a_mark_is_stored_told_and_counted() -> None:
    async with running() as engine:
        await publish(engine, "r", 1, 2, 3)
        watcher = Listener(engine)
        engine.notifier.subject("r").watchers.add(watcher)
        unread = await engine.read_marks.mark("r", "ana", 2)
        assert (unread.head, unread.seen, unread.unread) == (3, 2, 1)
        assert (await engine.read_marks.mark("r", "ana", 1)).seen == 2
        assert (await engine.read_marks.mark("r", "ana", 99)).seen == 3
        await settled()
        assert {kind for kind, _ in watcher.notifications} == {"seen"}
        assert [mark.offset for mark in await engine.read_marks.of_room("r")] == [3]
        [count] = await engine.read_marks.unread("ana", ["other"])
        assert (count.seen, count.unread) == (0, 0)


@virtual
async def test_marks_of_one_moment_are_stored_together() -> None:
    class Counting(FaultyStore):
        calls = 0

        async def mark(self, marks: "list[ReadMark]") -> None:  # type: ignore[override]
            Counting.calls += 1
            await asyncio.sleep(0.1)
            await super().mark(marks)

    async with running(Counting()) as engine:
        await publish(engine, "r", 1)
        await asyncio.gather(*[engine.read_marks.mark("r", f"m{n}", 1) for n in range(100)])
        assert Counting.calls <= 2


@virtual
async def test_a_store_that_is_away_refuses_all_of_them() -> None:
    class Away(FaultyStore):
        async def mark(self, marks: "list[ReadMark]") -> None:  # type: ignore[override]
            raise StoreUnavailable("away")

    async with running(Away()) as engine:
        await publish(engine, "r", 1)
        results = await asyncio.gather(*[engine.read_marks.mark("r", name, 1) for name in "ab"], return_exceptions=True)
        assert [type(result) for result in results] == [StoreUnavailable, StoreUnavailable]


@virtual
async def test_in_a_room_without_a_message_there_is_nothing_to_see() -> None:
    async with running() as engine:
        assert (await engine.read_marks.mark("r", "ana", 5)).seen == 0


@virtual
async def test_polls_get_marks_that_have_moved() -> None:
    async with running() as engine:
        await publish(engine, "r", 1, 2)
        engine.notifier.subject("r")
        await engine.read_marks.mark("r", "ana", 1)
        version = engine.notifier.version_number
        await engine.read_marks.mark("r", "ben", 2)
        assert [mark.member for mark in engine.read_marks.since("r", version)] == ["ben"]
