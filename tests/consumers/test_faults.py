"""What goes wrong around a consumer, in virtual time: nothing is lost by it, and no room stops."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, suppress

import pytest

from trunkline import ConsumedMessage, Gap, GapError, Hub, StoreUnavailable
from trunkline.core.consumer import MEMBER, Progress, cursor_kind, decode_progress, encoded, slot_of, space_of
from trunkline.errors import Fenced
from trunkline.hub import context_of
from trunkline.stores.base import Swap
from trunkline.testing import TestHub


async def following(at: TestHub, messages: AsyncIterator[ConsumedMessage], seconds: int = 120) -> ConsumedMessage:
    """The next message that comes within so many seconds of the clock."""
    waiting = asyncio.ensure_future(anext(messages))
    for _ in range(seconds):
        if waiting.done():
            break
        await at.clock.tick(1)
    assert waiting.done(), "nothing came"
    return waiting.result()


async def test_a_failure_that_could_not_be_noted_comes_again_all_the_same() -> None:
    """The log was away, or whoever reported the failure was cancelled."""
    async with TestHub() as at, aclosing(at.hub.consume("c", "r")) as messages:
        await at.hub.publish("r", 1)
        message = await anext(messages)
        with at.store.away("writes"), pytest.raises(StoreUnavailable):
            await message.fail("the first")
        message = await following(at, messages)
        failing = asyncio.ensure_future(message.fail("the second"))
        await asyncio.sleep(0)
        failing.cancel()
        with suppress(asyncio.CancelledError):
            await failing
        assert (await following(at, messages)).data == 1


async def test_any_text_may_be_the_reason_of_a_failure() -> None:
    """Also one that UTF-8 has no bytes for."""
    async with TestHub() as at, aclosing(at.hub.consume("c", "r", tries_max=1)) as messages:
        await at.hub.publish("r", 1)
        await at.hub.publish("r", 2)
        await (await anext(messages)).fail("\ud800")
        assert (await following(at, messages)).data == 2


async def test_an_acknowledgement_and_a_failure_at_once_count_as_handled() -> None:
    """Whichever the log gets first."""
    async with TestHub() as at, aclosing(at.hub.consume("c", "r")) as messages:
        await at.hub.publish("r", 1)
        await at.hub.publish("r", 2)
        message = await anext(messages)
        await asyncio.gather(message.ack(), message.fail("too late"))
        assert (await following(at, messages)).data == 2


async def test_a_late_acknowledgement_of_a_log_that_is_gone_moves_nothing() -> None:
    """The room was deleted and begins anew: its new messages are all handled, in order."""
    async with TestHub() as at:
        await at.hub.publish("r", "old")
        async with aclosing(at.hub.consume("c", "r", ack_wait_s=5, on_gap=lambda gap: None)) as messages:
            old = await anext(messages)
            await at.hub.admin.delete("r")
            for n in range(3):
                await at.hub.publish("r", n)
            new = await following(at, messages)
            assert new.data == 0
            for late in (old.ack(), old.fail("late"), old.set_aside("late")):
                with pytest.raises(Fenced, match="has begun anew"):
                    await late
            await new.fail("once more")
            for n in range(3):
                message = await following(at, messages)
                assert message.data == n
                await message.ack()


async def test_a_room_that_is_gone_when_all_of_it_was_handled_stops_nobody() -> None:
    """Its cursor is forgotten; and who has asked to hear of gaps hears of a room that was deleted."""
    for gaps in (None, list[Gap]()):
        async with TestHub() as at:
            on_gap = None if gaps is None else gaps.append
            async with aclosing(at.hub.consume("c", "r:*", on_gap=on_gap)) as messages:
                await at.hub.publish("r:1", "a")
                await (await anext(messages)).ack()
                waiting = asyncio.ensure_future(anext(messages))
                await at.clock.tick(1)
                await at.hub.admin.delete("r:1")
                await at.clock.tick(60)
                await at.hub.publish("r:2", "b")
                await at.clock.tick(1)
                assert (await waiting).data == "b"
            assert gaps is None or [gap.reason for gap in gaps] == ["deleted"]


async def test_a_room_that_is_gone_while_nobody_looked_is_a_gap_once() -> None:
    """Nobody knows what came to it meanwhile; a restart goes on."""
    async with TestHub() as at:
        await at.hub.publish("r:1", "a")
        async with aclosing(at.hub.consume("c", "r:*")) as messages:
            await (await anext(messages)).ack()
        await at.hub.admin.delete("r:1")
        async with aclosing(at.hub.consume("c", "r:*")) as messages:
            with pytest.raises(GapError):
                await following(at, messages)
        await at.hub.publish("r:2", "b")
        async with aclosing(at.hub.consume("c", "r:*")) as messages:
            assert (await following(at, messages)).data == "b"


async def test_a_log_that_ends_before_the_cursor_is_a_gap_and_goes_on() -> None:
    """As after a restore: what is written then is handled."""
    async with TestHub() as at:
        await at.hub.publish("r", 0)
        async with aclosing(at.hub.consume("c", "r")) as messages:
            await (await anext(messages)).ack()
        records, space, kind = context_of(at.hub).engine.records, space_of("c"), cursor_kind(slot_of("r"))
        before = await records.all(space, kind)
        beyond = encoded(Progress(decode_progress(before["r"]).epoch, 10))
        assert await records.swap(Swap(space, kind, "r", before["r"], beyond))
        gaps: list[Gap] = []
        async with aclosing(at.hub.consume("c", "r", on_gap=gaps.append)) as messages:
            waiting = asyncio.ensure_future(anext(messages))
            await at.clock.tick(3)
            await at.hub.publish("r", 1)
            await at.clock.tick(3)
            message = await waiting
            assert (message.data, [gap.reason for gap in gaps]) == (1, ["future"])
            await message.ack()


async def handled_of_forty(*instances: tuple[str, bool]) -> int:
    """How many of 40 rooms are handled by instances that come one after the other.

    Args:
        instances: The rooms of each, and whether it hangs behind its first acknowledgement.
    """
    handled = set[str]()

    async def handle(hub: Hub, rooms: str, hangs: bool) -> None:
        async for message in hub.consume("c", rooms, ack_wait_s=5):
            await message.ack()
            handled.add(message.room)
            if hangs:
                await asyncio.Event().wait()

    async with TestHub() as at:
        for n in range(40):
            await at.hub.publish(f"b:{n}", n)
        tasks = []
        for rooms, hangs in instances:
            tasks.append(asyncio.ensure_future(handle(at.hub, rooms, hangs)))
            await at.clock.tick(2)
        await at.clock.tick(60)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    return len(handled)


async def test_who_hangs_behind_an_acknowledgement_gives_its_rooms_back() -> None:
    """As who hangs in front of one does."""
    assert await handled_of_forty(("b:*", True), ("b:*", False)) == 40


async def test_rooms_that_only_the_newest_instance_knows_are_all_handled() -> None:
    """While one of before, with fewer rooms, still runs."""
    assert await handled_of_forty(("a:*", False), ("*", False)) == 40


async def test_the_systems_rooms_are_not_among_all_rooms() -> None:
    """Neither their hints, nor the list of rooms, nor its lag: what administrators alone may read stays with them."""
    async with TestHub() as at, aclosing(at.hub.consume("c", "*", tries_max=1, on_gap=lambda gap: None)) as messages:
        await at.hub.publish("r", "bad")
        await at.hub.publish("s", "good")
        for _ in range(2):
            message = await following(at, messages)
            await (message.fail("no") if message.data == "bad" else message.ack())
        waiting = asyncio.ensure_future(anext(messages))
        await at.clock.tick(2)
        await at.hub.admin.delete("s")
        await at.clock.tick(30)
        assert not waiting.done(), waiting.result().room
        assert len((await at.hub.page("$aside.c", since="start")).messages) == 1
        assert len((await at.hub.page("$audit", since="start")).messages) == 1
        [info] = await at.hub.admin.consumers()
        assert (info.lag, info.cursors) == (0, 1)
        await at.hub.publish("t", "last")
        await at.clock.tick(2)
        assert (await waiting).data == "last"


async def test_whenever_an_instance_is_cancelled_it_leaves_nothing_behind() -> None:
    """Others would count it as alive for a while."""
    async with TestHub() as at:
        for turns in range(20):
            messages = at.hub.consume("c", "r:*")
            waiting = asyncio.ensure_future(anext(messages))
            for _ in range(turns):
                await asyncio.sleep(0)
            waiting.cancel()
            await asyncio.gather(waiting, return_exceptions=True)
            await messages.aclose()
        engine = context_of(at.hub).engine
        assert await engine.records.all(space_of("c"), MEMBER) == {}
        assert engine.news.listeners == []
