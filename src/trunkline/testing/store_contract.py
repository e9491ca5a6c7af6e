"""What every store must do, as tests: subclass `StoreContract`, give it a `make`, and let pytest run it.

class TestMyStore(StoreContract):
    async def make(self, retention: Retention) -> Store:
        return MyStore(retention)

    async def reopen(self, store: Store, retention: Retention) -> Store:
        ...the same log, opened again
"""

from __future__ import annotations

from trunkline.core.message import Draft
from trunkline.core.position import Start, resolve
from trunkline.core.read_mark import ReadMark
from trunkline.core.retention import Retention, RoomRetention
from trunkline.stores.base import AHEAD_MS, EMPTY_AGES, Store
from trunkline.testing.correction_contract import AMPLE, CorrectionContract, draft, stored, texts, traced
from trunkline.testing.record_contract import RecordContract

PARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
OTHER_PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"


class StoreContract(CorrectionContract, RecordContract):
    """The contract. Tests are independent of each other; each opens a store of its own."""

    async def test_offsets_are_dense_per_room(self) -> None:
        """Each room counts 1, 2, 3 … in the order of the drafts, however they are batched."""
        store = await self.start()
        first = await stored(store, [draft("a", "1"), draft("b", "1"), draft("a", "2")])
        second = await stored(store, [draft("a", "3")])
        assert [(r.room, r.offset) for r in [*first, *second]] == [("a", 1), ("b", 1), ("a", 2), ("a", 3)]
        assert {r.duplicate for r in first} == {False}
        assert (await store.head("a"))[1:3] == (1, 3)
        await store.close()

    async def test_an_unknown_room_stands_at_zero(self) -> None:
        """Asking for a room does not make one: it has an epoch, no messages, and still has after others came."""
        store = await self.start()
        before = await store.head("never-begun")
        await stored(store, [draft("other", "x")])
        assert await store.head("never-begun") == before
        assert before[1:3] == (1, 0)
        assert (await store.read("never-begun", 0, 10, AMPLE)).messages == []
        [receipt] = await stored(store, [draft("never-begun", "x")])
        assert receipt.epoch == before.epoch
        await store.close()

    async def test_read_gives_what_was_appended(self) -> None:
        """A message comes back with everything it had."""
        store = await self.start()
        [receipt] = await stored(store, [Draft("r", "key-1", "ana", 1763830000123, '{"é":[1,null]}'.encode())])
        [message] = (await store.read("r", 0, 10, AMPLE)).messages
        assert (message.room, message.offset, message.id, message.sender, message.at) == (
            "r", 1, "key-1", "ana", 1763830000123,
        )  # fmt: skip
        assert message.data == {"é": [1, None]}
        assert receipt.id == "key-1"
        await store.close()

    async def test_a_message_without_id_is_called_by_its_position(self) -> None:
        """The id in the receipt and in the message is epoch.offset."""
        store = await self.start()
        [receipt] = await stored(store, [draft("r", "x")])
        [message] = (await store.read("r", 0, 10, AMPLE)).messages
        assert receipt.id == message.id == f"{receipt.epoch}.1"
        await store.close()

    async def test_read_begins_after_an_offset_and_is_bounded(self) -> None:
        """At most so many messages, at most so many bytes, but at least one if there is any."""
        store = await self.start()
        await stored(store, [draft("r", f"{n}" * 1000) for n in range(1, 10)])
        assert [m.offset for m in (await store.read("r", 4, 3, AMPLE)).messages] == [5, 6, 7]
        assert [m.offset for m in (await store.read("r", 4, 100, 2500)).messages] == [5, 6]
        assert [m.offset for m in (await store.read("r", 4, 100, 1)).messages] == [5]
        assert (await store.read("r", 9, 100, AMPLE)).messages == []
        await store.close()

    async def test_publishing_twice_is_publishing_once(self) -> None:
        """The same id from the same sender in the same room gives the first receipt, within a batch and across."""
        store = await self.start()
        first, again = await stored(store, [draft("r", "one", id="k", at=5), draft("r", "two", id="k", at=6)])
        [later] = await stored(store, [draft("r", "three", id="k", at=7)])
        assert (again.offset, again.at, again.duplicate) == (first.offset, 5, True)
        assert (later.offset, later.at, later.duplicate) == (first.offset, 5, True)
        assert texts((await store.read("r", 0, 10, AMPLE)).messages) == ["one"]
        await store.close()

    async def test_a_message_keeps_its_trace(self) -> None:
        """Verbatim, wherever it stands in a batch, with an id and without; a duplicate's is ignored."""
        store = await self.start(Retention(messages_max=5))
        drafts = [
            traced(draft("r", "0", id="k"), PARENT, "a=1,b= 2"),
            draft("r", "1"),
            traced(draft("r", "2", sender="ana", at=0), PARENT),
            traced(draft("s", "0", at=9), PARENT, "s=1"),
            traced(draft("r", "3", id="k"), OTHER_PARENT, "c=3"),
        ]
        assert [r.duplicate for r in await stored(store, drafts)] == [False] * 4 + [True]
        await stored(store, [traced(draft("r", "4", id="k"), OTHER_PARENT)])
        read = (await store.read("r", 0, 10, AMPLE)).messages
        assert [(m.data, m.traceparent, m.tracestate) for m in read] == [
            ("0", PARENT, "a=1,b= 2"), ("1", None, None), ("2", PARENT, None),
        ]  # fmt: skip
        assert (read[2].at, read[2].sender) == (1, "ana")
        [other] = (await store.read("s", 0, 10, AMPLE)).messages
        assert (other.at, other.traceparent, other.tracestate) == (9, PARENT, "s=1")
        if self.persistent:
            await store.close()
            store = await self.reopen(store, Retention(messages_max=5))
            await store.start()
            assert (await store.read("r", 0, 10, AMPLE)).messages == read
        await store.close()

    async def test_a_trace_does_not_change_retention(self) -> None:
        """Messages with a trace are trimmed when others are."""
        store = await self.start(Retention(age_s=10))
        await stored(store, [traced(draft("r", f"{at}", at=at * 1000), PARENT) for at in range(1, 6)])
        assert await store.trim(13_500) == {"r": 4}
        assert texts((await store.read("r", 0, 10, AMPLE)).messages) == ["4", "5"]
        await store.close()

    async def test_ids_are_per_room_and_sender(self) -> None:
        """Another room, another sender or no sender: another message."""
        store = await self.start()
        drafts = [draft("r", "1", id="k"), draft("r", "2", id="k", sender="ana"), draft("s", "3", id="k")]
        assert [r.duplicate for r in await stored(store, drafts)] == [False] * 3
        assert [r.duplicate for r in await stored(store, drafts)] == [True] * 3
        await store.close()

    async def test_names_that_look_alike_are_different(self) -> None:
        """No pair of (room, sender, id) can be mistaken for another, however they are put together."""
        store = await self.start()
        drafts = [
            draft("a", "1", id="b:c"),
            draft("a:b", "2", id="c"),
            draft("a", "3", id="c", sender="b"),
            draft("a", "4", id="c", sender="b:"),
            draft("A", "5", id="b:c"),
        ]
        assert [r.duplicate for r in await stored(store, drafts)] == [False] * 5
        await store.close()

    async def test_many_ids_stay_known(self) -> None:
        """Idempotency does not depend on how long ago or in how large a batch it was."""
        store = await self.start()
        for batch in range(10):
            await stored(store, [draft("r", "x", id=f"{batch}-{n}") for n in range(2000)])
        receipts = await stored(store, [draft("r", "x", id=f"{batch}-{batch}") for batch in range(10)])
        assert [r.offset for r in receipts] == [2000 * n + n + 1 for n in range(10)]
        assert all(r.duplicate for r in receipts)
        await store.close()

    async def test_trimmed_by_count(self) -> None:
        """The newest stay, offsets go on, and what was trimmed may be published again."""
        store = await self.start(Retention(messages_max=100))
        for n in range(150):
            await stored(store, [draft("r", str(n), id=str(n))])
        epoch, first, head, _ = await store.head("r")
        assert head == 150
        assert 45 <= first <= 51
        page = await store.read("r", 0, 1000, AMPLE)
        assert [m.offset for m in page.messages] == list(range(first, 151))
        assert page.first == first
        [kept] = await stored(store, [draft("r", "x", id="149")])
        [gone] = await stored(store, [draft("r", "x", id="0")])
        assert (kept.duplicate, gone.duplicate, gone.offset, gone.epoch) == (True, False, 151, epoch)
        await store.close()

    async def test_trimmed_by_bytes(self) -> None:
        """A room does not grow past its bytes by more than a little."""
        store = await self.start(Retention(bytes_max=100_000))
        for n in range(300):
            await stored(store, [draft("r", "x" * 1000, id=str(n))])
        _, first, head, _ = await store.head("r")
        assert head == 300
        assert 70 <= head - first + 1 <= 100
        await store.close()

    async def test_trimmed_by_age(self) -> None:
        """What is older than it may be goes at the next trim; the room keeps its head, even if all of it goes."""
        store = await self.start(Retention(age_s=10.0))
        await stored(store, [draft("r", "old", id="old", at=1_000), draft("r", "new", at=9_000)])
        assert await store.trim(11_500) == {"r": 2}
        assert texts((await store.read("r", 0, 10, AMPLE)).messages) == ["new"]
        assert await store.trim(30_000) == {"r": 3}
        assert (await store.head("r"))[1:3] == (3, 2)
        assert await store.trim(30_000) == {}
        [receipt] = await stored(store, [draft("r", "again", id="old", at=30_000)])
        assert (receipt.offset, receipt.duplicate) == (3, False)
        await store.close()

    async def test_survives_a_restart(self) -> None:
        """Messages, offsets, epoch, ids and what was trimmed are there again."""
        if not self.persistent:
            return
        retention = Retention(age_s=10.0)
        store = await self.start(retention)
        await stored(store, [draft("r", "old", at=1_000), draft("r", "kept", id="k", at=90_000)])
        await store.trim(91_000)
        before = await store.head("r")
        await store.close()
        store = await self.reopen(store, retention)
        await store.start()
        assert await store.head("r") == before
        known, new = await stored(store, [draft("r", "x", id="k"), draft("r", "next", at=90_001)])
        assert (known.offset, known.duplicate) == (2, True)
        assert (new.offset, new.epoch) == (3, before.epoch)
        assert texts((await store.read("r", 0, 10, AMPLE)).messages) == ["kept", "next"]
        await store.close()

    async def test_a_new_log_is_a_new_epoch(self) -> None:
        """Two logs are never mistaken for one."""
        one, other = await self.start(), await self.start()
        assert (await one.head("r")).epoch != (await other.head("r")).epoch
        await one.close()
        await other.close()

    async def test_close_is_idempotent(self) -> None:
        """Closing what is closed does nothing."""
        store = await self.start()
        await store.close()
        await store.close()

    async def test_marks_move_forward_only(self) -> None:
        """The furthest offset counts, whatever comes in which order; rooms and members are kept apart."""
        store = await self.start()
        await store.mark([ReadMark("a", "ana", 3, 10), ReadMark("a", "ben", 1, 11), ReadMark("a", "ana", 2, 12)])
        await store.mark([ReadMark("a", "ana", 1, 13), ReadMark("b", "ana", 7, 14), ReadMark("a", "ben", 2, 15)])
        assert await store.marks("a", 10) == [ReadMark("a", "ben", 2, 15), ReadMark("a", "ana", 3, 10)]
        assert await store.marks("a", 1) == [ReadMark("a", "ben", 2, 15)]
        assert await store.marks("nowhere", 10) == []
        assert await store.marks_of("ana", ["a", "b", "c"]) == {"a": 3, "b": 7}
        assert await store.marks_of("cat", ["a"]) == {}
        assert await store.marks_of("ana", []) == {}
        await store.close()

    async def test_marks_outlive_the_store(self) -> None:
        """A restart forgets no read mark."""
        if not self.persistent:
            return
        store = await self.start()
        await store.mark([ReadMark("a", "ana", 3, 10)])
        await store.close()
        store = await self.reopen(store, Retention())
        await store.start()
        assert await store.marks_of("ana", ["a"]) == {"a": 3}
        await store.close()

    async def test_marks_end_with_what_they_cover(self) -> None:
        """Retention by age forgets them when everything that was there when they were made is gone."""
        store = await self.start(Retention(age_s=10))
        await store.mark([ReadMark("a", "ana", 3, 1000), ReadMark("a", "ben", 4, 9000)])
        await store.trim(12_000)
        assert await store.marks("a", 10) == [ReadMark("a", "ben", 4, 9000)]
        await store.close()

    async def test_a_new_epoch_costs_whoever_has_lost_nothing_nothing(self) -> None:
        """Messages, the ids that the store made, idempotency and marks stay; positions of before stay good."""
        store = await self.start()
        first, second = await stored(store, [draft("r", "1"), draft("r", "2", id="k")])
        await store.mark([ReadMark("r", "ana", 2, 10)])
        before = (await store.read("r", 0, 10, AMPLE)).messages
        for _ in range(3):
            await store.begin_epochs()
        head = await store.head("r")
        assert head.epoch != first.epoch
        assert (await store.heads(["r"]))["r"] == (head.epoch, 2)
        page = await store.read("r", 0, 10, AMPLE)
        assert (page.epoch, page.messages) == (head.epoch, before)
        assert resolve(Start("after", 2, first.epoch), "r", *head) == (2, None)
        known, new = await stored(store, [draft("r", "x", id="k"), draft("r", "3")])
        assert (known.epoch, known.offset, known.duplicate) == (head.epoch, second.offset, True)
        assert (new.epoch, new.offset, new.id) == (head.epoch, 3, f"{head.epoch}.3")
        await store.begin_epochs()
        ids = [message.id for message in (await store.read("r", 0, 10, AMPLE)).messages]
        assert ids == [f"{first.epoch}.1", "k", f"{head.epoch}.3"]
        head = await store.head("r")
        assert resolve(Start("after", 3, new.epoch), "r", *head) == (3, None)
        after, gap = resolve(Start("after", 3, first.epoch), "r", *head)  # of that epoch there are 2
        assert gap is not None
        assert (after, gap.first, gap.last, gap.reason) == (2, 3, 3, "epoch")
        assert await store.marks_of("ana", ["r"]) == {"r": 2}
        await store.close()

    async def test_a_room_without_messages_has_a_new_epoch_too(self) -> None:
        """A reader that waits in a room without any message has read nothing, and loses nothing."""
        store = await self.start()
        before = await store.head("r")
        await store.begin_epochs()
        [receipt] = await stored(store, [draft("r", "1")])
        assert receipt.epoch != before.epoch
        assert resolve(Start("after", 0, before.epoch), "r", *await store.head("r")) == (0, None)
        await store.close()

    async def test_rooms_are_kept_as_their_pattern_says(self) -> None:
        """By age and by number, for longer and for shorter than others, or for ever."""
        rules = {
            "short:*": RoomRetention(age_s=10.0),
            "keep:*": RoomRetention(forever=True),
            "few": RoomRetention(messages_max=2),
        }
        store = await self.start(Retention(age_s=100.0, messages_max=5, rooms=rules))
        names = ["short:1", "keep:1", "few", "other"]
        for n in range(8):
            await stored(store, [draft(name, str(n), at=1_000_000 + n) for name in names])
        await store.mark([ReadMark(name, "ana", 1, 1_000_000) for name in names])
        first = {name: (await store.head(name)).first for name in names}
        assert first == {"short:1": 4, "keep:1": 1, "few": 7, "other": 4}
        await store.trim(1_000_000 + 50_000)
        first = {name: (await store.head(name)).first for name in names}
        assert first == {"short:1": 9, "keep:1": 1, "few": 7, "other": 4}
        await store.trim(1_000_000 + 390_000)
        first = {name: (await store.head(name)).first for name in names}
        assert first == {"short:1": 9, "keep:1": 1, "few": 9, "other": 9}
        assert await store.empty_rooms(1_000_000 + 390_000, 10) == ["short:1"]
        assert {name: len(await store.marks(name, 10)) for name in names}["keep:1"] == 1
        await store.trim(10**15)
        assert (await store.head("keep:1")).first == 1
        await store.close()

    async def test_other_bounds_act_on_what_is_there(self) -> None:
        """After a restart with other settings, without a new message."""
        if not self.persistent:
            return
        store = await self.start()
        await stored(store, [draft(name, str(n), at=n) for name in ("a", "b") for n in range(100)])
        await store.close()
        store = await self.reopen(store, Retention(rooms={"a": RoomRetention(messages_max=10)}))
        await store.start()
        for _ in range(3):
            await store.trim(1000)
        assert (await store.head("a")).first == 91
        assert (await store.head("b")).first == 1
        await store.close()

    async def test_stamps_never_go_backwards(self) -> None:
        """A clock that was set back does not reorder a room; other rooms are not concerned."""
        store = await self.start()
        receipts = await stored(store, [draft("r", "1", at=500), draft("r", "2", at=300), draft("s", "3", at=300)])
        receipts += await stored(store, [draft("r", "4", at=499), draft("r", "5", at=501)])
        assert [receipt.at for receipt in receipts] == [500, 500, 300, 500, 501]
        assert [message.at for message in (await store.read("r", 0, 10, AMPLE)).messages] == [500, 500, 500, 501]
        await store.close()

    async def test_one_stamp_of_the_future_does_not_stop_retention(self) -> None:
        """What is stored behind it ages as it should, and takes it along."""
        store = await self.start(Retention(age_s=10.0))
        now, future = 1_000_000, 10_000_000_000
        await stored(store, [draft("r", "1", at=future), draft("r", "2", at=now), draft("r", "3", at=now + 9_000)])
        await store.trim(now + 5_000)
        assert (await store.head("r"))[1:3] == (1, 3)
        await store.trim(now + 11_000)
        assert texts((await store.read("r", 0, 10, AMPLE)).messages) == ["3"]
        await store.close()

    async def test_a_stamp_of_the_future_ages_from_when_it_is_noticed(self) -> None:
        """Also if nothing comes behind it. What came later is given its own time."""
        store = await self.start(Retention(age_s=10.0))
        now, future = 1_000_000, 10_000_000_000
        await stored(store, [draft("r", "1", at=future), draft("r", "2", at=future + 1)])
        for at in (0, 5_000, 9_000):
            await store.trim(now + at)
            assert (await store.head("r"))[1:3] == (1, 2)
        await store.trim(now + AHEAD_MS // 2)
        assert (await store.head("r"))[1:3] == (3, 2)
        await store.close()

    async def test_empty_rooms_are_forgotten(self) -> None:
        """Forgotten rooms leave nothing behind; earlier readers are told, and a new one sees a room like any other."""
        store = await self.start(Retention(age_s=10.0))
        await stored(store, [draft("r", "1", id="k", at=1_000), draft("s", "2", at=90_000)])
        await store.mark([ReadMark("r", "ana", 1, 1_500)])
        await store.trim(12_000)
        assert await store.empty_rooms(12_000, 10) == []  # for a while it keeps its place
        now = round(2_000 + EMPTY_AGES * 10_000)
        await store.trim(now)
        assert await store.empty_rooms(now, 10) == ["r"]
        assert await store.forget(["r", "s", "never-begun"]) == ["r"]
        assert await store.empty_rooms(now, 10) == []
        [new] = await stored(store, [draft("s", "3", at=90_000)])
        assert new.offset == 2
        assert await store.marks_of("ana", ["r"]) == {}
        await store.close()

    async def test_a_forgotten_room_begins_anew(self) -> None:
        """In another epoch, because other messages come under the same offsets."""
        store = await self.start(Retention(age_s=10.0))
        [old] = await stored(store, [draft("r", "1", id="k", at=1_000)])
        now = round(2_000 + EMPTY_AGES * 10_000)
        await store.trim(now - 1)
        await store.trim(now)
        assert await store.forget(["r"]) == ["r"]
        await self.after_forgetting(store)
        [new] = await stored(store, [draft("r", "2", id="k", at=now)])
        assert (new.offset, new.duplicate) == (1, False)
        assert new.epoch != old.epoch
        _, gap = resolve(Start("after", 1, old.epoch), "r", *await store.head("r"))
        assert gap is not None
        assert gap.reason == "epoch"
        assert texts((await store.read("r", 0, 10, AMPLE)).messages) == ["2"]
        await store.close()

    async def after_forgetting(self, store: Store) -> None:
        """Wait until what was forgotten is gone, if that takes time."""

    async def test_what_holds_messages_is_not_forgotten(self) -> None:
        """A room that has a message is not forgotten, even if it was empty when the store was asked."""
        store = await self.start(Retention(age_s=10.0))
        [receipt] = await stored(store, [draft("r", "1", at=1_000)])
        now = round(2_000 + EMPTY_AGES * 10_000)
        await store.trim(now - 1)
        await store.trim(now)
        assert await store.empty_rooms(now, 10) == ["r"]
        [again] = await stored(store, [draft("r", "2", at=now)])
        assert await store.forget(["r"]) == []
        assert (again.offset, again.epoch) == (2, receipt.epoch)
        await store.close()

    async def test_writing_something(self) -> None:
        """The write that finds out whether anything can be stored changes nothing that readers see."""
        store = await self.start()
        before = await store.head("r")
        await store.check_writable()
        assert await store.head("r") == before
        await store.close()
