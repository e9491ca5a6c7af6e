"""What every store must do with records, ids and patterns; part of `store_contract.StoreContract`."""

from __future__ import annotations

from trunkline.core.message import Draft
from trunkline.core.retention import Retention
from trunkline.stores.base import Guard, Swap
from trunkline.testing.correction_contract import ContractBase, draft, stored


class RecordContract(ContractBase):
    """The contract of `RecordStore`, and of `LogStore.find_id`."""

    async def test_a_record_changes_only_from_what_is_expected(self) -> None:
        """Made, changed and forgotten: each only if the record is as the caller believes."""
        store = await self.start()
        assert await store.record("space", "kind", "key") is None
        assert await store.swap([Swap("space", "kind", "key", b"", b"x")]) == [False]
        one, two = Swap("space", "kind", "key", None, b"one"), Swap("space", "kind", "key", None, b"2")
        assert await store.swap([one, two]) == [True, False]
        assert await store.record("space", "kind", "key") == b"one"
        assert await store.swap([Swap("space", "kind", "key", b"two", b"x")]) == [False]
        assert await store.swap([Swap("space", "kind", "key", b"one", b"\x00two\xff")]) == [True]
        assert await store.records("space", "kind") == {"key": b"\x00two\xff"}
        assert await store.records("space", "other") == await store.records("other", "kind") == {}
        assert await store.swap([Swap("space", "kind", "key", b"\x00two\xff", b"")]) == [True]
        assert await store.swap([Swap("space", "kind", "key", b"", None)]) == [True]
        assert await store.swap([Swap("space", "kind", "key", None, None)]) == [True]
        assert await store.records("space", "kind") == {}
        await store.close()

    async def test_a_guard_must_hold(self) -> None:
        """A record that is guarded by another one changes only as long as that one has the value."""
        store = await self.start()
        assert await store.swap([Swap("space", "lease", "7", None, b"me")]) == [True]
        mine, other = Guard("lease", "7", b"me"), Guard("lease", "7", b"other")
        assert await store.swap([Swap("space", "cursor", "r", None, b"1", other)]) == [False]
        assert await store.swap([Swap("space", "cursor", "r", None, b"1", mine)]) == [True]
        assert await store.swap([Swap("space", "lease", "7", b"me", b"other")]) == [True]
        assert await store.swap([Swap("space", "cursor", "r", b"1", b"2", mine)]) == [False]
        assert await store.swap([Swap("space", "cursor", "r", b"1", b"2", Guard("lease", "8", b"other"))]) == [False]
        assert await store.record("space", "cursor", "r") == b"1"
        await store.close()

    async def test_records_are_forgotten_when_they_may_be(self) -> None:
        """At their time, or when they are told to go; others stay, also over a restart."""
        store = await self.start()
        now = 4_000_000_000_000  # far in the future, for a store that has a clock of its own
        await store.swap([Swap("brief", "k", "a", None, b"1", None, now), Swap("kept", "k", "a", None, b"2")])
        await store.swap([Swap("gone", "k", "a", None, b"3"), Swap("gone", "l", "a", None, b"4")])
        await store.forget_records("gone", ["k"])
        assert (await store.records("gone", "k"), await store.records("gone", "l")) == ({}, {"a": b"4"})
        await store.trim(now - 1)
        assert await store.record("brief", "k", "a") == b"1"
        if self.persistent:
            await store.close()
            store = await self.reopen(store, Retention())
            await store.start()
        assert await store.record("kept", "k", "a") == b"2"
        await store.close()

    async def test_an_id_is_found_as_long_as_its_message_is_retained(self) -> None:
        """With the receipt that a repeat would get; by its room and its sender, and not otherwise."""
        store = await self.start(Retention(messages_max=3))
        assert await store.find_id("r", None, "k") is None
        first, _ = await stored(store, [draft("r", "1", id="k", at=5), Draft("r", "mine", "ana", 6, b"1")])
        found = await store.find_id("r", None, "k")
        [again] = await stored(store, [draft("r", "2", id="k", at=7)])
        assert found is not None
        assert found == again
        assert (found.offset, found.at, found.duplicate) == (first.offset, 5, True)
        assert await store.find_id("r", "ana", "k") is None
        assert await store.find_id("other", None, "k") is None
        mine = await store.find_id("r", "ana", "mine")
        assert mine is not None
        assert mine.offset == 2
        if self.persistent:
            await store.close()
            store = await self.reopen(store, Retention(messages_max=3))
            await store.start()
            assert (await store.find_id("r", None, "k")) is not None
        await stored(store, [draft("r", f"{n}", id=f"n{n}", at=8) for n in range(200)])
        assert await store.find_id("r", None, "k") is None
        assert (await store.head("r")).head == 202
        await store.close()
