"""What every store must do to correct a log; part of `store_contract.StoreContract`."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from trunkline.core.message import Draft, Message, Receipt
from trunkline.core.position import Start, resolve
from trunkline.core.read_mark import ReadMark
from trunkline.core.redaction import Redaction
from trunkline.core.retention import Retention
from trunkline.core.trace import Trace
from trunkline.stores.base import Store

AMPLE = 1 << 30
TRACE = Trace("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", None)


def draft(room: str, data: str, *, id: str | None = None, sender: str | None = None, at: int = 1) -> Draft:  # noqa: A002
    """A draft with a string as its data."""
    return Draft(room, id, sender, at, f'"{data}"'.encode())


def traced(plain: Draft, parent: str, state: str | None = None) -> Draft:
    """A draft in a trace."""
    return msgspec.structs.replace(plain, trace=Trace(parent, state))


async def stored(store: Store, drafts: Sequence[Draft]) -> list[Receipt]:
    """Append, and expect a receipt for each."""
    outcomes = await store.append(drafts)
    receipts = [outcome for outcome in outcomes if isinstance(outcome, Receipt)]
    assert len(receipts) == len(drafts), outcomes
    return receipts


def texts(messages: Sequence[Message]) -> list[str]:
    """The data of messages that `draft` made."""
    return [message.data for message in messages]


async def messages_of(store: Store, room: str) -> list[Message]:
    """All that is in a room."""
    return (await store.read(room, 0, 10_000, AMPLE)).messages


class ContractBase:
    """How the store under test is made."""

    persistent = True
    """Whether a log outlives its store object."""

    async def make(self, retention: Retention) -> Store:
        """A new store with an empty log, not started."""
        raise NotImplementedError

    async def reopen(self, store: Store, retention: Retention) -> Store:
        """The log of a closed store, in a new one, not started. Needed if `persistent`."""
        raise NotImplementedError

    async def start(self, retention: Retention | None = None) -> Store:
        store = await self.make(retention or Retention())
        await store.start()
        return store


class CorrectionContract(ContractBase):
    """The contract of `CorrectionStore`."""

    async def test_a_redacted_message_keeps_its_place_and_loses_its_data(self) -> None:
        """It reads null, whatever way it is read; everything else of it stays, and so do its neighbours."""
        store = await self.start()
        secret = Draft("r", "key-2", "ana", 2, b'"secret"', TRACE)
        await stored(store, [draft("r", "1", id="key-1"), secret, draft("r", "3", at=3)])
        redacted = await store.redact(Redaction("r", [2], 9))
        assert (redacted.offset, redacted.offsets) == (4, [2])
        first, second, third, redaction = await messages_of(store, "r")
        assert (first.data, second.data, third.data) == ("1", None, "3")
        assert (second.offset, second.id, second.sender, second.at) == (2, "key-2", "ana", 2)
        assert (second.redacted, second.traceparent, first.redacted, third.redacted) == (True, None, False, False)
        assert (redaction.offset, redaction.redacts, redaction.data, redaction.erased) == (4, (2,), None, False)
        assert (redaction.sender, redaction.at) == (None, 9)
        assert (await store.read("r", 1, 1, AMPLE)).messages == [second]
        assert (await store.head("r"))[1:3] == (1, 4)
        await store.close()

    async def test_the_id_of_a_redacted_message_is_still_known(self) -> None:
        """To publish it again stores nothing: redacting would be undone by a client that sends again."""
        store = await self.start()
        [first] = await stored(store, [draft("r", "1", id="key", sender="ana")])
        await store.redact(Redaction("r", [1], 2))
        [again] = await stored(store, [draft("r", "1", id="key", sender="ana", at=3)])
        assert (again.offset, again.at, again.duplicate) == (first.offset, first.at, True)
        assert len(await messages_of(store, "r")) == 2
        await store.close()

    async def test_only_what_has_data_is_redacted(self) -> None:
        """Twice is once; offsets that are not there, and redactions, are left out, and a room is not made."""
        store = await self.start()
        await stored(store, [draft("r", str(n)) for n in range(3)])
        assert (await store.redact(Redaction("r", [3, 1, 0, 4, 77], 1))).offsets == [1, 3]
        again = await store.redact(Redaction("r", [1, 3, 4], 1))
        assert (again.offset, again.offsets) == (0, [])
        assert (await store.redact(Redaction("never-begun", [1], 1)))[1:] == (0, [])
        assert (await store.head("never-begun"))[1:3] == (1, 0)
        assert [message.redacted for message in await messages_of(store, "r")] == [True, False, True, False]
        await store.close()

    async def test_publishing_goes_on_behind_a_redaction(self) -> None:
        """Offsets stay dense, stamps never go back, and a redaction of many messages is one entry."""
        store = await self.start()
        await stored(store, [draft("r", str(n), at=1000 + n) for n in range(300)])
        redacted = await store.redact(Redaction("r", list(range(100, 300, 2)), 5))
        [receipt] = await stored(store, [draft("r", "next", at=7)])
        entries = await messages_of(store, "r")
        assert [entry.offset for entry in entries] == list(range(1, receipt.offset + 1))
        assert [entry.at for entry in entries] == sorted(entry.at for entry in entries)
        assert {n for entry in entries for n in entry.redacts} == set(range(100, 300, 2)) == set(redacted.offsets)
        assert [entry.offset for entry in entries if entry.redacted] == list(range(100, 300, 2))
        assert [entry.data for entry in entries[:99]] == [str(n) for n in range(99)]
        assert [entry.data for entry in entries[300:] if not entry.redacts] == ["next"]
        await store.close()

    async def test_what_is_redacted_is_still_trimmed(self) -> None:
        """Retention counts redacted messages and redactions like all others."""
        store = await self.start(Retention(messages_max=5, age_s=100))
        await stored(store, [draft("r", str(n), id=f"k{n}", at=1) for n in range(5)])
        await store.redact(Redaction("r", [2, 4], 1))
        await stored(store, [draft("r", "6", at=1), draft("r", "7", at=1)])
        entries = await messages_of(store, "r")
        assert [entry.offset for entry in entries] == [4, 5, 6, 7, 8]
        assert [entry.redacted for entry in entries] == [True, False, False, False, False]
        [again] = await stored(store, [draft("r", "again", id="k1", at=1)])
        assert not again.duplicate
        await store.trim(1_000_000)
        assert await messages_of(store, "r") == []
        await store.close()

    async def test_an_erased_sender_is_nowhere(self) -> None:
        """Sender, id and trace go, also of messages whose data had gone before; and the id can be used again."""
        store = await self.start()
        theirs = Draft("r", "private-id", "ana", 1, b'"x"', TRACE)
        await stored(store, [theirs, draft("r", "2", id="2", sender="ana"), draft("r", "3", id="3", sender="bob")])
        await store.redact(Redaction("r", [2], 2))
        sent = await store.sent("r", "ana", 0)
        assert (sent.offsets, sent.to, sent.head) == ([1, 2], 4, 4)
        erased = await store.redact(Redaction("r", sent.offsets, 3, erases=True))
        assert erased.offsets == [1, 2]
        first, second, third, _, redaction = await messages_of(store, "r")
        assert {(one.sender, one.data, one.traceparent, one.redacted) for one in (first, second)} == {
            (None, None, None, True)
        }
        assert "private-id" not in (first.id, second.id)
        assert first.id.endswith(".1")
        assert (third.id, third.sender, third.data) == ("3", "bob", "3")
        assert (redaction.redacts, redaction.erased) == ((1, 2), True)
        assert (await store.sent("r", "ana", 0)).offsets == []
        [again] = await stored(store, [theirs])
        assert not again.duplicate
        await store.close()

    async def test_the_messages_of_a_sender_are_found_in_steps(self) -> None:
        """`to` goes on to the head, and never past it."""
        store = await self.start()
        assert await store.sent("never-begun", "ana", 0) == ([], 0, 0)
        for _ in range(13):
            await stored(store, [draft("r", "x", sender="ana" if n % 100 == 7 else "bob") for n in range(1000)])
        found, to, steps = [], 0, 0
        while True:
            sent = await store.sent("r", "ana", to)
            found += sent.offsets
            assert to < sent.to <= sent.head == 13_000
            to, steps = sent.to, steps + 1
            if to == sent.head:
                break
        assert found == list(range(8, 13_000, 100))
        assert 1 < steps < 100
        await store.close()

    async def test_a_deleted_room_begins_again_in_another_epoch(self) -> None:
        """At offset 1; a reader of the former one is told that it was deleted, also after it has begun again."""
        store = await self.start()
        [before] = await stored(store, [draft("r", "old", id="key", sender="ana")])
        await store.mark([ReadMark("r", "ana", 1, 1)])
        deleted = await store.delete("r", 10)
        assert deleted is not None
        assert (deleted.messages, deleted.epoch != before.epoch) == (1, True)
        head = await store.head("r")
        assert head[:3] == (deleted.epoch, 1, 0)
        assert await messages_of(store, "r") == []
        assert await store.marks("r", 10) == []
        [after] = await stored(store, [draft("r", "new", id="key", sender="ana", at=11)])
        assert (after.epoch, after.offset, after.duplicate) == (deleted.epoch, 1, False)
        epoch, first, newest, lineage = await store.head("r")
        _, gap = resolve(Start("after", 1, before.epoch), "r", epoch, first, newest, lineage)
        assert gap is not None
        assert (gap.reason, gap.next) == ("deleted", f"{epoch}.0")
        await store.close()

    async def test_a_deleted_room_is_remembered_as_long_as_an_empty_one(self) -> None:
        """So that readers are told; and it is deleted once."""
        store = await self.start(Retention(age_s=100))
        assert await store.delete("r", 1) is None
        await stored(store, [draft("r", "old")])
        await store.delete("r", 1_000_000)
        assert await store.delete("r", 1_000_000) is None
        await store.trim(1_000_001)
        assert await store.empty_rooms(1_000_001, 10) == []
        assert await store.find_rooms("", "", 10) == []
        await store.trim(2_000_000)
        assert await store.empty_rooms(2_000_000, 10) == ["r"]
        await store.close()

    async def test_rooms_are_found_by_prefix_page_by_page(self) -> None:
        """In the order of their names, with what there is of them."""
        store = await self.start()
        names = ["a", "chat:1", "chat:10", "chat:2", "chat:~", "chatter", "d"]
        await stored(store, [draft(name, "x", at=5) for name in reversed(names)])
        await stored(store, [draft("chat:2", "y", at=6)])
        assert [info.room for info in await store.find_rooms("", "", 100)] == names
        page = await store.find_rooms("chat:", "", 2)
        assert [info.room for info in page] == ["chat:1", "chat:10"]
        rest = await store.find_rooms("chat:", "chat:10", 100)
        assert [info.room for info in rest] == ["chat:2", "chat:~"]
        epoch = (await store.head("chat:2")).epoch
        assert rest[0][:4] == ("chat:2", epoch, 1, 2)
        assert (rest[0].at, rest[0].size > rest[1].size > 0) == (6, True)
        assert await store.find_rooms("nothing", "", 5) == []
        await store.close()

    async def test_read_marks_of_a_member_are_erased(self) -> None:
        """In all rooms, and of that member alone."""
        store = await self.start()
        await stored(store, [draft("a", "x"), draft("b", "x")])
        await store.mark([ReadMark("a", "ana", 1, 1), ReadMark("b", "ana", 1, 1), ReadMark("b", "bob", 1, 1)])
        assert await store.erase_marks("ana") == 2
        assert await store.erase_marks("ana") == 0
        assert await store.marks("a", 10) == []
        assert [mark.member for mark in await store.marks("b", 10)] == ["bob"]
        await store.close()

    async def test_notes_are_kept_and_forgotten(self) -> None:
        """By name; a new value takes the place of the former one."""
        store = await self.start()
        assert await store.notes() == {}
        await store.note("a", b"1")
        await store.note("b", b"\x00\xff")
        await store.note("a", b"2")
        assert await store.notes() == {"a": b"2", "b": b"\x00\xff"}
        await store.note("a", None)
        await store.note("a", None)
        assert await store.notes() == {"b": b"\x00\xff"}
        await store.close()

    async def test_corrections_outlive_a_restart(self) -> None:
        """What was redacted, deleted or noted is so after it."""
        if not self.persistent:
            return
        retention = Retention()
        store = await self.start(retention)
        await stored(store, [draft("r", "1", id="1"), draft("r", "2"), draft("gone", "x")])
        await store.redact(Redaction("r", [1], 2))
        deleted = await store.delete("gone", 2)
        await store.note("a", b"1")
        before = await messages_of(store, "r")
        await store.purge()
        await store.close()
        store = await self.reopen(store, retention)
        await store.start()
        assert await messages_of(store, "r") == before
        assert await messages_of(store, "gone") == []
        assert deleted is not None
        assert (await store.head("gone"))[1:3] == (1, 0)
        assert await store.notes() == {"a": b"1"}
        [again] = await stored(store, [draft("r", "1", id="1")])
        assert again.duplicate
        await store.close()
