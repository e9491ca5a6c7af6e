"""The log of a test: what it adds to a store. The contract of stores is in `tests/stores/test_contract.py`."""

import pytest

from trunkline import Retention, StoreUnavailable
from trunkline.core.message import Draft
from trunkline.testing.store import VirtualStore


def draft(n: int) -> Draft:
    return Draft("r", f"id-{n}", None, n, b"%d" % n)


async def test_it_is_away_until_that_is_over() -> None:
    store = VirtualStore(Retention())
    await store.append([draft(1)])
    with store.away():
        for call in (
            store.append([draft(2)]),
            store.check_writable(),
            store.read("r", 0, 1, 1000),
            store.head("r"),
            store.heads(["r"]),
            store.trim(0),
            store.empty_rooms(0, 1),
            store.forget(["r"]),
            store.mark([]),
            store.marks("r", 1),
            store.marks_of("m", ["r"]),
            store.is_current(),
        ):
            with pytest.raises(StoreUnavailable):
                await call
    assert [message.offset for message in store.messages("r")] == [1]
    await store.append([draft(2)])
    assert (await store.head("r")).head == 2


async def test_it_can_be_read_while_writes_are_away() -> None:
    store = VirtualStore(Retention())
    await store.append([draft(1)])
    with store.away("writes"):
        assert (await store.head("r")).head == 1
        with pytest.raises(StoreUnavailable):
            await store.append([draft(2)])
    assert len(store.messages("r")) == 1


async def test_it_stores_and_the_answer_is_lost() -> None:
    store = VirtualStore(Retention())
    with store.away("answers"), pytest.raises(StoreUnavailable):
        await store.append([draft(1)])
    [receipt] = await store.append([draft(1)])
    assert not isinstance(receipt, StoreUnavailable)
    assert (receipt.offset, receipt.duplicate) == (1, True)


def test_what_cannot_be_is_refused() -> None:
    """A fault that is misspelt would be none, and its test would pass."""
    store = VirtualStore(Retention())
    with pytest.raises(ValueError, match="away for all, writes, answers, not for 'write'"):
        store.away("write")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="nowhere has no messages"):
        store.drop("nowhere", 1)


async def test_it_outlives_its_hub_unless_it_is_lost() -> None:
    closed: list[int] = []

    async def on_close() -> None:
        closed.append(1)

    store = VirtualStore(Retention(), on_close)
    await store.append([draft(1), draft(2), draft(3)])
    epoch = (await store.head("r")).epoch
    await store.close()
    await store.start()
    assert (closed, (await store.head("r")).epoch) == ([1], epoch)
    assert store.rooms == ["r"]
    with pytest.raises(ValueError, match="-1 messages cannot be kept"):
        store.drop("r", -1)
    assert store.drop("r", 1) == 3
    assert [message.offset for message in store.messages("r")] == [3]
    store.lose()
    assert store.messages("r") == []
    assert (await store.head("r")).epoch != epoch
