"""What a reader says when it hears something else."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from trunkline.client import ClientError
from trunkline.testing.hub import TestHub
from trunkline.testing.reader import Reader

Failing = Callable[[TestHub, Reader], Awaitable[Any]]


async def _wrong(hub: TestHub, reader: Reader) -> None:
    await hub.publish("orders:7", {"status": "packed"})
    await reader.expect({"status": "shipped"})


async def _nothing(hub: TestHub, reader: Reader) -> None:
    await reader.expect({"status": "shipped"})


async def _too_late(hub: TestHub, reader: Reader) -> None:
    await hub.publish("orders:7", 1)
    await hub.publish("orders:7", 2)
    await reader.expect(1, 2, 3)


async def _cut(hub: TestHub, reader: Reader) -> None:
    reader.cut()
    await hub.publish("orders:7", 1)
    await reader.expect(1)


async def _sender(hub: TestHub, reader: Reader) -> None:
    await hub.publish("orders:7", 1, user="bob")
    await reader.expect(1, sender="ada")


async def _unwanted(hub: TestHub, reader: Reader) -> None:
    await hub.publish("orders:7", {"n": 1})
    await hub.publish("orders:7", {"n": 2})
    await reader.refute({"n": 2})


async def _gap_instead(hub: TestHub, reader: Reader) -> None:
    await hub.publish("orders:7", 0)
    await reader.expect(0)
    await hub.restart(lose_log=True)
    await hub.publish("orders:7", 1)
    await reader.expect(1)


async def _no_gap(hub: TestHub, reader: Reader) -> None:
    await hub.publish("orders:7", 1)
    await reader.expect_gap("trimmed")


async def _another_gap(hub: TestHub, reader: Reader) -> None:
    await hub.publish("orders:7", 0)
    await reader.expect(0)
    await hub.restart(lose_log=True)
    await reader.expect_gap("trimmed")


async def _members(hub: TestHub, reader: Reader) -> None:
    await reader.expect_presence("ada", "bob")


async def _error(hub: TestHub, reader: Reader) -> None:
    await reader.expect_error("forbidden", within_s=1)


ME = "expected of the websocket reader of orders:7:"
FAILURES: dict[Failing, list[str]] = {
    _wrong: [
        f'{ME} the message {{"status": "shipped"}}',
        'but the next message was #1 {"status": "packed"}',
        "it has heard, and the test has not expected yet:",
        '  #1 {"status": "packed"}',
        "the log of orders:7 holds:",
        '  #1 {"status": "packed"}',
    ],
    _nothing: [
        f'{ME} the message {{"status": "shipped"}}',
        "but nothing came within 5 s of the test's clock",
        "the log of orders:7 is empty",
    ],
    _too_late: [
        f"{ME} the message 3",
        "but nothing came within 5 s of the test's clock",
        "it had heard before:",
        "  #1 1",
        "  #2 2",
        "the log of orders:7 holds:",
        "  #1 1",
        "  #2 2",
    ],
    _cut: [
        f"{ME} the message 1",
        "but nothing came within 5 s of the test's clock",
        "the log of orders:7 holds:",
        "  #1 1",
        "the reader is cut off, by this test",
    ],
    _sender: [
        f'{ME} the sender "ada"',
        'but it was "bob" in #1 from bob 1',
        "it has heard, and the test has not expected yet:",
        "  #1 from bob 1",
        "the log of orders:7 holds:",
        "  #1 from bob 1",
    ],
    _unwanted: [
        f'{ME} no message {{"n": 2}}',
        'but there is #2 {"n": 2}',
        "it has heard, and the test has not expected yet:",
        '  #1 {"n": 1}',
        '  #2 {"n": 2}',
        "the log of orders:7 holds:",
        '  #1 {"n": 1}',
        '  #2 {"n": 2}',
    ],
    _gap_instead: [
        f"{ME} the message 1",
        "but a gap came instead: gap 1 to 0 (epoch)",
        "it had heard before:",
        "  #1 0",
        "it has heard, and the test has not expected yet:",
        "  gap 1 to 0 (epoch)",
        "  #1 1",
        "the log of orders:7 holds:",
        "  #1 1",
    ],
    _no_gap: [
        f"{ME} a gap (trimmed)",
        "but the next message was #1 1",
        "it has heard, and the test has not expected yet:",
        "  #1 1",
        "the log of orders:7 holds:",
        "  #1 1",
    ],
    _another_gap: [
        f"{ME} a gap (trimmed)",
        "but the gap was gap 1 to 0 (epoch)",
        "it had heard before:",
        "  #1 0",
        "it has heard, and the test has not expected yet:",
        "  gap 1 to 0 (epoch)",
        "the log of orders:7 is empty",
    ],
    _members: [f"{ME.removeprefix('expected of ').rstrip(':')} does not ask for presence*"],
    _error: [f"{ME} the error forbidden", "but the errors that came are: none", "the log of orders:7 is empty"],
}


@pytest.mark.parametrize("failing", FAILURES, ids=lambda failing: failing.__name__)
async def test_a_failure_says_what_came_instead(hub: TestHub, failing: Failing) -> None:
    reader = await hub.reader("orders:7")
    with pytest.raises(AssertionError) as failed:
        await failing(hub, reader)
    lines, wanted = str(failed.value).splitlines(), FAILURES[failing]
    assert len(lines) == len(wanted), lines
    for line, expected in zip(lines, wanted, strict=True):
        assert line.startswith(expected.removesuffix("*")) if expected.endswith("*") else line == expected


async def test_a_failure_costs_no_time(hub: TestHub) -> None:
    """An hour of the test's clock is a moment."""
    reader = await hub.reader("r")
    async with asyncio.timeout(3600):  # by the same clock, which stands still while the test waits for itself
        with pytest.raises(AssertionError, match="within 1800 s"):
            await reader.expect(1, within_s=1800)


async def test_refute_lets_others_be_expected(hub: TestHub) -> None:
    reader = await hub.reader("r")
    await hub.publish("r", {"n": 1, "more": "x"}, id="first")
    await reader.refute({"n": 2})
    message = await reader.expect({"n": 1}, id="first")
    assert (message.offset, message.data) == (1, {"n": 1, "more": "x"})
    await reader.refute()
    await hub.publish("r", 2)
    assert (await reader.expect()).data == 2


async def test_a_refused_publish_is_the_publishers(hub: TestHub) -> None:
    reader = await hub.reader("r")
    with pytest.raises(ClientError, match="too_large|bytes"):
        await reader.publish("x" * 70_000)
    with pytest.raises(RuntimeError, match="nothing that could be repeated"):
        await (await hub.reader("r")).repeat()
    with pytest.raises(RuntimeError, match="token of the test's own"):
        reader.expire_token()


async def test_reconnect_ends_all_faults(hub: TestHub) -> None:
    reader = await hub.reader("r")
    reader.slow()
    reader.cut()
    await hub.publish("r", 1)
    await reader.reconnect()
    await reader.expect(1)
    reader.reset()
    await hub.publish("r", 2)
    await reader.expect(2)


async def test_a_reader_of_another_room_is_told_where_something_is(hub: TestHub) -> None:
    reader = await hub.reader("orders:7")
    await hub.publish("orders:8", 1)
    with pytest.raises(AssertionError, match="there are messages in orders:8"):
        await reader.expect(1)
    assert repr(reader) == "<Reader of orders:7 by websocket, online>"


async def test_starts(hub: TestHub) -> None:
    for n in range(1, 6):
        await hub.publish("r", n)
    assert (await (await hub.reader("r", last=2)).expect()).offset == 4
    assert (await (await hub.reader("r", since="start")).expect()).offset == 1
    late = await hub.reader("r", since="now")
    await late.refute()
    assert (late.name, late.state, late.data) == ("r", "online", [])
